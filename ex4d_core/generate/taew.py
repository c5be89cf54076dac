"""`taew2_1`: a tiny decoder for the latents of Wan2.1 (architecture TAEHV, github.com/madebyollin/taehv).

It goes through a video latent frame by latent frame and remembers one frame at each of its blocks, so that it takes
little memory, whatever the length.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from ex4d_core.generate.state import check_names, shapes
from ex4d_core.generate.tensors import tensors

LATENT_CHANNELS = 16
_WIDTHS = (256, 128, 64, 64)
_FULL_TIME, _FULL_SPACE = (1, 2, 2), (2, 2, 2)
_UNUSED = "encoder."


class _SoftClamp(nn.Module):
    """Keeps latents within -3 ... 3."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


class _Remembering(nn.Module):
    """Residual block that sees each frame together with the one before it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            _conv(2 * width, width), nn.ReLU(), _conv(width, width), nn.ReLU(), _conv(width, width)
        )

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        """(k, C, h, w) frames and, of the same shape, the frame before each."""
        return torch.relu(self.conv(torch.cat([x, before], dim=1)) + x)


class _Grow(nn.Module):
    """Makes `factor` frames of each."""

    def __init__(self, width: int, factor: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width * factor, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(k, C, h, w) -> (k * factor, C, h, w)."""
        return self.conv(x).reshape(-1, *x.shape[1:])


class TinyDecoder(nn.Module):
    """Decodes latents; smaller and with fewer frames where the factors are smaller than those of the VAE."""

    def __init__(self, time: tuple[int, int, int] = _FULL_TIME, space: tuple[int, int, int] = _FULL_SPACE) -> None:
        """Untrained.

        Args:
            time: by how much each stage multiplies frames, up to 1, 2, 2; with less, the last of each group is kept.
            space: by how much each stage multiplies width and height, up to 2, 2, 2.
        """
        super().__init__()
        layers: list[nn.Module] = [_SoftClamp(), _conv(LATENT_CHANNELS, _WIDTHS[0]), nn.ReLU()]
        for stage in range(3):
            width = _WIDTHS[stage]
            layers += [_Remembering(width) for _ in range(3)]
            layers += [nn.Upsample(scale_factor=space[stage]), _Grow(width, time[stage])]
            layers += [_conv(width, _WIDTHS[stage + 1], bias=False)]
        layers += [nn.ReLU(), _conv(_WIDTHS[3], 3)]
        self.decoder = nn.Sequential(*layers)
        self.frames_per_latent = time[0] * time[1] * time[2]

    def frames(self, latents: Tensor) -> Iterator[Tensor]:
        """The video, piece by piece: (k, 3, h, w) of the parameters' dtype, 0 ... 1.

        The first latent frame stands for one frame, as in the VAE; the others for `frames_per_latent` each.

        Args:
            latents: (1, 16, t, h/8, w/8), normalised, as the transformer has them.
        """
        parameter = next(self.parameters())
        memory: dict[int, Tensor] = {}
        for index, latent in enumerate(latents[0].to(parameter).unbind(1)):
            x = latent[None]  # (1, 16, h/8, w/8)
            for place, layer in enumerate(self.decoder):
                if isinstance(layer, _Remembering):
                    last = memory.get(place, torch.zeros_like(x[:1]))
                    memory[place] = x[-1:]
                    x = layer(x, torch.cat([last, x[:-1]]))
                else:
                    x = layer(x)
            yield x[self.frames_per_latent - 1 if index == 0 else 0 :].clamp(0, 1)


def read_tiny_decoder(
    path: Path, time: tuple[int, int, int] = _FULL_TIME, space: tuple[int, int, int] = _FULL_SPACE
) -> TinyDecoder:
    """Read `taew2_1.safetensors` or `taew2_1.pth`; see `TinyDecoder` for the factors.

    Raises:
        InputError: it is damaged, or names each tensor that is missing, unexpected or of the wrong shape.
    """
    given = {name: tensor for name, tensor in tensors(path) if not name.startswith(_UNUSED)}
    with torch.device("meta"):
        whole = TinyDecoder().state_dict()
    check_names(shapes(given), shapes(whole), str(path))
    decoder = TinyDecoder(time, space)
    # Of each group of frames that is not made, the last is the one that is.
    parts = {name: given[name][-len(tensor) :] for name, tensor in decoder.state_dict().items()}
    decoder.load_state_dict(parts)
    return decoder.eval().requires_grad_(False)


def _conv(wide: int, narrow: int, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(wide, narrow, 3, padding=1, bias=bias)

"""The tiny decoder: its tensors are those of taew2_1, and it computes what that architecture says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from ex4d_core.errors import InputError
from ex4d_core.generate.taew import TinyDecoder, read_tiny_decoder

# Index of each layer that has weights -> shapes, as in taehv.py of madebyollin/taehv (1f14a56) for `taew2_1.pth`.
_BLOCKS = {3: 256, 4: 256, 5: 256, 9: 128, 10: 128, 11: 128, 15: 64, 16: 64, 17: 64}
_GROW = {7: (256, 256), 13: (256, 128), 19: (128, 64)}
_SHRINK = {8: (128, 256), 14: (64, 128), 20: (64, 64)}
_ENDS = {1: (256, 16), 22: (3, 64)}


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """Random tensors with the names and shapes of the file, its encoder's among them."""
    shapes: dict[str, tuple[int, ...]] = {"encoder.0.weight": (64, 3, 3, 3)}
    for place, width in _BLOCKS.items():
        for part, inside in ((0, 2 * width), (2, width), (4, width)):
            shapes[f"decoder.{place}.conv.{part}.weight"] = (width, inside, 3, 3)
            shapes[f"decoder.{place}.conv.{part}.bias"] = (width,)
    shapes |= {f"decoder.{place}.conv.weight": (*size, 1, 1) for place, size in _GROW.items()}
    shapes |= {f"decoder.{place}.weight": (*size, 3, 3) for place, size in (_SHRINK | _ENDS).items()}
    shapes |= {f"decoder.{place}.bias": size[:1] for place, size in _ENDS.items()}
    random = torch.Generator().manual_seed(0)
    made = {
        name: torch.randn(shape, generator=random) * (2 / (shape[1] * shape[2] ** 2)) ** 0.5
        if len(shape) > 1
        else torch.randn(shape, generator=random) * 0.1 + 0.1
        for name, shape in shapes.items()
    }
    made["decoder.22.weight"] *= 0.02  # colours within 0 ... 1
    made["decoder.22.bias"] = torch.full((3,), 0.5)
    return made


@pytest.fixture(scope="module")
def file(weights: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("taew") / "taew2_1.safetensors"
    save_file(weights, path)
    return path


def _latents(frames: int, height: int = 3, width: int = 5) -> Tensor:
    return torch.randn(1, 16, frames, height, width, generator=torch.Generator().manual_seed(1))


def _video(decoder: TinyDecoder, latents: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat(list(decoder.frames(latents)))


def _plain(weights: dict[str, Tensor], latents: Tensor) -> Tensor:
    """The architecture written down a second time: all frames at once, each layer with the frames shifted by one."""

    def conv(x: Tensor, name: str) -> Tensor:
        weight = weights[f"{name}.weight"]
        return F.conv2d(x, weight, weights.get(f"{name}.bias"), padding=weight.shape[-1] // 2)

    x = 3 * torch.tanh(latents[0].movedim(1, 0) / 3)  # (t, 16, h, w)
    x = conv(x, "decoder.1").relu()
    for first, (places, times) in enumerate(zip((range(3, 6), range(9, 12), range(15, 18)), (1, 2, 2), strict=True)):
        for place in places:
            y = torch.cat([x, F.pad(x, (0, 0, 0, 0, 0, 0, 1, 0))[:-1]], dim=1)
            for part in (0, 2):
                y = conv(y, f"decoder.{place}.conv.{part}").relu()
            x = (conv(y, f"decoder.{place}.conv.4") + x).relu()
        x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        grown = conv(x, f"decoder.{6 * first + 7}.conv")
        x = torch.stack(grown.chunk(times, dim=1), dim=1).flatten(0, 1)
        x = conv(x, f"decoder.{6 * first + 8}")
    return conv(x.relu(), "decoder.22").clamp(0, 1)[3:]


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_a_video_is_that_of_the_architecture(frames: int, file: Path, weights: dict[str, Tensor]) -> None:
    latents = 3 * _latents(frames)
    video = _video(read_tiny_decoder(file), latents)
    assert video.shape == (4 * frames - 3, 3, 24, 40)
    plain = _plain(weights, latents)
    assert ((plain > 0) & (plain < 1)).float().mean() > 0.2, "not all of it is cut off"
    assert (video - plain).abs().max() < 1e-4


def test_a_frame_depends_on_what_was_before_it_alone(file: Path) -> None:
    decoder, latents = read_tiny_decoder(file), _latents(4)
    later = latents.clone()
    later[:, :, 2] += 1
    before, after = _video(decoder, latents), _video(decoder, later)
    assert torch.equal(before[:5], after[:5]), "latent frame 2 begins with frame 5"
    assert all(not torch.equal(a, b) for a, b in zip(before[5:], after[5:], strict=True))
    assert torch.equal(_video(decoder, latents), before), "nothing is remembered from one video to the next"


def test_a_small_video_has_the_last_frame_of_each_group(file: Path, weights: dict[str, Tensor]) -> None:
    """Where no stage multiplies frames or pixels, weights for the last of each group make the one frame there is."""
    small = read_tiny_decoder(file, time=(1, 1, 1), space=(2, 1, 1))
    assert _video(small, _latents(3)).shape == (3, 3, 6, 10)
    assert torch.equal(
        _video(read_tiny_decoder(file, time=(1, 2, 1)), _latents(3)), _video(read_tiny_decoder(file), _latents(3))[::2]
    )
    assert torch.equal(small.state_dict()["decoder.13.conv.weight"], weights["decoder.13.conv.weight"][128:])


def test_a_pth_file_is_read_the_same(file: Path, weights: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(weights, tmp_path / "taew2_1.pth")
    latents = _latents(2)
    video = _video(read_tiny_decoder(tmp_path / "taew2_1.pth"), latents)
    assert torch.equal(video, _video(read_tiny_decoder(file), latents))


def test_what_is_wrong_with_a_file_is_named(weights: dict[str, Tensor], tmp_path: Path) -> None:
    changed = {name: tensor for name, tensor in weights.items() if name != "decoder.8.weight"}
    changed["decoder.1.weight"] = torch.zeros(256, 48, 3, 3)  # that of Wan2.2
    changed["head.weight"] = torch.zeros(1)
    path = tmp_path / "taew2_2.safetensors"
    save_file(changed, path)
    with pytest.raises(InputError) as error:
        read_tiny_decoder(path)
    said = str(error.value)
    assert all(name in said for name in (str(path), "decoder.8.weight", "head.weight", "decoder.1.weight"))
    assert "decoder.3." not in said
    for name in ("cut.safetensors", "cut.pth"):
        (tmp_path / name).write_bytes(path.read_bytes()[:1000])
        with pytest.raises(InputError, match=name) as error:
            read_tiny_decoder(tmp_path / name)
        assert error.value.remedy

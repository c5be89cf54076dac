"""Where the tiny VAE begins: its encoder as the principal components of patches of 8x8 pixels.

From random weights it learns light within minutes, and no colour. Its own classes hold such a projection exactly but
for one norm: space to depth by strided convolutions, residual branches that add nothing yet, and each component with
both signs at the end, for SiLU(x) - SiLU(-x) = x.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import Tensor, nn

_CONSTANT = 20.0
"""A channel that is large beside the others (about 6), so that a norm over all leaves these as they are."""


@torch.no_grad()
def begin_as_components(vae: AutoencoderKLWan, pictures: Tensor) -> None:
    """Set the weights of the encoder, and of what stands between it and the decoder.

    Args:
        vae: of `base_dim` 12 or more, three halvings of the picture.
        pictures: (N, 3, h, w) float32, -1 to 1; sides that 8 divides.
    """
    encoder: Any = vae.encoder
    kept = vae.config["z_dim"]
    for block in (module for module in vae.modules() if type(module).__name__ == "WanResidualBlock"):
        nn.init.zeros_(block.conv2.weight)
        nn.init.zeros_(block.conv2.bias)
    for block in (module for module in vae.modules() if type(module).__name__ == "WanAttentionBlock"):
        nn.init.zeros_(block.proj.weight)
        nn.init.zeros_(block.proj.bias)
    for name, module in encoder.named_modules():
        if name.endswith("conv_shortcut") and not isinstance(module, nn.Identity):
            _project(module, torch.eye(module.out_channels, module.in_channels))
    _project(encoder.conv_in, torch.eye(encoder.conv_in.out_channels, 3))
    halvings = [module for name, module in encoder.named_modules() if name.endswith("resample.1")]
    sent = pictures
    for halving in halvings[:-1]:
        weight, bias, sent = _components(sent, halving.out_channels, whitened=False)
        _gather(halving, weight, bias)
    weight, bias, _ = _components(sent, kept, whitened=True)
    _gather(halvings[-1], torch.cat([weight, -weight]), torch.cat([bias, -bias]))
    halvings[-1].bias[-1] = _CONSTANT
    encoder.norm_out.gamma[:] = _CONSTANT / math.sqrt(halvings[-1].out_channels)
    both = torch.zeros(2 * kept, halvings[-1].out_channels)  # means, then logarithms of variances
    both[:kept, :kept], both[:kept, kept : 2 * kept] = torch.eye(kept), -torch.eye(kept)
    _project(encoder.conv_out, both)
    _project(vae.quant_conv, torch.eye(2 * kept))
    _project(vae.post_quant_conv, torch.eye(kept))
    decoder: Any = vae.decoder
    for doubling in (module for name, module in decoder.named_modules() if name.endswith("resample.1")):
        nn.init.normal_(doubling.weight, std=0.1 / math.sqrt(9 * doubling.in_channels))
        doubling.weight[:, :, 1, 1] += nn.init.orthogonal_(torch.empty(doubling.out_channels, doubling.in_channels))
        nn.init.zeros_(doubling.bias)


def _components(pictures: Tensor, count: int, whitened: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The strongest components of patches of 2x2: weights (K, 4 C), biases (K), and the picture in these, half as
    large; without loss where K allows."""
    patches = F.unfold(pictures, 2, stride=2)
    rows = patches.transpose(1, 2).flatten(0, 1)
    mean = rows.mean(0)
    values, vectors = torch.linalg.eigh((rows - mean).T @ (rows - mean) / len(rows))
    count = min(count, len(values))
    weight = vectors.flip(1)[:, :count].T
    if whitened:
        weight = weight / values.flip(0)[:count, None].sqrt()
    bias = -weight @ mean
    half = (weight @ patches + bias[:, None]).unflatten(2, (pictures.shape[2] // 2, -1))
    return weight, bias, half


def _project(conv: Any, matrix: Tensor) -> None:
    """Let a convolution be a matrix (out, in) at each pixel of each frame."""
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    height, width = conv.weight.shape[3:]
    conv.weight[:, :, -1, height // 2, width // 2] = matrix


def _gather(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    """Let a convolution of stride 2, padded at the right and below, be a matrix (K, 4 C) on patches of 2x2."""
    assert conv.bias is not None
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    channels = weight.shape[1] // 4
    conv.weight[: len(weight), :channels, :2, :2] = weight.unflatten(1, (channels, 2, 2))
    conv.bias[: len(bias)] = bias

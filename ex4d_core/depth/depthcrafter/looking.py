"""What the model is shown of the footage: a token of CLIP and latents of the VAE for each frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

NOISE_AUGMENTATION = 0.02
"""Noise added to the frames before the VAE sees them, as Stable Video Diffusion was trained with."""
_CLIP_SIDE = 224


def frame_tensor(frame: NDArray[np.uint8], device: torch.device) -> Tensor:
    """A frame for the models.

    Args:
        frame: (H, W, 3) uint8 sRGB.
        device: of the result.

    Returns:
        (1, 3, H, W) float32, -1 to 1.
    """
    numbers = torch.from_numpy(np.ascontiguousarray(frame)).to(device)
    return numbers.permute(2, 0, 1)[None].float() / 255.0 * 2.0 - 1.0


@torch.inference_mode()
def clip_tokens(encoder: Any, frames: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """CLIP's embedding of each frame.

    Args:
        encoder: `CLIPVisionModelWithProjection`.
        frames: (n, 3, H, W) float32, -1 to 1.
        mean: of the pictures that CLIP was trained on, RGB, 0 to 1.
        std: their deviation.

    Returns:
        (n, D) float32.
    """
    small = (_small(frames) + 1.0) / 2.0
    shape = (1, 3, 1, 1)
    pixels = (small - small.new_tensor(mean).view(shape)) / small.new_tensor(std).view(shape)
    return encoder(pixels.to(encoder.dtype)).image_embeds.float()


@torch.inference_mode()
def frame_latents(vae: Any, frame: Tensor, noise: Tensor) -> Tensor:
    """The most likely latents of a frame, not scaled.

    Args:
        vae: `AutoencoderKLTemporalDecoder`; its encoder looks at each frame alone.
        frame: (1, 3, H, W) float32, -1 to 1.
        noise: (1, 3, H, W), deviation 1.

    Returns:
        (1, 4, h, w) float32.
    """
    noisy = frame + NOISE_AUGMENTATION * noise
    return vae.encode(noisy.to(vae.dtype)).latent_dist.mode().float()


def _small(frames: Tensor) -> Tensor:
    """As Stable Video Diffusion makes pictures small: blurred first, then bicubic, corner on corner; (n, 3, 224, 224).

    Nothing is clipped: cubic interpolation may go a little beyond -1 and 1, and did so in training.
    """
    for axis in (3, 2):
        frames = _blurred(frames, axis)
    return F.interpolate(frames, size=(_CLIP_SIDE, _CLIP_SIDE), mode="bicubic", align_corners=True)


def _blurred(frames: Tensor, axis: int) -> Tensor:
    """A Gaussian along one axis, four deviations wide, the picture mirrored at its rim."""
    sigma = max((frames.shape[axis] / _CLIP_SIDE - 1.0) / 2.0, 0.001)
    radius = int(max(4.0 * sigma, 3)) // 2
    offsets = torch.arange(-radius, radius + 1, device=frames.device, dtype=frames.dtype)
    kernel = torch.exp(-offsets.square() / (2 * sigma * sigma))
    kernel = kernel / kernel.sum()
    along_x = axis == 3
    padding = (radius, radius, 0, 0) if along_x else (0, 0, radius, radius)
    kernel = kernel.view(1, 1, 1, -1) if along_x else kernel.view(1, 1, -1, 1)
    mirrored = F.pad(frames, padding, mode="reflect")
    return F.conv2d(mirrored, kernel.expand(3, 1, -1, -1), groups=3)

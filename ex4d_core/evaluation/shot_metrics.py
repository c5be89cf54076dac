"""How much a picture looks like the true one: over all of it, and where the footage shows what is seen (co-visible).

PSNR and SSIM are those of torchmetrics. The masked ones follow DyCheck (Gao et al. 2022, arXiv 2210.13445, section 4):
a pixel of the true view counts where the source camera saw what it shows. What lies outside changes nothing, and with
a mask of ones each is the unmasked number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv2d, pad
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from ex4d_core.evaluation.shot_lpips import Lpips

_WINDOW = 11
"""Pixels of the window of SSIM; `shot_inputs.LEAST_SIDE` is no less."""
_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2


@dataclass(frozen=True)
class FrameScores:
    """Of one frame; NaN where there is no mask, no network, or nothing is co-visible."""

    psnr: float
    """dB; infinite where the pictures are the same."""
    ssim: float
    lpips: float
    mpsnr: float
    mssim: float
    mlpips: float
    covisible: float
    """Share of the true view's pixels that count for the masked ones, 0..1."""


def score_frame(
    picture: NDArray[np.uint8], truth: NDArray[np.uint8], mask: NDArray[np.bool_] | None, lpips: Lpips | None
) -> FrameScores:
    """Compare a generated frame with the true one.

    Args:
        picture: (H, W, 3) uint8 sRGB, at least 11 on each side.
        truth: (H, W, 3) uint8 sRGB.
        mask: (H, W) bool, True = co-visible; None: not known.
        lpips: its network; None: no weights.
    """
    x, y = (torch.from_numpy(np.ascontiguousarray(p)).permute(2, 0, 1)[None] / 255 for p in (picture, truth))
    where = None if mask is None or not mask.any() else torch.from_numpy(np.asarray(mask, np.float32))[None, None]
    share = math.nan if mask is None else float(mask.mean())
    return FrameScores(
        psnr=psnr(x, y),
        ssim=ssim(x, y),
        lpips=math.nan if lpips is None else lpips(x, y),
        mpsnr=math.nan if where is None else masked_psnr(x, y, where),
        mssim=math.nan if where is None else masked_ssim(x, y, where),
        mlpips=math.nan if where is None or lpips is None else lpips.masked(x, y, where),
        covisible=share,
    )


def psnr(x: Tensor, y: Tensor) -> float:
    """Peak signal-to-noise ratio of two pictures (1, 3, H, W) float32 in 0..1, in dB; infinite where they are equal."""
    return float(peak_signal_noise_ratio(x.double(), y.double(), data_range=1.0))


def ssim(x: Tensor, y: Tensor) -> float:
    """Structural similarity of two pictures (1, 3, H, W) float32 in 0..1: Gaussian windows of 11x11, sigma 1.5."""
    found = structural_similarity_index_measure(x, y, data_range=1.0)
    return float(found) if isinstance(found, Tensor) else float(found[0])


def masked_psnr(x: Tensor, y: Tensor, mask: Tensor) -> float:
    """`psnr` of the pixels of a mask (1, 1, H, W) float32 of 0 and 1 that is not empty."""
    squares = (x.double() - y.double()) ** 2
    error = float((squares * mask).sum() / (mask.sum() * squares.shape[1]))
    return -10 * math.log10(error) if error > 0 else math.inf


def masked_ssim(x: Tensor, y: Tensor, mask: Tensor) -> float:
    """`ssim` over the pixels of a mask whose windows see nothing else: means and variances of co-visible pixels alone.

    Windows are normalised convolutions, as DyCheck's partial ones; theirs count a window's pixels alike, where ours
    weigh them by the Gaussian, so that a window without holes is the plain one. Beyond the border, pictures and mask
    are mirrored, as torchmetrics does it.

    Args:
        x: (1, 3, H, W) float32 in 0..1.
        y: (1, 3, H, W).
        mask: (1, 1, H, W) float32 of 0 and 1, not empty.
    """
    inside = (mask > 0).expand_as(x)
    x, y, mask = (pad(p.double(), (_WINDOW // 2,) * 4, mode="reflect") for p in (x, y, mask))
    weight = _blurred(mask).clamp(min=1e-12)  # (1, 1, H, W)

    def mean(values: Tensor) -> Tensor:
        return _blurred(values * mask) / weight

    mean_x, mean_y = mean(x), mean(y)
    variances = (mean(x * x) - mean_x**2).clamp(min=0) + (mean(y * y) - mean_y**2).clamp(min=0)
    covariance = mean(x * y) - mean_x * mean_y
    alike = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    alike = alike / ((mean_x**2 + mean_y**2 + _C1) * (variances + _C2))  # (1, 3, H, W)
    return float(alike[inside].mean())


def _blurred(values: Tensor) -> Tensor:
    """(1, C, H + 10, W + 10) float64 under Gaussian windows: (1, C, H, W)."""
    at = torch.arange(_WINDOW, dtype=torch.float64) - _WINDOW // 2
    line = torch.exp(-0.5 * (at / _SIGMA) ** 2)
    line = (line / line.sum())[None, None]  # (1, 1, 11)
    down = conv2d(values.transpose(0, 1), line[..., None])
    return conv2d(down, line[:, :, None]).transpose(0, 1)

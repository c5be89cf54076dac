"""The scores of depth, masks and pictures against the truth: pure functions of arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

_CONTRASTS = np.linspace(1.05, 1.25, 10)
"""Ratios of depth that make an edge; the larger count more (Depth Pro's)."""
_SAME_SURFACE = 0.01
"""Two depths that differ by less than this share are of one surface."""
_WINDOW = 7
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
"""Side of the windows of SSIM, pixels, and its constants for 8 bits."""


@dataclass(frozen=True)
class Alignment:
    """Brings an estimator's disparity onto the true one: only the shape of relative depth can be judged."""

    scale: float
    shift: float
    low: float
    """True disparities of the clip lie from here, 1/m ..."""
    high: float
    """... to here: what is beyond is brought to the border, or a shift below zero would ask for infinite depth."""

    def __call__(self, disparity: Floats) -> Floats:
        """(H, W) float32 disparity in any unit -> 1/m, positive."""
        return np.clip(np.float32(self.scale) * disparity + np.float32(self.shift), self.low, self.high)


def align(pairs: Iterable[tuple[Floats, Floats]]) -> Alignment:
    """One scale and shift of disparity for all frames, by least squares (Ranftl et al. 2020, eq. 4).

    Args:
        pairs: estimated and true disparity (H, W) float32 of each frame; a frame is read, summed up and left.

    Returns:
        The alignment; a constant estimate gets the mean of the truth.
    """
    sums = np.zeros(5, np.float64)  # of 1, x, y, xx, xy
    low, high = math.inf, -math.inf
    for estimate, truth in pairs:
        x, y = estimate.astype(np.float64).ravel(), truth.astype(np.float64).ravel()
        sums += np.array([x.size, x.sum(), y.sum(), x @ x, x @ y])
        low, high = min(low, float(y.min())), max(high, float(y.max()))
    n, x, y, xx, xy = sums
    spread = xx / n - (x / n) ** 2
    scale = (xy / n - x / n * y / n) / spread if spread > 1e-9 * max(xx / n, 1e-30) else 0.0
    return Alignment(float(scale), float(y / n - scale * x / n), low, high)


def abs_rel(depth: Floats, truth: Floats) -> float:
    """Mean |z - z_true| / z_true of two z-depths (H, W)."""
    return float(np.abs(depth / truth - 1).mean())


def delta1(depth: Floats, truth: Floats) -> float:
    """Share of pixels whose depth is wrong by less than a factor of 1.25, 0..1."""
    return float((np.maximum(depth / truth, truth / depth) < 1.25).mean())


def boundary_f1(depth: Floats, truth: Floats) -> float:
    """How well the edges of depth lie where the true ones lie: F1 over pairs of neighbours.

    A pair is an edge where one is farther by a factor; over ten factors from 1.05 to 1.25, weighted by the factor
    (Bochkovskii et al. 2024, section 3.2 and its code). It asks for the very pixel: an edge that is blurred or off by
    one counts for nothing. It does not change with the scale of depth.

    Args:
        depth: (H, W) float32 z-depth.
        truth: (H, W) float32 z-depth.

    Returns:
        0..1; 1 where neither has any edge.
    """
    ours, theirs = _steps(depth), _steps(truth)
    total = 0.0
    for contrast in _CONTRASTS:
        limit = math.log(contrast)
        precisions: list[float] = []
        recalls: list[float] = []
        edges = 0
        for our, their in zip(ours, theirs, strict=True):
            found, real = our > limit, their > limit
            both = np.count_nonzero(found & real)
            precisions.append(both / max(np.count_nonzero(found), 1))
            recalls.append(both / max(np.count_nonzero(real), 1))
            edges += np.count_nonzero(found) + np.count_nonzero(real)
        total += float(contrast) * (_harmonic(float(np.mean(precisions)), float(np.mean(recalls))) if edges else 1.0)
    return total / float(_CONTRASTS.sum())


def temporal_error(
    depths: tuple[Floats, Floats],
    truths: tuple[Floats, Floats],
    resting: Bools,
    lens: Intrinsics,
    move: NDArray[np.float64],
) -> float:
    """Flicker between two frames: by how much the error at a resting point of the scene changes.

    A point of the first frame is followed into the second by its true depth and the true cameras, and left out if it
    is hidden there. The truth itself has 0, whatever the camera does. (The idea of the temporal alignment error of
    Chen et al. 2025, but along true correspondences, so that a lasting error is no flicker.)

    Args:
        depths: (H, W) float32 aligned z-depth of the first and of the second frame.
        truths: their true z-depth.
        resting: (H, W) bool, where nothing moves in the first frame.
        lens: of both.
        move: (4, 4) float64, from the first camera to the second, in the unit of the truth.

    Returns:
        Mean |z_2/true_2 - z_1/true_1|; NaN where no point is seen in both.
    """
    y, x = np.nonzero(resting)
    z = truths[0][y, x].astype(np.float64)
    points = np.stack([(x + 0.5 - lens.cx) / lens.fx * z, (y + 0.5 - lens.cy) / lens.fy * z, z])
    points = move[:3, :3] @ points + move[:3, 3:]
    front = points[2] > 0
    x, y, points = x[front], y[front], points[:, front]
    column = np.floor(lens.fx * points[0] / points[2] + lens.cx).astype(np.int64)
    row = np.floor(lens.fy * points[1] / points[2] + lens.cy).astype(np.int64)
    inside = (column >= 0) & (row >= 0) & (column < lens.width) & (row < lens.height)
    x, y, row, column, far = x[inside], y[inside], row[inside], column[inside], points[2][inside]
    seen = np.abs(truths[1][row, column] / far - 1) < _SAME_SURFACE
    first = depths[0][y, x] / truths[0][y, x]
    second = depths[1][row, column] / truths[1][row, column]
    return float(np.abs(second - first)[seen].mean()) if seen.any() else math.nan


def mask_scores(mask: Bools, truth: Bools) -> dict[str, float]:
    """error (share of wrong pixels), precision, recall, f1 and iou of "seen", of (H, W) masks."""
    hit, extra, missed = (int(np.count_nonzero(m)) for m in (mask & truth, mask & ~truth, ~mask & truth))
    return {
        "error": float((mask != truth).mean()),
        "precision": hit / max(hit + extra, 1),
        "recall": hit / max(hit + missed, 1),
        "f1": 2 * hit / max(2 * hit + extra + missed, 1),
        "iou": hit / max(hit + extra + missed, 1),
    }


def psnr(color: NDArray[np.uint8], truth: NDArray[np.uint8], where: Bools) -> float:
    """Peak signal-to-noise ratio in dB of (H, W, 3) pictures over the pixels of a (H, W) mask; NaN if it is empty."""
    if not where.any():
        return math.nan
    squares = ((color.astype(np.float64) - truth) ** 2).mean(axis=-1)
    return float(10 * np.log10(255.0**2 / max(squares[where].mean(), 1e-6)))


def ssim(color: NDArray[np.uint8], truth: NDArray[np.uint8], where: Bools) -> float:
    """Mean structural similarity (Wang et al. 2004) over the pixels of a mask; NaN if it is empty.

    Flat windows of 7x7 pixels, sample variance, mean over the channels: scikit-image's, in a third of the time.
    Windows reach beyond the mask, so that its border counts as rendered.

    Args:
        color: (H, W, 3) uint8.
        truth: (H, W, 3) uint8.
        where: (H, W).
    """
    if not where.any():
        return math.nan
    x, y = color.astype(np.float64), truth.astype(np.float64)

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        window = (_WINDOW, _WINDOW)
        return np.asarray(cv2.boxFilter(values, -1, window, borderType=cv2.BORDER_REFLECT), np.float64)

    unbiased = _WINDOW**2 / (_WINDOW**2 - 1)
    mean_x, mean_y = mean(x), mean(y)
    both = mean_x * mean_x + mean_y * mean_y
    variances = unbiased * (mean(x * x + y * y) - both)
    covariance = unbiased * (mean(x * y) - mean_x * mean_y)
    alike = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2) / ((both + _C1) * (variances + _C2))
    return float(alike.mean(axis=-1)[where].mean())


def _steps(depth: Floats) -> list[Floats]:
    """Log ratio of depth to the neighbour on the right, on the left, below, above."""
    log = np.log(depth)
    across, down = log[:, 1:] - log[:, :-1], log[1:] - log[:-1]
    return [across, -across, down, -down]


def _harmonic(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

"""Depth at another size, without depths that no surface has.

A mean of a near and a far depth is a point in empty air. So a pixel of the new size is interpolated only where the
four old pixels around it lie on one smooth surface, and there in disparity (1/z), which is linear in the image for
every plane; elsewhere it takes the nearest old pixel as it is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SMOOTH_RATIO = 1.05
"""Four neighbours lie on one surface if their depths are within this ratio of each other."""


def resample_depth(depth: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """Bring depth to another size.

    Args:
        depth: (h, w) float32 z-depth, > 0; infinite is sky.
        width: wanted, pixels.
        height: wanted, pixels.

    Returns:
        (height, width) float32 z-depth in the same units, each value between those of four neighbours of `depth`.
    """
    if depth.shape == (height, width):
        return depth
    x0, x1, fx = _neighbours(width, depth.shape[1])
    y0, y1, fy = _neighbours(height, depth.shape[0])
    fx, fy = fx[None, :], fy[:, None]
    disparity = np.float32(1) / depth
    corners = [disparity[np.ix_(y, x)] for y in (y0, y1) for x in (x0, x1)]
    lowest, highest = np.minimum.reduce(corners), np.maximum.reduce(corners)
    smooth = highest <= lowest * np.float32(SMOOTH_RATIO)
    top = corners[0] + (corners[1] - corners[0]) * fx
    bottom = corners[2] + (corners[3] - corners[2]) * fx
    blended = np.clip(top + (bottom - top) * fy, lowest, highest)
    x_nearest, y_nearest = np.where(fx[0] < 0.5, x0, x1), np.where(fy[:, 0] < 0.5, y0, y1)
    nearest = depth[np.ix_(y_nearest, x_nearest)]
    with np.errstate(divide="ignore"):  # sky is chosen from `nearest` or is 1/0 here: both infinite
        return np.where(smooth, np.float32(1) / blended, nearest)


def _neighbours(wanted: int, given: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """For each new pixel centre the old pixels before and after it, and how far it is between them (0..1)."""
    position = np.clip((np.arange(wanted) + 0.5) * given / wanted - 0.5, 0, given - 1)
    before = np.floor(position).astype(np.intp)
    after = np.minimum(before + 1, given - 1)
    return before, after, (position - before).astype(np.float32)

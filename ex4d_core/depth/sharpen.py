"""Sharpening of depth that bleeds across silhouettes, guided by colour."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ex4d_core.depth import edgeaware

Floats = NDArray[np.float32]

REACH = 0.006
"""How far depth bleeds, as a share of the longer side."""


def sharpen(disparity: Floats, color: NDArray[np.uint8]) -> Floats:
    """Put every pixel of a smeared depth edge onto the surface whose colour it has.

    Args:
        disparity: (H, W) float32, >= 0, any scale.
        color: (H, W, 3) uint8 sRGB of the same frame.

    Returns:
        (H, W) float32.
    """
    near = float(np.quantile(disparity, 0.99))
    if not near > 0:
        return disparity.astype(np.float32, copy=True)
    radius = max(2, round(REACH * max(disparity.shape)))
    snapped = edgeaware.snap(disparity / np.float32(near), color, radius)
    return np.asarray(snapped * np.float32(near), np.float32)

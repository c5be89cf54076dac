"""Sharpening of depth that bleeds across silhouettes, guided by colour.

Depth of networks and of flow goes over from a near surface to a far one in a ramp of some pixels, and a mesh made of
it has a skirt of surface that is not there. Here every pixel of such a ramp goes to one of the two surfaces, the one
whose colour it has. What lies on a surface is left as it is: an edge without a ramp, and a slope, do not change.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.depth.edgeaware import purity, weighted_median

Floats = NDArray[np.float32]

REACH = 0.008
"""How far depth bleeds to either side, as a share of the longer side."""

JUMP = 0.04
"""Difference of disparity between two surfaces, as a share of its range (the middle 98 %)."""

IMPURE = 0.6
"""Purity below which a pixel lies between surfaces (see `edgeaware.purity`)."""

LEAST_RISE = 0.25
"""Steps on both sides of a pixel of a ramp, as a share of a jump."""

LIKE = 0.25
"""Colour difference (sum over channels, 0..3) at which a neighbour counts 1/e."""


def sharpen(disparity: Floats, color: NDArray[np.uint8]) -> Floats:
    """Put every pixel of a smeared depth edge onto the surface whose colour it has.

    Args:
        disparity: (H, W) float32, finite, any scale.
        color: (H, W, 3) uint8 sRGB of the same frame.

    Returns:
        (H, W) float32.
    """
    disparity = np.ascontiguousarray(disparity, np.float32)
    low, high = (float(v) for v in np.quantile(disparity[::2, ::2], (0.01, 0.99)))
    if not high > low:
        return disparity.copy()
    radius = max(2, round(REACH * max(disparity.shape)))
    jump = JUMP * (high - low)
    pure = purity(disparity, jump, radius)
    ramp = (pure < IMPURE) & _rising(disparity, jump, radius)
    # a ramp's own values are of no surface; the pixels at its ends are, those farther off more surely so
    trust = np.where(ramp, np.float32(1e-3), pure)
    return weighted_median(disparity, np.ascontiguousarray(color), trust, ramp, radius + 1, LIKE * 255.0)


def _rising(disparity: Floats, jump: float, radius: int) -> NDArray[np.bool_]:
    """Where disparity goes on rising over several pixels, more steeply than a slope around it; and beside that.

    A clean edge rises between two pixels, and on either side of them not at all, however thin what it bounds.
    """
    rise = np.zeros_like(disparity)
    for values, result in ((disparity, rise), (disparity.T, rise.T)):
        step = np.diff(values, axis=1)
        before, after = step[:, :-1], step[:, 1:]
        both = np.where(before * after > 0, np.minimum(np.abs(before), np.abs(after)), np.float32(0))
        result[:, 1:-1] = np.maximum(result[:, 1:-1], both)
    around = np.ones((4 * radius + 1, 4 * radius + 1), np.uint8)
    wide = cv2.morphologyEx(cv2.blur(rise, (3, 3)), cv2.MORPH_OPEN, around)  # a slope is wider than any ramp
    core = (rise > LEAST_RISE * jump) & (rise > 3.0 * wide)
    return cv2.dilate(core.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(np.bool_)

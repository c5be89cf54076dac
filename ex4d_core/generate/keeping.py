"""Keeping the source: known pixels laid over what an engine made, for an artist's plate is sacred."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_FEATHER = 0.01
"""Width of the feather as a share of the frame's height, so that it looks the same at every size."""


def feather_pixels(height: int) -> int:
    """How far into what was seen the feather reaches, pixels, at least 2."""
    return max(2, round(_FEATHER * height))


def keep_source(generated: NDArray[np.uint8], color: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Lay what was seen over a generated frame.

    The feather lies wholly on the seen side: at its inner end the result is the source exactly, at the mask's edge it
    is what was generated, and no black of the unseen gets in.

    Args:
        generated: (h, w, 3) uint8 sRGB.
        color: (h, w, 3) uint8 sRGB, the source from this camera.
        mask: (h, w) bool, True = seen.

    Returns:
        (h, w, 3) uint8 sRGB.
    """
    if mask.all():  # no edge to measure from
        return color.copy()
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    weight = np.clip((inside - 1) / feather_pixels(len(mask)), 0, 1)[..., None]
    return np.rint(generated + weight * (color.astype(np.float32) - generated)).astype(np.uint8)

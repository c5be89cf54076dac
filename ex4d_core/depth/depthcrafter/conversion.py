"""Sizes that the model works at, and depth from what it draws, both as the reference system has them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MULTIPLE, MAX_SIDE = 64, 1024
SCALE, NUMERATOR = 3900.0, 10000.0
NEAREST, FARTHEST = 1e-4, 1e4
"""What depth is clipped to; with a disparity of at most 1 the nearest is 10000 / 3900."""

Floats = NDArray[np.float32]


def working_size(width: int, height: int) -> tuple[int, int]:
    """The size that the model works at: multiples of 64 nearest to the clip's, the longer side at most 1024 pixels."""
    fitted = tuple(round(side / MULTIPLE) for side in (width, height))
    if max(fitted) * MULTIPLE > MAX_SIDE:
        scale = MAX_SIDE / max(width, height)
        fitted = tuple(round(side * scale / MULTIPLE) for side in (width, height))
    return max(fitted[0], 1) * MULTIPLE, max(fitted[1], 1) * MULTIPLE


def disparity(picture: Floats, lowest: float, highest: float) -> Floats:
    """What the model drew, brought to 0 (farthest) to 1 (nearest) over the whole clip.

    Args:
        picture: (h, w) float32.
        lowest: of the clip.
        highest: of the clip, more than `lowest`.

    Returns:
        (h, w) float32.
    """
    return (picture - np.float32(lowest)) / (np.float32(highest) - np.float32(lowest))


def depth_from_disparity(values: Floats) -> Floats:
    """The reference system's depth: 10000 / (3900 disparity), at most 10000.

    Args:
        values: (h, w) float32, 0 to 1.

    Returns:
        (h, w) float32, units without a scale, 2.564 to 10000.
    """
    scaled = np.maximum(values * np.float32(SCALE), np.float32(1e-5))
    return np.clip(np.float32(NUMERATOR) / scaled, NEAREST, FARTHEST).astype(np.float32, copy=False)

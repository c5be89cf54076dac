"""Temporal flicker of a video: what changes from a frame to the next beyond motion (Lai et al. 2018, warping error)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ex4d_core.depth.motion import FlowMeter, pixel_grid, sample

_TRUSTED = 1.0
"""Pixels by which flow there and back may miss the start; beyond, something was hidden."""


def flickers(frames: NDArray[np.uint8]) -> list[float]:
    """Mean difference of each frame to the one before it, moved along the optical flow between them.

    Args:
        frames: (T, H, W, 3) uint8 sRGB.

    Returns:
        T - 1 numbers in levels of 255, over the pixels that both frames show; NaN where the flow finds none.
    """
    meter = FlowMeter(list(frames))
    found: list[float] = []
    for second in range(1, len(frames)):
        back, miss = meter.checked(second, second - 1)
        height, width = miss.shape
        at = pixel_grid(height, width) + back
        inside = (at >= 0).all(axis=-1) & (at[..., 0] <= width - 1) & (at[..., 1] <= height - 1)
        seen = inside & (miss < _TRUSTED)
        away = np.abs(sample(frames[second - 1].astype(np.float32), back) - frames[second]).mean(axis=-1)
        found.append(float(away[seen].mean()) if seen.any() else math.nan)
    return found

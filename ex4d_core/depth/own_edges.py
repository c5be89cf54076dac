"""Which of a frame's own depth edges are good enough to stay where they are.

What is followed along the flow arrives up to a pixel beside its edge. Where the edges of the frames around are equally
sharp, and depth does not flicker but smoothly, a frame keeps its own edges and only gets that smooth correction.
Where some are sharper, their edges count.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

SHARPEST = 0.9
"""Share of the frames around that are less sharp than what counts as sharp; a single one may be noisy."""

BLUNTEST = 0.25
"""Share of the frames around that may be blunt where the edges of the others are steady."""

STEADY = 0.85
"""Sharpness of the blunt ones as a share of that of the sharp ones that makes edges steady."""

AROUND = 0.05
"""Side of the square over which a correction is smooth, as a share of the longer side."""

ROUNDS = 2
"""Steps from a mean correction to that of most of the pixels around."""

POWER = 2
"""How fast frames with blunt edges lose their weight."""

ENOUGH = 6.0
"""Differences this many times as large as what does not matter are still better than edges that were followed."""

OFF = 0.25
"""Error of flow that is usual, as a share of the two pixels over which a slope is measured."""


def sharpness(values: Floats) -> float:
    """How steep the edges of a frame are: the narrower edges of one height are, the more.

    It is that of the whole frame: a part of it that moves, or that comes into sight, is not to make a difference.

    Args:
        values: (h, w) float32 disparity.
    """
    steps = [np.abs(np.diff(values, axis=axis)).astype(np.float64) for axis in (0, 1)]
    # higher powers than the mean: what rises everywhere, but slowly, is to weigh nothing
    squares = sum(float(np.square(step).sum()) for step in steps)
    return sum(float((step * step * step).sum()) for step in steps) / squares if squares > 0.0 else 0.0


def compare_sharpness(sharp: Sequence[float]) -> tuple[list[float], bool]:
    """How much each frame's edges are to count, and whether the edges of all are about equally sharp.

    Args:
        sharp: `sharpness` of a frame and of those around.

    Returns:
        As many shares, 0..1; and the answer.
    """
    ranked = sorted(sharp)
    blunt, best = (ranked[round(share * (len(ranked) - 1))] for share in (BLUNTEST, SHARPEST))
    return [min(s / best, 1.0) ** POWER if best > 0.0 else 1.0 for s in sharp], blunt >= STEADY * best


def smooth_correction(own: Floats, steady: Floats, least: float) -> tuple[Floats, Bools]:
    """What is to be added to a frame's own depth, by what is found away from edges, and where that is all it lacks.

    Args:
        own: (h, w) float32 disparity of the frame.
        steady: (h, w) float32 disparity that the frames around agree on.
        least: differences this small do not matter.

    Returns:
        (h, w) float32; (h, w) bool: most of the pixels around then agree.
    """
    cross = np.ones((3, 3), np.uint8)
    slopes = [cv2.morphologyEx(v, cv2.MORPH_GRADIENT, cross) for v in (own, steady)]
    flat = np.asarray(1.0 / (1.0 + np.square(np.maximum(*slopes) / np.float32(4.0 * least))), np.float32)
    window = _square(own, AROUND)
    change = steady - own
    smooth = cv2.blur(flat * change, window) / cv2.blur(flat, window)
    for _ in range(ROUNDS):
        near = flat / (1.0 + np.square((change - smooth) / np.float32(least)))
        smooth = cv2.blur(near * change, window) / (cv2.blur(near, window) + np.float32(1e-12))
    # over a slope, flow that is off by a part of a pixel makes a difference that is no flicker
    other = flat * (np.abs(change - smooth) > ENOUGH * least + OFF * slopes[1])
    return np.asarray(smooth, np.float32), cv2.blur(other, window) < 0.5 * cv2.blur(flat, window)


def _square(values: Floats, share: float) -> tuple[int, int]:
    side = 2 * round(share * max(values.shape) / 2) + 1
    return side, side

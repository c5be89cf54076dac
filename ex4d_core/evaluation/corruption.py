"""True depth made worse in known ways, to see how gently a method degrades."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.evaluation.truth import Truth

Floats = NDArray[np.float32]

BLUR = 2.0
"""Standard deviation of the blur over edges, pixels."""
_REACH = 9
"""Side of the square about a torn pair of pixels that is blurred, pixels."""
_TORN = 0.05
"""Pairs of pixels lie on two surfaces if disparity falls by more than this share."""
JITTER = 0.05
"""Standard deviation of the error of a frame's scale."""
STEPS = 255
"""Of 8 bits, over the range of disparity of the clip."""


def blur(truth: Truth, frame: int) -> Floats:
    """Edges smeared, as networks of low resolution do; surfaces are left alone."""
    disparity = truth.disparity(frame)
    nearest, farthest = cv2.dilate(disparity, np.ones((2, 2))), cv2.erode(disparity, np.ones((2, 2)))
    torn = (farthest < nearest * (1 - _TORN)).astype(np.uint8)
    near_edges = cv2.dilate(torn, np.ones((_REACH, _REACH), np.uint8)) > 0
    return np.where(near_edges, cv2.GaussianBlur(disparity, (0, 0), BLUR), disparity).astype(np.float32)


def jitter(truth: Truth, frame: int) -> Floats:
    """Each frame nearer or farther by a factor of its own, as without any alignment in time."""
    factor = np.exp(np.random.default_rng(frame).normal(0, JITTER))
    return (truth.disparity(frame) / factor).astype(np.float32)


def quantised(truth: Truth, frame: int) -> Floats:
    """Disparity in 8 bits, as in a grey video."""
    low, high = truth.ranges["source"]
    step = (high - low) / STEPS
    return (low + np.rint((truth.disparity(frame) - low) / step) * step).astype(np.float32)


CORRUPTIONS: dict[str, Callable[[Truth, int], Floats]] = {"blur": blur, "jitter": jitter, "8-bit": quantised}
"""By name: (H, W) float32 disparity, 1/m, of a source frame."""

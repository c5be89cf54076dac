"""The rims of what warped footage shows, which nobody trusts: taken away before a model sees it, and in training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_Filter = Callable[[NDArray[np.uint8], NDArray[np.uint8]], Any]

SIZES = (2, 8)
"""Pixels, smallest and largest kernel of the reference."""


def eroded(mask: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
    """Shrink what counts as seen, each frame by another 2 to 8 pixels: the rims of warped footage are not trusted.

    The reference draws the amounts anew on each run; here the seed decides.

    Args:
        mask: (T, h, w) bool, True = seen.
        seed: of the window.

    Returns:
        (T, h, w) bool.
    """
    return _filtered(mask, seed, cv2.erode)


def dilated(mask: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
    """Grow what counts as seen likewise, over the rims of the holes; arguments as `eroded`."""
    return _filtered(mask, seed, cv2.dilate)


def _filtered(mask: NDArray[np.bool_], seed: int, grow: _Filter) -> NDArray[np.bool_]:
    sizes = np.random.default_rng(seed).integers(*SIZES, len(mask), endpoint=True)
    kernels = [np.ones((size, size), np.uint8) for size in sizes.tolist()]
    return np.stack([grow(frame.astype(np.uint8), kernel) for frame, kernel in zip(mask, kernels, strict=True)]) > 0

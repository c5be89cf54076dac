"""Which neighbouring pixels belong to one surface, and which are cut from each other (method `quads`).

A plane is linear in disparity (1/z) across the image, at any scale, focal length and angle. So two neighbours belong
together if the step between them is small, or if it goes on with a slope that the surface has on one side, or if it
lies between the slopes of both sides (a crease). A slope counts only where it is one: a step to the next pixel that
is like the step before it. Else the two edges of a thin object would vouch for each other.
"""

from __future__ import annotations

from typing import Any, TypeVar

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", np.float32, np.uint8)

RIGHT, BELOW = 1, 2
"""Bits of `find_cuts`: the pixel is cut from its right neighbour, from the one below."""

TOLERANCE = 0.015
"""Steps up to this share of the smaller disparity are small. On rendered truth half of it does as well; the larger, the
more noise the depth may have."""

CURVATURE = 0.1
"""By what share a slope may change from one step to the next, beyond `TOLERANCE`."""


def find_cuts(disparity: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Find where surfaces end.

    Args:
        disparity: (H, W) float32, 1/z, positive.

    Returns:
        (H, W) uint8, bits `RIGHT` and `BELOW`; the last column has no `RIGHT`, the last row no `BELOW`.
    """
    cuts = np.zeros(disparity.shape, np.uint8)
    _cut_lines(disparity, np.float32(TOLERANCE), np.float32(CURVATURE), np.uint8(RIGHT), cuts)
    _cut_lines(turned(disparity), np.float32(TOLERANCE), np.float32(CURVATURE), np.uint8(BELOW), cuts.T)
    return cuts


def turned(image: NDArray[Number]) -> NDArray[Number]:
    """A transposed copy (W, H) of an image (H, W), which OpenCV makes many times as fast as NumPy."""
    return cv2.transpose(image)  # type: ignore[return-value]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _cut_lines(disparity: Any, tolerance: Any, curvature: Any, bit: Any, cuts: Any) -> None:  # pragma: no cover
    """Cut each row between neighbours that are torn apart: set `bit` of the left one."""
    rows, length = disparity.shape
    zero = np.float32(0)
    for y in range(rows):
        line = disparity[y]
        for k in range(length - 1):
            step = line[k + 1] - line[k]
            small = tolerance * min(line[k], line[k + 1])
            if abs(step) <= small:
                continue
            before, after = zero, zero
            trust_before, trust_after = False, False
            if k > 0:
                before = line[k] - line[k - 1]
                trust_before = abs(before) <= small
                if not trust_before:
                    change = zero if k < 2 else abs(before - (line[k - 1] - line[k - 2]))
                    trust_before = change <= small + curvature * abs(before)
            if k + 2 < length:
                after = line[k + 2] - line[k + 1]
                trust_after = abs(after) <= small
                if not trust_after:
                    change = zero if k + 3 >= length else abs(after - (line[k + 3] - line[k + 2]))
                    trust_after = change <= small + curvature * abs(after)
            if trust_before and abs(step - before) <= small + curvature * abs(before):
                continue
            if trust_after and abs(step - after) <= small + curvature * abs(after):
                continue
            between = min(before, after) - small <= step and step <= max(before, after) + small
            if trust_before and trust_after and between:
                continue
            cuts[y, k] |= bit

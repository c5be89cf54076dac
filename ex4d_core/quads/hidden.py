"""Surfaces that go on behind what stands before them (method `quads`).

A table on which an apple stands is there behind the apple, too: along a row of the frame it ends at the apple and comes
out again on the other side, with the disparity that its slope lets expect. So between there is a strip of it that
nobody saw, and that hides what is behind it: without it a camera from the side looks through the table at the floor.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ex4d_core.quads.cuts import BELOW, RIGHT, turned

LONGEST = 0.25
"""Longest strip, as a share of the frame's side."""

SAME = 0.03
"""By what share of its disparity a surface may come out elsewhere than its slopes on both sides let expect."""


def find_strips(disparity: NDArray[np.float32], cuts: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Find the hidden strips of surfaces, along rows and along columns.

    Args:
        disparity: (H, W) float32, 1/z, positive.
        cuts: (H, W) uint8, see `find_cuts`.

    Returns:
        (N, 4) int32: 0 and the row or 1 and the column, then the last pixel before the strip and the first after it.
    """
    height, width = disparity.shape
    found = np.empty((2 * np.count_nonzero(cuts), 4), np.int32)
    count = _along(disparity, cuts, RIGHT, 0, int(LONGEST * width), SAME, found, 0)
    return found[: _along(turned(disparity), turned(cuts), BELOW, 1, int(LONGEST * height), SAME, found, count)]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _along(
    disparity: Any, cuts: Any, bit: Any, axis: Any, longest: Any, same: Any, found: Any, count: Any
) -> Any:  # pragma: no cover
    """Append the strips along the rows to `found` from `count` on; returns how many there are then."""
    begins = np.empty(disparity.shape[1], np.int32)
    for y in range(disparity.shape[0]):
        line, cut = disparity[y], cuts[y]
        several = 0
        for a in range(1, len(line) - 2):  # written always, kept where true: no branch to mispredict
            begins[several] = a
            several += 1 if ((cut[a] & bit) != 0) & ((cut[a - 1] & bit) == 0) & (line[a] <= line[a + 1]) else 0
        for n in range(several):
            a = np.int64(begins[n])
            slope = line[a] - line[a - 1]
            for b in range(a + 2, min(a + longest, len(line) - 2) + 1):
                if line[b] > line[a] * (1 + same) + slope * (b - a):
                    continue  # still before it
                after = line[b + 1] - line[b]
                met = cut[b - 1] & bit and not cut[b] & bit and line[b - 1] > line[b]
                met = met and abs(line[b] - line[a] - slope * (b - a)) <= same * line[b]
                if met and abs(line[a] - line[b] + after * (b - a)) <= same * line[a]:
                    found[count, 0], found[count, 1], found[count, 2], found[count, 3] = axis, y, a, b
                    count += 1
                break
    return count

"""Surfaces that go on behind what stands before them (method `quads`).

A table on which an apple stands is there behind the apple, too: along a row of the frame it ends at the apple and comes
out again on the other side, with the disparity that its slope lets expect. So between there is a strip of it that
nobody saw, and that hides what is behind it: without it a camera from the side looks through the table at the floor.

A stem that ends at a petal goes on behind it, too, but nobody knows how far: half as far as it was seen is taken, if
the frame shows nothing further away there.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ex4d_core.quads.cuts import BELOW, RIGHT, turned

LONGEST = 0.25
"""Longest strip, as a share of the frame's side."""

SAME = 0.02
"""By what share of its disparity a surface may come out elsewhere than its slopes on both sides let expect, and by what
share what hides it is nearer at least."""


ON = 0.5
"""How far a surface goes on behind another one and does not come out, as a share of how far it was seen in line."""

_LEAST_RUN, _SLOPE = 3, 4
"""Pixels: a surface seen less far in line is not continued; over how many at most its slope is taken."""


def find_strips(
    disparity: NDArray[np.float32], cuts: NDArray[np.uint8]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Find the hidden strips of surfaces, along rows and along columns.

    Args:
        disparity: (H, W) float32, 1/z, positive.
        cuts: (H, W) uint8, see `find_cuts`.

    Returns:
        (N, 4) int32: 0 and the row or 1 and the column, then the last pixel before the strip and the first after it;
        and (N,) float32: NaN where both are of the surface; else only the former is, the latter may be on the other
        side of it or outside of the frame, and this is by how much the disparity changes a pixel on the way there.
    """
    height, width = disparity.shape
    most = 4 * np.count_nonzero(cuts)  # two ways along each axis
    found, slopes = np.empty((most, 4), np.int32), np.full(most, np.nan, np.float32)
    count = 0
    ways = (disparity, cuts, RIGHT), (turned(disparity), turned(cuts), BELOW)
    for axis, (lines, cut, bit) in enumerate(ways):
        longest = int(LONGEST * (height if axis else width))
        places = np.flatnonzero((cut & np.uint8(bit)) != 0)
        count = _between(lines, cut, places, bit, axis, longest, SAME, found, count)
        count = _behind(lines, places, axis, longest, SAME, ON, found, slopes, count)
    return found[:count], slopes[:count]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _between(
    disparity: Any, cuts: Any, places: Any, bit: Any, axis: Any, longest: Any, same: Any, found: Any, count: Any
) -> Any:  # pragma: no cover
    """Append the strips along the rows to `found` from `count` on; returns how many there are then.

    `places` (N,) int64: the pixels that have a cut `bit`, row by row.
    """
    columns = np.uint32(disparity.shape[1])
    for n in range(len(places)):
        y = np.int64(np.uint32(places[n]) // columns)
        a = places[n] - y * np.int64(columns)
        line, cut = disparity[y], cuts[y]
        if a < 1 or a > len(line) - 3 or cut[a - 1] & bit or line[a] > line[a + 1]:
            continue
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


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _behind(
    disparity: Any,
    places: Any,
    axis: Any,
    longest: Any,
    same: Any,
    on: Any,
    found: Any,
    slopes: Any,
    count: Any,
) -> Any:  # pragma: no cover
    """Append the strips along the rows that end hidden to `found` from `count` on; returns how many there are then.

    What is seen further than `longest` is no thing but a ground or a wall, and not continued.
    """
    length, columns = disparity.shape[1], np.uint32(disparity.shape[1])
    for n in range(len(places)):
        y = np.int64(np.uint32(places[n]) // columns)
        x = places[n] - y * length
        line = disparity[y]
        step = 1 if line[x] < line[x + 1] else -1  # from the surface that is further away to the other one
        a = x if step > 0 else x + 1
        # To the next cut in line, or the frame's border.
        last, following = places[max(n - 1, 0)] - y * length, places[min(n + 1, len(places) - 1)] - y * length
        run = x - last if n > 0 and last >= 0 else x + 1
        if step < 0:
            run = following - x if n + 1 < len(places) and following < length else length - 1 - x
        if run < _LEAST_RUN or run >= longest:
            continue
        far = min(run - 1, _SLOPE)
        slope = (line[a] - line[a - step * far]) / np.float32(far)
        strip, b = 0, a + step
        while strip < on * run and 0 <= b < length and line[b] > (1 + same) * (line[a] + slope * (strip + 1)):
            strip, b = strip + 1, b + step
        if strip >= on * run or not 0 <= b < length:
            found[count, 0], found[count, 1], found[count, 2], found[count, 3] = axis, y, a, b
            slopes[count] = slope
            count += 1
    return count

"""Which pixels around a pixel show its own surface, as the bits of one number (method `quads`)."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ex4d_core.quads.cuts import BELOW, RIGHT

REACH = 2
"""Neighbours up to this far, so that a 4x4 kernel around any point of the pixel is covered."""

SIDE = 2 * REACH + 1

ALL = (1 << (SIDE * SIDE)) - 1

_AS_COLUMN = np.array([sum(((n >> k) & 1) << (k * SIDE) for k in range(SIDE)) for n in range(1 << SIDE)])
"""(32,) int64: the bits of a line of pixels as those of a column."""


def find_links(cuts: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Find the neighbours of each pixel that can be reached without crossing a cut, first one way, then the other.

    Args:
        cuts: (H, W) uint8, see `find_cuts`.

    Returns:
        (H, W) int32: bit (dy + 2) * 5 + dx + 2 is set if the pixel (y + dy, x + dx) is on the surface of (y, x);
        neighbours outside of the frame count as the nearest inside.
    """
    links = np.full(cuts.shape, ALL, np.int32)
    across, down = (np.full(cuts.shape, (1 << SIDE) - 1, np.int8) for _ in range(2))
    _link(cuts, _who_may_look_across(cuts), np.empty(cuts.size + 1, np.int32), across, down, links)
    return links


def _who_may_look_across(cuts: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) uint8, not 0 for the pixels that have a cut within reach."""
    height, width = cuts.shape
    padded = np.pad(cuts, (REACH + 1, REACH))  # a cut is to the right of its pixel, or below it
    shifts = range(2 * REACH + 2)
    rows = reduce(np.bitwise_or, (padded[n : n + height] for n in shifts))
    return reduce(np.bitwise_or, (rows[:, n : n + width] for n in shifts))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _ways(cut_lines: Any, line: Any, k: Any, length: Any, bit: Any) -> Any:  # pragma: no cover
    """5 bits: how far one gets along a line of the frame from its pixel k; beyond its ends, as far as to them."""
    c, end = cut_lines[line], length - 1
    left = (k < 1) | ((c[max(k - 1, 0)] & bit) == 0)
    right = (c[k] & bit) == 0  # of the last pixel, too
    further_left = left & ((k < 2) | ((c[max(k - 2, 0)] & bit) == 0))
    further_right = right & ((c[min(k + 1, end)] & bit) == 0)
    return (1 << REACH) + further_left + 2 * left + 8 * right + 16 * further_right


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _link(cuts: Any, near: Any, listed: Any, across: Any, down: Any, links: Any) -> None:  # pragma: no cover
    """Fill `links`, all set, of the pixels `near` cuts. `listed` is scratch, as are `across` and `down`, all set."""
    height, width = cuts.shape
    several = 0
    for y in range(height):
        marks = near[y]
        for x in range(width):  # written always, kept where true: no branch to mispredict
            listed[several] = y * width + x
            several += 1 if marks[x] != 0 else 0
    columns, row_length = cuts.T, np.uint32(width)
    for n in range(several):
        y = np.int64(np.uint32(listed[n]) // row_length)
        x = np.int64(listed[n]) - y * width
        across[y, x] = _ways(cuts, y, x, width, RIGHT)
        down[y, x] = _ways(columns, x, y, height, BELOW)
    for n in range(several):
        y = np.int64(np.uint32(listed[n]) // row_length)
        x = np.int64(listed[n]) - y * width
        bits = 0
        for k in range(SIDE):
            # Down first, then along the row there; across first, then along the column there.
            v, u = min(max(y + k - REACH, 0), height - 1), min(max(x + k - REACH, 0), width - 1)
            row, column = np.int64(across[v, x]) << (k * SIDE), _AS_COLUMN[np.uint8(down[y, u])] << k
            bits |= (row if (down[y, x] >> k) & 1 else 0) | (column if (across[y, x] >> k) & 1 else 0)
        links[y, x] = bits

"""Which pixels around a pixel show its own surface, as the bits of one number (method `quads`)."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ex4d_core.quads.cuts import BELOW, RIGHT

REACH = 2
"""Neighbours up to this far, so that a 4x4 kernel around any point of the pixel is covered."""

SIDE = 2 * REACH + 1

ALL = (1 << (SIDE * SIDE)) - 1


def find_links(cuts: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Find the neighbours of each pixel that can be reached without crossing a cut, first one way, then the other.

    Args:
        cuts: (H, W) uint8, see `find_cuts`.

    Returns:
        (H, W) int32: bit (dy + 2) * 5 + dx + 2 is set if the pixel (y + dy, x + dx) is on the surface of (y, x);
        neighbours outside of the frame count as the nearest inside.
    """
    links = np.full(cuts.shape, ALL, np.int32)
    _link(cuts, links)
    return links


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _ways(cut_lines: Any, line: Any, k: Any, length: Any, bit: Any) -> Any:  # pragma: no cover
    """5 bits: how far one gets along a line of the frame from its pixel k; beyond its ends, as far as to them."""
    bits = 1 << REACH
    for n in range(REACH):
        if k - n > 0 and cut_lines[line, k - n - 1] & bit:
            break
        bits |= 1 << (REACH - 1 - n)
    for n in range(REACH):
        if k + n + 1 < length and cut_lines[line, k + n] & bit:
            break
        bits |= 1 << (REACH + 1 + n)
    return bits


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _link(cuts: Any, links: Any) -> None:  # pragma: no cover
    height, width = cuts.shape
    near = np.zeros((height, width), np.uint8)
    for y in range(height):
        line = cuts[y]
        for x in range(width):
            if line[x] == 0:
                continue
            # A cut here concerns those who could look across it.
            for v in range(max(y - REACH, 0), min(y + REACH + 1, height - 1) + 1):
                for u in range(max(x - REACH, 0), min(x + REACH + 1, width - 1) + 1):
                    near[v, u] = 1
    across, down = np.zeros((height, width), np.int8), np.zeros((height, width), np.int8)
    columns = cuts.T
    for y in range(height):
        marks = near[y]
        for x in range(width):
            if marks[x]:
                across[y, x] = _ways(cuts, y, x, width, RIGHT)
                down[y, x] = _ways(columns, x, y, height, BELOW)
    every = (1 << SIDE) - 1
    for y in range(height):
        marks = near[y]
        for x in range(width):
            if not marks[x]:
                continue
            bits = 0
            for k in range(SIDE):
                # Down first, then along the row there; across first, then along the column there.
                v, u = min(max(y + k - REACH, 0), height - 1), min(max(x + k - REACH, 0), width - 1)
                if (down[y, x] >> k) & 1:
                    bits |= (np.int64(across[v, x]) if near[v, x] else every) << (k * SIDE)
                if (across[y, x] >> k) & 1:
                    column = np.int64(down[y, u]) if near[y, u] else every
                    for n in range(SIDE):
                        bits |= ((column >> n) & 1) << (n * SIDE + k)
            links[y, x] = bits

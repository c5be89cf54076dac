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


@numba.njit(cache=True, nogil=True)
def _free(cuts: Any, y: Any, x: Any, v: Any, u: Any, across_first: Any) -> Any:  # pragma: no cover
    """Whether the way from (y, x) to (v, u), straight across and straight down or the other way round, is free."""
    row, column = (y, u) if across_first else (v, x)
    for n in range(min(x, u), max(x, u)):
        if cuts[row, n] & RIGHT:
            return False
    for n in range(min(y, v), max(y, v)):  # noqa: SIM110 - numba knows no `all`
        if cuts[n, column] & BELOW:
            return False
    return True


@numba.njit(cache=True, nogil=True)
def _link(cuts: Any, links: Any) -> None:  # pragma: no cover
    height, width = cuts.shape
    for y in range(height):
        for x in range(width):
            if cuts[y, x] == 0:
                continue
            # A cut here concerns those who could look across it.
            for v in range(max(y - REACH, 0), min(y + REACH + 1, height - 1) + 1):
                for u in range(max(x - REACH, 0), min(x + REACH + 1, width - 1) + 1):
                    links[v, u] = -1
    for y in range(height):
        for x in range(width):
            if links[y, x] >= 0:
                continue
            bits = 0
            for dy in range(-REACH, REACH + 1):
                for dx in range(-REACH, REACH + 1):
                    v, u = min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)
                    if _free(cuts, y, x, v, u, True) or _free(cuts, y, x, v, u, False):
                        bits |= 1 << ((dy + REACH) * SIDE + dx + REACH)
            links[y, x] = bits

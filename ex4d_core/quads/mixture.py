"""Edge pixels: how much of each surface is in them (method `quads`).

A pixel at an edge shows some of both surfaces, `C = a F + (1 - a) B`. Its inner neighbours on the two surfaces tell
`F` and `B`, the point of the line between them nearest to `C` tells `a`. From `a` follow where in the pixel the edge
runs, and the colour that the surface alone would have: `C + (1 - a)(F - B)`, which keeps the pixel's own detail.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ex4d_core.quads.cuts import BELOW, RIGHT

_CONTRAST = 4000.0
"""Least squared distance of F and B, 8-bit levels summed over red, green and blue: under it noise decides."""

TRUST = 0.7
"""How much of the way to where the colours put an edge it is moved. They are those of compressed footage: all the way
puts more of the mask wrong than it gains in colour, not at all blurs the colours of edges."""

_LEAST_OWN = 0.5
"""Least share of itself that a pixel is taken to have: of less, noise would be made into colour."""

CLEANED = 0.6
"""How much of the other surface is taken out: with all of it, noise would be made into colour."""


def separate(color: NDArray[np.uint8], cuts: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Take the other surface out of edge pixels, and find where in them the edge runs.

    Args:
        color: (H, W, 3) uint8 sRGB.
        cuts: (H, W) uint8, see `find_cuts`.

    Returns:
        (H, W, 3) uint8 sRGB; and (H, W, 2) float32, pixels: how much further right than half way to its right
        neighbour the edge at a pixel's right cut is put, and further down that at its lower cut, at most 0.5; 0 where
        there is no cut, or the colours do not tell.
    """
    clean, shift = color.copy(), np.zeros((*cuts.shape, 2), np.float32)
    shares = np.float32(_LEAST_OWN), np.float32(CLEANED), np.float32(TRUST)
    _separate(color, cuts, np.float32(_CONTRAST), *shares, clean, shift)
    return clean, shift


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _edges(cuts: Any) -> Any:  # pragma: no cover
    """(H, W) uint8: 1 where a pixel is cut from any of its four neighbours."""
    height, width = cuts.shape
    edge = np.empty((height, width), np.uint8)
    for y in range(height):
        line, above, out = cuts[y], cuts[max(y - 1, 0)], edge[y]
        upper = np.uint8(BELOW if y > 0 else 0)
        out[0] = (line[0] | (above[0] & upper)) != 0
        for x in range(width - 1):
            out[x + 1] = (line[x + 1] | (line[x] & np.uint8(RIGHT)) | (above[x + 1] & upper)) != 0
    return edge


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _inner(color: Any, edge: Any, y: Any, x: Any, found: Any) -> Any:  # pragma: no cover
    """Mean colour of the neighbours on the pixel's own surface that are at no cut, in `found`; False: there is none."""
    height, width = edge.shape
    total = np.float32(0)
    found[0] = found[1] = found[2] = 0
    for v in range(max(y - 1, 0), min(y + 2, height)):
        for u in range(max(x - 1, 0), min(x + 2, width)):
            if edge[v, u]:  # so is the pixel itself
                continue
            # That neighbour is at no cut itself: the way to it is free along it, and need be so along the pixel.
            if v == y or u == x or not edge[y, u] or not edge[v, x]:
                weight = np.float32(1.0 if v == y or u == x else 0.5)
                total += weight
                for c in range(3):
                    found[c] += weight * color[v, u, c]
    for c in range(3):
        found[c] /= max(total, np.float32(1e-6))
    return total > 0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _separate(
    color: Any, cuts: Any, contrast: Any, least: Any, cleaned: Any, trust: Any, clean: Any, shift: Any
) -> None:  # pragma: no cover
    height, width = cuts.shape
    gain, count = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.uint8)
    inner, edge = np.empty((2, 3), np.float32), _edges(cuts)
    own = np.empty(2, np.float32)
    for y in range(height):
        line = cuts[y]
        for x in range(width):
            if line[x] == 0:
                continue
            has = _inner(color, edge, y, x, inner[0])
            for axis in range(2):
                if not cuts[y, x] & (RIGHT if axis == 0 else BELOW) or not has:
                    continue
                v, u = y + axis, x + 1 - axis
                if not _inner(color, edge, v, u, inner[1]):
                    continue
                apart = np.float32(0)
                for c in range(3):
                    apart += (inner[0, c] - inner[1, c]) ** 2
                if apart < contrast:
                    continue
                for m in range(2):
                    row, column = (v, u) if m else (y, x)
                    along = np.float32(0)
                    for c in range(3):
                        along += (color[row, column, c] - inner[1 - m, c]) * (inner[m, c] - inner[1 - m, c])
                    own[m] = min(max(along / apart, np.float32(0)), np.float32(1))
                    for c in range(3):
                        gain[row, column, c] += cleaned * (1 - max(own[m], least)) * (inner[m, c] - inner[1 - m, c])
                    count[row, column] += 1
                shift[y, x, axis] = trust * min(max(own[0] - own[1], np.float32(-0.5)), np.float32(0.5))
    for y in range(height):
        for x in range(width):
            if count[y, x] > 0:
                for c in range(3):
                    value = color[y, x, c] + gain[y, x, c] / count[y, x] + np.float32(0.5)
                    clean[y, x, c] = np.uint8(min(max(value, np.float32(0)), np.float32(255)))

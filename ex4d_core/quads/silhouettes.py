"""How far the pixels of a surface are from its silhouette, which is where it hides another one (method `quads`)."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ex4d_core.quads.cuts import BELOW, RIGHT

_FAR = 1e9


def find_distances(disparity: NDArray[np.float32], cuts: NDArray[np.uint8], reach: float) -> NDArray[np.float32]:
    """Measure distances from silhouettes, each along its surface.

    A silhouette is a cut with the pixel on its nearer side; the pixel at it has 0.5.

    Args:
        disparity: (H, W) float32, 1/z, positive.
        cuts: (H, W) uint8, see `find_cuts`.
        reach: pixels; what is further away is not measured.

    Returns:
        (H, W) float32, pixels; far: over `reach`.
    """
    inside = np.full(disparity.shape, _FAR, np.float32)
    _spread(disparity, cuts, np.float32(reach), inside)
    return inside


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _visit(far: Any, distance: Any, p: Any, free: Any, queue: Any, last: Any, inside: Any) -> Any:  # pragma: no cover
    """Append pixel p to the queue if there is a way to it and nobody was there; returns the queue's new end.

    Written always, kept where true: a branch would be a coin toss.
    """
    fresh = free & (inside[p] == far)
    queue[last] = p
    inside[p] = distance if fresh else inside[p]
    return last + np.uintp(1 if fresh else 0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _spread(disparity: Any, cuts: Any, reach: Any, inside: Any) -> None:  # pragma: no cover
    """Breadth first, from ring to ring, so that only pixels near a silhouette cost anything; rings of squares and of
    diamonds in turn, which makes octagons of what should be circles.
    """
    height, width = disparity.shape
    far, flat, cut = np.float32(_FAR), inside.reshape(-1), cuts.reshape(-1)
    queue = np.empty(height * width + 1, np.int32)
    first, last = np.uintp(0), np.uintp(0)
    for y in range(height):
        line, above = cuts[y], cuts[max(y - 1, 0)]
        for x in range(width):
            if not line[x] | line[max(x - 1, 0)] | above[x]:
                continue
            edge = cuts[y, x] & RIGHT and disparity[y, x] > disparity[y, x + 1]
            edge = edge or (cuts[y, x] & BELOW and disparity[y, x] > disparity[y + 1, x])
            edge = edge or (x > 0 and cuts[y, x - 1] & RIGHT and disparity[y, x] > disparity[y, x - 1])
            edge = edge or (y > 0 and cuts[y - 1, x] & BELOW and disparity[y, x] > disparity[y - 1, x])
            if edge:
                inside[y, x] = np.float32(0.5)
                queue[last] = y * width + x
                last += np.uintp(1)
    distance, square, columns = np.float32(0.5), False, np.uint32(width)
    while first < last and distance < reach:
        distance += np.float32(1)
        stop = last
        while first < stop:
            p = np.int64(queue[first])
            y = np.int64(np.uint32(p) // columns)
            x = p - y * width
            first += np.uintp(1)
            # The neighbours; where the frame ends, the pixel itself, to which there is no way.
            e, w = p + (1 if x + 1 < width else 0), p - (1 if x > 0 else 0)
            s, n = width if y + 1 < height else 0, width if y > 0 else 0
            right, left = (e > p) & ((cut[p] & RIGHT) == 0), (w < p) & ((cut[w] & RIGHT) == 0)
            below, above = (s > 0) & ((cut[p] & BELOW) == 0), (n > 0) & ((cut[p - n] & BELOW) == 0)
            last = _visit(far, distance, e, right, queue, last, flat)
            last = _visit(far, distance, w, left, queue, last, flat)
            last = _visit(far, distance, p + s, below, queue, last, flat)
            last = _visit(far, distance, p - n, above, queue, last, flat)
            if square:
                last = _visit(far, distance, e + s, right & below & ((cut[e] & BELOW) == 0), queue, last, flat)
                last = _visit(far, distance, w + s, left & below & ((cut[w] & BELOW) == 0), queue, last, flat)
                last = _visit(far, distance, e - n, right & above & ((cut[e - n] & BELOW) == 0), queue, last, flat)
                last = _visit(far, distance, w - n, left & above & ((cut[w - n] & BELOW) == 0), queue, last, flat)
        square = not square

"""One frame's depth as quads, one a pixel, with what they hide behind them (docs/quads.md).

Each source pixel is a quad in space: it has its four corners in common with those neighbours that lie on the same
surface, and with nobody else. So the corners of most pixels are a lattice of (H+1) x (W+1) points; where surfaces are
cut from each other the lattice has no point, and the quads around it are loose. So are most of the occluders, which
were never seen and hide what is behind them:

* a *shell* behind each silhouette: nobody knows how thick an object is, but it is not paper. From the silhouette
  inwards the shell lies further and further behind the surface, up to a share of its depth; inside of surfaces its
  corners are a lattice too;
* a *flap* at each border pixel, which continues its surface out of the frame;
* a *strip* where a surface goes on behind another one and comes out again (`hidden`).

All of it is handed over as one grid of points, which a rasterizer that knows grids draws several times as fast as
single faces: the lattice, below it that of the shells, below that the loose quads, side by side, with two columns and
two rows of points each. What is not a quad has a corner that is NaN, in both of its triangles, or lies between loose
quads, where faces have no area.

The kernels that call each other stand in one module: Numba keeps compiled ones by the file that they are in, and would
not see that one of another file has changed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.quads.cuts import BELOW, RIGHT
from ex4d_core.quads.hidden import find_strips
from ex4d_core.quads.silhouettes import find_distances

THICKENING = 3.6
"""How much further behind the surface the shell is a pixel further in, in sizes of that pixel in space."""

THICKEST = 0.1
"""How far behind the surface the shell gets, as a share of the surface's depth."""

RIM = 0.6
"""How much of a rim that bends away is believed to be as round as a ball's or a pipe's, see `_to_edge`."""

_FLAT, _ROUND = 1.0, 1.3
"""How many times the step before it a surface's last step to its silhouette is: it does not bend, or is round."""

FLAP = 0.5
"""How far flaps reach out of the frame at most, as a share of its side; else as far as their surface runs into the
frame from the border: a table seen across the whole frame goes on, a chair of which a leg is seen ends soon."""

_BASE = 16
"""Over how many pixels into the frame, and to both sides along its border, the slope is measured with which a flap goes
on: over few, noise in the depth would bend it, and neighbours part into needles."""

_EVERY = 4
"""How far a surface runs into the frame is measured at every so many pixels of the border."""

_LEAST, _MOST = 0.3, 3.0
"""A flap's, and a corner's, disparity as a share of its pixel's: bounds for slopes that are continued."""

OCCLUDER = -1

_PACKED = 16
"""The pairs of rows of loose quads are a multiple of this many, so that frames share `lattice_faces`."""


def _together() -> NDArray[np.int64]:
    """(16, 4): which of the pixels around a corner belong together with each of them, bits 1, 2, 4 and 8.

    By what is not cut: bit 1 between upper left and right, 2 lower left and right, 4 upper and lower left, 8 right.
    """
    masks = np.empty((16, 4), np.int64)
    for edges in range(16):
        joined = np.eye(4, dtype=np.int64)
        for bit, (a, b) in enumerate(((0, 1), (2, 3), (0, 2), (1, 3))):
            if edges >> bit & 1:
                joined[a, b] = joined[b, a] = 1
        masks[edges] = (joined @ joined @ joined > 0) @ np.array([1, 2, 4, 8])
    return masks


_TOGETHER = _together()


@dataclass(frozen=True, eq=False)
class Solid:
    """A grid to rasterize. Its winding is that of `DWMesh`: the normal of a surface that was seen points away."""

    vertices: NDArray[np.float32]
    """(N, 3) float32, scene units, source camera space: the points of the grid, row by row. From row 0 on the lattice,
    from row H + 2 on the shells, from row 2H + 4 on the loose quads; NaN what is nobody's."""
    faces: NDArray[np.int32]
    """(F, 3) int32, the two triangles of each cell of the grid: all upper left ones, then all lower right ones; without
    area between loose quads."""
    grid: tuple[int, int]
    """Rows and W + 1 columns of `vertices`."""
    pixel: NDArray[np.int32]
    """(Q,) int32, whose the loose quads are: row * W + column, or `OCCLUDER`. For where they stand see `_place`."""
    uv: NDArray[np.float32]
    """(Q, 4, 2) float32, where the corners of loose quads are in the source frame, pixels: upper left, upper right,
    lower left, lower right."""
    size: tuple[int, int]
    """(H, W) of the source frame."""

    @property
    def apart(self) -> int:
        """The row of the grid in which the loose quads begin."""
        return 2 * (self.size[0] + 2)

    def loose_corners(self) -> NDArray[np.int64]:
        """(Q, 4) int64, the vertices of the loose quads: upper left, upper right, lower left, lower right."""
        columns = self.grid[1]
        pair, place = np.divmod(np.arange(len(self.pixel)), columns // 2)
        first = (self.apart + 2 * pair) * columns + 2 * place
        return first[:, None] + np.array([0, 1, columns, columns + 1])

    def all_uv(self) -> NDArray[np.float32]:
        """(N, 2) float32, position in the source frame of every vertex that is one of a pixel's quad, pixels."""
        height, width = self.size
        uv = np.zeros((*self.grid, 2), np.float32)
        uv[: height + 1, : width + 1, 1], uv[: height + 1, : width + 1, 0] = np.mgrid[: height + 1, : width + 1]
        uv = uv.reshape(-1, 2)
        uv[self.loose_corners()] = self.uv
        return uv


def build_solid(
    disparity: NDArray[np.float32],
    cuts: NDArray[np.uint8],
    shift: NDArray[np.float32],
    intrinsics: Intrinsics,
) -> Solid:
    """Build the quads of one frame.

    Args:
        disparity: (H, W) float32, 1/z, positive.
        cuts: (H, W) uint8 of `find_cuts`.
        shift: (H, W, 2) float32, pixels: by how much the edge at the pixel's right cut lies further right than half
            way to its neighbour, and that at its lower cut further down; 0 where there is no cut.
        intrinsics: of the source camera.
    """
    height, width = disparity.shape
    lens = tuple(float(value) for value in intrinsics.as_tuple())  # no array: the compiler knows that nobody writes it
    reach = np.float32(THICKEST * intrinsics.fx / THICKENING + 1)
    inside = find_distances(disparity, cuts, float(reach))
    torn = np.empty((height + 1, width + 1), np.bool_)
    strips, slopes = find_strips(disparity, cuts)
    loose = _tear(cuts, inside, reach, torn) + 2 * (height + width) + len(strips)
    columns = width + 1
    pairs = -(-loose // (columns // 2))
    rows = 2 * (height + 2) + 2 * (-(-pairs // _PACKED) * _PACKED)
    vertices = np.empty((rows, columns, 3), np.float32)
    vertices[2 * (height + 2 + loose // (columns // 2)) :] = np.nan
    vertices[2 * (height + 2) :, columns // 2 * 2 :] = np.nan
    pixel, uv = np.empty(loose, np.int32), np.empty((loose, 4, 2), np.float32)
    quads = np.full((height, width), -1, np.int32)  # where a pixel is not a quad of the lattice: its loose one
    _lay_lattice(disparity, torn, cuts, inside, reach, lens, vertices)
    made = _add_quads(disparity, cuts, shift, inside, reach, torn, lens, vertices, uv, pixel, quads)
    made = _add_flaps(disparity, cuts, quads, lens, made, vertices, uv, pixel)
    _add_strips(strips, slopes, quads, lens, made, vertices, uv, pixel)
    return Solid(
        vertices.reshape(-1, 3),
        lattice_faces(rows, columns, 2 * (height + 2)),
        (rows, columns),
        pixel,
        uv,
        (height, width),
    )


@lru_cache(maxsize=8)
def lattice_faces(rows: int, columns: int, apart: int) -> NDArray[np.int32]:
    """The two triangles of each cell of a grid of points: (2 (rows - 1) (columns - 1), 3) int32, read-only.

    Without area between quads, which from row `apart` on stand apart.
    """
    index = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    here, right = index[:-1, :-1].ravel(), index[:-1, 1:].ravel()
    below, last = index[1:, :-1].ravel(), index[1:, 1:].ravel()
    faces = np.concatenate([np.stack([below, here, right], axis=1), np.stack([below, right, last], axis=1)])
    between = faces.reshape(2, rows - 1, columns - 1, 3)[:, apart:]
    between[:, 1::2], between[:, :, 1::2] = 0, 0
    faces.flags.writeable = False
    return faces


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _tear(cuts: Any, inside: Any, reach: Any, torn: Any) -> Any:  # pragma: no cover
    """Find the corners that the pixels around them do not share; returns how many quads and shells have such a one."""
    height, width = cuts.shape
    for i in range(height + 1):
        above, below = cuts[max(i - 1, 0)], cuts[min(i, height - 1)]
        across = np.uint8(BELOW if 0 < i < height else 0)
        line = torn[i]
        line[0], line[width] = (above[0] & across) != 0, (above[width - 1] & across) != 0
        for j in range(width - 1):
            sides = (above[j] | below[j]) & np.uint8(RIGHT)
            line[j + 1] = (sides | ((above[j] | above[j + 1]) & across)) != 0
    loose = 0
    for y in range(height):
        upper, lower, line = torn[y], torn[y + 1], inside[y]
        for x in range(width):
            both = 2 if line[x] < reach else 1
            loose += both if upper[x] | upper[x + 1] | lower[x] | lower[x + 1] else 0
    return loose


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _beyond(disparity: Any, cuts: Any, i: Any, j: Any) -> Any:  # pragma: no cover
    """Disparity at a corner on the frame's border: the mean of the pixels there, and half a pixel's slope outwards."""
    height, width = disparity.shape
    y0, y1, x0, x1 = max(i - 1, 0), min(i, height - 1), max(j - 1, 0), min(j, width - 1)
    d = np.float64(0.25) * (disparity[y0, x0] + disparity[y0, x1] + disparity[y1, x0] + disparity[y1, x1])
    if i == 0 or i == height:
        y2 = min(1, height - 1) if i == 0 else max(height - 2, 0)
        if y2 != y0 and not cuts[min(y0, y2), x0] & BELOW and not cuts[min(y0, y2), x1] & BELOW:
            d += np.float64(0.25) * (disparity[y0, x0] - disparity[y2, x0] + disparity[y0, x1] - disparity[y2, x1])
    if j == 0 or j == width:
        x2 = min(1, width - 1) if j == 0 else max(width - 2, 0)
        if x2 != x0 and not cuts[y0, min(x0, x2)] & RIGHT and not cuts[y1, min(x0, x2)] & RIGHT:
            d += np.float64(0.25) * (disparity[y0, x0] - disparity[y0, x2] + disparity[y1, x0] - disparity[y1, x2])
    return max(d, np.float64(_LEAST) * disparity[y0, x0])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _lay_lattice(
    disparity: Any, torn: Any, cuts: Any, inside: Any, reach: Any, lens: Any, vertices: Any
) -> None:  # pragma: no cover
    """Place the corners that all pixels around them share, and those of the shells behind; NaN where they do not."""
    height, width = disparity.shape
    vertices[height + 1] = np.nan
    vertices[2 * height + 3] = np.nan
    flat = vertices.reshape(-1)
    stride = 3 * vertices.shape[1]
    depth, shell = np.empty(width + 1), np.empty(width + 1)
    for i in range(height + 1):
        y0, y1 = max(i - 1, 0), min(i, height - 1)
        above, below, near_above, near_below, line = disparity[y0], disparity[y1], inside[y0], inside[y1], torn[i]
        for j in range(width - 1):
            d = np.float64(0.25) * (above[j] + above[j + 1] + below[j] + below[j + 1])
            depth[j + 1] = np.nan if line[j + 1] else 1.0 / d
            near = min(min(near_above[j], near_above[j + 1]), min(near_below[j], near_below[j + 1]))
            behind = min(THICKENING * np.float64(max(near - np.float32(0.5), np.float32(0))) / lens[0], THICKEST)
            shell[j + 1] = 1.0 + behind if near < reach else np.nan
        for j in (0, width):
            x = min(j, width - 1)
            near = min(near_above[x], near_below[x])
            behind = min(THICKENING * np.float64(max(near - np.float32(0.5), np.float32(0))) / lens[0], THICKEST)
            shell[j] = 1.0 + behind if near < reach else np.nan
            depth[j] = np.nan if line[j] else 1.0 / _beyond(disparity, cuts, i, j)
        if i == 0 or i == height:
            for j in range(1, width):
                depth[j] = np.nan if line[j] else 1.0 / _beyond(disparity, cuts, i, j)
        front = flat[i * stride : (i + 1) * stride]
        back = flat[(height + 2 + i) * stride : (height + 3 + i) * stride]
        front[3 * width + 3 :] = np.nan
        back[3 * width + 3 :] = np.nan
        down = (np.float64(i) - lens[3]) / lens[1]
        for j in range(width + 1):
            z = depth[j]
            x, y = (np.float64(np.int32(j)) - lens[2]) / lens[0] * z, down * z
            front[3 * j], front[3 * j + 1], front[3 * j + 2] = x, y, z
            back[3 * j], back[3 * j + 1], back[3 * j + 2] = x * shell[j], y * shell[j], z * shell[j]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _stays(by: Any, here: Any, there: Any, own: Any) -> Any:  # pragma: no cover
    """By how much the edge between two pixels, of disparities `here` and `there`, is moved for a third one: `by`, or 0.

    A surface ends where the colours say. What is behind it begins there too, but not behind half way: of a pixel whose
    centre shows it, all of it is taken to be seen.
    """
    behind = own < np.float32(0.5) * (here + there)
    return np.float32(0) if behind & ((by > 0) == (here > there)) else by


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _to_edge(step: Any, far: Any, cut: Any, before: Any) -> Any:  # pragma: no cover
    """Disparity's change from a pixel's centre to one of its edges.

    Towards its silhouette a round thing's depth changes with the root of the distance from it: of a step of
    `sqrt(d + 1) - sqrt(d)` to the last pixel `sqrt(d)` is left. That it is round is told by steps that grow.

    Args:
        step: to the next pixel in line, as the slope is.
        far: pixels to the edge if it is `cut`.
        before: the step two pixels before; 0 if the surface does not end here, or is not known there.
    """
    bent = RIM * min(max((step / before - _FLAT) / (_ROUND - _FLAT), 0.0), 1.0) if (step < 0) & (before < 0) else 0.0
    if bent > 0:
        root = math.sqrt(far)
        return step * (far + bent * (root / (math.sqrt(far + 1.0) - root) - far))
    return (far if cut else 0.5) * step


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _to_edges(disparity: Any, cuts: Any, shift: Any, y: Any, x: Any, change: Any, at: Any) -> None:  # pragma: no cover
    """Disparity's change from a pixel's centre to its left, right, upper and lower edge, in `change` from `at` on: as
    it changes on the pixel's own surface, and not at all if the pixel is alone.
    """
    d = disparity[y, x]
    for axis in range(2):
        here, end, bit = (y, disparity.shape[0], BELOW) if axis else (x, disparity.shape[1], RIGHT)
        down, across = (1, 0) if axis else (0, 1)
        # How many pixels there are before and after, and the two next ones there: at the frame's border, this one.
        back, on = min(here, 2), min(end - 1 - here, 2)
        one, two = min(back, 1), min(on, 1)
        y1, x1, y2, x2 = y - one * down, x - one * across, y - back * down, x - back * across
        y3, x3, y4, x4 = y + two * down, x + two * across, y + on * down, x + on * across
        d1, d2, d3, d4 = disparity[y1, x1], disparity[y2, x2], disparity[y3, x3], disparity[y4, x4]
        # `&`, not `and`, and all of them looked up: a branch at an edge would be a coin toss.
        cut1, cut3 = (back > 0) & ((cuts[y1, x1] & bit) != 0), (on > 0) & ((cuts[y, x] & bit) != 0)
        cut2, cut4 = (back < 2) | ((cuts[y2, x2] & bit) != 0), (on < 2) | ((cuts[y3, x3] & bit) != 0)
        left, right = (back > 0) & ~cut1, (on > 0) & ~cut3
        slope = np.float64((d3 if right else d) - (d1 if left else d)) * (0.5 if left & right else 1.0)
        far1 = 0.5 - np.float64(_stays(shift[y1, x1, axis], d1, d, d))
        far3 = 0.5 + np.float64(_stays(shift[y, x, axis], d, d3, d))
        before1 = np.float64(d3 - d4) if cut1 & (d > d1) & ~cut4 else 0.0
        before3 = np.float64(d1 - d2) if cut3 & (d > d3) & ~cut2 else 0.0
        change[at + 2 * axis] = _to_edge(-slope, far1, cut1, before1)
        change[at + 2 * axis + 1] = _to_edge(slope, far3, cut3, before3)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _around(
    disparity: Any, cuts: Any, inside: Any, i: Any, j: Any, change: Any, deep: Any, apart: Any, at: Any
) -> None:  # pragma: no cover
    """Depth, and distance from the silhouette, at torn corner (i, j) for each of the pixels around it.

    Four numbers in `deep` and in `apart` from `at` on: of the pixel upper left of the corner, upper right, lower left,
    lower right; rubbish for one out of the frame. Depth is that of the mean disparity over those of the four that
    belong together with the pixel, around the corner; each says what its own slope makes of the way to the corner:
    `change`, of `_to_edges`, for the pixels of an even row, then of an odd one.
    """
    height, width = disparity.shape
    y0, y1, x0, x1 = max(i - 1, 0), min(i, height - 1), max(j - 1, 0), min(j, width - 1)
    n0, n1, n2, n3 = inside[y0, x0], inside[y0, x1], inside[y1, x0], inside[y1, x1]
    across, down = x0 < x1, y0 < y1
    edges = 1 if across & (i > 0) & ((cuts[y0, x0] & RIGHT) == 0) else 0
    edges |= 2 if across & (i < height) & ((cuts[y1, x0] & RIGHT) == 0) else 0
    edges |= 4 if down & (j > 0) & ((cuts[y0, x0] & BELOW) == 0) else 0
    edges |= 8 if down & (j < width) & ((cuts[y0, x1] & BELOW) == 0) else 0
    upper, lower = 4 * (y0 & 1) * width, 4 * (y1 & 1) * width
    d0, d1, d2, d3 = disparity[y0, x0], disparity[y0, x1], disparity[y1, x0], disparity[y1, x1]
    d0 = _changed(d0, change[upper + 4 * x0 + 1], change[upper + 4 * x0 + 3])
    d1 = _changed(d1, change[upper + 4 * x1], change[upper + 4 * x1 + 3])
    d2 = _changed(d2, change[lower + 4 * x0 + 1], change[lower + 4 * x0 + 2])
    d3 = _changed(d3, change[lower + 4 * x1], change[lower + 4 * x1 + 2])
    most = np.float32(1e9)
    for m in range(4):
        members = _TOGETHER[edges, m]
        total = (d0 if members & 1 else 0.0) + (d1 if members & 2 else 0.0)
        total += (d2 if members & 4 else 0.0) + (d3 if members & 8 else 0.0)
        least = min(n0 if members & 1 else most, n1 if members & 2 else most)
        least = min(least, min(n2 if members & 4 else most, n3 if members & 8 else most))
        count = (members & 1) + ((members >> 1) & 1) + ((members >> 2) & 1) + (members >> 3)
        deep[at + m], apart[at + m] = count / total, max(least - np.float32(0.5), np.float32(0))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _changed(disparity: Any, across: Any, down: Any) -> Any:  # pragma: no cover
    """Disparity at the corner of a pixel, but not much less than its own."""
    own = np.float64(disparity)
    return max(own + across + down, _LEAST * own)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _moved(
    disparity: Any, cuts: Any, shift: Any, lens: Any, i: Any, j: Any, place: Any, at: Any
) -> None:  # pragma: no cover
    """Where torn corner (i, j) stands for each of the pixels around it, in the order of `_around`, in `place` from 4
    `at` on: x and y in the frame, moved as the edges that meet there, by their mean; and x / z and y / z in space.
    """
    height, width = cuts.shape
    y0, y1, x0, x1 = max(i - 1, 0), min(i, height - 1), max(j - 1, 0), min(j, width - 1)
    upper = (x0 < x1) & (i > 0) & ((cuts[y0, x0] & RIGHT) != 0)
    lower = (x0 < x1) & (i < height) & ((cuts[y1, x0] & RIGHT) != 0)
    left = (y0 < y1) & (j > 0) & ((cuts[y0, x0] & BELOW) != 0)
    right = (y0 < y1) & (j < width) & ((cuts[y0, x1] & BELOW) != 0)
    by_upper, by_lower = shift[y0, x0, 0] if upper else np.float32(0), shift[y1, x0, 0] if lower else np.float32(0)
    by_left, by_right = shift[y0, x0, 1] if left else np.float32(0), shift[y0, x1, 1] if right else np.float32(0)
    d0, d1, d2, d3 = disparity[y0, x0], disparity[y0, x1], disparity[y1, x0], disparity[y1, x1]
    for m in range(4):
        own = (d3 if m & 1 else d2) if m >> 1 else (d1 if m & 1 else d0)
        across = np.float64(_stays(by_upper, d0, d1, own)) + np.float64(_stays(by_lower, d2, d3, own))
        down = np.float64(_stays(by_left, d0, d2, own)) + np.float64(_stays(by_right, d1, d3, own))
        u, v = j + across * (0.5 if upper & lower else 1.0), i + down * (0.5 if left & right else 1.0)
        n = 4 * (at + m)
        place[n], place[n + 1] = u, v
        place[n + 2], place[n + 3] = (u - lens[2]) / lens[0], (v - lens[3]) / lens[1]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _as_the_lattice(
    vertices: Any, inside: Any, lens: Any, i: Any, j: Any, deep: Any, apart: Any, place: Any, at: Any
) -> None:  # pragma: no cover
    """What `_around` and `_moved` find, for a corner that the lattice has: the same for all pixels around it."""
    height, width = inside.shape
    y0, y1, x0, x1 = max(i - 1, 0), min(i, height - 1), max(j - 1, 0), min(j, width - 1)
    least = min(min(inside[y0, x0], inside[y0, x1]), min(inside[y1, x0], inside[y1, x1]))
    far, z = max(least - np.float32(0.5), np.float32(0)), np.float64(vertices[i, j, 2])
    u, v = np.float64(j), np.float64(i)
    x, y = (u - lens[2]) / lens[0], (v - lens[3]) / lens[1]
    for m in range(at, at + 4):
        deep[m], apart[m] = z, far
        place[4 * m], place[4 * m + 1], place[4 * m + 2], place[4 * m + 3] = u, v, x, y


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _place(n: Any, vertices: Any, height: Any) -> Any:  # pragma: no cover
    """Row and column of the grid where the upper left corner of loose quad n stands."""
    each = np.uint32(vertices.shape[1] // 2)
    pair = np.int64(np.uint32(n) // each)
    return 2 * (height + 2 + pair), 2 * (n - pair * np.int64(each))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _corner(quads: Any, vertices: Any, y: Any, x: Any, k: Any) -> Any:  # pragma: no cover
    """Depth at corner k of pixel (y, x): 0 upper left, 1 upper right, 2 and 3 below."""
    row, column = y, x
    if quads[y, x] >= 0:
        row, column = _place(quads[y, x], vertices, len(quads))
    return np.float64(vertices[row + (k >> 1), column + (k & 1), 2])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _put(
    u: Any, v: Any, x: Any, y: Any, z: Any, n: Any, k: Any, row: Any, column: Any, vertices: Any, uv: Any
) -> None:  # pragma: no cover
    """Set corner k of loose quad n, which stands at (row, column), to what is at (u, v) in the frame and (x, y, 1) z in
    space.
    """
    i, j = row + (k >> 1), column + (k & 1)
    vertices[i, j, 0], vertices[i, j, 1], vertices[i, j, 2] = x * z, y * z, z
    uv[n, k, 0], uv[n, k, 1] = u, v


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _add_quads(
    disparity: Any, cuts: Any, shift: Any, inside: Any, reach: Any, torn: Any, lens: Any, vertices: Any, uv: Any,
    pixel: Any, quads: Any,
) -> Any:  # pragma: no cover  # fmt: skip
    """Append the quads at cuts and their shells, and note in `quads` which is whose; returns how many there are."""
    height, width = disparity.shape
    made = 0
    # Of two rows of corners, in turn: what the pixels around each have there, and where it stands. Whose it is, to
    # find it once for all of them.
    deep, apart = np.empty(2 * (width + 1) * 4), np.empty(2 * (width + 1) * 4, np.float32)
    place, found = np.empty(2 * (width + 1) * 16), np.full((2, width + 1), -1, np.int32)
    # Of two rows of pixels, in turn: which have a quad of their own, how many; `_to_edges` of those.
    listed, several, change = np.empty((2, width + 1), np.int32), np.zeros(2, np.int64), np.empty(2 * width * 4)
    for ahead in range(height + 1):
        if ahead < height:
            upper, lower = torn[ahead], torn[ahead + 1]
            some, count = listed[ahead & 1], np.uintp(0)
            for x in range(width):  # written always, kept where true: no branch to mispredict
                some[count] = x
                count += np.uintp(1) if upper[x] | upper[x + 1] | lower[x] | lower[x + 1] else np.uintp(0)
            several[ahead & 1] = np.int64(count)
            for n in range(several[ahead & 1]):
                x = np.int64(some[n])
                _to_edges(disparity, cuts, shift, ahead, x, change, 4 * ((ahead & 1) * width + x))
        if ahead == 0:
            continue
        y = ahead - 1
        for n in range(several[y & 1]):
            x = np.int64(listed[y & 1, n])
            shell = inside[y, x] < reach
            row, column = _place(made, vertices, height)
            shell_row, shell_column = _place(made + 1, vertices, height)
            for k in range(4):
                i, j = y + (k >> 1), x + (k & 1)
                at = 4 * ((i & 1) * (width + 1) + j)
                if found[i & 1, j] != i:
                    found[i & 1, j] = i
                    if torn[i, j]:
                        _around(disparity, cuts, inside, i, j, change, deep, apart, at)
                        _moved(disparity, cuts, shift, lens, i, j, place, at)
                    else:
                        _as_the_lattice(vertices, inside, lens, i, j, deep, apart, place, at)
                at += 3 - k
                z, n4 = deep[at], 4 * at
                u, v, ray_x, ray_y = place[n4], place[n4 + 1], place[n4 + 2], place[n4 + 3]
                _put(u, v, ray_x, ray_y, z, made, k, row, column, vertices, uv)
                if shell:
                    z *= 1.0 + min(THICKENING * apart[at] / lens[0], THICKEST)
                    _put(u, v, ray_x, ray_y, z, made + 1, k, shell_row, shell_column, vertices, uv)
            pixel[made], quads[y, x] = y * width + x, made
            made += 1
            if shell:
                pixel[made] = OCCLUDER
                made += 1
    return made


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _run(cuts: Any, y: Any, x: Any, side: Any, most: Any) -> Any:  # pragma: no cover
    """How many pixels in line, at most so many, the surface of a border pixel runs into the frame from that side."""
    height, width = cuts.shape
    most = min(most, width if side < 2 else height)
    for n in range(1, most):  # left, right, top, bottom
        if side == 0:
            cut = cuts[y, n - 1] & RIGHT
        elif side == 1:
            cut = cuts[y, width - 1 - n] & RIGHT
        elif side == 2:
            cut = cuts[n - 1, x] & BELOW
        else:
            cut = cuts[height - 1 - n, x] & BELOW
        if cut:
            return n
    return most


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _towards_border(disparity: Any, cuts: Any, y: Any, x: Any, side: Any) -> Any:  # pragma: no cover
    """By how much the disparity changes a pixel towards that side of the frame, at a pixel there."""
    back = _run(cuts, y, x, side, _BASE) - 1
    inner_y, inner_x = y + (0, 0, back, -back)[side], x + (back, -back, 0, 0)[side]
    return np.float64(disparity[y, x] - disparity[inner_y, inner_x]) / max(back, 1)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _add_flaps(
    disparity: Any, cuts: Any, quads: Any, lens: Any, made: Any, vertices: Any, uv: Any, pixel: Any
) -> Any:  # pragma: no cover
    """Append a flap at each border pixel: its disparity goes on outwards as it changes towards the border.

    Returns how many quads there are now.
    """
    height, width = disparity.shape
    for side in range(4):  # left, right, top, bottom
        vertical = side < 2
        length, furthest = (height, FLAP * width) if vertical else (width, FLAP * height)
        start, stop, reach = 0, 0, 0.0
        slopes = np.zeros(length + 1)  # summed up
        for t in range(length):
            y = t if vertical else (0 if side == 2 else height - 1)
            x = t if not vertical else (0 if side == 0 else width - 1)
            if t == stop:  # the next surface along the border
                start, stop = t, t + 1
                while stop < length and not (cuts[stop - 1, x] & BELOW if vertical else cuts[y, stop - 1] & RIGHT):
                    stop += 1
                total, lines = 0, 0
                for s in range(t + min(_EVERY, stop - t) // 2, stop, _EVERY):
                    row, column = (s, x) if vertical else (y, s)
                    total += _run(cuts, row, column, side, int(furthest))
                    lines += 1
                reach = total / lines
                for s in range(t, stop):
                    row, column = (s, x) if vertical else (y, s)
                    slopes[s + 1] = slopes[s] + _towards_border(disparity, cuts, row, column, side)
            first, last = max(t - _BASE, start), min(t + _BASE + 1, stop)
            slope = (slopes[last] - slopes[first]) / (last - first)
            row, column = _place(made, vertices, height)
            for k in range(4):
                # Corners 0 and 2 lie on the border, 1 and 3 out of the frame; 2 and 3 further along it.
                end, out = k >> 1, reach if k & 1 else 0.0
                border = (2 * end if vertical else end) + (0, 1, 0, 2)[side]
                z = _corner(quads, vertices, y, x, border)
                z /= min(max(1.0 + slope * out * z, _LEAST), _MOST)
                across = -out if side == 0 or side == 2 else (width if vertical else height) + out
                u, v = (across, np.float64(t + end)) if vertical else (np.float64(t + end), across)
                _put(u, v, (u - lens[2]) / lens[0], (v - lens[3]) / lens[1], z, made, k, row, column, vertices, uv)
            pixel[made] = OCCLUDER
            made += 1
    return made


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _add_strips(
    strips: Any, slopes: Any, quads: Any, lens: Any, made: Any, vertices: Any, uv: Any, pixel: Any
) -> None:  # pragma: no cover
    """Append the hidden strips: a quad each, from the border of the pixel before it to that of the pixel after it."""
    height = len(quads)
    for n in range(len(strips)):
        across, line, a, b = strips[n, 0] == 0, strips[n, 1], strips[n, 2], strips[n, 3]
        ends_hidden, forwards = not np.isnan(slopes[n]), b > a
        row, column = _place(made, vertices, height)
        for far in range(2):  # before the strip, after it
            at = b if far and not ends_hidden else a
            side = 1 - far if forwards and not ends_hidden else (1 if forwards else 0)
            y, x = (line, at) if across else (at, line)
            loose = np.int64(quads[y, x])
            own_row, own_column = _place(loose, vertices, height) if loose >= 0 else (y, x)
            for end in range(2):  # up or left, down or right
                corner = 2 * end + side if across else 2 * side + end
                z = np.float64(vertices[own_row + (corner >> 1), own_column + (corner & 1), 2])
                u, v = np.float64(x + (corner & 1)), np.float64(y + (corner >> 1))
                if loose >= 0:  # where its edge was moved to: a strip that overlaps it would hide it
                    u, v = np.float64(uv[loose, corner, 0]), np.float64(uv[loose, corner, 1])
                if far and ends_hidden:
                    on = np.float64(abs(b - a) - 1)
                    z /= min(max(1.0 + slopes[n] * on * z, _LEAST), _MOST)
                    u, v = (u + (on if forwards else -on), v) if across else (u, v + (on if forwards else -on))
                ray_x, ray_y = (u - lens[2]) / lens[0], (v - lens[3]) / lens[1]
                _put(u, v, ray_x, ray_y, z, made, far + 2 * end, row, column, vertices, uv)
        pixel[made] = OCCLUDER
        made += 1

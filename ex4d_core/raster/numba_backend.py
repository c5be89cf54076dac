"""The default backend: compiled kernels over bands of rows, one band a task of a thread pool."""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ex4d_core.raster import Raster, numba_draw, numba_grid, numba_setup, numba_shade
from ex4d_core.raster.jit import is_cached

_log = logging.getLogger(__name__)

_BANDS_PER_WORKER = 2
_ROWS_STEP = 16
"""Small bands balance the load; large ones set fewer faces up twice: 128 rows cost a fifth more than 512 do."""

_CHUNK = 64
"""Faces outside the grid that are boxed together."""

_VERTICES_PER_TASK = 1 << 15

Corners = NDArray[np.int32]


@dataclass(frozen=True)
class _Grid:
    """The grid at the head of a mesh."""

    height: int
    width: int
    faces: int
    """Faces of one kind: (height - 1)(width - 1) upper left ones, then as many lower right ones."""
    corners: Corners
    """(2, 3): vertex k of a face of the quad at (i, j) is i * width + j + corners[kind, k]."""
    places: Corners
    """(2, 3): where the kernel's own corner order (upper left, lower left, upper right; upper right, lower left,
    lower right) finds its weights in the face's order."""
    signs: Corners
    """(2,): +1 if that is an even permutation, else -1."""
    apart: int
    """From this row on every second cell of every second row is a quad."""


def rasterize_homogeneous(
    vertices: NDArray[np.float32],
    faces: NDArray[np.int32],
    projection: NDArray[np.float64],
    size: tuple[int, int],
    grid: tuple[int, int] | None = None,
    near: float = 1e-3,
    threads: int | None = None,
    *,
    apart: int | None = None,
    barycentrics: bool = True,
) -> Raster:
    """See `ex4d_core.raster.rasterize`."""
    _announce()
    faces = _unwritten(faces)
    width, height = size
    lattice = _read_grid(grid, len(vertices), faces, apart)
    workers = threads or default_threads()
    projection = np.ascontiguousarray(projection)
    x, y = np.empty(len(vertices), np.int32), np.empty(len(vertices), np.int32)
    w = np.empty(len(vertices), np.float64)
    coordinates = vertices.reshape(-1)

    def project(start: int, stop: int) -> None:
        numba_setup.project(coordinates, projection, near, x, y, w, start, stop)

    _spread(project, len(vertices), _VERTICES_PER_TASK, workers)

    rows = lattice.height - 1 if lattice.faces else 0
    strips = -(-(lattice.width - 1) // numba_setup.STRIP) if lattice.faces else 0
    boxes, row_boxes = np.empty((rows, strips, 5), np.int32), np.empty((rows, 3), np.int32)
    others = len(faces) - 2 * lattice.faces
    chunks = -(-others // _CHUNK)
    face_boxes, chunk_boxes = np.empty((others, 4), np.int32), np.empty((chunks, 3), np.int32)

    def box_strips(start: int, stop: int) -> None:
        numba_setup.box_strips(x, y, lattice.width, lattice.apart, boxes, row_boxes, start, stop)

    def box_faces(start: int, stop: int) -> None:
        first = 2 * lattice.faces
        if not numba_setup.box_faces(x, y, faces, first, face_boxes, chunk_boxes, _CHUNK, start, stop):
            raise ValueError(f"a face names a vertex outside 0..{len(vertices) - 1}")

    _spread(box_strips, rows, 64, workers)
    _spread(box_faces, chunks, 512, workers)

    pieces = _clip(vertices, faces, projection, near, size, x, w, lattice, boxes, row_boxes, chunk_boxes)
    raster = Raster(
        face_id=np.empty((height, width), np.int32),
        barycentrics=np.empty((height, width, 3) if barycentrics else (0, 0, 3), np.float32),
        depth=np.empty((height, width), np.float32),
        front=np.empty((height, width), np.bool_),
    )

    flat = (
        raster.face_id.reshape(-1), raster.barycentrics.reshape(-1), raster.depth.reshape(-1),
        raster.front.reshape(-1),
    )  # fmt: skip

    def draw(start: int, stop: int) -> None:
        late = np.empty(lattice.faces, np.int32)
        count = numba_grid.draw_grid(
            x, y, w, lattice.height, lattice.width, lattice.apart, boxes, row_boxes, lattice.places, lattice.signs,
            start, stop, width, late, *flat,
        )  # fmt: skip
        numba_draw.draw_rest(
            x, y, w, faces, lattice.width, lattice.faces, late[:count], lattice.places, lattice.signs,
            2 * lattice.faces, face_boxes, chunk_boxes, _CHUNK, *pieces, start, stop, width, *flat,
        )  # fmt: skip

    _spread(draw, height, _band_rows(height, workers), workers)
    return raster


def interpolate(
    raster: Raster,
    faces: NDArray[np.int32],
    attributes: NDArray[np.float32],
    grid: tuple[int, int] | None = None,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """See `ex4d_core.raster.interpolate`."""
    _announce()
    faces = _unwritten(faces)
    lattice = _read_grid(grid, len(attributes), faces)
    height, width = raster.face_id.shape
    result = np.empty((height, width, attributes.shape[1]), np.float32)

    def blend(start: int, stop: int) -> None:
        numba_shade.blend(
            raster.face_id[start:stop].reshape(-1), raster.barycentrics[start:stop].reshape(-1, 3), faces, attributes,
            lattice.width, lattice.faces, lattice.corners, result[start:stop].reshape(-1, attributes.shape[1]),
        )  # fmt: skip

    workers = threads or default_threads()
    _spread(blend, height, _band_rows(height, workers), workers)
    return result


def _unwritten(faces: NDArray[np.int32]) -> NDArray[np.int32]:
    """Faces that cannot be written: for those that can, which are another type, all kernels would be compiled again."""
    view = faces.view()
    view.flags.writeable = False
    return view


def _band_rows(height: int, workers: int) -> int:
    bands = workers * _BANDS_PER_WORKER if workers > 1 else 1
    steps = -(-height // (bands * _ROWS_STEP))
    return min(steps * _ROWS_STEP, numba_draw.MOST_ROWS)


def default_threads() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_Pieces = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64], NDArray[np.float64], NDArray[np.int32]]


def _clip(
    vertices: NDArray[np.float32],
    faces: NDArray[np.int32],
    projection: NDArray[np.float64],
    near: float,
    size: tuple[int, int],
    x: NDArray[np.int32],
    w: NDArray[np.float64],
    lattice: _Grid,
    boxes: NDArray[np.int32],
    row_boxes: NDArray[np.int32],
    chunk_boxes: NDArray[np.int32],
) -> _Pieces:
    """Pieces of the faces that cross the near plane or leave the guard band; see `numba_setup.clip_outside`."""

    def run(count: int) -> tuple[int, _Pieces]:
        pieces = (
            np.empty((count, 3), np.int32), np.empty((count, 3), np.int32), np.empty((count, 3)),
            np.empty((count, 3, 3)), np.empty(count, np.int32),
        )  # fmt: skip
        made = numba_setup.clip_outside(
            vertices, faces, projection, near, float(size[0]), float(size[1]), x, w, lattice.width, lattice.apart,
            row_boxes, boxes, 2 * lattice.faces, lattice.corners, chunk_boxes, _CHUNK, *pieces,
        )  # fmt: skip
        return int(made), pieces

    count, nothing = run(0)
    return run(count)[1] if count else nothing


def _read_grid(
    grid: tuple[int, int] | None, vertices: int, faces: NDArray[np.int32], apart: int | None = None
) -> _Grid:
    """Learn the order of the corners from the grid's first faces.

    Raises:
        ValueError: the faces or vertices are not those of such a grid.
    """
    height, width = grid or (0, 0)
    quads = max(height - 1, 0) * max(width - 1, 0)
    if quads == 0:
        empty = np.zeros((2, 3), np.int32)
        return _Grid(0, 0, 0, empty, empty, np.ones(2, np.int32), 0)
    if vertices < height * width or len(faces) < 2 * quads:
        raise ValueError(f"{vertices} vertices, {len(faces)} faces: too few for a grid of {height}x{width}")
    own_order = np.array([[0, width, 1], [1, width, width + 1]], np.int32)
    corners = faces[[0, quads]]
    apart = height if apart is None else apart
    row = min(apart, height - 1) - 1  # the last one with a quad a cell
    last = faces[[(row + 1) * (width - 1) - 1, quads + (row + 1) * (width - 1) - 1]] - row * width - (width - 2)
    if (np.sort(corners, 1) != np.sort(own_order, 1)).any() or (last != corners).any():
        raise ValueError(
            f"the first faces {faces[0].tolist()}, {faces[quads].tolist()} are not a {height}x{width} grid's"
        )
    places = np.array([[int(np.flatnonzero(c == v)[0]) for v in o] for c, o in zip(corners, own_order, strict=True)])
    even = {(0, 1, 2), (1, 2, 0), (2, 0, 1)}
    signs = np.array([1 if tuple(p.tolist()) in even else -1 for p in places])
    return _Grid(
        height, width, quads, np.ascontiguousarray(corners), places.astype(np.int32), signs.astype(np.int32), apart
    )


@functools.cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="raster")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork


def _spread(task: Callable[[int, int], None], total: int, step: int, workers: int) -> None:
    """Call `task(start, stop)` over 0..total in steps, on several threads where it pays."""
    starts = range(0, total, step)
    if workers == 1 or len(starts) < 2:
        for start in starts:
            task(start, min(start + step, total))
        return
    remaining, lock = iter(starts), threading.Lock()

    def work() -> None:
        while True:
            with lock:
                start = next(remaining, None)
            if start is None:
                return
            task(start, min(start + step, total))

    futures = [_pool(workers).submit(work) for _ in range(min(workers, len(starts)))]
    wait(futures)
    for future in futures:
        future.result()


_warm = False


def needs_compiling() -> bool:
    """Whether no compiled kernel fit for this machine and version is in memory or on disk."""
    return not _warm and not all(is_cached(k) for k in (numba_grid.draw_grid, numba_draw.draw_rest))


def _announce() -> None:
    if not _warm:
        warm_up()


def warm_up() -> None:
    """See `ex4d_core.raster.warm_up`."""
    global _warm
    compiling, started = needs_compiling(), time.perf_counter()
    if compiling:
        _log.info("compiling kernels, once per machine…")
    _warm = True
    vertices = np.array([[0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1], [0, 0, 2]], np.float32)
    faces = np.array([[0, 2, 1], [1, 2, 3], [0, 1, 4]], np.int32)
    projection = np.eye(3, 4)
    raster = rasterize_homogeneous(vertices, faces, projection, (2, 2), (2, 2), 1e-3, 1)
    interpolate(raster, faces, vertices, (2, 2), 1)
    if compiling:
        _log.info("compiled the kernels in %.0f s", time.perf_counter() - started)

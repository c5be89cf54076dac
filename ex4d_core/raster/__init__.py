"""Rasterization: which face does each pixel of a camera see, where on it, and how far away.

One function, `rasterize`, behind it one module per backend: `numba` (the CPU; compiled kernels that know the
DW-Mesh's grid), `torch` (NVIDIA's GPUs), `nvdiffrast` (the same, non-commercial, only if asked for) and `numpy` (slow
and obvious: the judge of the others).
"""

from __future__ import annotations

import functools
import importlib
import logging
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Camera
from ex4d_core.errors import MissingDependencyError
from ex4d_core.raster.choice import BACKENDS, VARIABLE, Choice, choose

__all__ = [
    "BACKENDS",
    "Backend",
    "Choice",
    "Raster",
    "choose",
    "interpolate",
    "needs_compiling",
    "rasterize",
    "warm_up",
]

_log = logging.getLogger(__name__)

# Largest image side: keeps the snapped coordinates of `numba_kernels` inside 64-bit edge functions.
MAX_SIDE = 1 << 16

NEAR = 1e-3


@dataclass(frozen=True)
class Raster:
    """A visibility buffer: what is seen through the centre of each pixel."""

    face_id: NDArray[np.int32]
    """(h, w), index into `faces`; -1 = nothing."""
    barycentrics: NDArray[np.float32]
    """(h, w, 3), perspective-correct weights of the face's three vertices in its own order; 0 = nothing. (0, 0, 3) if
    nobody asked for them."""
    depth: NDArray[np.float32]
    """(h, w), z-depth in scene units of the camera that looks; inf = nothing."""
    front: NDArray[np.bool_]
    """(h, w), True where the face's normal `(v1 - v0) x (v2 - v0)` (right-hand rule) points at the camera."""


class Backend(Protocol):
    """What a backend module offers."""

    def rasterize_homogeneous(
        self,
        vertices: NDArray[np.float32],
        faces: NDArray[np.int32],
        projection: NDArray[np.float64],
        size: tuple[int, int],
        grid: tuple[int, int] | None,
        near: float,
        threads: int | None,
        *,
        apart: int | None,
        barycentrics: bool,
    ) -> Raster:
        """Like `rasterize`; `projection` (3, 4) float64 takes (x, y, z, 1) to (u w, v w, w), pixels."""
        ...


def rasterize(
    vertices: NDArray[np.float32],
    faces: NDArray[np.int32],
    camera: Camera,
    size: tuple[int, int] | None = None,
    *,
    grid: tuple[int, int] | None = None,
    apart: int | None = None,
    near: float = NEAR,
    barycentrics: bool = True,
    backend: str = "auto",
    threads: int | None = None,
) -> Raster:
    """Find the nearest face through each pixel centre (x + 0.5, y + 0.5).

    Both sides of a face are seen. Pixel centres exactly on an edge follow the top-left rule, so that two
    faces that share an edge never leave a gap and never both hit. Of two faces at the same depth (float32)
    the one with the lower index wins. Faces with a vertex that is not finite, and faces without area, are not
    drawn. Results do not depend on `threads`, bit for bit.

    Args:
        vertices: (N, 3) float32, world space, scene units.
        faces: (F, 3) int32, indices into `vertices`.
        camera: who looks; world to camera is `camera.w2c()`.
        size: (w, h) of the result, pixels; the camera's image is resampled to it. Default: the camera's own.
        grid: (H, W) if `vertices` starts with a row-major grid and `faces` starts with its (H-1)(W-1) upper
            left triangles, row-major, then as many lower right ones (any rotation or winding of the three
            corners, the same for all): much faster. Faces after these are arbitrary.
        apart: row of the grid, at least 1, from which on its quads share no corners: of each two rows and two columns
            of cells, counted from there, only the first is a quad, and the faces of the others have no area.
        near: what is nearer than this z-depth is cut away, scene units.
        barycentrics: False if they are not needed: faster, with some backends.
        backend: a name in `BACKENDS`; "auto": see `choice.choose`.
        threads: how many threads to use, of the CPU; default one per usable core.

    Raises:
        MissingDependencyError: the backend that was asked for needs what this machine does not have.
        ValueError: arrays of another shape, an index out of range, faces that do not fit `grid`, an unknown
            backend: a mistake of the caller, not of a user.
    """
    width, height = size or (camera.intrinsics.width, camera.intrinsics.height)
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise ValueError(f"size {width}x{height}: each side must be 1 to {MAX_SIDE}")
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(f"vertices {vertices.shape} and faces {faces.shape}: need (N, 3) and (F, 3)")
    if not near > 0:
        raise ValueError(f"near {near}: must be positive")
    if apart is not None and apart < 1:
        raise ValueError(f"apart {apart}: must be at least 1")
    projection = camera.intrinsics.resized(width, height).matrix() @ camera.w2c()[:3]
    vertices, faces = np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int32)
    choice = choose() if backend == "auto" else Choice(backend, "", asked=True)
    wanted = (vertices, faces, projection, (width, height), grid, near, threads)
    try:
        return _backend(choice.backend).rasterize_homogeneous(*wanted, apart=apart, barycentrics=barycentrics)
    except MissingDependencyError as error:
        if choice.asked:
            raise
        _warn_once(str(error))
    return _backend("numba").rasterize_homogeneous(*wanted, apart=apart, barycentrics=barycentrics)


def interpolate(
    raster: Raster,
    faces: NDArray[np.int32],
    attributes: NDArray[np.float32],
    *,
    grid: tuple[int, int] | None = None,
    backend: str = "numba",
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Blend vertex attributes over the seen faces, perspective-correct, on the CPU.

    Args:
        raster: result of `rasterize` with the same faces.
        faces: (F, 3) int32.
        attributes: (N, C) float32, one row a vertex.
        grid: as given to `rasterize`; saves reading the grid's faces.
        backend: "numba" or "numpy".
        threads: as in `rasterize`.

    Returns:
        (h, w, C) float32; 0 where nothing is seen.
    """
    if attributes.ndim != 2:
        raise ValueError(f"attributes {attributes.shape}: need (N, C)")
    if raster.barycentrics.shape[:2] != raster.face_id.shape:
        raise ValueError("the raster has no barycentrics: ask for them")
    module = importlib.import_module(_module_name(backend))
    return module.interpolate(
        raster, np.ascontiguousarray(faces, np.int32), np.ascontiguousarray(attributes, np.float32), grid, threads
    )


def needs_compiling() -> bool:
    """Whether `numba` has to compile its kernels (seconds, once per machine) first."""
    return importlib.import_module(BACKENDS["numba"]).needs_compiling()


def warm_up() -> None:
    """Load the compiled kernels, or compile and cache them on disk; log so at INFO level. Load the backend chosen."""
    importlib.import_module(BACKENDS["numba"]).warm_up()
    _backend(choose().backend)


@functools.cache
def _warn_once(problem: str) -> None:
    _log.warning("%s Until then frames are rasterized on the CPU.", problem)


def _module_name(backend: str) -> str:
    if backend not in BACKENDS:
        raise ValueError(f"rasterizer {backend!r}: known are {', '.join(BACKENDS)}")
    return BACKENDS[backend]


def _backend(name: str) -> Backend:
    try:
        return cast(Backend, importlib.import_module(_module_name(name)))
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingDependencyError(
            f"The rasterizer {name} needs torch, which is not installed: pip install torch (see pytorch.org for your "
            f"card), or set {VARIABLE}=numba."
        ) from error

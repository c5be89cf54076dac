"""The permissive GPU backend: tensor operations alone, so that it needs nothing but torch; CUDA where there is one.

Nothing here is compiled, and nothing is a grid: any mesh is drawn alike. Without a GPU it runs on the CPU, where it
is slower than `numba`, and gives the same picture: that is how it is tested.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ex4d_core.errors import MissingDependencyError
from ex4d_core.raster import Raster
from ex4d_core.raster.choice import VARIABLE
from ex4d_core.raster.numba_setup import SUBPIXELS
from ex4d_core.raster.torch_draw import HALF, Edges, clear, draw, weigh
from ex4d_core.raster.torch_setup import CHUNK, PIECES, Prepared, prepare

_PIECE_BITS = 3
"""A triangle's label is its face's number, and in the lowest bits which piece of a clipped face it is."""

_PIECE = (1 << _PIECE_BITS) - 1

Draw = Callable[[Prepared, Tensor, Tensor, int, int, Tensor], None]
"""`torch_draw.draw`, or another that does the same."""

_MOST_FACES = 1 << (32 - _PIECE_BITS)


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
    """See `ex4d_core.raster.rasterize`; what is optional, but `near`, makes no difference here.

    Raises:
        MissingDependencyError: the device has no memory left.
    """
    return rasterize_with(draw, vertices, faces, projection, size, near)


def rasterize_with(
    drawing: Draw,
    vertices: NDArray[np.float32],
    faces: NDArray[np.int32],
    projection: NDArray[np.float64],
    size: tuple[int, int],
    near: float,
) -> Raster:
    """Rasterize with one of the modules that offer `draw`.

    Raises:
        MissingDependencyError: the device has no memory left.
    """
    if len(faces) > _MOST_FACES:
        raise ValueError(f"{len(faces)} faces: at most {_MOST_FACES}")
    where = device()
    width, height = size
    with torch.inference_mode(), memory_explained():
        scene = prepare(moved(vertices, where), moved(faces, where), projection.tolist(), size, near)
        picture = clear(width, height, where)
        for start in range(0, len(faces), CHUNK):
            which = torch.arange(start, min(start + CHUNK, len(faces)), device=where)
            drawing(scene, scene.whole(which), which << _PIECE_BITS, width, height, picture)
        n = torch.arange(PIECES, device=where)
        for start in range(0, len(scene.clipped), CHUNK // PIECES):
            polygon, nth = (n < scene.counts[start : start + CHUNK // PIECES, None] - 2).nonzero().unbind(1)
            polygon = polygon + start
            labels = (scene.clipped[polygon] << _PIECE_BITS) | nth
            drawing(scene, scene.pieces(polygon, nth), labels, width, height, picture)
        return _read(scene, picture, width, height)


def device() -> torch.device:
    """Where this backend computes.

    Not on Apple's GPUs: torch has no 64-bit floats there.
    """
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def memory_explained() -> Generator[None]:
    """Turn torch's word for it into ours.

    Raises:
        MissingDependencyError: the GPU has no memory left.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MissingDependencyError(
            "The GPU has no memory left to rasterize a frame in: close what else uses it, "
            f"or set {VARIABLE}=numba to use the CPU."
        ) from error


def moved(array: NDArray[np.float32] | NDArray[np.int32], where: torch.device) -> Tensor:
    """The array on a device; on the CPU it may be the same memory."""
    return torch.from_numpy(np.require(array, requirements="W")).to(where)


def _read(scene: Prepared, picture: Tensor, width: int, height: int) -> Raster:
    """Where on its winner each pixel lies."""
    pixels, where = width * height, picture.device
    face_id = torch.full((pixels,), -1, dtype=torch.int32, device=where)
    barycentrics = torch.zeros((pixels, 3), device=where)
    front = torch.zeros(pixels, dtype=torch.bool, device=where)
    depth = (picture >> 32).to(torch.int32).view(torch.float32)
    clipped = torch.cat([scene.clipped, scene.clipped.new_full((1,), _MOST_FACES)])  # there is a next one to each
    for start in range(0, pixels, CHUNK):
        seen = torch.isfinite(depth[start : start + CHUNK]).nonzero()[:, 0] + start
        label = picture[seen] & 0xFFFFFFFF
        face, nth = label >> _PIECE_BITS, label & _PIECE
        corners = scene.whole(face)
        polygon = torch.searchsorted(clipped, face)
        cut = (clipped[polygon] == face).nonzero()[:, 0]
        polygon, nth = polygon[cut], nth[cut]
        corners[:, cut] = scene.pieces(polygon, nth)
        edges = Edges.of(scene.x[corners], scene.y[corners])
        x, y = (seen % width) * SUBPIXELS + HALF, seen // width * SUBPIXELS + HALF
        total, n = weigh(edges.a * x + edges.b * y + edges.c, scene.inverse_w[corners])
        weights = (n * (1.0 / total)).float().T.contiguous()  # (P, 3)
        b, of_corner = weights[cut].double(), scene.piece_weights(polygon, nth)
        b0, b1, b2 = b[:, :1], b[:, 1:2], b[:, 2:]
        weights[cut] = (b0 * of_corner[:, 0] + b1 * of_corner[:, 1] + b2 * of_corner[:, 2]).float()
        face_id[seen], barycentrics[seen], front[seen] = face.to(torch.int32), weights, edges.area < 0
    return Raster(
        face_id.view(height, width).cpu().numpy(),
        barycentrics.view(height, width, 3).cpu().numpy(),
        depth.view(height, width).cpu().numpy(),
        front.view(height, width).cpu().numpy(),
    )

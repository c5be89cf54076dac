"""The opt-in backend nvdiffrast: NVIDIA's rasterizer, whose licence allows research and evaluation only.

Nothing of it is in this package, and nothing chooses it unasked. It snaps corners to 1/16 pixel (ours: 1/4096) and
keeps depth in 32 bits of near / depth, so its pictures differ from the other backends' in a few pixels along edges.
"""

from __future__ import annotations

import functools
import importlib
import threading
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ex4d_core.errors import InputError, MissingDependencyError
from ex4d_core.raster import Raster
from ex4d_core.raster.choice import VARIABLE
from ex4d_core.raster.torch_backend import memory_explained, moved

_MOST_FACES = 1 << 24
"""CudaRaster's limit (CR_MAXSUBTRIS_LOG2); up to there a float32 holds a face's number exactly."""

_turn = threading.Lock()
"""A context draws one picture at a time."""


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
        MissingDependencyError: nvdiffrast is not installed, does not load, or there is no GPU for it.
        InputError: more faces than nvdiffrast draws.
    """
    library = _library()
    if len(faces) > _MOST_FACES:
        raise InputError(
            f"The mesh has {len(faces)} faces, and nvdiffrast draws {_MOST_FACES} at most: "
            f"set {VARIABLE}=torch, or use smaller frames."
        )
    if len(faces) and (faces.min() < 0 or faces.max() >= len(vertices)):
        raise ValueError(f"a face names a vertex outside 0..{len(vertices) - 1}")
    width, height = size
    with torch.no_grad(), memory_explained():
        where = torch.device("cuda", torch.cuda.current_device())
        points = moved(vertices, where).double()
        matrix = torch.from_numpy(projection).to(where)
        corners = points @ matrix[:, :3].T + matrix[:, 3]  # (N, 3): u w, v w, w
        triangles = moved(faces, where)
        found = torch.zeros(height, width, 4, device=where)
        if len(faces):
            drawn = clip_space(corners, size, near)[None]
            whole = torch.isfinite(corners).all(1)[triangles.long()].all(1, keepdim=True)
            with _turn:
                found, _ = library.rasterize(
                    _context(where.index), drawn, torch.where(whole, triangles, 0), (height, width), grad_db=False
                )
                found = found[0]
        return read(found, corners, triangles)


def clip_space(corners: Tensor, size: tuple[int, int], near: float) -> Tensor:
    """Positions as nvdiffrast wants them, (N, 4) float32: the picture spans -1 to 1, and so does depth.

    Row 0 of its result is at y = -1: OpenGL's bottom, our top, as v grows downwards. z / w = 1 - 2 n / w is -1 at the
    depth n and 1 infinitely far, so that nothing is cut away there. As float32 has little precision left close to 1, n
    is the nearest vertex if that is farther away than `near`.

    Args:
        corners: (N, 3) float64, u w, v w, w, pixels; what is not finite becomes 0.
        size: (w, h) of the picture.
        near: what is nearer than this z-depth is cut away.
    """
    width, height = size
    u, v, w = torch.where(torch.isfinite(corners).all(1, keepdim=True), corners, 0.0).unbind(1)
    closest = torch.where(torch.isfinite(corners[:, 2]), corners[:, 2], torch.inf).min().clamp(min=near)
    return torch.stack([2 * u / width - w, 2 * v / height - w, w - 2 * closest, w], dim=1).float()


def read(found: Tensor, corners: Tensor, faces: Tensor) -> Raster:
    """nvdiffrast's answer in our terms.

    Args:
        found: (h, w, 4) float32: weights of the first and the second vertex, z / w, number of the face + 1.
        corners: (N, 3) float64, u w, v w, w.
        faces: (F, 3) int32.
    """
    height, width = found.shape[:2]
    number = found[..., 3].long()
    seen = number > 0
    face_id = torch.where(seen, number - 1, -1).to(torch.int32)
    barycentrics = torch.zeros(height, width, 3, device=found.device)
    depth = torch.full((height, width), torch.inf, device=found.device)
    front = torch.zeros(height, width, dtype=torch.bool, device=found.device)
    u, v = found[seen][:, 0], found[seen][:, 1]
    weights = torch.stack([u, v, 1 - u - v], dim=1)
    a, b, c = corners[faces[number[seen] - 1].long()].unbind(1)  # (P, 3) each
    barycentrics[seen] = weights
    depth[seen] = (weights * torch.stack([a[:, 2], b[:, 2], c[:, 2]], dim=1)).sum(1).float()
    front[seen] = (a * torch.linalg.cross(b, c)).sum(1) < 0  # y down: see `numpy_reference`
    return Raster(face_id.cpu().numpy(), barycentrics.cpu().numpy(), depth.cpu().numpy(), front.cpu().numpy())


def _library() -> Any:
    """nvdiffrast.torch.

    Raises:
        MissingDependencyError: it cannot be used here.
    """
    if find_spec("nvdiffrast") is None:
        raise MissingDependencyError(
            "The rasterizer nvdiffrast is not installed; it comes under the NVIDIA Source Code License, for research "
            "and evaluation only, not for commercial work, and as source, to be built with the CUDA toolkit: if that "
            "suits you, run pip install --no-build-isolation .[nvdiffrast] in EX-4D's folder; if not, set "
            f"{VARIABLE}=torch, which is as exact and free of such terms."
        )
    if not torch.cuda.is_available():
        raise MissingDependencyError(
            f"The rasterizer nvdiffrast needs an NVIDIA GPU, and torch finds none: set {VARIABLE}=numba."
        )
    try:
        return importlib.import_module("nvdiffrast.torch")
    except (ImportError, OSError) as error:  # built for another torch or CUDA
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise MissingDependencyError(
            f"The rasterizer nvdiffrast does not load ({reason}): pip uninstall it, and build it for this torch with "
            f"pip install --no-build-isolation .[nvdiffrast] in EX-4D's folder, or set {VARIABLE}=torch."
        ) from error


@functools.cache
def _context(index: int) -> Any:
    return _library().RasterizeCudaContext(torch.device("cuda", index))

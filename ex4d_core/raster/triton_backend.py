"""The `torch` backend with its inner loop as Triton kernels: fewer launches and less traffic, if Triton runs here.

Triton comes with torch for Linux and CUDA. It builds a small C module on first use, and so needs a C compiler: reason
enough to let the user ask for it.
"""

from __future__ import annotations

import importlib
import os
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray

from ex4d_core.errors import MissingDependencyError
from ex4d_core.raster import Raster
from ex4d_core.raster.choice import VARIABLE
from ex4d_core.raster.torch_backend import rasterize_with


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
        MissingDependencyError: Triton is not installed, has no GPU or no C compiler; the GPU has no memory left.
    """
    if find_spec("triton") is None:
        raise MissingDependencyError(
            f"The rasterizer triton needs the package triton, which comes with torch for CUDA: set {VARIABLE}=torch."
        )
    if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
        raise MissingDependencyError(f"The rasterizer triton needs a GPU, and torch finds none: set {VARIABLE}=numba.")
    kernels = importlib.import_module("ex4d_core.raster.triton_draw")
    try:
        return rasterize_with(kernels.draw, vertices, faces, projection, size, near)
    except RuntimeError as error:
        if "C compiler" not in str(error):
            raise
        raise MissingDependencyError(
            f"The rasterizer triton finds no C compiler: install one (on Debian, gcc), or set {VARIABLE}=torch."
        ) from error

"""Which rasterizer is used where the caller leaves it open, and why."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from importlib.util import find_spec

from ex4d_core.devices import gpus
from ex4d_core.errors import InputError, MissingDependencyError

BACKENDS = {
    "numba": "ex4d_core.raster.numba_backend",
    "torch": "ex4d_core.raster.torch_backend",
    "triton": "ex4d_core.raster.triton_backend",
    "nvdiffrast": "ex4d_core.raster.nvdiffrast_backend",
    "numpy": "ex4d_core.raster.numpy_reference",
}
"""Name of a backend -> module with `rasterize_homogeneous`; imported on first use."""

VARIABLE = "EX4D_RASTER"
"""Environment variable that names a backend for all of a process."""


@dataclass(frozen=True)
class Choice:
    """A backend, and what speaks for it."""

    backend: str
    """A name in `BACKENDS`."""
    reason: str
    """For people, half a sentence."""
    asked: bool = False
    """Whether the user named it: then nothing else takes its place."""


def choose() -> Choice:
    """The backend that `EX4D_RASTER` names; else torch on a GPU of NVIDIA's, numba without one.

    nvdiffrast is never chosen unasked: its licence forbids commercial use.

    Raises:
        InputError: `EX4D_RASTER` names no backend.
    """
    wanted = os.environ.get(VARIABLE, "")
    if not wanted:
        return _automatic()
    if wanted not in BACKENDS:
        raise InputError(f"{VARIABLE} is '{wanted}', which is no rasterizer: set it to one of {', '.join(BACKENDS)}.")
    return Choice(wanted, f"{VARIABLE} says so", asked=True)


@functools.cache
def _automatic() -> Choice:
    try:
        found = gpus()  # asks the driver: importing torch takes seconds
    except MissingDependencyError:
        return Choice("numba", "the NVIDIA driver does not answer")
    if not found:
        return Choice("numba", "no NVIDIA GPU")
    if find_spec("torch") is None:
        return Choice("numba", "the GPU needs torch, which is not installed")
    import torch

    if not torch.cuda.is_available():
        return Choice("numba", f"torch {torch.__version__} has no use of the GPU")
    try:
        name = torch.cuda.get_device_name()
        torch.ones(1, device="cuda").add_(1)  # a torch without code for this GPU says so only now
    except (RuntimeError, AssertionError) as error:  # AssertionError is what torch.cuda raises for want of CUDA
        return Choice("numba", f"torch cannot use the GPU ({str(error).strip().splitlines()[0].rstrip('.')})")
    return Choice("torch", f"CUDA on {name}")

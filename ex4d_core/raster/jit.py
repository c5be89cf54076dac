"""How the rasterizer's kernels are compiled, and whether they are compiled already."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function on its first call, without the GIL, and keep the result on disk.

    Numba keeps it in `NUMBA_CACHE_DIR` if that is set, else in `__pycache__` beside the module, else (package
    folder read-only) in the user's cache folder. Where none of them can be written, it compiles in each process.
    Division by zero gives inf or nan, as in NumPy.
    """
    try:
        return njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # no folder to keep it in
        return njit(nogil=True, error_model="numpy")(function)


def is_cached(compiled: Callable[..., object]) -> bool:
    """Whether machine code for this version of a kernel and this processor lies on disk."""
    # Numba offers no public question for it; should these names go, announce a compilation too many.
    try:
        index = compiled._cache._cache_file._load_index()  # type: ignore[attr-defined]
        machine = compiled.targetctx.codegen().magic_tuple()  # type: ignore[attr-defined]
        return any(key[1] == machine for key in index)
    except (AttributeError, OSError):
        return False

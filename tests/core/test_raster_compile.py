"""Kernels are compiled once per machine, announced, and kept where the user can write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

WARM_UP = """
import logging, sys
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
from ex4d_core.raster import needs_compiling, warm_up
print("needs", needs_compiling())
warm_up()
print("needs", needs_compiling())
"""


def run(code: str, cache: Path) -> str:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_importing_is_light() -> None:
    """The command line imports the package for its help: no compiler, no drawing."""
    code = "import sys, ex4d_core.raster; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.slow
def test_compiles_once_and_says_so(tmp_path: Path) -> None:
    first = run(WARM_UP, tmp_path).splitlines()
    assert first[0] == "needs True"
    assert first[1] == "compiling kernels, once per machine…"
    assert first[2].startswith("compiled the kernels in ")
    assert first[3] == "needs False"
    assert list(tmp_path.rglob("*.nbc"))
    assert run(WARM_UP, tmp_path).splitlines() == ["needs False", "needs False"]


def test_works_without_a_place_to_keep_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only package and home: numba refuses to cache at decoration; then it compiles in each process."""
    from numba.core import caching

    from ex4d_core.raster.jit import is_cached, kernel

    def double(x: float) -> float:
        return 2 * x

    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    compiled = kernel(double)
    assert compiled(3.0) == 6.0
    assert not is_cached(compiled)

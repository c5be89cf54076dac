"""The Triton kernels, without a GPU: run by Triton's interpreter, and compiled to a GPU's machine code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from raster_cases import orbit, relief

from ex4d_core.errors import MissingDependencyError
from ex4d_core.raster import rasterize, triton_backend

HERE = Path(__file__).resolve().parent

needs_triton = pytest.mark.skipif(
    triton_backend.find_spec("triton") is None, reason="no triton: pip install .[dev] brings it on Linux"
)

INTERPRETED = """
import numpy as np
from raster_cases import INSIDE, assert_identical, lens, orbit, relief, soup
from ex4d_core.camera import Camera
from ex4d_core.raster import rasterize, triton_draw
from triton.runtime.interpreter import InterpretedFunction
assert isinstance(triton_draw._draw, InterpretedFunction)
triton_draw._BLOCK = 512  # the interpreter's cost is by program, not by lane

def check(mesh, camera, size):
    ours = rasterize(mesh.vertices, mesh.faces, camera, size, backend="triton")
    assert (ours.face_id >= 0).mean() > 0.1
    assert_identical(ours, rasterize(mesh.vertices, mesh.faces, camera, size, backend="torch"))
"""

SMALL = """
check(soup(1, 60), Camera(np.eye(4), lens()), (48, 40))
check(relief(3, 10, 12), INSIDE[0], (40, 30))
triton_draw.CHUNK = 100
check(soup(2, 25), Camera(np.eye(4), lens()), (40, 30))
"""

LARGE = """
for seed in range(4):
    check(soup(seed, 120, 4.0), Camera(np.eye(4), lens()), (120, 90))
for camera in (orbit(0), orbit(60), orbit(170), *INSIDE):
    check(relief(3, 30, 36), camera, (71, 67))
"""


def run(code: str, **environment: str) -> str:
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", code],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_triton
def test_kernels_equal_torch() -> None:
    """Bit for bit; `test_raster_torch` holds torch against numba and the oracle."""
    run(INTERPRETED + SMALL, TRITON_INTERPRET="1")


@needs_triton
@pytest.mark.slow
def test_kernels_equal_torch_in_larger_pictures() -> None:
    run(INTERPRETED + LARGE, TRITON_INTERPRET="1")


COMPILED = """
import inspect
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from ex4d_core.raster import triton_draw
types = {"x_ptr": "*i32", "y_ptr": "*i32", "w_ptr": "*fp64", "BLOCK": "constexpr"}
types |= {name: "i32" for name in ("triangles", "lines", "width", "height")}

def compiled(capability):
    for kernel in (triton_draw._count, triton_draw._draw):
        signature = {name: types.get(name, "*i64") for name in inspect.signature(kernel.fn).parameters}
        source = ASTSource(fn=kernel, signature=signature, constexprs={"BLOCK": triton_draw._BLOCK})
        done = compile(source, GPUTarget("cuda", capability, 32), {"num_warps": 1, "enable_fp_fusion": False})
        assert len(done.asm["cubin"]) > 1000
        print(done.asm["ptx"])

"""


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("capability", [75, 80, 90, 120])
def test_kernels_compile_for_a_gpu(capability: int, tmp_path: Path) -> None:
    """To machine code; with the hardware's atomics, and no product fused with a sum, which would round otherwise."""
    assembly = run(COMPILED + f"compiled({capability})", TRITON_CACHE_DIR=str(tmp_path), TRITON_INTERPRET="0")
    assert "min.s64" in assembly
    assert re.search(r"mul(\.rn)?\.f64", assembly)
    assert "div.rn.f64" in assembly
    assert not re.search(r"\bfma\.\w+\.f64", assembly)


def test_without_triton_or_a_gpu_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = relief(0, 8, 9)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(triton_backend.torch.cuda, "is_available", lambda: False)
    for found, problem in ((None, r"needs the package triton.*: set EX4D_RASTER=torch"), (1, r"needs a GPU.*: set EX")):
        monkeypatch.setattr(triton_backend, "find_spec", lambda _, found=found: found)
        with pytest.raises(MissingDependencyError, match=problem):
            rasterize(mesh.vertices, mesh.faces, orbit(0), backend="triton")

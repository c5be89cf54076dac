"""scripts/bench_raster.py: the judge of the backends, which has to notice what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmark.raster_judge import compare, window
from benchmark.raster_scene import make_frame

from ex4d_core.raster import Raster, rasterize

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

FRAME = make_frame(96, 80, 5, 49)
WINDOW = window(FRAME, 0)
RASTER = rasterize(FRAME.vertices, FRAME.faces, FRAME.camera, backend="numba")


def test_numba_agrees() -> None:
    found = compare([RASTER], [WINDOW])
    assert found.pixels == 64 * 64
    assert not found.failures()


def shifted(raster: Raster) -> Raster:
    return replace(raster, face_id=np.roll(raster.face_id, 1, axis=1))


def deeper(raster: Raster) -> Raster:
    return replace(raster, depth=raster.depth * np.float32(1.001))


def holed(raster: Raster) -> Raster:
    face_id = raster.face_id.copy()
    face_id[::9, ::9] = -1
    return replace(raster, face_id=face_id)


@pytest.mark.parametrize(
    ("spoil", "problem"), [(shifted, "IoU of the masks"), (deeper, "depth differs"), (holed, "coverage differs")]
)
def test_what_is_wrong_is_noticed(spoil: Callable[[Raster], Raster], problem: str) -> None:
    assert any(problem in text for text in compare([spoil(RASTER)], [WINDOW]).failures())


@pytest.mark.slow
def test_the_script_runs_what_it_can() -> None:
    command = [sys.executable, str(SCRIPTS / "bench_raster.py"), "--backend", "all", "--json"]
    done = subprocess.run(
        [*command, "--size", "96x80", "--frames", "5", "--judged", "2"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert {"numba", "torch"} <= set(report["agreement"])
    assert set(report["backends"]) | set(report["skipped"]) == {"numba", "torch", "triton", "nvdiffrast", "moderngl"}
    assert not report["failures"]

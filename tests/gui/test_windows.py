"""The extension in real Blender windows, on a virtual screen; see `walk.py` for what is done there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from blender_window import RELEASES, run_in_window, why_not  # noqa: E402

from ex4d_core import sample  # noqa: E402

pytestmark = [
    pytest.mark.gui,
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "-"),
]
FROZEN_SECONDS = 60


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A sidecar that Blender finds: its process id and its state folder."""
    state = tmp_path / "state"
    process = subprocess.Popen(
        [sys.executable, "-m", "ex4d_core.cli", "serve", "--data", str(tmp_path / "data"), "--json"],
        stdout=subprocess.PIPE,
        env={**os.environ, "EX4D_STATE_DIR": str(state)},
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    yield process.pid, state
    process.terminate()
    process.wait(30)
    process.stdout.close()


@pytest.mark.parametrize("release", RELEASES)
def test_walk(release: str, sidecar: tuple[int, Path], tmp_path: Path) -> None:
    pid, state = sidecar
    subprocess.run([sys.executable, ROOT / "scripts/build_extension.py", "--output", tmp_path], check=True)
    out = Path(os.environ.get("EX4D_PICTURES", tmp_path)) / release
    (out / "project").mkdir(parents=True, exist_ok=True)
    low, high = sample.facts().depth_range
    task = {
        "zip": str(next(tmp_path.glob("*.zip"))),
        "clip": str(sample.clip_path()),
        "depth": str(sample.depth_path()),
        "depth_options": {
            "depth_kind": "disparity",
            "use_depth_range": True,
            "depth_low": low,
            "depth_high": high,
            "lens": "PIXELS",
            "focal_px": sample.facts().focal_px,
        },
        "sidecar_pid": pid,
        "frozen_seconds": FROZEN_SECONDS,
        "out": str(out),
    }
    (tmp_path / "task.json").write_text(json.dumps(task))
    done = run_in_window(
        release, ROOT / "tests/gui/walk.py", [str(tmp_path / "task.json")], {"EX4D_STATE_DIR": str(state)}
    )
    assert done.returncode == 0, done.stdout[-6000:]
    assert "Traceback" not in done.stdout, done.stdout[-6000:]
    measured = json.loads((out / "walk.json").read_text())
    print(release, measured)
    ticks = measured["frozen_ticks"]
    assert ticks["count"] > 5 * FROZEN_SECONDS
    assert ticks["median_ms"] < 2
    assert ticks["worst_of_99_percent_ms"] < 8
    assert ticks["worst_busy_ms"] < 8  # of the main thread: another process may take the core away in between
    pictures = {path.stem: cv2.imread(str(path)) for path in out.glob("*.png")}
    seen, hatched = pictures["3_shot"], pictures["4_preview_solid"]
    assert np.abs(seen.astype(int) - hatched).max(axis=2).mean() > 1, "the preview shows nothing"

"""The extension in real Blender windows, on a virtual screen; see `walk.py` for what is done there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from blender_walk import walk
from blender_window import RELEASES, why_not
from manual import named

ROOT = Path(__file__).resolve().parent.parent.parent

pytestmark = [
    pytest.mark.gui,
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "-"),
]
FROZEN_SECONDS = 60


@pytest.mark.parametrize("release", RELEASES)
def test_walk(release: str, tmp_path: Path) -> None:
    out = Path(os.environ.get("EX4D_PICTURES", tmp_path)) / release
    done = walk(release, out, FROZEN_SECONDS)
    assert done.returncode == 0, done.stdout[-6000:]
    assert "Traceback" not in done.stdout, done.stdout[-6000:]
    measured = json.loads((out / "walk.json").read_text())
    print(release, measured)
    ticks = measured["frozen_ticks"]
    assert ticks["count"] > 5 * FROZEN_SECONDS
    assert ticks["median_ms"] < 2
    assert ticks["worst_of_99_percent_ms"] < 8
    assert ticks["worst_busy_ms"] < 8  # of the main thread: another process may take the core away in between
    assert {path.stem for path in out.glob("*.png")} == named()  # the illustrated manual shows each of them

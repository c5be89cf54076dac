"""Mouse and keyboard in real Blender windows; see `hands.py` for what is done there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from blender_window import RELEASES, run_in_window, why_not

ROOT = Path(__file__).resolve().parent.parent.parent

pytestmark = [
    pytest.mark.gui,
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "-"),
]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled clip, small."""
    folder = tmp_path_factory.mktemp("hands") / "clip.ex4d"
    command = ["import", "sample", "--size", "208x120", "-o", folder]
    subprocess.run([sys.executable, "-m", "ex4d_core.cli", *command], check=True, cwd=ROOT)
    return folder


@pytest.mark.parametrize("release", RELEASES)
def test_hands(release: str, scene: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "scripts/build_extension.py", "--output", tmp_path], check=True)
    out = Path(os.environ.get("EX4D_PICTURES", tmp_path)) / release
    out.mkdir(parents=True, exist_ok=True)
    (archive,) = tmp_path.glob("*.zip")
    (tmp_path / "task.json").write_text(json.dumps({"zip": str(archive), "scene": str(scene), "out": str(out)}))
    done = run_in_window(release, ROOT / "tests/gui/hands.py", [str(tmp_path / "task.json")])
    assert done.returncode == 0, done.stdout[-6000:]
    assert "Traceback" not in done.stdout, done.stdout[-6000:]
    print(release, json.loads((out / "hands.json").read_text()))
    same, other = (cv2.imread(str(out / f"6_{name}_aspect.png")) for name in ("same", "other"))
    assert (np.abs(same.astype(int) - other).max(axis=2) > 24).mean() > 0.0005, "no frame is drawn"

"""Two takes over the camera view, read off the screen of a real Blender window."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from blender_window import RELEASES, run_in_window, why_not

from ex4d_core.images import write_png

ROOT = Path(__file__).resolve().parent.parent.parent

pytestmark = [
    pytest.mark.gui,
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "-"),
]
RED, BLUE, GREEN, WRONG = (200, 40, 30), (30, 60, 180), (0, 255, 0), (255, 255, 0)


def take(folder: Path, number: int, upper: tuple[int, ...], lower: tuple[int, ...], margin: int) -> Path:
    """Two frames of 64x36 in two colours, and around them the overscan, which nobody is to see; the first is wrong."""
    width, height = 64 + 2 * margin, 36 + 2 * margin
    frame = {"c2w": np.eye(4).tolist(), "intrinsics": [60.0, 60.0, width / 2, height / 2], "source_time": 0.0}
    path = {"schema": "ex4d.trajectory/1", "width": width, "height": height, "fps": [24, 1], "frame_start": 1}
    (folder / "output").mkdir(parents=True)
    (folder / "trajectory.json").write_text(json.dumps({**path, "scene_hash": None, "frames": [frame, frame]}))
    settings = {"overscan": 2 * margin / 64, "handles": [0, 0], "size": [64, 36]}
    about = {"schema": "ex4d.take/1", "shot": "", "shot_name": "", "number": number, "name": folder.name}
    (folder / "take.json").write_text(json.dumps({**about, "settings": settings}))
    picture = np.full((height, width, 3), WRONG, np.uint8)
    write_png(folder / "output/000000.png", picture)
    picture[margin : margin + 18, margin : margin + 64] = upper
    picture[margin + 18 : margin + 36, margin : margin + 64] = lower
    write_png(folder / "output/000001.png", picture)
    return folder


@pytest.mark.parametrize("release", RELEASES)
def test_the_line_parts_two_takes(release: str, tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "scripts/build_extension.py", "--output", tmp_path], check=True)
    (archive,) = tmp_path.glob("*.zip")
    out = Path(os.environ.get("EX4D_PICTURES", tmp_path)) / release
    out.mkdir(parents=True, exist_ok=True)
    takes = [take(tmp_path / "take_001", 1, RED, GREEN, 0), take(tmp_path / "take_002", 2, BLUE, RED, 4)]
    task = {"zip": str(archive), "takes": [str(each) for each in takes], "out": str(out)}
    (tmp_path / "task.json").write_text(json.dumps(task))
    done = run_in_window(release, ROOT / "tests/gui/compare_window.py", [str(tmp_path / "task.json")])
    assert done.returncode == 0, done.stdout[-6000:]
    assert "Traceback" not in done.stdout, done.stdout[-6000:]
    found = {name: np.array(seen) for name, seen in json.loads((out / "compare.json").read_text()).items()}
    first, second = [GREEN, GREEN, RED, RED], [RED, RED, BLUE, BLUE]  # from below
    for name, columns in (("half", 3), ("left", 6), ("right", 0)):
        wanted = np.array([[(first if column < columns else second)[row] for column in range(6)] for row in range(4)])
        assert np.abs(found[name] - wanted).max() <= 1, name
    assert np.abs(found["off"] - found["half"]).min(axis=-1).max() > 20

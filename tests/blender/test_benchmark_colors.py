"""The colours of `scripts/make_benchmark.py` lie where its geometry is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import bpy
import numpy as np
import pytest

SCRIPTS = Path(__file__).resolve().parent.parent.parent / "scripts"
SIZE = 128


def test_what_blender_renders_is_where_the_rays_look(tmp_path: Path) -> None:
    if bpy.app.binary_path:
        pytest.skip("the wheel renders it: here Python is not a program of its own")
    sys.path.insert(0, str(SCRIPTS))
    try:
        from benchmark import fence
        from benchmark.scene import FOCAL
    finally:
        sys.path.remove(str(SCRIPTS))
    scene = fence.scene()
    pose = scene.target(0.5, 60)
    picture = tmp_path / "view.png"
    job = {"scene": "fence", "size": SIZE, "focal": FOCAL, "samples": 2}
    job["views"] = [{"file": str(picture), "seconds": 1.0, "c2w": pose.tolist()}]
    (tmp_path / "job.json").write_text(json.dumps(job))
    command = [sys.executable, str(SCRIPTS / "benchmark" / "colors.py"), str(tmp_path / "job.json")]
    subprocess.run(command, check=True, capture_output=True)
    image = bpy.data.images.load(str(picture))
    red, _, blue, _ = np.reshape(image.pixels[:], (SIZE, SIZE, 4))[::-1].transpose(2, 0, 1)
    assert (blue[:10] > red[:10]).all()  # sky
    # the bicycle is the only blue thing below the wall's top
    found = np.argwhere((blue > 2.2 * red) & (np.arange(SIZE)[:, None] > SIZE // 2))[:, ::-1]
    vertices = fence._bicycle().vertices
    points = (vertices - pose[:3, 3]) @ pose[:3, :3]
    pixels = FOCAL * SIZE * points[:, :2] / points[:, 2:] + SIZE / 2
    np.testing.assert_allclose(found.min(axis=0), pixels.min(axis=0), atol=2.5)
    np.testing.assert_allclose(found.max(axis=0) + 1, pixels.max(axis=0), atol=2.5)
    written = picture.stat().st_mtime_ns
    subprocess.run(command, check=True, capture_output=True)
    assert picture.stat().st_mtime_ns == written  # what is there is not made again

"""From a scene on disk to a shot on disk: memory whatever the length, and what its benchmark says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from render_cases import HEIGHT, WIDTH, card, card_scene, noise, sideways

from ex4d_core.camera import Intrinsics, Trajectory
from ex4d_core.clip import iter_frames
from ex4d_core.images import read_image
from ex4d_core.rendering import render_shot
from ex4d_core.scene import Scene, write_scene
from ex4d_core.shot import read_shot

ROOT = Path(__file__).resolve().parents[2]
SIDE, LENGTH = 256, 480


def long_scene(folder: Path) -> Scene:
    """A clip of 480 frames of 256x256, of which every other is the same file."""
    times = SIDE // HEIGHT + 1
    image, depth = (np.tile(part, (times, times) + (1,) * (part.ndim - 2))[:SIDE, :SIDE] for part in (noise(), card()))
    lens = Intrinsics(240.0, 240.0, SIDE / 2, SIDE / 2, SIDE, SIDE)
    scene = write_scene(
        folder / "long.ex4d",
        [image, image[::-1].copy()],
        np.stack([depth, depth[::-1]]),
        fps=sideways().fps,
        intrinsics=lens,
        source_c2w=None,
    )
    for file in list(scene.path.glob("*/00000[01].*")):
        for frame in range(2 + int(file.stem), LENGTH, 2):
            os.link(file, file.with_stem(f"{frame:06d}"))
    document = json.loads((scene.path / "scene.json").read_text())
    (scene.path / "scene.json").write_text(json.dumps(document | {"frames": LENGTH}))
    return Scene.open(scene.path)


def path_of(scene: Scene, frames: int) -> Trajectory:
    """A path along x at the scene's size."""
    short = sideways(frames, 0.5 / frames)
    lens = np.tile(scene.intrinsics(0).as_tuple(), (frames, 1))
    return replace(short, intrinsics=lens, width=scene.width, height=scene.height)


@pytest.mark.slow
def test_memory_is_that_of_a_few_frames_however_long_the_clip(tmp_path: Path) -> None:
    """All masks of the long shot are 31 MB, all colours 94, all of what was rendered 750."""
    scene, process = long_scene(tmp_path), psutil.Process()
    most: dict[int, int] = {}

    def sample(done: int, total: int, stage: str) -> None:
        most[total] = max(most.get(total, 0), process.memory_info().rss)

    for frames in (48, LENGTH):
        path, out = path_of(scene, frames), tmp_path / f"shot{frames}"
        render_shot(scene, path, out, passes=("depth", "risk", "risk-exr"), on_progress=sample)
    assert most[LENGTH] - most[48] < 20e6, {frames: f"{size / 1e6:.0f} MB" for frames, size in most.items()}
    assert len(read_shot(tmp_path / f"shot{LENGTH}").frames) == LENGTH
    assert sum(1 for _ in iter_frames(tmp_path / f"shot{LENGTH}" / "color.mp4")) == LENGTH
    assert read_image(tmp_path / f"shot{LENGTH}" / f"risk/{LENGTH - 1:06d}.png").shape == (SIDE, SIDE, 3)


@pytest.mark.slow
def test_the_benchmark_says_where_the_time_goes(tmp_path: Path) -> None:
    scene = card_scene(tmp_path)
    command = [sys.executable, ROOT / "scripts/bench_pipeline.py", scene.path, "--passes", "risk"]
    options = ["--frames", "4", "--repeats", "1", "--json"]
    done = subprocess.run([*map(str, command), *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (report,) = json.loads(done.stdout)
    assert (report["size"], report["frames"]) == ([WIDTH, HEIGHT], 4)
    names = ["read colour", "read depth", "method", "encode risk", "encode color", "encode mask"]
    assert list(report["stages_cpu_ms"]) == names
    assert all(spent >= 0 for spent in report["stages_cpu_ms"].values())
    assert report["ratio_cpu"] == pytest.approx(report["whole_cpu_ms"] / report["method_cpu_ms"])

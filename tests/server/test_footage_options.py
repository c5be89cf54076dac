"""Footage with what is known of its camera, as jobs of a sidecar; scenes with a background that come from elsewhere."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Running, reshoot_request
from raw_http import ask, new_id, run_job

from ex4d_core.clip import write_lossless
from ex4d_core.scene import Scene


def test_a_solve_by_its_path(sidecar: Running, tiny_clip: Path, tmp_path: Path) -> None:
    rows = [[[1, 0, 0, 0.02 * t], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]] for t in range(6)]
    frames = [{"c2w": c2w, "intrinsics": [60, 60, 32, 24], "source_time": t} for t, c2w in enumerate(rows)]
    document = {"schema": "ex4d.trajectory/1", "width": 64, "height": 48, "fps": [12, 1], "frames": frames}
    solve = tmp_path / "solve.json"
    solve.write_text(json.dumps({**document, "frame_start": 0, "scene_hash": None}))
    job = run_job(sidecar.server, importing(tiny_clip, source_camera={"path": str(solve)}), new_id("solved"))
    assert job["state"] == "succeeded", job["problem"]
    scene = Scene.open(Path(job["result"]["path"]))
    assert scene.source_c2w is not None
    assert scene.source_c2w[5, 0, 3] == pytest.approx(0.1)
    facts = scene.document.source
    assert facts is not None
    assert (facts.lens, facts.camera) == ("trajectory", "given")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"estimator": "magic"}, "no depth estimator 'magic'"),
        ({"focal_mm": 35.0, "sensor": "potato"}, "potato"),
        ({"sensor": "Super 35"}, "A focal length in millimetres needs"),
        ({"estimator": "embedded", "depth": {"path": "/nowhere/z"}}, "choose one of --depth and --estimator"),
        ({"source_camera": {"path": "/nowhere/solve.json"}}, "/nowhere/solve.json"),
        ({"depth_model_dir": {"path": "/nowhere"}}, "no folder /nowhere with a depth model"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    sidecar: Running, tiny_clip: Path, options: dict[str, Any], sentence: str
) -> None:
    request = importing(tiny_clip, **options)
    answer = ask(sidecar.server, "PUT", f"/v1/jobs/{new_id('wrong')}", request)
    started = answer.status == 201
    problem = run_job(sidecar.server, request, new_id("wrong"))["problem"] if started else answer.json()
    assert sentence in problem["detail"]
    assert "\n" not in problem["detail"]


def test_paths_of_solves_and_models_are_whole(sidecar: Running, tiny_clip: Path) -> None:
    for name in ("source_camera", "depth_model_dir"):
        request = importing(tiny_clip, **{name: {"path": "somewhere"}})
        ask(sidecar.server, "PUT", f"/v1/jobs/{new_id('relative')}", request).problem(422, "bad-path")


def test_a_background_comes_along_and_can_be_left_out(sidecar: Running, tmp_path: Path) -> None:
    request = importing(walking_square(tmp_path), depth={"path": str(tmp_path / "z.npy")}, depth_kind="metric")
    made = run_job(sidecar.server, request, new_id("made"))
    assert made["state"] == "succeeded", made["problem"]
    folder = Path(made["result"]["path"])
    assert Scene.open(folder).background_layers == 1, Scene.open(folder).warnings
    taken = new_id("taken")
    assert ask(sidecar.server, "PUT", f"/v1/scenes/{taken}", {"path": str(folder)}).status == 201
    names = [f["name"] for f in ask(sidecar.server, "GET", f"/v1/scenes/{taken}/files").json()["files"]]
    assert {"background/000000.png", "background/000000.exr"} <= set(names)
    shares: list[float] = []
    for background in (True, False):
        request = {**reshoot_request(tmp_path), "scene": taken, "footage": None, "background": background}
        job = run_job(sidecar.server, request, new_id("shot"))
        assert job["state"] == "succeeded", job["problem"]
        document = json.loads((Path(job["result"]["path"]) / "shot.json").read_text())
        shares.append(sum(frame["unseen"] for frame in document["frames"]))
    assert shares[0] < 0.8 * shares[1]


def walking_square(folder: Path) -> Path:
    """A clip of a near square before a far wall, 12 frames, with its depth in `z.npy`."""
    wall = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    frames, depths = np.stack([wall] * 12), np.full((12, 96, 128), 4.0, np.float32)
    for t in range(12):
        square = np.s_[t, 30:66, 4 + 7 * t : 34 + 7 * t]
        frames[square], depths[square] = (200, 60, 40), 2.0
    np.save(folder / "z.npy", depths)
    write_lossless(folder / "walking.mp4", frames, Fraction(12))
    return folder / "walking.mp4"


def importing(clip: Path, **options: Any) -> dict[str, Any]:
    """An import job."""
    return {"kind": "import", "footage": {"path": str(clip)}, **options}

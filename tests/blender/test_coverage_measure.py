"""Measure Coverage with a real sidecar: what the strip shows is what the library renders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from conftest import ex4d, module
from shot_cases import add_camera, add_shot, stand_in
from sidecar_steps import as_with_windows, started, tick_until


@pytest.fixture
def case(small_scene: Path) -> tuple[Any, Any]:
    """A camera that moves aside over the small scene's 8 frames, and its shot."""
    stand_in(small_scene)
    camera = add_camera()
    camera.data.lens = 36.0 * 60 / 64
    for frame, x in ((1, 0.0), (8, 1.5)):
        camera.location.x = x
        camera.keyframe_insert("location", frame=frame)
    shot = add_shot(camera)
    bpy.context.scene.camera = camera
    bpy.context.view_layer.update()
    return camera, shot


def test_the_curve_is_what_the_library_renders(
    shared_sidecar: Any, case: tuple[Any, Any], library_python: str, small_scene: Path, tmp_path: Path
) -> None:
    camera, shot = case
    shot.handle_before = 1
    assert bpy.ops.ex4d.measure_coverage() == {"FINISHED"}
    bpy.ops.ex4d.export_trajectory(filepath=str(tmp_path / "camera.json"))
    options = ["--trajectory", tmp_path / "camera.json", "-o", tmp_path / "shot", "--passes", "risk"]
    ex4d(library_python, "render", small_scene, *options)
    frames = json.loads((tmp_path / "shot/shot.json").read_text())["frames"]
    truth = [frame["unseen"] for frame in frames]
    record = module("coverage.record")
    shares = record.shares(camera)
    np.testing.assert_allclose(shares, np.stack([np.arange(0, 9), truth], axis=1), atol=1e-6)
    assert truth[-1] > 0.1 > truth[0]
    stretched = record.shares(camera, record.STRETCHED)
    np.testing.assert_allclose(stretched[:, 1], [frame["stretched"] for frame in frames], atol=1e-6)
    assert not module("coverage.stale").is_stale(bpy.context, camera)
    found = record.read(camera)
    assert (found.first, found.frames, found.finer) == (0, 9, 1.0)
    # the pictures for the overlay came too, and nothing else
    assert sorted(path.name for path in found.shot_folder.iterdir()) == ["risk", "shot.json", "trajectory.json"]
    risk = module("coverage.png").read_png(found.shot_folder / "risk/000008.png")
    assert (risk[..., 0] > 127).mean() == pytest.approx(truth[-1], abs=1e-6)


def test_a_second_time_nothing_is_rendered(shared_sidecar: Any, case: tuple[Any, Any]) -> None:
    bpy.ops.ex4d.measure_coverage()
    jobs = {job.id for job in module("sidecar").jobs()}
    module("coverage.record").remove(case[0])
    bpy.ops.ex4d.measure_coverage()
    assert len(module("coverage.record").shares(case[0])) == 8
    assert {job.id for job in module("sidecar").jobs()} == jobs


def test_large_pictures_are_measured_small(shared_sidecar: Any, case: tuple[Any, Any]) -> None:
    camera, shot = case
    shot.width, shot.height, shot.frame_end = 3328, 2496, 2
    bpy.ops.ex4d.measure_coverage()
    found = module("coverage.record").read(camera)
    assert found.finer == pytest.approx(0.25)
    assert module("coverage.png").read_png(found.shot_folder / "risk/000000.png").shape == (624, 832, 3)


def test_where_an_artist_looks_on_it_comes_by_itself(
    shared_sidecar: Any, case: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, undo_steps: None
) -> None:
    started()
    as_with_windows(monkeypatch)
    camera, shot = case
    shot.frame_end = 6  # no other test's camera, so that it is rendered
    measuring, record = module("coverage.measuring"), module("coverage.record")
    bpy.ops.ex4d.measure_coverage()
    assert record.read(camera) is None
    assert measuring.progress(shot) == 0.0
    assert not bpy.ops.ex4d.measure_coverage.poll()
    bpy.ops.object.select_all(action="DESELECT")
    bpy.context.view_layer.objects.active = bpy.data.objects["Source Camera"]
    camera.data.lens = 20.0  # moved meanwhile: what comes back is old at once
    tick_until(lambda: record.read(bpy.data.objects["Camera"]) is not None, what="the coverage")
    camera = bpy.data.objects["Camera"]
    assert len(record.shares(camera)) == 6
    assert measuring.progress(bpy.context.scene.ex4d_shots[0]) is None
    assert module("coverage.stale").is_stale(bpy.context, camera)


def test_it_waits_while_something_is_edited(
    shared_sidecar: Any, case: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    started()
    as_with_windows(monkeypatch)
    camera, shot = case
    shot.frame_end = 5
    measuring, record = module("coverage.measuring"), module("coverage.record")
    cube = bpy.data.objects.new("Cube", bpy.data.meshes.new("Cube"))
    bpy.context.scene.collection.objects.link(cube)
    bpy.context.view_layer.objects.active = cube
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.ex4d.measure_coverage()
    tick_until(lambda: measuring._back, what="the render")
    for _ in range(10):
        module("sidecar").tick()
    assert record.read(camera) is None
    bpy.ops.object.mode_set(mode="OBJECT")
    module("sidecar").tick()
    assert record.read(bpy.data.objects["Camera"]) is not None


def test_what_fails_is_one_sentence(case: tuple[Any, Any], tmp_path: Path) -> None:
    numbers, user_error = module("coverage.numbers"), module("errors").UserError
    with pytest.raises(user_error, match="render the coverage again"):
        numbers.read(tmp_path)
    (tmp_path / "shot.json").write_text('{"frames": [{"unseen": "much"}]}')
    with pytest.raises(user_error, match="damaged"):
        numbers.read(tmp_path)
    bpy.context.scene.ex4d_shots.clear()
    with pytest.raises(RuntimeError, match="There is no shot"):
        bpy.ops.ex4d.measure_coverage()

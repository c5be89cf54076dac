"""What is kept of a measured camera: the Unseen curve, its age, the worst frames; and the viewports' shading."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bpy
import numpy as np
import pytest
from conftest import module
from shot_cases import add_camera, add_shot, stand_in


def measured(folder: Path, camera: Any, shot: Any, unseen: np.ndarray, stretched: np.ndarray | None = None) -> Any:
    """A record as `measure_coverage` writes it."""
    record = module("coverage.record")
    placed = module("placed").of_camera(bpy.context.scene, camera)
    inputs = module("coverage.inputs").fingerprint(bpy.context.scene, shot, placed)
    found = record.Record(shot.first_frame, len(unseen), inputs, str(folder), 1.0)
    record.write(camera, found, module("coverage.numbers").Numbers(unseen, stretched))
    return found


@pytest.fixture
def case(small_scene: Path) -> tuple[Any, Any]:
    """A keyed camera and its shot of 8 frames, before the small scene."""
    stand_in(small_scene)
    camera = add_camera()
    for frame, x in ((1, 0.0), (8, 1.0)):
        camera.location.x = x
        camera.keyframe_insert("location", frame=frame)
    shot = add_shot(camera)
    bpy.context.scene.camera = camera
    bpy.context.view_layer.update()
    return camera, shot


def test_the_curve_holds_every_frame_and_no_keys(case: tuple[Any, Any], tmp_path: Path) -> None:
    camera, shot = case
    record = module("coverage.record")
    unseen = np.array([0.0, 0.1, 0.3, 0.2, 0.5, 0.25, 0.125, 1.0])
    found = measured(tmp_path, camera, shot, unseen)
    shares = record.shares(camera)
    np.testing.assert_allclose(shares[:8], np.stack([np.arange(1, 9), unseen], axis=1), atol=1e-6)
    curve = module("versions.fcurves").find(camera, '["Unseen"]')
    assert len(curve.keyframe_points) == 0
    assert len(curve.sampled_points) == 8
    assert curve.lock
    for frame, value in enumerate(unseen, 1):
        bpy.context.scene.frame_set(frame)
        assert camera["Unseen"] == pytest.approx(value, abs=1e-6)
    assert record.read(camera) == found
    # the artist's own keys are as they were
    keys = module("versions.fcurves").find(camera, "location", 0).keyframe_points
    assert [tuple(key.co) for key in keys] == [(1.0, 0.0), (8.0, 1.0)]
    # and again, shorter
    measured(tmp_path, camera, shot, unseen[3:7])
    np.testing.assert_allclose(record.shares(camera), np.stack([np.arange(1, 5), unseen[3:7]], axis=1), atol=1e-6)
    record.remove(camera)
    assert record.read(camera) is None
    assert "Unseen" not in camera
    assert len(record.shares(camera)) == 0


def test_what_is_stretched_has_a_curve_of_its_own(case: tuple[Any, Any], tmp_path: Path) -> None:
    camera, shot = case
    record, stale = module("coverage.record"), module("coverage.stale")
    unseen, stretched = np.linspace(0, 0.7, 8), np.linspace(0.9, 0.1, 8)
    measured(tmp_path, camera, shot, unseen, stretched)
    found = record.shares(camera, record.STRETCHED)
    np.testing.assert_allclose(found, np.stack([np.arange(1, 9), stretched], axis=1), atol=1e-6)
    np.testing.assert_allclose(record.shares(camera)[:, 1], unseen, atol=1e-6)
    for frame in (1, 8):  # it is not what the camera's move depends on
        bpy.context.scene.frame_set(frame)
        assert not stale.is_stale(bpy.context, camera)
    assert camera["Stretched"] == pytest.approx(0.1, abs=1e-6)
    measured(tmp_path, camera, shot, unseen)  # by an older sidecar, which does not measure it
    assert len(record.shares(camera, record.STRETCHED)) == 0
    assert "Stretched" not in camera
    measured(tmp_path, camera, shot, unseen, stretched)
    record.remove(camera)
    assert not {"Stretched", "Unseen", "ex4d_coverage"} & set(camera.keys())
    assert len(module("versions.fcurves").curves(camera)) == 3  # the artist's own


def _shot_json(folder: Path, frames: list[dict[str, Any]]) -> None:
    (folder / "shot.json").write_text(json.dumps({"frames": frames}))


def test_numbers_of_a_shot_at_another_size(tmp_path: Path) -> None:
    """A quick render has fewer pixels than the shot, and a plate more than the scene: both move the limit."""
    numbers = module("coverage.numbers")
    spread = {str(p): 0.01 * p for p in (1, 5, 10, 25, 50, 75, 90, 99)}  # evenly from 0 to 1
    flat = dict.fromkeys(spread, 0.8)
    frames = [
        {"unseen": 0.25, "stretched": 0.5, "resolution": spread},
        {"unseen": 0.0, "stretched": 0.0, "resolution": flat},
        {"unseen": 1.0, "stretched": 0.0, "resolution": {}},
    ]
    _shot_json(tmp_path, frames)
    for finer, expected in ((1.0, [0.5, 0, 0]), (0.625, [0.8, 0.5, 0]), (2.0, [0.25, 0, 0]), (0.25, [1, 1, 0])):
        found = numbers.read(tmp_path, finer)
        np.testing.assert_allclose(found.unseen, [0.25, 0, 1])
        if finer != 0.625:
            np.testing.assert_allclose(found.stretched, expected, atol=1e-9)
        else:  # the limit is the flat frame's very value
            np.testing.assert_allclose(found.stretched[[0, 2]], [0.8, 0], atol=1e-9)
    _shot_json(tmp_path, [*frames, {"unseen": 0.1, "seen_at_another_time": 0.0}])
    assert numbers.read(tmp_path).stretched is None
    _shot_json(tmp_path, [*frames, {"unseen": 0.1, "stretched": None, "resolution": None}])
    assert numbers.read(tmp_path).stretched is None
    for damaged in ({"stretched": "much", "resolution": {}}, {"stretched": 0.1, "resolution": [1, 2]}):
        _shot_json(tmp_path, [{"unseen": 0.1, **damaged}])
        with pytest.raises(module("errors").UserError, match="damaged"):
            numbers.read(tmp_path, 0.5 if isinstance(damaged["resolution"], list) else 1.0)


def test_the_panel_shows_both_numbers(case: tuple[Any, Any], tmp_path: Path) -> None:
    camera, shot = case
    panel = module("coverage.panel")
    said: list[str] = []
    layout = SimpleNamespace(
        row=lambda: SimpleNamespace(prop=lambda *_: None),
        label=lambda text, **_: said.append(text),
        operator=lambda *_, **__: None,
    )
    window = bpy.context.window_manager.windows[0]
    area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    measured(tmp_path, camera, shot, np.linspace(0, 0.7, 8), np.linspace(0.9, 0.2, 8))
    bpy.context.scene.frame_set(3)
    with bpy.context.temp_override(window=window, area=area):
        panel.EX4D_PT_coverage._draw_found(SimpleNamespace(layout=layout), bpy.context, camera, record_of(camera))
        measured(tmp_path, camera, shot, np.linspace(0, 0.7, 8))
        panel.EX4D_PT_coverage._draw_found(SimpleNamespace(layout=layout), bpy.context, camera, record_of(camera))
    assert said == [
        "Unseen in this frame: 20.0%",
        "Stretched over 2x: 70.0% of the rest",
        "Unseen in this frame: 20.0%",
    ]


def record_of(camera: Any) -> Any:
    """What was kept."""
    return module("coverage.record").read(camera)


def test_it_survives_saving_and_does_without_the_extension(case: tuple[Any, Any], tmp_path: Path) -> None:
    camera, shot = case
    unseen = np.linspace(0, 0.7, 8)
    found = measured(tmp_path, camera, shot, unseen)
    file = tmp_path / "saved.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(file))
    bpy.ops.wm.open_mainfile(filepath=str(file))
    camera = bpy.data.objects["Camera"]
    assert module("coverage.record").read(camera) == found
    np.testing.assert_allclose(module("coverage.record").shares(camera)[:, 1], unseen, atol=1e-6)
    assert not module("coverage.stale").is_stale(bpy.context, camera)
    bpy.context.scene.frame_set(8)
    assert camera["Unseen"] == pytest.approx(0.7, abs=1e-6)


def test_undo_takes_it_back(case: tuple[Any, Any], small_scene: Path, tmp_path: Path, undo_steps: None) -> None:
    camera, shot = case
    measuring, record = module("coverage.measuring"), module("coverage.record")
    folder = tmp_path / "shot"
    folder.mkdir()
    (folder / "shot.json").write_text(json.dumps({"frames": [{"unseen": 0.25}] * 8}))
    placed = module("placed").of_camera(bpy.context.scene, camera)
    inputs = module("coverage.inputs").fingerprint(bpy.context.scene, shot, placed)
    found = record.Record(1, 8, inputs, str(folder), 1.0)
    bpy.ops.ed.undo_push(message="Before")
    # an edit, the render comes back, another edit
    bpy.data.objects["Footage"].location.z = 1.0
    bpy.ops.ed.undo_push(message="Edit 1")
    measuring._back[shot.key] = measuring.Measured(shot.key, found)
    measuring.tick()
    assert not measuring._back
    bpy.data.objects["Footage"].location.z = 2.0
    bpy.ops.ed.undo_push(message="Edit 2")
    states = []
    for step in (bpy.ops.ed.undo, bpy.ops.ed.undo, bpy.ops.ed.undo, bpy.ops.ed.redo, bpy.ops.ed.redo, bpy.ops.ed.redo):
        step()
        camera = bpy.data.objects["Camera"]
        states.append((record.read(camera) is not None, bpy.data.objects["Footage"].location.z))
    assert states == [(True, 1.0), (False, 1.0), (False, 0.0), (False, 1.0), (True, 1.0), (True, 2.0)]


def _key(camera: Any) -> None:
    camera.location.x = 0.5
    camera.keyframe_insert("location", frame=4)


def _lens(camera: Any) -> None:
    camera.data.lens = 35.0


def _turn(camera: Any) -> None:
    camera.rotation_euler.z = 0.3


def _constrain(camera: Any) -> None:
    camera.constraints.new("TRACK_TO").target = bpy.data.objects["Footage"]


def _parent(camera: Any) -> None:
    camera.parent = bpy.data.objects["Footage"]


def _drive(camera: Any) -> None:
    camera.driver_add("rotation_euler", 2).driver.expression = "0.1"


def _noise(camera: Any) -> None:
    module("versions.fcurves").find(camera, "location", 1).modifiers.new("NOISE")


def _time(camera: Any) -> None:
    camera["Source Time"] = 3.0


def _range(camera: Any) -> None:
    bpy.context.scene.ex4d_shots[0].frame_end = 7


def _move_footage(camera: Any) -> None:
    bpy.data.objects["Footage"].location.x = 1.0


def _retime(camera: Any) -> None:
    bpy.data.objects["Footage"]["Speed"] = 0.5


CHANGES = [_key, _lens, _turn, _constrain, _parent, _drive, _noise, _time, _range, _move_footage, _retime]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.strip("_"))
def test_a_change_of_the_camera_makes_it_stale(case: tuple[Any, Any], tmp_path: Path, change: Any) -> None:
    camera, shot = case
    measured(tmp_path, camera, shot, np.linspace(0, 0.7, 8))
    stale = module("coverage.stale")
    assert not stale.is_stale(bpy.context, camera)
    for frame in (1, 5, 8):  # another frame is no change
        bpy.context.scene.frame_set(frame)
        assert not stale.is_stale(bpy.context, camera)
    bpy.context.scene.frame_set(1)
    change(camera)
    camera.update_tag()
    bpy.context.scene.update_tag()
    bpy.context.view_layer.update()
    assert stale.is_stale(bpy.context, camera)


def test_a_change_taken_back_is_none(case: tuple[Any, Any], tmp_path: Path) -> None:
    camera, shot = case
    measured(tmp_path, camera, shot, np.linspace(0, 0.7, 8))
    stale = module("coverage.stale")
    camera.data.lens = 20.0
    camera.data.update_tag()
    bpy.context.view_layer.update()
    assert stale.is_stale(bpy.context, camera)
    camera.data.lens = 50.0
    camera.data.update_tag()
    bpy.context.view_layer.update()
    assert not stale.is_stale(bpy.context, camera)


def test_what_no_fingerprint_knows_shows_at_the_frame(case: tuple[Any, Any], tmp_path: Path) -> None:
    """A camera on a path: the path's shape is not the camera's."""
    camera, shot = case
    path = bpy.data.objects.new("Path", bpy.data.curves.new("Path", "CURVE"))
    spline = path.data.splines.new("POLY")
    spline.points.add(1)
    spline.points[0].co, spline.points[1].co = (0, 0, 0, 1), (1, 0, 0, 1)
    path.data.use_path, path.data.dimensions = True, "3D"
    bpy.context.scene.collection.objects.link(path)
    follow = camera.constraints.new("FOLLOW_PATH")
    follow.target, follow.use_fixed_location, follow.offset_factor = path, True, 0.5
    bpy.context.view_layer.update()
    sample = module("shots.sampling").sample(bpy.context, shot)
    (tmp_path / "trajectory.json").write_text(json.dumps(module("shots.trajectory").document(sample)))
    measured(tmp_path, camera, shot, np.linspace(0, 0.7, 8))
    stale = module("coverage.stale")
    for frame in range(1, 9):
        bpy.context.scene.frame_set(frame)
        assert not stale.is_stale(bpy.context, camera)
    spline.points[1].co = (0, 0, 3, 1)
    path.data.update_tag()
    bpy.context.view_layer.update()
    assert stale.is_stale(bpy.context, camera)


def test_worst_frames_are_the_peaks_in_order() -> None:
    worst = module("coverage.worst").worst_frames
    values = [0, 0.2, 0.4, 0.2, 0.1, 0.1, 0.6, 0.6, 0.1, 0.3, 0.9]
    shares = np.stack([np.arange(101, 112), values], axis=1)
    assert worst(shares, 2) == [111, 107, 103]
    assert worst(shares, 1) == [111, 107, 103]
    assert worst(np.stack([np.arange(5), np.zeros(5)], axis=1), 2) == []
    assert worst(np.stack([np.arange(5), np.ones(5)], axis=1), 2) == [0]
    rising = np.stack([np.arange(50), np.linspace(0, 1, 50)], axis=1)
    assert worst(rising, 12) == [49]


def test_next_worst_frame_goes_around(case: tuple[Any, Any], tmp_path: Path) -> None:
    camera, shot = case
    scene = bpy.context.scene
    with pytest.raises(RuntimeError, match="Measure Coverage first"):
        bpy.ops.ex4d.next_worst_frame()
    scene.render.fps = 4  # places half a second, 2 frames, apart
    measured(tmp_path, camera, shot, np.array([0.5, 0.1, 0.1, 0.2, 0.1, 0.1, 0.1, 0.9]))
    went = []
    scene.frame_set(2)
    for _ in range(4):
        bpy.ops.ex4d.next_worst_frame()
        went.append(scene.frame_current)
    assert went == [8, 1, 4, 8]
    measured(tmp_path, camera, shot, np.zeros(8))
    assert bpy.ops.ex4d.next_worst_frame() == {"FINISHED"}
    assert scene.frame_current == 8


def test_the_strip_s_columns() -> None:
    columns = module("coverage.strip").columns
    shares = np.stack([np.arange(1, 5), [0.0, 0.5, 1.0, 0.25]], axis=1)
    np.testing.assert_allclose(
        columns(shares, 0.0, 10.0, 100), [[5, 15, 0.0], [15, 25, 0.5], [25, 35, 1.0], [35, 45, 0.25]]
    )
    assert len(columns(shares, 6.0, 10.0, 100)) == 0
    many = np.stack([np.arange(1000), np.zeros(1000)], axis=1)
    many[503, 1] = 0.8
    drawn = columns(many, 0.0, 1000.0, 100)
    assert len(drawn) == 100
    assert drawn[50].tolist() == [50, 51, 0.8]
    assert drawn[:, 2].sum() == pytest.approx(0.8)


def _viewports() -> list[Any]:
    return list(module("coverage.viewports")._viewports())


def test_shading_comes_back(tmp_path: Path) -> None:
    viewports = module("coverage.viewports")
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    first, second = _viewports()[:2]
    first.shading.light, first.shading.color_type = "MATCAP", "RANDOM"
    viewports.switch_on(first)
    assert (first.shading.light, first.shading.color_type) == ("FLAT", "TEXTURE")
    viewports.switch_on(first)  # twice is once
    assert viewports.is_on(first)
    assert not viewports.is_on(second)
    viewports.switch_off(first)
    assert (first.shading.light, first.shading.color_type) == ("MATCAP", "RANDOM")
    assert not viewports.any_on()
    # what the artist has chosen meanwhile stays
    viewports.switch_on(first)
    first.shading.light = "STUDIO"
    viewports.switch_off(first)
    assert (first.shading.light, first.shading.color_type) == ("STUDIO", "RANDOM")


def test_no_file_holds_the_preview_s_shading(tmp_path: Path) -> None:
    viewports = module("coverage.viewports")
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    own = [(space.shading.light, space.shading.color_type) for space in _viewports()]
    assert ("FLAT", "TEXTURE") not in own
    for space in _viewports():
        viewports.switch_on(space)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "saved.blend"))
    assert all(space.shading.light == "FLAT" for space in _viewports())  # still on here
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "saved.blend"))
    assert not viewports.any_on()
    assert [(space.shading.light, space.shading.color_type) for space in _viewports()] == own


def test_preview_needs_a_window() -> None:
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    window = bpy.context.window_manager.windows[0]
    area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    with bpy.context.temp_override(window=window, area=area), pytest.raises(RuntimeError, match="needs a window"):
        bpy.ops.ex4d.preview_coverage()


def test_the_view_is_the_camera_s(case: tuple[Any, Any], small_scene: Path) -> None:
    """The overlay's camera against the exported trajectory: points of the surface land on the same pixels."""
    camera, shot = case
    empty = bpy.data.objects["Footage"]
    empty.scale, empty.location, empty.rotation_euler.z = (0.7, 0.7, 0.7), (1.0, -2.0, 0.5), 0.4
    camera.data.shift_x, camera.data.lens, camera.rotation_euler.z = 0.1, 35.0, 0.2
    shot.width, shot.height = 300, 170
    bpy.context.scene.frame_set(3)
    bpy.context.view_layer.update()
    view_module = module("coverage.view")
    seen = view_module.shown(bpy.context)
    view = view_module.camera_view(bpy.context, seen)
    sample = module("shots.sampling").sample(bpy.context, shot)
    assert seen.clip_frame == 2
    assert (view.width, view.height) == (300, 170)
    assert view.focal == pytest.approx(sample.intrinsics[2][0], rel=1e-5)
    points = np.random.default_rng(0).uniform((-1, -1, 3, 1), (1, 1, 6, 1), (50, 4))
    points[:, 3] = 1
    clip = points @ np.array(view.projection).T
    pixels = np.stack([(clip[:, 0] / clip[:, 3] + 1) * 150, (1 - clip[:, 1] / clip[:, 3]) * 85], axis=1)
    inside = points @ np.linalg.inv(sample.c2w[2]).T
    fx, fy, cx, cy = sample.intrinsics[2]
    truth = np.stack([fx * inside[:, 0] / inside[:, 2] + cx, fy * inside[:, 1] / inside[:, 2] + cy], axis=1)
    visible = (inside[:, 2] > 0.5) & (np.abs(truth - (150, 85)) < (300, 170)).all(axis=1)
    assert visible.sum() > 10
    np.testing.assert_allclose(pixels[visible], truth[visible], atol=1e-3)

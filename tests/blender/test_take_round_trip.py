"""A clip whose frames say their number goes out and comes back: start, offset, rate, handles and retiming are right.

What Blender shows is read from renders for plane (Cycles), compositor (its output) and strip (the sequencer's own
render). A background is drawn by viewports alone, which background mode has none of: there it is the file that Blender
says its image user shows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from conftest import ex4d, module
from painted_takes import show
from shot_cases import add_camera
from take_cases import FRAMES, HEIGHT, WIDTH, make_scene, number, tell
from test_mesh_fidelity import pixels, rendered, set_up

HANDLES = (2, 1)


@pytest.fixture(scope="module")
def numbers(library_python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scene folder of the numbered clip, 24 frames a second."""
    return make_scene(library_python, tmp_path_factory.mktemp("numbers"))


def shot_of(numbers: Path, start: int, retime: bool) -> Any:
    """Footage from `start` on, and a shot of its middle at the filmed view, with handles."""
    assert bpy.ops.ex4d.import_scene(directory=str(numbers), frame_start=start) == {"FINISHED"}
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end = start, start + FRAMES - 1
    bpy.ops.ex4d.new_shot()
    shot = module("shots").active_shot(scene)
    shot.frame_start, shot.frame_end = start + 3, start + 8
    shot.handle_before, shot.handle_after = HANDLES
    if retime:
        for frame, time in ((start, 10.0), (start + 11, 4.5)):
            shot.camera["Source Time"] = time
            shot.camera.keyframe_insert('["Source Time"]', frame=frame)
    return shot


def generated(python: str, numbers: Path, folder: Path, shot: Any) -> Path:
    """Out of Blender, through the command line, and what the extension would write beside."""
    path = folder / "path.json"
    assert bpy.ops.ex4d.export_trajectory(filepath=str(path)) == {"FINISHED"}
    take = folder / "take_001"
    ex4d(python, "render", numbers, "--trajectory", path, "-o", take, "--quiet")
    ex4d(python, "generate", take, "--engine", "draft", "--quiet")
    return tell(take, shot.key, handles=list(HANDLES))


def expected(shot: Any) -> dict[int, int]:
    """Blender frame -> clip frame, of the shot with its handles."""
    placed = module("placed")
    footage, found = placed.required(bpy.context), {}
    for frame in shot.frames:
        bpy.context.scene.frame_set(frame)
        found[frame] = int(np.floor(placed.source_time(footage, shot.camera, frame) + 0.5))
    return found


def plane_shows(shot: Any, folder: Path) -> dict[int, int]:
    for thing in bpy.data.objects:
        thing.hide_render = thing.hide_render or (thing.type == "MESH" and thing.get("ex4d_use") != "PLANE")
    set_up("CYCLES", WIDTH, HEIGHT)
    bpy.context.scene.render.use_sequencer = False
    return {frame: number(rendered(folder / "plane.png", frame)) for frame in shot.frames}


def background_shows(shot: Any) -> dict[int, int]:
    (background,) = (each for each in shot.camera.data.background_images if each.image.get("ex4d_use") == "BACKGROUND")
    found = {}
    for frame in shot.frames:
        bpy.context.scene.frame_set(frame)
        file = bpy.path.abspath(background.image.filepath_from_user(image_user=background.image_user))
        found[frame] = number(pixels(Path(file)))
    return found


def compositor_shows(shot: Any, folder: Path) -> dict[int, int]:
    """Through the tree, old or new, to whose output the take's node goes; the render itself sees nothing."""
    set_up("CYCLES", WIDTH, HEIGHT)
    scene, render = bpy.context.scene, bpy.context.scene.render
    scene.camera = add_camera("Away", (1e4, 0.0, 0.0))
    render.use_sequencer, render.use_compositing = False, False
    assert not rendered(folder / "nothing.png", shot.first_frame).any()
    render.use_compositing = True
    show("Image")
    found = {frame: number(rendered(folder / "comp.png", frame)) for frame in shot.frames}
    scene.camera, render.use_compositing = shot.camera, False
    return found


def strip_shows(frames: range, folder: Path) -> dict[int, int]:
    set_up("BLENDER_WORKBENCH", WIDTH, HEIGHT)
    bpy.context.scene.render.use_sequencer = True
    return {frame: number(rendered(folder / "strip.png", frame)) for frame in frames}


@pytest.mark.parametrize(
    ("start", "retime"),
    [
        pytest.param(1, False, id="1-as filmed"),
        pytest.param(1001, True, id="1001-retimed"),
        pytest.param(1, True, id="1-retimed", marks=pytest.mark.slow),
        pytest.param(1001, False, id="1001-as filmed", marks=pytest.mark.slow),
    ],
)
def test_the_numbers_come_back(library_python: str, numbers: Path, tmp_path: Path, start: int, retime: bool) -> None:
    shot = shot_of(numbers, start, retime)
    take = generated(library_python, numbers, tmp_path, shot)
    uses = {"PLANE", "BACKGROUND", "COMPOSITOR", "SEQUENCER"}
    assert bpy.ops.ex4d.import_result(directory=str(take), use=uses) == {"FINISHED"}
    (shot,) = bpy.context.scene.ex4d_shots
    wanted = expected(shot)
    assert list(wanted) == list(range(start + 1, start + 10))
    if retime:
        assert len(set(wanted.values())) < len(wanted)  # frames repeat, backwards
        assert list(wanted.values()) == sorted(wanted.values(), reverse=True)
    else:
        assert list(wanted.values()) == list(range(1, 10))
    assert compositor_shows(shot, tmp_path) == wanted
    assert plane_shows(shot, tmp_path) == wanted
    assert background_shows(shot) == wanted
    own = range(shot.frame_start, shot.frame_end + 1)
    assert strip_shows(own, tmp_path) == {frame: wanted[frame] for frame in own}
    (strip,) = module("versions.strips").all_strips(bpy.context.scene)
    assert module("versions.strips").handles(strip) == (shot.frame_start, shot.frame_end + 1)
    module("versions.strips").set_handles(strip, shot.first_frame, shot.last_frame + 1)  # the handles are there
    assert strip_shows(shot.frames, tmp_path) == wanted


def test_a_scene_of_another_rate_is_told(
    library_python: str, numbers: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shot = shot_of(numbers, 1, False)
    take = generated(library_python, numbers, tmp_path, shot)
    bpy.ops.ex4d.import_result(directory=str(take), use={"PLANE"})
    assert "frames per second" not in capfd.readouterr().out
    bpy.context.scene.render.fps = 30
    bpy.ops.ex4d.accept_take(use={"BACKGROUND"})
    said = capfd.readouterr().out
    assert said.count("The take runs at 24 frames per second and the scene at 30") == 1
    bpy.ops.ex4d.replace_take()
    assert "it plays faster or slower" in capfd.readouterr().out
    assert background_shows(shot) == expected(shot)  # frame by frame, all the same


def test_a_camera_is_made_for_a_result_without_a_shot(library_python: str, numbers: Path, tmp_path: Path) -> None:
    """What the command line made, in a file that has the footage and no shots: it is seen from where it was taken."""
    shot = shot_of(numbers, 1001, True)
    camera, scene = shot.camera, bpy.context.scene
    for frame, place, lens in ((1001, (0.0, 0.0, 0.0), 40.0), (1012, (0.6, 0.2, 0.1), 55.0)):
        camera.location, camera.data.lens = place, lens
        camera.keyframe_insert("location", frame=frame)
        camera.data.keyframe_insert("lens", frame=frame)
    take = generated(library_python, numbers, tmp_path, shot)
    before = module("shots.sampling").sample(bpy.context, shot, sweep=True)
    bpy.ops.ex4d.remove_shot()
    bpy.data.objects.remove(camera)
    scene.camera = None
    empty = module("placed").required(bpy.context).empty
    empty.scale, empty.location = (2.0, 2.0, 2.0), (5.0, 6.0, 7.0)
    bpy.context.view_layer.update()
    assert bpy.ops.ex4d.import_result(directory=str(take), use={"PLANE"}) == {"FINISHED"}
    (shot,) = scene.ex4d_shots
    assert (shot.frame_start, shot.frame_end, shot.handle_before, shot.handle_after) == (1004, 1009, *HANDLES)
    assert (shot.name, shot.width, shot.height, scene.camera) == ("Shot 010", WIDTH, HEIGHT, shot.camera)
    after = module("shots.sampling").sample(bpy.context, shot, sweep=True)
    assert np.allclose(after.c2w, before.c2w, atol=1e-5)
    assert np.allclose(after.intrinsics, before.intrinsics, rtol=1e-5)
    assert np.allclose(after.source_time, before.source_time, atol=1e-4)
    find = module("versions.fcurves").find
    assert len(find(shot.camera.data, "lens").keyframe_points) == 9
    assert len(find(shot.camera.data, "shift_x").keyframe_points) == 1  # it stays the same
    set_up("CYCLES", WIDTH, HEIGHT)
    for thing in bpy.data.objects:
        thing.hide_render = thing.hide_render or (thing.type == "MESH" and thing.get("ex4d_use") != "PLANE")
    for index in (0, 8):
        image = rendered(tmp_path / "view.png", 1002 + index)
        assert np.abs(image - pixels(take / f"output/{index:06d}.png"))[..., :3].mean() < 0.5


def test_a_result_in_an_empty_file(library_python: str, numbers: Path, tmp_path: Path) -> None:
    shot = shot_of(numbers, 1, False)
    take = generated(library_python, numbers, tmp_path, shot)
    (take / "take.json").unlink()
    document = (take / "trajectory.json").read_text()
    (take / "trajectory.json").write_text(document.replace('"frame_start": 2', '"frame_start": 0'))
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    scene = bpy.context.scene
    scene.frame_start = 101
    assert bpy.ops.ex4d.import_result(directory=str(take), use={"PLANE", "BACKGROUND"}) == {"FINISHED"}
    (shot,) = scene.ex4d_shots
    assert (shot.first_frame, shot.last_frame, shot.camera.parent) == (101, 109, None)
    wanted = dict(zip(range(101, 110), range(1, 10), strict=True))
    assert plane_shows(shot, tmp_path) == background_shows(shot) == wanted

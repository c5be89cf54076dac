"""What a damaged folder, a slip of the finger or a script's wrong number leads to: one sentence, nothing changed."""

import ast
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import bpy
import pytest
from conftest import ROOT, module

MAX_FRAME = 1_048_574


def counts() -> dict[str, int]:
    """How many datablocks of each kind the file has."""
    kinds = ("objects", "collections", "meshes", "cameras", "images", "materials", "node_groups", "actions")
    return {kind: len(getattr(bpy.data, kind)) for kind in kinds}


def change_scene(**values: object) -> Callable[[Path], None]:
    """Changes scene.json."""

    def change(folder: Path) -> None:
        document = json.loads((folder / "scene.json").read_text())
        (folder / "scene.json").write_text(json.dumps(document | values))

    return change


def cut(name: str) -> Callable[[Path], None]:
    """Cuts a file short."""

    def change(folder: Path) -> None:
        file = folder / name
        file.write_bytes(file.read_bytes()[:40])

    return change


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut("color/000000.png"), "000000.png is damaged"),
        (cut("depth/000000.exr"), "000000.exr is damaged"),
        (lambda folder: (folder / "depth/000003.exr").unlink(), "000003.exr is missing"),
        (lambda folder: (folder / "color/000004.png").unlink(), "000004.png is missing"),
        (lambda folder: shutil.rmtree(folder / "occlusion"), "occlusion/000000.png is missing"),
        (change_scene(fps=[24, 0]), "is damaged"),
        (change_scene(files="x"), "is damaged"),
        (change_scene(schema="ex4d.scene/2"), "update"),
        (change_scene(depth={}), "is damaged"),
        (lambda folder: (folder / "scene.json").write_text("["), "is damaged"),
    ],
)
def test_a_damaged_folder_places_nothing(
    small_scene: Path, tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    folder = shutil.copytree(small_scene, tmp_path / "a.ex4d")
    damage(folder)
    before = counts()
    with pytest.raises(RuntimeError, match=said) as caught:
        bpy.ops.ex4d.import_scene(directory=str(folder))
    assert "Traceback" not in str(caught.value)
    assert counts() == before


def place(folder: Path) -> bpy.types.Object:
    """Its empty."""
    bpy.ops.ex4d.import_scene(directory=str(folder))
    return next(thing for thing in bpy.data.objects if thing.get("ex4d_role") == "empty")


@pytest.mark.parametrize(
    "settings",
    [
        {"preset": "ORBIT", "angle": math.nan},
        {"preset": "ORBIT", "angle": math.inf},
        {"preset": "DOLLY", "amount": math.nan},
        {"preset": "CRANE", "distance": math.nan},
        {"preset": "CRANE", "distance": 1e30},
    ],
)
def test_moves_of_no_number_leave_nothing(small_scene: Path, settings: dict) -> None:
    place(small_scene)
    before = counts()
    with pytest.raises(RuntimeError, match="finite number"):
        bpy.ops.ex4d.new_shot(**settings)
    assert counts() == before
    assert len(bpy.context.scene.ex4d_shots) == 0


@pytest.mark.parametrize("scale", [(0, 0, 0), (-1, -1, -1), (1, 2, 1), (1, 1, 0)])
def test_an_uneven_empty_is_named(small_scene: Path, scale: tuple[float, float, float]) -> None:
    empty = place(small_scene)
    bpy.ops.ex4d.new_shot(preset="ORBIT")
    empty.scale = scale
    bpy.context.view_layer.update()
    triangle = {"point_a": (0, 0, 0), "point_b": (1, 0, 0), "point_c": (0, 1, 1)}
    for operator, values in (
        (bpy.ops.ex4d.set_ground, triangle),
        (bpy.ops.ex4d.set_scale, {"point_a": (0, 0, 0), "point_b": (1, 0, 0), "distance": 1}),
        (bpy.ops.ex4d.export_trajectory, {"filepath": "/tmp/never.json"}),
    ):
        with pytest.raises(RuntimeError, match="small has the scale"):
            operator(**values)
    assert tuple(empty.scale) == scale


@pytest.mark.parametrize("distance", [0.0, 1e30, 1e-30])
def test_no_scale_beyond_reason(small_scene: Path, distance: float) -> None:
    empty = place(small_scene)
    before = tuple(empty.scale)
    with pytest.raises(RuntimeError, match="distance"):
        bpy.ops.ex4d.set_scale(point_a=(0, 0, 0), point_b=(1, 0, 0), distance=distance)
    with pytest.raises(RuntimeError, match="finite number"):
        bpy.ops.ex4d.set_scale(point_a=(math.nan, 0, 0), point_b=(1, 0, 0), distance=1.0)
    with pytest.raises(RuntimeError, match="finite number"):
        bpy.ops.ex4d.set_ground(point_a=(math.nan, 0, 0), point_b=(1, 0, 0), point_c=(0, 1, 0))
    assert tuple(empty.scale) == before


def test_shots_beyond_blender_s_frames(small_scene: Path, tmp_path: Path) -> None:
    place(small_scene)
    bpy.ops.ex4d.new_shot()
    shot = bpy.context.scene.ex4d_shots[0]
    shot.frame_end = 2**31 - 1
    assert shot.frame_end == MAX_FRAME
    for operator in (
        lambda: bpy.ops.ex4d.apply_move(preset="ORBIT", replace=True),
        lambda: bpy.ops.ex4d.export_trajectory(filepath=str(tmp_path / "a.json")),
    ):
        with pytest.raises(RuntimeError, match="shorten it"):
            operator()
    shot.frame_start, shot.handle_after = MAX_FRAME - 10, 100
    with pytest.raises(RuntimeError, match="Blender's last"):
        bpy.ops.ex4d.export_trajectory(filepath=str(tmp_path / "a.json"))
    assert not list(tmp_path.iterdir())


def test_frame_start_and_speed_set_by_a_script_count(small_scene: Path, tmp_path: Path) -> None:
    empty = place(small_scene)
    empty["Frame Start"], empty["Speed"] = 1001.0, 0.5
    bpy.context.scene.frame_start, bpy.context.scene.frame_end = 1001, 1008
    bpy.ops.ex4d.new_shot(preset="ORBIT")
    bpy.ops.ex4d.export_trajectory(filepath=str(tmp_path / "a.json"))
    frames = json.loads((tmp_path / "a.json").read_text())["frames"]
    assert [frame["source_time"] for frame in frames] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5]


@pytest.mark.parametrize("value", ["soon", math.nan])
def test_a_frame_start_that_is_none(small_scene: Path, value: object) -> None:
    empty = place(small_scene)
    del empty["Frame Start"]
    empty["Frame Start"] = value
    placed = module("placed").all_placed(bpy.context.scene)[0]
    assert placed.frame_start == 1.0
    bpy.ops.ex4d.match_scene()
    assert (bpy.context.scene.frame_start, bpy.context.scene.frame_end) == (1, 8)


def test_a_small_footage_is_not_cut_off_in_front(small_scene: Path) -> None:
    empty = place(small_scene)
    placed = module("placed").all_placed(bpy.context.scene)[0]
    bpy.ops.ex4d.set_scale(point_a=(0, 0, 0), point_b=(1, 0, 0), distance=0.01)
    bpy.context.view_layer.update()
    nearest = 2.0 * empty.matrix_world.to_scale()[0]  # the box
    assert placed.source_camera.data.clip_start < nearest / 2
    empty.scale = empty.scale * 0.1
    bpy.context.view_layer.update()
    bpy.ops.ex4d.new_shot(preset="ORBIT")
    assert bpy.context.scene.camera.data.clip_start < nearest / 20


def test_a_duplicate_is_footage_of_its_own(small_scene: Path) -> None:
    empty = place(small_scene)
    for thing in empty.users_collection[0].objects:
        thing.select_set(True)
    bpy.ops.object.duplicate()
    copies = [p for p in module("placed").all_placed(bpy.context.scene) if p.empty != empty]
    assert [p.mesh.name for p in copies] == ["small Mesh.001"]
    bpy.context.view_layer.objects.active = copies[0].empty
    before = tuple(empty.scale)
    bpy.ops.ex4d.set_scale(point_a=(0, 0, 0), point_b=(1, 0, 0), distance=2)
    assert tuple(empty.scale) == before
    bpy.ops.ex4d.new_shot(preset="ORBIT")
    assert module("placed").empty_above(bpy.context.scene.camera) == copies[0].empty


def test_nothing_to_move_is_nothing_to_ask() -> None:
    assert not bpy.ops.ex4d.offer_move.poll()


@pytest.mark.parametrize("size", [0, 40, 200])
@pytest.mark.parametrize("name", ["depth/000000.exr", "depth/000005.exr", "proxy/000002.exr"])
def test_an_exr_cut_short_is_never_given_to_blender(small_scene: Path, tmp_path: Path, name: str, size: int) -> None:
    """Blender 4.2 does not come back from reading an EXR that ends inside its header."""
    folder = shutil.copytree(small_scene, tmp_path / "a.ex4d")
    file = folder / name
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(RuntimeError, match=r"00\d.exr is damaged"):
        bpy.ops.ex4d.import_scene(directory=str(folder))


def test_a_camera_whose_keys_are_elsewhere_is_left_alone(small_scene: Path, tmp_path: Path) -> None:
    camera = bpy.data.objects.new("Far", bpy.data.cameras.new("Far"))
    bpy.context.collection.objects.link(camera)
    camera.keyframe_insert("location", frame=1)
    bpy.data.libraries.write(str(tmp_path / "far.blend"), {camera})
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    place(small_scene)
    with bpy.data.libraries.load(str(tmp_path / "far.blend"), link=True) as (_, there):
        there.objects = ["Far"]
    linked = there.objects[0]
    bpy.context.collection.objects.link(linked)
    camera = linked.make_local()
    assert camera.animation_data.action.library is not None
    bpy.context.view_layer.objects.active = camera
    bpy.ops.ex4d.use_active_camera()
    with pytest.raises(RuntimeError, match=r"action of Far.* is linked"):
        bpy.ops.ex4d.measure_coverage()
    assert "Unseen" not in camera


@pytest.mark.parametrize(
    ("operator", "said"),
    [
        ("stop_sidecar", "There is no sidecar to stop"),
        ("export_trajectory", "There is no shot in this scene yet"),
        ("apply_move", "There is no shot in this scene yet"),
        ("blend_to_source", "There is no shot in this scene yet"),
        ("remove_shot", "There is no shot in this scene yet"),
        ("measure_coverage", "There is no shot in this scene yet"),
        ("match_scene", "There is no footage in this scene yet"),
        ("retime", "There is no footage in this scene yet"),
        ("release_camera", "There is no footage in this scene yet"),
        ("move_beside", r"The \.blend has no place yet"),
        ("offer_move", "No footage of this file lies in the folder for unsaved files"),
        ("pick_scale", "Points are picked with the mouse"),
        ("preview_coverage", "Coverage is shown in a 3D viewport"),
    ],
)
def test_what_cannot_be_done_now_says_why(operator: str, said: str) -> None:
    """Where a button would be grey, a script gets the sentence of its tooltip."""
    with pytest.raises(RuntimeError, match=f"{said}.*: .*") as caught:
        getattr(bpy.ops.ex4d, operator)()
    assert "context is incorrect" not in str(caught.value)


def test_each_poll_of_an_operator_says_why() -> None:
    """So that no new one ends in "poll() failed, context is incorrect"."""
    polls, silent = 0, []
    for file in sorted((ROOT / "ex4d_blender").rglob("*.py")):
        for kind in (node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.ClassDef)):
            if any("Panel" in ast.unparse(base) for base in kind.bases):
                continue
            for method in (node for node in kind.body if getattr(node, "name", "") == "poll"):
                if [argument.arg for argument in method.args.args] == ["cls", "context"]:
                    polls += 1
                    if "poll_message_set" not in ast.unparse(method):
                        silent.append(f"{file.name}: {kind.name}")
    assert polls >= 8
    assert not silent

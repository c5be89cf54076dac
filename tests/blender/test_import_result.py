"""*Import Result* and *Accept* are all or nothing: what cannot be accepted leaves the file as it was."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import bpy
import pytest
from conftest import module
from shot_cases import add_camera, add_shot, stand_in
from take_cases import paint
from test_panels import operators

SIZE = (32, 18)
ALL = {"PLANE", "BACKGROUND", "COMPOSITOR", "SEQUENCER"}


def uses(case: Any) -> set[str]:
    """What is asked for: a painted take has no mask, and there is no footage."""
    return ALL - {"COMPOSITOR"} if case is no_channel else {*ALL, "PROJECTION"} if case is no_mesh else ALL


def state() -> tuple[Any, ...]:
    """All datablocks, and what of the scene an import may change."""
    scene = bpy.context.scene
    things = {(type(thing).__name__, thing.name) for thing in bpy.data.user_map()}
    lists = [(shot.name, len(shot.takes), shot.active_take) for shot in scene.ex4d_shots]
    strips = module("versions.strips").all_strips(scene)
    backgrounds = sum(len(data.background_images) for data in bpy.data.cameras)
    return things, lists, scene.ex4d_active_shot, scene.camera, len(strips), backgrounds, scene.use_nodes


def mask_missing(take: Path, _patch: pytest.MonkeyPatch) -> str:
    assert not (take / "mask.mp4").exists()
    return "mask.mp4 is missing"


def picture_missing(take: Path, _patch: pytest.MonkeyPatch) -> str:
    (take / "mask.mp4").write_bytes(b"x")
    (take / "output/000002.png").unlink()
    return "000002.png is missing"


def picture_unreadable(take: Path, _patch: pytest.MonkeyPatch) -> str:
    (take / "output/000000.png").write_bytes(b"no picture")
    return "000000.png cannot be read"


def no_mesh(take: Path, patch: pytest.MonkeyPatch) -> str:
    (take / "mask.mp4").write_bytes(b"no movie")
    patch.setattr(module("use.checks"), "_require_readable", lambda file: None)
    return "no mesh to be projected onto"


def no_channel(take: Path, patch: pytest.MonkeyPatch) -> str:
    patch.setattr(module("use.sequencer"), "MAX_CHANNEL", 0)
    return "no free channel"


@pytest.mark.parametrize("has_shot", [False, True], ids=["no shot", "a shot"])
@pytest.mark.parametrize("case", [mask_missing, picture_missing, picture_unreadable, no_mesh, no_channel])
def test_what_cannot_be_accepted_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: Any, has_shot: bool
) -> None:
    take = paint(tmp_path / "take_001", SIZE)
    said = case(take, monkeypatch)
    if has_shot:
        add_shot(add_camera())
    before = state()
    with pytest.raises(RuntimeError, match=said):
        bpy.ops.ex4d.import_result(directory=str(take), use=uses(case))
    assert state() == before


@pytest.mark.parametrize("case", [mask_missing, picture_missing, picture_unreadable, no_mesh, no_channel])
def test_so_does_a_take_of_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: Any) -> None:
    take = paint(tmp_path / "take_001", SIZE)
    bpy.ops.ex4d.import_result(directory=str(take))
    said = case(take, monkeypatch)
    before = state()
    with pytest.raises(RuntimeError, match=said):
        bpy.ops.ex4d.accept_take(use=uses(case))
    assert state() == before


def test_a_shot_whose_camera_is_elsewhere(tmp_path: Path) -> None:
    take, camera = paint(tmp_path / "take_001", SIZE), add_camera("Mine")
    shot = add_shot(camera)
    bpy.context.scene.collection.objects.unlink(camera)
    other = bpy.data.scenes.new("Other")
    other.collection.objects.link(camera)
    before = state()
    for use in ("PLANE", "BACKGROUND"):
        with pytest.raises(RuntimeError, match="Mine is not in this scene: link it, or choose another camera"):
            bpy.ops.ex4d.import_result(directory=str(take), use={use})
    assert state() == before
    camera.data.type = "ORTHO"
    bpy.context.scene.collection.objects.link(camera)
    with pytest.raises(RuntimeError, match="Mine"):
        bpy.ops.ex4d.import_result(directory=str(take), use={"PLANE"})
    assert not shot.takes


def test_a_scene_of_another_file_is_left_alone(small_scene: Path, tmp_path: Path) -> None:
    take, other = paint(tmp_path / "take_001", SIZE), str(tmp_path / "other.blend")
    stand_in(small_scene)
    add_shot(bpy.context.scene.camera)
    bpy.ops.ex4d.import_result(directory=str(take))
    bpy.ops.wm.save_as_mainfile(filepath=other)
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    with bpy.data.libraries.load(other, link=True) as (_, linked):
        linked.scenes = ["Scene"]
    bpy.context.window.scene = linked.scenes[0]
    before = state()
    for asked in (
        lambda: bpy.ops.ex4d.import_result(directory=str(take)),
        lambda: bpy.ops.ex4d.accept_take(use={"PLANE"}),
        bpy.ops.ex4d.set_up_cg,
    ):
        with pytest.raises(RuntimeError, match="Scene is linked from another file"):
            asked()
    assert state() == before


def test_what_nobody_foresaw_is_undone_in_one_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undo_steps: None
) -> None:
    known, error = module("use.uses").USES, module("errors").UserError

    def fails(*_: Any) -> None:
        raise error("The disk went away.")

    monkeypatch.setitem(known, "BACKGROUND", replace(known["BACKGROUND"], accept=fails))
    take = paint(tmp_path / "take_001", SIZE)
    before = state()
    with pytest.raises(RuntimeError, match="The disk went away"):
        bpy.ops.ex4d.import_result("EXEC_DEFAULT", True, directory=str(take), use={"PLANE", "BACKGROUND"})
    assert len(bpy.context.scene.ex4d_shots) == 1
    bpy.ops.ed.undo()
    assert state() == before


def test_folders_may_be_relative_to_the_blend(tmp_path: Path) -> None:
    paint(tmp_path / "take_001", SIZE)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # from 4.5 on Blender warns of paths that a property does not take
        bpy.ops.ex4d.import_result(directory="//take_001")
    (shot,) = bpy.context.scene.ex4d_shots
    assert shot.takes[0].folder == "//take_001"


@pytest.mark.skipif(bpy.app.version < (4, 5, 0), reason="older ones take them everywhere")
def test_so_may_all_that_the_extension_asks_for() -> None:
    kinds = [*operators(), module("preferences").preferences().bl_rna]
    found = [(kind.identifier, each) for kind in kinds for each in kind.properties if each.type == "STRING"]
    paths = [(kind, each) for kind, each in found if each.subtype in ("FILE_PATH", "DIR_PATH")]
    assert len(paths) >= 12
    assert not [(kind, each.identifier) for kind, each in paths if not each.is_path_supports_blend_relative]


@pytest.mark.parametrize("inside", ["", "output", ".."], ids=["itself", "its pictures", "what reshoot wrote"])
def test_the_take_around_or_in_the_chosen_folder(tmp_path: Path, inside: str) -> None:
    take = paint(tmp_path / "my_shot/shot", SIZE)
    assert bpy.ops.ex4d.import_result(directory=f"{take / inside}/") == {"FINISHED"}
    (shot,) = bpy.context.scene.ex4d_shots
    assert Path(shot.takes[0].folder) == take


def test_a_folder_without_a_take_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=f"{tmp_path.name} is no finished shot"):
        bpy.ops.ex4d.import_result(directory=str(tmp_path))

"""Where files lie: saving, Save As, moving the project, Move Beside the File, undo, linking, appending."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import bpy
import numpy as np
import pytest
from conftest import module
from file_cases import bring, footage, paths_in_file, place, reopen, save, saved_project, seen


@pytest.fixture
def project(small_scene: Path, tmp_path: Path) -> Path:
    """See `saved_project`."""
    return saved_project(small_scene, tmp_path)


def plate_pixel() -> list[float]:
    """A pixel of the plate's first frame: the file is found and decoded."""
    image = next(i for i in bpy.data.images if i.get("ex4d_role") == "plate")
    return list(image.pixels[:3])


def test_paths_are_relative(project: Path) -> None:
    stored = paths_in_file()
    assert len(stored) >= 4, "folder, plate, depth and occlusion"
    assert all(path.startswith("//small.ex4d") for path in stored), stored


def test_the_first_save_makes_paths_relative(small_scene: Path, tmp_path: Path) -> None:
    shutil.copytree(small_scene, tmp_path / "small.ex4d")
    place(tmp_path / "small.ex4d")
    assert footage().empty["ex4d_folder"] == str(tmp_path / "small.ex4d")
    save(tmp_path / "later.blend")
    assert all(path.startswith("//small.ex4d") for path in paths_in_file())
    reopen(tmp_path / "later.blend")
    assert all(path.startswith("//small.ex4d") for path in paths_in_file())


def test_a_moved_project_is_whole(project: Path, tmp_path: Path) -> None:
    before, colour = seen(4), plate_pixel()
    moved = tmp_path / "elsewhere" / "deep" / "shot"
    moved.parent.mkdir(parents=True)
    project.rename(moved)
    reopen(moved / "shot.blend")
    assert footage().folder == moved / "small.ex4d"
    np.testing.assert_allclose(seen(4), before, atol=1e-5)
    assert plate_pixel() == colour


@pytest.mark.parametrize("disabled", [False, True], ids=["enabled", "disabled"])
def test_save_as_elsewhere(project: Path, tmp_path: Path, disabled: bool) -> None:
    decoy = tmp_path / "other" / "small.ex4d"  # a stale relative path would find this one
    shutil.copytree(project / "small.ex4d", decoy)
    before = seen(4)
    paths = module("project.paths")
    if disabled:
        paths.unregister()
    try:
        save(tmp_path / "other" / "copy.blend")
        reopen(tmp_path / "other" / "copy.blend")
    finally:
        if disabled:
            paths.register()
    assert footage().folder == project / "small.ex4d"
    np.testing.assert_allclose(seen(4), before, atol=1e-5)
    if not disabled:
        assert Path(bpy.path.abspath(footage().empty["ex4d_folder"])).resolve() == project / "small.ex4d"


def test_save_copy_leaves_the_open_file_as_it_is(project: Path, tmp_path: Path) -> None:
    stored = paths_in_file()
    save(tmp_path / "far" / "off" / "copy.blend", copy=True)
    assert paths_in_file() == stored
    reopen(tmp_path / "far" / "off" / "copy.blend")
    assert footage().folder == project / "small.ex4d"


def test_undo_after_save_as(project: Path, tmp_path: Path, undo_steps: None) -> None:
    before = seen(4)
    shutil.copytree(project / "small.ex4d", tmp_path / "other" / "small.ex4d")  # a decoy, as above
    bpy.context.scene.frame_end = 77
    bpy.ops.ed.undo_push(message="End")
    save(tmp_path / "other" / "copy.blend")
    bpy.context.scene.frame_end = 88
    bpy.ops.ed.undo_push(message="End again")
    for step, end in ((bpy.ops.ed.undo, 77), (bpy.ops.ed.undo, None), (bpy.ops.ed.redo, 77), (bpy.ops.ed.redo, 88)):
        step()
        assert end in (None, bpy.context.scene.frame_end)
        assert footage().folder == project / "small.ex4d"
        np.testing.assert_allclose(seen(4), before, atol=1e-5)


def test_undo_after_a_moved_project_was_opened(project: Path, tmp_path: Path) -> None:
    before = seen(4)
    project.rename(tmp_path / "moved")
    reopen(tmp_path / "moved" / "shot.blend")
    bpy.ops.ed.undo_push(message="Start")
    bpy.context.scene.frame_end = 88
    bpy.ops.ed.undo_push(message="End")
    bpy.ops.ed.undo()
    assert bpy.context.scene.frame_end != 88
    assert footage().folder == tmp_path / "moved" / "small.ex4d"
    np.testing.assert_allclose(seen(4), before, atol=1e-5)


def test_undo_of_some_datablocks_after_save_as(project: Path, tmp_path: Path, undo_steps: None) -> None:
    """An undo step brings back some datablocks from before the Save As, and leaves others as they are by now."""
    before = seen(4)
    for _ in range(3):
        bpy.ops.mesh.primitive_cube_add("EXEC_DEFAULT", True)
    save(tmp_path / "other" / "deep" / "copy.blend")
    for step in (bpy.ops.ed.undo, bpy.ops.ed.undo, bpy.ops.ed.undo, bpy.ops.ed.redo, bpy.ops.ed.undo):
        step()
        assert footage().folder == project / "small.ex4d"
        assert {path.startswith("//../../shot/small.ex4d") for path in paths_in_file()} == {True}, paths_in_file()
        np.testing.assert_allclose(seen(4), before, atol=1e-5)


def test_appended_footage_stays_right_over_an_undo(project: Path, tmp_path: Path, undo_steps: None) -> None:
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    save(tmp_path / "aside" / "deep" / "own.blend")
    with bpy.data.libraries.load(str(project / "shot.blend")) as (there, here):
        here.scenes = there.scenes
    for _ in range(2):
        bpy.ops.ed.undo_push(message="Appended")
    bpy.ops.ed.undo()
    (placed,) = module("project.paths").everything_placed()
    assert placed.folder == project / "small.ex4d"


# --- Move Beside the File -----------------------------------------------------------------------------------------


@pytest.fixture
def unsaved(small_scene: Path, tmp_path: Path) -> Iterator[Path]:
    """Footage placed in an unsaved file, from the folder that the preferences name; that folder."""
    preferences = module("preferences").preferences()
    outputs = tmp_path / "unsaved"
    preferences.outputs = str(outputs)
    shutil.copytree(small_scene, outputs / "small.ex4d")
    place(outputs / "small.ex4d")
    yield outputs
    preferences.outputs = ""


def test_moving_beside_the_file(unsaved: Path, tmp_path: Path) -> None:
    before, operator = seen(4), module("project.move_operator")
    assert operator.waiting_folders() == [], "nowhere to move to yet"
    save(tmp_path / "shot" / "shot.blend")
    assert operator.waiting_folders() == [unsaved / "small.ex4d"]
    assert bpy.ops.ex4d.move_beside() == {"FINISHED"}
    assert operator.waiting_folders() == []
    assert not (unsaved / "small.ex4d").exists()
    assert footage().folder == tmp_path / "shot" / "small.ex4d"
    assert all(path.startswith("//small.ex4d") for path in paths_in_file())
    np.testing.assert_allclose(seen(4), before, atol=1e-5)
    save(tmp_path / "shot" / "shot.blend")
    reopen(tmp_path / "shot" / "shot.blend")
    np.testing.assert_allclose(seen(4), before, atol=1e-5)


def test_nothing_to_move_is_said(project: Path) -> None:
    with pytest.raises(RuntimeError, match="nothing to move"):
        bpy.ops.ex4d.move_beside()


def test_a_taken_name_gets_a_number(unsaved: Path, tmp_path: Path) -> None:
    (tmp_path / "shot" / "small.ex4d").mkdir(parents=True)
    save(tmp_path / "shot" / "shot.blend")
    bpy.ops.ex4d.move_beside()
    assert footage().folder == tmp_path / "shot" / "small_2.ex4d"
    assert footage().facts().frames == 8


def test_undo_redo_and_other_files_follow_the_move(unsaved: Path, tmp_path: Path, undo_steps: None) -> None:
    before = seen(4)
    target = tmp_path / "shot" / "small.ex4d"
    save(tmp_path / "shot" / "shot.blend")  # with the paths before the move
    bpy.ops.ed.undo_push(message="Before")
    bpy.ops.ex4d.move_beside()
    bpy.ops.ed.undo_push(message="Move")
    for step in (bpy.ops.ed.undo, bpy.ops.ed.redo, bpy.ops.ed.undo):
        step()
        assert footage().folder == target
        np.testing.assert_allclose(seen(4), before, atol=1e-5)
    reopen(tmp_path / "shot" / "shot.blend")
    assert footage().folder == target, "a file saved before the move finds what was moved"
    np.testing.assert_allclose(seen(4), before, atol=1e-5)


def test_a_move_to_another_disk_copies(unsaved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = seen(4)
    across(monkeypatch, unsaved)
    save(tmp_path / "shot" / "shot.blend")
    assert bpy.ops.ex4d.move_beside() == {"FINISHED"}
    assert not (unsaved / "small.ex4d").exists()
    assert list((tmp_path / "shot").glob("*.partial")) == []
    np.testing.assert_allclose(seen(4), before, atol=1e-5)


def across(monkeypatch: pytest.MonkeyPatch, disk: Path) -> None:
    """Let renaming out of a folder fail, as it does from one disk to another."""
    rename = os.rename

    def refuse(source: Path, target: Path) -> None:
        if Path(source).is_relative_to(disk) != Path(target).is_relative_to(disk):
            raise OSError(18, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr(module("project.moving").os, "rename", refuse)


def test_a_move_that_is_stopped_leaves_all_as_it_was(
    unsaved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    across(monkeypatch, unsaved)
    save(tmp_path / "shot" / "shot.blend")
    files = sorted(path for path in unsaved.rglob("*"))
    steps = module("project.move_operator").move_all()
    for _ in range(5):
        assert 0 < next(steps) < 1
    assert (tmp_path / "shot" / "small.ex4d.partial").is_dir()
    steps.close()
    assert sorted(path for path in unsaved.rglob("*")) == files
    assert sorted(path.name for path in (tmp_path / "shot").iterdir()) == ["shot.blend"]
    assert footage().folder == unsaved / "small.ex4d"


def test_a_full_disk_is_said_before_anything_is_copied(
    unsaved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    across(monkeypatch, unsaved)
    monkeypatch.setattr(module("project.moving").shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    save(tmp_path / "shot" / "shot.blend")
    with pytest.raises(RuntimeError, match="make room"):
        bpy.ops.ex4d.move_beside()
    assert footage().folder == unsaved / "small.ex4d"
    assert (unsaved / "small.ex4d" / "scene.json").is_file()


# --- Linking and appending ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", [False, True], ids=["append", "link"])
def test_linking_and_appending(project: Path, tmp_path: Path, link: bool) -> None:
    before = seen(4)
    target = tmp_path / "sets" / "a" / "set.blend"
    bring(project, target, link)
    for _ in range(2):
        placed = footage()
        assert (placed.empty.library is not None) == link
        assert placed.folder == project / "small.ex4d"
        assert placed.facts().frames == 8
        np.testing.assert_allclose(seen(4), before, atol=1e-5)
        save(target)
        reopen(target)


def test_linked_footage_says_why_it_cannot_be_scaled(project: Path, tmp_path: Path) -> None:
    bring(project, tmp_path / "sets" / "set.blend", link=True)
    with pytest.raises(RuntimeError, match="linked from another file"):
        bpy.ops.ex4d.set_scale(point_a=(0, 0, 0), point_b=(1, 0, 0), distance=2)


def test_an_override_of_linked_footage_can_be_scaled(project: Path, tmp_path: Path) -> None:
    before = seen(4)
    bring(project, tmp_path / "sets" / "set.blend", link=True)
    (collection,) = [c for c in bpy.data.collections if c.name.startswith("small")]
    bpy.context.scene.collection.children.unlink(collection)
    collection.override_hierarchy_create(bpy.context.scene, bpy.context.view_layer)
    placed = footage()
    assert placed.empty.library is None
    assert placed.folder == project / "small.ex4d"
    assert bpy.ops.ex4d.set_scale(point_a=(0, 0, 0), point_b=(1, 0, 0), distance=2) == {"FINISHED"}
    np.testing.assert_allclose(seen(4), before * 2, atol=1e-4)


@pytest.mark.parametrize(("how", "said"), [("linked", "is linked from another"), ("override", "is a library override")])
def test_footage_of_another_file_takes_nothing_that_it_would_lose(
    project: Path, tmp_path: Path, how: str, said: str
) -> None:
    bring(project, tmp_path / "sets" / "set.blend", link=True)
    if how == "override":
        (collection,) = [c for c in bpy.data.collections if c.name.startswith("small")]
        bpy.context.scene.collection.children.unlink(collection)
        collection.override_hierarchy_create(bpy.context.scene, bpy.context.view_layer)
    solve = bpy.data.objects.new("Solve", bpy.data.cameras.new("Solve"))
    bpy.context.scene.collection.objects.link(solve)
    bpy.context.scene.render.fps = 48
    before = footage().empty["Speed"], footage().empty.get("ex4d_solved")
    for operator in (bpy.ops.ex4d.retime, lambda: bpy.ops.ex4d.follow_camera(camera="Solve", fit=False)):
        with pytest.raises(RuntimeError, match=f"^Error: small {said}.*: make it local first"):
            operator()
        assert (footage().empty["Speed"], footage().empty.get("ex4d_solved")) == before
    assert bpy.ops.ex4d.match_scene() == {"FINISHED"}  # which changes the scene alone
    assert bpy.context.scene.render.fps == 24


# --- Save, reload, undo -------------------------------------------------------------------------------------------


def test_save_and_reload(project: Path) -> None:
    before, ids = seen(4), footage().id
    reopen(project / "shot.blend")
    assert footage().id == ids
    np.testing.assert_allclose(seen(4), before, atol=1e-5)


def test_undo_thrice_and_redo_thrice_around_a_placing(small_scene: Path, undo_steps: None) -> None:
    scene = bpy.context.scene
    scene.frame_end = 100
    bpy.ops.ed.undo_push(message="First edit")
    place(small_scene)
    bpy.ops.ed.undo_push(message="Import Scene")
    before = seen(4)
    bpy.context.scene.frame_end = 200
    bpy.ops.ed.undo_push(message="Second edit")
    for _ in range(3):
        bpy.ops.ed.undo()
    assert module("placed").all_placed(bpy.context.scene) == []
    for _ in range(3):
        bpy.ops.ed.redo()
    assert bpy.context.scene.frame_end == 200
    np.testing.assert_allclose(seen(4), before, atol=1e-5)

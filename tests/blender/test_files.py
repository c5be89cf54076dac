"""Where files lie: saving, Save As, moving the project, Move Beside the File, Relink, undo, linking, appending."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import bpy
import numpy as np
import pytest
from conftest import module


def place(folder: Path):
    """Import Scene; the footage."""
    assert bpy.ops.ex4d.import_scene(directory=str(folder)) == {"FINISHED"}
    return footage()


def footage():
    """The footage of the open file."""
    return module("placed").required(bpy.context)


def seen(frame: int) -> np.ndarray:
    """(N, 3) the vertices of the mesh in world space as a frame shows them: what the files hold has been read."""
    bpy.context.scene.frame_set(frame)
    mesh = footage().mesh.evaluated_get(bpy.context.evaluated_depsgraph_get())
    flat = np.empty(len(mesh.data.vertices) * 3, np.float32)
    mesh.data.vertices.foreach_get("co", flat)
    return flat.reshape(-1, 3) @ np.array(mesh.matrix_world)[:3, :3].T + np.array(mesh.matrix_world)[:3, 3]


def plate_pixel() -> list[float]:
    """A pixel of the plate's first frame: the file is found and decoded."""
    image = next(i for i in bpy.data.images if i.get("ex4d_role") == "plate")
    return list(image.pixels[:3])


def save(path: Path, **options: object) -> None:
    """Save As."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert bpy.ops.wm.save_as_mainfile(filepath=str(path), **options) == {"FINISHED"}


def reopen(path: Path) -> None:
    """Open a file."""
    assert bpy.ops.wm.open_mainfile(filepath=str(path)) == {"FINISHED"}


@pytest.fixture
def project(small_scene: Path, tmp_path: Path) -> Path:
    """A saved project: `shot/shot.blend` with the footage in `shot/small.ex4d`."""
    folder = tmp_path / "shot"
    shutil.copytree(small_scene, folder / "small.ex4d")
    save(folder / "shot.blend")
    place(folder / "small.ex4d")
    save(folder / "shot.blend")
    return folder


def paths_in_file() -> list[str]:
    """All paths that a file of the project holds."""
    empty = footage().empty
    return [empty["ex4d_folder"], *(image.filepath for image in bpy.data.images if image.get("ex4d_footage"))]


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


# --- Relink -------------------------------------------------------------------------------------------------------


def test_relink(project: Path, tmp_path: Path) -> None:
    before, relink = seen(4), module("project.relink")
    new = tmp_path / "archive" / "renamed.ex4d"
    new.parent.mkdir()
    (project / "small.ex4d").rename(new)
    reopen(project / "shot.blend")
    assert [placed.folder for placed in relink.missing()] == [project / "small.ex4d"]
    with pytest.raises(RuntimeError, match="no EX-4D scene"):
        bpy.ops.ex4d.relink(directory=str(project))
    assert bpy.ops.ex4d.relink(directory=str(new)) == {"FINISHED"}
    assert relink.missing() == []
    np.testing.assert_allclose(seen(4), before, atol=1e-5)
    assert all(path.startswith("//../archive/renamed.ex4d") for path in paths_in_file())


def test_relink_takes_a_folder_inside_the_scene(project: Path, tmp_path: Path) -> None:
    (project / "small.ex4d").rename(tmp_path / "other.ex4d")
    reopen(project / "shot.blend")
    assert bpy.ops.ex4d.relink(directory=str(tmp_path / "other.ex4d" / "depth")) == {"FINISHED"}
    assert footage().folder == tmp_path / "other.ex4d"


def test_relink_refuses_other_footage(project: Path, tmp_path: Path) -> None:
    other = shutil.copytree(project / "small.ex4d", tmp_path / "other.ex4d")
    document = json.loads((other / "scene.json").read_text()) | {"frames": 5}
    (other / "scene.json").write_text(json.dumps(document))
    with pytest.raises(RuntimeError, match=r"5 frames of 64x48.*8 of 64x48"):
        bpy.ops.ex4d.relink(directory=str(other))
    assert footage().folder == project / "small.ex4d"


def test_relink_finds_all_that_is_missing(small_scene: Path, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        shutil.copytree(small_scene, tmp_path / "here" / f"{name}.ex4d")
        place(tmp_path / "here" / f"{name}.ex4d")
    save(tmp_path / "shot.blend")
    (tmp_path / "here").rename(tmp_path / "there")
    shutil.rmtree(tmp_path / "there" / "c.ex4d")
    reopen(tmp_path / "shot.blend")
    assert bpy.ops.ex4d.relink(directory=str(tmp_path / "there")) == {"FINISHED"}
    assert [placed.folder.name for placed in module("project.relink").missing()] == ["c.ex4d"]
    with pytest.raises(RuntimeError, match=r"none of the missing scenes \(c.ex4d\)"):
        bpy.ops.ex4d.relink(directory=str(tmp_path / "there"))


def other_import(scene: Path, target: Path) -> Path:
    """A scene folder of the same shape that holds another import."""
    shutil.copytree(scene, target)
    document = json.loads((target / "scene.json").read_text())
    document |= {"content_hash": "0" * 64, "intrinsics": [90.0, 90.0, 32.0, 24.0]}
    (target / "scene.json").write_text(json.dumps(document))
    return target


def activate(name: str) -> None:
    """Click on the footage of a folder of that name."""
    (found,) = [placed for placed in module("project.paths").everything_placed() if placed.folder.name == name]
    bpy.context.view_layer.objects.active = found.empty


def folders() -> list[str]:
    """Where the file's footage lies, in the order of the empties' names."""
    found = sorted(module("project.paths").everything_placed(), key=lambda placed: placed.empty.name)
    return [str(placed.folder.relative_to(placed.folder.parent.parent)) for placed in found]


@pytest.fixture
def pair(small_scene: Path, tmp_path: Path) -> Path:
    """A saved file with two footages of one shape, in `here/a.ex4d` and `here/b.ex4d`; the folder of `here`."""
    shutil.copytree(small_scene, tmp_path / "here" / "a.ex4d")
    other_import(small_scene, tmp_path / "here" / "b.ex4d")
    for name in ("a", "b"):
        place(tmp_path / "here" / f"{name}.ex4d")
    save(tmp_path / "shot.blend")
    return tmp_path


def test_relink_means_the_active_footage(pair: Path) -> None:
    (pair / "there").mkdir()
    (pair / "here" / "b.ex4d").rename(pair / "there" / "b.ex4d")
    shutil.copytree(pair / "here" / "a.ex4d", pair / "new" / "a.ex4d")
    activate("a.ex4d")
    assert bpy.ops.ex4d.relink(directory=str(pair / "new" / "a.ex4d")) == {"FINISHED"}
    assert folders() == ["new/a.ex4d", "here/b.ex4d"]
    assert bpy.ops.ex4d.relink(directory=str(pair / "there" / "b.ex4d")) == {"FINISHED"}, "what is missing is that one"
    assert folders() == ["new/a.ex4d", "there/b.ex4d"]


def test_relink_refuses_another_import_of_the_same_shape(project: Path, tmp_path: Path) -> None:
    other = other_import(project / "small.ex4d", tmp_path / "other.ex4d")
    (project / "small.ex4d").rename(tmp_path / "gone")
    with pytest.raises(RuntimeError, match="other.ex4d is another import than the one that small was placed from"):
        bpy.ops.ex4d.relink(directory=str(other))
    del footage().empty["ex4d_content"]  # a file made before this was kept
    assert bpy.ops.ex4d.relink(directory=str(other)) == {"FINISHED"}
    assert footage().folder == other


@pytest.mark.parametrize("is_exact", [True, False], ids=["one by one", "all at once"])
def test_two_that_are_missing_and_renamed_are_relinked(pair: Path, is_exact: bool) -> None:
    (pair / "here").rename(pair / "there")
    for name, new in (("a", "y"), ("b", "x")):
        (pair / "there" / f"{name}.ex4d").rename(pair / "there" / f"{new}.ex4d")
    for name, new in (("b", "x"), ("a", "y")) if is_exact else ((None, None),):
        if is_exact:
            activate(f"{name}.ex4d")
        assert bpy.ops.ex4d.relink(directory=str(pair / "there" / (f"{new}.ex4d" if new else ""))) == {"FINISHED"}
    assert folders() == ["there/y.ex4d", "there/x.ex4d"]


def test_a_folder_that_was_imported_again_is_said(project: Path, tmp_path: Path) -> None:
    assert bpy.ops.ex4d.new_shot(preset="SOURCE") == {"FINISHED"}
    old = (project / "small.ex4d").rename(tmp_path / "old.ex4d")
    other_import(old, project / "small.ex4d")
    for call in (
        lambda: bpy.ops.ex4d.export_trajectory(filepath=str(tmp_path / "x.json")),
        bpy.ops.ex4d.new_shot,
        bpy.ops.ex4d.match_scene,
    ):
        with pytest.raises(RuntimeError, match="holds another import by now than small was placed from"):
            call()
    assert not (tmp_path / "x.json").exists()
    shutil.rmtree(project / "small.ex4d")
    old.rename(project / "small.ex4d")
    assert bpy.ops.ex4d.export_trajectory(filepath=str(tmp_path / "x.json")) == {"FINISHED"}


# --- Linking and appending ----------------------------------------------------------------------------------------


def bring(project: Path, target: Path, link: bool) -> None:
    """Link or append the footage's collection of a project into a new file in another folder."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    save(target)
    with bpy.data.libraries.load(str(project / "shot.blend"), link=link, relative=True) as (there, here):
        here.collections = [name for name in there.collections if name.startswith("small")]
    (collection,) = [c for c in bpy.data.collections if c.name.startswith("small")]
    bpy.context.scene.collection.children.link(collection)


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


@pytest.mark.parametrize("how", ["linked", "override"])
def test_footage_of_another_file_is_not_relinked(project: Path, tmp_path: Path, how: str) -> None:
    bring(project, tmp_path / "sets" / "set.blend", link=True)
    if how == "override":
        (collection,) = [c for c in bpy.data.collections if c.name.startswith("small")]
        bpy.context.scene.collection.children.unlink(collection)
        collection.override_hierarchy_create(bpy.context.scene, bpy.context.view_layer)
    new = shutil.copytree(project / "small.ex4d", tmp_path / "copy.ex4d")
    with pytest.raises(RuntimeError, match="make it local first"):
        bpy.ops.ex4d.relink(directory=str(new))
    assert footage().folder == project / "small.ex4d"


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

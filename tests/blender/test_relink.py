"""Relink: footage whose folder was moved or renamed is found again, and nothing else is taken for it."""

import json
import shutil
from pathlib import Path

import bpy
import numpy as np
import pytest
from conftest import module
from file_cases import bring, footage, paths_in_file, place, reopen, save, saved_project, seen


@pytest.fixture
def project(small_scene: Path, tmp_path: Path) -> Path:
    """See `saved_project`."""
    return saved_project(small_scene, tmp_path)


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

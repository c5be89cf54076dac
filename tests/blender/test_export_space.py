"""Exported trajectories are the footage's own: however its empty stands, is scaled, moves or hangs on others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np
import pytest
from conftest import module


def _on_the_footage() -> bpy.types.Object:
    """A keyed camera that hangs on the empty, and its shot: in the footage's own space it is always the same."""
    empty = module("placed").required(bpy.context).empty
    camera = bpy.data.objects.new("Artist", bpy.data.cameras.new("Artist"))
    bpy.context.scene.collection.objects.link(camera)
    camera.parent = empty
    for frame, place, turn in ((1, (0.1, -0.2, 0.3), (0.1, 3.0, 0.0)), (8, (1.0, 0.4, 1.2), (0.4, 2.6, 0.3))):
        camera.location, camera.rotation_euler = place, turn
        camera.keyframe_insert("location", frame=frame)
        camera.keyframe_insert("rotation_euler", frame=frame)
    bpy.context.view_layer.objects.active = camera
    assert bpy.ops.ex4d.use_active_camera() == {"FINISHED"}
    return empty


def _exported(file: Path) -> np.ndarray:
    """(T, 4, 4) the poses of the active shot, as the file has them."""
    assert bpy.ops.ex4d.export_trajectory(filepath=str(file)) == {"FINISHED"}
    return np.array([frame["c2w"] for frame in json.loads(file.read_text())["frames"]])


def _worlds() -> np.ndarray:
    """(2, 4, 4) where the camera stands in Blender at the first frame and at the last."""
    found = []
    for frame in (1, 8):
        bpy.context.scene.frame_set(frame)
        found.append(np.array(bpy.data.objects["Artist"].matrix_world))
    return np.stack(found)


def _key(thing: bpy.types.Object, path: str, first: tuple, last: tuple) -> None:
    for frame, value in ((1, first), (8, last)):
        setattr(thing, path, value)
        thing.keyframe_insert(path, frame=frame)


def _scaled(empty: bpy.types.Object) -> None:
    empty.scale = (37.5,) * 3


def _turned(empty: bpy.types.Object) -> None:
    empty.location, empty.rotation_euler = (5, -40, 2), (0.3, 1.2, -2.0)


def _animated(empty: bpy.types.Object) -> None:
    _key(empty, "location", (0, 0, 0), (9, -3, 4))
    _key(empty, "rotation_euler", (-1.5, 0, 0), (0.5, 2.0, 1.0))
    _key(empty, "scale", (1, 1, 1), (3, 3, 3))


def _parent(empty: bpy.types.Object) -> bpy.types.Object:
    parent = bpy.data.objects.new("Parent", None)
    bpy.context.scene.collection.objects.link(parent)
    empty.parent = parent
    return parent


def _parented(empty: bpy.types.Object) -> None:
    parent = _parent(empty)
    parent.scale, parent.location = (0.2,) * 3, (1, 2, 3)
    _key(parent, "rotation_euler", (0, 0, 0), (1.0, -0.7, 2.2))


def _constrained(empty: bpy.types.Object) -> None:
    target = bpy.data.objects.new("Target", None)
    bpy.context.scene.collection.objects.link(target)
    _key(target, "location", (4, 4, 4), (-3, 2, 6))
    constraint = empty.constraints.new("TRACK_TO")
    constraint.target = target


def _all_at_once(empty: bpy.types.Object) -> None:
    _animated(empty)
    _parented(empty)


@pytest.mark.parametrize("stand", [_scaled, _turned, _animated, _parented, _constrained, _all_at_once])
def test_the_empty_is_not_in_the_file(
    small_scene: Path, tmp_path: Path, stand: Callable[[bpy.types.Object], None]
) -> None:
    bpy.ops.ex4d.import_scene(directory=str(small_scene))
    empty = _on_the_footage()
    before, worlds = _exported(tmp_path / "before.json"), _worlds()
    stand(empty)
    assert not np.allclose(_worlds(), worlds, atol=0.1)
    after = _exported(tmp_path / "after.json")
    assert np.abs(before[0] - before[-1]).max() > 0.5
    np.testing.assert_allclose(after, before, atol=2e-5)


def _uneven(empty: bpy.types.Object) -> None:
    empty.scale = (2, 1, 1)


def _negative(empty: bpy.types.Object) -> None:
    empty.scale = (-1, -1, -1)


def _mirrored_by_its_parent(empty: bpy.types.Object) -> None:
    _parent(empty).scale = (1, -1, 1)


def _sheared_by_its_parent(empty: bpy.types.Object) -> None:
    empty.rotation_euler = (0.4, 0.5, 0.6)
    _parent(empty).scale = (1, 1, 3)


def _uneven_later(empty: bpy.types.Object) -> None:
    _key(empty, "scale", (1, 1, 1), (1, 1, 2))


@pytest.mark.parametrize("stand", [_uneven, _negative, _mirrored_by_its_parent, _sheared_by_its_parent, _uneven_later])
def test_an_uneven_or_negative_scale_is_one_sentence(
    small_scene: Path, tmp_path: Path, stand: Callable[[bpy.types.Object], None]
) -> None:
    bpy.ops.ex4d.import_scene(directory=str(small_scene))
    empty = _on_the_footage()
    camera = bpy.data.objects["Artist"]
    camera.parent = None  # it stands well: the empty alone does not
    stand(empty)
    bpy.context.view_layer.update()
    with pytest.raises(RuntimeError) as caught:
        bpy.ops.ex4d.export_trajectory(filepath=str(tmp_path / "camera.json"))
    said = str(caught.value).strip()
    assert f"{empty.name} has the scale" in said
    assert said.endswith("give it and its parents one positive scale for all axes.")
    assert "\n" not in said
    assert not (tmp_path / "camera.json").exists()

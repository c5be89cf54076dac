"""What Import Scene makes: empty, source camera, mesh."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import bmesh
import bpy
import numpy as np
import pytest
from conftest import library, module


def _place(folder: Path, start: int | None = 1) -> Any:
    return module("mesh.placing").place(bpy.context, folder, start)


def _evaluated(thing: bpy.types.Object) -> bpy.types.Object:
    return thing.evaluated_get(bpy.context.evaluated_depsgraph_get())


def _points(mesh: bpy.types.Object) -> np.ndarray:
    """(N, 3) vertices of the evaluated mesh, object space."""
    data = _evaluated(mesh).data
    points = np.empty(len(data.vertices) * 3, np.float32)
    data.vertices.foreach_get("co", points)
    return points.reshape(-1, 3)


_CORE_MESH = """
import sys
from pathlib import Path
import numpy as np
from ex4d_core.mesh import build_mesh
from ex4d_core.scene import Scene
scene, frame = Scene.open(Path(sys.argv[1])), int(sys.argv[2])
mesh = build_mesh(scene.depth(frame), scene.intrinsics(frame))
pose = np.eye(4) if scene.source_c2w is None else scene.source_c2w[frame]
np.savez(sys.argv[3], vertices=mesh.vertices @ pose[:3, :3].T + pose[:3, 3], faces=mesh.faces, bridge=mesh.bridge)
"""


@pytest.fixture
def moving_scene(library_python: str, tmp_path: Path) -> Path:
    """24x16x5, float depth with sky, a camera that moves and zooms."""
    code = """
import sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from ex4d_core.camera import Intrinsics
from ex4d_core.scene import write_scene
depths = np.random.default_rng(1).uniform(2, 40000, (5, 16, 24)).astype(np.float32)
depths[:, :3] = np.inf
poses = np.tile(np.eye(4), (5, 1, 1))
for t in range(5):
    a = 0.2 * t
    poses[t, :3, :3] = [[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]]
    poses[t, :3, 3] = (0.5 * t, -t, 2 * t)
lens = [Intrinsics(fx=30.0 + t, fy=30.0 + t, cx=12.5, cy=7.0, width=24, height=16) for t in range(5)]
colors = np.zeros((5, 16, 24, 3), np.uint8)
write_scene(Path(sys.argv[1]), colors, depths, fps=Fraction(24), intrinsics=lens, source_c2w=poses, units="metric")
"""
    folder = tmp_path / "moving.ex4d"
    library(library_python, code, folder)
    return folder


@pytest.mark.parametrize("which", ["small", "moving"])
def test_the_surface_is_the_core_s(
    which: str, small_scene: Path, moving_scene: Path, library_python: str, tmp_path: Path
) -> None:
    folder, frame = (small_scene, 6) if which == "small" else (moving_scene, 3)
    library(library_python, _CORE_MESH, folder, frame, tmp_path / "core.npz")
    core = np.load(tmp_path / "core.npz")
    footage = _place(folder, 1)
    inputs = module("versions.modifier_inputs")
    inputs.write(footage.mesh.modifiers[0], "Hide Occluded", False)
    bpy.context.scene.frame_set(1 + frame)
    ours = _points(footage.mesh)  # in the order of the pixels, as in the core
    facts = footage.facts()
    expected = core["vertices"][: facts.width * facts.height]
    assert np.allclose(ours, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    # All triangles, cut along the same diagonals; their fronts look at the camera, the core's away from it.
    faces = {_turned(face.vertices) for face in _evaluated(footage.mesh).data.polygons}
    assert faces == {_turned(face[::-1]) for face in core["faces"][: 2 * (facts.width - 1) * (facts.height - 1)]}


def _turned(face: Iterable[int]) -> tuple[int, ...]:
    """The vertices in their order, the first of them first."""
    numbers = [int(vertex) for vertex in face]
    first = numbers.index(min(numbers))
    return tuple(numbers[first:] + numbers[:first])


def test_the_moving_camera_stands_where_it_was_for_the_frame_shown(moving_scene: Path) -> None:
    footage = _place(moving_scene, 11)
    facts, camera = footage.facts(), footage.source_camera
    scene = bpy.context.scene
    scene.camera["Source Time"] = 3.0
    scene.camera.update_tag()
    scene.frame_set(11)
    seen = _evaluated(camera)
    local = np.linalg.inv(np.array(footage.empty.matrix_world)) @ np.array(seen.matrix_world) @ np.diag([1, -1, -1, 1])
    assert np.allclose(local, facts.source_c2w[3], atol=1e-5)
    assert seen.data.lens == pytest.approx(33.0 / 24 * 36, rel=1e-6)
    assert seen.data.shift_x == pytest.approx(0.5 - 12.5 / 24)
    assert seen.data.shift_y == pytest.approx((7.0 - 8.0) / 24)


def test_scale_and_clipping(small_scene: Path, moving_scene: Path) -> None:
    footage = _place(small_scene)
    depths = module("mesh.depth_survey").survey(footage.facts())
    assert depths.median * footage.empty.scale[0] == pytest.approx(5.0)
    metric = _place(moving_scene)
    assert metric.empty.scale[:] == (1.0, 1.0, 1.0)
    for each in (footage, metric):
        bpy.context.view_layer.update()
        far = np.abs(_points(each.mesh)[:, 2]).max() * each.empty.scale[0]
        assert each.source_camera.data.clip_end > far
    bpy.context.scene.unit_settings.scale_length = 0.01
    assert _place(moving_scene).empty.scale[0] == pytest.approx(100.0)


def test_upright(small_scene: Path) -> None:
    camera = _place(small_scene).source_camera
    bpy.context.view_layer.update()
    world = np.array(camera.matrix_world)
    assert np.allclose(world[:3, 2] / np.linalg.norm(world[:3, 2]), (0, -1, 0), atol=1e-6)  # looks along +Y
    assert np.allclose(world[:3, 1] / np.linalg.norm(world[:3, 1]), (0, 0, 1), atol=1e-6)


@pytest.mark.parametrize(("level", "across", "down"), [(2, 33, 25), (5, 14, 11)])
def test_level_of_detail(small_scene: Path, level: int, across: int, down: int) -> None:
    footage = _place(small_scene)
    module("versions.modifier_inputs").write(footage.mesh.modifiers[0], "Viewport Level", level)
    bpy.context.scene.frame_set(2)
    points = _points(footage.mesh)
    assert len(points) == across * down
    u = points[:, 0] / points[:, 2] * 60 + 32
    assert (u.min(), u.max()) == (pytest.approx(0, abs=1e-4), pytest.approx(64, abs=1e-4))


def test_the_far_shell_closes_it(small_scene: Path) -> None:
    footage = _place(small_scene)
    inputs, modifier = module("versions.modifier_inputs"), footage.mesh.modifiers[0]
    inputs.write(modifier, "Hide Occluded", False)
    inputs.write(modifier, "Far Shell", True)
    bpy.context.scene.frame_set(2)
    solid = bmesh.new()
    solid.from_mesh(_evaluated(footage.mesh).data)
    assert len(solid.verts) - len(solid.edges) + len(solid.faces) == 2
    assert len(solid.faces) == 2 * 63 * 47 + 2 * (64 + 48) - 4
    assert all(edge.is_contiguous for edge in solid.edges)
    assert max(v.co.z for v in solid.verts) == pytest.approx(16.0, rel=1e-3)
    solid.free()


@pytest.mark.parametrize(("size", "level"), [((832, 480), 1), ((64, 48), 1)])
def test_automatic_level(size: tuple[int, int], level: int) -> None:
    assert module("mesh.detail").automatic_level(*size) == level


def test_import_scene(small_scene: Path, undo_steps: None) -> None:
    assert bpy.ops.ex4d.import_scene("EXEC_DEFAULT", True, directory=str(small_scene), frame_start=1001) == {"FINISHED"}
    (footage,) = module("placed").all_placed(bpy.context.scene)
    assert footage.frame_start == 1001
    assert bpy.context.object == footage.empty
    assert footage.folder == small_scene
    bpy.ops.ed.undo()
    assert not module("placed").all_placed(bpy.context.scene)


def test_refusals(small_scene: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="No scene folder"):
        bpy.ops.ex4d.import_scene()
    with pytest.raises(RuntimeError, match="no EX-4D scene"):
        bpy.ops.ex4d.import_scene(directory=str(tmp_path))
    folder = shutil.copytree(small_scene, tmp_path / "broken.ex4d")
    (folder / "depth" / "000000.exr").write_bytes(b"no picture")
    with pytest.raises(RuntimeError, match=r"000000\.exr"):
        bpy.ops.ex4d.import_scene(directory=str(folder))
    document = json.loads((small_scene / "scene.json").read_text()) | {"width": 63}
    other = shutil.copytree(small_scene, tmp_path / "other.ex4d")
    (other / "scene.json").write_text(json.dumps(document))
    with pytest.raises(RuntimeError, match="64x48"):
        bpy.ops.ex4d.import_scene(directory=str(other))
    assert not module("placed").all_placed(bpy.context.scene)
    assert not bpy.data.collections


@pytest.mark.parametrize("step", ["mesh.placing.fit_clipping", "project.matching.settle", "project.view.fit_plates"])
def test_whatever_goes_wrong_nothing_is_left(small_scene: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def fail(*_: object) -> None:
        raise OverflowError("not thought of")

    name, function = step.rsplit(".", 1)
    monkeypatch.setattr(module(name), function, fail)
    with pytest.raises(RuntimeError, match="not thought of"):
        bpy.ops.ex4d.import_scene(directory=str(small_scene))
    kinds = ("objects", "collections", "meshes", "cameras", "images", "materials", "node_groups")
    assert {kind: len(getattr(bpy.data, kind)) for kind in kinds} == dict.fromkeys(kinds, 0)
    assert bpy.context.scene.camera is None


def test_nothing_is_placed_while_a_mesh_is_edited(small_scene: Path) -> None:
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.object.mode_set(mode="EDIT")
    for call in (
        lambda: bpy.ops.ex4d.import_scene(directory=str(small_scene)),
        lambda: bpy.ops.ex4d.place_import(job="none"),
        lambda: bpy.ops.ex4d.import_footage(filepath=str(small_scene)),
    ):
        with pytest.raises(RuntimeError, match="placed in Object Mode"):
            call()
    assert (bpy.context.mode, bpy.context.object.mode) == ("EDIT_MESH", "EDIT")
    assert not module("placed").all_placed(bpy.context.scene)
    bpy.ops.object.mode_set(mode="OBJECT")
    assert bpy.ops.ex4d.import_scene(directory=str(small_scene)) == {"FINISHED"}


def test_nothing_of_the_mesh_has_a_rotation_of_its_own(small_scene: Path) -> None:
    footage = _place(small_scene)
    assert footage.mesh.matrix_basis == footage.mesh.matrix_basis.Identity(4)
    assert footage.empty.rotation_euler[0] == pytest.approx(math.radians(-90))

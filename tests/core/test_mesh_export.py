"""Mesh files, read back with an independent reader."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.errors import InputError, OutputError
from ex4d_core.images import read_image
from ex4d_core.mesh import DWMesh, build_mesh
from ex4d_core.mesh_export import export_mesh, visible_faces
from ex4d_core.quads import Quads, build_quads

LENS = Intrinsics.from_focal_px(20, 16, 12)


def frame() -> tuple[DWMesh, NDArray[np.uint8]]:
    depth = np.full((12, 16), 4, np.float32)
    depth[3:8, 5:11] = 2
    return build_mesh(depth, LENS), np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)


def load(path: Path) -> Any:
    loaded: Any = trimesh.load(path, process=False)
    return next(iter(loaded.geometry.values())) if hasattr(loaded, "geometry") else loaded


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".glb"])
def test_the_whole_mesh_is_a_closed_solid(tmp_path: Path, suffix: str) -> None:
    mesh, color = frame()
    path = tmp_path / f"größe 1{suffix}"
    export_mesh(mesh, color, path)
    read = load(path)
    assert (len(read.vertices), len(read.faces)) == (len(mesh.vertices), len(mesh.faces))
    assert read.is_watertight
    assert read.is_winding_consistent
    assert read.volume > 0  # normals point outwards: at the source camera
    flip = [1, 1, 1] if suffix == ".ply" else [1, -1, -1]
    np.testing.assert_allclose(read.vertices, mesh.vertices * flip, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".glb"])
def test_the_visible_part_has_no_bridges(tmp_path: Path, suffix: str) -> None:
    mesh, color = frame()
    export_mesh(mesh, color, tmp_path / f"m{suffix}", visible_only=True)
    read = load(tmp_path / f"m{suffix}")
    assert len(read.faces) == (~mesh.bridge).sum()
    assert len(read.vertices) < len(mesh.vertices)
    z = np.abs(read.vertices[:, 2])[read.faces]
    assert (np.ptp(z, axis=1) < 1e-4).all()


def test_every_format_carries_the_colour_of_the_frame(tmp_path: Path) -> None:
    mesh, color = frame()
    pixels = color.reshape(-1, 3)
    export_mesh(mesh, color, tmp_path / "m.ply")
    np.testing.assert_array_equal(load(tmp_path / "m.ply").visual.vertex_colors[:-1, :3], pixels)
    export_mesh(mesh, color, tmp_path / "m.glb")
    export_mesh(mesh, color, tmp_path / "m.obj")
    np.testing.assert_array_equal(read_image(tmp_path / "m.png"), color)
    assert "map_Kd m.png" in (tmp_path / "m.mtl").read_text()
    for name in ("m.glb", "m.obj"):
        read = load(tmp_path / name)
        # trimesh's v runs upwards
        place = np.stack([read.visual.uv[:-1, 0] * 16, (1 - read.visual.uv[:-1, 1]) * 12], axis=1)
        np.testing.assert_allclose(place, mesh.uv[:-1], atol=1e-4)
    texture = load(tmp_path / "m.glb").visual.material.baseColorTexture
    np.testing.assert_array_equal(np.asarray(texture.convert("RGB")), color)


def test_glb_is_unlit_and_in_gltf_axes(tmp_path: Path) -> None:
    mesh, color = frame()
    export_mesh(mesh, color, tmp_path / "m.glb")
    data = (tmp_path / "m.glb").read_bytes()
    length = struct.unpack("<I", data[12:16])[0]
    tree = json.loads(data[20 : 20 + length])
    assert tree["extensionsUsed"] == ["KHR_materials_unlit"]
    assert all("KHR_materials_unlit" in m["extensions"] for m in tree["materials"])
    # the first pixel is left of, above and before the camera: glTF's -x, +y, -z
    x, y, z = load(tmp_path / "m.glb").vertices[0]
    assert x < 0 < y
    assert z == -4


def test_ply_carries_the_flags(tmp_path: Path) -> None:
    mesh, color = frame()
    export_mesh(mesh, color, tmp_path / "m.ply")
    data = load(tmp_path / "m.ply").metadata["_ply_raw"]["face"]["data"]
    np.testing.assert_array_equal(np.asarray(data["bridge"]).ravel() != 0, mesh.bridge)


def test_a_pose_takes_the_mesh_into_the_world(tmp_path: Path) -> None:
    mesh, color = frame()
    pose = np.array([[0, 0, 1, 5], [0, 1, 0, 6], [-1, 0, 0, 7], [0, 0, 0, 1]], np.float64)
    export_mesh(mesh, color, tmp_path / "m.ply", c2w=pose)
    x, y, z = mesh.vertices.T
    np.testing.assert_allclose(load(tmp_path / "m.ply").vertices, np.stack([z + 5, y + 6, 7 - x], 1), atol=1e-5)


def test_the_visible_part_of_a_reference_mesh_has_no_hidden_vertex(tmp_path: Path) -> None:
    depth = np.full((12, 16), 4, np.float32)
    depth[3:8, 5:11] = 2
    mesh = build_mesh(depth, Intrinsics.from_focal_px(500, 16, 12), "reference")
    assert mesh.vertex_hidden is not None
    seen = visible_faces(mesh)
    assert 0 < seen.sum() < (~mesh.bridge).sum()
    assert not mesh.vertex_hidden[mesh.faces[seen]].any()


def quads() -> Quads:
    depth = np.full((12, 16), 4, np.float32)
    depth[3:8, 5:11] = 2
    color = np.full((12, 16, 3), (200, 30, 60), np.uint8)
    color[3:8, 5:11] = (10, 180, 90)
    return build_quads(color, depth, LENS)


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".glb"])
def test_the_visible_part_of_quads_is_a_card_and_a_wall_with_a_hole(tmp_path: Path, suffix: str) -> None:
    made = quads()
    export_mesh(made.solid, made.color, tmp_path / f"m{suffix}", visible_only=True)
    read = load(tmp_path / f"m{suffix}")
    assert len(read.faces) == 2 * 12 * 16
    z = np.abs(read.vertices[:, 2])[read.faces]
    np.testing.assert_allclose(z[(z < 3).all(axis=1)], 2, rtol=1e-5)
    np.testing.assert_allclose(z[(z > 3).all(axis=1)], 4, rtol=1e-5)
    assert ((z < 3).all(axis=1) | (z > 3).all(axis=1)).all()
    assert (z < 3).all(axis=1).sum() == 2 * 5 * 6
    # pixels are areas: the frame's at depth 4, less the card's shadow on the wall, and the card's
    assert read.area == pytest.approx((12 * 16 - 30) * (4 / 20) ** 2 + 30 * (2 / 20) ** 2, rel=1e-4)
    assert not np.isnan(read.vertices).any()
    source = -1 if suffix == ".ply" else 1
    assert (read.face_normals[:, 2] * source > 0.99).all()  # at the source camera


def test_quads_come_with_their_occluders_which_face_the_source_camera_and_are_named(tmp_path: Path) -> None:
    made = quads()
    export_mesh(made.solid, made.color, tmp_path / "m.ply")
    read = load(tmp_path / "m.ply")
    unseen = np.asarray(read.metadata["_ply_raw"]["face"]["data"]["bridge"]).ravel() != 0
    assert (~unseen).sum() == 2 * 12 * 16
    assert unseen.sum() == 2 * (2 * (12 + 16) + 5 * 6)  # flaps, and shells behind the card
    rays = read.triangles_center
    facing = (read.face_normals * rays).sum(axis=1)
    assert (facing < 0).all()
    outside = (np.abs(rays[:, :2] / rays[:, 2:]) > [0.401, 0.301]).any(axis=1)
    assert outside.sum() == 2 * 2 * (12 + 16)
    assert unseen[outside].all()


def test_quads_carry_the_colour_of_their_own_surface(tmp_path: Path) -> None:
    made = quads()
    export_mesh(made.solid, made.color, tmp_path / "m.ply")
    export_mesh(made.solid, made.color, tmp_path / "m.glb")
    read = load(tmp_path / "m.ply")
    near = read.vertices[:, 2] < 3
    np.testing.assert_array_equal(np.unique(read.visual.vertex_colors[near, :3], axis=0), [[10, 180, 90]])
    np.testing.assert_array_equal(np.unique(read.visual.vertex_colors[~near, :3], axis=0), [[200, 30, 60]])
    uv = load(tmp_path / "m.glb").visual.uv
    assert uv.min() >= 0
    assert uv.max() <= 1
    np.testing.assert_array_equal(
        np.asarray(load(tmp_path / "m.glb").visual.material.baseColorTexture.convert("RGB")), made.color
    )


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    mesh, color = frame()
    with pytest.raises(InputError, match=r"\.ply, \.obj, \.glb"):
        export_mesh(mesh, color, tmp_path / "m.stl")
    with pytest.raises(InputError, match="16x12"):
        export_mesh(mesh, color[:5], tmp_path / "m.ply")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        export_mesh(mesh, color, tmp_path / "file" / "m.ply")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]

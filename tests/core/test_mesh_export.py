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

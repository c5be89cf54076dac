"""Mesh files for other programs: PLY, OBJ, GLB.

Axes: GLB and OBJ are written with y up and the camera looking along -z (`diag(1, -1, -1)` of the camera's space;
glTF demands it, importers of OBJ assume it), so that Blender's importers stand the mesh upright, with the source
camera looking along +Y. PLY keeps the scene's axes (OpenCV: x right, y down, z forward), as formats without a
convention should keep the numbers. Units are scene units. Faces are turned so that normals point at the source
camera, out of the closed solid.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import OPENGL_FROM_OPENCV
from ex4d_core.errors import InputError
from ex4d_core.files import atomic_file
from ex4d_core.images import write_png
from ex4d_core.mesh import DWMesh
from ex4d_core.quads.solid import OCCLUDER, Solid

SUFFIXES = (".ply", ".obj", ".glb")


def export_mesh(
    mesh: DWMesh | Solid,
    color: NDArray[np.uint8],
    path: Path,
    visible_only: bool = False,
    *,
    c2w: NDArray[np.float64] | None = None,
) -> None:
    """Write a mesh with its colour.

    PLY has a colour per vertex and, as the face property `bridge`, what was never seen. OBJ (with .mtl and .png
    beside it) and GLB (unlit material) have the frame as texture.

    Args:
        mesh: the mesh, or the solid of `Quads`.
        color: (H, W, 3) uint8 sRGB, the source frame; with a solid, that of its `Quads`.
        path: a name ending in .ply, .obj or .glb.
        visible_only: leave out what the source camera did not see: bridges, slivers, the back, occluders.
        c2w: (4, 4) camera-to-world of the source camera, to write the mesh in the scene's world instead of
            the camera's space.

    Raises:
        InputError: another suffix, or colour of another size.
        OutputError: the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"Cannot write a mesh as {path.name}: use a name ending in {', '.join(SUFFIXES)}.")
    height, width = mesh.size if isinstance(mesh, Solid) else mesh.grid
    if color.shape != (height, width, 3):
        raise InputError(
            f"The colour has shape {color.shape} and the mesh is of {width}x{height} pixels: "
            "give the frame that the depth belongs to."
        )
    skin = _skin_of_solid(mesh) if isinstance(mesh, Solid) else _Skin(mesh.faces, mesh.bridge, mesh.uv)
    faces, bridge = skin.faces, skin.unseen
    if visible_only:
        seen = ~bridge if isinstance(mesh, Solid) else visible_faces(mesh)
        faces, bridge = faces[seen], bridge[seen]
    used, faces = np.unique(faces, return_inverse=True)
    faces = faces.reshape(-1, 3)[:, ::-1]  # the mesh's own winding faces away from the source camera
    vertices = mesh.vertices[used].astype(np.float64)
    if c2w is not None:
        vertices = vertices @ c2w[:3, :3].T + c2w[:3, 3]
    if suffix != ".ply":
        vertices = vertices @ OPENGL_FROM_OPENCV[:3, :3]
    uv = skin.uv[used]
    if suffix == ".ply":
        colors = _corner_colors(color, mesh) if isinstance(mesh, Solid) else _vertex_colors(color, mesh.uv)
        data = _ply(vertices, faces, bridge, colors[used])
        _write(path, data)
    elif suffix == ".glb":
        _write(path, _glb(_textured(vertices, faces, uv, color, path.stem)))
    else:
        _write_obj(vertices, faces, uv, color, path)


@dataclass(frozen=True, eq=False)
class _Skin:
    """What files say of a mesh besides its vertices."""

    faces: NDArray[np.int32]
    """(F, 3) int32, wound as in `DWMesh`."""
    unseen: NDArray[np.bool_]
    """(F,) bool"""
    uv: NDArray[np.float32]
    """(N, 2) float32, pixels of the frame."""


def _corners(solid: Solid) -> NDArray[np.intp]:
    """(M, 4): of all quads there are, the vertices upper left, upper right, lower left, lower right; the loose ones, in
    the order of `solid.pixel`, are the last."""
    index = np.arange(len(solid.vertices)).reshape(solid.grid)[: solid.apart]
    corners = np.stack([index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]], axis=-1).reshape(-1, 4)
    there = np.isfinite(solid.vertices[:, 0])
    return np.concatenate([corners[there[corners].all(axis=1)], solid.loose_corners()])


def _skin_of_solid(solid: Solid) -> _Skin:
    """Of the quads that are there; flaps, which lie outside of the frame, show its border."""
    (height, width), columns = solid.size, solid.grid[1]
    corners = _corners(solid)
    uv = solid.all_uv()
    shells = slice((height + 2) * columns, (2 * height + 3) * columns)
    uv[shells] = uv[: (height + 1) * columns]
    unseen = corners[:, 0] >= shells.start
    unseen[len(corners) - len(solid.pixel) :] = solid.pixel == OCCLUDER
    faces, unseen = np.concatenate([corners[:, [2, 0, 1]], corners[:, [2, 1, 3]]]), np.tile(unseen, 2)
    # Renders do not ask which way occluders face; normals do.
    first, second = (uv[faces[:, k]] - uv[faces[:, 0]] for k in (1, 2))
    turned = unseen & (first[:, 0] * second[:, 1] < first[:, 1] * second[:, 0])
    faces[turned] = faces[turned, ::-1]
    return _Skin(faces.astype(np.int32), unseen, np.clip(uv, 0, np.array([width, height], np.float32)))


def visible_faces(mesh: DWMesh) -> NDArray[np.bool_]:
    """(F,) bool, True for faces all of which the source camera saw."""
    if mesh.vertex_hidden is None:
        return ~mesh.bridge
    seen: NDArray[np.bool_] = ~(mesh.bridge | mesh.vertex_hidden[mesh.faces].any(axis=1))
    return seen


def _vertex_colors(color: NDArray[np.uint8], uv: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(N, 3) uint8: the pixel that each vertex stands on."""
    height, width = color.shape[:2]
    column = np.clip(uv[:, 0].astype(np.int64), 0, width - 1)
    row = np.clip(uv[:, 1].astype(np.int64), 0, height - 1)
    return color[row, column]


def _corner_colors(color: NDArray[np.uint8], solid: Solid) -> NDArray[np.uint8]:
    """(N, 3) uint8: the mean of the pixels that share a corner; of loose quads, each its own pixel."""
    height, width = solid.size
    padded = np.pad(color, ((1, 1), (1, 1), (0, 0)), mode="edge").astype(np.uint16)
    around = padded[:-1, :-1] + padded[:-1, 1:] + padded[1:, :-1] + padded[1:, 1:]
    colors = np.zeros((*solid.grid, 3), np.uint8)
    colors[: height + 1, : width + 1] = (around + 2) // 4
    colors[height + 2 : 2 * height + 3] = colors[: height + 1]
    colors = colors.reshape(-1, 3)
    colors[solid.loose_corners()] = _vertex_colors(color, solid.uv.mean(axis=1))[:, None]
    return colors


def _ply(
    vertices: NDArray[np.float64], faces: NDArray[Any], bridge: NDArray[np.bool_], colors: NDArray[np.uint8]
) -> bytes:
    import trimesh
    from trimesh.exchange.ply import export_ply

    mesh = trimesh.Trimesh(vertices, faces, vertex_colors=colors, process=False)
    mesh.face_attributes["bridge"] = bridge.astype(np.uint8)
    return export_ply(mesh, vertex_normal=False, include_attributes=True)


def _textured(
    vertices: NDArray[np.float64],
    faces: NDArray[Any],
    uv: NDArray[np.float32],
    color: NDArray[np.uint8],
    name: str,
) -> Any:
    """A trimesh with the frame as texture; its texture coordinates have v upwards, as trimesh expects."""
    import trimesh
    from PIL import Image
    from trimesh.visual.material import PBRMaterial
    from trimesh.visual.texture import TextureVisuals

    height, width = color.shape[:2]
    image = Image.fromarray(color)
    material = PBRMaterial(name=name, baseColorTexture=image, metallicFactor=0.0, roughnessFactor=1.0)
    coordinates = np.stack([uv[:, 0] / width, 1 - uv[:, 1] / height], axis=1)
    visual = TextureVisuals(uv=coordinates, material=material)
    return trimesh.Trimesh(vertices, faces, visual=visual, process=False)


def _glb(mesh: Any) -> bytes:
    from trimesh.exchange.gltf import export_glb

    def unlit(tree: dict[str, Any]) -> None:
        # The frame is light that was recorded, not a surface to light again.
        tree["extensionsUsed"] = [*tree.get("extensionsUsed", []), "KHR_materials_unlit"]
        for material in tree["materials"]:
            material.setdefault("extensions", {})["KHR_materials_unlit"] = {}

    return export_glb(mesh.scene(), include_normals=False, tree_postprocessor=unlit)


def _write_obj(
    vertices: NDArray[np.float64],
    faces: NDArray[Any],
    uv: NDArray[np.float32],
    color: NDArray[np.uint8],
    path: Path,
) -> None:
    """OBJ, its material and its texture; trimesh's writer takes nine seconds for half a million faces."""
    height, width = color.shape[:2]
    coordinates = np.stack([uv[:, 0] / width, 1 - uv[:, 1] / height], axis=1)
    corners = np.repeat(faces.reshape(-1) + 1, 2)  # vertex and texture coordinate have one number, from 1
    text = (
        f"mtllib {path.stem}.mtl\nusemtl plate\n"
        + ("v %.7g %.7g %.7g\n" * len(vertices)) % tuple(vertices.reshape(-1).tolist())
        + ("vt %.7g %.7g\n" * len(coordinates)) % tuple(coordinates.reshape(-1).tolist())
        + ("f %d/%d %d/%d %d/%d\n" * len(faces)) % tuple(corners.tolist())
    )
    with atomic_file(path.with_suffix(".png")) as temporary:
        write_png(temporary, color)
    material = f"newmtl plate\nKa 0 0 0\nKd 1 1 1\nillum 0\nmap_Kd {path.stem}.png\n"
    _write(path.with_suffix(".mtl"), material.encode())
    _write(path, text.encode())


def _write(path: Path, data: bytes) -> None:
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)

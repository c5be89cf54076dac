"""How far behind a silhouette a bridge hides: the mesh with bridges of limited depth.

A bridge that runs all the way to the background says that every object is infinitely deep, and hides much that
was seen: on rendered ground truth that is nine in ten of the mask's errors. No bridge says that objects are
paper. So a bridge keeps its nearest corner and its place in the source view, and the other corners come forward
along their rays until they are at most a share deeper than it. The DW-Mesh itself does not change.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from ex4d_core.mesh import DWMesh

# How deep objects are taken to be, as a share of their distance. Measured by scripts/bench_geometry.py: the
# mask's error is .024 at 0.02, .029 at 0.05, .035 at 0.1 and .058 without limit; precision grows the other way.
BRIDGE_REACH = 0.05


def limit_bridges(mesh: DWMesh, reach: float) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
    """Vertices and faces to rasterize instead of a `dwmesh`'s own, without the fan.

    Args:
        mesh: the mesh, flags per face.
        reach: how much deeper than its nearest corner a bridge may run, as a share of that corner's depth.

    Returns:
        vertices (N + 3 B, 3) float32, the mesh's own first; faces (2(H-1)(W-1), 3) int32, surfaces first, the B
        bridges last; and for each face its number in the mesh, int32.
    """
    count = mesh.grid_faces
    bridges = int(np.count_nonzero(mesh.bridge[:count]))
    vertices = np.empty((len(mesh.vertices) + 3 * bridges, 3), np.float32)
    faces = np.empty((count, 3), np.int32)
    numbers = np.empty(count, np.int32)
    _limit(mesh.vertices, mesh.faces, mesh.bridge, count - bridges, np.float32(1 + reach), vertices, faces, numbers)
    return vertices, faces, numbers


def original_numbers(face_id: NDArray[np.int32], numbers: NDArray[np.int32]) -> NDArray[np.int32]:
    """Face numbers of `limit_bridges` -> of the mesh; -1 stays."""
    return np.where(face_id >= 0, numbers[face_id], np.int32(-1))


@numba.njit(cache=True, nogil=True)
def _limit(
    old_vertices: Any,
    old_faces: Any,
    bridge: Any,
    surfaces: Any,
    factor: Any,
    vertices: Any,
    faces: Any,
    numbers: Any,
) -> None:
    vertices[: len(old_vertices)] = old_vertices
    corner = len(old_vertices)
    surface = 0
    torn = surfaces
    for f in range(len(faces)):
        if not bridge[f]:
            faces[surface] = old_faces[f]
            numbers[surface] = f
            surface += 1
            continue
        a, b, c = old_faces[f]
        limit = factor * min(old_vertices[a, 2], min(old_vertices[b, 2], old_vertices[c, 2]))
        for k in range(3):
            vertex = old_vertices[old_faces[f, k]]
            scale = min(limit / vertex[2], np.float32(1))
            for axis in range(3):
                vertices[corner, axis] = vertex[axis] * scale
            faces[torn, k] = corner
            corner += 1
        numbers[torn] = f
        torn += 1

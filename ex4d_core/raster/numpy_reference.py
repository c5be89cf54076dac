"""The oracle: every triangle against every pixel in float64, in homogeneous coordinates.

Nothing is projected, clipped or snapped, so that there is nothing to get wrong: the ray through a pixel
centre p = (x + 0.5, y + 0.5, 1) meets the plane of a face with homogeneous corners P0, P1, P2 (u w, v w, w)
where b0 P0 + b1 P1 + b2 P2 = w p with b0 + b1 + b2 = 1. By Cramer's rule b0 / w = p . (P1 x P2) / det, and so
on in turn (Olano and Greer, Triangle Scan Conversion using 2D Homogeneous Coordinates, 1997).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ex4d_core.raster import Raster


def rasterize_homogeneous(
    vertices: NDArray[np.float32],
    faces: NDArray[np.int32],
    projection: NDArray[np.float64],
    size: tuple[int, int],
    grid: tuple[int, int] | None = None,
    near: float = 1e-3,
    threads: int | None = None,
    *,
    apart: int | None = None,
    barycentrics: bool = True,
) -> Raster:
    """See `ex4d_core.raster.rasterize`; what is optional, but `near`, makes no difference here."""
    width, height = size
    corners = vertices.astype(np.float64) @ projection[:, :3].T + projection[:, 3]  # (N, 3): u w, v w, w
    x = np.arange(width)[None, :] + 0.5
    y = np.arange(height)[:, None] + 0.5
    face_id = np.full((height, width), -1, np.int32)
    depth = np.full((height, width), np.inf, np.float32)
    weights = np.zeros((height, width, 3), np.float32)
    front = np.zeros((height, width), bool)
    for index, (p0, p1, p2) in enumerate(corners[faces]):
        normals = np.stack([np.cross(p1, p2), np.cross(p2, p0), np.cross(p0, p1)])  # (3, 3), one an edge
        det = p0 @ normals[0]
        if not np.isfinite(normals).all() or det == 0:
            continue
        e = normals[:, 0, None, None] * x + normals[:, 1, None, None] * y + normals[:, 2, None, None]
        e /= det  # (3, h, w), each b / w
        a, b = normals[:, 0] / det, normals[:, 1] / det
        owns_edge = (a > 0) | ((a == 0) & (b > 0))  # top-left rule: the inside lies right of or below it
        covered = ((e > 0) | ((e == 0) & owns_edge[:, None, None])).all(axis=0)
        inverse_w = e.sum(axis=0)
        covered &= (inverse_w > 0) & (inverse_w * near <= 1)
        z = np.full((height, width), np.inf)
        np.divide(1, inverse_w, out=z, where=covered)
        nearer = covered & (z.astype(np.float32) < depth)
        face_id[nearer] = index
        depth[nearer] = z[nearer]
        weights[nearer] = (e[:, nearer] * z[nearer]).T
        front[nearer] = det < 0  # y down, z forward: a normal towards the camera has a negative triple product
    return Raster(face_id, weights, depth, front)


def interpolate(
    raster: Raster,
    faces: NDArray[np.int32],
    attributes: NDArray[np.float32],
    grid: tuple[int, int] | None = None,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """See `ex4d_core.raster.interpolate`."""
    seen = raster.face_id >= 0
    values = attributes[faces[np.where(seen, raster.face_id, 0)]]  # (h, w, 3, C)
    blended = np.einsum("hwk,hwkc->hwc", raster.barycentrics, values)
    return np.where(seen[..., None], blended, 0).astype(np.float32)

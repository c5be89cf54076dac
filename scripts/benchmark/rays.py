"""What a camera truly sees, by rays against the very triangles (Embree), one through the middle of each pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

from .geometry import Array, merged
from .scene import FOCAL, Part

TOUCHING = 1e-3
"""What a ray meets within this share of its way before a point is that point: 32-bit numbers end there."""


@dataclass(frozen=True)
class View:
    """What a camera sees; all (H, W) or (H, W, 3)."""

    depth: Array
    """z-depth, metres."""
    points: Array
    """Where it is, in the world."""
    moves: NDArray[np.bool_]


def lens(size: int, focal: float = FOCAL) -> Array:
    """K (3, 3) of every camera, pixels; `focal` is a share of the width."""
    return np.array([[focal * size, 0, size / 2], [0, focal * size, size / 2], [0, 0, 1]])


class Solid:
    """The scene at a time."""

    def __init__(self, parts: tuple[Part, ...], seconds: float) -> None:
        meshes = [part.build(seconds) for part in parts]
        whole = merged(meshes)
        self._moves = np.repeat([part.moves for part in parts], [len(mesh.faces) for mesh in meshes])
        self._scene = EmbreeScene()
        TriangleMesh(self._scene, whole.vertices.astype(np.float32), whole.faces)

    def see(self, c2w: Array, size: int, focal: float = FOCAL) -> View:
        """What the camera `c2w` sees in size x size pixels. Every ray ends in the sky at the latest."""
        centers = np.arange(size) + 0.5
        x, y = np.meshgrid(centers, centers)
        # z is 1: lengths are z-depths
        rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(lens(size, focal)).T
        rays = rays.reshape(-1, 3) @ c2w[:3, :3].T
        hit = self._scene.run(_origins(c2w, len(rays)), rays.astype(np.float32), output=True)
        depth = hit["tfar"].astype(np.float64)
        if (hit["primID"] < 0).any():
            raise RuntimeError("a camera looks past the sky")
        points = c2w[:3, 3] + depth[:, None] * rays
        moves = self._moves[hit["primID"]]
        return View(depth.reshape(size, size), points.reshape(size, size, 3), moves.reshape(size, size))

    def shows(self, points: Array, c2w: Array, size: int, focal: float = FOCAL) -> NDArray[np.bool_]:
        """(N,) whether the camera `c2w` sees the points (N, 3): they lie in its picture and nothing is before them."""
        at = (points - c2w[:3, 3]) @ c2w[:3, :3]
        pixel = at @ lens(size, focal).T
        with np.errstate(divide="ignore", invalid="ignore"):
            pixel = pixel[:, :2] / at[:, 2:]
        found = (at[:, 2] > 0) & (pixel >= 0).all(axis=1) & (pixel <= size).all(axis=1)
        rays = (points[found] - c2w[:3, 3]).astype(np.float32)
        if len(rays):
            found[found] = self._scene.run(_origins(c2w, len(rays)), rays, query="DISTANCE") > 1 - TOUCHING
        return found


def _origins(c2w: Array, count: int) -> NDArray[np.float32]:
    return np.repeat(c2w[None, :3, 3].astype(np.float32), count, axis=0)

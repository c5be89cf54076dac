"""Triangle meshes from a few primitives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


class Mesh(NamedTuple):
    """Triangles."""

    vertices: Array
    """(V, 3) metres."""
    faces: NDArray[np.int32]
    """(F, 3)."""
    uv: Array
    """(V, 2) position on the surface, metres, for its texture."""

    def moved(self, offset: ArrayLike) -> Mesh:
        """The same, shifted."""
        return self._replace(vertices=self.vertices + np.asarray(offset, np.float64))

    def turned(self, degrees: float, axis: str = "z", about: ArrayLike = (0, 0, 0)) -> Mesh:
        """The same, turned about a point."""
        pivot = np.asarray(about, np.float64)
        return self._replace(vertices=(self.vertices - pivot) @ rotation(degrees, axis).T + pivot)


def rotation(degrees: float, axis: str) -> Array:
    """(3, 3): by the right-hand rule about x, y or z."""
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    angle = np.radians(degrees)
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
    return matrix


def merged(meshes: Iterable[Mesh]) -> Mesh:
    """One mesh of several."""
    parts = list(meshes)
    starts = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
    faces = [part.faces + start for part, start in zip(parts, starts, strict=True)]
    return Mesh(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate(faces).astype(np.int32),
        np.concatenate([part.uv for part in parts]),
    )


def sheet(corner: ArrayLike, across: ArrayLike, up: ArrayLike, cells: tuple[int, int] = (1, 1)) -> Mesh:
    """A parallelogram, divided into cells."""
    corner, across, up = (np.asarray(x, np.float64) for x in (corner, across, up))
    u, v = (a.ravel() for a in np.meshgrid(np.linspace(0, 1, cells[0] + 1), np.linspace(0, 1, cells[1] + 1)))
    vertices = corner + u[:, None] * across + v[:, None] * up
    size = np.array([np.linalg.norm(across), np.linalg.norm(up)])
    return Mesh(vertices, _grid_faces(cells[1] + 1, cells[0] + 1), np.stack([u, v], axis=-1) * size)


def box(center: ArrayLike, size: ArrayLike) -> Mesh:
    """A box with faces of its own for each side, for sharp edges."""
    center, half = np.asarray(center, np.float64), np.asarray(size, np.float64) / 2
    sides = []
    for axis in range(3):
        across, up = np.eye(3)[(axis + 1) % 3] * 2 * half, np.eye(3)[(axis + 2) % 3] * 2 * half
        if axis == 0:  # up is along z on the upright sides
            pass
        elif axis == 1:
            across, up = up, across
        for sign in (-1, 1):
            corner = center + np.eye(3)[axis] * sign * half - across / 2 - up / 2
            sides.append(sheet(corner, across, up))
    return merged(sides)


def tube(path: ArrayLike, radius: ArrayLike, sides: int = 6, flat: float = 1.0) -> Mesh:
    """A pipe along points, closed at both ends.

    Args:
        path: (N, 3).
        radius: one, or (N,).
        sides: of its section.
        flat: depth of its section over its width.
    """
    points = np.asarray(path, np.float64)
    radii = np.broadcast_to(np.asarray(radius, np.float64), len(points))
    ahead = np.gradient(points, axis=0)
    ahead /= np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-12)
    guide = np.eye(3)[np.abs(ahead.mean(axis=0)).argmin()]
    right = np.cross(ahead, guide)
    right /= np.maximum(np.linalg.norm(right, axis=1, keepdims=True), 1e-12)
    over = np.cross(right, ahead) * flat
    angles = np.linspace(0, 2 * np.pi, sides + 1)
    rings = np.cos(angles)[None, :, None] * right[:, None] + np.sin(angles)[None, :, None] * over[:, None]
    rings = points[:, None] + rings * radii[:, None, None]  # (N, sides + 1, 3)
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    uv = np.stack(np.broadcast_arrays(angles[None] * radii.max(), along[:, None]), axis=-1).reshape(-1, 2)
    wall = Mesh(rings.reshape(-1, 3), _grid_faces(len(points), sides + 1), uv)
    caps = []
    for ring, center in ((rings[0], points[0]), (rings[-1], points[-1])):
        fan = np.stack([np.arange(sides), np.arange(1, sides + 1), np.full(sides, sides + 1)], axis=-1)
        corners = np.concatenate([ring, center[None]])
        caps.append(Mesh(corners, fan.astype(np.int32), corners[:, :2] - center[:2]))
    return merged([wall, *caps])


def strands(paths: Array, radii: ArrayLike, sides: int = 3) -> Mesh:
    """Many thin open pipes at once.

    Args:
        paths: (K, N, 3).
        radii: (N,).
        sides: of their section.
    """
    count, points = paths.shape[:2]
    angles = np.linspace(0, 2 * np.pi, sides + 1)
    ahead = np.gradient(paths, axis=1)
    right = np.cross(ahead, (0.577, 0.577, 0.577))
    right /= np.maximum(np.linalg.norm(right, axis=-1, keepdims=True), 1e-12)
    over = np.cross(right, ahead / np.maximum(np.linalg.norm(ahead, axis=-1, keepdims=True), 1e-12))
    section = np.cos(angles)[:, None] * right[:, :, None] + np.sin(angles)[:, None] * over[:, :, None]
    vertices = paths[:, :, None] + section * np.asarray(radii)[None, :, None, None]  # (K, N, sides + 1, 3)
    starts = np.arange(count)[:, None, None] * points * (sides + 1)
    faces = (_grid_faces(points, sides + 1) + starts).reshape(-1, 3).astype(np.int32)
    uv = np.broadcast_to(
        np.stack(np.meshgrid(angles * 0.01, np.linspace(0, 0.3, points)), axis=-1), (count, points, sides + 1, 2)
    )
    return Mesh(
        vertices.reshape(-1, 3),
        faces,
        uv.reshape(-1, 2) + np.repeat(np.arange(count) * 0.13, points * (sides + 1))[:, None],
    )


def line(start: ArrayLike, end: ArrayLike, radius: float, sides: int = 5) -> Mesh:
    """A straight rod."""
    return tube(np.stack([np.asarray(start, np.float64), np.asarray(end, np.float64)]), radius, sides)


def limb(start: ArrayLike, end: ArrayLike, first: float, last: float, sides: int = 10) -> Mesh:
    """A rod with rounded ends and two radii: an arm, a leg."""
    start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
    length = max(float(np.linalg.norm(end - start)), 1e-6)
    ahead = (end - start) / length
    turn = np.radians([5, 35, 65, 90])
    offsets = np.concatenate([-first * np.cos(turn), length + last * np.cos(turn[::-1])])
    radii = np.concatenate([first * np.sin(turn), last * np.sin(turn[::-1])])
    return tube(start + offsets[:, None] * ahead, radii, sides)


def ball(center: ArrayLike, radii: ArrayLike, rows: int = 10, columns: int = 16) -> Mesh:
    """An ellipsoid."""
    v, u = np.meshgrid(np.linspace(0, np.pi, rows + 1), np.linspace(0, 2 * np.pi, columns + 1), indexing="ij")
    sphere = np.stack([np.sin(v) * np.cos(u), np.sin(v) * np.sin(u), np.cos(v)], axis=-1).reshape(-1, 3)
    radii = np.broadcast_to(np.asarray(radii, np.float64), 3)
    uv = np.stack([u.ravel(), v.ravel()], axis=-1) * radii.mean()
    return Mesh(np.asarray(center, np.float64) + sphere * radii, _grid_faces(rows + 1, columns + 1), uv)


def _grid_faces(rows: int, columns: int) -> NDArray[np.int32]:
    number = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]
    faces = [np.stack(corners, axis=-1).reshape(-1, 3) for corners in ((a, b, c), (a, c, d))]
    return np.concatenate(faces).astype(np.int32)

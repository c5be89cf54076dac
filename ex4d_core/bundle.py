"""Bundle adjustment of a few dozen frames: poses and points that explain where the points were seen, and their depth.

The sparse, robust least squares are SciPy's (trust region, Branch, Coleman and Li 1999, with LSMR inside); what is
here is the model: residuals and their derivatives. Depth fixes the scale, which pictures alone leave open.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.sparse import csr_matrix
from scipy.spatial.transform import Rotation

Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]

PIXEL_SIGMA = 0.5
"""Pixels by which a followed point is usually off."""


@dataclass(frozen=True)
class Sightings:
    """N sightings of M points in T frames."""

    frame: Integers
    """(N,) int64: 0 to T - 1."""
    point: Integers
    """(N,) int64: 0 to M - 1."""
    at: Doubles
    """(N, 2) float64 pixels, centres at +0.5."""
    depth: Doubles
    """(N,) float64 z-depth measured there, scene units."""
    sigma: Doubles
    """(N,) float64: how far the logarithm of that depth is usually off; infinite: it says nothing."""
    lens: Doubles
    """(T, 4) float64: fx, fy, cx, cy of each frame, pixels."""

    def __len__(self) -> int:
        return len(self.frame)


def project(sightings: Sightings, w2c: Doubles, points: Doubles) -> tuple[Doubles, Doubles]:
    """(N, 2) float64 pixels where the points should be seen, and (N,) float64 their z-depth."""
    pose = w2c[sightings.frame]
    local = np.einsum("nij,nj->ni", pose[:, :3, :3], points[sightings.point]) + pose[:, :3, 3]
    fx, fy, cx, cy = sightings.lens[sightings.frame].T
    z = np.maximum(local[:, 2], 1e-6)
    return np.stack([fx * local[:, 0] / z + cx, fy * local[:, 1] / z + cy], axis=1), z


def adjust(
    sightings: Sightings, w2c: Doubles, points: Doubles, free: NDArray[np.bool_], rounds: int = 15
) -> tuple[Doubles, Doubles]:
    """Refine poses and points together.

    Args:
        sightings: what was seen.
        w2c: (T, 4, 4) float64 world-to-camera to start from.
        points: (M, 3) float64 world positions to start from.
        free: (T,) bool: poses that may change.
        rounds: most evaluations of the derivatives.

    Returns:
        `w2c` and `points`, refined.
    """
    model = _Model(sightings, w2c, points, free)
    found = least_squares(
        model.residuals,
        np.zeros(model.unknowns),
        jac=model.derivatives,  # pyright: ignore[reportArgumentType]
        method="trf",
        tr_solver="lsmr",
        x_scale="jac",
        loss="cauchy",
        f_scale=2.0,
        max_nfev=rounds,
        ftol=1e-4,
        xtol=1e-7,
        gtol=1e-8,
    )
    return model.unpack(found.x)


class _Model:
    """Residuals in standard deviations, as functions of a vector of changes: 6 for a free pose, 3 for a point."""

    def __init__(self, sightings: Sightings, w2c: Doubles, points: Doubles, free: NDArray[np.bool_]) -> None:
        self._s, self._w2c, self._points = sightings, w2c, points
        self._column = np.where(free, 6 * (np.cumsum(free) - 1), -1)
        self._free, self._poses = free, 6 * int(free.sum())
        self.unknowns = self._poses + 3 * len(points)
        self._weight = 1.0 / sightings.sigma  # of an infinite sigma: 0
        # a point is measured by how far it is, so that near and far ones take like steps
        _, z = project(sightings, w2c, points)
        size = np.zeros(len(points))
        np.maximum.at(size, sightings.point, z)
        self._size = np.maximum(size, 1e-9)

    def unpack(self, change: Doubles) -> tuple[Doubles, Doubles]:
        """Poses (T, 4, 4) and points (M, 3)."""
        twist = change[: self._poses].reshape(-1, 6)
        w2c = self._w2c.copy()
        turn = Rotation.from_rotvec(twist[:, :3]).as_matrix()
        w2c[self._free, :3, :3] = turn @ self._w2c[self._free, :3, :3]
        w2c[self._free, :3, 3] = (turn @ self._w2c[self._free, :3, 3:])[..., 0] + twist[:, 3:]
        return w2c, self._points + change[self._poses :].reshape(-1, 3) * self._size[:, None]

    def residuals(self, change: Doubles) -> Doubles:
        """(3 N,) float64: x and y of all sightings, interleaved, then the logarithms of depth."""
        w2c, points = self.unpack(change)
        at, z = project(self._s, w2c, points)
        off = np.log(z / self._s.depth) * self._weight
        return np.concatenate([((at - self._s.at) / PIXEL_SIGMA).ravel(), off])

    def derivatives(self, change: Doubles) -> csr_matrix:
        """(3 N, unknowns) sparse."""
        s, count = self._s, len(self._s)
        w2c, points = self.unpack(change)
        rotation = w2c[s.frame, :3, :3]
        turned = np.einsum("nij,nj->ni", rotation, points[s.point])
        local = turned + w2c[s.frame, :3, 3]
        x, y, z = local[:, 0], local[:, 1], np.maximum(local[:, 2], 1e-6)
        fx, fy = s.lens[s.frame, 0] / PIXEL_SIGMA, s.lens[s.frame, 1] / PIXEL_SIGMA
        outer = np.zeros((count, 3, 3))  # of (u, v, log z) by the point in the camera
        outer[:, 0, 0], outer[:, 0, 2] = fx / z, -fx * x / z**2
        outer[:, 1, 1], outer[:, 1, 2] = fy / z, -fy * y / z**2
        outer[:, 2, 2] = self._weight / z
        by_point = outer @ rotation * self._size[s.point, None, None]
        # what turns is the pose started from, all of it: the point in the camera without the free shift
        lever = local.copy()
        frees = self._column[s.frame]
        moving = frees >= 0
        twist = change[: self._poses].reshape(-1, 6)
        lever[moving] -= twist[frees[moving] // 6, 3:]
        by_turn = -outer[moving] @ _cross(lever[moving]) @ _left(twist[:, :3])[frees[moving] // 6]
        by_pose = np.concatenate([by_turn, outer[moving]], axis=2)  # (n, 3, 6)
        rows = np.stack([2 * np.arange(count), 2 * np.arange(count) + 1, 2 * count + np.arange(count)], axis=1)
        row = [np.repeat(rows.ravel(), 3), np.repeat(rows[moving].ravel(), 6)]
        column = [
            np.broadcast_to((self._poses + 3 * s.point)[:, None, None] + np.arange(3), by_point.shape).ravel(),
            np.broadcast_to(frees[moving][:, None, None] + np.arange(6), by_pose.shape).ravel(),
        ]
        values = np.concatenate([by_point.ravel(), by_pose.ravel()])
        return csr_matrix((values, (np.concatenate(row), np.concatenate(column))), shape=(3 * count, self.unknowns))


def _cross(vectors: Doubles) -> Doubles:
    """(N, 3) -> (N, 3, 3): the matrices that take the cross product from the left."""
    x, y, z = vectors.T
    zero = np.zeros_like(x)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)


def _left(vectors: Doubles) -> Doubles:
    """(N, 3) -> (N, 3, 3): left Jacobians of the rotations, to second order, exact enough for one frame's change."""
    cross = _cross(vectors)
    return np.eye(3) + 0.5 * cross + cross @ cross / 6.0

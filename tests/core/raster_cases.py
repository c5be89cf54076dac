"""Meshes, cameras and comparisons for the tests of the rasterizers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Camera, Intrinsics, look_at
from ex4d_core.raster import Raster

SIZE = (48, 40)
SNAP = 1 / 4096
"""Grid of the compiled backend's screen positions, pixels; a corner moves by at most half of it per axis."""


@dataclass(frozen=True)
class Mesh:
    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    grid: tuple[int, int] | None = None


def lens(width: int = SIZE[0], height: int = SIZE[1], focal: float = 40.0) -> Intrinsics:
    return Intrinsics.from_focal_px(focal, width, height)


def soup(seed: int, count: int, spread: float = 3.0) -> Mesh:
    """Random faces around (0, 0, 4); with a large spread many cross the camera plane."""
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=(count, 1, 3)) * spread + [0, 0, 4]
    corners = centre + rng.normal(size=(count, 3, 3)) * rng.uniform(0.1, 2, (count, 1, 1))
    return Mesh(corners.reshape(-1, 3).astype(np.float32), np.arange(3 * count, dtype=np.int32).reshape(-1, 3))


def relief(seed: int, height: int, width: int, closed: bool = True) -> Mesh:
    """A depth map with cliffs as a grid; `closed` adds the fan to one far vertex (DESIGN section 4)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] + 0.5
    depth = 8 + 2 * np.sin(3 * x / width + seed) + np.cos(4 * y / height)
    for _ in range(4):
        cx, cy, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(2, max(width, height) / 3)
        depth = np.where(np.hypot(x - cx, y - cy) < radius, rng.uniform(2, 5), depth)
    k = Intrinsics.unknown_lens(width, height)
    u, v = np.arange(width) + 0.5, np.arange(height) + 0.5
    u[0], u[-1], v[0], v[-1] = 0, width, 0, height
    points = np.stack([(u[None, :] - k.cx) / k.fx * depth, (v[:, None] - k.cy) / k.fy * depth, depth], axis=-1).reshape(
        -1, 3
    )
    index = np.arange(height * width).reshape(height, width)
    a, b, c, d = (q.ravel() for q in (index[:-1, :-1], index[1:, :-1], index[:-1, 1:], index[1:, 1:]))
    faces = [np.stack([a, b, c], 1), np.stack([c, b, d], 1)]
    if closed:
        loop = np.concatenate([index[0], index[1:, -1], index[-1, -2::-1], index[-2:0:-1, 0]])
        faces.append(np.stack([loop, np.roll(loop, -1), np.full_like(loop, len(points))], 1))
        points = np.concatenate([points, [[0, 0, 200.0]]])
    return Mesh(points.astype(np.float32), np.concatenate(faces).astype(np.int32), (height, width))


def with_quads_apart(mesh: Mesh, seed: int, pairs: int = 6) -> tuple[Mesh, int]:
    """A grid mesh, in more rows of its grid quads that share no corners; and the row in which they begin."""
    assert mesh.grid
    rows, columns = mesh.grid
    rng = np.random.default_rng(seed)
    each = columns // 2
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])
    quads = (
        rng.normal(size=(pairs, each, 1, 3)) * [2, 2, 1.5]
        + [0, 0, 4]
        + corners * rng.uniform(0.1, 1.5, (pairs, each, 1, 1))
    )
    quads += rng.normal(size=quads.shape) * 0.1
    more = np.full((2 * pairs, columns, 3), np.nan)
    more[:, : 2 * each] = quads.reshape(pairs, each, 2, 2, 3).transpose(0, 2, 1, 3, 4).reshape(2 * pairs, 2 * each, 3)
    between = np.full((1, columns, 3), np.nan)  # so that no quad reaches from the relief to those apart
    points = np.concatenate([mesh.vertices[: rows * columns].reshape(rows, columns, 3), between, more])
    apart = rows + 1
    index = np.arange(points[..., 0].size).reshape(points.shape[:2])
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[:-1, 1:], index[1:, 1:]
    faces = np.stack([np.stack([a, b, c], -1), np.stack([c, b, d], -1)])
    faces[:, apart + 1 :: 2] = 0
    faces[:, apart:, 1::2] = 0
    return Mesh(
        points.reshape(-1, 3).astype(np.float32), faces.reshape(-1, 3).astype(np.int32), points.shape[:2]
    ), apart


def orbit(degrees: float, radius: float = 4.0, pitch: float = 0.0, focal: float = 40.0) -> Camera:
    a, p = np.radians(degrees), np.radians(pitch)
    eye = np.array([np.sin(a) * np.cos(p), -np.sin(p), -np.cos(a) * np.cos(p)]) * radius + [0, 0, radius]
    return Camera(look_at(eye, np.array([0, 0, radius])), lens(focal=focal))


def among(eye: tuple[float, ...], target: tuple[float, ...], focal: float) -> Camera:
    return Camera(look_at(np.array(eye), np.array(target)), lens(focal=focal))


INSIDE = (among((0.3, 0.2, 6), (3, 0.5, 7), 30), among((0, -0.5, 7), (-3, 0, 4), 12))
"""Cameras amid the reliefs: many faces cross the camera plane."""


def ray_weights(mesh: Mesh, face: int, camera: Camera, size: tuple[int, int], y: int, x: int):
    """At one pixel: weights / w of a face's vertices, pixels inside each edge, greatest change of 1/z a pixel."""
    matrix = camera.intrinsics.resized(*size).matrix() @ camera.w2c()[:3]
    p = mesh.vertices[mesh.faces[face]].astype(np.float64) @ matrix[:, :3].T + matrix[:, 3]
    normals = np.stack([np.cross(p[1], p[2]), np.cross(p[2], p[0]), np.cross(p[0], p[1])])
    normals = normals / (p[0] @ normals[0])
    e = normals @ [x + 0.5, y + 0.5, 1]
    steepness = np.hypot(normals[:, 0], normals[:, 1])
    return e, e / np.maximum(steepness, 1e-300), steepness.sum()


def assert_same_view(ours: Raster, oracle: Raster, mesh: Mesh, camera: Camera, most: float = 0.01) -> None:
    """Equal up to the snap: any pixel that differs has its centre on an edge, or two faces at one depth."""
    size = (ours.face_id.shape[1], ours.face_id.shape[0])
    differs = ours.face_id != oracle.face_id
    assert differs.mean() <= most
    for y, x in np.argwhere(differs):
        faces = [int(r.face_id[y, x]) for r in (ours, oracle)]
        excused = False
        for face in faces:
            if face >= 0:
                _, inside, _ = ray_weights(mesh, face, camera, size, y, x)
                excused |= bool(np.abs(inside).min() <= SNAP)
        near, far = sorted([ours.depth[y, x], oracle.depth[y, x]])
        assert excused or far - near <= depth_slack(mesh, faces, camera, size, y, x), (y, x, faces, near, far)
    same = ~differs & (oracle.face_id >= 0)
    assert (ours.front == oracle.front)[same].all()
    apart = np.abs(np.where(same, ours.depth, 1) - np.where(same, oracle.depth, 1))
    for y, x in np.argwhere(same & (apart > 1e-5 * oracle.depth)):
        slack = depth_slack(mesh, [int(ours.face_id[y, x])], camera, size, y, x)
        assert abs(ours.depth[y, x] - oracle.depth[y, x]) <= slack, (y, x)
    assert np.abs(ours.barycentrics.sum(-1)[same] - 1).max(initial=0) < 1e-5
    assert ours.barycentrics.min() >= -1e-6
    assert (ours.barycentrics[ours.face_id < 0] == 0).all()
    assert np.isinf(ours.depth[ours.face_id < 0]).all()


def depth_slack(mesh: Mesh, faces: list[int], camera: Camera, size: tuple[int, int], y: int, x: int) -> float:
    """By how much a face's depth may change when its corners move by a snap, to first order, twice over."""
    slack = 0.0
    for face in faces:
        e, _, gradient = ray_weights(mesh, face, camera, size, y, x)
        z = 1 / e.sum()
        slack = max(slack, 2 * SNAP * z * z * gradient + 1e-5 * z)
    return slack


def assert_identical(a: Raster, b: Raster) -> None:
    assert np.array_equal(a.face_id, b.face_id)
    assert np.array_equal(a.depth, b.depth)
    assert np.array_equal(a.barycentrics, b.barycentrics)
    assert np.array_equal(a.front, b.front)


def flat(points: NDArray[np.float64], z: float = 1.0) -> NDArray[np.float32]:
    """(N, 2) pixel positions as vertices of a camera with focal length 64 and centre (0, 0)."""
    return np.concatenate([points * z / 64, np.full((len(points), 1), z)], axis=1).astype(np.float32)


FLAT_CAMERA = Camera(np.eye(4), Intrinsics(64, 64, 0, 0, 32, 32))

"""The moving scene on which rasterizers are compared: spheres, a pole and a floor before a wavy background."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Camera, Intrinsics, look_at

RADIUS = 2.74  # of the camera's path: a little more than the nearest depth
STRETCHED = 1.05
"""A face whose farthest corner is this much farther away than its nearest is taken for a bridge."""

LOOK_AT = np.array([0.0, 0.0, RADIUS])


@dataclass(frozen=True)
class Frame:
    """What each rasterizer gets."""

    vertices: NDArray[np.float32]
    """(N, 3), the world of the source camera."""
    faces: NDArray[np.int32]
    """(F, 3), the grid's first."""
    rgba: NDArray[np.float32]
    """(N, 4), 0 to 1."""
    stretched: NDArray[np.bool_]
    """(F,), True: it bridges a gap between surfaces, or closes the back: what it shows was never seen."""
    grid: tuple[int, int]
    camera: Camera


def scene_depth(width: int, height: int, t: float) -> NDArray[np.float32]:
    """(H, W) float32, z-depth 2.6 to 28 at time t in 0..1."""
    x = np.linspace(-1, 1, width)[None, :]
    y = np.linspace(-1, 1, height)[:, None]
    phase = 2 * np.pi * t
    depth = 18 + 6 * np.sin(2 * x + phase) * np.cos(1.7 * y) + 4 * np.cos(3 * x - y)
    depth = np.where(y > 0.6, np.minimum(depth, 3.6 / np.maximum(y, 0.1)), depth)  # a floor, grazing
    for cx, cy, radius, z in ((-0.4, -0.1, 0.25, 4.0), (0.3, 0.2, 0.3, 5.0), (0.6, -0.5, 0.15, 3.0)):
        inside = radius**2 - (x - cx - 0.1 * np.sin(phase + z)) ** 2 - (y - cy) ** 2
        depth = np.where(inside > 0, z * (1 - 0.5 * np.sqrt(np.maximum(inside, 0))), depth)
    pole = np.abs(x + 0.15 * y - 0.05 * np.sin(phase)) < 0.03
    return np.where(pole, 2.6 + 0.2 * y, depth).astype(np.float32)


def make_frame(width: int, height: int, index: int, frames: int) -> Frame:
    """A closed mesh over one depth map, and a camera on the path of the reference's preset 180."""
    k = Intrinsics.unknown_lens(width, height)
    t = index / max(frames, 1)
    depth = scene_depth(width, height, t)
    u, v = np.arange(width) + 0.5, np.arange(height) + 0.5
    u[0], u[-1], v[0], v[-1] = 0, width, 0, height
    points = np.stack([(u[None, :] - k.cx) / k.fx * depth, (v[:, None] - k.cy) / k.fy * depth, depth], axis=-1).reshape(
        -1, 3
    )
    points = np.concatenate([points, [[0.0, 0.0, 20 * float(depth.max())]]])
    index_of = np.arange(height * width, dtype=np.int32).reshape(height, width)
    a, b, c, d = (q.ravel() for q in (index_of[:-1, :-1], index_of[1:, :-1], index_of[:-1, 1:], index_of[1:, 1:]))
    loop = np.concatenate([index_of[0], index_of[1:, -1], index_of[-1, -2::-1], index_of[-2:0:-1, 0]])
    fan = np.stack([loop, np.roll(loop, -1), np.full_like(loop, height * width)], axis=1)
    faces = np.concatenate([np.stack([a, b, c], axis=1), np.stack([c, b, d], axis=1), fan])
    rgba = np.concatenate([np.sin(points * [1.0, 2.0, 0.5]) * 0.5 + 0.5, np.ones((len(points), 1))], axis=1)
    z = points[faces, 2]
    stretched = z.max(axis=1) > STRETCHED * z.min(axis=1)
    angle = 2 * np.pi * t
    eye = RADIUS * np.array([np.sin(angle), 0.2 * (np.cos(angle) - 1), 0.0])
    camera = Camera(look_at(eye, LOOK_AT), k)
    return Frame(points.astype(np.float32), faces, rgba.astype(np.float32), stretched, (height, width), camera)

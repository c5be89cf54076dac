"""A short move from the source view to a path that begins elsewhere, generated and cut away.

Image-to-video models go on from their first frame. Where that is not what the source camera saw, the model would have
to go on from a picture full of holes; so it is led there, at the moment at which the path begins.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Array, Camera, Intrinsics, Trajectory, invert_pose
from ex4d_core.scene import Scene

_AT_HOME = 0.01
"""A path begins at the source view if nothing in the picture moves by more than this share of the longer side."""
_STRIDE = 0.03
"""How far the picture moves with each frame of a lead-in, on average, as a share of the longer side."""
_LEAST = 4
_GRID = 5


def lead_in(scene: Scene, trajectory: Trajectory, longest: int) -> Trajectory | None:
    """Cameras from the source view to just before the first camera of a path.

    Args:
        scene: the footage with depth.
        trajectory: the path.
        longest: most frames that the lead-in may have.

    Returns:
        The lead-in; None if the path begins at the source view.
    """
    time = trajectory.source_frame(0, scene.frames)
    source, target = source_view(scene, trajectory, time), trajectory.camera(0)
    depth = scene.depth(time)
    # Near things move most in the picture, and the middle is what a move goes around.
    near, middle = (float(d) for d in np.quantile(depth[np.isfinite(depth)], (0.1, 0.5)))
    travel = _travel(source, target, near)
    if travel <= _AT_HOME:
        return None
    frames = min(max(_LEAST, math.ceil(travel / _STRIDE)), longest)
    u = np.arange(frames) / frames
    poses, lenses = between(source, target, middle, u * u * (3 - 2 * u))
    return replace(
        trajectory,
        c2w=poses,
        intrinsics=lenses,
        source_time=np.full(frames, float(time)),
        fps=Fraction(trajectory.fps),
        frame_start=0,
    )


def source_view(scene: Scene, trajectory: Trajectory, frame: int) -> Camera:
    """The source camera with a picture of the path's size: of another aspect ratio it shows the middle, unsquashed."""
    camera = scene.source_camera(frame)
    lens, width, height = camera.intrinsics, trajectory.width, trajectory.height
    scale = max(width / lens.width, height / lens.height)
    middle = [(size - scale * whole) / 2 for size, whole in ((width, lens.width), (height, lens.height))]
    cx, cy = scale * lens.cx + middle[0], scale * lens.cy + middle[1]
    return Camera(camera.c2w, Intrinsics(scale * lens.fx, scale * lens.fy, cx, cy, width, height))


def between(source: Camera, target: Camera, distance: float, share: Array) -> tuple[Array, Array]:
    """Cameras on the way around what the source looks at: a straight way to the other side would lead through it.

    Args:
        source: where it begins.
        target: where it ends.
        distance: from the source to what it looks at, scene units.
        share: (K,) float64, 0 at the source, 1 at the target.

    Returns:
        Poses (K, 4, 4), camera-to-world, and intrinsics (K, 4), pixels; float64.
    """
    pivot = source.c2w[:3, 3] + distance * source.c2w[:3, 2]
    arms = [camera.c2w[:3, 3] - pivot for camera in (source, target)]
    lengths = [max(float(np.linalg.norm(arm)), 1e-6 * distance) for arm in arms]
    swing = _turn(arms[0] / lengths[0], arms[1] / lengths[1], source.c2w[:3, 1])
    twist = _vector(source.c2w[:3, :3].T @ target.c2w[:3, :3])
    poses = np.tile(np.eye(4), (len(share), 1, 1))
    for pose, s in zip(poses, share, strict=True):
        pose[:3, :3] = source.c2w[:3, :3] @ _matrix(s * twist)
        length = lengths[0] ** (1 - s) * lengths[1] ** s
        pose[:3, 3] = pivot + length * (_matrix(s * swing) @ (arms[0] / lengths[0]))
    first, last = (np.array(camera.intrinsics.as_tuple()) for camera in (source, target))
    lenses = first * (1 - share[:, None]) + last * share[:, None]
    lenses[:, :2] = first[:2] ** (1 - share[:, None]) * last[:2] ** share[:, None]
    return poses, lenses


def _travel(source: Camera, target: Camera, depth: float) -> float:
    """How far a grid of pixels at a depth moves between the pictures, at most, in longer sides; inf: it is behind."""
    lens, other = source.intrinsics, target.intrinsics
    x, y = np.meshgrid(np.linspace(0, lens.width, _GRID), np.linspace(0, lens.height, _GRID))
    rays = np.stack([(x - lens.cx) / lens.fx, (y - lens.cy) / lens.fy, np.ones_like(x)], axis=-1).reshape(-1, 3)
    into = invert_pose(target.c2w) @ source.c2w
    seen = depth * rays @ into[:3, :3].T + into[:3, 3]
    if (seen[:, 2] <= 0).any():
        return math.inf
    there = seen[:, :2] / seen[:, 2:] * [other.fx, other.fy] + [other.cx, other.cy]
    moved = np.linalg.norm(there - np.stack([x, y], axis=-1).reshape(-1, 2), axis=1)
    return float(moved.max()) / max(lens.width, lens.height)


def _turn(a: Array, b: Array, otherwise: Array) -> Array:
    """Rotation vector that turns one direction into another; about `otherwise` where they are opposite."""
    axis, cosine = np.cross(a, b), float(np.clip(a @ b, -1, 1))
    length = float(np.linalg.norm(axis))
    if length < 1e-9:
        return np.zeros(3) if cosine > 0 else math.pi * otherwise
    return axis / length * math.atan2(length, cosine)


def _vector(rotation: Array) -> Array:
    return np.asarray(cv2.Rodrigues(rotation)[0], np.float64)[:, 0]


def _matrix(vector: Array) -> NDArray[np.float64]:
    return np.asarray(cv2.Rodrigues(vector)[0], np.float64)

"""The pose of one frame from points whose place is known, by OpenCV's perspective-n-point with RANSAC."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ex4d_core.camera import Intrinsics

Doubles = NDArray[np.float64]

FEWEST = 12
"""Points that must agree on a pose."""

REACH = 3.0
"""Pixels, at 640 across, that a point may be off and still agree with a pose."""


def depth_at(depth: NDArray[np.float32], at: Doubles) -> Doubles:
    """(N,) float64: depth of the pixel that each place lies in."""
    height, width = depth.shape
    x = np.clip(at[:, 0].astype(np.int64), 0, width - 1)
    y = np.clip(at[:, 1].astype(np.int64), 0, height - 1)
    return depth[y, x].astype(np.float64)


def unproject(at: Doubles, z: Doubles, lens: Intrinsics) -> Doubles:
    """(N, 3) float64 in the camera."""
    return np.stack([(at[:, 0] - lens.cx) / lens.fx * z, (at[:, 1] - lens.cy) / lens.fy * z, z], axis=1)


def pose_of(
    world: Doubles, at: Doubles, lens: Intrinsics, before: Doubles, seed: int
) -> tuple[Doubles, NDArray[np.bool_]]:
    """The world-to-camera pose that most points agree with, and (N,) bool: which do.

    RANSAC proposes one pose, the frame before another: where hardly anything moved that is the better start.
    """
    reach = REACH * max(lens.width, lens.height) / 640
    matrix = lens.matrix()
    proposals = [before]
    cv2.setRNGSeed(seed)
    found, turn, shift, _ = cv2.solvePnPRansac(
        world,
        at,
        matrix,
        None,  # pyright: ignore[reportCallIssue, reportArgumentType]
        iterationsCount=200,
        reprojectionError=reach,
        confidence=0.999,
        flags=cv2.SOLVEPNP_AP3P,
    )
    if found:
        proposals.append(_rigid(turn, shift))
    agree = [_agreeing(world, at, matrix, pose, reach) for pose in proposals]
    best = int(np.argmax([mask.sum() for mask in agree]))
    pose, mask = proposals[best], agree[best]
    for _ in range(2):
        if mask.sum() < FEWEST:
            break
        turn, shift = cv2.solvePnPRefineLM(
            world[mask], at[mask], matrix, None, cv2.Rodrigues(pose[:3, :3])[0], pose[:3, 3:].copy()
        )
        refined = _rigid(turn, shift)
        again = _agreeing(world, at, matrix, refined, reach)
        if again.sum() < mask.sum():
            break
        pose, mask = refined, again
    return pose, mask


def _rigid(turn: ArrayLike, shift: ArrayLike) -> Doubles:
    """(4, 4) from a rotation vector and a shift."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(np.asarray(turn, np.float64))[0], np.ravel(shift)
    return pose


def _agreeing(world: Doubles, at: Doubles, matrix: Doubles, pose: Doubles, reach: float) -> NDArray[np.bool_]:
    """(N,) bool: points seen within `reach` pixels of where a pose expects them, and in front of it."""
    local = world @ pose[:3, :3].T + pose[:3, 3]
    z = np.maximum(local[:, 2], 1e-9)
    expected = local[:, :2] / z[:, None] * matrix[[0, 1], [0, 1]] + matrix[:2, 2]
    return (local[:, 2] > 0) & (np.linalg.norm(expected - at, axis=1) < reach)

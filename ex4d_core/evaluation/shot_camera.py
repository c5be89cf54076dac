"""How well a generated video follows the camera path that it was made for.

The path is estimated from the video's own pictures, with depth estimated from them too, so that nothing of what was
asked for can leak into it. Its world and its scale are arbitrary: it is laid onto the wanted one by a similarity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.camera_estimate import estimate_camera
from ex4d_core.depth import DepthRequest
from ex4d_core.depth.registry import make_estimator
from ex4d_core.progress import Cancelled, OnProgress

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class PathError:
    """By how much a path is off."""

    rotation: float
    """Mean angle between the orientations, degrees."""
    position: float
    """Root mean square distance of the positions, as a share of the wanted path's length; NaN where it has none."""
    rotations: tuple[float, ...]
    """Of each frame, degrees."""
    positions: tuple[float, ...]
    """Of each frame, as a share of the length."""


def path_error(found: Doubles, wanted: Doubles) -> PathError:
    """Compare two camera paths after the best similarity.

    The rotation is the one that brings the orientations closest (chordal mean: Hartley et al. 2013, section 5.3), which
    a path along a line has too; scale and shift are then least squares of the positions.

    Args:
        found: (T, 4, 4) float64 camera-to-world, any world and scale.
        wanted: (T, 4, 4) float64 camera-to-world.
    """
    turn = _nearest_rotation(np.einsum("tij,tkj->ik", wanted[:, :3, :3], found[:, :3, :3]))
    angles = np.degrees([_angle(w.T @ turn @ f) for w, f in zip(wanted[:, :3, :3], found[:, :3, :3], strict=True)])
    here, there = found[:, :3, 3] @ turn.T, wanted[:, :3, 3]
    here, there = here - here.mean(axis=0), there - there.mean(axis=0)
    spread = float((here**2).sum())
    scale = max(float((here * there).sum()) / spread, 0.0) if spread > 0 else 0.0
    away = np.linalg.norm(scale * here - there, axis=1)
    length = float(np.linalg.norm(np.diff(wanted[:, :3, 3], axis=0), axis=1).sum())
    shares = away / length if length > 0 else np.full(len(away), np.nan)
    rms = float(np.sqrt((shares**2).mean()))
    return PathError(float(angles.mean()), rms, tuple(map(float, angles)), tuple(map(float, shares)))


def estimate_path(
    frames: NDArray[np.uint8],
    lenses: Sequence[Intrinsics],
    estimator: str,
    model_dir: Path | None,
    on_progress: OnProgress,
    cancelled: Cancelled,
) -> Doubles:
    """The camera path that a video shows.

    Args:
        frames: (T, H, W, 3) uint8 sRGB, at least two.
        lenses: T lenses at the size of the frames.
        estimator: of depth, one of `ex4d depth list`.
        model_dir: its weights.
        on_progress: told about each frame.
        cancelled: asked now and then.

    Returns:
        (T, 4, 4) float64 camera-to-world, OpenCV axes, the first the identity.

    Raises:
        InputError: too little stands still in a frame, or there is no such estimator.
        MissingDependencyError: the estimator lacks packages or weights.
        CancelledError: `cancelled` said so.
    """
    size = (frames.shape[2], frames.shape[1])
    maker = make_estimator(estimator, DepthRequest(clip_size=size, clip_frames=len(frames), model_dir=model_dir))
    maker.check(len(frames), size, on_progress, cancelled)
    found = maker.estimate(frames, list(lenses), None, on_progress, cancelled)
    depths = [depth.astype(np.float32) for depth in found.depth.iterate()]
    return estimate_camera(frames, depths.__getitem__, list(lenses), (), on_progress, cancelled).c2w


def _nearest_rotation(matrix: Doubles) -> Doubles:
    """The rotation nearest to a (3, 3) matrix."""
    u, _, v = np.linalg.svd(matrix)
    return u @ np.diag([1.0, 1.0, float(np.sign(np.linalg.det(u @ v)))]) @ v


def _angle(rotation: Doubles) -> float:
    """Of a (3, 3) rotation, radians; exact for small ones, where the trace is not."""
    skew = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    return float(np.arctan2(np.linalg.norm(skew), np.trace(rotation) - 1))

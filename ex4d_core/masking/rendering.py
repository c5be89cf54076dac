"""Rendering masks: which pixels of a clip a camera on a random path would still see."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Camera, Intrinsics
from ex4d_core.presets import Move, path_of
from ex4d_core.progress import Cancelled, never_cancelled, stop_if
from ex4d_core.quads import Quads, build_quads, render_quads

DEPTH_TOLERANCE = 0.015
"""By what share of its depth a point may lie behind what a camera sees at its pixel and count as that: as much as one
surface may step between two pixels, see `quads.cuts.TOLERANCE`."""

_APART = 2.0
"""Or by how many pixels of the clip apart: at a grazing angle, depth changes more than that within a pixel."""


@dataclass(frozen=True)
class Wander:
    """How far random paths go: EX-4D is for extreme ones, so most are."""

    yaw: tuple[float, float] = (15.0, 90.0)
    """Degrees around the subject at the end of the path, least and most; to either side."""
    pitch: float = 25.0
    """Degrees over or under the subject at most."""
    amount: float = 0.5
    """Share of the radius that a camera rides ahead or back at most."""
    rides: float = 0.2
    """How often it rides ahead or back instead of going around."""


def wander(seed: int, how: Wander | None = None) -> Move:
    """A random path; it begins at the clip's own view, as every video that the model makes.

    Args:
        seed: the same seed gives the same path.
        how: how far it goes.
    """
    how, draw = how or Wander(), np.random.default_rng(seed)
    easing = str(draw.choice(["linear", "ease_in_out", "ease_out"]))
    there_and_back = bool(draw.random() < 0.25)
    if draw.random() < how.rides:
        amount = float(draw.uniform(-how.amount, how.amount))
        return Move("dolly", amount=amount, easing=easing, there_and_back=there_and_back)
    yaw = float(draw.uniform(*how.yaw) * draw.choice([-1.0, 1.0]))
    pitch = float(draw.uniform(-how.pitch, how.pitch))
    return Move("orbit", yaw=yaw, pitch=pitch, easing=easing, there_and_back=there_and_back)


def still_seen(quads: Quads, depth: NDArray[np.float32], camera: Camera) -> NDArray[np.bool_]:
    """Which pixels of a frame another camera sees.

    A pixel's point is seen if the camera's picture shows, at the place of the point or beside it, that point's surface
    from the front: as deep as the point is, or what the clip has within a few pixels of it.

    Args:
        quads: of the frame.
        depth: (H, W) float32, z-depth of the frame, scene units.
        camera: posed in the space of the source camera.

    Returns:
        (H, W) bool.
    """
    height, width = depth.shape
    lens = quads.intrinsics
    shown = render_quads(quads, camera, threads=1)
    v, u = np.mgrid[:height, :width] + 0.5
    z = depth.astype(np.float64)
    points = np.stack([(u - lens.cx) / lens.fx * z, (v - lens.cy) / lens.fy * z, z], axis=-1)
    w2c = camera.w2c()
    x, y, deep = np.moveaxis(points @ w2c[:3, :3].T + w2c[:3, 3], -1, 0)
    before = deep > quads.near
    target = camera.intrinsics
    with np.errstate(divide="ignore", invalid="ignore"):
        column = np.where(before, x / deep * target.fx + target.cx, -9.0)
        row = np.where(before, y / deep * target.fy + target.cy, -9.0)
    inside = before & (column >= 0) & (column < target.width) & (row >= 0) & (row < target.height)
    seen = np.zeros((height, width), np.bool_)
    left = np.floor(np.where(inside, column, 0.5) - 0.5).astype(np.int64)
    top = np.floor(np.where(inside, row, 0.5) - 0.5).astype(np.int64)
    for j in range(2):
        for i in range(2):
            r, c = np.clip(top + j, 0, target.height - 1), np.clip(left + i, 0, target.width - 1)
            as_deep = deep <= shown.depth[r, c] * (1 + DEPTH_TOLERANCE)
            at = shown.source_xy[r, c]
            near = np.maximum(np.abs(at[..., 0] - u), np.abs(at[..., 1] - v)) <= _APART
            seen |= shown.mask[r, c] & (as_deep | near)
    return seen & inside


def rendering_masks(
    frames: Iterable[tuple[NDArray[np.uint8], NDArray[np.float32]]],
    intrinsics: Intrinsics,
    move: Move,
    count: int,
    radius: float,
    cancelled: Cancelled = never_cancelled,
) -> NDArray[np.bool_]:
    """Masks of a clip as if it were re-shot along a path.

    They cohere in time as the path and the surfaces do.

    Args:
        frames: colour (H, W, 3) uint8 and z-depth (H, W) float32 of each frame.
        intrinsics: of the clip, and of the camera on the path.
        move: the path, in the space of the camera of each frame; its first frame is the clip's own view, see `wander`.
        count: how many frames there are.
        radius: distance of the subject, scene units.
        cancelled: asked before each frame.

    Returns:
        (T, H, W) bool, True = seen.

    Raises:
        CameraError: see `path_of`.
        InputError: see `build_quads`.
        CancelledError: `cancelled` said so.
    """
    poses = path_of(move, count, radius)
    masks = np.empty((count, intrinsics.height, intrinsics.width), np.bool_)
    for number, (color, depth) in zip(range(count), frames, strict=True):
        stop_if(cancelled)
        masks[number] = still_seen(build_quads(color, depth, intrinsics), depth, Camera(poses[number], intrinsics))
    return masks

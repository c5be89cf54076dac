"""Does footage that is taken as static stand still? The residual flow of what does not move by itself.

Points are followed from the first frame of a take. Where the camera stands, those of the background stay where they
were; people, leaves and water do not count, however much of the picture they fill. Where it moves, one motion of the
camera explains most points, those that seem to stay among them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.camera_pose import depth_at, pose_of, unproject
from ex4d_core.depth import ColorFrames
from ex4d_core.progress import Cancelled, OnProgress
from ex4d_core.tracks import Seen, follow

Doubles = NDArray[np.float64]

STILL = 1.0
"""Pixels, at 640 across, under which a point has not moved: noise, compression and a tripod in wind stay below it."""

_MOST = 0.6
"""Share of the points that, standing still, settles that the camera does."""

_SOME = 0.4
"""Share of the points that one motion of the camera has to explain."""

_FEWEST = 12
_RENEW = 0.3
"""Share of the first points under which new ones are taken up."""


@dataclass(frozen=True)
class Steadiness:
    """Whether the camera stands still."""

    moving: bool
    """The camera evidently moves, turns or zooms."""
    drift_px: float
    """How far the background is from where it was at most, pixels of the clip (median of its points)."""
    worst_frame: int
    """Where that is."""
    note: str
    """For people: one sentence; empty where there is nothing to say."""


def measure_steadiness(
    colors: ColorFrames,
    depth: Callable[[int], NDArray[np.float32]],
    lenses: list[Intrinsics],
    cuts: tuple[int, ...],
    on_progress: OnProgress,
    cancelled: Cancelled,
) -> Steadiness:
    """Measure how far the background moves in footage that is taken as static.

    Args:
        colors: T frames (H, W, 3) uint8 sRGB.
        depth: (H, W) float32 z-depth of a frame, scene units.
        lenses: T lenses at the size of the frames.
        cuts: frames that begin another take.
        on_progress: told about each frame.
        cancelled: asked before each frame.

    Raises:
        CancelledError: `cancelled` said so.
    """
    total = len(colors)
    worst, worst_frame = 0.0, 0
    for start, stop in zip((0, *cuts), (*cuts, total), strict=True):
        anchor: Seen | None = None
        places, first = np.empty((0, 3)), np.empty(0, np.int64)
        for seen in follow(colors, start, stop, cancelled):
            on_progress(seen.frame + 1, total, "checking that the camera stands still")
            if anchor is not None:
                _, first, now = np.intersect1d(anchor.point, seen.point, return_indices=True)
                lens = lenses[seen.frame]
                drift = _drift(anchor.at[first], seen.at[now], places[first], lens, seen.frame)
                if drift > worst:
                    worst, worst_frame = drift, seen.frame
            if anchor is None or len(first) < _RENEW * len(anchor.point):
                anchor = seen
                places = unproject(seen.at, depth_at(depth(seen.frame), seen.at), lenses[seen.frame])
    moving = worst > STILL * max(lenses[0].width, lenses[0].height) / 640
    return Steadiness(moving, worst, worst_frame, _note(worst, worst_frame) if moving else "")


def _drift(before: Doubles, now: Doubles, places: Doubles, lens: Intrinsics, seed: int) -> float:
    """Pixels by which the background moved between two frames; 0 where that cannot be told."""
    count = len(before)
    if count < _FEWEST:
        return 0.0
    limit = STILL * max(lens.width, lens.height) / 640
    way = np.linalg.norm(now - before, axis=1)
    still = way < limit
    if still.mean() >= _MOST:
        return float(np.median(way[still]))
    moved = max(_explained(before, now, places, lens, seed), key=lambda mask: int(mask.sum()))
    keeps = float(moved[still].mean()) if still.any() else 1.0
    if moved.mean() < _SOME or moved.sum() < 1.3 * still.sum() or keeps < 0.7:
        return float(np.median(way[still])) if still.any() else 0.0
    return float(np.median(way[moved]))


def _explained(before: Doubles, now: Doubles, places: Doubles, lens: Intrinsics, seed: int) -> list[NDArray[np.bool_]]:
    """(N,) bool each: points that a motion of the camera explains, with the depth, and as if the scene were flat."""
    explained = [np.zeros(len(before), bool)]
    good = np.isfinite(places).all(axis=1)
    if good.sum() >= _FEWEST:
        mask = np.zeros(len(before), bool)
        _, agree = pose_of(places[good], now[good], lens, np.eye(4), seed)
        mask[good] = agree
        explained.append(mask)
    cv2.setRNGSeed(seed)
    _, mask = cv2.findHomography(before, now, cv2.RANSAC, 2.0 * STILL * max(lens.width, lens.height) / 640)
    return [*explained, np.ravel(mask).astype(bool)]


def _note(drift: float, frame: int) -> str:
    return (
        f"The camera seems to move: at frame {frame} the background is {drift:.0f} pixels from where it was, and will "
        "swim in the scene: import with --source-camera estimate, or give a solve."
    )

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
from scipy.ndimage import median_filter

from ex4d_core.camera import Intrinsics
from ex4d_core.camera_pose import FEWEST, REACH, depth_at, pose_of, unproject
from ex4d_core.depth import ColorFrames
from ex4d_core.progress import Cancelled, OnProgress
from ex4d_core.tracks import Seen, follow

Doubles = NDArray[np.float64]

STILL = 1.0
"""Pixels, at 640 across, under which a point has not moved: noise, compression and a tripod in wind stay below it."""

_SETTLED = 0.6
"""Share of the points that, standing still, settles that the camera does."""

_MANY_STILL = 0.25
"""Share of still points that makes a moving camera unlikely: only one that explains nearly everything is believed."""

_SOME, _NEARLY_ALL = 0.4, 0.9
"""Shares of the points that one motion of the camera has to explain; the latter where many are still."""

_KEPT = 0.95
"""Share of the still points that it has to explain: far ones seem to stay."""

_ZOOM, _LEFT = 0.02, 0.15
"""What a picture has to grow or shrink by to be called a zoom, and what share of that may stay unexplained."""

_RENEW = 0.5
"""Share of the first points under which new ones are taken up."""

_GLITCH = 2
"""Frames in a row, at most, that say something else than the frames around them, and are not believed."""


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
    drifts, growths = np.zeros(total), np.ones(total)
    for start, stop in zip((0, *cuts), (*cuts, total), strict=True):
        anchor = _Anchor(depth, lenses)
        for seen in follow(colors, start, stop, cancelled):
            drifts[seen.frame], growths[seen.frame] = anchor.compare(seen)
            on_progress(seen.frame + 1, total, "checking that the camera stands still")
        for values in (drifts, growths):
            values[start:stop] = median_filter(values[start:stop], 2 * _GLITCH + 1, mode="nearest")
    worst = int(np.argmax(drifts))
    drift = float(drifts[worst])
    moving = drift > _limit(lenses[worst])
    return Steadiness(moving, drift, worst, _note(drift, worst, float(growths[worst])) if moving else "")


class _Anchor:
    """The points of the frame that later ones are compared with."""

    def __init__(self, depth: Callable[[int], NDArray[np.float32]], lenses: list[Intrinsics]) -> None:
        self._depth, self._lenses = depth, lenses
        self._seen: Seen | None = None
        self._places = np.empty((0, 3))
        self._way, self._growth = np.zeros(2), 1.0

    def compare(self, seen: Seen) -> tuple[float, float]:
        """How far the background is off since the take began, and what a zoom has made of its size.

        Returns:
            Pixels, 0 where that cannot be told; and 1.1 for 10 % larger, 0 where it is more than a zoom.
        """
        if self._seen is None:
            self._renew(seen)
            return 0.0, 1.0
        _, first, now = np.intersect1d(self._seen.point, seen.point, return_indices=True)
        before, after = self._seen.at[first], seen.at[now]
        resting = _resting(before, after, self._places[first], self._lenses[seen.frame], seen.frame)
        way = (after - before)[resting] + self._way
        growth = self._growth * _growth(before[resting], after[resting], _limit(self._lenses[seen.frame]))
        if len(first) < max(FEWEST, _RENEW * len(self._seen.point)):
            if len(way):
                self._way, self._growth = np.median(way, axis=0), growth
            self._renew(seen)
        return float(np.median(np.linalg.norm(way, axis=1))) if len(way) else float(np.linalg.norm(self._way)), growth

    def _renew(self, seen: Seen) -> None:
        depth = depth_at(self._depth(seen.frame), seen.at)
        self._seen, self._places = seen, unproject(seen.at, depth, self._lenses[seen.frame])


def _resting(before: Doubles, now: Doubles, places: Doubles, lens: Intrinsics, seed: int) -> NDArray[np.bool_]:
    """(N,) bool: the points of the background; all False where that cannot be told.

    Args:
        before: (N, 2) float64 pixels in the earlier frame.
        now: (N, 2) in the later one.
        places: (N, 3) in the earlier camera, by the depth.
        lens: of the later frame.
        seed: of what is drawn by lot.
    """
    way = np.linalg.norm(now - before, axis=1)
    still = way < _limit(lens)
    if len(before) < FEWEST or still.mean() >= _SETTLED:
        return still
    candidates = [_moved(before, now, places, lens, seed)]
    rest = ~candidates[0]
    if rest.mean() >= _MANY_STILL:  # what walks may have more points than what rests
        second = rest.copy()
        second[rest] = _moved(before[rest], now[rest], places[rest], lens, seed)
        if second.mean() >= _MANY_STILL:
            candidates.append(second)
    moved = min(candidates, key=lambda mask: float(np.median(way[mask])) if mask.any() else np.inf)
    enough = _NEARLY_ALL if still.mean() >= _MANY_STILL else _SOME
    kept = float(moved[still].mean()) if still.any() else 1.0
    return moved if np.any(candidates, axis=0).mean() >= enough and kept >= _KEPT else still


def _limit(lens: Intrinsics) -> float:
    """`STILL` in pixels of that picture."""
    return STILL * max(lens.width, lens.height) / 640


def _moved(before: Doubles, now: Doubles, places: Doubles, lens: Intrinsics, seed: int) -> NDArray[np.bool_]:
    """(N,) bool: what one motion of the camera explains, in front of that depth or of a flat or far scene."""
    solid = np.isfinite(places).all(axis=1)
    deep, flat = np.zeros(len(before), bool), np.zeros(len(before), bool)
    if solid.sum() >= FEWEST:
        deep[solid] = pose_of(places[solid], now[solid], lens, np.eye(4), seed)[1]
    if len(before) >= FEWEST:
        cv2.setRNGSeed(seed)
        reach = REACH * max(lens.width, lens.height) / 640
        _, inliers = cv2.findHomography(before, now, cv2.RANSAC, reach)
        if inliers is not None:  # pyright: ignore[reportUnnecessaryComparison] - OpenCV finds none at times
            flat = np.ravel(inliers).astype(bool)
    return max(deep, flat, key=np.count_nonzero)


def _growth(before: Doubles, now: Doubles, limit: float) -> float:
    """By how much a picture grew, if that, a shift and a roll are all that happened to it, as with a zoom; else 0."""
    if len(before) < FEWEST:
        return 1.0
    # in complex numbers: now = scale_and_roll * before + shift
    a, b = (at[:, 0] + 1j * at[:, 1] for at in (before, now))
    a, b = a - a.mean(), b - b.mean()
    turn = np.vdot(a, b) / np.vdot(a, a)
    left, grown = np.percentile(np.abs(b - turn * a), 85), np.median(np.abs((turn - 1) * a))
    return float(np.abs(turn)) if left < max(limit, _LEFT * grown) else 0.0


def _note(drift: float, frame: int, growth: float) -> str:
    far = f"at frame {frame} the background is {drift:.1f} pixels from where it was"
    if growth > 0 and abs(growth - 1) > _ZOOM:
        return (
            f"The lens seems to zoom, {far} and {100 * abs(growth - 1):.0f} % {'larger' if growth > 1 else 'smaller'}: "
            "give a solve that has the lens of each frame with --source-camera FILE, or --source-camera estimate if "
            "it is the camera that moved."
        )
    return f"The camera seems to move, {far}, and would swim in the scene: import with --source-camera estimate."

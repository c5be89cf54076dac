"""Where the camera was in each frame, from its pictures and their depth.

Points followed through the clip (see `tracks`) get a place in the world from the depth where they begin; each further
frame is placed by them (OpenCV's perspective-n-point with RANSAC, so that people who walk do not count), and bundle
adjustment (see `bundle`) refines poses and points of a few dozen frames at a time. The path is in the units of the
depth; the first camera of each take is the identity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ex4d_core.ahead import beside
from ex4d_core.bundle import Sightings, adjust, project
from ex4d_core.camera import Intrinsics, invert_pose
from ex4d_core.camera_pose import FEWEST, depth_at, pose_of, unproject
from ex4d_core.depth import ColorFrames
from ex4d_core.errors import InputError
from ex4d_core.progress import Cancelled, OnProgress
from ex4d_core.tracks import Seen, follow

Doubles = NDArray[np.float64]

WINDOW, STEP = 32, 16
"""Frames adjusted together, and by how many the window moves on; what lies before the last step stays."""

_LOOSEST_DEPTH, _TIGHTEST_DEPTH = 0.5, 0.01
"""Bounds of what the logarithm of depth is taken to be off by."""

_AGREE = 0.2
"""Share of the points that must agree on a pose."""

_REMEDY = "leave that part out, give a solve with --source-camera FILE, or import with --source-camera static"


@dataclass(frozen=True)
class EstimatedCamera:
    """The camera's path."""

    c2w: Doubles
    """(T, 4, 4) float64 camera-to-world, OpenCV axes, units of the depth; the first frame of a take is the identity."""
    residual_px: float
    """Median distance between where points are and where the path says they should be, pixels of the clip."""
    note: str
    """For people: how good it is, one sentence."""


def estimate_camera(
    colors: ColorFrames,
    depth: Callable[[int], NDArray[np.float32]],
    lenses: list[Intrinsics],
    cuts: tuple[int, ...],
    on_progress: OnProgress,
    cancelled: Cancelled,
) -> EstimatedCamera:
    """Find the camera's path.

    Args:
        colors: T frames (H, W, 3) uint8 sRGB.
        depth: (H, W) float32 z-depth of a frame, scene units.
        lenses: T lenses at the size of the frames.
        cuts: frames that begin another take; each take has a world of its own, its first camera the identity.
        on_progress: told about each frame.
        cancelled: asked several times a second.

    Raises:
        InputError: a frame shows too little that stands still; the message names it and says what to do instead.
        CancelledError: `cancelled` said so.
    """
    total = len(colors)
    c2w = np.tile(np.eye(4), (total, 1, 1))
    misses: list[float] = []
    for start, stop in zip((0, *cuts), (*cuts, total), strict=True):
        take = _Take(start, stop, depth, lenses)
        for seen in follow(colors, start, stop, cancelled):
            beside(partial(_add, take, seen), cancelled, "camera")
            on_progress(seen.frame + 1, total, "finding the camera")
        beside(partial(_settle, take), cancelled, "camera")
        c2w[start:stop] = invert_pose(take.w2c)
        misses += take.misses
    residual = float(np.median(misses)) if misses else 0.0
    return EstimatedCamera(c2w, residual, _note(residual, cuts))


def _add(take: _Take, seen: Seen, _: Cancelled) -> None:
    take.add(seen)


def _settle(take: _Take, _: Cancelled) -> None:
    take.settle()


@dataclass
class _Frame:
    """What a frame of the window contributes."""

    point: NDArray[np.int64]
    at: Doubles
    depth: Doubles


class _Take:
    """A take as it is read: poses, the points in sight, and the window that is still adjusted."""

    def __init__(
        self, start: int, stop: int, depth: Callable[[int], NDArray[np.float32]], lenses: list[Intrinsics]
    ) -> None:
        self._start, self._depth, self._lenses = start, depth, lenses
        self.w2c = np.tile(np.eye(4), (stop - start, 1, 1))
        self.misses: list[float] = []
        self._frames: dict[int, _Frame] = {}
        self._places: dict[int, Doubles] = {}
        self._bad: set[int] = set()
        self._settled = start + 1

    def add(self, seen: Seen) -> None:
        """Place the next frame.

        Raises:
            InputError: too little of it stands still.
        """
        number, lens = seen.frame, self._lenses[seen.frame]
        if len(seen.point) < FEWEST:
            raise InputError(_refusal(number, "it is black, blurred or without texture"))
        z = depth_at(self._depth(number), seen.at)
        solid = np.isfinite(z) & (z > 0)
        if solid.sum() < FEWEST:
            raise InputError(_refusal(number, "it has hardly any depth but that of the sky"))
        frame = _Frame(seen.point[solid], seen.at[solid], z[solid])
        if self._frames:
            self._place(number, frame, lens)
        c2w = invert_pose(self.w2c[number - self._start])
        world = unproject(frame.at, frame.depth, lens) @ c2w[:3, :3].T + c2w[:3, 3]
        for point, place in zip(frame.point.tolist(), world, strict=True):
            self._places.setdefault(point, place)
        self._frames[number] = frame
        if len(self._frames) == WINDOW:
            self.settle()
            self._move_on(number + 1)

    def _place(self, number: int, frame: _Frame, lens: Intrinsics) -> None:
        """Find the pose of a frame by the points whose place is known."""
        index = number - self._start
        points = frame.point.tolist()
        known = np.array([p in self._places and p not in self._bad for p in points], bool)
        if known.sum() < FEWEST:
            raise InputError(_refusal(number, "hardly anything of the frame before is in it, as at a cut or a flash"))
        world = np.array([self._places[p] for p in frame.point[known].tolist()])
        pose, agree = pose_of(world, frame.at[known], lens, self.w2c[index - 1], number)
        if agree.sum() < max(FEWEST, _AGREE * len(agree)):
            why = f"only {int(agree.sum())} of {len(agree)} points in it agree on where the camera is"
            raise InputError(_refusal(number, why))
        self.w2c[index] = pose

    def _move_on(self, stop: int) -> None:
        """Forget what the next window does not need; `stop` is the frame after the last."""
        self._settled = stop - (WINDOW - STEP) // 2
        self._frames = {n: f for n, f in self._frames.items() if n >= stop - (WINDOW - STEP)}
        alive = {p for f in self._frames.values() for p in f.point.tolist()}
        self._places = {p: place for p, place in self._places.items() if p in alive}
        self._bad &= alive

    def settle(self) -> None:
        """Adjust the frames that are held; those settled before stay where they are."""
        numbers = sorted(self._frames)
        if len(numbers) < 2:
            return
        sightings, ids = self._sightings(numbers)
        if not len(sightings):
            return
        part = slice(numbers[0] - self._start, numbers[-1] + 1 - self._start)
        free = np.array([n >= self._settled for n in numbers])
        free[0] = False
        points = np.array([self._places[p] for p in ids.tolist()])
        w2c = self.w2c[part]
        for _ in range(2):
            sightings = _with_sigma(sightings, w2c, points)
            w2c, points = adjust(sightings, w2c, points, free)
        self.w2c[part] = w2c
        at, _ = project(sightings, w2c, points)
        miss = np.linalg.norm(at - sightings.at, axis=1)
        self.misses.append(float(np.median(miss)))
        for point, place in zip(ids.tolist(), points, strict=True):
            self._places[point] = place
        worst = np.zeros(len(ids))
        np.maximum.at(worst, sightings.point, miss)
        limit = max(3.0, 6 * float(np.median(miss)))
        self._bad |= set(ids[worst > limit].tolist())

    def _sightings(self, numbers: list[int]) -> tuple[Sightings, NDArray[np.int64]]:
        """What was seen in those frames of points that were seen twice, and the points' numbers."""
        frames = [self._frames[n] for n in numbers]
        point = np.concatenate([f.point for f in frames])
        which = np.repeat(np.arange(len(numbers)), [len(f.point) for f in frames])
        at, z = np.concatenate([f.at for f in frames]), np.concatenate([f.depth for f in frames])
        ids, counts = np.unique(point, return_counts=True)
        usable = ids[(counts >= 2) & np.array([p not in self._bad for p in ids.tolist()], bool)]
        kept = np.isin(point, usable)
        lens = np.array([self._lenses[n].as_tuple() for n in numbers])
        index = np.searchsorted(usable, point[kept])
        return Sightings(which[kept], index, at[kept], z[kept], np.ones(int(kept.sum())), lens), usable


def _with_sigma(sightings: Sightings, w2c: Doubles, points: Doubles) -> Sightings:
    """Depth counts as much as it agrees with itself (median absolute deviation)."""
    _, z = project(sightings, w2c, points)
    off = np.abs(np.log(z / sightings.depth))
    sigma = float(np.clip(1.4826 * np.median(off), _TIGHTEST_DEPTH, _LOOSEST_DEPTH))
    return replace(sightings, sigma=np.full(len(off), sigma))


def _refusal(frame: int, why: str) -> str:
    return f"The camera of frame {frame} cannot be found, {why}: {_REMEDY}."


def _note(residual: float, cuts: tuple[int, ...]) -> str:
    takes = f", each of the {len(cuts) + 1} takes in a world of its own" if cuts else ""
    return f"The camera's path was estimated: points miss it by {residual:.2f} pixels (median){takes}."

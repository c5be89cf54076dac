"""Tracking masks: patches that stick to the surface that they hide, while it moves through the clip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.progress import Cancelled, never_cancelled, stop_if
from ex4d_core.tracks import follow_points, grey_of

_POINTS = 100
"""Followed for each patch."""
_FEWEST = 8
"""Points that say where a patch is; of fewer it is taken to be gone."""
_AGREEING = 0.5
"""Least share of the points that lie where the motion of all puts them; else it is no longer one surface."""
_OFF = 3.0
"""Pixels by which such a point may be off."""
_CORNERS = 12
"""Of a patch's outline."""


@dataclass(frozen=True, eq=False)
class Tracks:
    """Points followed through a clip."""

    at: NDArray[np.float32]
    """(T, N, 2) float32, x and y in pixels of the clip, pixel centres at +0.5; anything where not seen."""
    seen: NDArray[np.bool_]
    """(T, N) bool."""


class PointTracker(Protocol):
    """Follows points of one frame through the whole clip, forwards and backwards."""

    @property
    def name(self) -> str:
        """What it is called where masks are recorded."""
        ...

    def track(
        self, frames: NDArray[np.uint8], points: NDArray[np.float32], start: int, cancelled: Cancelled = never_cancelled
    ) -> Tracks:
        """Follow points.

        Args:
            frames: (T, H, W, 3) uint8 sRGB.
            points: (N, 2) float32, x and y in pixels of frame `start`, pixel centres at +0.5.
            start: number of that frame.
            cancelled: asked before each frame.

        Raises:
            CancelledError: `cancelled` said so.
        """
        ...


class LucasKanade:
    """From frame to frame by pyramidal Lucas-Kanade, there and back (`ex4d_core.tracks`); lost is lost for good."""

    name = "lucas-kanade"

    def track(
        self, frames: NDArray[np.uint8], points: NDArray[np.float32], start: int, cancelled: Cancelled = never_cancelled
    ) -> Tracks:
        """See `PointTracker.track`."""
        at = np.repeat(points[None].astype(np.float32), len(frames), axis=0)
        seen = np.ones((len(frames), len(points)), np.bool_)
        for step in (1, -1):
            picture, scale = grey_of(frames[start])
            now = (points * scale - 0.5).astype(np.float32)
            alive = np.ones(len(points), np.bool_)
            for frame in range(start + step, len(frames) if step > 0 else -1, step):
                stop_if(cancelled)
                following, _ = grey_of(frames[frame])
                if alive.any():
                    there, kept = follow_points(picture, following, now[alive])
                    now[alive] = there
                    alive[alive] = kept
                at[frame], seen[frame] = (now + 0.5) / scale, alive
                picture = following
        return Tracks(at, seen)


def tracking_masks(
    frames: NDArray[np.uint8],
    tracker: PointTracker,
    seed: int,
    patches: tuple[int, int] = (1, 4),
    sizes: tuple[float, float] = (0.15, 0.5),
    cancelled: Cancelled = never_cancelled,
) -> NDArray[np.bool_]:
    """Masks of a clip with patches missing.

    A patch begins in a frame by chance, moves and turns as the points in it do, by one affine motion from there to each
    other frame, and is gone from where too few of them are seen, or they no longer move as one.

    Args:
        frames: (T, H, W, 3) uint8 sRGB.
        tracker: follows the points.
        seed: the same seed gives the same patches.
        patches: how many, least and most.
        sizes: of them, as shares of the smaller side, least and most.
        cancelled: asked before each frame.

    Returns:
        (T, H, W) bool, True = seen.

    Raises:
        CancelledError: `cancelled` said so.
    """
    draw = np.random.default_rng(seed)
    count, height, width = frames.shape[:3]
    masks = np.ones((count, height, width), np.bool_)
    for _ in range(int(draw.integers(patches[0], patches[1], endpoint=True))):
        outline = _outline(draw, height, width, sizes)
        start = int(draw.integers(count))
        inside = _points_in(outline, height, width, draw)
        if len(inside) >= _FEWEST:
            _stick(masks, outline, inside, start, tracker.track(frames, inside, start, cancelled))
    return masks


def _outline(draw: np.random.Generator, height: int, width: int, sizes: tuple[float, float]) -> NDArray[np.float32]:
    """(n, 2) float32: corners of a random blob, x and y in pixels, its centre in the picture."""
    radius = draw.uniform(*sizes) * min(height, width) / 2
    stretch = draw.uniform(0.5, 1.0)
    angle = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    reach = radius * draw.uniform(0.7, 1.0, _CORNERS)
    blob = np.stack([reach * np.cos(angle), stretch * reach * np.sin(angle)], axis=1)
    turn = draw.uniform(0, np.pi)
    blob = blob @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return (blob + draw.uniform((0, 0), (width, height))).astype(np.float32)


def _points_in(outline: NDArray[np.float32], height: int, width: int, draw: np.random.Generator) -> NDArray[np.float32]:
    """(N, 2) float32: points inside of an outline and of the picture."""
    low, high = outline.min(axis=0), outline.max(axis=0)
    tried = draw.uniform(low, high, (4 * _POINTS, 2)).astype(np.float32)
    kept = ((tried >= 0) & (tried < (width, height))).all(axis=1)
    kept &= np.array([cv2.pointPolygonTest(outline, (float(x), float(y)), False) >= 0 for x, y in tried])
    return tried[kept][:_POINTS]


def _stick(
    masks: NDArray[np.bool_], outline: NDArray[np.float32], points: NDArray[np.float32], start: int, tracks: Tracks
) -> None:
    """Cut the outline out of each frame, moved as the points are, from its own frame until it is gone."""
    height, width = masks.shape[1:]
    for frames in (range(start, len(masks)), range(start - 1, -1, -1)):
        for frame in frames:
            seen = tracks.seen[frame]
            if seen.sum() < _FEWEST:
                break
            estimated: Any = cv2.estimateAffine2D(  # annotated as if it always found one
                points[seen], tracks.at[frame][seen], method=cv2.RANSAC, ransacReprojThreshold=_OFF
            )
            motion, agreeing = estimated
            if motion is None or agreeing.sum() < max(_FEWEST, _AGREEING * seen.sum()):
                break
            moved = outline @ motion[:, :2].T + motion[:, 2]
            hole = np.zeros((height, width), np.uint8)
            # pixel centres at whole numbers, in sixteenths of pixels
            cv2.fillPoly(hole, [np.rint(16 * (moved - 0.5)).astype(np.int32)], 1, shift=4)
            masks[frame] &= hole == 0

"""Points of a picture followed through a clip: where each was, and until when.

Corners (Shi and Tomasi 1994), spread over the picture, followed from frame to frame by pyramidal Lucas-Kanade, all of
OpenCV. A point that is not found again on the way back (forward-backward error, Kalal et al. 2010) is dropped, and
new ones fill the empty places.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.depth import ColorFrames
from ex4d_core.progress import Cancelled, stop_if

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

LARGEST_SIDE = 960
"""Pixels; larger pictures are followed at this size: corners there are as sharp, and the flow is shorter."""

MOST_POINTS = 400
"""Followed at a time."""

_WINDOW = (21, 21)
_LEVELS = 4
_MISS = 0.5
"""Pixels by which the way there and back may miss the start."""

_QUALITY = 0.01
"""Of the best corner of a cell: the response that a corner needs."""

_WEAKEST = 4e-5
"""Least response (smaller eigenvalue, for grey levels 0..1) of a corner: less is noise of the sensor."""


@dataclass(frozen=True)
class Seen:
    """The points that were seen in a frame."""

    frame: int
    point: NDArray[np.int64]
    """(N,) int64: number of each point, counted through the clip."""
    at: NDArray[np.float64]
    """(N, 2) float64: x and y in pixels of the clip, pixel centres at +0.5."""


class _Follower:
    """Points on their way from frame to frame."""

    def __init__(self) -> None:
        self.picture: Bytes | None = None
        self.point = np.empty(0, np.int64)
        self.at: Floats = np.empty((0, 2), np.float32)
        self.next = 0

    def step(self, picture: Bytes) -> None:
        """Follow the points into the next picture, and take up new ones in empty places."""
        if self.picture is not None and len(self.at):
            there, kept = follow_points(self.picture, picture, self.at)
            self.point, self.at = self.point[kept], there[kept]
        self.picture = picture
        new = _corners(picture, self.at, MOST_POINTS - len(self.at))
        self.at = np.concatenate([self.at, new])
        self.point = np.concatenate([self.point, np.arange(self.next, self.next + len(new))])
        self.next += len(new)


def follow(frames: ColorFrames, start: int, stop: int, cancelled: Cancelled) -> Iterator[Seen]:
    """Follow points through the frames `start` to `stop` - 1.

    Args:
        frames: (H, W, 3) uint8 sRGB each; read once, in order.
        start: first frame.
        stop: the frame after the last.
        cancelled: asked before each frame.

    Yields:
        What was seen in each frame; points that begin in it come last.

    Raises:
        CancelledError: `cancelled` said so.
    """
    follower = _Follower()
    for frame in range(start, stop):
        stop_if(cancelled)
        picture, scale = grey_of(frames[frame])
        follower.step(picture)
        yield Seen(frame, follower.point.copy(), (follower.at.astype(np.float64) + 0.5) / scale)


def follow_points(source: Bytes, target: Bytes, at: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Follow points from one picture to another one, and back.

    Args:
        source: (h, w) uint8, see `grey_of`.
        target: (h, w) uint8.
        at: (N, 2) float32, x and y in pixels of `source`, pixel centres at whole numbers as OpenCV has them.

    Returns:
        (N, 2) float32: where they went; and (N,) bool: which were found, inside of the picture, and came back to where
        they started.
    """
    there, found = _flow(source, target, at)
    back, back_found = _flow(target, source, there)
    height, width = target.shape
    inside = (there >= 0).all(axis=1) & (there[:, 0] <= width - 1) & (there[:, 1] <= height - 1)
    return there, found & back_found & inside & (np.linalg.norm(back - at, axis=1) < _MISS)


def grey_of(frame: NDArray[np.uint8]) -> tuple[Bytes, NDArray[np.float64]]:
    """What points are followed in: (h, w) uint8, at most `LARGEST_SIDE` wide and high, and its scale (x, y).

    Args:
        frame: (H, W, 3) uint8 sRGB.
    """
    height, width = frame.shape[:2]
    grey = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)
    share = min(1.0, LARGEST_SIDE / max(height, width))
    size = (max(1, round(width * share)), max(1, round(height * share)))
    if size != (width, height):
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return np.asarray(grey, np.uint8), np.array([size[0] / width, size[1] / height])


def _flow(source: Bytes, target: Bytes, at: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """(N, 2) float32: where the points went, and (N,) bool: which were found."""
    moved, found, _ = cv2.calcOpticalFlowPyrLK(
        source,
        target,
        at[:, None],
        None,  # pyright: ignore[reportCallIssue, reportArgumentType]
        winSize=_WINDOW,
        maxLevel=_LEVELS,
        criteria=(cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.01),
    )
    return moved.reshape(-1, 2), found.ravel().astype(bool)


def _corners(picture: Bytes, taken: Floats, count: int) -> Floats:
    """(N, 2) float32: the strongest corners away from `taken`, no cell of the picture without if it has any."""
    height, width = picture.shape
    spacing = max(4.0, (height * width / MOST_POINTS) ** 0.5 * 0.6)
    if count <= 0 or min(height, width) < 2 * _WINDOW[0]:
        return np.empty((0, 2), np.float32)
    strength = cv2.cornerMinEigenVal(picture.astype(np.float32) / 255.0, 5, ksize=3)
    free = np.full((height, width), 255, np.uint8)
    for x, y in taken:
        cv2.circle(free, (round(float(x)), round(float(y))), round(spacing), 0, -1)
    margin = 5
    free[:margin] = free[-margin:] = 0
    free[:, :margin] = free[:, -margin:] = 0
    # the strongest of the picture would leave calm regions empty: each cell has its own measure of strong
    cell = 4 * round(spacing)
    best = cv2.resize(
        cv2.dilate(strength, np.ones((cell, cell), np.uint8))[::cell, ::cell],
        (width, height),
        interpolation=cv2.INTER_LINEAR,
    )
    strong = (strength > np.maximum(_QUALITY * best, _WEAKEST)).astype(np.uint8) * free
    relative = np.where(strong > 0, strength / np.maximum(best, 1e-9), 0).astype(np.float32)
    peak = (relative > 0) & (relative >= cv2.dilate(relative, np.ones((3, 3), np.uint8)))
    y, x = np.nonzero(peak)
    order = np.argsort(-relative[y, x], kind="stable")
    return _apart(np.stack([x[order], y[order]], axis=1), spacing, count, (height, width))


def _apart(at: NDArray[np.int64], spacing: float, count: int, size: tuple[int, int]) -> Floats:
    """The first `count` places no two of which are closer than `spacing`."""
    blocked = np.zeros(size, np.uint8)
    chosen: list[tuple[int, int]] = []
    for x, y in at.tolist():
        if blocked[y, x]:
            continue
        chosen.append((x, y))
        cv2.circle(blocked, (x, y), round(spacing), 1, -1)
        if len(chosen) == count:
            break
    return np.array(chosen, np.float32).reshape(-1, 2)

"""Does footage stand still in the world? How far its resting surfaces wander, frame by frame, as rendered truth knows.

A resting point that frame 0 shows is looked up in frame t by the true camera and depth. Both places are brought into
the world by the depth and the camera path in question; what lies between them, as a share of the point's depth in
frame 0, is its drift. Points that frame t does not show, hidden or outside, do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics, invert_pose

Doubles = NDArray[np.float64]
Depth = Callable[[int], NDArray[np.float32]]

STEP = 4
"""Every how many pixels a point is taken, both ways."""

_HIDDEN = 0.02
"""Share of its depth by which something nearer hides a point."""

_NEIGHBOURS = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class Filmed:
    """What rendered truth knows of a clip."""

    lenses: Sequence[Intrinsics]
    """T lenses at the size of the frames."""
    c2w: Doubles
    """(T, 4, 4) float64: the true camera-to-world."""
    depth: Depth
    """(H, W) float32: true z-depth of a frame."""
    dynamic: Callable[[int], NDArray[np.bool_]]
    """(H, W) bool: where the surface moves."""


def drift(truth: Filmed, frame: int, c2w: Doubles, depth: Depth | None = None) -> float:
    """Median drift of the resting surfaces of frame 0 until `frame`, as a share of their depth.

    Args:
        truth: of the clip.
        frame: 0 to T - 1.
        c2w: (T, 4, 4) float64: the path in question, in units of `depth`.
        depth: (H, W) float32 z-depth of a frame as it goes into the scene; None: the true one.

    Returns:
        0.01 is 1 % of the depth; not a number where `frame` shows nothing of frame 0 that rests.
    """
    depth = depth or truth.depth
    first, lens = truth.lenses[0], truth.lenses[frame]
    y, x = (grid.ravel() for grid in np.mgrid[STEP // 2 : first.height : STEP, STEP // 2 : first.width : STEP])
    z = truth.depth(0)[y, x].astype(np.float64)
    resting = ~truth.dynamic(0)[y, x] & np.isfinite(z)
    y, x, z = y[resting], x[resting], z[resting]
    at = np.stack([x + 0.5, y + 0.5], axis=1)
    world = _moved(truth.c2w[0], _unproject(at, z, first))
    there = _moved(invert_pose(truth.c2w[frame]), world)
    now = there[:, :2] / np.maximum(there[:, 2:], 1e-9) * [lens.fx, lens.fy] + [lens.cx, lens.cy]
    inside = (there[:, 2] > 0) & (now >= 0).all(axis=1) & (now < [lens.width, lens.height]).all(axis=1)
    at, z, there, now, x, y = at[inside], z[inside], there[inside], now[inside], x[inside], y[inside]
    column, row = now.astype(np.int64).T
    # the pixel's neighbours too: ground seen at a grazing angle changes its depth from one to the next
    true = truth.depth(frame)
    nearest, farthest = cv2.erode(true, _NEIGHBOURS)[row, column], cv2.dilate(true, _NEIGHBOURS)[row, column]
    seen = (there[:, 2] > nearest * (1 - _HIDDEN)) & (there[:, 2] < farthest * (1 + _HIDDEN))
    seen &= ~truth.dynamic(frame)[row, column]
    if not seen.any():
        return float("nan")
    at, now, x, y, row, column = at[seen], now[seen], x[seen], y[seen], row[seen], column[seen]
    before = depth(0)[y, x].astype(np.float64)
    # the true depth where the point is exactly, not that of the pixel that it falls into
    after = there[seen, 2] * (depth(frame)[row, column] / true[row, column]).astype(np.float64)
    start = _moved(c2w[0], _unproject(at, before, first))
    end = _moved(c2w[frame], _unproject(now, after, lens))
    return float(np.median(np.linalg.norm(end - start, axis=1) / before))


def _unproject(at: Doubles, z: Doubles, lens: Intrinsics) -> Doubles:
    """(N, 3) float64 in the camera."""
    return np.stack([(at[:, 0] - lens.cx) / lens.fx * z, (at[:, 1] - lens.cy) / lens.fy * z, z], axis=1)


def _moved(pose: Doubles, points: Doubles) -> Doubles:
    return points @ pose[:3, :3].T + pose[:3, 3]

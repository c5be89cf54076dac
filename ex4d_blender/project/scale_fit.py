# SPDX-License-Identifier: GPL-3.0-or-later
"""Fits depth to a solved camera: how many of its units is a unit of depth. No bpy.

A point seen in one frame, put where its depth times the scale says, is to be where another frame sees it: as deep, and
of the same colour. Both are asked of many points in pairs of frames that are far apart; what moves in the scene, or is
hidden in the other frame, counts as a miss and no more (the score of a point is capped).
"""

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from ..errors import UserError

GRID = 96
"""Pixels across the longer side of a frame; every second one in both directions is asked."""
MAX_PAIRS = 8
DEPTH_MISS, COLOR_MISS = 0.05, 0.15
"""Relative depth and colour (of 1) by which a point misses altogether."""
NEAREST, FARTHEST = 0.2, 2000.0
"""Scales tried: those that put the median of depth this many baselines away."""
TRIED = 96
MIN_GAIN = 0.15
"""How much better than the usual score the best must be, else the frames do not tell."""


@dataclass(frozen=True)
class View:
    """One frame, as small as it needs to be."""

    depth: np.ndarray
    """(h, w) float64 z-depth, units of depth."""
    color: np.ndarray
    """(h, w, 3) float64, 0 to 1."""
    intrinsics: np.ndarray
    """(4,) float64: fx, fy, cx, cy in pixels of h x w."""
    c2w: np.ndarray
    """(4, 4) float64 camera-to-world of the solve, OpenCV axes, its units."""


def view(depth: np.ndarray, color: np.ndarray, intrinsics: np.ndarray, c2w: np.ndarray) -> View:
    """A frame reduced to about `GRID` points; arguments as in `View`, at any size."""
    height, width = depth.shape
    step = max(1, max(width, height) // GRID)
    rows, columns = height // step, width // step
    blocks = color[: rows * step, : columns * step].reshape(rows, step, columns, step, 3)
    # The middle pixel's depth: a mean over an edge is nowhere.
    middle = depth[step // 2 :: step, step // 2 :: step][:rows, :columns]
    return View(middle.astype(np.float64), blocks.mean(axis=(1, 3), dtype=np.float64), intrinsics / step, c2w)


def fit_scale(views: list[View]) -> Generator[float, None, float]:
    """The scale: solve units per unit of depth.

    Args:
        views: at least two, of one solve.

    Yields:
        The share done, after a few milliseconds each.

    Returns:
        The scale.

    Raises:
        UserError: the camera hardly moves, or no scale is better than another.
    """
    places = np.array([each.c2w[:3, 3] for each in views])
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    baseline = apart.max()
    median = np.median([np.median(each.depth) for each in views])
    if not baseline > 0:
        raise UserError("The camera never leaves its place, so its frames say nothing about scale: use Set Scale.")
    everyone = [(i, j) for i in range(len(views)) for j in range(i + 1, len(views)) if apart[i, j] > 0.2 * baseline]
    chosen = everyone[:: -(-len(everyone) // MAX_PAIRS)]
    pairs = [_Pair(views[i], views[j]) for i, j in chosen]
    tried = baseline / median * np.geomspace(NEAREST, FARTHEST, TRIED)
    scores = []
    for scale in tried:
        scores.append(_score(pairs, scale))
        yield len(scores) / TRIED * 0.7
    best = int(np.argmin(scores))
    if scores[best] > (1 - MIN_GAIN) * np.median(scores) or best in (0, TRIED - 1):
        raise UserError(
            "The frames do not tell the scale: the camera moves too little for this depth, or too much moves in front "
            "of it; use Set Scale."
        )
    low, high = tried[best - 1], tried[best + 1]
    for round_ in range(3):  # ever finer looks between two
        finer = np.geomspace(low, high, 11)
        found = []
        for scale in finer:
            found.append(_score(pairs, scale))
            yield 0.7 + 0.1 * round_
        best = int(np.argmin(found))
        low, high = finer[max(best - 1, 0)], finer[min(best + 1, len(finer) - 1)]
    return float(np.sqrt(low * high))


def _score(pairs: list["_Pair"], scale: float) -> float:
    """Mean over pairs and points: 0 where all agree, 2 where nothing does."""
    return float(np.mean([pair.disagreement(scale) for pair in pairs]))


class _Pair:
    """Points of one frame, ready to be looked up in another."""

    def __init__(self, first: View, second: View) -> None:
        rows, columns = (np.arange(0, size, 2) for size in first.depth.shape)
        fx, fy, cx, cy = first.intrinsics
        u, v = np.meshgrid(columns + 0.5, rows + 0.5)
        depth = first.depth[np.ix_(rows, columns)]
        points = np.stack([(u - cx) / fx * depth, (v - cy) / fy * depth, depth], axis=-1).reshape(-1, 3)
        relative = np.linalg.inv(second.c2w) @ first.c2w
        self._turned = np.einsum("ij,nj->in", relative[:3, :3], points)  # (3, N): at scale s the point is s times this
        self._moved = relative[:3, 3:]
        self._color = first.color[np.ix_(rows, columns)].reshape(-1, 3)
        self._second = second

    def disagreement(self, scale: float) -> float:
        """Mean over the points that the second frame holds: 0 to 2."""
        second = self._second
        height, width = second.depth.shape
        fx, fy, cx, cy = second.intrinsics
        x, y, deep = self._turned * scale + self._moved
        with np.errstate(divide="ignore", invalid="ignore"):
            u, v = fx * x / deep + cx, fy * y / deep + cy
            inside = (deep > 0) & (u >= 0.5) & (v >= 0.5) & (u < width - 0.5) & (v < height - 0.5)
        if inside.sum() < 0.1 * inside.size:
            return 2.0  # they hardly see the same: no praise for that
        u, v, deep = u[inside], v[inside], deep[inside]
        # Nearest in depth, which must not be mixed over an edge; bilinear in colour.
        there = second.depth[v.astype(int), u.astype(int)] * scale
        depth_off = np.abs(np.log(deep / there)) / DEPTH_MISS
        color_off = np.abs(_bilinear(second.color, u - 0.5, v - 0.5) - self._color[inside]).mean(axis=1) / COLOR_MISS
        return float(np.mean(np.minimum(depth_off, 1.0) + np.minimum(color_off, 1.0)))


def _bilinear(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    left, top = x.astype(int), y.astype(int)
    right, below = np.minimum(left + 1, image.shape[1] - 1), np.minimum(top + 1, image.shape[0] - 1)
    a, b = (x - left)[:, None], (y - top)[:, None]
    upper = (1 - a) * image[top, left] + a * image[top, right]
    lower = (1 - a) * image[below, left] + a * image[below, right]
    return (1 - b) * upper + b * lower

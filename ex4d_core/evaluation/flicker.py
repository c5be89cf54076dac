"""How much a mask blinks on surfaces where nothing changes.

A point that rests in the world and that the source camera sees in two consecutive frames is followed into the target
camera of both, by true depth and true cameras. It counts if the truth calls its pixel visible in both, and no nearer
surface of the source's lies there: then the true mask does not change at it. Flicker is the share of these points at
which the rendered mask does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.evaluation.truth import Truth

Bools = NDArray[np.bool_]
Doubles = NDArray[np.float64]

SAME_SURFACE = 0.02
"""By how large a share of its depth a point may miss a surface that it lies on: pixels are not points."""


@dataclass(frozen=True)
class _Seen:
    """Points in a camera's picture."""

    row: NDArray[np.int64]
    """(N,), 0 where it is outside."""
    column: NDArray[np.int64]
    inside: Bools
    depth: Doubles
    """(N,) z-depth."""


def mask_flicker(truth: Truth, path: str, masks: Mapping[int, Bools]) -> float:
    """Flicker of a path's masks (see above).

    Args:
        truth: the scene.
        path: of its paths.
        masks: by frame (H, W), True = shown; all of the path's burst frames.

    Returns:
        0 to 1; NaN if the truth has no masks of consecutive frames.
    """
    flips, points = 0, 0
    for first, second in pairwise(truth.bursts.get(path, ())):
        changed = _changed(truth, path, (first, second), masks)
        flips, points = flips + int(np.count_nonzero(changed)), points + len(changed)
    return flips / points if points else math.nan


def _changed(truth: Truth, path: str, frames: tuple[int, int], masks: Mapping[int, Bools]) -> Bools:
    """(N,) of the points that count: whether the mask changes at them."""
    first, second = frames
    here = _points(truth.depth(first), truth.lens)  # (3, H W), source camera of the first frame
    move = np.linalg.inv(truth.source_c2w[second]) @ truth.source_c2w[first]
    there = move[:3, :3] @ here + move[:3, 3:]
    again = _project(there, truth.lens)
    counts = ~truth.dynamic(first).ravel() & again.inside & ~truth.dynamic(second)[again.row, again.column]
    counts &= np.abs(truth.depth(second)[again.row, again.column] / again.depth - 1) < SAME_SURFACE
    values: list[Bools] = []
    for frame, points, all_points in (
        (first, here, here),
        (second, there, _points(truth.depth(second), truth.lens)),
    ):
        pose = truth.target_from_source[path][frame]
        seen = _project(pose[:3, :3] @ points + pose[:3, 3:], truth.lens)
        surface = _nearest(_project(pose[:3, :3] @ all_points + pose[:3, 3:], truth.lens), truth.lens)
        counts &= seen.inside & truth.target_burst(path, frame)[seen.row, seen.column]
        counts &= seen.depth / (1 + SAME_SURFACE) < surface[seen.row, seen.column]
        values.append(masks[frame][seen.row, seen.column])
    return (values[0] != values[1])[counts]


def _points(depth: NDArray[np.float32], lens: Intrinsics) -> Doubles:
    """(3, H W) the points of all pixels, in their camera."""
    y, x = np.mgrid[: lens.height, : lens.width] + 0.5
    z = depth.astype(np.float64)
    return np.stack([(x - lens.cx) / lens.fx * z, (y - lens.cy) / lens.fy * z, z]).reshape(3, -1)


def _project(points: Doubles, lens: Intrinsics) -> _Seen:
    x, y, z = points
    with np.errstate(divide="ignore", invalid="ignore"):
        column, row = np.floor(lens.fx * x / z + lens.cx), np.floor(lens.fy * y / z + lens.cy)
    inside = (z > 0) & (column >= 0) & (row >= 0) & (column < lens.width) & (row < lens.height)
    return _Seen(np.where(inside, row, 0).astype(np.int64), np.where(inside, column, 0).astype(np.int64), inside, z)


def _nearest(seen: _Seen, lens: Intrinsics) -> Doubles:
    """(H, W) depth of the nearest point in a pixel or beside it; where the camera comes closer, points lie apart."""
    depth = np.full((lens.height, lens.width), np.inf)
    inside = seen.inside
    np.minimum.at(depth, (seen.row[inside], seen.column[inside]), seen.depth[inside])
    return np.asarray(cv2.erode(depth, np.ones((3, 3))), np.float64)

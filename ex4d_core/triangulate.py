"""Places of followed points in the world of a solved camera: they tell its scale where the solve has no points.

A point lies nearest to all the rays that saw it: the least squares of their distances, a 3x3 system for each point
that rays are added to one by one (Hartley and Zisserman, chapter 12, call it the midpoint).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics, invert_pose
from ex4d_core.depth import ColorFrames
from ex4d_core.progress import Cancelled, OnProgress
from ex4d_core.solve import SolvedPoints
from ex4d_core.tracks import Seen, follow

Doubles = NDArray[np.float64]

LEAST_PARALLAX = math.radians(1.0)
"""Between the rays of a point: below it the distance is anybody's guess."""

LARGEST_MISS = 1.5
"""Pixels, at 640 across, between where a point is seen and where its place says: beyond it, it moves by itself."""


def triangulate(
    colors: ColorFrames,
    c2w: Doubles,
    lenses: list[Intrinsics],
    cuts: tuple[int, ...],
    on_progress: OnProgress,
    cancelled: Cancelled,
) -> SolvedPoints:
    """Follow points through a clip whose camera is known, and find where they are.

    Args:
        colors: T frames (H, W, 3) uint8 sRGB.
        c2w: (T, 4, 4) float64 camera-to-world.
        lenses: T lenses at the size of the frames.
        cuts: frames that begin another take.
        on_progress: told about each frame.
        cancelled: asked before each frame.

    Returns:
        Those that stand still and are seen from sides far enough apart; in the world of `c2w`.

    Raises:
        CancelledError: `cancelled` said so.
    """
    total = len(colors)
    sightings: list[Seen] = []
    taken = 0  # numbers of points, which each take counts from 0
    for start, stop in zip((0, *cuts), (*cuts, total), strict=True):
        for seen in follow(colors, start, stop, cancelled):
            sightings.append(Seen(seen.frame, seen.point + taken, seen.at))
            on_progress(seen.frame + 1, total, "scaling the solve")
        taken = 1 + max((int(seen.point.max()) for seen in sightings if len(seen.point)), default=-1)
    places, certain = _nearest_to_rays(sightings, c2w, lenses, taken)
    for seen in sightings:
        missed = _misses(places[seen.point], seen, c2w, lenses)
        certain[seen.point[~(missed < LARGEST_MISS * max(lenses[0].width, lenses[0].height) / 640)]] = False
    return SolvedPoints(places, tuple(seen.point[certain[seen.point]].astype(np.intp) for seen in sightings))


def _nearest_to_rays(
    sightings: list[Seen], c2w: Doubles, lenses: list[Intrinsics], points: int
) -> tuple[Doubles, NDArray[np.bool_]]:
    """(P, 3) places, and (P,) bool: whether the rays tell it."""
    normal, right, rays = np.zeros((points, 3, 3)), np.zeros((points, 3)), np.zeros(points)
    for seen in sightings:
        lens, pose = lenses[seen.frame], c2w[seen.frame]
        ray = (seen.at - [lens.cx, lens.cy]) / [lens.fx, lens.fy]
        ray = np.concatenate([ray, np.ones((len(ray), 1))], axis=1) @ pose[:3, :3].T
        ray /= np.linalg.norm(ray, axis=1, keepdims=True)
        across = np.eye(3) - ray[:, :, None] * ray[:, None, :]  # [N, 3, 3], to the line
        normal[seen.point] += across  # a point is seen once in a frame
        right[seen.point] += across @ pose[:3, 3]
        rays[seen.point] += 1
    # Rays an angle a apart leave about sin(a / 2)^2 of a ray along their mean.
    weakest = np.linalg.eigvalsh(normal)[:, 0] / np.maximum(rays, 1)
    certain = weakest > math.sin(LEAST_PARALLAX / 2) ** 2
    places = np.full((points, 3), np.nan)
    places[certain] = np.linalg.solve(normal[certain], right[certain][..., None])[..., 0]
    return places, certain


def _misses(places: Doubles, seen: Seen, c2w: Doubles, lenses: list[Intrinsics]) -> Doubles:
    """(N,) pixels between where points are seen and where they should be; NaN behind the camera."""
    lens, w2c = lenses[seen.frame], invert_pose(c2w[seen.frame])
    x, y, z = (places @ w2c[:3, :3].T + w2c[:3, 3]).T
    with np.errstate(all="ignore"):
        at = np.stack([lens.fx * x / z + lens.cx, lens.fy * y / z + lens.cy], axis=1)
        return np.where(z > 0, np.linalg.norm(at - seen.at, axis=1), np.nan)

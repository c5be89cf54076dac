"""Where a moving camera's background is best looked at from, and what a frame shows to a camera elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from ex4d_core.background.motion import Look, positions_in
from ex4d_core.camera import Camera
from ex4d_core.frame import render_frame
from ex4d_core.mesh import build_mesh

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

_MOST_LAYERS = 4
_LEAST_NEW = 0.02
"""Another viewpoint has to show this share of all points that those before it do not."""
_CANDIDATES = 16
_GRID = 8
"""Pixels between the points that are counted."""
_HIDDEN = 1.05
"""A point deeper than this factor behind a surface is hidden by it."""


def choose_viewpoints(look: Callable[[int], Look], moving: Mapping[int, Bools]) -> list[Camera]:
    """As few of a take's cameras as see most of what rests, greedily.

    Args:
        look: frame number -> the frame.
        moving: by frame number, what moves there: (H, W) bool.
    """
    times = sorted(moving)
    candidates = [times[round(k)] for k in np.linspace(0, len(times) - 1, min(_CANDIDATES, len(times)))]
    looks = {t: look(t) for t in candidates}
    sees: list[Bools] = []
    for at in candidates:
        key, seen = looks[at], []
        for t in candidates:
            rests = ~moving[t][::_GRID, ::_GRID]
            seen.append(_sees(key, moving[at], looks[t])[rests])
        sees.append(np.concatenate(seen))
    table = np.stack(sees)  # (viewpoint, point)
    chosen: list[int] = []
    known = np.zeros(table.shape[1], np.bool_)
    while len(chosen) < _MOST_LAYERS:
        new = (table & ~known).sum(axis=1)
        best = int(new.argmax())
        if chosen and new[best] < _LEAST_NEW * table.shape[1]:
            break
        chosen.append(best)
        known |= table[best]
    return [looks[candidates[index]].camera for index in sorted(chosen)]


def seen_from(
    camera: Camera, look: Look, motion: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], Floats, NDArray[np.uint8]]:
    """What a frame shows to a camera elsewhere: no bridge hides anything, its objects are thin as paper.

    Args:
        camera: posed in the world.
        look: the frame.
        motion: (H, W) uint8, a value for each of its pixels.

    Returns:
        (h, w, 3) uint8 colour, (h, w) float32 disparity, 0 where it shows nothing, and (h, w) uint8 motion.
    """
    mesh = build_mesh(look.depth, look.camera.intrinsics)
    posed = Camera(look.camera.w2c() @ camera.c2w, camera.intrinsics)
    frame = render_frame(look.color, mesh, posed, bridge_reach=0.0, threads=1)
    rows, columns = motion.shape
    x = np.clip(frame.source_xy[..., 0].astype(np.intp), 0, columns - 1)
    y = np.clip(frame.source_xy[..., 1].astype(np.intp), 0, rows - 1)
    return frame.color, np.where(frame.mask, 1 / frame.depth, 0).astype(np.float32), motion[y, x]


def _sees(key: Look, transparent: Bools, other: Look) -> Bools:
    """Which of another frame's points a camera sees, through what moves: (H/g, W/g) bool."""
    height, width = other.depth.shape
    position, z = positions_in(other.depth, other.camera, key.camera, step=_GRID)
    column, row = np.rint(position[..., 0]), np.rint(position[..., 1])
    inside = (z > 0) & (column >= 0) & (row >= 0) & (column < width) & (row < height)
    at = np.where(inside, row, 0).astype(np.intp), np.where(inside, column, 0).astype(np.intp)
    return inside & ((z <= key.depth[at] * _HIDDEN) | transparent[at])

"""Which pixels of a frame show something that moves: where a resting world would have put them, they are not."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Camera

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

_MISS_PIXELS = 0.6
"""Flow may differ from that of a resting world by this many pixels ..."""
_MISS_SHARE = 0.03
"""... and by this share of its length, for depth and poses are not exact."""
_CHANGE_LEVELS = 7.0
"""Colour that stays within so many of 255 levels where a resting world puts it does not move: in flat regions flow
is a guess."""
_JUMP = 0.06
"""Disparity that changes by more than this share is another surface."""
_SOFTNESS = 1.2
"""Standard deviation of the blur that keeps grain and edges that are a little off from counting as change, pixels."""
_GRID = 4
"""Pixels between those that say how bright one frame is beside the other."""
_SMALLEST_FOR_FLOW = 24
"""Pixels on the shorter side under which patches do not fit into the picture and no flow is measured."""


@dataclass(frozen=True, eq=False)
class Look:
    """One frame with depth and camera."""

    color: NDArray[np.uint8]
    """(H, W, 3) uint8 sRGB."""
    depth: Floats
    """(H, W) float32, z-depth, scene units."""
    camera: Camera
    """Posed in the world."""


def moving_pixels(now: Look, later: Look) -> tuple[Bools, Bools]:
    """Where a frame shows what moves until a little later, and where it shows what is then hidden.

    Args:
        now: the frame.
        later: one a few frames on, or before.

    Returns:
        (H, W) bool each.
    """
    position, expected = positions_in(now.depth, now.camera, later.camera)
    x, y = position[..., 0], position[..., 1]
    height, width = now.depth.shape
    inside = (x > -0.5) & (y > -0.5) & (x < width - 0.5) & (y < height - 0.5) & (expected > 0)
    found = _remap(later.depth, position, cv2.INTER_NEAREST).astype(np.float32)
    hidden = inside & (expected > found * (1 + _JUMP))
    gone = found > expected * (1 + _JUMP)
    there = _remap(later.color, position, cv2.INTER_LINEAR)
    few = (slice(None, None, _GRID), slice(None, None, _GRID))
    gain = color_gain(there[few][inside[few]].astype(np.float32), now.color[few][inside[few]].astype(np.float32))
    change = cv2.GaussianBlur(now.color.astype(np.float32) - there * gain, (7, 7), _SOFTNESS)
    changed = functools.reduce(cv2.max, cv2.split(np.abs(change))) > _CHANGE_LEVELS
    moving = inside & ~hidden & (gone | (changed & _misses(now, later, position)))
    return _without_specks(moving), _without_specks(hidden)


def positions_in(depth: Floats, camera: Camera, other: Camera, step: int = 1) -> tuple[Floats, Floats]:
    """Where another camera sees the surface of each pixel.

    Args:
        depth: (H, W) float32 z-depth of `camera`, scene units.
        camera: posed in the world.
        other: likewise.
        step: take every so many pixels only.

    Returns:
        (H, W, 2) float32 index position (pixel centres at whole numbers) and (H, W) float32 z-depth there; under 0
        behind it. With a step, (H/step, W/step).
    """
    x, y = (np.arange(0, side, step, dtype=np.float32) + np.float32(0.5) for side in depth.shape[::-1])
    lens, depth = camera.intrinsics, depth[::step, ::step]
    rays = np.empty((*depth.shape, 3), np.float32)
    rays[..., 0] = ((x - lens.cx) / lens.fx)[None]
    rays[..., 1] = ((y - lens.cy) / lens.fy)[:, None]
    rays[..., 2] = 1
    pose = other.w2c() @ camera.c2w
    space = rays * depth[..., None] @ pose[:3, :3].T.astype(np.float32) + pose[:3, 3].astype(np.float32)
    z = space[..., 2]
    ahead = np.maximum(z, np.float32(1e-6) * depth)
    to = other.intrinsics
    position = np.stack(
        [space[..., 0] / ahead * to.fx + to.cx - 0.5, space[..., 1] / ahead * to.fy + to.cy - 0.5], axis=-1
    )
    return position.astype(np.float32), np.asarray(z, np.float32)


def color_gain(have: Floats, want: Floats) -> Floats:
    """(3,) float32: by what colours (N, 3) are to be multiplied to be as bright as others (N, 3), medians.

    sRGB is near to a power law, so that a change of exposure is one of a factor there too.
    """
    usable = (have.min(axis=-1) > 12) & (want.min(axis=-1) > 12) & (have.max(axis=-1) < 245) & (want.max(axis=-1) < 245)
    if np.count_nonzero(usable) < 64:
        return np.ones(3, np.float32)
    have, want = have[usable], want[usable]
    step = max(1, len(have) // 20000)
    return np.clip(np.median(want[::step] / have[::step], axis=0), 0.25, 4.0).astype(np.float32)


def grown(mask: Bools, pixels: int) -> Bools:
    """A mask (H, W) and what is nearer to it than so many pixels."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
    return cv2.dilate(mask.astype(np.uint8), disc).astype(np.bool_)


def _without_specks(mask: Bools) -> Bools:
    """Single pixels are noise of edges."""
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8)).astype(np.bool_)


def _misses(now: Look, later: Look, position: Floats) -> Bools:
    """Where the flow is not that of a resting world."""
    height, width = now.depth.shape
    if min(height, width) < _SMALLEST_FOR_FLOW:
        return np.ones((height, width), np.bool_)
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor(look.color, cv2.COLOR_RGB2GRAY) for look in (now, later)]
    flow = np.asarray(dis.calc(grey[0], grey[1], None), np.float32)  # pyright: ignore[reportCallIssue, reportArgumentType]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    resting = position - np.stack([x, y], axis=-1)
    miss = np.hypot(*np.moveaxis(flow - resting, -1, 0))
    return miss > _MISS_PIXELS + _MISS_SHARE * np.hypot(resting[..., 0], resting[..., 1])


def _remap(image: Floats | NDArray[np.uint8], position: Floats, how: int) -> NDArray[Any]:
    return np.asarray(cv2.remap(image, position[..., 0], position[..., 1], how, borderMode=cv2.BORDER_REPLICATE))

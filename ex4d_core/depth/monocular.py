"""A guess at depth from one picture at a time, for clips whose camera does not move.

Nothing here measures depth. It is a combination of weak cues that hold for most footage, each of which is
allowed to say only as much as it knows:

- the ground comes nearer towards the bottom of the picture, what is above the horizon is far;
- what moves stands on the ground where its lowest point is, and is as near as that spot;
- where a lens throws part of the picture out of focus, the sharp part is the nearer one;
- bright, pale, smooth regions in the upper half are sky or haze;
- one colour region is mostly one surface.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.depth import edgeaware

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

FAR = 1.0 / 8.0
"""Disparity of the farthest surface where the nearest has 1. A guess has no scale and no shift of its own: eight to
one is what a room or a courtyard shows, deep enough to give parallax when orbited, and mild enough not to tear."""

SMALLEST_THING = 0.0006
"""Share of the picture under which a moving patch is taken for noise."""

HORIZON = 0.42
"""Where the ground vanishes, as a share of the picture's height: people point cameras a little downwards."""


def ground(row: NDArray[np.float32] | float, height: int) -> Floats:
    """Disparity of the ground seen at a pixel row: linear below the horizon, as perspective has it.

    Args:
        row: pixel rows from the top edge, any shape.
        height: of the picture, pixels.

    Returns:
        float32 of the same shape, FAR above the horizon to 1 at the bottom.
    """
    below = np.clip((np.asarray(row, np.float32) / height - HORIZON) / (1.0 - HORIZON), 0.0, 1.0)
    return np.asarray(FAR + (1.0 - FAR) * below, np.float32)


def focus(frame: Bytes) -> tuple[Floats, float]:
    """How sharp each region is, and the evidence that focus tells near from far.

    Sharpness is the share of fine detail (about one pixel) beside middling detail (up to five): defocus takes the
    first and leaves the second. A lens with shallow focus leaves most of the picture soft and a part of it sharp;
    a picture that is sharp, or soft, nearly everywhere tells nothing.

    Args:
        frame: (H, W, 3) uint8 sRGB.

    Returns:
        (H, W) float32, 0 soft to 1 sharp; and the evidence, 0 none to 1 certain.
    """
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255.0
    reach = max(grey.shape)
    base = np.asarray(cv2.GaussianBlur(grey, (0, 0), 1.2), np.float32)
    fine = _energy(grey - base, 0.02 * reach)
    middling = _energy(np.asarray(base - cv2.GaussianBlur(grey, (0, 0), 5.0), np.float32), 0.02 * reach)
    ratio = fine / (middling + 0.01)
    typical, best = (float(v) for v in np.quantile(ratio, (0.5, 0.95)))
    evidence = np.clip((0.26 - typical) / 0.08, 0.0, 1.0) * np.clip(best / (typical + 1e-6) - 1.5, 0.0, 1.0)
    sharp = np.clip((ratio - typical) / (0.7 * (best - typical) + 1e-6), 0.0, 1.0).astype(np.float32)
    sharp, _ = edgeaware.fill(sharp, middling + 1e-3, frame, 0.1 * reach, 0.2)
    return sharp, float(evidence)


def _energy(detail: Floats, sigma: float) -> Floats:
    return np.sqrt(np.asarray(cv2.GaussianBlur(detail * detail, (0, 0), max(sigma, 0.5)), np.float32))


def sky(frame: Bytes) -> Floats:
    """(H, W) float32, 0..1: how much a pixel looks like sky or haze: bright, not warm, high up, and smooth."""
    height = frame.shape[0]
    color = frame.astype(np.float32) / 255.0
    bright = np.clip((color.max(axis=2) - 0.45) / 0.3, 0.0, 1.0)
    cool = np.clip((color[..., 2] - color[..., 0] + 0.05) / 0.1, 0.0, 1.0)
    not_green = np.clip((color[..., 2] - color[..., 1] + 0.08) / 0.1, 0.0, 1.0)
    high = np.clip(1.2 - np.arange(height, dtype=np.float32)[:, None] / height / 0.5, 0.0, 1.0)
    return np.asarray(bright * cool * not_green * high, np.float32)


def guess(frame: Bytes) -> Floats:
    """Disparity of what stands still in one frame, by weak cues.

    Args:
        frame: (H, W, 3) uint8 sRGB, at working size.

    Returns:
        (H, W) float32, FAR (far) to 1 (near).
    """
    height, width = frame.shape[:2]
    rows = np.arange(height, dtype=np.float32)[:, None] + 0.5
    floor = np.broadcast_to(ground(rows, height), (height, width))
    sharp, shallow = focus(frame)
    near = FAR + (1.0 - FAR) * sharp
    scene = floor * (1.0 - 0.8 * shallow) + near * (0.8 * shallow)
    scene = scene + (FAR - scene) * sky(frame) * (1.0 - shallow)
    scene = edgeaware.smooth(scene[None].astype(np.float32), frame, 0.15 * max(height, width), 0.35)[0]
    return np.clip(scene, FAR, 1.0)


def stand(moving: Floats, surface: Floats) -> Floats:
    """Put what moves by itself upright onto the surface where its lowest part touches it.

    Args:
        moving: (H, W) float32, 0..1, how surely each pixel moves by itself.
        surface: (H, W) float32 disparity of what does not move; anything where `moving` is high.

    Returns:
        (H, W) float32: `surface` with each moving thing at one disparity, that of its foothold.
    """
    height, width = moving.shape
    result = surface.copy()
    mask = (moving > 0.5).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    for label in range(1, count):
        if stats[label, cv2.CC_STAT_AREA] < SMALLEST_THING * height * width:
            continue
        inside = labels == label
        rows, columns = np.nonzero(inside)
        bottom = int(np.quantile(rows, 0.98))
        feet = columns[rows >= bottom - 0.01 * height]
        reach = max(2, height // 33)
        below = surface[min(bottom + 1, height - 1) : bottom + 1 + reach, feet.min() : feet.max() + 1]
        # what stands beyond the lower edge of the picture is at least as near as anything seen along that edge;
        # else the nearest surface just below carries it, be it the ground or the vase that holds the flowers
        cut_off = bottom >= height - 1 - reach // 2
        foothold = float(np.quantile(surface[-reach:], 0.8) if cut_off else np.quantile(below, 0.75))
        # a thing in the air has no foothold, but it does hide what is behind it
        result[inside] = max(foothold, float(np.median(surface[inside])))
    return result

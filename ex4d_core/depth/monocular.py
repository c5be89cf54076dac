"""A guess at depth from one picture at a time, for clips whose camera does not move.

Nothing here measures depth. It is a combination of weak cues that hold for most footage, each of which is
allowed to say only as much as it knows:

- the ground comes nearer towards the bottom of the picture;
- it ends where its colours end, and what is above that line stands on it, as near as its foot;
- what moves stands on the ground where its lowest point is, and is as near as that spot;
- where a lens throws part of the picture out of focus, the sharp part is the nearer one;
- bright, pale regions that reach the upper edge are sky or haze, the farthest of all;
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


GROUND_STARTS, GROUND_BLUR = 0.62, 0.06
"""Row, as a share of the height, below which there is more often ground than not, and how gradually."""

RARE = 1e-3
"""Share of colours that may be anything."""

JUMP_COST = 3.0
"""Of the edge of the ground, for each row from one column to the next; a pixel on the wrong side costs up to 6."""


THING = 0.3
"""Width of the widest thing that stands before something else, as a share of the picture's."""

FAINT = 0.02
"""Weight of what is behind things against that of their feet."""

REACH = 0.15
"""How far up the colour of a foot is followed, as a share of the longer side."""


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
    """(H, W) float32, 0..1: how much a pixel looks like sky or haze: bright, not warm, high up, open to the top."""
    height, width = frame.shape[:2]
    color = frame.astype(np.float32) / 255.0
    bright = np.clip((color.max(axis=2) - 0.45) / 0.3, 0.0, 1.0)
    cool = np.clip((color[..., 2] - color[..., 0] + 0.05) / 0.1, 0.0, 1.0)
    not_green = np.clip((color[..., 2] - color[..., 1] + 0.08) / 0.1, 0.0, 1.0)
    high = np.clip((0.65 - np.arange(height, dtype=np.float32)[:, None] / height) / 0.15, 0.0, 1.0)
    likely = np.asarray(bright * cool * not_green * high, np.float32)
    # leaves and wires before the sky part it; a pale window in a wall is no part of it
    gap = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (max(3, round(0.03 * max(height, width))),) * 2)
    _, labels = cv2.connectedComponents(cv2.morphologyEx((likely > 0.3).astype(np.uint8), cv2.MORPH_CLOSE, gap))
    open_above = np.setdiff1d(labels[0], 0)
    return np.where(np.isin(labels, open_above), likely, np.float32(0))


def ground_edge(frame: Bytes, sky: Floats) -> Floats:
    """Row in each column where the ground ends and what stands on it begins.

    Colours of the ground are learnt from the picture itself: first what is low is taken for ground, then what looks
    like that. The line is the one that divides the two best and does not jump without reason (dynamic programming).

    Args:
        frame: (H, W, 3) uint8 sRGB.
        sky: (H, W) float32, 0..1.

    Returns:
        (W,) float32 pixel rows, at the horizon or below it.
    """
    height, width = frame.shape[:2]
    lab = cv2.cvtColor(cv2.GaussianBlur(frame, (0, 0), 1.0), cv2.COLOR_RGB2LAB).astype(np.int32)
    bins = (lab[..., 0] // 16 * 32 + lab[..., 1] // 8) * 32 + lab[..., 2] // 8  # chroma is mostly around the middle
    _, bins = np.unique(bins, return_inverse=True)
    bins = bins.reshape(height, width)
    row = (np.arange(height, dtype=np.float32)[:, None] + 0.5) / height
    prior = np.broadcast_to((row - GROUND_STARTS) / GROUND_BLUR, (height, width))
    low = 1.0 / (1.0 + np.exp(-prior))
    belief, evidence = low, prior
    for _ in range(4):
        lower = np.bincount(bins.ravel(), belief.ravel()) / belief.sum()
        upper_weight = (1.0 - belief) * (1.0 - sky) + 1e-6
        upper = np.bincount(bins.ravel(), upper_weight.ravel()) / upper_weight.sum()
        ratio = np.log((lower + RARE) / (upper + RARE)).astype(np.float32)[bins]
        ratio = edgeaware.smooth(ratio[None], frame, 0.03 * max(height, width), 0.3)[0]
        evidence = np.clip(0.5 * prior + ratio, -6.0, 6.0)
        belief = 1.0 / (1.0 + np.exp(-evidence))
    # what it costs to let the ground end above row r: the pixels below it that look like no ground, and those above
    # it that do
    cost = np.vstack([np.zeros((1, width)), np.cumsum(evidence, axis=0)])
    cost[: round(HORIZON * height)] = np.inf
    rows = np.arange(height + 1)[:, None] * JUMP_COST
    total = cost[:, 0]
    best = [total]
    for x in range(1, width):
        total = cost[:, x] + _near_least(total[:, None], rows)[:, 0]
        best.append(total)
    edge = np.empty(width, np.float32)
    at = int(np.argmin(best[-1]))
    edge[-1] = at
    for x in range(width - 2, -1, -1):
        at = int(np.argmin(best[x] + JUMP_COST * np.abs(np.arange(height + 1) - at)))
        edge[x] = at
    return edge


def _near_least(values: NDArray[np.float64], slope: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lowest of all values along axis 0, plus the way there."""
    down = np.minimum.accumulate(values - slope) + slope
    up = np.minimum.accumulate((values + slope)[::-1])[::-1] - slope
    return np.minimum(down, up)


def guess(frame: Bytes) -> Floats:
    """Disparity of what stands still in one frame, by weak cues.

    Args:
        frame: (H, W, 3) uint8 sRGB, at working size.

    Returns:
        (H, W) float32, FAR (far) to 1 (near).
    """
    height, width = frame.shape[:2]
    blue = sky(frame)
    rows = np.arange(height, dtype=np.float32)[:, None] + 0.5
    floor = ground(rows, height)
    edge = ground_edge(frame, blue)[None, :]
    # what stands on the ground is as near as its foot: things as far up as their colours go, behind them the rest
    wide = np.ones((1, max(3, round(THING * width))), np.uint8)
    behind = ground(np.maximum(rows, cv2.morphologyEx(edge, cv2.MORPH_OPEN, wide)), height)
    foot = (rows < edge) & (rows > edge - 0.03 * height)
    upright, _ = edgeaware.fill(
        np.where(foot, ground(edge, height), behind), np.where(foot, 1.0, FAINT), frame, REACH * max(height, width), 0.3
    )
    floor = np.where(rows < edge, upright, floor)
    sharp, shallow = focus(frame)
    near = FAR + (1.0 - FAR) * sharp
    scene = floor * (1.0 - 0.8 * shallow) + near * (0.8 * shallow)
    scene = edgeaware.smooth(scene[None].astype(np.float32), frame, 0.04 * max(height, width), 0.35)[0]
    scene = scene + (FAR - scene) * blue * (1.0 - shallow)
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

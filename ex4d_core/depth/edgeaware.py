"""Filters that keep depth edges on colour edges: smoothing, hole filling, sharpening, upsampling.

All of them take a colour guide, run on one core in time linear in the number of pixels, and are deterministic.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


@njit(cache=True, fastmath=False)
def _recurse_rows(channels: Floats, feedback: Floats) -> None:
    """One pass forwards and one backwards along the rows of (C, H, W); feedback[y, x] couples x - 1 and x."""
    count, height, width = channels.shape
    for c in range(count):
        for y in range(height):
            for x in range(1, width):
                a = feedback[y, x]
                channels[c, y, x] += a * (channels[c, y, x - 1] - channels[c, y, x])
            for x in range(width - 2, -1, -1):
                a = feedback[y, x + 1]
                channels[c, y, x] += a * (channels[c, y, x + 1] - channels[c, y, x])


@njit(cache=True, fastmath=False)
def _recurse_columns(channels: Floats, feedback: Floats) -> None:
    """As `_recurse_rows`, along the columns; feedback[y, x] couples y - 1 and y."""
    count, height, width = channels.shape
    for c in range(count):
        for y in range(1, height):
            for x in range(width):
                a = feedback[y, x]
                channels[c, y, x] += a * (channels[c, y - 1, x] - channels[c, y, x])
        for y in range(height - 2, -1, -1):
            for x in range(width):
                a = feedback[y + 1, x]
                channels[c, y, x] += a * (channels[c, y + 1, x] - channels[c, y, x])


def smooth(channels: Floats, guide: Bytes, sigma_space: float, sigma_color: float, iterations: int = 3) -> Floats:
    """Smooth within regions of like colour, not across their edges.

    The recursive domain transform of Gastal and Oliveira, "Domain Transform for Edge-Aware Image and Video
    Processing", 2011, section 4.3.

    Args:
        channels: (C, H, W) float32, what to smooth.
        guide: (H, W, 3) uint8 sRGB, whose edges stop the smoothing.
        sigma_space: reach within one colour, pixels.
        sigma_color: the colour difference (sum over channels, 0..3) that counts as much as `sigma_space`.
        iterations: rounds of rows and columns; three leave no visible streaks.

    Returns:
        (C, H, W) float32, a new array.
    """
    color = guide.astype(np.float32) / 255.0
    ratio = sigma_space / sigma_color
    across = np.ones(guide.shape[:2], np.float32)
    down = np.ones(guide.shape[:2], np.float32)
    across[:, 1:] += ratio * np.abs(np.diff(color, axis=1)).sum(axis=2)
    down[1:] += ratio * np.abs(np.diff(color, axis=0)).sum(axis=2)
    result = np.ascontiguousarray(channels, np.float32).copy()
    for i in range(iterations):
        sigma = sigma_space * math.sqrt(3.0) * 2.0 ** (iterations - i - 1) / math.sqrt(4.0**iterations - 1.0)
        base = -math.sqrt(2.0) / sigma
        _recurse_rows(result, np.exp(base * across))
        _recurse_columns(result, np.exp(base * down))
    return result


def fill(values: Floats, weight: Floats, guide: Bytes, sigma_space: float, sigma_color: float) -> tuple[Floats, Floats]:
    """Average trusted values along regions of like colour (normalised convolution).

    Args:
        values: (H, W) float32; ignored where `weight` is 0.
        weight: (H, W) float32, 0..1, how far each value is trusted.
        guide: (H, W, 3) uint8 sRGB.
        sigma_space: see `smooth`.
        sigma_color: see `smooth`.

    Returns:
        (H, W) float32 averages (0 where no trust arrives), and (H, W) float32 the trust that arrived.
    """
    total, trust = smooth(np.stack([values * weight, weight]), guide, sigma_space, sigma_color)
    return total / np.maximum(trust, 1e-12), trust


@njit(cache=True, fastmath=False)
def _weighted_median(values: Floats, guide: Bytes, trust: Floats, radius: int, sigma: float) -> Floats:
    height, width = values.shape
    result = np.empty_like(values)
    size = (2 * radius + 1) ** 2
    taken = np.empty(size, np.float32)
    weights = np.empty(size, np.float32)
    scale = -1.0 / sigma
    for y in range(height):
        for x in range(width):
            n = 0
            total = 0.0
            for v in range(max(0, y - radius), min(height, y + radius + 1)):
                for u in range(max(0, x - radius), min(width, x + radius + 1)):
                    difference = 0.0
                    for c in range(3):
                        difference += abs(float(guide[v, u, c]) - float(guide[y, x, c]))
                    w = math.exp(difference * scale) * trust[v, u]
                    # insertion sort: neighbours are almost ordered, and there are few
                    value = values[v, u]
                    i = n
                    while i > 0 and taken[i - 1] > value:
                        taken[i] = taken[i - 1]
                        weights[i] = weights[i - 1]
                        i -= 1
                    taken[i] = value
                    weights[i] = w
                    total += w
                    n += 1
            running = 0.0
            result[y, x] = values[y, x]
            for i in range(n):
                running += weights[i]
                if running >= 0.5 * total and total > 0.0:
                    result[y, x] = taken[i]
                    break
    return result


def median(
    values: Floats, guide: Bytes, trust: Floats | None = None, radius: int = 2, sigma_color: float = 0.12
) -> Floats:
    """Median among neighbours of like colour: removes the halfway values that blur a depth edge.

    Args:
        values: (H, W) float32.
        guide: (H, W, 3) uint8 sRGB.
        trust: (H, W) float32 weight of each value, or None for equal trust.
        radius: of the window, pixels.
        sigma_color: colour difference (sum over channels, 0..3) at which a neighbour counts 1/e.

    Returns:
        (H, W) float32.
    """
    weight = np.ones(values.shape, np.float32) if trust is None else np.ascontiguousarray(trust, np.float32)
    return _weighted_median(
        np.ascontiguousarray(values, np.float32), np.ascontiguousarray(guide), weight, radius, sigma_color * 255.0
    )


@njit(cache=True, fastmath=False)
def _upsample(values: Floats, guide: Bytes, fine: Bytes, sigma: float) -> Floats:
    height, width = values.shape
    fine_height, fine_width = fine.shape[:2]
    result = np.empty((fine_height, fine_width), np.float32)
    step_y = height / fine_height
    step_x = width / fine_width
    scale = -1.0 / sigma
    for fy in range(fine_height):
        y = (fy + 0.5) * step_y - 0.5
        top = math.floor(y + 0.5) - 1
        for fx in range(fine_width):
            x = (fx + 0.5) * step_x - 0.5
            left = math.floor(x + 0.5) - 1
            total = 0.0
            weights = 0.0
            for v in range(top, top + 3):
                row = min(max(v, 0), height - 1)
                for u in range(left, left + 3):
                    column = min(max(u, 0), width - 1)
                    difference = 0.0
                    for c in range(3):
                        difference += abs(float(guide[row, column, c]) - float(fine[fy, fx, c]))
                    # a quadratic B-spline in space: smooth, and 0 at the rim of the 3x3 window
                    near_y = 1.0 - abs(v - y) / 1.5
                    near_x = 1.0 - abs(u - x) / 1.5
                    w = (near_y * near_y) * (near_x * near_x) * math.exp(difference * scale) + 1e-9
                    total += w * values[row, column]
                    weights += w
            result[fy, fx] = total / weights
    return result


def upsample(values: Floats, guide: Bytes, fine: Bytes, sigma_color: float = 0.15) -> Floats:
    """Enlarge to the size of a finer picture, putting the edges where the finer picture has them.

    Joint bilateral upsampling (Kopf et al. 2007) over the 3x3 nearest coarse pixels.

    Args:
        values: (h, w) float32.
        guide: (h, w, 3) uint8 sRGB, the picture at the coarse size.
        fine: (H, W, 3) uint8 sRGB, the picture at the size wanted.
        sigma_color: colour difference (sum over channels, 0..3) at which a neighbour counts 1/e.

    Returns:
        (H, W) float32.
    """
    if values.shape == fine.shape[:2]:
        return values.astype(np.float32, copy=True)
    return _upsample(
        np.ascontiguousarray(values, np.float32),
        np.ascontiguousarray(guide),
        np.ascontiguousarray(fine),
        sigma_color * 255.0,
    )

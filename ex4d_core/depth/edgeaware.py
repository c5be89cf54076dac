"""Filters that keep depth edges on colour edges: smoothing, hole filling, sharpening, upsampling.

All of them take a colour guide, run on one core in time linear in the number of pixels, and are deterministic.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Bools = NDArray[np.bool_]

STEEP = 0.08
"""Change of disparity over two pixels, as a share of it plus a quarter of the nearest, that is taken for an edge."""


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
    for c in range(3):
        across[:, 1:] += ratio * np.abs(color[:, 1:, c] - color[:, :-1, c])
        down[1:] += ratio * np.abs(color[1:, :, c] - color[:-1, :, c])
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
def _weighted_median(
    values: Floats, guide: Bytes, trust: Floats, wanted: Bools, radius: int, sigma: float
) -> Floats:  # pragma: no cover - compiled
    height, width = values.shape
    result = values.copy()
    size = (2 * radius + 1) ** 2
    taken = np.empty(size, np.float32)
    weights = np.empty(size, np.float32)
    likeness = np.exp(np.arange(766) * (-1.0 / sigma))
    nearness = np.exp(-1.0 * (np.arange(radius + 1) / radius) ** 2)
    for y in range(height):
        for x in range(width):
            if not wanted[y, x]:
                continue
            n = 0
            total = 0.0
            for v in range(max(0, y - radius), min(height, y + radius + 1)):
                for u in range(max(0, x - radius), min(width, x + radius + 1)):
                    difference = 0
                    for c in range(3):
                        difference += abs(np.int32(guide[v, u, c]) - np.int32(guide[y, x, c]))
                    w = likeness[difference] * trust[v, u] * nearness[abs(v - y)] * nearness[abs(u - x)]
                    if w < 1e-4:
                        continue
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
            for i in range(n):
                running += weights[i]
                if running >= 0.5 * total:
                    result[y, x] = taken[i]
                    break
    return result


def weighted_median(
    values: Floats, guide: Bytes, trust: Floats, wanted: Bools, radius: int, sigma_color: float
) -> Floats:
    """The median of a pixel's neighbours, in which those of like colour count most.

    Args:
        values: (H, W) float32.
        guide: (H, W, 3) uint8 sRGB.
        trust: (H, W) float32, 0..1, weight of each pixel.
        wanted: (H, W) bool: the other pixels stay as they are.
        radius: of the neighbourhood, pixels.
        sigma_color: colour difference (sum over channels, 0..765) at which a neighbour counts 1/e.

    Returns:
        (H, W) float32.
    """
    return _weighted_median(values, guide, trust, wanted, radius, sigma_color)


def snap(values: Floats, guide: Bytes, radius: int, sigma_color: float = 0.2) -> Floats:
    """Move depth edges onto colour edges.

    Depth from flow is smeared around an edge, and mostly too near beside it. There, every pixel takes the median of
    the pixels of like colour in its neighbourhood, in which those away from the smear count most.

    Args:
        values: (H, W) float32 disparity, nearest about 1.
        guide: (H, W, 3) uint8 sRGB.
        radius: how far the smear reaches, pixels.
        sigma_color: colour difference (sum over channels, 0..3) at which a neighbour counts 1/e.

    Returns:
        (H, W) float32.
    """
    values = np.ascontiguousarray(values, np.float32)
    cross = np.ones((3, 3), np.uint8)
    slope = cv2.morphologyEx(values, cv2.MORPH_GRADIENT, cross) / (values + np.float32(0.25))
    trust = np.exp(-np.square(slope / STEEP)).astype(np.float32) + np.float32(1e-2)
    window = np.ones((radius + 1, radius + 1), np.uint8)
    wanted = cv2.dilate((slope > STEEP).astype(np.uint8), window).astype(np.bool_)
    snapped = _weighted_median(values, np.ascontiguousarray(guide), trust, wanted, radius, sigma_color * 255.0)
    return np.asarray(cv2.medianBlur(snapped, 3), np.float32)  # single pixels that took the other side's value


def purity(values: Floats, jump: float, reach: int = 2) -> Floats:
    """How surely a pixel lies on one surface rather than between two, on the smeared edge from the one to the other.

    Args:
        values: (H, W) float32 disparity.
        jump: difference of two surfaces; what lies between values closer than this is a slope.
        reach: how far to look for the two, pixels.

    Returns:
        (H, W) float32, 0 half-way between two to 1 on one.
    """
    window = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    low, high = cv2.erode(values, window), cv2.dilate(values, window)
    apart = np.maximum(high - low, np.float32(1e-12))
    between = np.minimum(values - low, high - values) / apart  # 0 on a surface, 0.5 half-way
    weight = np.square(np.clip(apart / np.float32(jump), 0.0, 1.0))
    return np.asarray(np.exp(-np.square(between * weight / np.float32(0.12))), np.float32)


@njit(cache=True, nogil=True, fastmath=False)
def _upsample(values: Floats, guide: Bytes, fine: Bytes, sigma: float) -> Floats:
    height, width = values.shape
    fine_height, fine_width = fine.shape[:2]
    result = np.empty((fine_height, fine_width), np.float32)
    step_y = height / fine_height
    step_x = width / fine_width
    likeness = np.exp(np.arange(766) * (-1.0 / sigma))
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
                    difference = 0
                    for c in range(3):
                        difference += abs(np.int32(guide[row, column, c]) - np.int32(fine[fy, fx, c]))
                    # a window in space: smooth, and 0 at the rim of the 3x3 pixels
                    near_y = 1.0 - abs(v - y) / 1.5
                    near_x = 1.0 - abs(u - x) / 1.5
                    w = (near_y * near_y) * (near_x * near_x) * likeness[difference] + 1e-9
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

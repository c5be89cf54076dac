"""Many looks from one place become one clean picture: for each pixel the farthest surface that rests there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from ex4d_core.progress import Cancelled, OnProgress, stop_if

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

_SAME_SHARE = 0.06
"""Disparities of one surface differ by less than this share ..."""
_SAME_LEVEL = 0.01
"""... plus this share of the near end of the take's."""
_LEAST_SHARE, _LEAST_LOOKS = 0.04, 2
"""A surface is there if so many looks agree, of those that there are."""
_MOVING_SHARE = 0.35
"""A surface that moves in more of its looks than these rests nowhere."""
_SAME_COLOR = 24
"""Colours of one surface differ by at most so many of 255 levels in each channel."""
_LEAST_ALIKE = 0.5
"""Share of the looks whose colour has to be that of the median."""
_STRIP = 32
"""Rows at a time: between two of them a cancel is noticed."""
_SMALLEST = 12
"""Patches of fewer pixels are noise."""

_MOVES, _NEAR_MOTION = 1, 2
MOVES, NEAR_MOTION = np.uint8(_MOVES), np.uint8(_NEAR_MOTION)
"""Bits of `Looks.motion`: shows what moves; lies beside it, where silhouettes and their shadows mix."""


@dataclass(frozen=True, eq=False)
class Looks:
    """What N frames show to one camera."""

    color: NDArray[np.uint8]
    """(N, H, W, 3) uint8 sRGB."""
    disparity: Floats
    """(N, H, W) float32, 1 / z-depth; 0 where a frame shows nothing."""
    motion: NDArray[np.uint8]
    """(N, H, W) bits."""


@dataclass(frozen=True, eq=False)
class Layer:
    """The clean background."""

    color: NDArray[np.uint8]
    """(H, W, 3) uint8 sRGB; black in holes."""
    depth: Floats
    """(H, W) float32, z-depth, scene units; infinite in holes."""
    agreement: float
    """Mean share of the looks' pixels that show it."""
    gain: float
    """Mean share of the pixels that show it at other times and not at one's own."""

    @property
    def there(self) -> Bools:
        """(H, W) bool, False in holes."""
        return np.isfinite(self.depth)


def fuse(looks: Looks, on_progress: OnProgress, cancelled: Cancelled) -> Layer:
    """See above.

    Of the disparities of a pixel those that agree are one surface. The farthest of the surfaces that rest is the
    background, unless the colour says that it is a nearer one whose depth was mistaken now and then. Its depth and
    colour are medians over the looks that show it, without those beside motion where others are left.

    Raises:
        CancelledError: `cancelled` said so.
    """
    _, height, width = looks.disparity.shape
    color = np.zeros((height, width, 3), np.uint8)
    disparity = np.zeros((height, width), np.float32)
    seen = np.zeros((height, width), np.int32)
    some = looks.disparity[:, ::4, ::4]
    level = np.float32(_SAME_LEVEL * np.percentile(some[some > 0], 95)) if (some > 0).any() else np.float32(0)
    for top in range(0, height, _STRIP):
        rows = slice(top, top + _STRIP)
        stop_if(cancelled)
        _fuse(
            looks.color[:, rows], looks.disparity[:, rows], looks.motion[:, rows], level, color[rows],
            disparity[rows], seen[rows],
        )  # fmt: skip
        on_progress(min(top + _STRIP, height), height, "fusing the background")
    _drop_specks(disparity)
    color[disparity == 0] = 0
    looked = (looks.disparity > 0).sum(axis=0, dtype=np.int32)
    agreement = float(np.where(disparity > 0, seen, 0).sum() / max(int(looked.sum()), 1))
    count = len(looks.disparity)
    gain = float(np.where(disparity > 0, count - seen, 0).sum() / disparity.size / count)
    with np.errstate(divide="ignore"):
        return Layer(color, np.float32(1) / disparity, agreement, gain)


def _drop_specks(disparity: Floats) -> None:
    """Make holes (0) of patches of a few pixels."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((disparity > 0).astype(np.uint8), connectivity=4)
    small = np.asarray(stats)[:, cv2.CC_STAT_AREA] < _SMALLEST
    disparity[small[np.asarray(labels, np.intp)]] = 0


@numba.njit(cache=True, nogil=True)
def _fuse(
    colors: Any, disparities: Any, motion: Any, level: Any, color: Any, disparity: Any, seen: Any
) -> None:  # pragma: no cover - compiled
    """Rows of `fuse`: colour and disparity (0 = hole), and how many looks show the surface."""
    count, height, width = disparities.shape
    values = np.empty(count, np.float32)
    first = np.empty(count, np.int64)
    last = np.empty(count, np.int64)
    median = np.empty(3, np.int64)
    other = np.empty(3, np.int64)
    picked = np.empty(count, np.int64)
    for y in range(height):
        for x in range(width):
            n = 0
            for k in range(count):
                if disparities[k, y, x] > 0:
                    values[n] = disparities[k, y, x]
                    n += 1
            if n < _LEAST_LOOKS:
                continue
            all_values = values[:n]
            all_values.sort()
            need = max(_LEAST_LOOKS, int(np.ceil(_LEAST_SHARE * n)))
            surfaces = 0
            i = 0
            while i < n:
                j = i
                limit = all_values[i] * np.float32(1 + _SAME_SHARE) + level
                while j + 1 < n and all_values[j + 1] <= limit:
                    j += 1
                if j - i + 1 >= need:
                    first[surfaces], last[surfaces] = i, j
                    surfaces += 1
                i = j + 1
            best = -1
            members = 0
            for s in range(surfaces):
                low, high = all_values[first[s]], all_values[last[s]]
                size = _resting(colors, disparities, motion, y, x, low, high, need, other, picked)
                if size == 0:
                    continue
                if best < 0 or (last[s] - first[s] + 1 > members and _alike(median, other)):
                    best, members = s, last[s] - first[s] + 1
                    median[:] = other
            if best < 0:
                continue
            low, high = all_values[first[best]], all_values[last[best]]
            size = _resting(colors, disparities, motion, y, x, low, high, need, other, picked)
            for k in range(size):
                values[k] = disparities[picked[k], y, x]
            chosen = values[:size]
            chosen.sort()
            disparity[y, x] = (chosen[(size - 1) // 2] + chosen[size // 2]) / 2
            for c in range(3):
                color[y, x, c] = other[c]
            seen[y, x] = members


@numba.njit(cache=True, nogil=True)
def _alike(a: Any, b: Any) -> Any:  # pragma: no cover - compiled
    return abs(a[0] - b[0]) <= _SAME_COLOR and abs(a[1] - b[1]) <= _SAME_COLOR and abs(a[2] - b[2]) <= _SAME_COLOR


@numba.njit(cache=True, nogil=True)
def _resting(
    colors: Any, disparities: Any, motion: Any, y: Any, x: Any, low: Any, high: Any, need: Any, median: Any, picked: Any
) -> Any:  # pragma: no cover - compiled
    """The looks of a pixel that show the surface between two disparities at rest: how many, which, and their median
    colour; 0 if it does not rest."""
    total, moving, clear = 0, 0, 0
    for k in range(len(disparities)):
        if low <= disparities[k, y, x] <= high:
            total += 1
            if motion[k, y, x] & _MOVES:
                moving += 1
            elif motion[k, y, x] == 0:
                clear += 1
    if moving > _MOVING_SHARE * total:
        return 0
    # Beside motion only if there is no other time.
    forbidden = (_MOVES | _NEAR_MOTION) if clear >= need else _MOVES
    size = 0
    for k in range(len(disparities)):
        if low <= disparities[k, y, x] <= high and motion[k, y, x] & forbidden == 0:
            picked[size] = k
            size += 1
    if size < need:
        return 0
    channel = np.empty(size, np.uint8)
    for c in range(3):
        for k in range(size):
            channel[k] = colors[picked[k], y, x, c]
        channel.sort()
        median[c] = (np.int64(channel[(size - 1) // 2]) + np.int64(channel[size // 2]) + 1) // 2
    alike = 0
    for k in range(size):
        near = True
        for c in range(3):
            if abs(np.int64(colors[picked[k], y, x, c]) - median[c]) > _SAME_COLOR:
                near = False
        if near:
            alike += 1
    return size if alike >= _LEAST_ALIKE * size else 0

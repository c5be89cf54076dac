"""One scale and shift for the frames of a take, whose disparities each have a scale and shift of their own.

Pairs of frames, near and far apart in time, are compared along the flow; each pair says how the one's numbers follow
from the other's. All pairs together are solved for the scales and shifts of all frames, so that errors do not add up
from frame to frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ex4d_core.depth.odometry import solve_banded

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

BASELINES = (1, 2, 4, 8, 16)
"""Distances in frames of the pairs compared."""

MOTION = 0.003
"""By what share a moving camera changes the disparity of a whole picture from frame to frame, roughly. Pairs take it
for a change of scale; it is told from one by asking how much the frames' own scales jump about: where they do not,
they are believed, where they do, only their mean over a long time is."""

SMALL = 0.05
"""Disagreement with a pair, as a share of the scale or of the spread, that makes it no outlier."""

BAD = 3.0
"""A frame that fits the others this many times worse than is usual in its take is not used."""


@dataclass(frozen=True)
class Relation:
    """How the disparity of frame `second` follows from that of `first`: scale times it, plus shift."""

    first: int
    second: int
    """Later than `first`."""
    scale: float
    shift: float
    miss: float
    """Median difference left over, as a share of the spread of the disparity."""


@dataclass(frozen=True)
class Gauge:
    """What brings the frames of a take to one scale and shift."""

    scale: Doubles
    """(T,) float64, > 0."""
    shift: Doubles
    """(T,) float64."""
    good: NDArray[np.bool_]
    """(T,) bool: False for single frames that fit none of the others."""

    def apply(self, frame: int, values: Floats) -> Floats:
        """Bring a frame's disparity to the scale and shift of its take."""
        return np.asarray(self.scale[frame] * values + self.shift[frame], np.float32)


def relate(x: Floats, y: Floats, weight: Floats) -> tuple[float, float, float]:
    """Scale and shift that turn `x` into `y`, the same whichever of them is the noisier.

    Least squares would shrink the scale by the noise in `x`, from pair to pair, until nothing is left of it. The
    reduced major axis (the ratio of the spreads) does not; outliers are weighed down in a few rounds.

    Args:
        x: (N,) float32.
        y: (N,) float32, of the same points.
        weight: (N,) float32, 0..1, how far they are trusted to be the same.

    Returns:
        Scale (0 if one of them is constant), shift, and the median difference left over as a share of the spread.
    """
    known = weight.astype(np.float64)
    if known.sum() < 16.0:
        return 0.0, 0.0, math.inf
    robust, scale, shift, miss = known, 1.0, 0.0, np.zeros_like(known)
    for _ in range(6):
        total = float(robust.sum())
        mean_x, mean_y = float(robust @ x) / total, float(robust @ y) / total
        spread_x = math.sqrt(float(robust @ np.square(x - mean_x)) / total)
        spread_y = math.sqrt(float(robust @ np.square(y - mean_y)) / total)
        if min(spread_x, spread_y) <= 1e-6 * (abs(mean_x) + abs(mean_y)):
            return 0.0, 0.0, math.inf
        scale = spread_y / spread_x
        shift = mean_y - scale * mean_x
        miss = np.abs(scale * x + shift - y)
        limit = 4.0 * float(np.median(miss[known > 0.1])) + 1e-6 * spread_y if (known > 0.1).any() else spread_y
        robust = known * np.square(np.clip(1.0 - np.square(miss / limit), 0.0, None)) + 1e-6 * known
    spread = math.sqrt(float(known @ np.square(y - float(known @ y) / known.sum())) / known.sum())
    return scale, shift, float(np.median(miss[known > 0.1])) / max(spread, 1e-12)


def solve_gauge(relations: Sequence[Relation], spread: Doubles, anchored: bool) -> Gauge:
    """Scale and shift of every frame from those between pairs.

    Args:
        relations: of a take, frames counted from its first.
        spread: (T,) float64, standard deviation of each frame's disparity.
        anchored: believe the frames' own trend in the long run (see `MOTION`); not if the camera stands still.
    """
    frames = len(spread)
    good = _fitting(relations, frames)
    used = [r for r in relations if r.scale > 0 and good[r.first] and good[r.second]]
    steps = [(r.first, r.second, -math.log(r.scale)) for r in used]
    log_scale = _spread_out(steps, frames, _anchor(steps, 1.0) if anchored else 1e-9, 1.0)
    scale = np.exp(log_scale - (float(log_scale[good].mean()) if good.any() else 0.0))
    steps = [(r.first, r.second, -scale[r.second] * r.shift) for r in used]
    unit = float(np.median(scale * spread))
    shift = _spread_out(steps, frames, _anchor(steps, unit) if anchored else 1e-9, unit)
    return Gauge(scale, shift - (float(shift[good].mean()) if good.any() else 0.0), good)


def _anchor(steps: Sequence[tuple[int, int, float]], unit: float) -> float:
    """Weight of a frame's own value against a pair: the less the values jump from frame to frame, the more."""
    near = np.array([step for first, second, step in steps if second - first == 1])
    if len(near) < 3:
        return 1.0
    # a jump of one frame shows in two steps, with opposite signs; a trend of the camera cancels out
    jump = float(np.median(np.abs(np.diff(near)))) * 1.48 / math.sqrt(6.0)
    stiffness = sum(distance**2 for distance in BASELINES)
    return stiffness / (1.0 + (jump / (MOTION * unit)) ** 2)


def _fitting(relations: Sequence[Relation], frames: int) -> NDArray[np.bool_]:
    """Which frames fit the others about as well as is usual."""
    misses: list[list[float]] = [[] for _ in range(frames)]
    for r in relations:
        misses[r.first].append(r.miss)
        misses[r.second].append(r.miss)
    own = np.array([np.median(m) if m else 0.0 for m in misses])
    usual = float(np.median(own))
    return own <= max(BAD * usual, 0.05) if math.isfinite(usual) else np.ones(frames, np.bool_)


def _spread_out(steps: Sequence[tuple[int, int, float]], frames: int, anchor: float, unit: float) -> Doubles:
    """Values whose differences are the steps (first, second, second - first), by robust least squares."""
    values = np.zeros(frames)
    if not steps:
        return values
    first, second = (np.array([step[i] for step in steps]) for i in (0, 1))
    wanted = np.array([step[2] for step in steps])
    weight = np.ones(len(steps))
    for _ in range(8):
        # the frames of a pair are never far apart: row r of the band holds the entries (r, r) to (r, r + reach)
        band, right = np.zeros((frames, int((second - first).max()) + 1)), np.zeros(frames)
        band[:, 0] = anchor
        np.add.at(band[:, 0], first, weight)
        np.add.at(band[:, 0], second, weight)
        np.add.at(band, (first, second - first), -weight)
        np.add.at(right, second, weight * wanted)
        np.add.at(right, first, -weight * wanted)
        values = solve_banded(band, right)
        miss = np.abs(values[second] - values[first] - wanted)
        # pairs of a frame that jumps far are not to lose against its anchor, however well all others agree
        typical = 3.0 * float(np.median(miss)) + SMALL * unit + 1e-9
        weight = 1.0 / (1.0 + np.square(miss / typical))
    return values

# SPDX-License-Identifier: GPL-3.0-or-later
"""Few keys for a smooth motion: Bezier curves fitted to it, as an animator would set them.

An F-curve's segment between two keys is a cubic Bezier in time and value. The handles' lengths in time are free, which
makes one segment follow a quarter of a sine to a ten-thousandth, where a cubic polynomial would miss it by a hundredth.
A key's two handles lie on one line, so the motion has no kinks. Ends are met exactly.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

MAX_KEYS = 5
"""Most keys of a channel."""
_SHORTEST, _LONGEST = 0.06, 0.5
"""Length of a handle in time, as a share of its segment; two of the longest just meet."""
_ROUNDS = 30
_SAMPLES = 24
"""Per segment, at which the curve is compared with the motion."""


Motion = Callable[[np.ndarray], np.ndarray]
"""A value over time: from (N,) float64, 0..1, to (N,) float64."""


@dataclass(frozen=True)
class Key:
    """One key of an F-curve, with the ends of its handles: (time, value) each, time 0..1."""

    time: float
    value: float
    left: tuple[float, float]
    right: tuple[float, float]


@dataclass(frozen=True)
class Fit:
    """Keys for a motion."""

    keys: tuple[Key, ...]
    error: float
    """Largest difference from the motion at a whole frame, its unit."""


def fit(motion: Motion, tolerance: float, frames: int, clock: Motion | None = None) -> Fit:
    """The fewest keys that follow a motion; where `MAX_KEYS` will not do, those that come closest.

    Args:
        motion: what to follow.
        tolerance: largest difference allowed.
        frames: length of the motion in frames, the last included; keys lie on whole frames.
        clock: progress of the motion over time, rising from 0 to 1: keys are spread evenly over it; default: time.
    """
    ends = motion(np.array([0.0, 1.0]))
    times = np.linspace(0.0, 1.0, 4 * _SAMPLES + 1)
    values = motion(times)
    if frames == 1 or np.abs(values - values[0]).max() <= tolerance * 1e-3:
        return Fit((Key(0.0, float(ends[0]), (0.0, float(ends[0])), (0.0, float(ends[0]))),), 0.0)
    best = None
    for count in range(2, min(MAX_KEYS, frames) + 1):
        even = np.linspace(0.0, 1.0, count)
        for spread in (even,) if clock is None else (np.interp(even, clock(times), times), even):
            found = _fit(times, values, np.unique(np.round(spread * (frames - 1))) / (frames - 1), tolerance)
            if best is None or found.error < best.error:
                best = found
            if best.error <= tolerance:
                return _at_frames(best, motion, frames)
    return _at_frames(best, motion, frames)


def _at_frames(found: Fit, motion: Motion, frames: int) -> Fit:
    """With the error where pictures are: a shot of three frames is right if those are."""
    times = np.linspace(0.0, 1.0, frames)
    return Fit(found.keys, float(np.abs(evaluate(found.keys, times) - motion(times)).max()))


def evaluate(keys: tuple[Key, ...], times: np.ndarray) -> np.ndarray:
    """The curve's values, as Blender evaluates it: (N,) float64 for (N,) times 0..1."""
    if len(keys) == 1:
        return np.full(len(times), keys[0].value)
    result = np.empty(len(times))
    for one, two in pairwise(keys):
        inside = (times >= one.time) & (times <= two.time)
        span = two.time - one.time
        share = _share(
            (times[inside] - one.time) / span, (one.right[0] - one.time) / span, (two.time - two.left[0]) / span
        )
        b = _bernstein(share)
        result[inside] = b @ [one.value, one.right[1], two.left[1], two.value]
    return result


def _fit(times: np.ndarray, values: np.ndarray, knots: np.ndarray, tolerance: float) -> Fit:
    """Levenberg and Marquardt over the handles' lengths; values and slopes follow from them by linear least squares."""
    free = np.zeros(2 * (len(knots) - 1))  # where `_length` gives a third: a cubic polynomial
    residual, solution = _solve(times, values, knots, _length(free))
    damping = 1e-3
    idle = 0
    for turn in range(_ROUNDS):
        error = np.abs(residual).max()
        if error <= tolerance or (turn == 5 and error > 5 * tolerance and len(knots) < MAX_KEYS):
            break  # good, or so far off that a further key is quicker
        jacobian = np.empty((len(times), len(free)))
        for index in range(len(free)):
            moved = free.copy()
            moved[index] += 1e-4
            jacobian[:, index] = (_solve(times, values, knots, _length(moved))[0] - residual) / 1e-4
        normal, gradient = jacobian.T @ jacobian, jacobian.T @ residual
        while damping < 1e9:
            step = np.linalg.solve(normal + damping * (np.diag(np.diag(normal)) + 1e-12 * np.eye(len(free))), -gradient)
            tried, found = _solve(times, values, knots, _length(free + step))
            if tried @ tried < residual @ residual:
                improved = 1 - (tried @ tried) / (residual @ residual)
                free, residual, solution, damping = free + step, tried, found, damping / 5
                break
            damping *= 4
        else:
            break
        idle = idle + 1 if improved < 0.01 else 0
        if idle == 3:
            break
    return Fit(_keys(knots, _length(free), solution), float(np.abs(residual).max()))


def _length(free: np.ndarray) -> np.ndarray:
    """Any number to a handle's length within its limits; 0 is a third."""
    middle = np.log((1 / 3 - _SHORTEST) / (_LONGEST - 1 / 3))
    return _SHORTEST + (_LONGEST - _SHORTEST) / (1 + np.exp(-np.clip(free + middle, -30, 30)))


def _solve(
    times: np.ndarray, values: np.ndarray, knots: np.ndarray, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The best values and slopes at the knots for handles of these lengths.

    Args:
        times: (N,) 0..1; likewise `values`.
        values: see `times`.
        knots: (K,) times of the keys.
        lengths: (2 (K-1),) of each segment's right and left handle, as shares of the segment.

    Returns:
        (N,) what is left of the values; (2K,) values at the knots, then slopes.
    """
    count, rows = len(knots), np.arange(len(times))
    segment = np.clip(np.searchsorted(knots, times, side="right") - 1, 0, count - 2)  # (N,)
    span, out, back = np.diff(knots)[segment], lengths[0::2][segment], lengths[1::2][segment]  # (N,) each
    b = _bernstein(_share((times - knots[segment]) / span, out, back))  # (N, 4)
    basis = np.zeros((len(times), 2 * count))
    basis[rows, segment] = b[:, 0] + b[:, 1]
    basis[rows, segment + 1] = b[:, 2] + b[:, 3]
    basis[rows, count + segment] = b[:, 1] * out * span
    basis[rows, count + segment + 1] = -b[:, 2] * back * span
    solution = np.zeros(2 * count)
    solution[[0, count - 1]] = values[[0, -1]]
    rest = [index for index in range(2 * count) if index not in (0, count - 1)]
    free = basis[:, rest]
    # The normal equations: at most ten unknowns, well conditioned, and many times quicker than `lstsq`.
    solution[rest] = np.linalg.solve(free.T @ free + 1e-12 * np.eye(len(rest)), free.T @ (values - basis @ solution))
    return basis @ solution - values, solution


def _keys(knots: np.ndarray, lengths: np.ndarray, solution: np.ndarray) -> tuple[Key, ...]:
    count, spans = len(knots), np.diff(knots)
    keys = []
    for index in range(count):
        time, value, slope = knots[index], solution[index], solution[count + index]
        right = lengths[2 * index] * spans[index] if index < count - 1 else None
        left = lengths[2 * index - 1] * spans[index - 1] if index else right
        right = left if right is None else right
        keys.append(
            Key(
                float(time),
                float(value),
                (float(time - left), float(value - slope * left)),
                (float(time + right), float(value + slope * right)),
            )
        )
    return tuple(keys)


def _bernstein(share: np.ndarray) -> np.ndarray:
    """(N, 4) weights of a cubic's four points."""
    other = 1 - share
    return np.stack([other**3, 3 * other**2 * share, 3 * other * share**2, share**3], axis=1)


def _share(time: np.ndarray, out: np.ndarray | float, back: np.ndarray | float) -> np.ndarray:
    """Where on a segment's curve a time lies: (N,) 0..1 for times 0..1, by Newton's method with bisection at hand."""
    low, high, share = np.zeros_like(time), np.ones_like(time), time.copy()
    for _ in range(20):
        other = 1 - share
        error = 3 * other**2 * share * out + 3 * other * share**2 * (1 - back) + share**3 - time
        if np.abs(error).max(initial=0.0) < 1e-11:
            break
        low, high = np.where(error < 0, share, low), np.where(error > 0, share, high)
        slope = 3 * other**2 * out + 6 * other * share * (1 - back - out) + 3 * share**2 * back
        with np.errstate(divide="ignore", invalid="ignore"):
            step = share - error / slope
        share = np.where((step > low) & (step < high), step, (low + high) / 2)
    return share

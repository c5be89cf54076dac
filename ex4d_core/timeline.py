"""When the frames of a video are shown, and which constant rate stands for that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

DEFAULT_FPS = Fraction(24)

# Rates that cameras and editors use; a mean rate near one of them is taken for it.
STANDARD_RATES = tuple(
    Fraction(rate)
    for rate in (
        *("5", "6", "8", "10", "12", "12.5", "15", "24000/1001", "24", "25", "30000/1001", "30"),
        *("48000/1001", "48", "50", "60000/1001", "60", "90", "100", "120000/1001", "120", "240"),
    )
)

# A clip is constant if each frame stands within this share of a frame of its place on the grid: rounded
# timestamps (Matroska: 1 ms) pass, a dropped frame does not.
_GRID_TOLERANCE = 0.25


@dataclass(frozen=True)
class Timeline:
    """The presentation times of a video's frames."""

    ticks: NDArray[np.int64]
    """(n,) increasing, in units of `time_base`; n = 0 where the file has no timestamps."""
    time_base: Fraction
    """Seconds per tick."""
    last_duration: int
    """Ticks for which the last frame is shown."""
    complete: bool
    """False if the file ends before what its index promises."""

    @property
    def seconds(self) -> NDArray[np.float64]:
        """(n,) times since the first frame, seconds."""
        return (self.ticks - self.ticks[:1]).astype(np.float64) * float(self.time_base)

    @property
    def duration(self) -> float:
        """Seconds from the first frame's start to the last frame's end."""
        return float((int(self.ticks[-1]) - int(self.ticks[0]) + self.last_duration) * self.time_base)


def nearest_constant_rate(timeline: Timeline, declared: Sequence[Fraction | None]) -> tuple[Fraction, bool]:
    """The constant rate of a clip, and whether its frames leave that grid.

    A rate that puts each frame within a quarter of a frame of its place is the clip's own: what the file
    declares is tried first, then the standard rate nearest the mean, then the mean. Otherwise the clip is
    variable: if three quarters of the intervals agree (a camera that dropped frames) the rate is theirs, else
    the mean over the whole clip; within 2 % of a standard rate it is that one, else a fraction with a
    denominator of at most 100.

    Args:
        timeline: times of at least one frame.
        declared: what the container says, best first; None and 0 are skipped.

    Returns:
        frames per second, and True if the clip is variable.
    """
    known = [rate for rate in declared if rate]
    count = len(timeline.ticks)
    if count < 2:
        return (known[0] if known else DEFAULT_FPS), False
    mean = (count - 1) / ((int(timeline.ticks[-1]) - int(timeline.ticks[0])) * timeline.time_base)
    standard = nearest_standard(mean)
    plain = [rate for rate in known if rate.denominator <= 1001]
    candidates = [*plain, *([standard] if abs(standard / mean - 1) < 0.005 else []), mean.limit_denominator(1001)]
    seconds = timeline.seconds
    for rate in candidates:
        off = np.abs(seconds * float(rate) - np.arange(count)).max()
        if off <= _GRID_TOLERANCE:
            return rate, False
    intervals = np.diff(timeline.ticks)
    middle = float(np.median(intervals))
    alike = np.abs(intervals - middle) <= max(0.1 * middle, 1.0)
    if alike.mean() >= 0.75:
        mean = 1 / (Fraction(float(intervals[alike].mean())) * timeline.time_base)
        standard = nearest_standard(mean)
    rate = standard if abs(standard / mean - 1) < 0.02 else mean.limit_denominator(100)
    return max(rate, Fraction(1, 100)), True


def exact_rate(rate: Fraction | float) -> Fraction:
    """The rate that people mean by a number: 23.98 and 23.976 are 24000/1001.

    Within 0.03 % of a standard rate it is that one (24 is 0.1 % from 24000/1001), else the nearest fraction
    with a denominator of at most 1001.

    Raises:
        ValueError: not a positive, finite number.
    """
    if not 0 < rate < float("inf"):
        raise ValueError(f"{rate} frames per second")
    exact = Fraction(rate)
    standard = nearest_standard(exact)
    return standard if abs(standard / exact - 1) < 0.0003 else exact.limit_denominator(1001)


def nearest_standard(rate: Fraction) -> Fraction:
    """The standard rate with the smallest ratio to `rate`."""
    return min(STANDARD_RATES, key=lambda standard: max(standard / rate, rate / standard))


def resample(timeline: Timeline, rate: Fraction) -> NDArray[np.int64]:
    """Which source frame each frame of a constant-rate clip shows.

    Output frame k stands at k / rate seconds after the first frame and shows the source frame whose time is
    nearest, the earlier of two equally near. The clip keeps its duration.

    Returns:
        (N,) non-decreasing indices into `timeline.ticks`, N at least 1.
    """
    seconds = timeline.seconds
    frames = max(1, round(timeline.duration * float(rate)))
    wanted = np.arange(frames) / float(rate)
    after = np.clip(np.searchsorted(seconds, wanted), 0, len(seconds) - 1)
    before = np.maximum(after - 1, 0)
    # 1 ns: far under any real difference, far over the rounding of float64 seconds.
    earlier = wanted - seconds[before] <= np.abs(seconds[after] - wanted) + 1e-9
    return np.where(earlier, before, after).astype(np.int64)

"""The windows of Video Depth Anything (Chen et al. 2025, section 3.3): which frames each sees, and how they are joined.

Windows of 32 frames begin every 22. The first ten of a later one are not its own: they are ten of the frames that the
window before saw, among them the first of the clip and its last eight. The first two of those tell the scale and shift
between the windows, the last eight fade one into the other. What a window sees depends on frame numbers alone, so that
the windows of a clip can be made in any order, and kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ex4d_core.progress import Cancelled, stop_if

Floats = NDArray[np.float32]

LENGTH = 32
KEYFRAMES = (0, 12, 24, 25, 26, 27, 28, 29, 30, 31)
"""Places in a window whose frames the next window sees first."""
STEP = LENGTH - len(KEYFRAMES)
_ANCHORS = 2
"""Of the key frames, those that tell scale and shift; the others are faded."""
_FADED = len(KEYFRAMES) - _ANCHORS
_HELD = 2
"""Windows held in memory."""


def window_count(frames: int) -> int:
    """How many windows a take of so many frames has."""
    return -(-frames // STEP)


def window_frames(window: int, frames: int) -> list[int]:
    """The frame in each of the 32 places of a window; after the last frame of the take comes the last one again."""
    seen = list(range(LENGTH))
    for later in range(1, window + 1):
        first = later * STEP
        seen = [seen[place] for place in KEYFRAMES] + list(range(first + len(KEYFRAMES), first + LENGTH))
    return [min(frame, frames - 1) for frame in seen]


@dataclass(frozen=True)
class Gauge:
    """What brings a window's disparity to that of the first one."""

    scale: float = 1.0
    shift: float = 0.0

    def __call__(self, disparity: Floats) -> Floats:
        """float32 of any shape, >= 0."""
        return np.maximum(np.float32(self.scale) * disparity + np.float32(self.shift), np.float32(0))


@dataclass
class JoinedWindows:
    """Disparity of the frames of a take, up to one scale and shift, from that of its windows."""

    frames: int
    read: Callable[[int], Floats]
    """(32, h, w) float32 of a window, >= 0, as the network gives it."""
    gauges: tuple[Gauge, ...]
    _held: OrderedDict[int, Floats] = field(default_factory=OrderedDict, init=False)

    def __getitem__(self, frame: int, /) -> Floats:
        """(h, w) float32 >= 0. Raises: IndexError if there is no such frame."""
        return self.at_size(frame, None)

    def at_size(self, frame: int, size: tuple[int, int] | None) -> Floats:
        """As the official code gives it: every prediction is brought to `size` (width, height) first."""
        if not 0 <= frame < self.frames:
            raise IndexError(frame)
        window = max(0, (frame - len(KEYFRAMES)) // STEP)
        found = self._seen(window, frame, size)
        faded = frame - (window + 1) * STEP - _ANCHORS
        if faded < 0 or window + 1 == len(self.gauges):
            return found
        weight = np.float32(faded / (_FADED - 1))
        return np.asarray((1 - weight) * found + weight * self._seen(window + 1, frame, size), np.float32)

    def _seen(self, window: int, frame: int, size: tuple[int, int] | None) -> Floats:
        if window not in self._held:
            while len(self._held) >= _HELD:
                self._held.popitem(last=False)
            self._held[window] = self.read(window)
        values = self._held[window][frame - window * STEP]
        return self.gauges[window](values if size is None else enlarge(values, size))


def join_windows(
    frames: int, read: Callable[[int], Floats], size: tuple[int, int], cancelled: Cancelled
) -> JoinedWindows:
    """Find what brings the windows of a take together.

    Args:
        frames: of the take.
        read: (32, h, w) float32 of a window.
        size: width and height of the frames, at which the official code compares.
        cancelled: asked for each window.
    """
    gauges: list[Gauge] = []
    anchors: list[Floats] = []
    for window in range(window_count(frames)):
        stop_if(cancelled)
        seen = read(window)
        gauge = Gauge()
        if window:
            gauge = fit(np.stack([enlarge(values, size) for values in seen[:_ANCHORS]]), np.stack(anchors))
        gauges.append(gauge)
        # The first anchor stays for the whole take: scale and shift cannot wander off.
        latest = [gauge(enlarge(seen[place], size)) for place in KEYFRAMES[:_ANCHORS]]
        anchors = [*anchors[:1], *latest[1:]] if anchors else latest
    return JoinedWindows(frames, read, tuple(gauges))


def fit(given: Floats, wanted: Floats) -> Gauge:
    """Least-squares scale and shift from one disparity to another; none where `given` is constant."""
    x, y = given.astype(np.float64).ravel(), wanted.astype(np.float64).ravel()
    spread = x - x.mean()
    power = float(spread @ spread)
    if power == 0:
        return Gauge()
    scale = float(spread @ y) / power
    return Gauge(scale, float(y.mean() - scale * x.mean()))


def enlarge(values: Floats, size: tuple[int, int]) -> Floats:
    """Bilinear, corner pixels on corner pixels (PyTorch's `align_corners`).

    Args:
        values: (h, w) float32.
        size: width and height wanted.
    """
    width, height = size
    rows, columns = _weights(values.shape[0], height), _weights(values.shape[1], width)
    return np.asarray(rows @ values @ columns.T, np.float32)


def _weights(given: int, wanted: int) -> Floats:
    """(wanted, given) float32 of linear interpolation along an axis."""
    places = np.linspace(0, given - 1, wanted) if wanted > 1 else np.zeros(1)
    below = np.minimum(places.astype(int), max(given - 2, 0))
    above = np.minimum(below + 1, given - 1)
    weights = np.zeros((wanted, given), np.float32)
    every = np.arange(wanted)
    np.add.at(weights, (every, below), 1 - (places - below))
    np.add.at(weights, (every, above), places - below)
    return weights

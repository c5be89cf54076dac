"""Clips longer than a model's length: windows that begin with the last frames of the one before.

Lengths are 4n+1 because the VAE of Wan takes the first frame alone and then groups of four.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_GROUP = 4
_MOST_OVERLAP = 9
_SHARE = 4
"""Up to a quarter of a window is given to the overlap."""


@dataclass(frozen=True)
class Cut:
    """A clip in windows of one length, so that a model is compiled, and its memory measured, once."""

    total: int
    """Frames of the clip."""
    length: int
    """Frames of each window, 4n+1."""
    overlap: int
    """Frames that a window shares with the one before; 0 where there is only one window."""
    count: int
    """Windows."""

    def frames(self, window: int) -> list[int]:
        """Numbers of a window's frames in the clip; those beyond its end repeat the last."""
        start = window * (self.length - self.overlap)
        return [min(start + i, self.total - 1) for i in range(self.length)]

    def fresh(self, window: int) -> int:
        """How many frames of the clip end with this window: those that no later one overlaps."""
        end = self.total if window == self.count - 1 else (window + 1) * (self.length - self.overlap)
        return end - window * (self.length - self.overlap)


def cut(total: int, longest: int) -> Cut:
    """Windows for a clip: one if it fits, else as few as possible, of equal length.

    Args:
        total: frames of the clip, at least 1.
        longest: the model's length, 4n+1.
    """
    if total <= longest:
        return Cut(total, _length(total), 0, 1)
    overlap = _overlap(longest)
    count = -(-(total - overlap) // (longest - overlap))
    return Cut(total, _length(-(-(total - overlap) // count) + overlap), overlap, count)


def window_seed(seed: int, window: int) -> int:
    """The seed of a window: the shot's own for the first, so that a short clip is what the model makes of it alone."""
    if window == 0:
        return seed
    return int(np.random.SeedSequence([seed, window]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def blended(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Go over from the frames of one window to those of the next, a little with each frame.

    Args:
        before: (overlap, ..., 3) uint8, the last frames of a window.
        after: the same frames as the next window has them.

    Returns:
        The same shape, uint8.
    """
    steps = (np.arange(len(before), dtype=np.float32) + 1) / (len(before) + 1)
    weight = steps.reshape(-1, *(1,) * (before.ndim - 1))
    return np.rint(before * (1 - weight) + after * weight).astype(np.uint8)


def _length(frames: int) -> int:
    """The least 4n+1 that holds so many frames."""
    return -(-(frames - 1) // _GROUP) * _GROUP + 1


def _overlap(longest: int) -> int:
    """4n+1 frames, so that the VAE cuts what is shared as it cut it before."""
    return max(1, (min(_MOST_OVERLAP, longest // _SHARE) - 1) // _GROUP * _GROUP + 1)

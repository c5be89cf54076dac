"""Which footage teaches nothing: too dark to see, flat as a wall or a title's ground, frozen."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

TOO_DARK = "It is too dark."
FLAT = "It is flat: there is next to nothing to see."
FROZEN = "Nothing moves in it."

_CHANGED = 6
"""Grey levels by which a pixel must change to count ..."""
_BLUR = 1.5
"""... after a blur of so many pixels (standard deviation), for grain and compression are no motion."""


@dataclass(frozen=True)
class Filters:
    """What a clip must have at least; 0 lets everything pass."""

    brightness: float = 16.0
    """Mean grey level, 0 to 255, of its median frame."""
    contrast: float = 8.0
    """Standard deviation of grey levels, 0 to 255, of its median frame."""
    motion: float = 0.002
    """Share of pixels that change from a frame to the next, mean over the clip."""


@dataclass(frozen=True, eq=False)
class Looks:
    """What frames look like, in numbers; see `Filters`."""

    brightness: NDArray[np.float64]
    """(T,)."""
    contrast: NDArray[np.float64]
    """(T,)."""
    motion: NDArray[np.float64]
    """(T,): against the frame before; 0 for the first."""


class Watch:
    """Looks at frames as they come."""

    def __init__(self) -> None:
        self._before: NDArray[np.uint8] | None = None
        self._seen: list[tuple[float, float, float]] = []

    def see(self, frame: NDArray[np.uint8]) -> None:
        """Look at the next one: (h, w, 3) uint8 sRGB, all of one size; a few hundred pixels wide is enough."""
        grey = np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8)
        smooth = np.asarray(cv2.GaussianBlur(grey, (0, 0), _BLUR), np.uint8)
        moved = 0.0
        if self._before is not None:
            moved = float((cv2.absdiff(smooth, self._before) > _CHANGED).mean())
        self._before = smooth
        self._seen.append((float(grey.mean()), float(grey.std()), moved))

    def looks(self) -> Looks:
        """Of all frames so far."""
        table = np.array(self._seen, np.float64).reshape(-1, 3)
        return Looks(*table.T)


def fault(looks: Looks, first: int, frames: int, least: Filters) -> str:
    """Why frames cannot be a clip, one sentence; empty: they can.

    Args:
        looks: of the video.
        first: of the frames.
        frames: how many.
        least: what they must have.
    """
    span = slice(first, first + frames)
    if np.median(looks.brightness[span]) < least.brightness:
        return TOO_DARK
    if np.median(looks.contrast[span]) < least.contrast:
        return FLAT
    # the first frame's motion is against what came before the clip
    if looks.motion[first + 1 : first + frames].mean() < least.motion:
        return FROZEN
    return ""

"""Which frames of a clip are denoised together, what each starts from, and how windows are blended."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

WINDOW = 110
"""Frames that are denoised at once; the model was trained on no more."""
OVERLAP = 25
"""Frames that two windows have in common."""


@dataclass(frozen=True)
class Window:
    """Frames `begin` to `end - 1`."""

    begin: int
    end: int
    carried: int
    """How many of its first frames start from what the window before made of them, and are blended with it."""
    noise: tuple[int, ...]
    """For each frame the frame whose noise it starts from: the noises of the first window go round."""

    def __len__(self) -> int:
        return self.end - self.begin


@dataclass(frozen=True)
class Share:
    """What one window contributes to a frame."""

    window: int
    """Its number in the plan."""
    position: int
    """Of the frame in it."""
    weight: float


@dataclass(frozen=True)
class Plan:
    """All windows of a clip, in the order in which they are denoised."""

    windows: tuple[Window, ...]

    def __len__(self) -> int:
        return self.windows[-1].end

    @cached_property
    def takes(self) -> tuple[tuple[int, int], ...]:
        """First frame, and frame after the last, of each take."""
        begins = [window.begin for window in self.windows if not window.carried]
        return tuple(zip(begins, [*begins[1:], len(self)], strict=True))

    def shares(self, frame: int) -> tuple[Share, ...]:
        """The windows that make a frame; their weights sum to 1."""
        found: list[Share] = []
        for number, window in enumerate(self.windows):
            if window.begin <= frame < window.end:
                position = frame - window.begin
                weight = blend_weight(position, window.carried)
                found = [Share(s.window, s.position, s.weight * (1 - weight)) for s in found]
                found.append(Share(number, position, weight))
        return tuple(share for share in found if share.weight > 0)


def plan_windows(frames: int, cuts: tuple[int, ...] = (), size: int = WINDOW, overlap: int = OVERLAP) -> Plan:
    """Divide a clip into windows; each take has its own.

    Args:
        frames: of the clip, at least 1.
        cuts: frames that begin another take, ascending.
        size: frames of a window.
        overlap: frames that neighbours share, at most half of `size`.
    """
    begins = [0, *(cut for cut in cuts if 0 < cut < frames)]
    ends = [*begins[1:], frames]
    return Plan(tuple(w for b, e in zip(begins, ends, strict=True) for w in _take(b, e, size, overlap)))


def blend_weight(position: int, carried: int) -> float:
    """How much a window counts in one of its frames, rising from 0 to 1 over those that it carries on.

    Args:
        position: of the frame in the window.
        carried: see `Window`.
    """
    if position >= carried:
        return 1.0
    return float(np.linspace(0, 1, carried, dtype=np.float32)[position])


def _take(begin: int, end: int, size: int, overlap: int) -> list[Window]:
    if end - begin <= size:
        return [Window(begin, end, 0, tuple(range(begin, end)))]
    windows: list[Window] = []
    for number, first in enumerate(range(begin, end - overlap, size - overlap)):
        last = min(first + size, end)
        # each window starts where the one before had its overlap: a frame in both starts from one noise
        noise = tuple(begin + (position - number * overlap) % size for position in range(last - first))
        windows.append(Window(first, last, overlap if number else 0, noise))
    return windows

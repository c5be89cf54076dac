"""Sizes that the model works at, and depth from what it draws, both as the reference system has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ex4d_core.depth.scaling import Scaling, Stored
from ex4d_core.errors import InputError

MULTIPLE, MAX_SIDE = 64, 1024
NUMERATOR, FACTOR = 10000.0, 3900.0
NEAREST, FARTHEST = 1e-4, 1e4
"""What depth is clipped to; as disparity is at most 1, the nearest depth is 10000 / 3900 = 2.564."""

REFERENCE = Scaling(scale=FACTOR / NUMERATOR, shift=0.0, least=1 / FARTHEST, most=1 / NEAREST)
"""The reference system's depth of disparity from 0 to 1: 10000 / (3900 disparity), in units without a scale."""

Floats = NDArray[np.float32]


def working_size(width: int, height: int) -> tuple[int, int]:
    """The size that the model works at: multiples of 64 nearest to the clip's, the longer side at most 1024 pixels."""
    fitted = tuple(round(side / MULTIPLE) for side in (width, height))
    if max(fitted) * MULTIPLE > MAX_SIDE:
        scale = MAX_SIDE / max(width, height)
        fitted = tuple(round(side * scale / MULTIPLE) for side in (width, height))
    return max(fitted[0], 1) * MULTIPLE, max(fitted[1], 1) * MULTIPLE


@dataclass(frozen=True)
class Normalised:
    """What the model drew, brought to 0 (farthest) to 1 (nearest) over the whole clip: (h, w) float32 of each frame."""

    pictures: Stored
    lowest: float
    highest: float

    def __getitem__(self, frame: int, /) -> Floats:
        span = np.float32(self.highest) - np.float32(self.lowest)
        return (self.pictures[frame] - np.float32(self.lowest)) / span


def normalised(pictures: Stored, frames: Sequence[int]) -> Normalised:
    """Look through a clip for the nearest and the farthest.

    Args:
        pictures: (h, w) float32 of each frame, larger is nearer.
        frames: all of them.

    Raises:
        InputError: the model drew the same everywhere.
    """
    lowest, highest = np.inf, -np.inf
    for frame in frames:
        picture = pictures[frame]
        lowest, highest = min(lowest, float(picture.min())), max(highest, float(picture.max()))
    if not lowest < highest:
        raise InputError("DepthCrafter sees the same depth everywhere in this clip: choose another estimator.")
    return Normalised(pictures, lowest, highest)

"""Depth of a clip at its own size from disparity at a network's, frame by frame, along the edges of the colour."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ex4d_core.depth import ColorFrames
from ex4d_core.depth.edgeaware import upsample
from ex4d_core.depth.scaling import Scaling
from ex4d_core.images import resize
from ex4d_core.progress import Cancelled, stop_if

Floats = NDArray[np.float32]


class StoredDisparity(Protocol):
    """(h, w) float32 of each frame, larger is nearer."""

    def __getitem__(self, index: int, /) -> Floats: ...


@dataclass(frozen=True)
class EnlargedDepth:
    """The `DepthFrames` of disparity that is finished but for its scale and its size."""

    disparity: StoredDisparity
    scalings: Sequence[Scaling]
    """Of each frame."""
    frames: ColorFrames

    def __len__(self) -> int:
        return len(self.scalings)

    def iterate(self, start: int = 0) -> Iterator[Floats]:
        """See `DepthFrames.iterate`."""
        for t in range(start, len(self)):
            color, values = self.frames[t], self.disparity[t]
            if values.shape != color.shape[:2]:
                small = resize(color, (values.shape[1], values.shape[0])).astype(np.uint8, copy=False)
                values = upsample(values, small, color)
            yield self.scalings[t].depth(values)

    def range(self, cancelled: Cancelled) -> tuple[float, float]:
        """The smallest and the largest depth: enlarging takes means, and so makes none beyond."""
        nearest, farthest = math.inf, 0.0
        for t in range(len(self)):
            stop_if(cancelled)
            depth = self.scalings[t].depth(self.disparity[t])
            nearest, farthest = min(nearest, float(depth.min())), max(farthest, float(depth.max()))
        return nearest, farthest

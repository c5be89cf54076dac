"""From steady disparity to depth: what is known of its scale and shift, for each take of a clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

FAR_RATIO = 50.0
"""Depth of the infinitely far over that of the nearest, where disparity is told only up to scale and shift."""
METRIC_RANGE = (1e-4, 1e4)
"""Disparity of metric depth is kept within, 1/metres: Depth Pro's own clamp, 0.1 mm to 10 km."""

_NEAREST_PERCENT = 99.5
_OVERSHOOT = 4.0
_SAMPLED_FRAMES, _SAMPLED_PIXELS = 32, 4096


class Stored(Protocol):
    """(h, w) float32 of each frame."""

    def __getitem__(self, index: int, /) -> Floats: ...


@dataclass(frozen=True)
class Scaling:
    """Depth is 1 / (scale * disparity + shift), that sum kept between `least` and `most`."""

    scale: float
    shift: float
    least: float
    most: float

    def depth(self, disparity: Floats) -> Floats:
        """(h, w) float32 z-depth > 0 of (h, w) float32 disparity."""
        scaled = np.float32(self.scale) * disparity + np.float32(self.shift)
        return np.float32(1) / np.clip(scaled, np.float32(self.least), np.float32(self.most))


def relative_scaling(steady: Stored, frames: Sequence[int]) -> Scaling:
    """For disparity up to scale and shift: 0 is `FAR_RATIO` times as far as the nearest surface of the take.

    Networks trained on disparity that was normalised picture by picture give about 0 for the sky, and for the wall
    that is the farthest of a room: nothing tells the two apart, so 0 is neither infinitely far nor as near as a wall.

    Args:
        steady: (h, w) float32 disparity of each frame.
        frames: of the take.
    """
    chosen = np.linspace(frames[0], frames[-1], min(len(frames), _SAMPLED_FRAMES), dtype=int)
    values = [steady[int(t)].ravel() for t in chosen]
    nearest = float(
        np.percentile(np.concatenate([v[:: max(1, v.size // _SAMPLED_PIXELS)] for v in values]), _NEAREST_PERCENT)
    )
    far = 1.0 / FAR_RATIO
    return Scaling((1.0 - far) / nearest if nearest > 0 else 1.0, far, far, _OVERSHOOT)


def metric_scaling(focal: float) -> Scaling:
    """For a network that tells 1/metres as seen with a focal length of one image width.

    Args:
        focal: focal length as a share of the image's width.
    """
    return Scaling(1.0 / focal, 0.0, *METRIC_RANGE)

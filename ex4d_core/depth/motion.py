"""Dense optical flow of a clip, and what in it is not explained by a turning camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

SMALLEST_FOR_FLOW = 24
"""Pixels on the shorter side under which patches do not fit into the picture and no flow is measured."""


def pixel_grid(height: int, width: int) -> Floats:
    """(H, W, 2) float32: the index position (x, y) of each pixel."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.stack([x, y], axis=-1)


def sample(image: Floats, flow: Floats) -> Floats:
    """Look up `image` (H, W) or (H, W, C) where `flow` (H, W, 2) points to; the border is repeated."""
    target = pixel_grid(*flow.shape[:2]) + flow
    return cv2.remap(image, target[..., 0], target[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


class FlowMeter:
    """Measures dense flow between the frames of one clip (DIS, Kroeger et al. 2016)."""

    def __init__(self, frames: Sequence[Bytes]) -> None:
        """Take the frames (H, W, 3) uint8 sRGB at working size."""
        self._grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
        self._dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self.usable = min(self._grey[0].shape) >= SMALLEST_FOR_FLOW

    def flow(self, source: int, target: int) -> Floats:
        """(H, W, 2) float32 pixels: where each pixel of `source` went in `target`."""
        if not self.usable or source == target:
            return np.zeros((*self._grey[0].shape, 2), np.float32)
        flow = self._dis.calc(self._grey[source], self._grey[target], None)  # pyright: ignore[reportCallIssue, reportArgumentType]
        return np.asarray(flow, np.float32)

    def checked(self, source: int, target: int) -> tuple[Floats, Floats]:
        """Flow, and (H, W) float32 pixels by which going there and back misses the start."""
        there, back = self.flow(source, target), self.flow(target, source)
        return there, np.linalg.norm(there + sample(back, there), axis=-1)


@dataclass(frozen=True)
class ClipMotion:
    """How the picture moves from frame to frame, at working size."""

    backward: NDArray[np.float16]
    """(T, H, W, 2) pixels: where each pixel of frame t was in frame t - 1; zero for t = 0."""
    reliable: NDArray[np.bool_]
    """(T, H, W): the pixel was visible in frame t - 1 and its flow is confirmed by the way back."""
    still: bool
    """The camera stands still throughout."""

"""Dense optical flow of a clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.errors import CancelledError
from ex4d_core.progress import Cancelled, OnProgress, never_cancelled, silent

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

SMALLEST_FOR_FLOW = 24
"""Pixels on the shorter side under which patches do not fit into the picture and no flow is measured."""


def pixel_grid(height: int, width: int) -> Floats:
    """(H, W, 2) float32: the index position (x, y) of each pixel."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.stack([x, y], axis=-1)


def length(vectors: Floats) -> Floats:
    """(H, W, 2) float32 -> (H, W) float32 Euclidean lengths."""
    return np.hypot(vectors[..., 0], vectors[..., 1])


def sample(image: Floats, flow: Floats) -> Floats:
    """Look up `image` (H, W) or (H, W, C) where `flow` (H, W, 2) points to; the border is repeated."""
    target = pixel_grid(*flow.shape[:2]) + flow
    found = cv2.remap(image, target, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # pyright: ignore[reportCallIssue, reportArgumentType]
    return np.asarray(found, np.float32)


class FlowMeter:
    """Measures dense flow between the frames of one clip (DIS, Kroeger et al. 2016)."""

    def __init__(self, frames: Sequence[Bytes]) -> None:
        """Take the frames (H, W, 3) uint8 sRGB at working size."""
        self._grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
        self._quick = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._fine = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        # the preset ends at half size; going on to full size halves the error at edges and on thin things
        self._fine.setFinestScale(0)
        self._fine.setPatchStride(4)
        self.usable = min(self._grey[0].shape) >= SMALLEST_FOR_FLOW

    def flow(self, source: int, target: int) -> Floats:
        """(H, W, 2) float32 pixels: where each pixel of `source` went in `target`."""
        if not self.usable or source == target:
            return np.zeros((*self._grey[0].shape, 2), np.float32)
        # between neighbours it only has to carry depth along; farther apart, it measures it
        dis = self._quick if abs(source - target) == 1 else self._fine
        flow = dis.calc(self._grey[source], self._grey[target], None)  # pyright: ignore[reportCallIssue, reportArgumentType]
        return np.asarray(flow, np.float32)

    def checked(self, source: int, target: int) -> tuple[Floats, Floats]:
        """Flow, and (H, W) float32 pixels by which going there and back misses the start."""
        there, back = self.flow(source, target), self.flow(target, source)
        return there, _miss(there, back)


def _miss(there: Floats, back: Floats) -> Floats:
    return length(there + sample(back, there))


@dataclass(frozen=True)
class ClipFlow:
    """Flow from each frame to a few earlier and later ones, kept at half the working size to bound the memory.

    Its patches are larger than that: measured depth is as good with it as with flow kept at full size.
    """

    height: int
    """Working height, pixels."""
    width: int
    baselines: tuple[int, ...]
    """Distances in frames at which flow was measured, both ways; the first is 1."""
    flows: Mapping[tuple[int, int], tuple[NDArray[np.float16], Bytes]]
    """(source, target) -> flow in working pixels, and trust 0..255; frames too far apart are absent."""

    def flow(self, source: int, target: int) -> tuple[Floats, Floats]:
        """(H, W, 2) float32 pixels, and (H, W) float32 trust 0..1: 0 where hidden or beyond the frame."""
        flow, trust = self.flows[source, target]
        size = (self.width, self.height)
        return (
            np.asarray(cv2.resize(flow.astype(np.float32), size, interpolation=cv2.INTER_LINEAR), np.float32),
            cv2.resize(trust, size, interpolation=cv2.INTER_LINEAR).astype(np.float32) / np.float32(255.0),
        )

    def targets(self, source: int) -> list[int]:
        """The frames to which flow from `source` is known, in order of time."""
        near = [source + sign * b for b in self.baselines for sign in (-1, 1)]
        return sorted(t for t in near if (source, t) in self.flows)


def measure_flow(
    frames: Sequence[Bytes],
    on_progress: OnProgress = silent,
    cancelled: Cancelled = never_cancelled,
) -> ClipFlow:
    """Measure the flow of a whole clip at baselines that suit its speed.

    Args:
        frames: (H, W, 3) uint8 sRGB at working size.
        on_progress: told about each frame.
        cancelled: asked before each frame.

    Raises:
        CancelledError: `cancelled` said so.
    """
    height, width = frames[0].shape[:2]
    meter = FlowMeter(frames)
    total = len(frames)
    baselines = _baselines(meter, total)
    half = (max(1, (width + 1) // 2), max(1, (height + 1) // 2))
    flows: dict[tuple[int, int], tuple[NDArray[np.float16], Bytes]] = {}
    for source in range(total):
        if cancelled():
            raise CancelledError("Depth estimation was cancelled.")
        for target in (source + b for b in baselines if source + b < total):
            there, back = meter.flow(source, target), meter.flow(target, source)
            flows[source, target] = _packed(there, _miss(there, back), half)
            flows[target, source] = _packed(back, _miss(back, there), half)
        on_progress(source + 1, total, "measuring motion")
    return ClipFlow(height, width, baselines, flows)


def _baselines(meter: FlowMeter, total: int) -> tuple[int, ...]:
    """Three distances in frames: next door, and such that the picture moves a few pixels, and a dozen."""
    step = 4 if total > 4 else 1
    starts = sorted({int(t) for t in np.linspace(0, total - 1 - step, 6)}) if total > step else []
    lengths = [float(np.median(length(meter.flow(t, t + step)))) / step for t in starts]
    speed = float(np.median(lengths)) if lengths else 0.0
    middle = int(np.clip(round(2.5 / max(speed, 0.1)), 2, 5))
    far = int(np.clip(round(12.0 / max(speed, 0.1)), 4, 14))
    return tuple(b for b in (1, middle, far) if b < total)


def _packed(flow: Floats, miss: Floats, half: tuple[int, int]) -> tuple[NDArray[np.float16], Bytes]:
    height, width = miss.shape
    target = pixel_grid(height, width) + flow
    x, y = target[..., 0], target[..., 1]
    inside = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
    # what long flows are allowed to miss by grows with them
    allowed = 0.6 + 0.02 * length(flow)
    trust = np.exp(-np.square(miss / allowed)) * inside
    return (
        cv2.resize(flow, half, interpolation=cv2.INTER_AREA).astype(np.float16),
        (cv2.resize(trust.astype(np.float32), half, interpolation=cv2.INTER_AREA) * 255).astype(np.uint8),
    )


def texture(frame: Bytes) -> Floats:
    """(H, W) float32, 0..1: is there enough structure around a pixel for flow to be more than interpolation?"""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255.0
    slope = cv2.magnitude(cv2.Scharr(grey, cv2.CV_32F, 1, 0), cv2.Scharr(grey, cv2.CV_32F, 0, 1)) / 32.0
    energy = np.sqrt(cv2.GaussianBlur(np.asarray(slope * slope, np.float32), (0, 0), 2.0))
    return np.clip(energy / 0.012, 0.02, 1.0).astype(np.float32)

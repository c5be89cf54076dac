"""Depth of single frames made steady: one scale and shift for each take, and no flicker along the flow."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.depth import ColorFrames
from ex4d_core.depth.frame_store import FrameStore
from ex4d_core.depth.motion import FlowMeter, sample
from ex4d_core.progress import Cancelled, OnProgress, never_cancelled, silent, stop_if

Floats = NDArray[np.float32]

FRESH = 0.15
"""Share of a new frame in what is carried along the flow."""


class DisparityFrames(Protocol):
    """Disparity of a clip's frames, (h, w) float32 each, each up to a scale and a shift of its own."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Floats: ...


def stabilise(
    raw: DisparityFrames,
    frames: ColorFrames,
    store: FrameStore,
    *,
    cuts: Sequence[int] = (),
    on_progress: OnProgress = silent,
    cancelled: Cancelled = never_cancelled,
) -> None:
    """Bring every frame's disparity to one scale and shift for its take, steady along the flow.

    Args:
        raw: T times (h, w) float32 disparity, each up to scale and shift.
        frames: T frames (H, W, 3) uint8 sRGB.
        store: where the T steady frames (h, w) float32 go; what it has is kept.
        cuts: first frames of later takes.
        on_progress: told about each frame.
        cancelled: asked before each frame.

    Raises:
        CancelledError: `cancelled` said so.
        OutputError: the store cannot be written.
    """
    total = len(raw)
    takes = list(pairwise([0, *sorted(cuts), total]))
    for first, end in takes:
        before: Floats | None = None
        for t in range(first, end):
            stop_if(cancelled)
            if store.has(t):
                before = store[t]
                continue
            present = np.asarray(raw[t], np.float32)
            if before is not None:
                pictures = [_resized(frames[i], present) for i in (t - 1, t)]
                back, miss = FlowMeter(pictures).checked(1, 0)
                trust = np.exp(-np.square(miss)).astype(np.float32)
                carried = sample(before, back)
                aligned = _aligned(present, carried, trust)
                present = aligned + (1 - np.float32(FRESH)) * trust * (carried - aligned)
            store.write(t, present)
            before = present
            on_progress(t + 1, total, "steadying depth")


def _resized(frame: NDArray[np.uint8], like: Floats) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(frame, like.shape[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def _aligned(values: Floats, onto: Floats, trust: Floats) -> Floats:
    """Robust scale and shift of `values` onto `onto`."""
    x, y, known = values.ravel(), onto.ravel(), trust.ravel()
    weight = known.astype(np.float64) + 1e-9
    scale, shift = 1.0, 0.0
    for _ in range(5):
        total = weight.sum()
        mx, my = float(weight @ x) / total, float(weight @ y) / total
        sx, sy = (float(np.sqrt(weight @ np.square(a - m) / total)) for a, m in ((x, mx), (y, my)))
        scale = sy / sx if sx > 1e-9 else 1.0
        shift = my - scale * mx
        miss = np.abs(scale * x + shift - y)
        typical = float(np.median(miss)) * 3 + 1e-9
        weight = known / (1.0 + np.square(miss / typical))
    return np.asarray(scale * values + shift, np.float32)

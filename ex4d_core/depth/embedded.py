"""Depth of any video without weights, GPU or network.

Where the camera moves, depth is measured from parallax; where it does not, it is guessed. The result says which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.depth import edgeaware, monocular
from ex4d_core.depth.motion import FlowMeter, sample
from ex4d_core.errors import CancelledError
from ex4d_core.progress import Cancelled, OnProgress, never_cancelled, silent

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

WORKING_SIDE = 320
"""Depth is worked out with the longer side at most this many pixels, then brought to full size along colour edges."""


class Frames(Protocol):
    """Frames (H, W, 3) uint8 sRGB, all of one size: an array (T, H, W, 3), or anything that reads them lazily."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Bytes: ...


@dataclass(frozen=True)
class EmbeddedDepth:
    """What the embedded estimator found."""

    disparity: Floats
    """(T, H, W) float32, finite and > 0, relative units: 1 / z up to scale, nearest about 1."""
    method: Literal["parallax", "heuristic", "mixed"]
    """Measured from camera motion, guessed, or some of each."""
    notes: str
    """One or two sentences for people: what was done, and how far to trust it."""


def estimate_depth(
    frames: Frames,
    intrinsics: Intrinsics,
    on_progress: OnProgress = silent,
    cancelled: Cancelled = never_cancelled,
) -> EmbeddedDepth:
    """Estimate the disparity of every frame.

    Args:
        frames: T frames, (H, W, 3) uint8 sRGB each; every frame is read twice, in order.
        intrinsics: of the camera, at the frames' size.
        on_progress: told about each frame.
        cancelled: asked before each frame.

    Returns:
        Disparity at the frames' size, and how it was made.

    Raises:
        CancelledError: `cancelled` said so.
    """
    total = len(frames)
    small = [_working(frames[t]) for t in range(total)]
    meter = FlowMeter(small)
    nothing = np.zeros(small[0].shape[:2], np.float32)
    guesses: list[Floats] = []
    for t in range(total):
        _go_on(cancelled)
        guesses.append(monocular.guess(small[t], nothing))
        on_progress(t + 1, total, "estimating depth")
    work = _steady(guesses, meter, cancelled)
    full = np.stack([edgeaware.upsample(work[t], small[t], np.asarray(frames[t])) for t in range(total)])
    return EmbeddedDepth(
        full,
        "heuristic",
        "The camera hardly moves, so depth could not be measured and is a guess from position in the picture, "
        "focus and motion.",
    )


def _working(frame: Bytes) -> Bytes:
    height, width = frame.shape[:2]
    scale = WORKING_SIDE / max(height, width)
    if scale >= 1.0:
        return np.ascontiguousarray(frame)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(np.ascontiguousarray(frame), size, interpolation=cv2.INTER_AREA), np.uint8)


def _steady(disparity: Sequence[Floats], meter: FlowMeter, cancelled: Cancelled) -> list[Floats]:
    result = [disparity[0]]
    for t in range(1, len(disparity)):
        _go_on(cancelled)
        back, miss = meter.checked(t, t - 1)
        keep = 0.8 * np.exp(-miss)
        result.append(disparity[t] + keep * (sample(result[-1], back) - disparity[t]))
    return result


def _go_on(cancelled: Cancelled) -> None:
    if cancelled():
        raise CancelledError("Depth estimation was cancelled.")

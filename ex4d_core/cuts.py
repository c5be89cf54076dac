"""Cuts in a clip: the frames at which another take begins."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.depth import ColorFrames
from ex4d_core.progress import Cancelled, OnProgress, never_cancelled, silent, stop_if

Bytes = NDArray[np.uint8]

SIDE = 320
"""Pixels of the longer side at which frames are compared."""


def find_cuts(
    frames: ColorFrames, on_progress: OnProgress = silent, cancelled: Cancelled = never_cancelled
) -> tuple[int, ...]:
    """Find where a clip cuts to another take.

    Args:
        frames: T frames (H, W, 3) uint8 sRGB; each is read once, in order.
        on_progress: told about each frame.
        cancelled: asked before each frame.

    Returns:
        The first frame of every take but the first, ascending.

    Raises:
        CancelledError: `cancelled` said so.
    """
    from fractions import Fraction

    from scenedetect.common import FrameTimecode
    from scenedetect.detectors import AdaptiveDetector

    detector = AdaptiveDetector(min_scene_len=1)
    cuts: list[int] = []
    for t, picture in enumerate(_reduced(frames, on_progress, cancelled)):
        found = detector.process_frame(FrameTimecode(t, fps=Fraction(25)), picture[..., ::-1])
        cuts += [code.frame_num for code in found]
    return tuple(sorted(set(cuts)))


def _reduced(frames: ColorFrames, on_progress: OnProgress, cancelled: Cancelled) -> Iterator[Bytes]:
    total = len(frames)
    for t in range(total):
        stop_if(cancelled)
        frame = np.ascontiguousarray(frames[t])
        scale = min(1.0, SIDE / max(frame.shape[:2]))
        size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
        yield np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
        on_progress(t + 1, total, "looking for cuts")

"""What a camera that stands still sees behind everything that moves: its colour and its one depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ex4d_core.depth.along_flow import settle
from ex4d_core.depth.motion import FlowMeter, length, texture
from ex4d_core.progress import Cancelled, stop_if

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

LOOKS = 12
"""Frames of a take that are compared with its middle one to see whether the camera moves."""

STILL = 0.3
"""Pixels, at a longer side of 320, by which what stands still may seem to move."""

CELLS = 4
"""The picture is looked at in as many by as many parts."""


def stands_still(picture: Callable[[int], Bytes], frames: Sequence[int], cancelled: Cancelled) -> bool:
    """Whether the camera stands still: all over the picture, something with structure stays where it was.

    Args:
        picture: (h, w, 3) uint8 sRGB of a frame, about 320 pixels on the longer side.
        frames: of the take.
        cancelled: asked before each comparison.

    Raises:
        CancelledError: `cancelled` said so.
    """
    if len(frames) < 2:
        return False
    middle = frames[len(frames) // 2]
    base = picture(middle)
    structure = texture(base) > 0.5
    votes: list[bool] = []
    for t in sorted({frames[int(i)] for i in np.linspace(0, len(frames) - 1, LOOKS)} - {middle}):
        stop_if(cancelled)
        moved = length(FlowMeter([base, picture(t)]).flow(0, 1))
        votes.append(_everywhere(moved < STILL, structure))
    return bool(votes) and float(np.mean(votes)) >= 0.8


def _everywhere(still: NDArray[np.bool_], structure: NDArray[np.bool_]) -> bool:
    """Most parts of the picture that show something show a good share of it unmoved."""
    height, width = still.shape
    shares: list[float] = []
    for rows in np.array_split(np.arange(height), CELLS):
        for columns in np.array_split(np.arange(width), CELLS):
            part = np.ix_(rows, columns)
            if structure[part].sum() > 0.02 * len(rows) * len(columns):
                shares.append(float(still[part][structure[part]].mean()))
    return len(shares) > CELLS and float(np.mean([share > 0.4 for share in shares])) >= 0.6


@dataclass(frozen=True)
class Backdrop:
    """What stands still in a take."""

    color: Floats
    """(h, w, 3) float32, 0..255: the median over the take."""
    disparity: Floats
    """(h, w) float32."""


def find_backdrop(
    pictures: Sequence[Bytes], disparity: Sequence[Floats], weights: Sequence[Floats], noise: float
) -> Backdrop:
    """The backdrop of a take from some of its frames.

    Args:
        pictures: K frames (h, w, 3) uint8 sRGB.
        disparity: K frames (h, w) float32, at one scale and shift.
        weights: K times (h, w) float32, how far each value is to be trusted.
        noise: see `settle`.
    """
    color = np.median(np.stack(pictures), axis=0).astype(np.float32)
    values = np.stack(disparity)
    shown = np.stack([1.0 - change(picture, color) for picture in pictures]).astype(np.float32)
    shown = np.where(shown < 0.5, np.float32(0), shown * np.stack(weights))
    return Backdrop(color, settle(values, shown, np.median(values, axis=0).astype(np.float32), noise))


def change(picture: Bytes, backdrop: Floats) -> Floats:
    """(h, w) float32, 0..1: how surely something stands before the backdrop, rather than only shading it.

    Args:
        picture: (h, w, 3) uint8 sRGB.
        backdrop: (h, w, 3) float32, 0..255.
    """
    color = picture.astype(np.float32)
    difference = np.abs(color - backdrop).sum(axis=2)
    # a shadow dims all three channels by one factor
    dimming = (color * backdrop).sum(axis=2) / ((backdrop * backdrop).sum(axis=2) + 1.0)
    other_color = np.abs(color - dimming[..., None] * backdrop).sum(axis=2)
    shaded = (dimming > 0.5) & (dimming < 1.0) & (other_color < 0.12 * color.sum(axis=2))
    return np.clip(np.where(shaded, 0.0, difference) / (0.3 * 255.0), 0.0, 1.0).astype(np.float32)

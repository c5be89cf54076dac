"""What moves by itself in a clip: flow strays from the camera's path, or a camera at rest sees change."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.depth import edgeaware
from ex4d_core.depth.motion import ClipFlow, length, sample
from ex4d_core.progress import Cancelled, stop_if

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

MEMORY = 0.9
"""Share of the suspicion of movement that is left one frame on; half is enough to act on it."""

FLOW_STRAYS = 0.08
"""Flow misses by up to this share of its length, even where nothing moves by itself."""


def travel(flow: ClipFlow, source: int) -> Floats:
    """(h, w) float32 pixels: how far the flow from a frame goes, mean over its targets."""
    lengths = [length(flow.flow(source, t)[0]) for t in flow.targets(source)]
    return np.asarray(np.mean(lengths, axis=0), np.float32)


def straying(stray: Floats, travelled: Floats) -> Floats:
    """0..1: how surely a pixel moves by itself, from the pixels by which it misses where a still one would be."""
    noise = np.maximum(max(0.4, 2.5 * float(np.median(stray))), FLOW_STRAYS * travelled)
    return np.clip((stray - noise) / (2.0 * noise), 0.0, 1.0).astype(np.float32)


def change(picture: Bytes, still: Floats) -> Floats:
    """(h, w) float32, 0..1: how surely something stands before the backdrop, rather than only shading it."""
    color = picture.astype(np.float32)
    difference = np.abs(color - still).sum(axis=2)
    # a shadow dims all three channels by one factor
    dimming = (color * still).sum(axis=2) / ((still * still).sum(axis=2) + 1.0)
    other_color = np.abs(color - dimming[..., None] * still).sum(axis=2)
    shaded = (dimming > 0.5) & (dimming < 1.0) & (other_color < 0.12 * color.sum(axis=2))
    return np.clip(np.where(shaded, 0.0, difference) / (0.3 * 255.0), 0.0, 1.0).astype(np.float32)


def whole(evidence: Floats, picture: Bytes) -> Floats:
    """(h, w) float32, 0..1: evidence of movement, gathered within colour regions and closed to whole things."""
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (max(5, round(0.02 * max(evidence.shape))),) * 2)
    solid = cv2.morphologyEx(evidence.astype(np.float32), cv2.MORPH_CLOSE, ellipse)
    solid = np.asarray(cv2.medianBlur(solid, 5), np.float32)
    solid = edgeaware.smooth(solid[None], picture, 0.02 * max(evidence.shape), 0.3)[0]
    # what a moving thing encloses belongs to it, though it may happen to move along an epipolar line
    outlines, _ = cv2.findContours((solid > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    filled = np.zeros(evidence.shape, np.uint8)
    cv2.drawContours(filled, outlines, -1, 1, cv2.FILLED)
    return np.maximum(solid, filled.astype(np.float32))


def remembered(moving: Sequence[Floats], flow: ClipFlow, cancelled: Cancelled) -> list[Floats]:
    """What moves by itself at one time is not trusted shortly before and after, even where it seems to rest."""
    total = len(moving)
    result = list(moving)
    for order in (range(total), range(total - 1, -1, -1)):
        for before, t in itertools.pairwise(order):
            stop_if(cancelled)
            back, trust = flow.flow(t, before)
            result[t] = np.maximum(result[t], MEMORY * trust * sample(result[before], back))
    return result


def backdrop(pictures: Sequence[Bytes]) -> Floats:
    """What a camera that stands still sees behind everything that moves: the median over the clip."""
    some = pictures[:: max(1, len(pictures) // 24)]
    return np.median(np.stack(some), axis=0).astype(np.float32)


def stands_still(flow: ClipFlow) -> bool:
    lengths = [float(np.median(length(vectors[::2, ::2].astype(np.float32)))) for vectors, _ in flow.flows.values()]
    return bool(lengths) and float(np.quantile(lengths, 0.95)) < 0.3

"""Small videos to prepare: places that a camera goes over."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.clip import write_lossless

HEIGHT, WIDTH = 72, 128


def place(seed: int) -> NDArray[np.uint8]:
    """(216, 384, 3): large and small blotches, another place for each seed."""
    draw = np.random.default_rng(seed)
    size = (3 * WIDTH, 3 * HEIGHT)
    layers = [cv2.resize(draw.uniform(0, 1, (n, 2 * n, 3)), size, interpolation=cv2.INTER_CUBIC) for n in (9, 40)]
    return np.uint8(np.clip(0.7 * layers[0] + 0.3 * layers[1], 0, 1) * 255)


def take(seed: int, frames: int, speed: float = 2.0, grain: float = 2.0) -> NDArray[np.uint8]:
    """(frames, 72, 128, 3): a window that goes over a place by `speed` pixels a frame, with grain of a sensor."""
    draw, whole = np.random.default_rng(seed + 100), place(seed).astype(np.float32)
    found = []
    for t in range(frames):
        x = int(20 + speed * t)
        part = whole[70 : 70 + HEIGHT, x : x + WIDTH]
        found.append(np.clip(part + draw.normal(0, grain, part.shape), 0, 255).astype(np.uint8))
    return np.stack(found)


def video(path: Path, frames: NDArray[np.uint8], fps: int = 24) -> Path:
    """A lossless file of frames."""
    write_lossless(path, iter(frames), Fraction(fps))
    return path

"""Small clips with depth: eight to train adapters on, and others for all that comes before."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core import sample
from ex4d_core.camera import Intrinsics
from ex4d_core.evaluation.truth import Truth, find_truths, open_truth
from ex4d_core.ingest import import_scene
from ex4d_core.presets import subject_distance

SIDE = 64
"""Pixels, width and height of all clips."""
FRAMES = 9
"""Of all clips."""
_SOFT = 0.8
"""Sigma of a blur, pixels: at this size pictures are sharper than a VAE learns to show in minutes."""


_HEIGHT = SIDE * 4 // 3
"""Pixels of a whole picture, of which clips are pieces."""
_PAN = 1.25
"""Pixels from a frame to the next, of a window that pans or tilts."""


@dataclass(frozen=True, eq=False)
class Footage:
    """A clip with its depth."""

    name: str
    frames: NDArray[np.uint8]
    """(T, h, w, 3) uint8 sRGB."""
    depths: NDArray[np.float32]
    """(T, h, w) float32, z-depth, metres."""
    lens: Intrinsics

    @property
    def radius(self) -> float:
        """Distance of the subject, metres."""
        return subject_distance(self.depths[0])


@dataclass(frozen=True, eq=False)
class Scene:
    """A clip of whole pictures; what is trained on are windows of it, 64x64 pixels and 9 frames."""

    footage: Footage
    left: int
    """Column where windows begin, pixels."""

    def windows(self) -> list[Footage]:
        """Most begin with the same picture and go on unlike: slow or fast, to the middle, up or down. What is not seen
        of them, the first picture alone cannot tell."""
        last, across = len(self.footage.frames) - 1, 1 if self.left == 0 else -1
        plans = ((0, 1, (1, 0)), (0, 3, (0, 1)), (0, 2, (0, -1)), (0, 1, (1, 1)), (0, 3, (1, -1)), (last, -2, (0, 0)))
        return [
            self._window(begin + step * np.arange(FRAMES), (across * pan, tilt)) for begin, step, (pan, tilt) in plans
        ]

    def _window(self, picked: NDArray[np.int64], direction: tuple[int, int]) -> Footage:
        name = f"{self.footage.name} {picked[0]}{picked[1] - picked[0]:+} {direction[0]:+}{direction[1]:+}"
        top = (_HEIGHT - SIDE) // 2
        moved = np.rint(np.arange(FRAMES)[:, None] * _PAN * np.array(direction)).astype(int)
        pieces = [
            np.s_[n, top + y : top + y + SIDE, self.left + x : self.left + x + SIDE]
            for n, (x, y) in zip(picked, moved, strict=True)
        ]
        lens = self.footage.lens
        # The principal point stays that of the first frame: masks are simulated, and need no better
        square = Intrinsics(lens.fx, lens.fy, lens.cx - self.left, lens.cy - top, SIDE, SIDE)
        frames, depths = (
            np.stack([video[piece] for piece in pieces]) for video in (self.footage.frames, self.footage.depths)
        )
        return Footage(name, frames, depths, square)


def of_benchmark(folders: tuple[Path, ...]) -> Iterator[Scene]:
    """Two of the source clip of each scene: its left and its right."""
    for folder in find_truths(folders):
        truth = open_truth(folder)
        depths = np.stack([truth.depth(frame) for frame in range(truth.frames)])
        yield from _halves(truth.name, truth.colors, depths, truth.lens)


def of_sample() -> Iterator[Scene]:
    """Two of the bundled clip."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "sample.ex4d"
        scene = import_scene(sample.clip_path(), target, background=False, **sample.import_options())
        frames = np.stack([scene.color(frame) for frame in range(scene.frames)])
        depths = np.stack([scene.depth(frame) for frame in range(scene.frames)])
        yield from _halves("sample", frames, depths, scene.intrinsics(0))


def _halves(name: str, frames: NDArray[np.uint8], depths: NDArray[np.float32], lens: Intrinsics) -> Iterator[Scene]:
    """Two scenes, whose windows begin at the left and at the right."""
    scale = _HEIGHT / lens.height
    width = round(lens.width * scale)
    small = np.stack([_soft(_small(frame, width, _HEIGHT)) for frame in frames])
    near = np.stack([_small(1 / depth, width, _HEIGHT) for depth in depths])
    whole = Intrinsics(lens.fx * scale, lens.fy * scale, lens.cx * scale, lens.cy * scale, width, _HEIGHT)
    footage = Footage(name, small, np.asarray(1 / near, np.float32), whole)
    yield Scene(footage, 0)
    yield Scene(footage, width - SIDE)


def videos_of(truths: tuple[Path, ...]) -> list[NDArray[np.uint8]]:
    """All videos of ground truths, source and targets: (T, 96, 96, 3) uint8 each."""
    found: list[NDArray[np.uint8]] = []
    for folder in find_truths(truths):
        truth: Truth = open_truth(folder)
        found.append(truth.colors)
        found += [truth.target_colors(path) for path in truth.paths]
    return [np.stack([_small(frame, SIDE * 3 // 2, SIDE * 3 // 2) for frame in video]) for video in found]


def crops(
    videos: list[NDArray[np.uint8]], count: int, frames: int, draw: np.random.Generator, size: int = SIDE
) -> NDArray[np.float32]:
    """Random pieces of videos, mirrored, sped up, lighter or darker.

    Returns:
        (count, 3, frames, size, size) float32, -1 to 1, as large in the picture as those of 64 pixels are.
    """
    pieces = np.empty((count, 3, frames, size, size), np.float32)
    long = [video for video in videos if len(video) >= frames]
    for piece in pieces:
        video = long[draw.integers(len(long))]
        step = int(draw.integers(1, min((len(video) - 1) // max(frames - 1, 1), 4) + 1))
        begin = int(draw.integers(len(video) - step * (frames - 1)))
        side = int(draw.integers(SIDE, video.shape[1] + 1)) * size // SIDE
        corners = _panned(frames, video.shape[1] - side, _PAN * side / SIDE, draw)
        cut = [frame[y : y + side, x : x + side] for frame, (y, x) in zip(video[begin::step], corners, strict=False)]
        small = np.stack([_soft(_small(frame, size, size)) for frame in cut])
        if draw.random() < 0.5:
            small = small[:, :, ::-1]
        grey, vivid, light = small.mean(axis=-1, keepdims=True), draw.uniform(0.7, 1.4), draw.uniform(0.7, 1.2)
        small = (grey + vivid * (small - grey)) * light
        piece[:] = np.clip(small.transpose(3, 0, 1, 2) / 127.5 - 1, -1, 1)
    return pieces


def _panned(frames: int, room: int, speed: float, draw: np.random.Generator) -> NDArray[np.int64]:
    """Upper left corners (T, 2), row and column, of pieces that pan and tilt, or stay; whole pixels, 0 to room."""
    first, last = draw.integers(0, room + 1, (2, 2))
    most = speed * (frames - 1) * draw.integers(2)
    return np.rint(np.linspace(first, np.clip(last, first - most, first + most), frames)).astype(np.int64)


def _small(picture: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), picture.dtype)


def _soft(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), _SOFT), np.uint8)

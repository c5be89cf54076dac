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


@dataclass(frozen=True, eq=False)
class Footage:
    """A clip with its depth; what is trained on are windows of it."""

    name: str
    frames: NDArray[np.uint8]
    """(T, 64, 64, 3) uint8 sRGB."""
    depths: NDArray[np.float32]
    """(T, 64, 64) float32, z-depth, metres."""
    lens: Intrinsics
    """Of 64x64 pixels."""

    @property
    def radius(self) -> float:
        """Distance of the subject, metres."""
        return subject_distance(self.depths[0])

    def windows(self) -> list[Footage]:
        """Pieces of 9 frames: pairs that begin alike and go on unlike, slow or fast, forwards or backwards."""
        last = len(self.frames) - 1
        found: list[Footage] = []
        for begin, step in ((0, 1), (0, 3), (last // 2, 2), (last // 2, -2), (last, -1), (last, -3)):
            picked = begin + step * np.arange(FRAMES)
            found.append(Footage(f"{self.name} {begin}{step:+}", self.frames[picked], self.depths[picked], self.lens))
        return found


def of_benchmark(folders: tuple[Path, ...]) -> Iterator[Footage]:
    """Two of the source clip of each scene: its left and its right."""
    for folder in find_truths(folders):
        truth = open_truth(folder)
        depths = np.stack([truth.depth(frame) for frame in range(truth.frames)])
        yield from _halves(truth.name, truth.colors, depths, truth.lens)


def of_sample() -> Iterator[Footage]:
    """Two of the bundled clip."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "sample.ex4d"
        scene = import_scene(sample.clip_path(), target, background=False, **sample.import_options())
        frames = np.stack([scene.color(frame) for frame in range(scene.frames)])
        depths = np.stack([scene.depth(frame) for frame in range(scene.frames)])
        yield from _halves("sample", frames, depths, scene.intrinsics(0))


def _halves(name: str, frames: NDArray[np.uint8], depths: NDArray[np.float32], lens: Intrinsics) -> Iterator[Footage]:
    """Squares at the left and the right, three quarters as wide as the picture is high."""
    side = lens.height * 3 // 4
    top, scale = lens.height // 8, SIDE / side
    for part, left in (("left", 0), ("right", lens.width - side)):
        crop = np.s_[:, top : top + side, left : left + side]
        small = np.stack([_soft(_small(frame)) for frame in frames[crop]])
        near = np.stack([_small(1 / depth) for depth in depths[crop]])
        square = Intrinsics(
            lens.fx * scale, lens.fy * scale, (lens.cx - left) * scale, (lens.cy - top) * scale, SIDE, SIDE
        )
        yield Footage(f"{name} {part}", small, np.asarray(1 / near, np.float32), square)


def videos_of(truths: tuple[Path, ...]) -> list[NDArray[np.uint8]]:
    """All videos of ground truths, source and targets: (T, 96, 96, 3) uint8 each."""
    found: list[NDArray[np.uint8]] = []
    for folder in find_truths(truths):
        truth: Truth = open_truth(folder)
        found.append(truth.colors)
        found += [truth.target_colors(path) for path in truth.paths]
    return [np.stack([_small(frame, SIDE * 3 // 2) for frame in video]) for video in found]


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
        top, left = draw.integers(0, video.shape[1] - side + 1, 2)
        cut = video[begin : begin + step * (frames - 1) + 1 : step, top : top + side, left : left + side]
        small = np.stack([_soft(_small(frame, size)) for frame in cut])
        if draw.random() < 0.5:
            small = small[:, :, ::-1]
        grey, vivid, light = small.mean(axis=-1, keepdims=True), draw.uniform(0.7, 1.4), draw.uniform(0.7, 1.2)
        small = (grey + vivid * (small - grey)) * light
        piece[:] = np.clip(small.transpose(3, 0, 1, 2) / 127.5 - 1, -1, 1)
    return pieces


def _small(picture: NDArray[Any], side: int = SIDE) -> NDArray[Any]:
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), picture.dtype)


def _soft(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), _SOFT), np.uint8)

"""Shots for the tests of what is done around every model, and a model that shows what it was given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics, Trajectory
from ex4d_core.generate.around import generate
from ex4d_core.generate.engine import GeneratedFrame, Shot
from ex4d_core.generate.profiles import profile
from ex4d_core.generate.video_model import Limits, OnPreview, Report, Window, no_preview
from ex4d_core.progress import Cancelled, OnProgress, never_cancelled, silent
from ex4d_core.rendering import render
from ex4d_core.scene import Scene, write_scene

WIDTH, HEIGHT = 64, 48
LENS = Intrinsics.from_focal_px(60.0, WIDTH, HEIGHT)
PROFILE = replace(profile("ex4d"), steps=2)


def smooth_scene(folder: Path, frames: int = 6, width: int = WIDTH, height: int = HEIGHT) -> Scene:
    """A card at 2 before a wall at 4, in soft colours that change slowly."""
    x, y = np.meshgrid(np.linspace(0, 3, width), np.linspace(0, 3, height))
    waves = [[128 + 100 * np.sin(x * (c + 1) + y + 0.05 * t) for c in range(3)] for t in range(frames)]
    depth = np.full((frames, height, width), 4.0, np.float32)
    depth[:, height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] = 2.0
    lens = Intrinsics.from_focal_px(60.0 * width / WIDTH, width, height)
    colors = (np.stack(wave, axis=-1).astype(np.uint8) for wave in waves)
    return write_scene(folder / "card.ex4d", colors, depth, fps=Fraction(24), intrinsics=lens)


def sideways(frames: int, begin: float = 0.0, end: float = 0.5, lens: Intrinsics = LENS) -> Trajectory:
    """A path along x; half a unit is a lot."""
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses[:, 0, 3] = np.linspace(begin, end, frames)
    times = np.arange(frames, dtype=np.float64)
    return Trajectory(poses, np.tile(lens.as_tuple(), (frames, 1)), times, lens.width, lens.height, Fraction(24))


def shot_of(scene: Scene, path: Trajectory, **asked: Any) -> Shot:
    """What the engine gets."""
    frames = list(render(scene, path))
    color, mask = np.stack([f.color for f in frames]), np.stack([f.mask for f in frames])
    return Shot(color, mask, scene.fps, scene=scene, trajectory=path, **asked)


def flat_shot(frames: int, width: int = WIDTH, height: int = HEIGHT, **asked: Any) -> Shot:
    """Conditioning made elsewhere: smooth moving colours, with a hole that grows from nothing."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    color = np.empty((frames, height, width, 3), np.uint8)
    mask = np.ones(color.shape[:3], bool)
    for t in range(frames):
        for c in range(3):
            color[t, ..., c] = 128 + 100 * np.sin((x + 0.5 * t) / 20 + (y * (c + 1)) / 30)
        mask[t, height // 4 : height // 2, width // 2 : width // 2 + t * width // (3 * frames)] = False
    color[~mask] = 0
    return Shot(color, mask, Fraction(24), **asked)


@dataclass
class Showing:
    """A `video` that gives back what it is shown, holes in one grey, and keeps the windows."""

    grey: int = 127
    bias: int = 0
    """Added to everything, as many times as there were windows before."""
    windows: list[Window] = field(default_factory=list[Window])

    def __call__(self, window: Window, report: Report) -> NDArray[np.uint8]:
        """See `VideoModel.video`."""
        steps = window.profile.steps
        report.on_progress(0, 1, "encoding")
        report.on_progress(1, 1, "encoding")
        for step in range(steps):
            report.on_progress(step + 1, steps, "denoising")
            report.on_preview(window.color[:, ::8, ::8])
        report.on_progress(1, 1, "decoding")
        made = np.where(window.mask[..., None], window.color, np.uint8(self.grey)).astype(int)
        made = np.clip(made + self.bias * len(self.windows), 0, 255).astype(np.uint8)
        self.windows.append(window)
        return made


def run(
    shot: Shot,
    video: Any,
    limits: Limits,
    facts: dict[str, Any] | None = None,
    on_progress: OnProgress = silent,
    cancelled: Cancelled = never_cancelled,
    on_preview: OnPreview = no_preview,
) -> Iterator[GeneratedFrame]:
    """`around.generate` with two steps."""
    return generate(shot, limits, PROFILE, video, on_progress, cancelled, on_preview, facts)

"""What EX-4D makes of a ground truth's clip: an import and renders as users make them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Trajectory
from ex4d_core.evaluation.corruption import CORRUPTIONS
from ex4d_core.evaluation.estimates import Asked, estimate_disparity
from ex4d_core.evaluation.scores import align
from ex4d_core.evaluation.truth import Truth
from ex4d_core.ingest import import_scene
from ex4d_core.occluder import BRIDGE_REACH
from ex4d_core.progress import Cancelled, OnProgress, stop_if
from ex4d_core.rendering import render
from ex4d_core.scene import Scene


@dataclass(frozen=True)
class Picture:
    """A rendered frame."""

    color: NDArray[np.uint8]
    """(H, W, 3) uint8."""
    mask: NDArray[np.bool_]
    """(H, W), True = shown."""


@dataclass(frozen=True)
class Way:
    """How a path is rendered."""

    method: str
    """See `rendering.render`."""
    background: bool
    """With the persistent background."""
    reach: float = BRIDGE_REACH
    """See `frame.render_frame`."""


@dataclass(frozen=True)
class Take:
    """Frames of a path."""

    pictures: dict[int, Picture]
    """By frame of the clip."""
    cpu_ms: float
    """CPU time a frame, all threads together, of reading, meshing and rendering."""


@dataclass(frozen=True)
class GivenDepth:
    """Whose depth is rendered, and how it was made worse."""

    asked: Asked | None = None
    """An estimator's, aligned to the true one by one scale and shift of disparity for the clip; None: the true one."""
    corruption: str | None = None
    """Of `CORRUPTIONS`, put onto the true one."""

    @property
    def label(self) -> str:
        """For tables."""
        if self.asked is not None:
            return self.asked.label
        return "true" if self.corruption is None else f"true, {self.corruption}"


def make_scene(
    folder: Path, truth: Truth, given: GivenDepth, background: bool, on_progress: OnProgress, cancelled: Cancelled
) -> Scene:
    """Import a ground truth's clip with its true lens and cameras, and with true, corrupted or estimated depth.

    With the persistent background only where it is wanted: gathering it is most of the time.

    Raises:
        Ex4dError: see `estimate_disparity` and `import_scene`.
    """
    depths = folder / "depth"
    depths.mkdir(parents=True)
    if given.asked is None:
        corrupt = CORRUPTIONS[given.corruption] if given.corruption else Truth.disparity
        for frame in range(truth.frames):
            stop_if(cancelled)
            np.save(depths / f"{frame:06d}.npy", np.asarray(1 / corrupt(truth, frame), np.float32))
    else:
        estimate = estimate_disparity(truth, given.asked, on_progress, cancelled)
        alignment = align(estimate.pairs(truth))
        for frame in range(truth.frames):
            stop_if(cancelled)
            np.save(depths / f"{frame:06d}.npy", np.asarray(1 / alignment(estimate.disparity[frame]), np.float32))
    size = (truth.lens.width, truth.lens.height)
    lens = np.repeat(np.array([truth.lens.as_tuple()]), truth.frames, axis=0)
    camera = Trajectory(truth.source_c2w, lens, np.arange(truth.frames, dtype=np.float64), *size, Fraction(10))
    return import_scene(
        truth.folder / "source.mp4",
        folder / "scene.ex4d",
        depth=depths,
        depth_kind="metric",
        source_camera=camera,
        size=size,
        background=background,
        on_progress=on_progress,
        cancelled=cancelled,
    )


def render_path(scene: Scene, truth: Truth, path: str, frames: Sequence[int], way: Way, cancelled: Cancelled) -> Take:
    """Render frames of a path from the truth's target cameras.

    Raises:
        Ex4dError: see `rendering.render`.
    """
    placed = np.stack([scene.source_camera(frame).c2w for frame in frames])
    poses = placed @ np.linalg.inv(truth.target_from_source[path][list(frames)])
    lens = np.repeat(np.array([truth.lens.as_tuple()]), len(frames), axis=0)
    size = (truth.lens.width, truth.lens.height)
    trajectory = Trajectory(poses, lens, np.array(frames, np.float64), *size, Fraction(10))
    started = time.process_time()
    rendered = render(
        scene,
        trajectory,
        method=way.method,
        background=way.background,
        bridge_reach=way.reach,
        allow_unseen=True,
        cancelled=cancelled,
    )
    pictures = {frame: Picture(found.color, found.mask) for frame, found in zip(frames, rendered, strict=True)}
    return Take(pictures, 1000 * (time.process_time() - started) / len(frames))

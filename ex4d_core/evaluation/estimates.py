"""An estimator's depth of a ground truth's clip, kept on disk, and the two simplest guesses it has to beat."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ex4d_core.depth import DepthKind, DepthRequest, Units
from ex4d_core.depth.frame_store import FrameStore
from ex4d_core.depth.registry import make_estimator, sharpens
from ex4d_core.depth.sharpen import sharpen
from ex4d_core.evaluation.truth import Truth
from ex4d_core.progress import Cancelled, OnProgress, stop_if

Floats = NDArray[np.float32]

GUESSES = ("plane", "ramp")
"""A constant, and a ramp of disparity from the top to the bottom of the picture."""


@dataclass(frozen=True)
class Asked:
    """Whose depth is evaluated."""

    name: str
    """An estimator of `ex4d depth list`, one of `GUESSES`, or `file`."""
    path: Path | None = None
    """File or folder of depth, for `file`."""
    kind: DepthKind = "relative"
    """What its numbers mean."""
    value_range: tuple[float, float] | None = None
    """What 0 and the largest integer of integer depth stand for."""
    model_dir: Path | None = None
    """A folder with the estimator's weights or checkout."""
    sharp: bool | None = None
    """Put edges where the colour has them; None: as an import does, for estimators, not for files."""

    @property
    def label(self) -> str:
        """For tables."""
        return self.name if self.path is None else self.path.name


@dataclass(frozen=True)
class Estimate:
    """What came of it."""

    disparity: FrameStore
    """1 / z-depth (H, W) float32 of each frame, in the estimator's unit; 0 is sky."""
    units: Units
    seconds: float
    """It took, wall time."""

    def pairs(self, truth: Truth) -> Iterator[tuple[Floats, Floats]]:
        """Estimated and true disparity of each frame."""
        for frame in range(truth.frames):
            yield self.disparity[frame], truth.disparity(frame)


def estimate_disparity(truth: Truth, asked: Asked, on_progress: OnProgress, cancelled: Cancelled) -> Estimate:
    """Let an estimator see the clip, with the true lens, and not the truth.

    Raises:
        InputError: there is no such estimator, or its input cannot be used.
        MissingDependencyError: it lacks packages or weights.
        CancelledError: `cancelled` said so.
    """
    store = FrameStore(None, "estimate", truth.frames)
    started = time.perf_counter()
    if asked.name in GUESSES:
        height = truth.lens.height
        column = np.linspace(0, 1, height) if asked.name == "ramp" else np.ones(height)
        guess = np.repeat(column[:, None], truth.lens.width, axis=1).astype(np.float32)
        for frame in range(truth.frames):
            store.write(frame, guess)
        return Estimate(store, "relative", time.perf_counter() - started)
    size = (truth.lens.width, truth.lens.height)
    request = DepthRequest(
        path=asked.path,
        kind=asked.kind,
        value_range=asked.value_range,
        clip_size=size,
        clip_frames=truth.frames,
        model_dir=asked.model_dir,
    )
    estimator = make_estimator(asked.name, request)
    estimator.check(truth.frames, size, on_progress, cancelled)
    found = estimator.estimate(truth.colors, [truth.lens] * truth.frames, None, on_progress, cancelled)
    sharp = sharpens(asked.name, asked.sharp)
    for frame, depth in enumerate(found.depth.iterate()):
        stop_if(cancelled)
        disparity = np.asarray(1 / depth, np.float32)
        store.write(frame, sharpen(disparity, truth.colors[frame]) if sharp else disparity)
        on_progress(frame + 1, truth.frames, "estimating depth")
    return Estimate(store, found.units, time.perf_counter() - started)

"""The estimators `depth-anything-3-metric` and `depth-anything-3-mono`: its checkpoints for single frames.

They run as `depth-anything-3` does, in a Python of their own; being per frame, they are made steady here.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.depth import ColorFrames, DepthResult
from ex4d_core.depth.depth_anything_3 import ENVIRONMENT, checkpoint, start_worker
from ex4d_core.depth.model_environment import require_python
from ex4d_core.depth.per_frame import Network, PerFrameEstimator, Prediction
from ex4d_core.depth.worker import Worker
from ex4d_core.errors import InputError
from ex4d_core.images import write_png
from ex4d_core.progress import Cancelled, OnProgress, never_cancelled

METRIC_FOCAL = 300.0
"""Metres = focal length in pixels * output / 300 (the package's README, "Monocular Metric Depth")."""


class _SingleFrames(PerFrameEstimator):
    """A checkpoint without cameras."""

    model: str
    """Its name in the package."""
    _worker: Worker | None = None

    def folder(self) -> Path:
        """See `PerFrameEstimator.folder`."""
        require_python(ENVIRONMENT)
        return checkpoint(self.name, self._request.model_dir, (self.model,))[0]

    def load(self) -> Network:
        """See `PerFrameEstimator.load`."""
        worker = start_worker(self.name, self.folder())
        self._worker = worker
        worker.ask({"frames": []}, never_cancelled)  # a cancel ends the worker, see `estimate`
        return lambda frame: _predicted(worker, frame)

    def estimate(
        self,
        frames: ColorFrames,
        intrinsics: list[Intrinsics],
        source_c2w: NDArray[np.float64] | None,
        on_progress: OnProgress,
        cancelled: Cancelled,
    ) -> DepthResult:
        """See `DepthEstimator.estimate`."""
        try:
            return super().estimate(frames, intrinsics, source_c2w, on_progress, cancelled)
        finally:
            if self._worker is not None:
                self._worker.close()


class DepthAnything3MetricEstimator(_SingleFrames):
    """Depth in metres, if the lens is right."""

    name = "depth-anything-3-metric"
    revision = 1
    units = "metric"
    model = "da3metric-large"


class DepthAnything3MonoEstimator(_SingleFrames):
    """Depth up to scale."""

    name = "depth-anything-3-mono"
    revision = 1
    units = "relative"
    model = "da3mono-large"


def _predicted(worker: Worker, frame: NDArray[np.uint8]) -> Prediction:
    """What the model sees in a frame; disparity as `per_frame.Prediction` wants it, for both checkpoints."""
    with tempfile.TemporaryDirectory(prefix="ex4d_") as name:
        image, out = Path(name) / "frame.png", Path(name) / "depth.npz"
        write_png(image, frame)
        worker.ask({"frames": [str(image)], "out": str(out)}, never_cancelled)
        with np.load(out, allow_pickle=False) as file:
            depth = np.asarray(file["depth"][0], np.float32)
    if not (depth > 0).all():
        raise InputError(f"{worker.name} gives numbers that are no depth: choose another estimator with --estimator.")
    return Prediction(np.float32(METRIC_FOCAL / depth.shape[1]) / depth)

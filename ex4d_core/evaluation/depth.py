"""Depth against the truth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ex4d_core.evaluation.estimates import Asked, Estimate, estimate_disparity
from ex4d_core.evaluation.scores import Alignment, abs_rel, align, boundary_f1, delta1, temporal_error
from ex4d_core.evaluation.truth import Truth
from ex4d_core.files import explained
from ex4d_core.progress import Cancelled, OnProgress, never_cancelled, silent, stop_if


@dataclass(frozen=True)
class DepthScores:
    """How good the depth of a clip is. But for two all are of disparity aligned by one scale and shift a clip."""

    scene: str
    estimator: str
    abs_rel: float
    """Mean |z - z_true| / z_true."""
    abs_rel_frame: float
    """The same with a scale and shift of its own for each frame: what is left without drift and flicker."""
    abs_rel_given: float
    """The same of depth as it was given, without any alignment; NaN unless it is metric."""
    delta1: float
    """Share of pixels that are wrong by less than a factor of 1.25."""
    boundary_f1: float
    """See `scores.boundary_f1`."""
    temporal: float
    """See `scores.temporal_error`: mean over pairs of frames."""
    seconds: float
    """Wall time of the estimate."""


def evaluate_depth(
    truth: Truth,
    asked: Asked,
    pictures: Path | None = None,
    on_progress: OnProgress = silent,
    cancelled: Cancelled = never_cancelled,
) -> DepthScores:
    """Estimate the depth of a ground truth's clip and score it.

    Args:
        truth: the scene.
        asked: whose depth.
        pictures: a folder for comparisons; None: none are made.
        on_progress: told about the frames done.
        cancelled: asked between frames.

    Raises:
        InputError, MissingDependencyError, CancelledError: see `estimate_disparity`.
        OutputError: the pictures cannot be written.
    """
    estimate = estimate_disparity(truth, asked, on_progress, cancelled)
    alignment = align(estimate.pairs(truth))
    if pictures is not None:
        write_pictures(pictures / f"{truth.name}-{asked.label}", truth, estimate, alignment)
    sums: dict[str, list[float]] = {name: [] for name in ("clip", "frame", "given", "delta1", "edges", "flicker")}
    before = None
    for frame, (found, true) in enumerate(estimate.pairs(truth)):
        stop_if(cancelled)
        depth, real = np.asarray(1 / alignment(found), np.float32), np.asarray(1 / true, np.float32)
        sums["clip"].append(abs_rel(depth, real))
        sums["frame"].append(abs_rel(np.asarray(1 / align([(found, true)])(found), np.float32), real))
        if estimate.units == "metric":
            within = np.asarray(1 / np.clip(found, alignment.low, alignment.high), np.float32)
            sums["given"].append(abs_rel(within, real))
        sums["delta1"].append(delta1(depth, real))
        sums["edges"].append(boundary_f1(depth, real))
        if before is not None:
            move = np.linalg.inv(truth.source_c2w[frame]) @ truth.source_c2w[frame - 1]
            resting = ~truth.dynamic(frame - 1)
            sums["flicker"].append(temporal_error((before[0], depth), (before[1], real), resting, truth.lens, move))
        before = depth, real
        on_progress(frame + 1, truth.frames, "scoring")
    means = {name: _mean(values) for name, values in sums.items()}
    return DepthScores(
        scene=truth.name,
        estimator=asked.label,
        abs_rel=means["clip"],
        abs_rel_frame=means["frame"],
        abs_rel_given=means["given"],
        delta1=means["delta1"],
        boundary_f1=means["edges"],
        temporal=means["flicker"],
        seconds=estimate.seconds,
    )


def write_pictures(folder: Path, truth: Truth, estimate: Estimate, alignment: Alignment) -> None:
    """For five times: the frame, aligned disparity and true disparity, side by side.

    Raises:
        OutputError: they cannot be written.
    """
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    span = alignment.high - alignment.low
    for frame in np.linspace(0, truth.frames - 1, 5).astype(int).tolist():
        greys = [
            np.asarray((values - alignment.low) / span * 255, np.uint8)
            for values in (alignment(estimate.disparity[frame]), truth.disparity(frame))
        ]
        colors = [cv2.applyColorMap(grey, cv2.COLORMAP_TURBO) for grey in greys]
        done, encoded = cv2.imencode(".png", np.hstack([truth.colors[frame][..., ::-1], *colors]))
        assert done
        with explained(folder):
            (folder / f"{frame:03d}.png").write_bytes(encoded.tobytes())


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan

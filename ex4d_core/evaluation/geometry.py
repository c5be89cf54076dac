"""What is rendered from other cameras against what they truly saw: an import and a render as users make them."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Trajectory
from ex4d_core.evaluation.estimates import Asked, estimate_disparity
from ex4d_core.evaluation.scores import align, mask_scores, psnr, ssim
from ex4d_core.evaluation.truth import Truth
from ex4d_core.ingest import import_scene
from ex4d_core.occluder import BRIDGE_REACH
from ex4d_core.progress import Cancelled, OnProgress, never_cancelled, silent, stop_if
from ex4d_core.rendering import render
from ex4d_core.scene import Scene

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Colors = NDArray[np.uint8]


@dataclass(frozen=True)
class GeometryScores:
    """How right a rendered path is: means over the key frames, as `score_geometry` of the ground truth has them."""

    scene: str
    path: str
    depth: str
    """Whose depth: true, or an estimator's, aligned to the true one by a scale and shift of disparity."""
    method: str
    background: bool
    error: float
    """Share of pixels whose mask is wrong. Right is what the source camera saw at that time; with background, also
    what rests there and it saw at another time, where the truth knows that."""
    precision: float
    recall: float
    f1: float
    iou: float
    psnr_seen: float
    """dB, over pixels that are rightly called seen."""
    psnr_pred: float
    """dB, over all that are called seen."""
    ssim_seen: float
    removed: float
    """Share of the pixels without background called unseen that the background shows; NaN without background."""
    regained: float
    """Share of the pixels that the source camera truly saw only at another time that are shown; NaN: not known."""
    psnr_filled: float
    """dB, over pixels that only the background shows; NaN: there are none."""


@dataclass(frozen=True)
class Picture:
    """A rendered key frame."""

    color: Colors
    """(H, W, 3) uint8."""
    mask: Bools
    """(H, W), True = shown."""


def make_scene(folder: Path, truth: Truth, asked: Asked | None, on_progress: OnProgress, cancelled: Cancelled) -> Scene:
    """Import a ground truth's clip with its true lens and cameras, and with true or estimated depth.

    Estimated disparity is aligned to the true one first, by one scale and shift for the clip: the target cameras
    stand in metres.

    Raises:
        Ex4dError: see `estimate_disparity` and `import_scene`.
    """
    depths = folder / "depth"
    depths.mkdir(parents=True)
    if asked is None:
        for frame in range(truth.frames):
            stop_if(cancelled)
            np.save(depths / f"{frame:06d}.npy", truth.depth(frame))
    else:
        estimate = estimate_disparity(truth, asked, on_progress, cancelled)
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
        on_progress=on_progress,
        cancelled=cancelled,
    )


def render_path(
    scene: Scene, truth: Truth, path: str, method: str, background: bool, reach: float, cancelled: Cancelled
) -> list[Picture]:
    """The key frames of a path.

    Raises:
        Ex4dError: see `rendering.render`.
    """
    keys = list(truth.key_frames)
    placed = np.stack([scene.source_camera(frame).c2w for frame in keys])
    poses = placed @ np.linalg.inv(truth.target_from_source[path][keys])
    lens = np.repeat(np.array([truth.lens.as_tuple()]), len(keys), axis=0)
    size = (truth.lens.width, truth.lens.height)
    trajectory = Trajectory(poses, lens, np.array(keys, np.float64), *size, Fraction(10))
    frames = render(
        scene,
        trajectory,
        method=method,
        background=background,
        bridge_reach=reach,
        allow_unseen=True,
        cancelled=cancelled,
    )
    return [Picture(frame.color, frame.mask) for frame in frames]


def score_pictures(truth: Truth, path: str, pictures: list[Picture], seen: Iterable[Bools]) -> dict[str, float]:
    """Means over the key frames of error, precision, recall, f1, iou, psnr_seen, psnr_pred, ssim_seen.

    Args:
        truth: the scene.
        path: of its paths.
        pictures: one for each key frame.
        seen: (H, W) what the mask should be, of each.

    Raises:
        MissingDependencyError: scikit-image is not installed.
    """
    rows: list[dict[str, float]] = []
    for picture, right, color in zip(pictures, seen, truth.target_colors(path), strict=True):
        both = picture.mask & right
        rows.append(
            mask_scores(picture.mask, right)
            | {
                "psnr_seen": psnr(picture.color, color, both),
                "psnr_pred": psnr(picture.color, color, picture.mask),
                "ssim_seen": ssim(picture.color, color, both),
            }
        )
    return {name: _mean([row[name] for row in rows]) for name in rows[0]}


def evaluate_geometry(
    truth: Truth,
    asked: Asked | None = None,
    methods: tuple[str, ...] = ("dwmesh",),
    backgrounds: tuple[bool, ...] = (False, True),
    paths: tuple[str, ...] | None = None,
    reach: float = BRIDGE_REACH,
    on_progress: OnProgress = silent,
    cancelled: Cancelled = never_cancelled,
) -> list[GeometryScores]:
    """Import, render the truth's paths and score them: a row for each path, method and kind of background.

    Args:
        truth: the scene.
        asked: whose depth; None: the true one.
        methods: see `rendering.render`.
        backgrounds: without and with the persistent background.
        paths: of the truth; None: all.
        reach: see `frame.render_frame`.
        on_progress: told what is done.
        cancelled: asked several times a second.

    Raises:
        Ex4dError: see `make_scene`, `render_path` and `score_pictures`.
    """
    rows: list[GeometryScores] = []
    with tempfile.TemporaryDirectory(prefix="ex4d_") as folder:
        scene = make_scene(Path(folder), truth, asked, on_progress, cancelled)
        for number, path in enumerate(chosen := paths or truth.paths):
            for method in methods:
                plain = render_path(scene, truth, path, method, False, reach, cancelled)
                for background in backgrounds:
                    pictures = render_path(scene, truth, path, method, True, reach, cancelled) if background else plain
                    rows.append(_row(truth, path, asked, method, background, pictures, plain))
            on_progress(number + 1, len(chosen), "scoring paths")
    return rows


def _row(
    truth: Truth,
    path: str,
    asked: Asked | None,
    method: str,
    background: bool,
    pictures: list[Picture],
    plain: list[Picture],
) -> GeometryScores:
    visible = [truth.target_visible(path, frame) for frame in truth.key_frames]
    known = [truth.target_ever(path, frame) for frame in truth.key_frames]
    ever = [mask for mask in known if mask is not None]
    removed, regained, filled_psnr = math.nan, math.nan, math.nan
    if background:
        removed = _mean([
            float((picture.mask & ~bare.mask).sum() / max(int((~bare.mask).sum()), 1))
            for picture, bare in zip(pictures, plain, strict=True)
        ])  # fmt: skip
        filled_psnr = _filled(truth, path, pictures, plain)
        shown, possible = 0, 0
        for picture, at_all, now in zip(pictures, ever, visible, strict=bool(ever)):
            later = at_all & ~now
            shown, possible = shown + int((picture.mask & later).sum()), possible + int(later.sum())
        regained = shown / possible if possible else math.nan
    means = score_pictures(truth, path, pictures, ever if background and ever else visible)
    return GeometryScores(
        scene=truth.name,
        path=path,
        depth="true" if asked is None else asked.label,
        method=method,
        background=background,
        removed=removed,
        regained=regained,
        psnr_filled=filled_psnr,
        **means,
    )


def _filled(truth: Truth, path: str, pictures: list[Picture], plain: list[Picture]) -> float:
    """PSNR over all pixels of the path that only the background shows: few in a frame, so not a mean over frames."""
    squares, count = 0.0, 0
    for picture, bare, color in zip(pictures, plain, truth.target_colors(path), strict=True):
        where = picture.mask & ~bare.mask
        squares += float(((picture.color[where].astype(np.float64) - color[where]) ** 2).mean(axis=-1).sum())
        count += int(where.sum())
    return 10 * math.log10(255**2 / max(squares / count, 1e-6)) if count else math.nan


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan

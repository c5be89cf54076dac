"""Generated shots against true views: each by itself, and together by the range of their camera paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from ex4d_core.errors import InputError
from ex4d_core.evaluation.shot_camera import PathError, estimate_path, path_error
from ex4d_core.evaluation.shot_flicker import flickers
from ex4d_core.evaluation.shot_frechet import CLIP_FRAMES, Features, I3d, Inception, clips_of, fid
from ex4d_core.evaluation.shot_inputs import AskedShot, Pair, read_pair
from ex4d_core.evaluation.shot_lpips import LEAST_SIDE as LEAST_FOR_LPIPS
from ex4d_core.evaluation.shot_lpips import Lpips, load_lpips
from ex4d_core.evaluation.shot_metrics import score_frame
from ex4d_core.evaluation.shot_ranges import RANGES
from ex4d_core.progress import Cancelled, OnProgress, never_cancelled, silent, stop_if

MEANS = (
    "psnr", "ssim", "lpips", "mpsnr", "mssim", "mlpips", "covisible", "rotation", "position", "flicker", "flicker_true"
)  # fmt: skip
"""Fields of `ShotScores` that are averaged over shots."""


@dataclass(frozen=True)
class Networks:
    """Those whose weights were given."""

    lpips: Lpips | None = None
    inception: Inception | None = None
    i3d: I3d | None = None

    @classmethod
    def load(cls, lpips: Path | None, inception: Path | None, i3d: Path | None) -> Networks:
        """Read files of weights; nothing is downloaded.

        Raises:
            InputError: one is missing, damaged, or another network's.
        """
        return cls(
            None if lpips is None else load_lpips(lpips),
            None if inception is None else Inception(inception),
            None if i3d is None else I3d(i3d),
        )


@dataclass(frozen=True)
class CameraCheck:
    """Whether and how the camera's path is estimated."""

    wanted: bool = True
    estimator: str = "embedded"
    """Of depth, one of `ex4d depth list`."""
    model_dir: Path | None = None


@dataclass(frozen=True)
class ShotScores:
    """Of one shot; NaN is what is not known, and `missing` says why."""

    shot: str
    truth: str
    path: str
    range: str
    frames: int
    """Compared with a true view."""
    psnr: float
    """Means over frames, see `shot_metrics.FrameScores`."""
    ssim: float
    lpips: float
    mpsnr: float
    mssim: float
    mlpips: float
    covisible: float
    rotation: float
    """Of the camera, degrees, see `shot_camera.PathError`."""
    position: float
    flicker: float
    """Mean of `shot_flicker.flickers`, levels of 255."""
    flicker_true: float
    """The same of the truth, where each frame has one."""
    missing: dict[str, str] = field(default_factory=dict[str, str])
    """Name of a score -> why there is none."""
    per_frame: tuple[dict[str, float], ...] = ()
    """Of each frame of the video what is known of it."""


@dataclass(frozen=True)
class RangeScores:
    """Of the shots of a range together: means, and the distances of their frames and clips from the true ones."""

    range: str
    shots: int
    frames: int
    psnr: float
    ssim: float
    lpips: float
    mpsnr: float
    mssim: float
    mlpips: float
    covisible: float
    rotation: float
    position: float
    flicker: float
    flicker_true: float
    fid: float
    fvd: float


@dataclass(frozen=True)
class _Scored:
    scores: ShotScores
    pictures: Features
    clips: Features


def evaluate_shots(
    asked: Sequence[AskedShot],
    networks: Networks,
    camera: CameraCheck,
    resize: bool = False,
    on_progress: OnProgress = silent,
    cancelled: Cancelled = never_cancelled,
) -> tuple[list[ShotScores], list[RangeScores]]:
    """Measure shots.

    Args:
        asked: the shots and their truths.
        networks: for LPIPS, FID and FVD; what is None is not measured.
        camera: how the path is estimated.
        resize: see `shot_inputs.read_pair`.
        on_progress: told about each shot's frames.
        cancelled: asked before each frame.

    Returns:
        Scores of each shot, and of each range that occurs; last of all of them, as range "all".

    Raises:
        InputError: a shot and its truth do not go together, or cannot be read.
        CancelledError: `cancelled` said so.
    """
    scored = [_evaluate(read_pair(one, resize), networks, camera, on_progress, cancelled) for one in asked]
    groups = {name: [s for s in scored if s.scores.range == name] for name in RANGES}
    together = [_together(name, alike, networks) for name, alike in groups.items() if alike]
    if len(together) == 1 and together[0].shots == len(scored):
        return [s.scores for s in scored], [*together, replace(together[0], range="all")]
    return [s.scores for s in scored], [*together, _together("all", scored, networks)]


def _evaluate(
    pair: Pair, networks: Networks, camera: CameraCheck, on_progress: OnProgress, cancelled: Cancelled
) -> _Scored:
    rows: list[dict[str, float]] = [{} for _ in pair.video]
    missing: dict[str, str] = {}
    total = len(pair.shown)
    for index, frame in enumerate(pair.shown):
        stop_if(cancelled)
        mask = None if pair.masks is None else pair.masks[index]
        rows[frame] |= asdict(score_frame(pair.video[frame], pair.truths[index], mask, networks.lpips))
        on_progress(index + 1, total, f"comparing {pair.shot}")
    error = _path_error(pair, camera, missing, on_progress, cancelled)
    if error is not None:
        for row, rotation, position in zip(rows, error.rotations, error.positions, strict=True):
            row |= {"rotation": rotation, "position": position}
    flicker, flicker_true = flickers(pair.video), flickers(pair.truths) if pair.whole else []
    for row, value in zip(rows[1:], flicker, strict=True):
        row["flicker"] = value
    for row, value in zip(rows[1:], flicker_true, strict=False):
        row["flicker_true"] = value
    if not flicker:
        missing["flicker"] = "the video has one frame"
    if pair.masks is None:
        missing["mpsnr"] = "it is not known which pixels are co-visible: give --mask, or a folder of ground truth"
    elif not pair.masks.any():
        missing["mpsnr"] = "no pixel is co-visible: look at the mask, which is white where the footage shows something"
    if networks.lpips is not None and min(pair.video.shape[1:3]) < LEAST_FOR_LPIPS:
        missing["lpips"] = f"LPIPS needs {LEAST_FOR_LPIPS} pixels on each side"
    means = {name: _mean([row[name] for row in rows if name in row]) for name in MEANS}
    means |= {"rotation": np.nan, "position": np.nan} if error is None else {"position": error.position}
    scores = ShotScores(
        pair.shot, pair.truth, pair.path, pair.range, total, **means, missing=missing,
        per_frame=tuple({"frame": frame, **row} for frame, row in enumerate(rows)),
    )  # fmt: skip
    return _Scored(scores, _pictures(pair, networks), _clips(pair, networks))


def _path_error(
    pair: Pair, camera: CameraCheck, missing: dict[str, str], on_progress: OnProgress, cancelled: Cancelled
) -> PathError | None:
    """By how much the video's camera is off its path; None, and why in `missing`, where that cannot be told."""
    if not camera.wanted:
        return None
    if pair.camera is None:
        missing["rotation"] = "its camera path is not known: give a shot folder with trajectory.json"
    elif len(pair.video) < 2:
        missing["rotation"] = "the video has one frame"
    else:
        lenses = [pair.camera.camera(frame).intrinsics for frame in range(len(pair.video))]
        try:
            found = estimate_path(pair.video, lenses, camera.estimator, camera.model_dir, on_progress, cancelled)
        except InputError as error:
            missing["rotation"] = str(error).removesuffix(error.remedy).rstrip(": ")
        else:
            return path_error(found, pair.camera.c2w)
    return None


def _pictures(pair: Pair, networks: Networks) -> Features:
    if networks.inception is None:
        return Features()
    made = networks.inception.features(pair.video[list(pair.shown)])
    return Features([made], [networks.inception.features(pair.truths)])


def _clips(pair: Pair, networks: Networks) -> Features:
    if networks.i3d is None or not pair.whole or len(pair.video) < CLIP_FRAMES:
        return Features()
    made, true = clips_of(pair.video), clips_of(pair.truths)
    return Features([networks.i3d.features(made)], [networks.i3d.features(true)])


def _together(name: str, scored: Sequence[_Scored], networks: Networks) -> RangeScores:
    pictures = Features(*([part for s in scored for part in getattr(s.pictures, kind)] for kind in ("made", "true")))
    clips = Features(*([part for s in scored for part in getattr(s.clips, kind)] for kind in ("made", "true")))
    return RangeScores(
        range=name,
        shots=len(scored),
        frames=sum(s.scores.frames for s in scored),
        **{field: _mean([getattr(s.scores, field) for s in scored]) for field in MEANS},
        fid=fid(pictures) if len(pictures) > 1 else np.nan,
        fvd=networks.i3d.distance(clips) if networks.i3d is not None and len(clips) > 1 else np.nan,
    )


def _mean(values: Sequence[float]) -> float:
    """Of what is known; infinite, which the PSNR of equal pictures is, only where nothing else is."""
    known = [value for value in values if not np.isnan(value)]
    finite = [value for value in known if np.isfinite(value)]
    return float(np.mean(finite or known)) if known else float("nan")

"""What is rendered from other cameras against what they truly saw."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ex4d_core.evaluation.flicker import mask_flicker
from ex4d_core.evaluation.scores import mask_scores, psnr, ssim
from ex4d_core.evaluation.takes import GivenDepth, Picture, Take, Way, make_scene, render_path
from ex4d_core.evaluation.truth import Truth
from ex4d_core.methods import METHODS
from ex4d_core.occluder import BRIDGE_REACH
from ex4d_core.progress import Cancelled, OnProgress, never_cancelled, silent, stop_if
from ex4d_core.scene import Scene

Bools = NDArray[np.bool_]
Colors = NDArray[np.uint8]


@dataclass(frozen=True)
class GeometryScores:
    """How right a rendered path is: means over the key frames, as `score_geometry` of the ground truth has them."""

    scene: str
    path: str
    depth: str
    """Whose depth, see `GivenDepth`."""
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
    iou_dwmesh: float
    """IoU of the mask with that of `dwmesh`, which Blender shows, both without background; NaN: not evaluated."""
    flicker: float
    """See `flicker.mask_flicker`; NaN: the truth has no consecutive frames."""
    cpu_ms: float
    """CPU time a frame, see `Take`."""
    removed: float
    """Share of the pixels without background called unseen that the background shows; NaN without background."""
    regained: float
    """Share of the pixels that the source camera truly saw only at another time that are shown; NaN: not known."""
    psnr_filled: float
    """dB, over pixels that only the background shows; NaN: there are none."""


@dataclass(frozen=True)
class TrueView:
    """What a target camera truly saw, in the key frames of a path."""

    truth: Truth
    path: str

    @cached_property
    def frames(self) -> list[int]:
        """Which are rendered: key frames, and consecutive ones for flicker."""
        return sorted({*self.truth.key_frames, *self.truth.bursts.get(self.path, ())})

    @cached_property
    def colors(self) -> Colors:
        """(K, H, W, 3) uint8."""
        return self.truth.target_colors(self.path)

    @cached_property
    def visible(self) -> list[Bools]:
        """(H, W) each: what the source camera saw at that time."""
        return [self.truth.target_visible(self.path, frame) for frame in self.truth.key_frames]

    @cached_property
    def ever(self) -> list[Bools]:
        """(H, W) each: also what rests and it saw at another time; empty: not known."""
        known = [self.truth.target_ever(self.path, frame) for frame in self.truth.key_frames]
        return [mask for mask in known if mask is not None]

    def right(self, background: bool) -> list[Bools]:
        """(H, W) each: what a mask should be."""
        return self.ever if background and self.ever else self.visible


@dataclass(frozen=True)
class JudgedFrame:
    """A key frame and what it should be."""

    scene: str
    path: str
    depth: str
    way: Way
    frame: int
    """Of the clip."""
    picture: Picture
    color: Colors
    """(H, W, 3) uint8: what the target camera truly saw."""
    right: Bools
    """(H, W): what the mask should be."""
    error: float
    """Share of pixels whose mask is wrong."""


OnFrame = Callable[[JudgedFrame], None]


def score_pictures(pictures: Sequence[Picture], right: Sequence[Bools], colors: Colors) -> list[dict[str, float]]:
    """Of each picture: error, precision, recall, f1, iou, psnr_seen, psnr_pred, ssim_seen.

    Args:
        pictures: K of them.
        right: K times (H, W): what the masks should be.
        colors: (K, H, W, 3) uint8: what the camera truly saw.
    """
    rows: list[dict[str, float]] = []
    for picture, seen, color in zip(pictures, right, colors, strict=True):
        both = picture.mask & seen
        rows.append(
            mask_scores(picture.mask, seen)
            | {
                "psnr_seen": psnr(picture.color, color, both),
                "psnr_pred": psnr(picture.color, color, picture.mask),
                "ssim_seen": ssim(picture.color, color, both),
            }
        )
    return rows


def mean_scores(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of `score_pictures`: means over the pictures that have the score."""
    return {name: _mean([row[name] for row in rows]) for name in rows[0]}


def evaluate_geometry(
    truth: Truth,
    given: Sequence[GivenDepth] = (GivenDepth(),),
    methods: tuple[str, ...] = METHODS,
    backgrounds: tuple[bool, ...] = (False, True),
    paths: tuple[str, ...] | None = None,
    reach: float = BRIDGE_REACH,
    on_frame: OnFrame | None = None,
    on_progress: OnProgress = silent,
    cancelled: Cancelled = never_cancelled,
) -> list[GeometryScores]:
    """Import, render the truth's paths and score them: a row for each depth, path, method and kind of background.

    Args:
        truth: the scene.
        given: whose depth.
        methods: see `rendering.render`.
        backgrounds: without and with the persistent background.
        paths: of the truth; None: all.
        reach: see `frame.render_frame`.
        on_frame: given each judged key frame.
        on_progress: told what is done.
        cancelled: asked several times a second.

    Raises:
        Ex4dError: see `make_scene` and `render_path`.
    """
    rows: list[GeometryScores] = []
    for depth in given:
        with tempfile.TemporaryDirectory(prefix="ex4d_") as folder:
            scene = make_scene(Path(folder), truth, depth, any(backgrounds), on_progress, cancelled)
            for number, path in enumerate(chosen := paths or truth.paths):
                view = TrueView(truth, path)
                found: dict[str, list[GeometryScores]] = {}
                shown: list[Bools] = []
                for method in sorted(methods, key=lambda name: name != "dwmesh"):  # the others are compared with it
                    bare = _render_bare(scene, view, Way(method, False, reach), cancelled)
                    if method == "dwmesh":
                        shown = [bare.pictures[frame].mask for frame in truth.key_frames]
                    ways = [Way(method, background, reach) for background in backgrounds]
                    found[method] = _score_ways(scene, view, depth.label, ways, bare, shown, on_frame, cancelled)
                rows += [row for method in methods for row in found[method]]
                on_progress(number + 1, len(chosen), f"scoring paths with {depth.label} depth")
    return rows


def _render_bare(scene: Scene, view: TrueView, way: Way, cancelled: Cancelled) -> Take:
    """Key frames and consecutive frames of a path.

    Raises:
        Ex4dError: see `render_path`.
    """
    render_path(scene, view.truth, view.path, view.frames[:1], way, cancelled)  # what is loaded once costs no frame
    return render_path(scene, view.truth, view.path, view.frames, way, cancelled)


def _score_ways(
    scene: Scene,
    view: TrueView,
    depth: str,
    ways: Sequence[Way],
    bare: Take,
    shown: Sequence[Bools],
    on_frame: OnFrame | None,
    cancelled: Cancelled,
) -> list[GeometryScores]:
    """The rows of a path and method; `bare` is it without background, `shown` are the masks of `dwmesh`, if known."""
    truth, path = view.truth, view.path
    plain = [bare.pictures[frame] for frame in truth.key_frames]
    alike = [mask_scores(picture.mask, mask)["iou"] for picture, mask in zip(plain, shown, strict=bool(shown))]
    rows: list[GeometryScores] = []
    for way in ways:
        take = render_path(scene, truth, path, view.frames, way, cancelled) if way.background else bare
        pictures = [take.pictures[frame] for frame in truth.key_frames]
        right = view.right(way.background)
        stop_if(cancelled)
        scored = score_pictures(pictures, right, view.colors)
        removed, regained, psnr_filled = (
            _background_scores(view, pictures, plain) if way.background else (math.nan, math.nan, math.nan)
        )
        rows.append(
            GeometryScores(
                scene=truth.name,
                path=path,
                depth=depth,
                method=way.method,
                background=way.background,
                iou_dwmesh=_mean(alike),
                flicker=_flicker(truth, path, take),
                cpu_ms=take.cpu_ms,
                removed=removed,
                regained=regained,
                psnr_filled=psnr_filled,
                **mean_scores(scored),
            )
        )
        if on_frame is not None:
            for frame, picture, seen, color, row in zip(
                truth.key_frames, pictures, right, view.colors, scored, strict=True
            ):
                on_frame(JudgedFrame(truth.name, path, depth, way, frame, picture, color, seen, row["error"]))
    return rows


def _flicker(truth: Truth, path: str, take: Take) -> float:
    return mask_flicker(truth, path, {frame: picture.mask for frame, picture in take.pictures.items()})


def _background_scores(
    view: TrueView, pictures: Sequence[Picture], bare: Sequence[Picture]
) -> tuple[float, float, float]:
    """removed, regained and psnr_filled (see `GeometryScores`)."""
    removed = _mean([
        float((picture.mask & ~without.mask).sum() / max(int((~without.mask).sum()), 1))
        for picture, without in zip(pictures, bare, strict=True)
    ])  # fmt: skip
    shown, possible = 0, 0
    for picture, at_all, now in zip(pictures, view.ever, view.visible, strict=bool(view.ever)):
        later = at_all & ~now
        shown, possible = shown + int((picture.mask & later).sum()), possible + int(later.sum())
    squares, count = 0.0, 0  # over the whole path: few in a frame, so not a mean over frames
    for picture, without, color in zip(pictures, bare, view.colors, strict=True):
        where = picture.mask & ~without.mask
        squares += float(((picture.color[where].astype(np.float64) - color[where]) ** 2).mean(axis=-1).sum())
        count += int(where.sum())
    filled = 10 * math.log10(255**2 / max(squares / count, 1e-6)) if count else math.nan
    return removed, shown / possible if possible else math.nan, filled


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan

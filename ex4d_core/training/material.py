"""What becomes a clip of a dataset, before any model of the engine sees it: frames, depth, and masks drawn for them."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.clip import probe_clip
from ex4d_core.ingest import import_scene
from ex4d_core.masking import LucasKanade, PointTracker, SimulatedMasks, simulated_masks
from ex4d_core.presets import subject_distance
from ex4d_core.scene import Scene
from ex4d_core.training.dataset_format import Variant
from ex4d_core.training.footage import Footage
from ex4d_core.training.scan import Cut, Piece, cover, middle


@dataclass(frozen=True)
class Recipe:
    """How material is made, the same for all clips of a dataset."""

    cut: Cut
    variants: int
    """Drawings of masks for each clip."""
    seed: int
    """Of the dataset."""
    estimator: str
    """Of depth, where a video comes without."""
    model_dir: Path | None = None
    """Its weights or checkout; None: what `ex4d models` has."""
    sharpen: bool | None = None
    """See `registry.sharpens`."""
    tracker: PointTracker = field(default_factory=LucasKanade)
    """Of tracking masks; goes to other processes, so it is one that can be pickled."""


@dataclass(frozen=True, eq=False)
class Material:
    """A clip with its masks."""

    frames: NDArray[np.uint8]
    """(T, H, W, 3) uint8 sRGB."""
    masks: NDArray[np.bool_]
    """(V, T, H, W) bool, True = seen; frame 0 of each is whole."""
    variants: tuple[Variant, ...]
    """How each of the masks came about."""


def make_material(footage: Footage, piece: Piece, recipe: Recipe, work: Path) -> Material:
    """Read a clip, find its depth as `ex4d import` does, and draw its masks.

    The same video and recipe give the same material, in whatever process and order.

    Args:
        footage: the video.
        piece: where the clip is in it.
        recipe: how to make it.
        work: a folder for what is needed meanwhile.

    Raises:
        InputError: frames cannot be read, or there is no usable depth.
        CameraError: the lens is impossible.
        MissingDependencyError: the estimator is not there.
        OutputError: `work` cannot be written.
    """
    with tempfile.TemporaryDirectory(dir=work) as folder:
        scene = _scene(footage, piece, recipe, Path(folder) / "clip.ex4d")
        rows, columns = middle(scene.color(0), recipe.cut.size)
        frames = np.stack([scene.color(t)[rows, columns] for t in range(scene.frames)])
        depths = np.stack([scene.depth(t)[rows, columns] for t in range(scene.frames)])
    lens = _cropped(scene.intrinsics(0), rows, columns)
    radius = subject_distance(depths[0])
    content = hashlib.sha256(frames.tobytes()).hexdigest()
    seeds = [variant_seed(recipe.seed, content, number) for number in range(recipe.variants)]
    drawn = [simulated_masks(frames, depths, lens, radius, seed, tracker=recipe.tracker) for seed in seeds]
    variants = tuple(_variant(seed, one) for seed, one in zip(seeds, drawn, strict=True))
    return Material(frames, np.stack([one.masks for one in drawn]), variants)


def variant_seed(seed: int, content: str, number: int) -> int:
    """The seed of one of a clip's masks.

    Args:
        seed: of the dataset.
        content: SHA-256 of the clip's frames, hexadecimal.
        number: of the variant.
    """
    digest = hashlib.sha256(f"{seed} {content} {number}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _scene(footage: Footage, piece: Piece, recipe: Recipe, out: Path) -> Scene:
    info = probe_clip(footage.path, fps=recipe.cut.fps)
    return import_scene(
        footage.path,
        out,
        depth=footage.depth,
        depth_kind=footage.depth_kind,
        depth_range=footage.depth_range,
        estimator=None if footage.depth else recipe.estimator,
        model_dir=None if footage.depth else recipe.model_dir,
        sharpen=recipe.sharpen,
        fov_degrees=footage.fov_degrees,
        focal_px=footage.focal_px,
        start=piece.first,
        frames=piece.frames,
        size=cover(info.width, info.height, recipe.cut.size),
        fps=recipe.cut.fps,
        background=False,
    )


def _cropped(lens: Intrinsics, rows: slice, columns: slice) -> Intrinsics:
    width, height = columns.stop - columns.start, rows.stop - rows.start
    return Intrinsics(lens.fx, lens.fy, lens.cx - columns.start, lens.cy - rows.start, width, height)


def _variant(seed: int, drawn: SimulatedMasks) -> Variant:
    return Variant(
        seed=seed,
        kind=drawn.kind,
        weather=drawn.weather,
        move=None if drawn.move is None else asdict(drawn.move),
        holes=float(1 - drawn.masks.mean()),
    )

"""The footage's lens distortion put back on a result, so that it lies over the original plate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics, load_trajectory
from ex4d_core.clip import ClipInfo, iter_frames, probe_clip, write_viewing
from ex4d_core.depth.exr import read_channels
from ex4d_core.distortion import Distortion, Remap, distorter
from ex4d_core.errors import InputError
from ex4d_core.exr_out import LONGEST_NAME, REC709, write_exr
from ex4d_core.files import partial_folder, require_new, require_outside
from ex4d_core.images import to_uint8, write_png
from ex4d_core.progress import Cancelled, OnProgress, never_cancelled, silent, stop_if
from ex4d_core.scene import Scene, clear_folder
from ex4d_core.scene_format import SCENE_FILE
from ex4d_core.sequence import find_sequence, is_pattern
from ex4d_core.shot import COLOR_FILE, SHOT_FILE, read_shot

_ASPECT_TOLERANCE = 0.01
_OUTPUT = "output"
_NO_MESH = 1e10
"""Depth where there is nothing, as `generate.exr_frames` writes it."""


@dataclass(frozen=True)
class Distorted:
    """What was written."""

    path: Path
    frames: int
    missing: float
    """Share of each frame that the result does not show: black, and of alpha 0 in EXR."""
    fills_degrees: float | None
    """Horizontal field of view at which a shot would show all of it; None where no picture without distortion does."""


@dataclass(frozen=True)
class _Job:
    """What is bent, and how."""

    pictures: Path
    info: ClipInfo
    bend: Remap
    fills_degrees: float | None


def distort_result(
    source: Path,
    out: Path,
    *,
    scene: Path | None = None,
    overwrite: bool = False,
    on_progress: OnProgress = silent,
    cancelled: Cancelled = never_cancelled,
) -> Distorted:
    """Put the distortion of a scene's footage back on a result.

    The lens of the footage is put on the shot's camera. A shot whose own lens is wider than the scene's (overscan)
    fills the corners that this bends into the frame; a shot with a longer lens is bent as if it were the scene's,
    because the distortion of a lens that was not there is not known.

    Args:
        source: a shot folder (its generated frames, or else what was rendered), a video, or a series of images. Of
            EXR images every channel is bent: colour is interpolated, mask and depth keep their values.
        out: a `.mp4` to look at, or a folder of images: EXR of EXR, else PNG.
        scene: the scene folder; None: the one that the shot names.
        overwrite: replace an earlier result.
        on_progress: told about each frame.
        cancelled: asked between frames.

    Raises:
        InputError: there is no distortion to put back, or the result does not fit the scene.
        OutputError: the result cannot be written.
        CancelledError: `cancelled` said so.
    """
    _require_result(source)
    require_new(out, overwrite)
    require_outside(source, out)
    shot = next((folder for folder in (source, source.parent) if (folder / SHOT_FILE).is_file()), None)
    opened = _scene_of(source, shot, scene)
    if opened.document.distortion is None:
        raise InputError(f"The footage of {opened.path} had no lens distortion: there is nothing to put back.")
    pictures = _pictures(source) if source == shot else source
    job = _prepare(pictures, opened, shot)
    count = job.info.frames

    def told(frames: Iterator[Any]) -> Iterator[Any]:
        for number, frame in enumerate(frames):
            stop_if(cancelled)
            yield frame
            on_progress(number + 1, count, "distorting")

    if out.suffix.lower() == ".mp4":
        bent = (job.bend(to_uint8(image)) for image in iter_frames(pictures))
        write_viewing(out, told(bent), opened.fps)
    else:
        with partial_folder(out) as folder:
            clear_folder(folder)
            _write_images(job, folder, told)
    return Distorted(out, count, 1.0 - float(job.bend.seen.mean()), job.fills_degrees)


def _require_result(source: Path) -> None:
    """Refuse what is no shot, video or series of images, before anything is said about its scene."""
    if not source.exists() and not is_pattern(source):
        raise InputError(f"There is no shot, video or folder of images {source}: check the name.")
    if (source / SCENE_FILE).is_file():
        raise InputError(
            f"{source} is a scene, not a result: give one of its shots, such as {source / 'shots' / 'NAME'}, or a "
            "video or images made of one."
        )


def _scene_of(source: Path, shot: Path | None, given: Path | None) -> Scene:
    if given is not None:
        return Scene.open(given)
    if shot is None:
        raise InputError(f"{source} does not say of which scene it is: name the scene folder with --scene.")
    reference = read_shot(shot).scene
    if reference is None:
        raise InputError(f"The shot {shot} names no scene: name the scene folder with --scene.")
    return Scene.open(shot / reference.path)


def _pictures(shot: Path) -> Path:
    """What a shot shows: as generated, or else as rendered."""
    return shot / _OUTPUT if (shot / _OUTPUT).is_dir() else shot / COLOR_FILE


def _prepare(pictures: Path, scene: Scene, shot: Path | None) -> _Job:
    info = probe_clip(pictures)
    width, height = info.width, info.height
    if abs(math.log(width * scene.height / (height * scene.width))) > _ASPECT_TOLERANCE:
        raise InputError(
            f"{pictures} has {width}x{height} pixels, another aspect ratio than the scene's "
            f"{scene.width}x{scene.height}: make the shot at the scene's."
        )
    document = scene.document.distortion
    assert document is not None
    distortion = Distortion.from_document(document, scene.width, scene.height).resized(width, height)
    own = scene.intrinsics(0).resized(width, height)
    bend = distorter(distortion, _overscanned(shot, own, scene.fps) or own)
    return _Job(pictures, info, bend, _fills_degrees(distortion, own))


def _overscanned(shot: Path | None, own: Intrinsics, rate: Fraction) -> Intrinsics | None:
    """The lens of a shot that is wider than the footage's throughout, and does not zoom; None otherwise."""
    if shot is None:
        return None
    path = load_trajectory(shot / read_shot(shot).request.trajectory, own.width, own.height, rate)
    rows = path.resized(own.width, own.height).intrinsics
    if (rows != rows[0]).any() or not (rows[0, 0] < own.fx and rows[0, 1] < own.fy):
        return None
    fx, fy, cx, cy = rows[0].tolist()
    return replace(own, fx=fx, fy=fy, cx=cx, cy=cy)


def _fills_degrees(distortion: Distortion, own: Intrinsics) -> float | None:
    """Field of view of the narrowest lens like `own` that shows every ray of the footage."""
    x, y = np.meshgrid(np.linspace(0, own.width, 33), np.linspace(0, own.height, 33))
    rays = distortion.undistorted(np.stack([x.ravel(), y.ravel()], axis=1))
    if not np.isfinite(rays).all():
        return None
    room = np.where(rays < 0, [own.cx, own.cy], [own.width - own.cx, own.height - own.cy])
    scale = max(1.0, float(np.abs(rays * [own.fx, own.fy] / room).max()))
    return replace(own, fx=own.fx / scale, fy=own.fy / scale).fov_x_degrees


def _write_images(job: _Job, folder: Path, told: Callable[[Iterator[Any]], Iterator[Any]]) -> None:
    files = _exr_files(job)
    if files:
        for number, file in enumerate(told(iter(files))):
            write_exr(folder / f"{number:06d}.exr", _bent_channels(read_channels(file), job.bend), REC709)
        return
    for number, image in enumerate(told(iter_frames(job.pictures))):
        write_png(folder / f"{number:06d}.png", job.bend(image))


def _exr_files(job: _Job) -> tuple[Path, ...]:
    pictures = job.pictures
    series = pictures.is_dir() or is_pattern(pictures)
    files = find_sequence(pictures).files if series else (pictures,)
    return files if files[0].suffix.lower() == ".exr" else ()


def _bent_channels(channels: dict[str, NDArray[Any]], bend: Remap) -> dict[str, NDArray[Any]]:
    """Colour interpolated, layer by layer; other channels with the values that they have."""
    bent: dict[str, NDArray[Any]] = {}
    for name, values in channels.items():
        if len(name) > LONGEST_NAME:
            raise InputError(
                f"The EXR channel {name!r} has a long name: export it under one of {LONGEST_NAME} letters."
            )
        plane = values.astype(np.float32)
        if name.rpartition(".")[2].upper() in ("R", "G", "B", "A"):
            moved = bend(np.repeat(plane[..., None], 3, axis=2))[..., 0]
        else:
            moved = bend(plane)
            if name.lower() in ("depth.z", "z"):
                moved = np.where(bend.seen, moved, np.float32(_NO_MESH))
        bent[name] = moved.astype(values.dtype if values.dtype.kind == "f" else np.float32)
    return bent

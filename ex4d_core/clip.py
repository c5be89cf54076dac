"""Clips: a video, an image sequence or a still, read as frames at one constant rate.

Everything downstream counts frames of a `Clip`: RGB, upright, square pixels, constant rate. `clip` is the
door; `video_in`, `sequence`, `images` and `video_out` do the work behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ex4d_core.errors import CancelledError, InputError
from ex4d_core.images import IMAGE_SUFFIXES, Image, pixel_aspect, read_image, resize, to_uint8, to_uint16
from ex4d_core.pixels import FrameConverter
from ex4d_core.progress import Cancelled, OnProgress, never_cancelled, silent
from ex4d_core.sequence import find_sequence, is_pattern
from ex4d_core.timeline import DEFAULT_FPS, exact_rate, resample
from ex4d_core.video_in import VideoFacts, cut_short, decode_frames, probe_video, require_file
from ex4d_core.video_out import write_lossless, write_viewing

__all__ = [
    "Clip",
    "ClipInfo",
    "iter_frames",
    "load_clip",
    "probe_clip",
    "read_lossless",
    "working_size",
    "write_lossless",
    "write_viewing",
]


@dataclass(frozen=True)
class ClipInfo:
    """What a clip is before any of it is loaded."""

    path: Path
    kind: Literal["video", "sequence", "still"]
    width: int
    """Pixels as displayed: square, upright."""
    height: int
    frames: int
    """Frames that can be read at `fps`."""
    fps: Fraction
    """Constant rate; for a variable one the nearest, for images 24 unless told."""
    variable_rate: bool = False
    pixel_aspect: Fraction = Fraction(1)
    """Width over height of a stored pixel."""
    bit_depth: int = 8
    """Of a colour channel; frames deeper than 8 come as uint16."""
    has_alpha: bool = False
    """Videos only: transparent parts are shown over black."""
    has_audio: bool = False
    complete: bool = True
    """False if the file was cut: `frames` then counts what is left."""
    first_number: int | None = None
    """Number in the name of a sequence's first file."""
    notes: tuple[str, ...] = ()
    """Sentences a user should see once."""

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self.frames / self.fps)


@dataclass(frozen=True)
class Clip:
    """A clip in memory."""

    frames: NDArray[np.uint8]
    """(T, H, W, 3) sRGB."""
    fps: Fraction
    info: ClipInfo


def probe_clip(path: Path, *, fps: Fraction | float | None = None) -> ClipInfo:
    """Say what a clip is.

    Args:
        path: a video file, an image (a clip of one frame), a folder of numbered images, or a pattern such as
            `name_####.png` or `name_%04d.exr`.
        fps: the rate wanted (23.976 means 24000/1001): images are played at it, a video is resampled to it
            by time.

    Raises:
        InputError: nothing there, damaged, or of a kind that cannot be read.
    """
    try:
        wanted = None if fps is None else exact_rate(fps)
    except ValueError as error:
        raise InputError(f"A rate of {fps} frames per second is impossible: give more than 0.") from error
    if is_pattern(path) or path.is_dir():
        return _probe_images(path, "sequence", wanted)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return _probe_images(path, "still", wanted)
    facts = probe_video(path)
    rate = wanted or facts.rate
    width, height = facts.size
    return ClipInfo(
        path=path,
        kind="video",
        width=width,
        height=height,
        frames=len(_schedule(facts, rate)),
        fps=rate,
        variable_rate=facts.variable_rate,
        pixel_aspect=facts.pixel_aspect,
        bit_depth=facts.bit_depth,
        has_alpha=facts.has_alpha,
        has_audio=facts.has_audio,
        complete=facts.timeline.complete,
        notes=facts.notes,
    )


def working_size(info: ClipInfo, size: tuple[int, int] | None = None, max_side: int | None = None) -> tuple[int, int]:
    """(w, h) of the frames that `iter_frames` gives for the same arguments.

    Args:
        info: the clip.
        size: exactly this, even if it changes the aspect ratio (scale fx and fy apart).
        max_side: at most this for the longer side, aspect ratio kept; never enlarges.

    Raises:
        InputError: a size below one pixel, or both arguments.
    """
    if size is not None and max_side is not None:
        raise InputError("Both a size and a longest side are given: give one of them.")
    if size is not None:
        if min(size) < 1:
            raise InputError(f"A size of {size[0]}x{size[1]} is empty: give at least 1x1.")
        return size
    if max_side is not None:
        if max_side < 1:
            raise InputError(f"A longest side of {max_side} is empty: give at least 1.")
        scale = Fraction(max_side, max(info.width, info.height))
        if scale < 1:
            return max(1, round(info.width * scale)), max(1, round(info.height * scale))
    return info.width, info.height


def iter_frames(
    path: Path,
    *,
    start: int = 0,
    frames: int | None = None,
    size: tuple[int, int] | None = None,
    max_side: int | None = None,
    fps: Fraction | float | None = None,
) -> Iterator[Image]:
    """Read a clip frame by frame; arguments are checked at the call, not at the first frame.

    Args:
        path: see `probe_clip`.
        start: first frame, counted at the clip's constant rate.
        frames: how many; None = all that follow.
        size: see `working_size`.
        max_side: see `working_size`.
        fps: see `probe_clip`.

    Returns:
        An iterator of (h, w, 3) sRGB arrays, uint8, or uint16 for sources deeper than 8 bits. Each is
        resized while it is read, so that memory holds one frame at full size.

    Raises:
        InputError: as `probe_clip`; a start beyond the end; fewer frames than asked for; while iterating, a
            damaged frame or one of another size.
    """
    info = probe_clip(path, fps=fps)
    target = working_size(info, size, max_side)
    first, count = _span(info, start, frames)
    if info.kind == "video":
        return _video_frames(info, target, first, count)
    return _image_frames(info, target, first, count)


def load_clip(
    path: Path,
    *,
    start: int = 0,
    frames: int | None = None,
    size: tuple[int, int] | None = None,
    max_side: int | None = None,
    fps: Fraction | float | None = None,
    on_progress: OnProgress = silent,
    cancelled: Cancelled = never_cancelled,
) -> Clip:
    """Read a clip into memory as 8-bit frames; arguments and errors as `iter_frames`.

    Raises:
        CancelledError: the caller asked to stop.
    """
    info = probe_clip(path, fps=fps)
    width, height = working_size(info, size, max_side)
    _, count = _span(info, start, frames)
    loaded = np.empty((count, height, width, 3), np.uint8)
    read = iter_frames(path, start=start, frames=frames, size=size, max_side=max_side, fps=fps)
    for index, frame in enumerate(read):
        if cancelled():
            raise CancelledError(f"Reading {path} was stopped.")
        loaded[index] = to_uint8(frame)
        on_progress(index + 1, count, "reading")
    return Clip(loaded, info.fps, info)


def read_lossless(path: Path) -> NDArray[np.uint8]:
    """All frames of a video written by `write_lossless`, exactly as they went in: (T, H, W, 3) uint8 RGB.

    Raises:
        InputError: as `iter_frames`.
    """
    return load_clip(path).frames


def _probe_images(path: Path, kind: Literal["sequence", "still"], fps: Fraction | None) -> ClipInfo:
    if kind == "sequence":
        sequence = find_sequence(path)
        files, first_number = sequence.files, sequence.first_number
    else:
        require_file(path)
        files, first_number = (path,), None
    image = read_image(files[0])
    aspect = pixel_aspect(files[0])
    return ClipInfo(
        path=path,
        kind=kind,
        width=max(1, round(image.shape[1] * aspect)),
        height=image.shape[0],
        frames=len(files),
        fps=fps or DEFAULT_FPS,
        pixel_aspect=aspect,
        bit_depth=16 if image.dtype == np.uint16 else 8,
        first_number=first_number,
    )


def _span(info: ClipInfo, start: int, frames: int | None) -> tuple[int, int]:
    """(first, count), checked against what the clip holds."""
    if start < 0 or (frames is not None and frames < 1):
        raise InputError(f"Start {start} and {frames} frames make no clip: start at 0 or later, ask for 1 or more.")
    if start >= info.frames:
        raise InputError(
            f"{info.path} has {info.frames} frames, so none at --start {start}: start at {info.frames - 1} or before."
        )
    left = info.frames - start
    if not info.complete and (frames is None or frames > left):
        raise InputError(cut_short(info.path, left))
    if frames is not None and frames > left:
        raise InputError(
            f"{info.path} has {left} frames from frame {start} on, {frames} are asked for: "
            f"ask for --frames {left} or fewer."
        )
    return start, left if frames is None else frames


def _schedule(facts: VideoFacts, rate: Fraction) -> NDArray[np.int64]:
    """Source frame for each frame of the constant-rate clip."""
    if rate == facts.rate and not facts.variable_rate:
        return np.arange(facts.frames)
    if len(facts.timeline.ticks):
        return resample(facts.timeline, rate)
    # No timestamps: the frames stand at the declared rate.
    count = max(1, round(facts.frames / facts.rate * rate))
    nearest = np.ceil(np.arange(count) * float(facts.rate / rate) - 0.5).astype(np.int64)
    return np.clip(nearest, 0, facts.frames - 1)


def _video_frames(info: ClipInfo, target: tuple[int, int], first: int, count: int) -> Iterator[Image]:
    facts = probe_video(info.path)
    convert = FrameConverter(target, facts.matrix, deep=info.bit_depth > 8)
    wanted = _schedule(facts, info.fps)[first : first + count]
    for _, frame in decode_frames(facts, wanted):
        yield convert(frame)  # a repeated frame again: the reader may write into what it gets


def _image_frames(info: ClipInfo, target: tuple[int, int], first: int, count: int) -> Iterator[Image]:
    files = find_sequence(info.path).files if info.kind == "sequence" else (info.path,)
    stored = (round(info.width / info.pixel_aspect), info.height)
    for file in files[first : first + count]:
        image = read_image(file)
        if image.shape[1::-1] != stored:
            raise InputError(
                f"{file} is {image.shape[1]}x{image.shape[0]} while {files[0].name} is {stored[0]}x{stored[1]}: "
                "bring all images of a sequence to one size."
            )
        image = to_uint16(image) if info.bit_depth > 8 else to_uint8(image)
        yield resize(image, target)

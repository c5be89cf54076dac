"""Depth from a grey video: the luma plane, as it was stored."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from ex4d_core.errors import InputError
from ex4d_core.media import open_media

_FULL_RANGE, _LIMITED_RANGE = 2, 1  # AVColorRange

# How far lossy codecs swing past the ends of the limited range, in 8-bit steps.
_OVERSHOOT = 8


@dataclass(frozen=True)
class VideoDepth:
    """A video with depth in its luma, of 8 to 16 bits.

    Grey formats use every value from 0 to 2^bits - 1 unless the file says otherwise. YUV formats are limited in
    range unless the file says otherwise: 16 to 235 (times 2^(bits - 8)) stand for 0 to the largest value; values
    far outside it are refused rather than cut, because then the file is full-range and does not say so. RGB formats
    must be grey.
    """

    path: Path
    size: tuple[int, int]
    integer_bits: int
    count: int | None = None
    """Containers count badly: only decoding tells."""
    channel: None = None
    lenses: None = None
    disparity_hint: str = ""

    def iterate(self, start: int = 0) -> Iterator[NDArray[np.float64]]:
        """See `DepthFile.iterate`."""
        for frame in islice(_decode(self.path), start, None):
            yield _fractions(self.path, frame)

    def frame_name(self, frame: int) -> str:
        """The file and the frame in it."""
        return f"frame {frame} of {self.path}"


def open_depth_video(path: Path) -> VideoDepth:
    """Open a video of depth.

    Raises:
        InputError: it is no video, damaged, empty or coloured.
    """
    first = next(_decode(path), None)
    if first is None:
        raise InputError(f"The depth video {path} has no frames: export it again.")
    height, width = _fractions(path, first).shape
    return VideoDepth(path, (width, height), first.format.components[0].bits)


def _decode(path: Path) -> Iterator[VideoFrame]:
    """The frames of the first video stream in the order of their display."""
    try:
        with open_media(path) as container:
            if not container.streams.video:
                raise InputError(f"{path} has no pictures: give depth as EXR, PNG, NPZ, NPY or a grey video.")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            yield from container.decode(stream)
    except (FFmpegError, OSError) as error:
        logging.getLogger(__name__).debug("cannot decode %s", path, exc_info=True)
        raise InputError(
            f"{path} is no depth that can be read, or damaged: give EXR, PNG, NPZ, NPY or a grey video."
        ) from error


def _fractions(path: Path, frame: VideoFrame) -> NDArray[np.float64]:
    """(H, W) float64, 0..1."""
    name, bits = frame.format.name, frame.format.components[0].bits
    if frame.format.is_rgb or name.startswith("pal"):
        return _grey_of_rgb(path, frame, bits)
    if name.startswith(("p0", "p2", "p4")):  # semi-planar, bits at the top of each word
        frame = frame.reformat(format=f"yuv420p{bits}le" if bits > 8 else "yuv420p")
        name = frame.format.name
    if not name.startswith(("gray", "yuv", "ya", "nv")) or bits > 16 or "f" in name.removeprefix("gray"):
        raise InputError(f"{path} stores its frames as {name}, not grey: export the depth as FFV1 gray16le.")
    plane = frame.planes[0]
    dtype = np.dtype(np.uint8) if bits <= 8 else np.dtype(">u2" if name.endswith("be") else "<u2")
    samples = 2 if name.startswith("ya") else 1  # grey and alpha lie interleaved
    rows = np.frombuffer(memoryview(plane), dtype).reshape(plane.height, plane.line_size // dtype.itemsize)
    values = rows[:, : frame.width * samples : samples].astype(np.float64)
    if not _is_limited(frame, name):
        return values / (2**bits - 1)
    step = 2 ** (bits - 8)
    if values.min() < (16 - _OVERSHOOT) * step or values.max() > (235 + _OVERSHOOT) * step:
        raise InputError(
            f"The depth video {path} uses the full range of its luma but is not tagged so: export it with "
            "-color_range pc, or as FFV1 gray16le."
        )
    return np.clip((values - 16 * step) / (219 * step), 0.0, 1.0)


def _is_limited(frame: VideoFrame, name: str) -> bool:
    stated = int(frame.color_range)
    if stated in (_FULL_RANGE, _LIMITED_RANGE):
        return stated == _LIMITED_RANGE
    return not name.startswith(("gray", "ya", "yuvj"))


def _grey_of_rgb(path: Path, frame: VideoFrame, bits: int) -> NDArray[np.float64]:
    deep = bits > 8
    pixels: NDArray[Any] = frame.to_ndarray(format="rgb48le" if deep else "rgb24")
    if (pixels != pixels[:, :, :1]).any():
        raise InputError(f"The depth video {path} is coloured, not grey: export depth as grey, not as a colour map.")
    return pixels[:, :, 0].astype(np.float64) / (65535 if deep else 255)

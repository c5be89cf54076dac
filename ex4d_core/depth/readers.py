"""Depth as it lies on disk: image folders, arrays and videos, one frame at a time.

Every reader gives numbers and leaves their meaning to `file`. Integers come as fractions of their largest value
(0..1), because what they stand for has to be told by the user.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ex4d_core.depth.arrays import ARRAY_SUFFIXES, Values, as_fractions, integer_bits, open_array
from ex4d_core.depth.exr import find_depth_channel, read_exr
from ex4d_core.errors import InputError
from ex4d_core.images import IMAGE_SUFFIXES, quiet_opencv
from ex4d_core.sequence import find_sequence, is_pattern


class DepthFile(Protocol):
    """A file or folder with the depth of a clip."""

    @property
    def path(self) -> Path: ...

    @property
    def count(self) -> int | None:
        """Number of frames; None where only reading them all tells."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the first frame, pixels."""
        ...

    @property
    def integer_bits(self) -> int | None:
        """Bits of the integers stored; None for floating point."""
        ...

    @property
    def channel(self) -> str | None:
        """Name of the EXR channel or NPZ array that is read; None where there are none."""
        ...

    @property
    def lenses(self) -> NDArray[np.float64] | None:
        """(1, 4) or (T, 4) float64: fx, fy, cx, cy in pixels of `size`, where the file tells."""
        ...

    @property
    def disparity_hint(self) -> str:
        """What in the file suggests that its numbers are 1/depth; "" if nothing."""
        ...

    def iterate(self, start: int = 0) -> Iterator[Values]:
        """From frame `start` on: (H, W) float, as stored, or fractions 0..1 of the largest integer."""
        ...

    def frame_name(self, frame: int) -> str:
        """How to name a frame to the user."""
        ...


def open_depth(path: Path, channel: str | None = None) -> DepthFile:
    """Open a file or folder of depth.

    Args:
        path: a folder of EXR, PNG, TIFF, NPY or NPZ frames, a pattern as in `z_%04d.exr`, one such image, an
            array file (T, H, W) or (T, H, W, 1), or a grey video.
        channel: name of the EXR channel or NPZ array; None: the one that is called so.

    Raises:
        InputError: it is missing, damaged, or nothing of the above.
    """
    if is_pattern(path):
        return _images(path, find_sequence(path).files, channel)
    if path.is_dir():
        arrays = _array_files(path)
        return _images(path, arrays or list(find_sequence(path).files), channel)
    if not path.exists():
        raise InputError(f"There is no depth file or folder {path}: check the name.")
    if path.stat().st_size == 0:
        raise InputError(f"The depth file {path} is empty (0 bytes): copy or export it again.")
    suffix = path.suffix.lower()
    if suffix in ARRAY_SUFFIXES:
        return open_array(path, channel)
    if suffix in IMAGE_SUFFIXES:
        return _images(path, [path], channel)
    from ex4d_core.depth.video import open_depth_video  # PyAV loads slowly, and most depth needs none

    return open_depth_video(path)


@dataclass(frozen=True)
class ImageDepth:
    """One file per frame: EXR, integer images, or arrays (H, W)."""

    path: Path
    files: tuple[Path, ...]
    size: tuple[int, int]
    integer_bits: int | None
    channel: str | None = None
    lenses: NDArray[np.float64] | None = None
    disparity_hint: str = ""

    @property
    def count(self) -> int:
        """Number of files."""
        return len(self.files)

    def iterate(self, start: int = 0) -> Iterator[Values]:
        """See `DepthFile.iterate`."""
        for file in self.files[start:]:
            values, bits = _read_frame(file, self.channel)
            if bits != self.integer_bits:
                raise InputError(f"{file} stores its numbers in another way than {self.files[0]}: export them alike.")
            yield values

    def frame_name(self, frame: int) -> str:
        """The file of a frame."""
        return str(self.files[frame])


def _images(path: Path, files: list[Path] | tuple[Path, ...], channel: str | None) -> ImageDepth:
    first, hint, lenses = files[0], "", None
    suffix = first.suffix.lower()
    if suffix == ".exr":
        found = find_depth_channel(first, channel)
        channel = found.name
        if found.by_nuke:
            hint = "Nuke wrote it, whose own renderer gives 1/z"
        elif "disp" in channel.lower():
            hint = f"its channel is called {channel!r}"
    elif suffix in ARRAY_SUFFIXES:
        arrays = [open_array(file, channel) for file in files]
        channel, hint = arrays[0].channel, arrays[0].disparity_hint
        told = [array.lenses for array in arrays if array.lenses is not None]
        lenses = np.concatenate(told) if len(told) == len(files) else None
    else:
        channel = None
    values, bits = _read_frame(first, channel)
    return ImageDepth(path, tuple(files), (values.shape[1], values.shape[0]), bits, channel, lenses, hint)


def _array_files(folder: Path) -> list[Path]:
    """The array files of a folder, by their last number."""
    try:
        files = [f for f in folder.iterdir() if f.suffix.lower() in ARRAY_SUFFIXES and not f.name.startswith(".")]
    except OSError as error:
        raise InputError(f"Cannot read the folder {folder} ({error.strerror}): change its permissions.") from error
    numbers = {f: int(found[-1]) for f in files if (found := re.findall(r"\d+", f.stem))}
    if len(numbers) < len(files):
        return sorted(files)
    files.sort(key=lambda f: (numbers[f], f.name))
    for before, after in pairwise(files):
        if numbers[after] != numbers[before] + 1:
            raise InputError(
                f"The depth folder {folder} jumps from {before.name} to {after.name}: add the missing frames, "
                "remove doubles, or renumber the files."
            )
    return files


def _read_frame(file: Path, channel: str | None) -> tuple[Values, int | None]:
    """One frame's numbers (H, W), and the bits of its integers or None."""
    suffix = file.suffix.lower()
    if suffix == ".exr":
        return read_exr(file, channel), None
    if suffix in ARRAY_SUFFIXES:
        array = open_array(file, channel)
        if array.count != 1:
            raise InputError(f"{file} holds {array.count} frames in a folder of frames: give the file itself.")
        return next(array.iterate()), array.integer_bits
    return _read_integer_image(file)


def _read_integer_image(file: Path) -> tuple[Values, int | None]:
    import cv2

    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read {file} ({error.strerror}): check the name and its permissions.") from error
    try:
        # Decoded unchanged: depth knows no alpha, no orientation and no colour management.
        with quiet_opencv():
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    except cv2.error:
        pixels = None
    if pixels is None:
        raise InputError(f"The depth image {file} is damaged or empty: export it again.")
    array: NDArray[Any] = np.asarray(pixels)
    if array.ndim == 3:
        colour = array[:, :, : 3 if array.shape[2] >= 3 else 1]
        if (colour != colour[:, :, :1]).any():
            raise InputError(
                f"The depth image {file} is coloured, not grey: export depth as grey, not as a colour map."
            )
        array = colour[:, :, 0]
    return as_fractions(array), integer_bits(file, array.dtype)

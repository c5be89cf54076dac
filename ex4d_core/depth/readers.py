"""Depth as it lies on disk: image folders, arrays and videos, one frame at a time.

Every reader gives numbers and leaves their meaning to `file`. Integers come as fractions of their largest value
(0..1), because what they stand for has to be told by the user.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ex4d_core.depth.exr import read_exr
from ex4d_core.errors import InputError
from ex4d_core.images import IMAGE_SUFFIXES, quiet_opencv
from ex4d_core.sequence import find_sequence, is_pattern

Values = NDArray[np.float64] | NDArray[np.float32]

ARRAY_SUFFIXES = (".npy", ".npz")
_DEPTH_KEYS = ("depth", "depths", "disparity", "disparities", "arr_0")


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

    def iterate(self, start: int = 0) -> Iterator[Values]:
        """From frame `start` on: (H, W) float, as stored, or fractions 0..1 of the largest integer."""
        ...

    def frame_name(self, frame: int) -> str:
        """How to name a frame to the user."""
        ...


def open_depth(path: Path) -> DepthFile:
    """Open a file or folder of depth.

    Args:
        path: a folder of EXR, PNG, TIFF, NPY or NPZ frames, a pattern as in `z_%04d.exr`, one such image, an
            array file (T, H, W) or (T, H, W, 1), or a grey video.

    Raises:
        InputError: it is missing, damaged, or nothing of the above.
    """
    if is_pattern(path):
        return _images(path, find_sequence(path).files)
    if path.is_dir():
        arrays = _array_files(path)
        return _images(path, arrays or list(find_sequence(path).files))
    if not path.exists():
        raise InputError(f"There is no depth file or folder {path}: check the name.")
    if path.stat().st_size == 0:
        raise InputError(f"The depth file {path} is empty (0 bytes): copy or export it again.")
    suffix = path.suffix.lower()
    if suffix in ARRAY_SUFFIXES:
        return _array(path)
    if suffix in IMAGE_SUFFIXES:
        return _images(path, [path])
    from ex4d_core.depth.video import open_depth_video  # PyAV loads slowly, and most depth needs none

    return open_depth_video(path)


@dataclass(frozen=True)
class ImageDepth:
    """One file per frame: EXR, integer images, or arrays (H, W)."""

    path: Path
    files: tuple[Path, ...]
    size: tuple[int, int]
    integer_bits: int | None

    @property
    def count(self) -> int:
        """Number of files."""
        return len(self.files)

    def iterate(self, start: int = 0) -> Iterator[Values]:
        """See `DepthFile.iterate`."""
        for file in self.files[start:]:
            values, bits = _read_frame(file)
            if bits != self.integer_bits:
                raise InputError(f"{file} stores its numbers in another way than {self.files[0]}: export them alike.")
            yield values

    def frame_name(self, frame: int) -> str:
        """The file of a frame."""
        return str(self.files[frame])


@dataclass(frozen=True)
class ArrayDepth:
    """One array (T, H, W) or (T, H, W, 1) in an NPY or NPZ file, read a frame at a time."""

    path: Path
    key: str | None
    """Name of the array inside an NPZ file."""
    count: int
    size: tuple[int, int]
    dtype: np.dtype[Any]
    integer_bits: int | None

    def iterate(self, start: int = 0) -> Iterator[Values]:
        """See `DepthFile.iterate`."""
        width, height = self.size
        frame_bytes = width * height * self.dtype.itemsize
        with _array_stream(self.path, self.key) as stream:
            shape, fortran, _ = _read_array_header(self.path, stream)
            if fortran:
                yield from islice(self._whole(stream, shape), start, None)
                return
            for frame in range(self.count):
                data = stream.read(frame_bytes)
                if len(data) != frame_bytes:
                    raise InputError(f"{self.path} is cut short in frame {frame}: copy or export it again.")
                if frame >= start:
                    yield _as_fractions(np.frombuffer(data, self.dtype).reshape(height, width))

    def _whole(self, stream: IO[bytes], shape: tuple[int, ...]) -> Iterator[Values]:
        """Column-major arrays have no frames in a row: read them at once."""
        content = stream.read()
        if len(content) < int(np.prod(shape)) * self.dtype.itemsize:
            raise InputError(f"{self.path} is cut short: copy or export it again.")
        data = np.frombuffer(content, self.dtype, int(np.prod(shape)))
        width, height = self.size
        for frame in data.reshape(shape, order="F").reshape(self.count, height, width):
            yield _as_fractions(frame)

    def frame_name(self, frame: int) -> str:
        """The file and the frame in it."""
        return f"frame {frame} of {self.path}"


def _images(path: Path, files: list[Path] | tuple[Path, ...]) -> ImageDepth:
    values, bits = _read_frame(files[0])
    return ImageDepth(path, tuple(files), (values.shape[1], values.shape[0]), bits)


def _array(path: Path) -> DepthFile:
    key = _array_key(path) if path.suffix.lower() == ".npz" else None
    with _array_stream(path, key) as stream:
        shape, _, dtype = _read_array_header(path, stream)
    plain = shape[:-1] if len(shape) == 4 and shape[3] == 1 else shape
    if len(plain) == 4 and plain[1] == 1:
        plain = (plain[0], plain[2], plain[3])
    if len(plain) == 2:
        plain = (1, *plain)
    if len(plain) != 3 or 0 in plain:
        raise InputError(f"{path} holds an array of shape {shape}: depth is (frames, height, width).")
    return ArrayDepth(path, key, plain[0], (plain[2], plain[1]), dtype, _integer_bits(path, dtype))


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


def _read_frame(file: Path) -> tuple[Values, int | None]:
    """One frame's numbers (H, W), and the bits of its integers or None."""
    suffix = file.suffix.lower()
    if suffix == ".exr":
        return read_exr(file), None
    if suffix in ARRAY_SUFFIXES:
        array = _array(file)
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
    return _as_fractions(array), _integer_bits(file, array.dtype)


def _integer_bits(path: Path, dtype: np.dtype[Any]) -> int | None:
    if dtype.kind == "f":
        return None
    if dtype.kind == "u" and dtype.itemsize <= 4:
        return dtype.itemsize * 8
    raise InputError(f"{path} holds {dtype} numbers: store depth as float, or as unsigned 8- or 16-bit integers.")


def _as_fractions(array: NDArray[Any]) -> Values:
    if array.dtype.kind == "f":
        return array.astype(np.float64) if array.dtype.itemsize > 4 else array.astype(np.float32)
    return array.astype(np.float64) / float(np.iinfo(array.dtype).max)


def _array_key(path: Path) -> str:
    """The member of an NPZ file that holds depth."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{path} is not an NPZ file, or damaged: save it again with numpy.savez.") from error
    if len(names) == 1:
        return names[0]
    for key in _DEPTH_KEYS:
        if key in names:
            return key
    raise InputError(f"{path} has the arrays {', '.join(sorted(names)) or 'none'}: name the one of depth 'depth'.")


@contextmanager
def _array_stream(path: Path, key: str | None) -> Generator[IO[bytes]]:
    """The bytes of an array file, or of a member of an NPZ file, without unpacking the whole."""
    try:
        if key is None:
            with path.open("rb") as file:
                yield file
        else:
            with zipfile.ZipFile(path) as archive, archive.open(key + ".npy") as member:
                yield member
    except (OSError, zipfile.BadZipFile, EOFError, zipfile.zlib.error) as error:  # type: ignore[attr-defined]
        raise InputError(f"{path} is damaged or cut short: copy or export it again.") from error


def _read_array_header(path: Path, stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether column-major, and dtype; never unpickles."""
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
    except ValueError as error:
        raise InputError(f"{path} is not a NumPy array: save it again with numpy.save or numpy.savez.") from error
    if dtype.hasobject:
        raise InputError(f"{path} holds Python objects, which are not read for safety: save a plain array of numbers.")
    return shape, fortran, dtype

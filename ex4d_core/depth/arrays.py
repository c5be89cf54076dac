"""Depth in NumPy files, `.npy` and `.npz`, one frame at a time, and the lens that may lie beside it in an `.npz`."""

from __future__ import annotations

import zipfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.errors import InputError

Values = NDArray[np.float64] | NDArray[np.float32]

ARRAY_SUFFIXES = (".npy", ".npz")
_DEPTH_KEYS = ("depth", "depths", "depth_map", "depth_maps", "disparity", "disparities", "arr_0")
_LENS_REMEDY = "save a 3x3 matrix or fx, fy, cx, cy, one for all frames or one for each, or leave it out"
_LENS_KEYS = ("intrinsics", "intrinsic", "K", "camera_matrix", "cam_K")


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
    lenses: NDArray[np.float64] | None = None
    """(1, 4) or (T, 4): fx, fy, cx, cy in pixels of `size`, where the file tells."""

    @property
    def channel(self) -> str | None:
        """Name of the array."""
        return self.key

    @property
    def disparity_hint(self) -> str:
        """See `DepthFile.disparity_hint`."""
        if self.key == "depths":
            return "under the name 'depths' Video-Depth-Anything's relative models save disparity"
        return f"its array is called {self.key!r}" if "disp" in (self.key or "").lower() else ""

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
                    yield as_fractions(np.frombuffer(data, self.dtype).reshape(height, width))

    def _whole(self, stream: IO[bytes], shape: tuple[int, ...]) -> Iterator[Values]:
        """Column-major arrays have no frames in a row: read them at once."""
        content = stream.read()
        if len(content) < int(np.prod(shape)) * self.dtype.itemsize:
            raise InputError(f"{self.path} is cut short: copy or export it again.")
        data = np.frombuffer(content, self.dtype, int(np.prod(shape)))
        width, height = self.size
        for frame in data.reshape(shape, order="F").reshape(self.count, height, width):
            yield as_fractions(frame)

    def frame_name(self, frame: int) -> str:
        """The file and the frame in it."""
        return f"frame {frame} of {self.path}"


def open_array(path: Path, key: str | None = None) -> ArrayDepth:
    """Open an array of depth.

    Args:
        path: the file.
        key: name of the array in an `.npz`; None: the one that is called so.

    Raises:
        InputError: it is damaged, or holds no array of frames.
    """
    key = _array_key(path, key) if path.suffix.lower() == ".npz" else None
    with _array_stream(path, key) as stream:
        shape, _, dtype = _read_array_header(path, stream)
    plain = shape[:-1] if len(shape) == 4 and shape[3] == 1 else shape
    if len(plain) == 4 and plain[1] == 1:
        plain = (plain[0], plain[2], plain[3])
    if len(plain) == 2:
        plain = (1, *plain)
    if len(plain) != 3 or 0 in plain:
        raise InputError(f"{path} holds an array of shape {shape}: depth is (frames, height, width).")
    frames, size = plain[0], (plain[2], plain[1])
    lenses = None if key is None else _read_lenses(path, frames, size)
    return ArrayDepth(path, key, frames, size, dtype, integer_bits(path, dtype), lenses)


def _read_lenses(path: Path, frames: int, size: tuple[int, int]) -> NDArray[np.float64] | None:
    """The lens beside the depth; None if there is none.

    Matrices (3, 3) or (T, 3, 3), or rows fx, fy, cx, cy; in pixels, or as shares of the picture's sides.

    Raises:
        InputError: it is no lens, or none of this picture.
    """
    key = None
    try:
        with np.load(path, allow_pickle=False) as file:
            key = next((key for key in _LENS_KEYS if key in file.files), None)
            if key is None:
                return None
            found = np.asarray(file[key], np.float64)
    except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile, zipfile.zlib.error) as error:  # type: ignore[attr-defined]
        raise InputError(f"The lens in {path} ({key!r}) cannot be read as numbers: {_LENS_REMEDY}.") from error
    shape = "x".join(str(side) for side in found.shape) or "single"
    if found.shape[-2:] == (3, 3):
        found = found.reshape(-1, 9)[:, [0, 4, 2, 5]]
    rows = found.reshape(-1, found.shape[-1]) if found.size and found.ndim else np.empty((0, 0))
    where = f"The lens in {path} ({key!r})"
    if rows.shape[1] != 4 or len(rows) not in (1, frames):
        raise InputError(f"{where} has {shape} numbers for {frames} frames: {_LENS_REMEDY}.")
    if not (np.isfinite(rows).all() and (rows > 0).all()):
        raise InputError(f"{where} has numbers that are not positive or not finite: {_LENS_REMEDY}.")
    width, height = size
    if (rows[:, 2:] < 1).all():
        rows = rows * [width, height, width, height]
    if (np.abs(rows[:, 2:] / [width, height] - 0.5) >= 0.25).any():
        raise InputError(
            f"{where} is for a picture of another size, as its centre is far from that of {width}x{height} pixels: "
            "scale it to the depth's size, or leave it out."
        )
    for fx, fy, cx, cy in rows.tolist():
        Intrinsics(fx, fy, cx, cy, width, height).require_believable(where)
    return rows


def _array_key(path: Path, wanted: str | None) -> str:
    """The member of an NPZ file that holds depth."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{path} is not an NPZ file, or damaged: save it again with numpy.savez.") from error
    if wanted is not None and names:
        if wanted in names:
            return wanted
        raise InputError(f"{path} has no array {wanted!r}, only {_listed(names)}: name one with --depth-channel.")
    if len(names) == 1:
        return names[0]
    if not names:
        raise InputError(f"{path} holds no array: save the depth into it with numpy.savez.")
    for key in _DEPTH_KEYS:
        if key in names:
            return key
    raise InputError(f"{path} has the arrays {_listed(names)}: name the one of depth with --depth-channel.")


def _listed(names: list[str]) -> str:
    return ", ".join(sorted(names))


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


def integer_bits(path: Path, dtype: np.dtype[Any]) -> int | None:
    """Bits of a kind of integers that depth is stored in; None for floating point.

    Raises:
        InputError: depth is not stored so.
    """
    if dtype.kind == "f":
        return None
    if dtype.kind == "u" and dtype.itemsize <= 4:
        return dtype.itemsize * 8
    raise InputError(f"{path} holds {dtype} numbers: store depth as float, or as unsigned 8- or 16-bit integers.")


def as_fractions(array: NDArray[Any]) -> Values:
    """Floats as they are, integers as shares 0..1 of their largest value."""
    if array.dtype.kind == "f":
        return array.astype(np.float64) if array.dtype.itemsize > 4 else array.astype(np.float32)
    return array.astype(np.float64) / float(np.iinfo(array.dtype).max)

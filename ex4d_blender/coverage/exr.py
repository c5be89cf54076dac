# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads one channel of an EXR, as scene folders have them, without a datablock (see `png`)."""

import struct
import zlib
from pathlib import Path

import numpy as np

from ..errors import UserError

_LINES = {0: 1, 2: 1, 3: 16}
"""Compression -> rows in a block: none, ZIPS, ZIP."""
_TYPES = {0: "<u4", 1: "<f2", 2: "<f4"}
_MOST_PIXELS = 1 << 28


def read_exr(path: Path, channel: str) -> np.ndarray:
    """Read one channel of a single-part, scan-line EXR (uncompressed, ZIP or ZIPS).

    Returns:
        (H, W) float32, the data window, the top row first.

    Raises:
        UserError: it is missing, damaged, compressed otherwise, or lacks the channel.
    """
    try:
        return _decode(path.read_bytes(), channel)
    except OSError as error:
        raise UserError(
            "Cannot read {path} ({reason}): import the clip again, or use Relink.", path=path, reason=error.strerror
        ) from error
    except (ValueError, KeyError, IndexError, UnicodeDecodeError, struct.error, zlib.error) as error:
        raise UserError("{path} cannot be read ({reason}): import the clip again.", path=path, reason=error) from error


def _decode(data: bytes, wanted: str) -> np.ndarray:
    magic, version = struct.unpack_from("<II", data)
    if magic != 20000630 or version & 0x1A00:
        raise ValueError("it is not a single-part scan-line EXR")
    header, at = _header(data)
    compression = header["compression"][0]
    if compression not in _LINES:
        raise ValueError(f"its compression is number {compression}, not ZIP or none")
    left, top, right, bottom = struct.unpack("<4i", header["dataWindow"])
    width, height = right - left + 1, bottom - top + 1
    if width < 1 or height < 1 or width * height > _MOST_PIXELS:
        raise ValueError(f"its size is {width}x{height}")
    before, kind, row_bytes = _find_channel(header["channels"], wanted, width)
    image = np.empty((height, width), np.float32)
    lines = _LINES[compression]
    blocks = -(-height // lines)
    for offset in struct.unpack_from(f"<{blocks}Q", data, at):
        row, size = struct.unpack_from("<iI", data, offset)
        row -= top
        count = min(lines, height - row)
        if row < 0 or count < 1:
            raise ValueError(f"a block starts at row {row}")
        block = data[offset + 8 : offset + 8 + size]
        expected = count * row_bytes
        if size < expected:  # a block that would not get smaller is stored as it is
            block = _inflate(block, expected)
        rows = np.frombuffer(block, np.uint8, expected).reshape(count, row_bytes)
        item = np.dtype(kind).itemsize
        values = np.ascontiguousarray(rows[:, before : before + item * width]).view(kind)
        image[row : row + count] = values
    return image


def _header(data: bytes) -> tuple[dict[str, bytes], int]:
    """The attributes by name, and where the header ends."""
    found: dict[str, bytes] = {}
    at = 8
    while data[at]:
        end = data.index(0, at)
        name = data[at:end].decode()
        at = data.index(0, end + 1) + 1  # past the type's name
        (size,) = struct.unpack_from("<i", data, at)
        found[name] = data[at + 4 : at + 4 + size]
        at += 4 + size
    return found, at + 1


def _find_channel(listing: bytes, wanted: str, width: int) -> tuple[int, str, int]:
    """Bytes of a row before the channel, its dtype, and bytes of a whole row."""
    at, before, found = 0, 0, None
    while listing[at]:
        end = listing.index(0, at)
        name = listing[at:end].decode()
        kind, _, x, y = struct.unpack_from("<iIii", listing, end + 1)
        if (x, y) != (1, 1):
            raise ValueError("a channel is subsampled")
        if name == wanted:
            found = before, _TYPES[kind]
        before += np.dtype(_TYPES[kind]).itemsize * width
        at = end + 17
    if found is None:
        raise ValueError(f"it has no channel {wanted}")
    return *found, before


def _inflate(block: bytes, expected: int) -> bytes:
    """Undo ZIP: differences of bytes, and even bytes stored before odd ones."""
    packed = np.frombuffer(zlib.decompressobj().decompress(block, expected), np.uint8)
    if packed.size != expected:
        raise ValueError("a block ends early")
    steps = packed + np.uint8(128)
    steps[0] = packed[0]
    sums = np.cumsum(steps, dtype=np.uint8)
    half = (expected + 1) // 2
    result = np.empty(expected, np.uint8)
    result[::2], result[1::2] = sums[:half], sums[half:]
    return result.tobytes()

# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the PNGs that the library writes (8 bits, grey or RGB), without a datablock.

Blender's own reader needs an Image in the file, which a draw handler must not make.
"""

import struct
import zlib
from pathlib import Path

import numpy as np

from ..errors import UserError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3}  # colour type -> channels
_MOST_PIXELS = 1 << 28


def read_png(path: Path) -> np.ndarray:
    """Read an 8-bit PNG.

    Returns:
        (H, W, C) uint8, C = 1 (grey) or 3 (RGB), the top row first.

    Raises:
        UserError: it is missing, damaged, or of another kind.
    """
    try:
        data = path.read_bytes()
        if not data.startswith(_SIGNATURE):
            raise ValueError("it is no PNG")
        return _decode(data)
    except OSError as error:
        raise UserError(
            "Cannot read {path} ({reason}): import the clip again, or use Relink.", path=path, reason=error.strerror
        ) from error
    except (ValueError, struct.error, zlib.error) as error:
        raise UserError("{path} is damaged ({reason}): import the clip again.", path=path, reason=error) from error


def _decode(data: bytes) -> np.ndarray:
    header, packed, at = b"", b"", len(_SIGNATURE)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            header = body
        elif kind == b"IDAT":
            packed += body
        at += 12 + length
    width, height, depth, color, _, _, interlace = struct.unpack(">IIBBBBB", header)
    if depth != 8 or color not in _CHANNELS or interlace or not 0 < width * height <= _MOST_PIXELS:
        raise ValueError("it is not 8 bits, grey or RGB")
    channels = _CHANNELS[color]
    size = height * (1 + width * channels)
    # never more than the picture holds, whatever the stream claims to be
    raw = np.frombuffer(zlib.decompressobj().decompress(packed, size), np.uint8)
    if raw.size != size:
        raise ValueError("it ends early")
    rows = raw.reshape(height, 1 + width * channels)
    return _unfilter(rows[:, 0], rows[:, 1:].reshape(height, width, channels))


def _unfilter(filters: np.ndarray, residuals: np.ndarray) -> np.ndarray:
    """Undo the prediction of each row: 0 none, 1 left, 2 above, 3 their mean, 4 Paeth's."""
    if (filters > 4).any():
        raise ValueError("a row has an unknown filter")
    if (filters <= 2).all():
        return _unfilter_simple(filters, residuals)
    return _unfilter_diagonals(filters, residuals)


def _unfilter_simple(filters: np.ndarray, residuals: np.ndarray) -> np.ndarray:
    pixels = residuals.copy()
    for y in np.flatnonzero(filters):
        if filters[y] == 1:
            np.cumsum(residuals[y], axis=0, dtype=np.uint8, out=pixels[y])
        elif y:
            pixels[y] += pixels[y - 1]
    return pixels


def _unfilter_diagonals(filters: np.ndarray, residuals: np.ndarray) -> np.ndarray:
    """All pixels with the same x + y at once: each depends only on pixels left of it and above, on earlier diagonals.

    A row of `slanted` is a diagonal; index y + 1 of it is the pixel in row y, so that index 0 is the nothing above.
    """
    height, width, channels = residuals.shape
    slanted = np.zeros((width + height + 1, height + 1, channels), np.int16)
    down, along, between = slanted.strides
    # row x + y + 2, column y + 1, as an array of rows y and columns x
    upright = np.lib.stride_tricks.as_strided(slanted[2:, 1:], residuals.shape, (down + along, down, between))
    upright[:] = residuals
    by_left, by_above, by_mean, by_paeth = (-(filters == kind).astype(np.int16)[:, None] for kind in (1, 2, 3, 4))
    for d in range(2, width + height + 1):
        top, bottom = max(0, d - 1 - width), min(height, d - 1)
        left = slanted[d - 1, top + 1 : bottom + 1]
        above = slanted[d - 1, top:bottom]
        corner = slanted[d - 2, top:bottom]
        to_left, to_above = above - corner, left - corner
        to_corner = np.abs(to_left + to_above)
        np.abs(to_left, out=to_left)
        np.abs(to_above, out=to_above)
        paeth = np.where(to_above <= to_corner, above, corner)
        paeth = np.where((to_left <= to_above) & (to_left <= to_corner), left, paeth)
        predicted = paeth & by_paeth[top:bottom]
        predicted |= ((left + above) >> 1) & by_mean[top:bottom]
        predicted |= above & by_above[top:bottom]
        predicted |= left & by_left[top:bottom]
        here = slanted[d, top + 1 : bottom + 1]
        here += predicted
        here &= 255
    return upright.astype(np.uint8)

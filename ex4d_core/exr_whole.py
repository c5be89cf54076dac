"""Whether an OpenEXR file was cut short: looked up before OpenEXR reads it, which writes lines of its own to stderr.

Format: https://openexr.com/en/latest/OpenEXRFileLayout.html. After the header, or headers, lies a table with the
place of every chunk of pixels, and then the chunks, each of which begins with its size.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

_TILED, _DEEP, _MULTIPART = 0x200, 0x800, 0x1000
_TABLE_STEP = 4096


def is_cut_short(path: Path) -> bool:
    """Whether chunks that the file promises are not in it.

    Args:
        path: the file.

    Returns:
        False, too, for what is not understood (deep images, tables that were never written) and cannot be read:
        OpenEXR says more about those.
    """
    try:
        size = os.path.getsize(path)
        with path.open("rb") as file:
            magic, version = struct.unpack("<4sI", file.read(8))
            if magic != b"\x76\x2f\x31\x01" or version & _DEEP:
                return False
            types = _part_types(file, bool(version & _MULTIPART))
            last = _last_chunk(file)
            if last == 0 or last >= size:
                return last > 0
            file.seek(last)
            part = struct.unpack("<i", file.read(4))[0] if version & _MULTIPART else 0
            tiled = types[part] == b"tiledimage" if version & _MULTIPART else bool(version & _TILED)
            # Before its size a chunk has its row, or column, row and two levels of a tile.
            length = struct.unpack("<i", file.read(20 if tiled else 8)[-4:])[0]
            return file.tell() + length > size
    except (struct.error, EOFError):
        return True
    except (OSError, IndexError):
        return False


def _part_types(file: BinaryIO, many: bool) -> list[bytes]:
    """Read over the headers: the attribute `type` of each part."""
    types: list[bytes] = []
    while True:
        found, attributes = b"", 0
        while name := _word(file):
            _word(file)
            content = file.read(struct.unpack("<i", file.read(4))[0])
            found, attributes = content if name == b"type" else found, attributes + 1
        if attributes:
            types.append(found)
        if not many or not attributes:
            return types


def _word(file: BinaryIO) -> bytes:
    """Up to a zero, which is read over."""
    found = bytearray()
    while (byte := file.read(1)) != b"\0":
        if not byte:
            raise EOFError
        found += byte
    return bytes(found)


def _last_chunk(file: BinaryIO) -> int:
    """Where the last chunk begins, by the table that ends where the first one does; 0 if the table has gaps."""
    start, table = file.tell(), np.empty(0, np.uint64)
    while True:
        data = file.read(8 * _TABLE_STEP)
        table = np.concatenate([table, np.frombuffer(data[: len(data) // 8 * 8], "<u8")])
        entries = np.minimum.accumulate(table)
        ends = np.flatnonzero(entries <= start + 8 * np.arange(1, len(table) + 1))
        if len(ends):
            table = table[: ends[0] + 1]
            return int(table.max()) if table.min() else 0
        if len(data) < 8 * _TABLE_STEP:
            raise EOFError

"""Keys and values that cameras write into QuickTime and MP4 files, of the movie and of its tracks.

FFmpeg shows those of the movie only; iPhones tell the lens in the track's. Atoms as in Apple's QuickTime File Format:
`meta` holds `keys` (names) and `ilst` (values by the names' numbers, counted from 1).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_LARGEST_META = 2**20
_HOLDERS = (b"moov", b"trak", b"udta")
_TEXT, _INTEGER, _UNSIGNED, _FLOAT, _DOUBLE = 1, 21, 22, 23, 24


def read_keys(path: Path) -> dict[str, str]:
    """All keys of a file with their values as text; of those that come twice, the movie's; {} if it has none."""
    found: dict[str, str] = {}
    try:
        with path.open("rb") as file:
            for meta in _metas(file, 0, path.stat().st_size):
                for key, value in _pairs(meta):
                    found.setdefault(key, value)
    except (OSError, struct.error, UnicodeDecodeError):
        return {}
    return found


def _atoms(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, first byte of the content and byte after it, of the atoms in a stretch."""
    while start + 8 <= end:
        file.seek(start)
        size, kind = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
            head = 16
        last = end if size == 0 else start + size
        if (size and size < head) or last > end:
            return
        yield kind, start + head, last
        start = last


def _metas(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    """Contents of the `meta` atoms of the movie and its tracks."""
    inner: list[tuple[int, int]] = []
    for kind, first, last in _atoms(file, start, end):
        if kind == b"meta" and last - first <= _LARGEST_META:
            file.seek(first)
            yield file.read(last - first)
        elif kind in _HOLDERS:
            inner.append((first, last))
    for first, last in inner:  # after what stands beside them: the movie's before the tracks'
        yield from _metas(file, first, last)


def _pairs(meta: bytes) -> Iterator[tuple[str, str]]:
    # MP4 puts four bytes of version and flags before the content, QuickTime does not.
    parts = dict(_inside(meta)) or dict(_inside(meta[4:]))
    if b"keys" not in parts or b"ilst" not in parts:
        parts = dict(_inside(meta[4:]))
    names = [content for _, content in _inside(parts.get(b"keys", b"")[8:])]
    for number, content in _inside(parts.get(b"ilst", b"")):
        index = int.from_bytes(number, "big") - 1
        for kind, data in _inside(content):
            if kind == b"data" and 0 <= index < len(names) and (value := _value(data)) is not None:
                yield names[index].decode(), value


def _inside(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of the atoms in a few bytes."""
    start = 0
    while start + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, start)
        if size < 8 or start + size > len(content):
            return
        yield kind, content[start + 8 : start + size]
        start += size


def _value(data: bytes) -> str | None:
    """What a `data` atom holds: four bytes of type, four of language, the value."""
    (kind,), value = struct.unpack_from(">I", data), data[8:]
    if kind == _TEXT:
        return value.decode().strip("\0")
    if kind in (_INTEGER, _UNSIGNED):
        return str(int.from_bytes(value, "big", signed=kind == _INTEGER))
    if kind in (_FLOAT, _DOUBLE) and len(value) == (4 if kind == _FLOAT else 8):
        return f"{struct.unpack('>f' if kind == _FLOAT else '>d', value)[0]:g}"
    return None

# SPDX-License-Identifier: GPL-3.0-or-later
"""The header of an EXR file: whether it is whole, for Blender 4.2 never comes back from reading one that is not, and
what channels it names.
"""

import struct
from pathlib import Path

SUSPICIOUS_BYTES = 4096
"""A file of this size or more has a whole header, as good as surely; the library's are of 300 bytes."""
_MAGIC = b"\x76\x2f\x31\x01"
_CHANNEL_TAIL = 16
"""Bytes of a channel after its name: kind, linearity, sampling."""


def is_cut_short(path: Path) -> bool:
    """True for a file whose header has no end, or that is no EXR at all."""
    return _attributes(path) is None


def channel_names(path: Path) -> tuple[str, ...]:
    """The channels of a file; none where its header is cut short."""
    found, place = [], 0
    data = (_attributes(path) or {}).get(b"channels", b"")
    while place < len(data) and data[place]:
        end = data.find(b"\0", place)
        if end < 0:
            break
        found.append(data[place:end].decode("latin-1"))
        place = end + 1 + _CHANNEL_TAIL
    return tuple(found)


def _attributes(path: Path) -> dict[bytes, bytes] | None:
    """The header's attributes by name; None where it does not end (OpenEXR file layout, Header Attributes)."""
    with path.open("rb") as file:
        data = file.read(1 << 16)
    found: dict[bytes, bytes] = {}
    place = 8
    if data[:4] != _MAGIC:
        return None
    while place < len(data):
        if data[place] == 0:
            return found
        words = []
        for _ in ("name", "type"):
            end = data.find(b"\0", place)
            if end < 0:
                return None
            words.append(data[place:end])
            place = end + 1
        if place + 4 > len(data):
            return None
        (size,) = struct.unpack_from("<i", data, place)
        place += 4
        found[words[0]] = data[place : place + max(size, 0)]
        place += max(size, 0)
    return None

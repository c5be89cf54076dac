# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an EXR file ends inside its header: Blender 4.2 never comes back from reading such a file."""

import struct
from pathlib import Path

SUSPICIOUS_BYTES = 4096
"""A file of this size or more has a whole header, as good as surely; the library's are of 300 bytes."""
_MAGIC = b"\x76\x2f\x31\x01"


def is_cut_short(path: Path) -> bool:
    """True for a file whose header has no end, or that is no EXR at all (OpenEXR file layout, Header Attributes)."""
    with path.open("rb") as file:
        data = file.read(1 << 16)
    place = 8
    if data[:4] != _MAGIC:
        return True
    while place < len(data):
        if data[place] == 0:
            return False
        for _ in ("name", "type"):
            end = data.find(b"\0", place)
            if end < 0:
                return True
            place = end + 1
        if place + 4 > len(data):
            return True
        (size,) = struct.unpack_from("<i", data, place)
        place += 4 + max(size, 0)
    return True

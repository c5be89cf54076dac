"""Zip files that nobody should unpack as they say; made byte by byte where no library makes them."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Mapping

_LOCAL, _CENTRAL = b"PK\x03\x04", b"PK\x01\x02"


def packed(files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> bytes:
    """A zip of these names, taken as they stand, and of symlinks with their targets."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
        for name, target in (links or {}).items():
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, target)
    return out.getvalue()


def packed_special(name: str, kind: int) -> bytes:
    """A zip with a device, pipe or socket in it."""
    out = io.BytesIO()
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (kind | 0o666) << 16
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(info, b"")
    return out.getvalue()


def with_sizes(archive: bytes, size: int) -> bytes:
    """The same zip, saying of each file that it unpacks to `size` bytes."""
    return _patched(archive, 22, 24, struct.pack("<I", size))


def encrypted(archive: bytes) -> bytes:
    """The same zip, saying that its files need a password."""
    return _patched(archive, 6, 8, struct.pack("<H", 1))


def packed_as(archive: bytes, method: int) -> bytes:
    """The same zip, saying that its files are packed in another way than they are."""
    return _patched(archive, 8, 10, struct.pack("<H", method))


def _patched(archive: bytes, local_at: int, central_at: int, value: bytes) -> bytes:
    changed = bytearray(archive)
    for mark, at in ((_LOCAL, local_at), (_CENTRAL, central_at)):
        start = -1
        while (start := archive.find(mark, start + 1)) >= 0:
            changed[start + at : start + at + len(value)] = value
    return bytes(changed)

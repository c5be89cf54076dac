"""Zip files from outside: only plain files, only inside the folder, only as large as they say."""

from __future__ import annotations

import lzma
import shutil
import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from ex4d_core.errors import InputError, SpaceError
from ex4d_core.files import explained
from ex4d_server.names import is_confined

_MAX_FILES = 200_000
_CHUNK = 2**20
_MARGIN = 256 * 2**20
_UNREADABLE = (NotImplementedError, RuntimeError, EOFError, ValueError, zlib.error, lzma.LZMAError, struct.error)
"""What the zip module lets through besides its own errors."""


def unpack(archive: Path, folder: Path, limit_bytes: int) -> None:
    """Unpack a zip into a new folder.

    A folder that holds everything else (as zipping `NAME.ex4d` makes it) is left out.

    Args:
        archive: the zip.
        folder: where to; made.
        limit_bytes: largest sum of its files.

    Raises:
        InputError: not a zip, damaged, or it holds names that lead out of it, links, or too much.
        SpaceError: the disk has no room for it.
        OutputError: it cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            files = _checked(packed, archive, limit_bytes)
            total = sum(info.file_size for info in files.values())
            free = shutil.disk_usage(folder.parent).free
            if total + _MARGIN > free:
                raise SpaceError(
                    f"{archive.name} needs {total / 1e9:.2f} GB unpacked and {free / 1e9:.2f} GB are free: "
                    "free some space, then try again."
                )
            with explained(folder):
                folder.mkdir(parents=True, exist_ok=True)
                for name, info in files.items():
                    _write(packed, info, folder.joinpath(*name.split("/")))
    except (zipfile.BadZipFile, zipfile.LargeZipFile, *_UNREADABLE) as error:
        raise InputError(f"{archive.name} is not a whole, unencrypted zip file ({error}): pack it again.") from error


def _checked(packed: zipfile.ZipFile, archive: Path, limit_bytes: int) -> dict[str, zipfile.ZipInfo]:
    infos = [info for info in packed.infolist() if not info.is_dir()]
    if len(infos) > _MAX_FILES or sum(info.file_size for info in infos) > limit_bytes:
        raise InputError(
            f"{archive.name} would unpack to {len(infos)} files of {sum(i.file_size for i in infos) / 1e9:.1f} GB, "
            f"more than the {limit_bytes / 1e9:.1f} GB allowed: send less."
        )
    for info in infos:
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG) or not is_confined(info.filename):
            raise InputError(
                f"{archive.name} holds {info.filename!r}, which is no plain file inside it: pack it again."
            )
    names = [info.filename for info in infos]
    if not names:
        raise InputError(f"{archive.name} is empty: pack the files again.")
    top = {name.split("/", 1)[0] for name in names}
    strip = len(top.pop()) + 1 if len(top) == 1 and all("/" in name for name in names) else 0
    files = {info.filename[strip:]: info for info in infos}
    taken = {name.casefold() for name in files}
    folders = {parent.as_posix() for name in taken for parent in PurePosixPath(name).parents}
    if len(taken) != len(infos) or taken & folders:
        raise InputError(f"{archive.name} holds two files of the same name: pack it again.")
    return files


def _write(packed: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with packed.open(info) as source, target.open("xb") as out:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > info.file_size:
                raise InputError(f"{info.filename!r} is larger than its zip says: pack it again.")
            out.write(chunk)

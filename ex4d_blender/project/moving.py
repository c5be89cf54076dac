# SPDX-License-Identifier: GPL-3.0-or-later
"""Moves a scene folder, in small steps: at once on one disk, else file by file."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..errors import UserError

CHUNK = 1 << 20
"""Bytes copied in a step: a few milliseconds on a slow disk."""
PARTIAL_SUFFIX = ".partial"


def free_name(folder: Path) -> Path:
    """The path itself, or the next one that nothing has: `clip_2.ex4d`."""
    if not folder.exists():
        return folder
    number = 2
    while (tried := folder.with_name(f"{folder.stem}_{number}{folder.suffix}")).exists():
        number += 1
    return tried


def move(source: Path, target: Path) -> Iterator[float]:
    """Move a folder to a path that does not exist yet; yields the share done, below 1, and not after the last step, so
    that whoever asked can point to the new place before anybody stops them.

    Stopped early (`close`), or on an error, the source is whole and what was copied is gone. At the end the target is
    whole; a copied source is still there for `remove`, once nothing points to it any more.

    Raises:
        UserError: it cannot be copied.
    """
    if not source.is_dir():
        raise UserError("{source} is not there any more: use Relink.", source=source)
    if target.exists():
        raise UserError("{target} exists already: choose another place, or remove it first.", target=target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(source, target)
    except OSError:
        yield from _copy(source, target)


def _copy(source: Path, target: Path) -> Iterator[float]:
    partial = target.with_name(target.name + PARTIAL_SUFFIX)
    whole = False
    try:
        shutil.rmtree(partial, ignore_errors=True)
        files = sorted(path for path in source.rglob("*") if path.is_file())
        sizes = [path.stat().st_size for path in files]
        total, done = max(sum(sizes), 1), 0
        needed, free = sum(sizes), shutil.disk_usage(target.parent).free
        if needed > free:
            raise UserError(
                "{folder} has {free:.1f} GB free, {needed:.1f} are needed: make room.",
                folder=target.parent,
                free=free / 1e9,
                needed=needed / 1e9,
            )
        partial.mkdir()
        for file in files:
            place = partial / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            with file.open("rb") as reading, place.open("wb") as writing:
                while chunk := reading.read(CHUNK):
                    writing.write(chunk)
                    done += len(chunk)
                    yield min(done / total, 0.999)
            shutil.copystat(file, place)
        os.rename(partial, target)
        whole = True
    except OSError as error:
        raise UserError(
            "{source} cannot be copied to {target} ({reason}): it stays where it is.",
            source=source,
            target=target,
            reason=error.strerror,
        ) from error
    finally:
        if not whole:
            shutil.rmtree(partial, ignore_errors=True)


def remove(source: Path) -> bool:
    """Remove a folder that was copied; whether it is gone (a file held open may keep it)."""
    shutil.rmtree(source, ignore_errors=True)
    return not source.exists()


def leave_word(source: Path, target: Path, suffix: str) -> None:
    """Write where a folder went, beside where it was.

    Raises:
        UserError: it cannot be written.
    """
    word = source.with_name(source.name + suffix)
    try:
        word.write_text(f"{target}\n", "utf-8")
    except OSError as error:
        raise UserError(
            "{file} cannot be written ({reason}): other .blend files may need Relink.", file=word, reason=error.strerror
        ) from error

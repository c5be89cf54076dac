# SPDX-License-Identifier: GPL-3.0-or-later
"""Where takes lie: `<Outputs>/<footage>.shots/<shot>/take_003/`. Knows nothing of Blender.

A number is claimed by making `take_003.partial`, with a `take.json` that names the job it is for: so two Blenders never
take the same one, and what a crash leaves is gone on with.
"""

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..takes.folder import TAKE_FILE, TAKE_SCHEMA

PARTIAL = ".partial"
_TAKE = re.compile(r"take_(\d{3,6})(?:\.partial)?")
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # names that Windows opens as a device
_LONGEST = 80  # of a shot's name in a path, letters


def takes_folder(outputs: Path, footage: str, shot: str) -> Path:
    """The folder of a shot's takes; it may not exist yet."""
    return outputs / f"{footage}.shots" / file_name(shot)


def file_name(name: str) -> str:
    """A shot's name as every system takes it for a folder's."""
    plain = re.sub(r'[\x00-\x1f\\/:*?"<>|]', "_", name).strip()[:_LONGEST].rstrip(". ").lstrip(".")
    return f"{plain}_" if not plain or _DEVICES.fullmatch(plain) else plain


def numbers(folder: Path) -> list[int]:
    """The numbers that takes in a folder have, half-fetched ones too."""
    try:
        found = [_TAKE.fullmatch(path.name) for path in folder.iterdir()]
    except OSError:  # there is none yet; one that cannot be read is told of where it is written to
        return []
    return [int(match[1]) for match in found if match]


def next_number(folder: Path, taken: Iterable[int]) -> int:
    """A number that neither a take in the folder nor one of `taken` has."""
    return max([0, *numbers(folder), *taken]) + 1


def of_job(folder: Path, job: str, suffix: str = "") -> Path | None:
    """The take in a folder that a job has made, if it was fetched before; with `PARTIAL`, if that was begun."""
    paths = sorted(folder.glob(f"take_*{suffix}")) if folder.is_dir() else []
    matching = (path for path in paths if _TAKE.fullmatch(path.name) and (path.suffix == suffix))
    return next((path for path in matching if _job_in(path) == job), None)


def claim(folder: Path, number: int, job: str, about: dict[str, Any]) -> Path:
    """Reserve a number for a job's take: this one, or the next that is free.

    Args:
        about: `take.json` without what the number decides.

    Returns:
        The take's folder while it is fetched, `take_003.partial`.

    Raises:
        OSError: it cannot be made.
    """
    if begun := of_job(folder, job, PARTIAL):
        return begun
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        name = f"take_{number:03d}"
        partial = folder / (name + PARTIAL)
        try:
            if (folder / name).exists():
                raise FileExistsError
            partial.mkdir()
        except FileExistsError:
            number += 1
            continue
        document = {"schema": TAKE_SCHEMA, "number": number, "name": name, "job": job} | about
        (partial / TAKE_FILE).write_text(json.dumps(document, indent=1), "utf-8")
        return partial


def drop_partial(folder: Path, job: str) -> None:
    """Remove what was fetched of a take that nobody waits for any more."""
    if begun := of_job(folder, job, PARTIAL):
        shutil.rmtree(begun, ignore_errors=True)


def _job_in(take: Path) -> str:
    try:
        return str(json.loads((take / TAKE_FILE).read_text("utf-8"))["job"])
    except (OSError, ValueError, TypeError, KeyError):  # made by `ex4d generate`, or damaged
        return ""

"""Names that come from outside: ids of jobs, scenes and uploads, and files inside a result."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from ex4d_server.problems import RequestError

ID_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?$"
# For the OpenAPI document; JSON Schema's patterns know no flag for case.
_DEVICE_PATTERN = r"^([Cc][Oo][Nn]|[Pp][Rr][Nn]|[Aa][Uu][Xx]|[Nn][Uu][Ll]|([Cc][Oo][Mm]|[Ll][Pp][Tt])[0-9])(\.|$)"
_DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$"} | {f"{d}{n}" for d in ("com", "lpt") for n in range(10)}
_MAX_NAME = 1024


def is_portable(name: str) -> bool:
    """Whether a file or folder may bear this name on every system: no device, no trailing dot or blank."""
    return name[-1] not in ". " and name.split(".")[0].rstrip(" ").lower() not in _DEVICES


def _portable_id(name: str) -> str:
    if not is_portable(name):
        raise ValueError("is no name that every system takes, choose another")
    return name


Id = Annotated[
    str,
    Field(pattern=ID_PATTERN, examples=["shot-010"], json_schema_extra={"not": {"pattern": _DEVICE_PATTERN}}),
    AfterValidator(_portable_id),
]
"""What a client calls a job, a scene or an upload; a UUID will do."""


def is_confined(name: str) -> bool:
    """Whether a relative name with forward slashes stays inside its folder on every system."""
    if not name or len(name) > _MAX_NAME or re.search(r'[\\:*?"<>|\x00-\x1f\x7f]', name):
        return False
    return all(part not in ("", ".", "..") and is_portable(part) for part in name.split("/"))


def file_inside(folder: Path, name: str) -> Path:
    """The regular file of that name inside a folder, reached without a symlink.

    Raises:
        RequestError: 404: there is none.
    """
    if is_confined(name):
        path = folder.joinpath(*name.split("/"))
        try:
            inside = path.resolve(strict=True) == folder.resolve().joinpath(*name.split("/"))
            if inside and path.is_file():
                return path
        except (OSError, RuntimeError):  # RuntimeError: links in a circle, before Python 3.13
            inside = False
    raise RequestError(f"There is no file {name!r} here: look at the list of files.", "no-file", 404)

"""Serving the files of a scene or a shot."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from ex4d_core.errors import InputError
from ex4d_core.scene_format import SCENE_FILE, parse_document
from ex4d_server.documents import FileStatus
from ex4d_server.names import file_inside
from ex4d_server.problems import RequestError

NO_PAGE = {"X-Content-Type-Options": "nosniff"}
"""Headers: what a job made is never run as a page."""


def list_files(folder: Path) -> list[FileStatus]:
    """Every file of a finished folder, sorted by name; links and half-made files are left out."""
    found: list[FileStatus] = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.endswith(".partial"))
        for name in names:
            path = Path(root, name)
            if path.is_symlink() or ".partial" in name:
                continue
            status = path.stat()
            relative = path.relative_to(folder).as_posix()
            found.append(FileStatus(name=relative, size=status.st_size, etag=etag(status)))
    return sorted(found, key=lambda file: file.name)


def read_scene_document(folder: Path) -> dict[str, Any]:
    """The `scene.json` of a scene folder.

    Raises:
        InputError: it is missing or damaged.
    """
    path = folder / SCENE_FILE
    try:
        return parse_document(path.read_text(encoding="utf-8"), path)[1]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read {path} ({error}): import the clip again.") from error


def etag(status: os.stat_result) -> str:
    """Names a version of a file: results never change in place."""
    return f'"{status.st_mtime_ns:x}-{status.st_size:x}"'


def file_response(request: Request, folder: Path, name: str) -> Response:
    """A file with ETag and ranges.

    Raises:
        RequestError: 404: there is none of that name.
    """
    path = file_inside(folder, name)
    status = path.stat()
    tag = etag(status)
    wanted = [t.strip().removeprefix("W/") for t in request.headers.get("if-none-match", "").split(",")]
    if tag in wanted or "*" in wanted:
        return Response(status_code=304, headers={"ETag": tag})
    _settle_range(request, status.st_size, tag)
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", **NO_PAGE}
    return FileResponse(path, stat_result=status, headers=headers)


def _settle_range(request: Request, size: int, tag: str) -> None:
    """Leave only a single range that the file has: others may be ignored (RFC 9110, 14.2).

    Raises:
        RequestError: 416: the range begins after the end.
    """
    asked = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", request.headers.get("range", ""))
    first, last = asked.groups() if asked else ("", "")
    if (first or last) and not (first and last and int(last) < int(first)):
        if (first and int(first) < size) or (not first and int(last) > 0 and size > 0):
            return
        if request.headers.get("if-range", tag) == tag:
            raise RequestError(
                f"The file has {size} bytes: ask for a part of them.",
                "bad-range",
                416,
                headers={"Content-Range": f"bytes */{size}"},
            )
    request.scope["headers"] = [(name, value) for name, value in request.scope["headers"] if name != b"range"]

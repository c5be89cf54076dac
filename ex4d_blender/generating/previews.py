# SPDX-License-Identifier: GPL-3.0-or-later
"""Thumbnails of jobs that run: the newest frame that the sidecar has, fetched now and then, and shown as an icon."""

import contextlib
import time
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import bpy
import bpy.utils.previews

from .. import sidecar
from ..client import Call, Server
from . import wishes

LOOK_SECONDS = 1.0
BYTES = 1 << 20  # most of a thumbnail

_collection: "bpy.utils.previews.ImagePreviewCollection | None" = None
_shown: dict[str, str] = {}  # by job: the address of its thumbnail, which also names it in the collection
_files: dict[str, Path] = {}  # by job: where that lies
_asked: set[str] = set()  # jobs whose thumbnail is on its way
_count = 0
_next_look = 0.0


def icon(job: str) -> int:
    """The icon of a job's newest frame; 0 while there is none."""
    preview = _collection.get(_shown.get(job, "")) if _collection is not None else None
    return preview.icon_id if preview else 0


def tick() -> None:
    """Called with each tick of the sidecar."""
    global _next_look
    if time.monotonic() < _next_look:
        return
    _next_look = time.monotonic() + LOOK_SECONDS
    now = sidecar.connection()
    waited = {wish.job for _, wish in wishes.all_wishes()}
    for job in set(_shown) - waited:
        _drop(job)
    for job in waited - _asked:
        view = now.job(job)
        if now.state == "ready" and now.server and view and view.preview_url and view.preview_url != _shown.get(job):
            _ask(now.server, job, view.preview_url)


def _ask(server: Server, job: str, url: str) -> None:
    parts = urlsplit(url)

    def end(task: Call) -> None:
        _asked.discard(job)
        if task.result and isinstance(task.result.body, bytes):  # else there will be another
            _show(job, url, task.result.body)

    _asked.add(job)
    call = Call(server, "GET", parts.path, query=dict(parse_qsl(parts.query)), limit=BYTES)
    sidecar.start(call, on_end=end)


def _show(job: str, url: str, jpeg: bytes) -> None:
    global _count
    if _collection is None:
        return
    _drop(job)
    _count += 1
    file = Path(bpy.app.tempdir) / f"ex4d-preview-{_count}.jpg"  # another name: Blender reads it when it is first drawn
    with contextlib.suppress(OSError):  # no thumbnail then
        file.write_bytes(jpeg)
        _collection.load(url, str(file), "IMAGE")
        _shown[job], _files[job] = url, file
        sidecar.redraw()


def _drop(job: str) -> None:
    url = _shown.pop(job, None)
    if _collection is not None and url in _collection:
        del _collection[url]
    if file := _files.pop(job, None):
        file.unlink(missing_ok=True)


def register() -> None:
    """Called when the extension is enabled."""
    global _collection
    _collection = bpy.utils.previews.new()
    sidecar.every_tick(tick)


def unregister() -> None:
    """Called when the extension is disabled."""
    global _collection
    sidecar.no_longer(tick)
    for job in list(_shown):
        _drop(job)
    _asked.clear()
    bpy.utils.previews.remove(_collection)
    _collection = None

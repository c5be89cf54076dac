# SPDX-License-Identifier: GPL-3.0-or-later
"""The scene that fills itself: fetches what a scene waits for when it is finished, then calls the one operator.

Only memory changes here; datablocks are made by `ex4d.place_import`, when nothing else goes on.
"""

import time
from pathlib import Path

import bpy
from bpy.app.handlers import persistent

from .. import sidecar, unasked
from ..client import Event, Task, same_data
from ..errors import UserError
from ..preferences import outputs_folder, require_outputs
from . import transfers, wishes

LOOK_SECONDS = 0.5

_fetched: dict[str, Path] = {}  # by job: its scene, here
_moving: dict[str, tuple[str, float]] = {}  # by job: what is under way, and how far
_tried: set[str] = set()  # jobs that were placed by themselves, or could not be: the artist decides from then on
_stood: set[str] = set()  # jobs that have stood in the scene: where one is waited for again, it was undone
_next_look = 0.0


def tick() -> None:
    """Called with each tick of the sidecar."""
    global _next_look
    if time.monotonic() < _next_look:
        return
    _next_look = time.monotonic() + LOOK_SECONDS
    now, scene = sidecar.connection(), _scene()
    for wish in wishes.all_wishes(scene) if scene else ():
        job, view = wish.job, now.job(wish.job)
        if job in _tried or job in _moving or wish.was_undone:
            continue
        if job not in _fetched:
            if now.state == "ready" and view and view.state == "succeeded":
                try:
                    fetch(job, wish.name)
                except UserError as error:
                    _tried.add(job)
                    sidecar.complain(error.said)
        elif unasked.may_change():
            _tried.add(job)  # once: undone, it shall not come back by itself
            try:
                unasked.call(bpy.ops.ex4d.place_import, job=job)
            except UserError as error:
                sidecar.complain(error.said)
            return  # the operator has changed what this loop walks along


def fetch(job: str, name: str) -> None:
    """Begin to fetch a finished import's scene. Raises: UserError."""
    task = fetching(job, name)

    def note(event: Event) -> None:
        done, total = event.data.get("done"), event.data.get("total")
        if event.kind == "bytes" and total:
            _moving[job] = str(event.data.get("stage")), float(done or 0) / total

    def end(task: Task[Path]) -> None:
        _moving.pop(job, None)
        if task.error:
            _tried.add(job)
            sidecar.complain(sidecar.sentence(task.error))
        elif task.result:
            _fetched[job] = task.result
            sidecar.redraw()

    _moving[job] = "fetch", 0.0
    sidecar.start(task, note, end)


def fetching(job: str, name: str) -> transfers.FetchScene:
    """The task that fetches a finished import's scene. Raises: UserError."""
    now = sidecar.required_connection()
    view = now.job(job)
    if view is None or view.state != "succeeded" or not view.content_hash:
        raise UserError(
            "The import {job} has not finished: wait for it, or look at the Sidecar panel for the reason.", job=job
        )
    assert now.server is not None
    find = same_data(now.server) if now.is_local else None
    outputs = outputs_folder()
    if transfers.fetched(outputs, name, view.content_hash) is None:
        require_outputs()
    return transfers.FetchScene(now.server, job, view.content_hash, outputs, name, find)


def fetched(job: str) -> Path | None:
    """Where the scene of a job lies, if it was fetched and is still there."""
    found = _fetched.get(job)
    return found if found and found.is_dir() else None


def note_fetched(job: str, folder: Path) -> None:
    """The scene of a job is here."""
    _fetched[job] = folder


def moving(job: str) -> tuple[str, float] | None:
    """What is under way for a job (`hash`, `pack`, `upload`, `fetch`, `download`), and how far (0 to 1)."""
    return _moving.get(job)


def note_moving(job: str, stage: str | None, share: float = 0.0) -> None:
    """Something is under way for a job, or with None no longer."""
    if stage is None:
        _moving.pop(job, None)
    else:
        _moving[job] = stage, share


def note_placed(job: str) -> None:
    """A job stands in the scene: undone, it comes back only when asked for, in a file saved meanwhile too."""
    _stood.add(job)


def wait_for(job: str) -> None:
    """Let the scene fill itself with a job again."""
    _tried.discard(job)
    _stood.discard(job)


def _scene() -> bpy.types.Scene | None:
    """The scene that the artist sees."""
    windows = bpy.context.window_manager.windows
    return windows[0].scene if windows else bpy.context.scene


@persistent
def _before_save(*_: object) -> None:
    """Say in the file what was undone. Undo takes the footage out of the file's data, and a mark made then with it."""
    for scene in bpy.data.scenes:
        for wish in wishes.all_wishes(scene) if scene.library is None else ():
            if wish.job in _stood:
                wish.was_undone = True


def register() -> None:
    """Called when the extension is enabled."""
    bpy.app.handlers.save_pre.append(_before_save)
    sidecar.every_tick(tick)


def unregister() -> None:
    """Called when the extension is disabled."""
    sidecar.no_longer(tick)
    bpy.app.handlers.save_pre.remove(_before_save)
    forget()


def forget() -> None:
    """Everything."""
    _fetched.clear()
    _moving.clear()
    _tried.clear()
    _stood.clear()

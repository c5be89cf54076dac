# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes that come by themselves: fetches what a scene waits for when it is finished, then calls the one operator.

Only memory changes here; the list of takes is changed by `ex4d.keep_take`, when nothing else goes on.
"""

import json
import time
from pathlib import Path

import bpy
from bpy.app.handlers import persistent

from .. import sidecar, unasked
from ..client import Event, Task, same_data
from ..errors import UserError
from ..preferences import outputs_folder
from ..shots import find_shot
from . import folders, wishes
from .transfers import FetchTake
from .wishes import EX4D_TakeWish

LOOK_SECONDS = 0.5

_fetched: dict[str, Path] = {}  # by job: its take, here
_moving: dict[str, tuple[str, float]] = {}  # by job: what is under way, and how far
_tasks: dict[str, Task] = {}  # by job: what moves it
_tried: set[str] = set()  # jobs that were kept by themselves, or could not be: the artist decides from then on
_stood: set[str] = set()  # jobs that have been in the list: where one is waited for again, it was undone
_next_look = 0.0


def tick() -> None:
    """Called with each tick of the sidecar."""
    global _next_look
    if time.monotonic() < _next_look:
        return
    _next_look = time.monotonic() + LOOK_SECONDS
    now = sidecar.connection()
    for scene, wish in wishes.all_wishes():
        job, view = wish.job, now.job(wish.job)
        if job in _tried or job in _moving or wish.was_undone:
            continue
        if fetched(job) is None:
            if now.state == "ready" and view and view.state == "succeeded":
                try:
                    fetch(scene, wish)
                except UserError as error:
                    _tried.add(job)
                    sidecar.complain(error.said)
        elif unasked.may_change():
            _tried.add(job)  # once: undone, it shall not come back by itself
            try:
                unasked.call(bpy.ops.ex4d.keep_take, job=job)
            except UserError as error:
                sidecar.complain(error.said)
            return  # the operator has changed what this loop walks along


def fetch(scene: bpy.types.Scene, wish: EX4D_TakeWish) -> None:
    """Begin to fetch a finished take. Raises: UserError."""
    job = wish.job

    def end(task: Task[Path]) -> None:
        if task.error and task.error.transient:
            return  # once the sidecar answers again, it is tried again
        if task.error:
            _tried.add(job)
            if task.error.code != "closed":
                sidecar.complain(sidecar.sentence(task.error))
        elif task.result:
            _fetched[job] = task.result
            sidecar.redraw()

    follow(job, "fetch", fetching(scene, wish), end)


def fetching(scene: bpy.types.Scene, wish: EX4D_TakeWish) -> FetchTake:
    """The task that fetches a finished take. Raises: UserError."""
    now = sidecar.required_connection()
    view = now.job(wish.job)
    if view is None or view.state != "succeeded":
        raise UserError(
            "{take} of {shot} is not finished: wait for it, or look at the Sidecar panel for the reason.",
            take=wish.take_name,
            shot=wish.name,
        )
    assert now.server is not None
    find = same_data(now.server) if now.is_local else None
    about = {"shot": wish.shot, "shot_name": _shot_name(scene, wish), "settings": json.loads(wish.settings)}
    return FetchTake(now.server, wish.job, takes_folder(scene, wish), wish.number, about, find)


def follow(job: str, stage: str, task: Task, on_end: sidecar.OnEnd) -> None:
    """Let the tick step a task that moves a job's files, and note how far it is."""

    def note(event: Event) -> None:
        done, total = event.data.get("done"), event.data.get("total")
        if event.kind == "bytes" and total:
            _moving[job] = str(event.data.get("stage")), float(done or 0) / total

    def end(ended: Task) -> None:
        _moving.pop(job, None)
        _tasks.pop(job, None)
        on_end(ended)

    _moving[job], _tasks[job] = (stage, 0.0), task
    sidecar.start(task, note, end)


def takes_folder(scene: bpy.types.Scene, wish: EX4D_TakeWish) -> Path:
    """Where the take goes: beside the .blend as it is called now, under the shot's present name."""
    return folders.takes_folder(outputs_folder(), wish.footage, _shot_name(scene, wish))


def _shot_name(scene: bpy.types.Scene, wish: EX4D_TakeWish) -> str:
    shot = find_shot(scene, wish.shot)
    return wish.name if shot is None else shot.name


def fetched(job: str) -> Path | None:
    """Where the take of a job lies, if it was fetched and is still there."""
    found = _fetched.get(job)
    return found if found and found.is_dir() else None


def moving(job: str) -> tuple[str, float] | None:
    """What is under way for a job (`hash`, `pack`, `upload`, `fetch`, `download`), and how far (0 to 1)."""
    return _moving.get(job)


def stop(job: str) -> None:
    """End what is under way for a job."""
    if job in _tasks:
        _tasks[job].close()


def note_kept(job: str) -> None:
    """A take is in the list: undone, it comes back only when asked for, in a file saved meanwhile too."""
    _stood.add(job)


def wait_for(job: str) -> None:
    """Let a take come by itself again."""
    _tried.discard(job)
    _stood.discard(job)


@persistent
def _before_save(*_: object) -> None:
    """Say in the file what was undone. Undo takes the take out of the file's data, and a mark made then with it."""
    for _scene, wish in wishes.all_wishes():
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
    for known in (_fetched, _moving, _tasks, _tried, _stood):
        known.clear()

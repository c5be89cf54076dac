# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs of one kind whose results come by themselves: fetched when finished, then put into the file by one operator.

Only memory changes here; the file is changed by the operator, when nothing else goes on.
"""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import bpy
from bpy.app.handlers import persistent

from . import sidecar, unasked
from .client import Event, Task
from .errors import UserError

LOOK_SECONDS = 0.5


class Awaited:
    """How far each job is that scenes wait for.

    Args:
        wishes: what the scenes of the file wait for now; each has `job` and `was_undone`, and its scene as `id_data`.
        fetch: begins to fetch the result of a finished job, given its wish. Raises: UserError.
        put: the operator that puts what was fetched into the file, given `job`.
        is_due: whether the operator can put a wish's result where it belongs now.
    """

    def __init__(
        self,
        wishes: Callable[[], Iterable[Any]],
        fetch: Callable[[Any], None],
        put: Callable[..., set[str]],
        is_due: Callable[[Any], bool] = lambda wish: True,
    ) -> None:
        self._wishes, self._fetch, self._put, self._is_due = wishes, fetch, put, is_due
        self._fetched: dict[str, Path] = {}
        self._moving: dict[str, tuple[str, float]] = {}
        self._tasks: dict[str, Task] = {}
        self._tried: set[str] = set()  # were put by themselves, or could not be: the artist decides from then on
        self._stood: set[str] = set()  # have stood in the file: where one is waited for again, it was undone
        self._next_look = 0.0

    def tick(self) -> None:
        """Called with each tick of the sidecar."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_SECONDS
        now = sidecar.connection()
        for wish in self._wishes():
            job, view = wish.job, now.job(wish.job)
            if job in self._tried or job in self._moving or wish.was_undone or not self._is_due(wish):
                continue
            if self.fetched(job) is None:
                if now.state == "ready" and view and view.state == "succeeded":
                    self._try(job, lambda wish=wish: self._fetch(wish))
            elif unasked.may_change():
                self._tried.add(job)  # once: undone, it shall not come back by itself
                self._try(job, lambda job=job: unasked.call(self._put, job=job))
                return  # the operator has changed what this loop walks along

    def _try(self, job: str, do: Callable[[], None]) -> None:
        try:
            do()
        except UserError as error:
            self._tried.add(job)
            sidecar.complain(error.said)

    def fetch(self, job: str, task: Task[Path]) -> None:
        """Let the tick step the task that fetches a job's result."""

        def end(ended: Task[Path]) -> None:
            if ended.error and ended.error.transient:
                return  # once the sidecar answers again, it is tried again
            if ended.error:
                self._tried.add(job)
                if ended.error.code != "closed":
                    sidecar.complain(sidecar.sentence(ended.error))
            elif ended.result:
                self._fetched[job] = ended.result
                sidecar.redraw()

        self.follow(job, "fetch", task, end)

    def follow(self, job: str, stage: str, task: Task, on_end: sidecar.OnEnd) -> None:
        """Let the tick step a task that moves a job's files, and note how far it is."""

        def note(event: Event) -> None:
            done, total = event.data.get("done"), event.data.get("total")
            if event.kind == "bytes" and total:
                self._moving[job] = str(event.data.get("stage")), float(done or 0) / total

        def end(ended: Task) -> None:
            self._moving.pop(job, None)
            self._tasks.pop(job, None)
            on_end(ended)

        self._moving[job], self._tasks[job] = (stage, 0.0), task
        sidecar.start(task, note, end)

    def stop(self, job: str) -> None:
        """End what is under way for a job."""
        if job in self._tasks:
            self._tasks[job].close()

    def fetched(self, job: str) -> Path | None:
        """Where the result of a job lies, if it was fetched and is still there."""
        found = self._fetched.get(job)
        return found if found and found.is_dir() else None

    def note_fetched(self, job: str, folder: Path) -> None:
        """The result of a job is here."""
        self._fetched[job] = folder

    def moving(self, job: str) -> tuple[str, float] | None:
        """What is under way for a job (`hash`, `pack`, `upload`, `fetch`, `download`), and how far (0 to 1)."""
        return self._moving.get(job)

    def note_put(self, job: str) -> None:
        """A result stands in the file: undone, it comes back only when asked for, in a file saved meanwhile too."""
        self._stood.add(job)

    def wait_for(self, job: str) -> None:
        """Let a result come by itself again."""
        self._tried.discard(job)
        self._stood.discard(job)

    @persistent
    def _before_save(self, *_: object) -> None:
        """Say in the file what was undone.

        Undo takes what was put out of the file's data, and a mark made then with it.
        """
        for wish in self._wishes():
            if wish.job in self._stood:
                wish.was_undone = True

    @persistent
    def _after_load(self, *_: object) -> None:
        """Another file was opened, or the same one again: what it waits for comes by itself."""
        self._tried.clear()
        self._stood.clear()

    def register(self) -> None:
        """Called when the extension is enabled."""
        bpy.app.handlers.save_pre.append(self._before_save)
        bpy.app.handlers.load_post.append(self._after_load)
        sidecar.every_tick(self.tick)

    def unregister(self) -> None:
        """Called when the extension is disabled."""
        sidecar.no_longer(self.tick)
        bpy.app.handlers.load_post.remove(self._after_load)
        bpy.app.handlers.save_pre.remove(self._before_save)
        self.forget()

    def forget(self) -> None:
        """Everything."""
        for known in (self._fetched, self._moving, self._tasks, self._tried, self._stood):
            known.clear()

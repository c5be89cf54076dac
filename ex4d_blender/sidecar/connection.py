# SPDX-License-Identifier: GPL-3.0-or-later
"""The one connection to a sidecar: found, started, followed, lost and found again. Stepped by the tick, never waits."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ..client import ClientError, Event, Server, same_data
from ..errors import UserError
from ..translation import translated
from .joblist import JobView, job_view
from .process import Launch, living
from .running import sentence
from .watch import Watch

LOOK_SECONDS = 2.0  # between two looks for a sidecar that somebody else has started
UNANSWERED_SECONDS = 15.0  # a sidecar leaves its address a few seconds before it answers, not more
ENDING_SECONDS = 15.0  # what a sidecar that was told to end may take for it
DEATHS, DEATH_SECONDS = 3, 300.0  # a sidecar that dies so often within this time is not started again

State = Literal["off", "starting", "ready", "lost", "failed"]


class Connection:
    """What Blender knows of its sidecar.

    `off`: there is none, and one that appears on this machine is taken. `starting`: it was started or found and has not
    answered yet. `ready`: it answers. `lost`: it does not answer any more; found again by itself. `failed`: trying
    again by itself is no use; `message` says why.
    """

    def __init__(self) -> None:
        self.state: State = "off"
        self.message = ""
        self.server: Server | None = None
        """Where it is, in any state but `off` and `failed`; to send something, take it when `ready`."""
        self.is_local = True
        """Whether it runs on this machine and reads this machine's files."""
        self.health: dict[str, Any] = {}
        self.capabilities: dict[str, Any] = {}
        self.outdated = False
        """Whether it failed because the sidecar speaks another version of the interface."""
        self.changes = 0
        """Counts up with everything that may look different."""
        self.log: Path | None = None
        """What a sidecar started here has written at its start."""
        self._jobs: dict[str, JobView] = {}
        self._watch: Watch | None = None
        self._launch: Launch | None = None
        self._again: tuple[Sequence[str], Sequence[str], Path] | None = None
        self._ending: Server | None = None
        self._stale: set[Server] = set()
        self._deaths: list[float] = []
        self._looks = True
        self._next_look = 0.0
        self._followed_at = 0.0
        self._offline = ""

    @property
    def jobs(self) -> list[JobView]:
        """The jobs, newest first; the last known ones while it is lost."""
        return sorted(self._jobs.values(), key=lambda job: job.number, reverse=True)

    @property
    def started_here(self) -> bool:
        """Whether this Blender has started it."""
        return self._launch is not None

    def job(self, job_id: str) -> JobView | None:
        """One job."""
        return self._jobs.get(job_id)

    def start(self, command: Sequence[str], options: Sequence[str], folder: Path) -> None:
        """Start one on this machine, or take the one that runs; see `process.Launch`."""
        self._deaths.clear()
        self._forget()
        self._again = command, options, folder
        if (found := self._local()) and found != self._ending:
            self._follow(found, is_local=True)
            return
        self._say("starting", "The sidecar is starting.")
        self._begin()

    def connect(self, server: Server) -> None:
        """Follow the sidecar at an address. Raises: UserError for an address or token of the wrong form."""
        check(server)
        self._forget()
        same = next((s for s in living() if (s.address, s.token) == (server.address.rstrip("/"), server.token)), None)
        self._follow(same or server, is_local=same is not None)

    def disconnect(self) -> None:
        """Let it be; what it does goes on."""
        self._forget()
        self._looks = False
        self._say("off", "")

    def stop(self) -> None:
        """It was told to end: no longer follow it, nor take it again while it does."""
        if self._launch and self.state != "ready":
            self._launch.end()  # it would not hear of it
        self._ending = self.server
        self._forget()
        self._next_look = time.monotonic() + ENDING_SECONDS
        self._say("off", "")

    def take_local(self) -> bool:
        """Follow a sidecar of this machine; False if there is none."""
        found = self._local()
        if found:
            self._forget()
            self._follow(found, is_local=True)
        return found is not None

    def refresh(self) -> None:
        """Ask for all jobs at once."""
        if self._watch:
            self._watch.refresh()

    def learn(self, document: dict[str, Any]) -> None:
        """Note a Job document that came another way."""
        if "id" in document:
            view = job_view(document)
            self._jobs[view.id] = view
            if self._watch:
                self._watch.know(view.id, view.number)
            self.changes += 1
            self.refresh()

    def step(self) -> None:
        """Go on for a few milliseconds at most."""
        if self.state == "starting" and self._again and not self._launch and not self._watch:
            self._begin()
        elif self._launch and not self._watch:
            self._look_for_launched()
        elif self._watch:
            self._step_watch(self._watch)
        elif self.state == "off" and self._looks and time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + LOOK_SECONDS
            if found := self._local():
                self._follow(found, is_local=True)

    def _begin(self) -> None:
        """Launch, unless the last one is still about to end on the same data."""
        assert self._again is not None
        if self._ending in living() and time.monotonic() < self._next_look:
            return
        self._ending = None
        self._launch = Launch(*self._again)
        self.log = self._launch.log

    def _look_for_launched(self) -> None:
        assert self._launch is not None
        try:
            found = self._launch.poll()
        except UserError as error:
            self._launch = None
            other = self._local()  # perhaps another Blender was quicker
            if other is not None:
                self._follow(other, is_local=True)
            else:
                self._forget()
                self._say("failed", error.said)
            return
        if found:
            self._follow(found, is_local=True)

    def _follow(self, server: Server, *, is_local: bool) -> None:
        self.server, self.is_local, self._followed_at = server, is_local, time.monotonic()
        self._watch = Watch(server, same_data(server) if is_local else None)
        self._say("starting", translated("Connecting to {address}.", address=server.address))

    def _step_watch(self, watch: Watch) -> None:
        for event in watch.step():
            self._hear(event)
            if self._watch is not watch:
                return
        self.server = watch.server
        if self._offline and time.monotonic() >= self._next_look:
            self._lose(self._offline)  # its process may have ended a moment after its connections
        if watch.done and self._watch is watch:
            message = sentence(watch.error) if watch.error else "The sidecar is no longer followed: connect again."
            self._forget()
            self.outdated = self.is_local and watch.error is not None and watch.error.code == "version"
            self._say("failed", message)

    def _hear(self, event: Event) -> None:
        if event.kind == "jobs":
            before = dict(self._jobs)
            self._jobs.update((view.id, view) for view in map(job_view, event.data["jobs"]))
            self.changes += self._jobs != before
        elif event.kind == "gone":
            for job in event.data["jobs"]:
                self.changes += self._jobs.pop(job, None) is not None
        elif event.kind == "capabilities":
            self.changes += self.capabilities != event.data
            self.capabilities = event.data
        elif event.kind == "online":
            self._offline = ""
        elif event.kind == "ready":
            self.health = event.data
            address = self.server.address if self.server else ""
            self._say("ready", translated("Connected to {address}.", address=address))
        elif event.kind == "offline":
            self._lose(str(event.data.get("message", "")))

    def _lose(self, why: str) -> None:
        """It does not answer: dead on this machine, or perhaps only slow."""
        self._offline = why
        self._next_look = time.monotonic() + LOOK_SECONDS
        if self.state == "starting" and self.is_local and self.server and not self._launch:
            if time.monotonic() - self._followed_at > UNANSWERED_SECONDS:
                self._give_up(self.server)
            return
        code = self._launch.exit_code if self._launch else None
        data = self.server.data if self.server else None
        if not self.is_local or any(server.data == data for server in living()):
            self._say("lost", f"{why.rstrip('.')}.")
            return
        if self._launch is None or code == 0:
            self._forget()
            self._say("off", "The sidecar has ended.")
            return
        now = time.monotonic()
        self._deaths = [moment for moment in self._deaths if now - moment < DEATH_SECONDS] + [now]
        again = self._again
        self._forget()
        if len(self._deaths) >= DEATHS or again is None:
            self._say(
                "failed",
                translated(
                    "The sidecar has died {count} times: look into its log, then press Start.", count=len(self._deaths)
                ),
            )
            return
        self._again = again
        self._say("starting", "The sidecar has died and starts again; its jobs go on.")
        self._begin()

    def _local(self) -> Server | None:
        """The newest sidecar of this machine, but for those that left their address and are gone."""
        return next((server for server in living() if server not in self._stale), None)

    def _give_up(self, server: Server) -> None:
        """What was announced on this machine has never answered: after a crash another process may have its number."""
        again = self._again
        self._forget()
        self._stale.add(server)
        self._say("off", "")
        if again:
            self._again = again
            self._say("starting", "The sidecar is starting.")
            self._begin()

    def _forget(self) -> None:
        """Drop what belongs to the present sidecar; the list of its jobs goes when another one's comes."""
        if self._watch:
            self._watch.close()
        self._watch = self._launch = self._again = self.server = None
        self._offline = ""
        self.outdated = False
        self.capabilities, self.health = {}, {}
        self._jobs.clear()
        self._looks = True
        self.changes += 1

    def _say(self, state: State, message: str) -> None:
        if (state, message) != (self.state, self.message):
            self.state, self.message = state, message
            self.changes += 1


def check(server: Server) -> None:
    """Raises: UserError for an address or token of the wrong form."""
    try:
        server.parts()
    except ClientError as error:
        raise UserError(sentence(error)) from error

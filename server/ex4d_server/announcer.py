"""Wakes event streams: from the threads that change jobs to the coroutines that wait for it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager, suppress


class Announcer:
    """One per server; coroutines subscribe on the event loop, any thread announces."""

    def __init__(self) -> None:
        self.closed = False
        """The server ends: streams should too."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    @contextmanager
    def subscribed(self, job: str) -> Generator[asyncio.Event]:
        """An event that is set whenever something happens to a job; the subscriber clears it."""
        self._loop = asyncio.get_running_loop()
        changed = asyncio.Event()
        self._waiting[job].add(changed)
        try:
            yield changed
        finally:
            self._waiting[job].discard(changed)
            if not self._waiting[job]:
                del self._waiting[job]

    def announce(self, job: str) -> None:
        """Something happened to a job."""
        if self._loop is not None and job in self._waiting:
            with suppress(RuntimeError):  # the loop has just been closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._set, job)

    def close(self) -> None:
        """Let all streams end; called on the event loop."""
        self.closed = True
        for job in list(self._waiting):
            self._set(job)

    def _set(self, job: str) -> None:
        for changed in self._waiting.get(job, ()):
            changed.set()

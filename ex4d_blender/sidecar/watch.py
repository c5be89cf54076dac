# SPDX-License-Identifier: GPL-3.0-or-later
"""Follows a sidecar from Blender: the handshake, what it can do, and the list of its jobs, again and again."""

import math
import time
from typing import Any

from ..client import ClientError, Event, FindServer, Server, Task, Wait
from ..client.http import Flow, Reply
from ..translation import translated

API = 1
"""Of the HTTP interface that this extension speaks; a sidecar of another one is refused."""
SILENCE_SECONDS = 6.0
BUSY_SECONDS, QUIET_SECONDS, WHOLE_SECONDS = 1.0, 4.0, 60.0
PAGE = 50  # jobs in one answer: JSON is parsed in one go
_SLICE = 0.1
_OLD = (
    "The sidecar at {address} speaks version {api} of the interface and this extension version {own}: "
    "update the sidecar"
)
_NEW = (
    "The sidecar at {address} speaks version {api} of the interface and this extension version {own}: "
    "update the extension"
)


class Watch(Task[None]):
    """Never ends by itself while the sidecar answers, or may yet answer; ends with an error that waiting cannot mend.

    Its events: `ready` (the health document), `capabilities`, `jobs` (a list of Job documents, new or changed), `gone`
    (a list of ids of jobs that are no longer there), and the client's `offline` and `online`.
    """

    def __init__(self, server: Server, find_server: FindServer | None = None) -> None:
        super().__init__(server, find_server, patience=math.inf)
        self._asked = True
        self._known: dict[str, int] = {}  # number of each job by its id
        self._open: set[str] = set()  # ids of jobs that are not finished
        self._downloads: set[tuple[str, int]] = set()  # id and attempt of jobs that have brought models, or failed to
        self._has_new_models = False

    def refresh(self) -> None:
        """Look at all jobs again at once."""
        self._asked = True

    def know(self, job: str, number: int) -> None:
        """A job that somebody else has seen: it is told of when it goes, even if it was never listed here."""
        self._known.setdefault(job, number)

    def flow(self) -> Flow[None]:
        """Shakes hands, then lists, rests, lists. After a gap in the connection it begins anew."""
        while True:
            yield from self._meet()
            looked = -math.inf
            while True:
                whole = self._asked or time.monotonic() - looked > WHOLE_SECONDS
                self._asked = False
                if not (yield from self._list(whole)):
                    break
                looked = time.monotonic() if whole else looked
                if self._has_new_models and not (yield from self._look_at_capabilities()):
                    break
                until = time.monotonic() + (BUSY_SECONDS if self._open else QUIET_SECONDS)
                while not self._asked and time.monotonic() < until:
                    yield Wait((), time.monotonic() + _SLICE)
            self._asked = True

    def _meet(self) -> Flow[None]:
        reply, _ = yield from self._ask("/v1/health")
        health = reply.document
        if (api := health.get("api")) != API:
            is_old = isinstance(api, int) and api < API
            raise ClientError(
                translated(_OLD if is_old else _NEW, address=self.server.address, api=api, own=API), "version"
            )
        yield from self._look_at_capabilities()  # with the token, which health does not need
        yield Event("ready", health)

    def _look_at_capabilities(self) -> Flow[bool]:
        """Asks what the sidecar can do; False if the connection was lost in between."""
        self._has_new_models = False
        reply, gap = yield from self._ask("/v1/capabilities")
        yield Event("capabilities", reply.document)
        return not gap

    def _list(self, whole: bool) -> Flow[bool]:
        """Asks for all jobs, or for those that may have changed; False if the connection was lost in between."""
        opened = [self._known[job] for job in self._open]
        after = 0 if whole else min(opened or [max(self._known.values(), default=0) + 1]) - 1
        before, seen = list(self._known), set[str]()  # one that is made known meanwhile is not missed yet
        while True:
            reply, gap = yield from self._ask("/v1/jobs", after=after, limit=PAGE)
            document = reply.document
            jobs = [job for job in document.get("jobs", ()) if isinstance(job, dict) and "id" in job]
            for job in jobs:
                name = str(job["id"])
                seen.add(name)
                self._known[name] = int(job.get("number") or 0)
                is_open = job.get("state") in ("queued", "running")
                (self._open.add if is_open else self._open.discard)(name)
                download = name, int(job.get("attempt") or 0)
                if job.get("kind") == "models" and not is_open and download not in self._downloads:
                    self._downloads.add(download)
                    self._has_new_models = True
            yield Event("jobs", {"jobs": jobs})
            after = document.get("next")
            if gap or after is None:
                break
        if whole and not gap:
            gone = [job for job in before if job not in seen]
            for job in gone:
                del self._known[job]
                self._open.discard(job)
            yield Event("gone", {"jobs": gone})
        return not gap

    def _ask(self, path: str, **query: Any) -> Flow[tuple[Reply, bool]]:
        """The reply, and whether the server was away before it came."""
        while True:
            try:
                reply = yield from self.call("GET", path, query=query, silence=SILENCE_SECONDS)
            except ClientError as error:
                yield from self.failed(error)
            else:
                gap = self._down_since is not None
                yield from self.reached()
                self._pause = self._shortest
                return reply, gap

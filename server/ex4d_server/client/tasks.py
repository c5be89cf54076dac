"""The client's tasks: stepped, never waiting; and `wait`, which blocks on one.

`Task.step` begins no new piece of work after `STEP_SECONDS`, and a piece takes well under a millisecond, so neither
a silent nor a flooding server holds Blender's interface up. Standard library only: the extension ships this very file
and steps tasks from a timer on Blender's main thread.
"""

import json
import re
import selectors
import time
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, cast

from .http import (
    BODY_BYTES,
    MORE,
    ClientError,
    Event,
    Flow,
    Http,
    Reply,
    Server,
    Wait,
    parsed,
)

STEP_SECONDS = 0.003  # a step begins no new piece of work after this long
SILENCE_SECONDS = 30.0
PAUSE_SECONDS, PAUSE_CAP_SECONDS, PATIENCE_SECONDS = 0.25, 10.0, 60.0

FindServer = Callable[[], Server | None]
T = TypeVar("T")


def sleep(seconds: float) -> Flow[None]:
    """Waits without holding anything up."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield Wait((), until)


class Task(Generic[T]):
    """Something long that never blocks: call `step` until `done`, then look at `error` and `result`.

    Args:
        find_server: asked for the server anew after a failure: port and token change when it restarts.
        patience: seconds without any answer after which it gives up; `offline` and `online` events tell of the gaps.
    """

    def __init__(
        self, server: Server, find_server: FindServer | None = None, patience: float = PATIENCE_SECONDS
    ) -> None:
        self.server, self.find_server, self.patience = server, find_server, patience
        self.done = False
        self.error: ClientError | None = None
        self.result: T | None = None
        self._wait = MORE
        self._running: Flow[T] | None = None
        self._shortest = self._pause = PAUSE_SECONDS
        self._down_since: float | None = None

    def flow(self) -> Flow[T]:
        """The task as a generator, for another task to contain."""
        raise NotImplementedError

    def step(self) -> list[Event]:
        """Goes on for at most about `STEP_SECONDS`, never waits, and returns what happened."""
        events: list[Event] = []
        if self.done or (not self._wait.sockets and time.monotonic() < self._wait.until):
            return events
        self._running = self._running or self.flow()
        stop = time.monotonic() + STEP_SECONDS
        try:
            while True:
                item = next(self._running)
                if isinstance(item, Event):
                    events.append(item)
                self._wait = item if isinstance(item, Wait) else MORE
                if self._wait is not MORE or time.monotonic() >= stop:
                    return events
        except StopIteration as end:
            self.result, self.done = end.value, True
        except ClientError as error:
            self.error, self.done = error, True
        except OSError as error:
            text = f"{error.strerror or error} ({error.filename or 'local file'}): free the place or choose another"
            self.error, self.done = ClientError(text, "file"), True
        except BaseException:  # a fault of ours, or Ctrl-C: the task must not look successful afterwards
            self.close()
            raise
        return events

    def waiting_for(self) -> Wait:
        """What the next step waits for, so that a blocking caller can sleep meanwhile."""
        return self._wait

    def close(self) -> None:
        """Ends the task where it stands; connections and files are closed."""
        if self._running:
            self._running.close()
        if not self.done:
            self.done, self.error = True, ClientError("The task was ended before it was through", "closed")

    def call(
        self,
        method: str,
        path: str,
        body: bytes | bytearray = b"",
        kind: str = "",
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        silence: float = SILENCE_SECONDS,
        limit: int = BODY_BYTES,
    ) -> Flow[Reply]:
        """One request, once. Raises: ClientError."""
        http = Http(self.server, silence)
        try:
            yield from http.request(method, path, body, kind, query or {}, headers or {})
            data = yield from http.whole(limit)
            is_json = re.match(r"application/([\w.-]+\+)?json\b", http.headers.get("content-type", ""))
            return Reply(http.status, http.headers, parsed(data) if is_json and http.status != 204 else data)
        finally:
            http.close()

    def insist(self, method: str, path: str, body: bytes = b"", kind: str = "") -> Flow[Reply]:
        """A request that may safely be repeated, until it is answered or patience ends. Raises: ClientError."""
        while True:
            try:
                reply = yield from self.call(method, path, body, kind)
            except ClientError as error:
                yield from self.failed(error)
            else:
                yield from self.reached()
                self._pause = self._shortest
                return reply

    def failed(self, error: ClientError) -> Flow[None]:
        """Pauses before the next try, or raises `error` where another try is no use."""
        find = self.find_server or (lambda: None)
        found = find()
        # after a restart the new token may be asked for a moment before it is announced
        moved = found is not None and (found != self.server or self._down_since is not None)
        if not (error.transient or (error.status == 401 and moved)):
            raise error
        now = time.monotonic()
        if self._down_since is None:
            self._down_since = now
            yield Event("offline", {"message": str(error)})
        if now - self._down_since >= self.patience:
            raise error
        yield from self.rest()
        self.server = find() or self.server

    def reached(self) -> Flow[None]:
        """Notes that the server answers."""
        if self._down_since is not None:
            self._down_since = None
            yield Event("online", {})

    def rest(self) -> Flow[None]:
        """Pauses, each time longer, up to a cap."""
        pause, self._pause = self._pause, min(self._pause * 2, PAUSE_CAP_SECONDS)
        yield from sleep(pause)


def encoded(body: Any) -> tuple[bytes, str]:
    """A request body and its content type: bytes stay, None is empty, all else becomes JSON. Raises: ClientError."""
    if body is None or isinstance(body, bytes):
        return body or b"", "application/octet-stream" if body else ""
    try:
        return json.dumps(body, allow_nan=False).encode(), "application/json"
    except (ValueError, TypeError, RecursionError) as error:
        raise ClientError(f"The request is no JSON ({error}): use plain finite values", "bad-request") from error


class Call(Task[Reply]):
    """One request, once; the result is the reply, an error status an error. `path` is not yet percent-encoded."""

    def __init__(
        self,
        server: Server,
        method: str,
        path: str,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        silence: float = SILENCE_SECONDS,
        limit: int = BODY_BYTES,
    ) -> None:
        super().__init__(server)
        self._arguments = method, path, *encoded(body), query, headers, silence, limit

    def flow(self) -> Flow[Reply]:
        """The request."""
        return self.call(*self._arguments)


def wait(task: Task[T], timeout: float | None = None, on_event: Callable[[Event], object] | None = None) -> T:
    """Steps a task to its end, sleeping in between, and returns its result. The task stays usable after a timeout.

    Args:
        timeout: seconds; None waits as long as it takes.

    Raises:
        ClientError: the task's, or `wait-timeout`.
    """
    stop = None if timeout is None else time.monotonic() + timeout
    while True:
        for event in task.step():
            if on_event:
                on_event(event)
        if task.error:
            raise task.error
        if task.done:
            return cast(T, task.result)
        now, pause = time.monotonic(), task.waiting_for()
        if stop is not None and now >= stop:
            raise ClientError(f"It is not through after {timeout:g} s: wait longer, or end it", "wait-timeout")
        seconds = max((pause.until if stop is None else min(pause.until, stop)) - now, 0.0)
        if not pause.sockets:
            time.sleep(seconds)
        elif seconds:
            with selectors.DefaultSelector() as selector:
                for sock, mask in pause.sockets:
                    selector.register(sock, mask)
                selector.select(seconds)

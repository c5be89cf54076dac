"""The client's view of a job: submit it, and hear its events exactly once each.

Standard library only: the Blender extension ships this very file.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from .http import MORE, ClientError, Event, Flow, Http, Json, Server, bad_reply, parsed
from .tasks import PATIENCE_SECONDS, PAUSE_CAP_SECONDS, FindServer, Task, encoded

STREAM_SILENCE_SECONDS = 40.0  # the server sends a comment every 15 s
AFTERMATH_SECONDS = 20.0  # a stream that stays open this long after the job's end is left
EVENT_BYTES, FEED_BYTES = 1 << 18, 1 << 9  # most of one event; what is parsed between two looks at the clock
TERMINAL_STATES = frozenset({"succeeded", "failed", "cancelled"})
_LINE_END = re.compile(rb"\r\n?|\n")


@dataclass(frozen=True)
class Message:
    """One server-sent event as it stands in the stream."""

    kind: str
    data: bytes
    id: bytes | None


class EventParser:
    """Takes a `text/event-stream` apart, wherever the network has cut it (also inside a character or a CR LF)."""

    def __init__(self) -> None:
        self.retry_seconds: float | None = None
        self._buffer = bytearray()
        self._scanned = 0
        self._after_cr = self._started = False
        self._kind, self._data, self._id, self._size = b"", list[bytes](), cast("bytes | None", None), 0

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that `data` completes. Raises: ClientError if one grows over `EVENT_BYTES`."""
        self._buffer += data
        if self._after_cr and self._buffer:
            del self._buffer[: self._buffer.startswith(b"\n")]
            self._after_cr = False
        while match := _LINE_END.search(self._buffer, self._scanned):
            line = bytes(self._buffer[: match.start()])
            self._after_cr = match.group() == b"\r" and match.end() == len(self._buffer)
            del self._buffer[: match.end()]
            self._scanned = 0
            message = self._line(line if self._started else line.removeprefix(b"\xef\xbb\xbf"))
            self._started = True
            if message:
                yield message
        self._scanned = len(self._buffer)
        if self._scanned + self._size > EVENT_BYTES:
            raise bad_reply("an endless event")

    def _line(self, line: bytes) -> Message | None:
        if not line:
            message = Message(self._kind.decode(errors="replace") or "message", b"\n".join(self._data), self._id)
            complete = bool(self._data)
            self._kind, self._data, self._id, self._size = b"", [], None, 0
            return message if complete else None
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(value) + 1
        elif name == b"event":
            self._kind = value[:64]
        elif name == b"id":
            self._id = value[:64]
        elif name == b"retry" and re.fullmatch(rb"\d{1,9}", value):
            self.retry_seconds = int(value) / 1000
        return None


class EventStream(Task[int]):
    """A job's events, each exactly once, over any number of connections; ends with the job. Result: the last id."""

    def __init__(
        self,
        server: Server,
        job_id: str,
        last_event_id: int = 0,
        find_server: FindServer | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        super().__init__(server, find_server, patience)
        self.job_id, self.last_event_id = job_id, last_event_id
        self._ended_at: float | None = None

    def flow(self) -> Flow[int]:
        """Listens, connecting again after each cut."""
        while True:
            try:
                if (yield from self._listen()):
                    return self.last_event_id
            except ClientError as error:
                if self._ended_at is not None and error.code == "unreachable":
                    return self.last_event_id  # the job has ended, and then the server
                yield from self.failed(error)
            else:
                yield from self.rest()

    def _listen(self) -> Flow[bool]:
        """One connection; True when nothing more will come."""
        http, parser = Http(self.server, STREAM_SILENCE_SECONDS), EventParser()
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(self.last_event_id)}
        try:
            yield from http.request("GET", f"/v1/jobs/{self.job_id}/events", b"", "", {}, headers)
            if http.status == 204:
                return True
            if not http.headers.get("content-type", "").startswith("text/event-stream"):
                raise bad_reply("something that is no event stream")
            yield from self.reached()
            while data := (yield from http.read()):
                for start in range(0, len(data), FEED_BYTES):
                    for message in parser.feed(data[start : start + FEED_BYTES]):
                        yield from self._deliver(message)
                    yield MORE
                wished = min(max(parser.retry_seconds or self._shortest, 0.05), PAUSE_CAP_SECONDS)
                if wished != self._shortest:
                    self._shortest = self._pause = wished
                if self._ended_at is not None and time.monotonic() - self._ended_at > AFTERMATH_SECONDS:
                    return True
            return self._ended_at is not None
        finally:
            http.close()

    def _deliver(self, message: Message) -> Flow[None]:
        data, number = parsed(message.data), message.id or b""
        if not isinstance(data, dict) or not re.fullmatch(rb"\d{1,18}", number):
            raise bad_reply("an event without number or fields")
        if int(number) <= self.last_event_id:
            return
        document = cast(Json, data)
        self.last_event_id, self._pause = int(number), self._shortest
        self._ended_at = time.monotonic() if document.get("state") in TERMINAL_STATES else None
        yield Event(message.kind, document, self.last_event_id)


class JobTask(Task[Json]):
    """Submits a job and follows it to its end, over restarts of the server too.

    The result is the Job document, also of a job that failed. Submitting is idempotent: the same id and request again
    goes on with the same job.
    """

    def __init__(
        self,
        server: Server,
        job_id: str,
        request: Json,
        last_event_id: int = 0,
        find_server: FindServer | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        super().__init__(server, find_server, patience)
        self.job_id, self.last_event_id = job_id, last_event_id
        self._body = encoded(request)

    def flow(self) -> Flow[Json]:
        """Submits, listens, fetches."""
        path = f"/v1/jobs/{self.job_id}"
        yield Event("job", (yield from self.insist("PUT", path, *self._body)).document)
        while True:
            stream = EventStream(self.server, self.job_id, self.last_event_id, self.find_server, self.patience)
            self.last_event_id = yield from stream.flow()
            self.server = stream.server
            job = (yield from self.insist("GET", path)).document
            if job.get("state") in TERMINAL_STATES:
                return job
            yield from self.rest()

"""The client's wire: HTTP/1.1 over a non-blocking socket, as generators that yield where a blocking client would wait.

A generator here (a *flow*) yields an `Event` to hand out, `MORE` between two small pieces of work, or a `Wait` that
names what it waits for; whoever drives it decides how long to go on. Standard library only: the Blender extension ships
this very file. One connection per request: nothing goes stale over a restart. Redirects and proxies are never followed:
the token goes to the given address alone.
"""

import contextlib
import errno
import functools
import json
import os
import re
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast
from urllib.parse import quote, urlencode

PIECE_BYTES = 1 << 16  # read, written or hashed between two looks at the clock
HEAD_BYTES = 1 << 15  # most of a line, of a reply's header fields, of a problem document
BODY_BYTES = 4 << 20  # most of a reply held in memory; JSON is parsed in one go, 100 KiB of numbers in 3 ms
CONNECT_SECONDS = 10.0

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_CONNECTING = {0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY}

Json: TypeAlias = dict[str, Any]
T = TypeVar("T")


class ClientError(Exception):
    """A request that failed, in one sentence that says what to do.

    Attributes:
        code: the problem's code as the server names it, or one of ours: `unreachable`, `silent`, `lost`, `bad-reply`,
            `redirect-refused`, `bad-address`, `bad-request`, `tls-failed`, `file`, `closed`, `wait-timeout`, ...
        remedy: what to do. status: the HTTP status, None without a reply. extras: other members of the problem.
    """

    def __init__(
        self, message: str, code: str, remedy: str | None = None, status: int | None = None, extras: Json | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.status, self.extras = code, status, extras or {}
        self.remedy = remedy or (message.rpartition(": ")[2] if ": " in message else "")

    @property
    def transient(self) -> bool:
        """Whether the same request may well succeed a little later."""
        return self.code in {"unreachable", "silent", "lost"} or self.status in {429, 502, 503, 504}


@dataclass(frozen=True)
class Server:
    """Where a sidecar listens. The token never shows in its repr."""

    address: str
    token: str = field(repr=False)
    pid: int | None = None
    version: str | None = None
    api: int | None = None
    data: str | None = None

    def parts(self) -> tuple[bool, str, int, str]:
        """Whether TLS, host, port and base path. Raises: ClientError `bad-address`, `bad-token`."""
        shape = r"(?ai)(https?)://(\[[0-9a-f:.]+(?:%\w+)?\]|[\w.-]+)(?::(\d{1,5}))?((?:/[\w.~-]+)*)/?"
        match = re.fullmatch(shape, self.address)
        if match is None or int(match[3] or 1) not in range(1, 65536):
            raise ClientError("The sidecar's address is unusable: write it as http://HOST:PORT", "bad-address")
        if not re.fullmatch(r"[\x21-\x7e]+", self.token):
            raise ClientError("The sidecar's token is empty or has foreign characters: copy it again", "bad-token")
        secure = match[1].lower() == "https"
        return secure, match[2].strip("[]"), int(match[3] or (443 if secure else 80)), match[4]


@dataclass(frozen=True)
class Event:
    """What a task reports.

    Attributes:
        kind: of the server `state`, `progress`, `preview`, `log`; of the client `job` (data: the document), `bytes`
            (data: stage, name, done, total; counted in bytes; total may be None), `offline` (data: message), `online`.
        id: the server's number of its event, None for the client's.
    """

    kind: str
    data: Json
    id: int | None = None


class Wait(NamedTuple):
    """What a task waits for: any of these sockets (with `selectors` masks), or the time `until` (time.monotonic)."""

    sockets: tuple[tuple[socket.socket, int], ...]
    until: float


class Reply(NamedTuple):
    """A successful reply; `body` is the parsed JSON, or bytes of any other type."""

    status: int
    headers: dict[str, str]
    body: Any

    @property
    def document(self) -> Json:
        """The body as a JSON object. Raises: ClientError `bad-reply`."""
        if not isinstance(self.body, dict):
            raise bad_reply("an answer that is no JSON object")
        return cast(Json, self.body)


Flow: TypeAlias = Generator[Event | Wait, None, T]
MORE = Wait((), 0.0)  # nothing to wait for: go on as soon as the step's time allows


def bad_reply(what: str) -> ClientError:
    return ClientError(f"The sidecar sent {what}: check the address and that both sides are up to date", "bad-reply")


def parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise bad_reply("damaged JSON") from error


@functools.cache
def _tls() -> ssl.SSLContext:
    """Verifies against the system's certificates; the environment's SSL_CERT_FILE names others."""
    return ssl.create_default_context()


class Http:
    """One request and its reply (HTTP/1.1) over one non-blocking socket."""

    def __init__(self, server: Server, silence: float) -> None:
        self._server, self._silence = server, silence
        self._socket: socket.socket | None = None
        self._buffer = bytearray()
        self._heard = time.monotonic()
        self._left: int | None = 0  # bytes to come of the body, or of the chunk; None = until the connection ends
        self._chunked = self._in_chunk = False
        self.status, self.headers = 0, dict[str, str]()

    def close(self) -> None:
        if self._socket:
            self._socket.close()

    def _error(self, what: str, code: str) -> ClientError:
        what = what.replace(self._server.token, "(token)")
        return ClientError(f"The sidecar at {self._server.address} {what}: look whether it still runs, try again", code)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | bytearray,
        kind: str,
        query: Mapping[str, Any],
        headers: Mapping[str, str],
    ) -> Flow[None]:
        """Sends the request and reads the reply's head. Raises: ClientError."""
        secure, host, port, base = self._server.parts()
        target = quote(base + path, safe="/~:@!$&'()*+,;=") + ("?" + urlencode(query) if query else "")
        shown = f"[{host.partition('%')[0]}]" if ":" in host else host
        fields = {"Host": f"{shown}:{port}", "Authorization": f"Bearer {self._server.token}", "Connection": "close"}
        fields |= {"Accept-Encoding": "identity", "User-Agent": "ex4d-client"}
        fields |= {"Content-Type": kind} if kind else {}
        fields |= {"Content-Length": str(len(body))} if body or method != "GET" else {}
        text = "".join(f"{name}: {value}\r\n" for name, value in (fields | dict(headers)).items())
        yield from self._connect(secure, host, port)
        if (yield from self._send(f"{method} {target} HTTP/1.1\r\n{text}\r\n".encode("latin-1"))):
            yield from self._send(body)
        yield from self._head()

    def _resolve(self, secure: bool, host: str, port: int) -> Flow[list[tuple[int, Any]]]:
        """The addresses behind a host. Names need DNS, which only blocks, and TLS reads certificates from the disk: a
        short thread does these (it touches nothing of ours). Plain HTTP to an IP address or localhost has none."""
        numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        names = ["127.0.0.1", "::1"] if host.lower() == "localhost" else [host]

        def look_up(flags: int) -> list[tuple[int, Any]]:  # bytes: text would first load the codec for foreign names
            found = [socket.getaddrinfo(n.encode(), port, type=socket.SOCK_STREAM, flags=flags) for n in names]
            return [(entry[0], entry[4]) for entries in found for entry in entries]

        with contextlib.suppress(socket.gaierror):  # not a number: the thread asks
            if not secure:
                return look_up(numeric)
        box: list[list[tuple[int, Any]] | OSError] = []

        def work() -> None:
            try:
                addresses = look_up(0)
                if secure:
                    _tls()
                box.append(addresses)
            except OSError as error:
                box.append(error)

        threading.Thread(target=work, name="ex4d-resolve", daemon=True).start()
        until = time.monotonic() + CONNECT_SECONDS
        while not box:
            if time.monotonic() > until:
                raise self._error("has a name that nobody resolves in time", "unreachable")
            yield Wait((), time.monotonic() + 0.02)
        if isinstance(box[0], OSError):
            raise self._error(f"cannot be looked up ({box[0].strerror})", "unreachable") from box[0]
        return box[0]

    def _connect(self, secure: bool, host: str, port: int) -> Flow[None]:
        failure = "has no address"
        for family, address in (yield from self._resolve(secure, host, port)):
            self.close()
            try:
                yield from self._open(family, address)
            except OSError as error:
                failure = f"does not answer ({error.strerror})"
                continue
            if secure:
                wrapped = _tls().wrap_socket(self._plain(), server_hostname=host, do_handshake_on_connect=False)
                self._socket = wrapped
                yield from self._io(wrapped.do_handshake, READ)
            return
        raise self._error(failure, "unreachable")

    def _plain(self) -> socket.socket:
        assert self._socket is not None
        return self._socket

    def _open(self, family: int, address: Any) -> Flow[None]:
        """Connects. Raises: OSError."""
        sock = self._socket = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        problem, until = sock.connect_ex(address), time.monotonic() + CONNECT_SECONDS
        while True:
            problem = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if problem in _CONNECTING else problem
            if problem:
                raise OSError(problem, os.strerror(problem))
            try:
                if sock.getpeername() == sock.getsockname():  # TCP may connect a dead local port to itself
                    raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
                self._heard = time.monotonic()
                return
            except OSError as error:
                if error.errno != errno.ENOTCONN:
                    raise
            if time.monotonic() > until:
                raise TimeoutError(errno.ETIMEDOUT, f"no connection within {CONNECT_SECONDS:g} s")
            yield Wait(((sock, WRITE),), until)

    def _blocked(self, mask: int) -> Wait:
        until = self._heard + self._silence
        if time.monotonic() > until:
            raise self._error(f"has been silent for {self._silence:g} s", "silent")
        return Wait(((self._plain(), mask),), until)

    def _io(self, action: Callable[[], T], mask: int) -> Flow[T]:
        """Does a socket operation as soon as it goes through without waiting."""
        while True:
            try:
                value = action()
            except _WOULD_BLOCK as block:
                yield self._blocked(WRITE if isinstance(block, ssl.SSLWantWriteError) else mask)
            except ssl.SSLCertVerificationError as error:
                text = f"The certificate of {self._server.address} is not trusted ({error.verify_message})"
                raise ClientError(text + ": name its authority in SSL_CERT_FILE", "tls-failed") from error
            except OSError as error:
                raise self._error(f"broke off the connection ({error.strerror or error})", "lost") from error
            else:
                self._heard = time.monotonic()
                return value

    def _send(self, data: bytes | bytearray) -> Flow[bool]:
        """Sends all, True; or stops when the answer comes early (a refusal), False."""
        sock, view, sent = self._plain(), memoryview(data), 0
        while sent < len(view):
            try:
                sent += sock.send(view[sent : sent + PIECE_BYTES])
                self._heard = time.monotonic()
            except (*_WOULD_BLOCK, OSError) as error:
                with contextlib.suppress(*_WOULD_BLOCK, OSError):
                    self._buffer += sock.recv(PIECE_BYTES)
                if self._buffer:
                    return False
                if not isinstance(error, _WOULD_BLOCK):
                    raise self._error(f"broke off the connection ({error.strerror or error})", "lost") from error
                yield self._blocked(READ | WRITE)
            yield MORE
        return True

    def _fill(self) -> Flow[bool]:
        """Reads once into the buffer; False at the end of the connection."""
        sock = self._plain()
        data = yield from self._io(lambda: sock.recv(PIECE_BYTES), READ)
        self._buffer += data
        return bool(data)

    def _line(self) -> Flow[bytes]:
        yield MORE
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > HEAD_BYTES:
                raise bad_reply("an endless line")
            if not (yield from self._fill()):
                raise self._error("broke off in the middle of its answer", "lost")
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line.removesuffix(b"\r")

    def _fields(self) -> Flow[dict[str, str]]:
        """Header fields or trailers, up to the empty line."""
        fields, size = dict[str, str](), 0
        while line := (yield from self._line()):
            size += len(line)
            name, colon, value = line.decode("latin-1").partition(":")
            name, value = name.lower(), value.strip(" \t")
            if size > HEAD_BYTES or not colon or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9a-z-]+", name):
                raise bad_reply("damaged or endless header fields")
            if name in {"content-length", "transfer-encoding"} and fields.get(name, value) != value:
                raise bad_reply("two different lengths")
            fields[name] = value
        return fields

    def _head(self) -> Flow[None]:
        for _ in range(10):  # interim replies may come first
            start = re.fullmatch(rb"HTTP/1\.[01] ([1-5]\d\d)(?: .*)?", (yield from self._line()))
            if start is None or start[1] == b"101":
                raise bad_reply("something that is not HTTP")
            self.status, self.headers = int(start[1]), (yield from self._fields())
            if self.status >= 200:
                break
        length, coding = self.headers.get("content-length"), self.headers.get("transfer-encoding", "").lower()
        strange = self.headers.get("content-encoding", "identity").lower() != "identity" or self.status < 200
        if (
            strange
            or coding not in {"", "chunked"}
            or (length and (coding or not re.fullmatch(r"(?a)\d{1,18}", length)))
        ):
            raise bad_reply("a reply of unknown length or coding")
        empty = self.status in {204, 304}
        self._chunked = bool(coding) and not empty
        self._left = 0 if empty or coding else int(length) if length else None
        if 300 <= self.status < 400 and self.status != 304:
            text = f"{self._server.address} answers with a redirect, which is refused: enter the sidecar's own address"
            raise ClientError(text, "redirect-refused", status=self.status)
        if self.status >= 400:
            raise self._problem((yield from self.whole(HEAD_BYTES)))

    def _problem(self, body: bytes) -> ClientError:
        """Turns a problem document into an error; the token is taken out, should the server echo it."""
        try:
            said: Any = json.loads(body)
        except (ValueError, RecursionError):
            said = None
        members: Json = cast(Json, said) if isinstance(said, dict) else {}

        def text(name: str) -> str:
            value = str(members.get(name) or "").replace(self._server.token, "(token)")
            return " ".join(value.split())[:500]

        unknown = f"The sidecar at {self._server.address} answers with status {self.status}: look into its log"
        if self.status == 401:
            unknown = f"The sidecar at {self._server.address} refuses the token: take the one it announces"
        known = {"type", "title", "status", "detail", "code", "remedy"}
        extras = {name: value for name, value in members.items() if name not in known}
        code = text("code") or ("unauthorized" if self.status == 401 else f"http-{self.status}")
        return ClientError(text("detail") or unknown, code, text("remedy"), self.status, extras)

    def read(self) -> Flow[bytes]:
        """Bytes of the body as they arrive, at most `PIECE_BYTES`; b"" at its end. Raises: ClientError."""
        yield MORE
        if self._chunked and self._left == 0:
            if self._in_chunk and (yield from self._line()):
                raise bad_reply("a damaged chunk")
            size = re.fullmatch(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?", (yield from self._line()))
            if size is None:
                raise bad_reply("a damaged chunk")
            self._left, self._in_chunk = int(size[1], 16), True
            if self._left == 0:
                yield from self._fields()
                self._chunked = False
        if self._left == 0:
            return b""
        if not self._buffer and not (yield from self._fill()):
            if self._left is None:
                return b""
            raise self._error("broke off in the middle of its answer", "lost")
        taken = bytes(self._buffer[: min(PIECE_BYTES, PIECE_BYTES if self._left is None else self._left)])
        del self._buffer[: len(taken)]
        self._left = None if self._left is None else self._left - len(taken)
        return taken

    def whole(self, limit: int) -> Flow[bytes]:
        """The rest of the body. Raises: ClientError, also if it is longer than `limit` bytes."""
        parts, size = list[bytes](), 0
        while data := (yield from self.read()):
            parts.append(data)
            size += len(data)
            if size > limit:
                raise ClientError(
                    f"An answer is over {limit} bytes: ask for less at once", "too-large", status=self.status
                )
        return b"".join(parts)

"""A real TCP server that sends exactly what a test scripts, one script per connection: pauses, cuts, garbage."""

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import parse_qsl, unquote

from ex4d_server.client import Server

TOKEN = "s3cret-token-0123456789"


@dataclass(frozen=True)
class Request:
    """What the client sent."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket, requests: list[Request]) -> None:
        self.sock, self._requests = sock, requests

    def request(self) -> Request:
        """Reads one whole request."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        start, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        while len(body) < int(headers.get("content-length", 0)):
            body += self._more()
        method, target, _ = start.split(" ")
        path, _, query = target.partition("?")
        got = Request(method, unquote(path), dict(parse_qsl(query, keep_blank_values=True)), headers, body)
        self._requests.append(got)
        return got

    def _more(self) -> bytes:
        data = self.sock.recv(1 << 16)
        if not data:
            raise ConnectionError("the client left")
        return data

    def send(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self.sock.sendall(data)

    def drip(self, data: bytes, at: Iterable[int]) -> None:
        """Sends bytes in parts, cut at these places, far enough apart to arrive one by one."""
        last = 0
        for place in [*at, len(data)]:
            self.send(data[last:place])
            last = place
            time.sleep(0.001)

    def reply(self, status: int, body: object = b"", headers: dict[str, str] | None = None) -> None:
        """Sends an ordinary reply; anything but bytes as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        kind = "application/problem+json" if status >= 400 and not isinstance(body, bytes) else kind
        fields = {"content-type": kind, "content-length": str(len(data))} | (headers or {})
        self.send(head(status, fields) + data)

    def reset(self) -> None:
        """Breaks the connection off with a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Script = Callable[[Peer], None]


def head(status: int, fields: dict[str, str]) -> bytes:
    """A status line and header fields."""
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def chunked(*parts: bytes) -> bytes:
    """A whole chunked body."""
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*parts, b""))


def sse(*events: tuple[int, dict[str, object]]) -> bytes:
    """Events as they stand in a stream."""
    return b"".join(b"id: %d\nevent: state\ndata: %s\n\n" % (n, json.dumps(data).encode()) for n, data in events)


def answering(data: bytes) -> Script:
    """A script that reads the request and sends these bytes."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(data)

    return script


def replying(status: int, body: object) -> Script:
    """A script that reads the request and sends an ordinary reply."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.reply(status, body)

    return script


def _shut(sock: socket.socket) -> None:
    """Wakes the thread that waits on a socket, which closing it would not do."""
    with contextlib.suppress(OSError):  # closed already
        sock.shutdown(socket.SHUT_RDWR)


class ScriptedServer:
    """Serves one script per connection, in order; one connection more than scripted is a fault of the client."""

    def __init__(self, *scripts: Script, always: Script | None = None, port: int = 0) -> None:
        self.requests: list[Request] = []
        self.faults: list[BaseException] = []
        self._scripts, self._always = iter(scripts), always
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self.server = Server(f"http://127.0.0.1:{self.port}", TOKEN)
        self._peers: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> "ScriptedServer":
        self._threads[0].start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()
        if self.faults and error is None:
            raise self.faults[0]

    def stop(self) -> None:
        """Closes the listener and all connections, as a killed process would."""
        _shut(self._listener)
        self._threads[0].join(5)
        self._listener.close()
        for sock in self._peers:
            _shut(sock)
        for thread in self._threads[1:]:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._peers.append(sock)
            script = next(self._scripts, self._always)
            thread = threading.Thread(target=self._serve, args=(script, sock), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, script: Script | None, sock: socket.socket) -> None:
        try:
            if script is None:
                raise AssertionError("the client connected once more than scripted")
            script(Peer(sock, self.requests))
        except OSError:
            return  # the client left, as it may
        except BaseException as fault:
            self.faults.append(fault)
        finally:
            sock.close()

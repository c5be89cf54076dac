"""A real HTTP server that speaks what of huggingface.co's interface a download uses; faults on demand.

Large files (LFS) are redirected to another host, as the hub does, with a signature in the address.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

SIGNATURE = "X-Amz-Signature=5f2e9c"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
"""Where `main` of repositories stands whose commit nobody pinned."""


@dataclass
class Hub:
    """What it serves, and how it misbehaves; changed by tests while it runs."""

    address: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict[str, dict[str, bytes]])
    """By owner/name: contents by path; those over 1000 bytes are LFS files."""
    commit: str = COMMIT
    refusal: tuple[int, dict[str, str]] | None = None
    """Status and headers of every answer."""
    break_after: int | None = None
    """Bytes after which the connection is cut, in each answer with a file."""
    breaks: int = 10**6
    """How often that happens."""
    refused_after_break: tuple[int, dict[str, str]] | None = None
    """What `refusal` is from the first break on."""
    seconds_per_piece: float = 0.0
    """Between pieces of 16 kB."""
    swapped: bytes | None = None
    """Sent instead of each file's content."""
    ranges: bool = True
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list[tuple[str, str, dict[str, str]]])
    """Method, path and headers of each request."""
    sent: int = 0
    """Bytes of files."""

    def begins(self) -> list[int]:
        """From where on parts of files were asked for."""
        ranges = [headers.get("Range", "") for _, path, headers in self.asked if path.startswith("/cdn/")]
        return [int(match[1]) for text in ranges if (match := re.fullmatch(r"bytes=(\d+)-", text))]

    def paths(self) -> list[str]:
        """What was asked for, so far."""
        return [path for _, path, _ in self.asked]


def content(size: int, seed: int = 0) -> bytes:
    """Bytes that do not repeat."""
    pieces = (hashlib.sha256(b"%d %d" % (seed, n)).digest() for n in range(size // 32 + 1))
    return b"".join(pieces)[:size]


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub that runs."""
    hub = Hub()

    class Handler(_Handler):
        served = hub

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        hub.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()


def entry(path: str, data: bytes) -> dict[str, Any]:
    """A file as the hub lists it."""
    git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    found: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": git}
    if _is_large(data):
        found["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return found


def _is_large(data: bytes) -> bool:
    return len(data) > 1000


class _Handler(BaseHTTPRequestHandler):
    served: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        hub, url = self.served, urlsplit(self.path)
        hub.asked.append((self.command, self.path, dict(self.headers)))
        path = unquote(url.path)
        if hub.refusal is not None:
            status, headers = hub.refusal
            self._answer(status, b"{}", headers)
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/tree/([0-9a-f]{40}))?", path):
            self._describe(match[1], match[2])
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/[0-9a-f]{40}/(.+)", path):
            self._resolve(match[1], match[2])
        elif match := re.fullmatch(r"/cdn/([^/]+/[^/]+)/(.+)", path):
            self._send(hub.repositories[match[1]][match[2]])
        else:
            self._answer(404, b"{}")

    def _describe(self, name: str, commit: str | None) -> None:
        files = self.served.repositories.get(name)
        if files is None:
            self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif commit is None:
            self._answer(200, json.dumps({"id": name, "sha": self.served.commit}).encode())
        else:
            self._answer(200, json.dumps([entry(*file) for file in files.items()]).encode())

    def _resolve(self, name: str, path: str) -> None:
        data = self.served.repositories.get(name, {}).get(path)
        if data is None:
            self._answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        elif _is_large(data):
            other_host = self.served.address.replace("127.0.0.1", "localhost")
            self._answer(302, b"", {"Location": f"{other_host}/cdn/{name}/{path}?{SIGNATURE}"})
        else:
            self._send(data)

    def _send(self, data: bytes) -> None:
        hub = self.served
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if hub.ranges else None
        begin = int(wanted[1]) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(data) - begin))
        if wanted:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        data = (hub.swapped or data)[begin:]
        left = len(data)
        if hub.break_after is not None and hub.break_after < left and hub.breaks > 0:
            left, hub.breaks = hub.break_after, hub.breaks - 1
            hub.refusal = hub.refused_after_break
        sent = 0
        try:
            while sent < left:
                piece = data[sent : min(sent + 2**14, left)]
                self.wfile.write(piece)
                sent += len(piece)
                hub.sent += len(piece)
                time.sleep(hub.seconds_per_piece)
        except OSError:  # the client has gone
            self.close_connection = True
        if sent < len(data):
            self.close_connection = True

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Length": str(len(body)),
            "Content-Type": "application/json",
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal."""

"""Plain HTTP for the tests of the sidecar: sends exactly what it is told, also what no decent client would."""

from __future__ import annotations

import hashlib
import http.client
import itertools
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from ex4d_server.client import Server

_numbers = itertools.count(1)
PATIENCE = 60.0
"""Seconds until something that should have happened counts as never happening."""


def new_id(what: str) -> str:
    """An id that no other test uses."""
    return f"{what}-{os.getpid()}-{next(_numbers)}"


@dataclass(frozen=True)
class Answer:
    """A response; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The parsed body."""
        return json.loads(self.body)

    def problem(self, status: int, code: str) -> dict[str, Any]:
        """The body as a problem document of this status and code, well-formed as all of ours must be."""
        assert self.status == status, (self.status, self.body[:500])
        assert self.headers["content-type"] == "application/problem+json"
        document = self.json()
        assert document["status"] == status
        assert document["code"] == code, document
        assert document["type"] == f"urn:ex4d:problem:{code}"
        assert document["title"]
        detail = document["detail"]
        assert re.fullmatch(r"((?!\. )[^\n])+\.", detail), f"not one sentence: {detail}"
        assert document["remedy"], document
        return document


def connect(server: Server, source: str | None = None) -> http.client.HTTPConnection:
    """A connection to a sidecar.

    Args:
        server: the sidecar.
        source: address of this machine to come from; one that is not loopback makes a remote client.
    """
    address = urlsplit(server.address)
    assert address.hostname is not None
    host = "127.0.0.1" if address.hostname == "0.0.0.0" else address.hostname
    return http.client.HTTPConnection(
        host, address.port, timeout=PATIENCE, source_address=(source, 0) if source else None
    )


def send(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    body: bytes | Iterable[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request on an open connection; a body that is no bytes goes in chunks, its length unsaid."""
    given = {name.lower(): value for name, value in (headers or {}).items()}
    connection.putrequest(method, target, skip_host="host" in given, skip_accept_encoding=True)
    chunked = body is not None and not isinstance(body, bytes)
    if isinstance(body, bytes):
        given.setdefault("content-length", str(len(body)))
    elif chunked:
        given["transfer-encoding"] = "chunked"
    for name, value in given.items():
        if name != "host" or value:  # an empty one stands for none at all
            connection.putheader(name, value)
    connection.endheaders(body, encode_chunked=chunked)
    answer = connection.getresponse()
    return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())


def ask(
    server: Server,
    method: str,
    target: str,
    body: Any = None,
    *,
    headers: Mapping[str, str] | None = None,
    token: str | None = "",
    source: str | None = None,
) -> Answer:
    """One request on a connection of its own.

    Args:
        server: the sidecar.
        method: HTTP method.
        target: path and query, sent as it stands.
        body: bytes, an iterable of bytes (sent in chunks), or a document (sent as JSON).
        headers: further headers; an empty Host leaves it out.
        token: "" the right one, None no header.
        source: see `connect`.
    """
    given = dict(headers or {})
    if isinstance(body, dict | list | str | int):
        body = json.dumps(body).encode()
        given.setdefault("Content-Type", "application/json")
    if token is not None:
        given.setdefault("Authorization", f"Bearer {token or server.token}")
    connection = connect(server, source)
    try:
        return send(connection, method, target, body, given)
    finally:
        connection.close()


def wait_job(server: Server, job: str, *states: str) -> dict[str, Any]:
    """Wait until a job is in one of the states (default: any final one); its document."""
    wanted = states or ("succeeded", "failed", "cancelled")
    deadline = time.monotonic() + 3 * PATIENCE  # the first one may compile kernels first
    while True:
        document = ask(server, "GET", f"/v1/jobs/{job}").json()
        if document["state"] in wanted:
            return document
        assert document["state"] in ("queued", "running"), document
        assert time.monotonic() < deadline, f"not {wanted}: {document}"
        time.sleep(0.02)


def run_job(server: Server, request: Mapping[str, Any], job: str | None = None) -> dict[str, Any]:
    """Ask for a job and wait for its end."""
    job = job or new_id("job")
    answer = ask(server, "PUT", f"/v1/jobs/{job}", dict(request))
    assert answer.status == 201, answer.body
    return wait_job(server, job)


@dataclass(frozen=True)
class Told:
    """One server-sent event, or a comment (`id` 0 and kind "comment")."""

    id: int
    kind: str
    data: dict[str, Any]


def events(server: Server, job: str, last: int | None = None, source: str | None = None) -> Iterator[Told]:
    """The events of a job as they come, until the server ends the stream; none where it answers 204."""
    connection = connect(server, source)
    headers = {"Authorization": f"Bearer {server.token}"}
    if last is not None:
        headers["Last-Event-ID"] = str(last)
    try:
        connection.request("GET", f"/v1/jobs/{job}/events", headers=headers)
        answer = connection.getresponse()
        if answer.status == 204:
            return
        assert answer.status == 200, answer.read()
        assert (answer.getheader("content-type") or "").startswith("text/event-stream")
        fields: dict[str, str] = {}
        deadline = time.monotonic() + 2 * PATIENCE
        for raw in answer:
            assert time.monotonic() < deadline, "the stream does not end"
            line = raw.decode().rstrip("\n")
            if line.startswith(":"):
                yield Told(0, "comment", {})
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "id" in fields:
                yield Told(int(fields["id"]), fields["event"], json.loads(fields["data"]))
                fields = {}
            else:
                assert set(fields) <= {"retry"}, fields
                fields = {}
    finally:
        connection.close()


def upload(server: Server, content: bytes, name: str, upload_id: str | None = None) -> str:
    """Send a small file in one piece; the id of the upload."""
    upload_id = upload_id or new_id("upload")
    answer = put_piece(server, upload_id, content, name=name)
    assert answer.status == 201, answer.body
    assert answer.json()["complete"]
    return upload_id


def put_piece(
    server: Server,
    upload_id: str,
    content: bytes,
    start: int = 0,
    end: int | None = None,
    *,
    source: str | None = None,
    **changes: Any,
) -> Answer:
    """Send the bytes `start` to `end` of a file; `changes` replace what is said about it."""
    piece = content[start:end]
    said = {
        "name": "clip.mp4",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "offset": start,
        "piece_sha256": hashlib.sha256(piece).hexdigest(),
        **changes,
    }
    headers = {"Content-Type": "application/octet-stream"}
    return ask(server, "PUT", f"/v1/uploads/{upload_id}?{urlencode(said)}", piece, headers=headers, source=source)

"""What the routes share: the sidecar, who asks, and the errors that they document."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request

from ex4d_server.guard import is_loopback
from ex4d_server.problems import MEDIA_TYPE
from ex4d_server.sidecar import Sidecar

# Both are coroutines for the sake of speed: a plain function would be sent to a thread and back, at every request.


async def _sidecar(request: Request) -> Sidecar:
    return request.app.state.sidecar


async def _is_local(request: Request) -> bool:
    """Whether the client runs on this machine: its address is loopback, or the one that it called."""
    client = request.client.host if request.client else ""
    server = request.scope.get("server") or ("",)
    return is_loopback(client) or (bool(client) and client == server[0])


ThisSidecar = Annotated[Sidecar, Depends(_sidecar)]
IsLocal = Annotated[bool, Depends(_is_local)]


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI description of the errors that a route may answer with; those of every route are always there."""
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    every = (400, 401, 413, 421, 503, *statuses)
    return {s: {"description": "A problem document", "content": {MEDIA_TYPE: schema}} for s in sorted(every)}

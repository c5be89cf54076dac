"""A job's events as they happen (server-sent events)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from ex4d_server.documents import TERMINAL
from ex4d_server.names import Id
from ex4d_server.problems import not_found
from ex4d_server.routes.shared import ThisSidecar, problems
from ex4d_server.sidecar import Sidecar

router = APIRouter(tags=["jobs"])

_QUIET_SECONDS = 15.0
_EVENT = {
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string", "description": "A number that grows"},
        "event": {"enum": ["state", "progress", "preview", "log"]},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/EventData"},
        },
    },
}
_LastEventId = Annotated[int, Header(ge=0, le=2**53, description="Only events with a larger id.")]


@router.get(
    "/jobs/{id}/events",
    response_class=Response,
    responses={
        **problems(404, 422),
        200: {
            "description": "One object for each event; `data` is JSON",
            "content": {"text/event-stream": {"schema": _EVENT}},
        },
        204: {"description": "The job is finished and all its events are known."},
    },
)
async def get_events(sidecar: ThisSidecar, id: Id, last_event_id: _LastEventId = 0) -> Response:
    """Follow a job from an event on; the stream ends after a terminal state."""
    row = await run_in_threadpool(sidecar.store.job, id)
    if row is None:
        raise not_found("job", id)
    if row["state"] in TERMINAL and row["last_event"] <= last_event_id:
        return Response(status_code=204)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_stream(sidecar, id, last_event_id), media_type="text/event-stream", headers=headers)


async def _stream(sidecar: Sidecar, job: str, last: int) -> AsyncIterator[str]:
    yield "retry: 1000\n\n"
    with sidecar.announcer.subscribed(job) as changed:
        while True:
            changed.clear()
            events = await run_in_threadpool(sidecar.store.events_after, job, last)
            for event in events:
                last = event["id"]
                yield f"id: {last}\nevent: {event['kind']}\ndata: {json.dumps(event['data'])}\n\n"
            if events:
                continue
            row = await run_in_threadpool(sidecar.store.job, job)
            if row is None or sidecar.announcer.closed or (row["state"] in TERMINAL and row["last_event"] <= last):
                return
            try:
                await asyncio.wait_for(changed.wait(), _QUIET_SECONDS)
            except TimeoutError:
                yield ": still here\n\n"

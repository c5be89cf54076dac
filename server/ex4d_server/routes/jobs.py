"""Jobs: asked for once, found again after anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import RowMapping
from starlette.responses import PlainTextResponse

from ex4d_core.depth.registry import estimator_facts
from ex4d_core.engines import check_request
from ex4d_server.documents import (
    FileList,
    FromPath,
    FromUpload,
    GenerateJob,
    ImportJob,
    JobList,
    JobRequest,
    JobRequestBack,
    JobResult,
    JobStatus,
    ModelsJob,
    ReshootJob,
    State,
    canonical,
)
from ex4d_server.downloads import STAGE as DOWNLOAD_STAGE
from ex4d_server.joblog import LOG_FILE
from ex4d_server.models import check_model
from ex4d_server.names import Id
from ex4d_server.problems import RequestError, not_found
from ex4d_server.results import NO_PAGE, file_response, list_files
from ex4d_server.routes.scenes import FileName, refuse_remote_path
from ex4d_server.routes.shared import IsLocal, ThisSidecar, problems
from ex4d_server.setups import setup_of
from ex4d_server.sidecar import Sidecar
from ex4d_server.store import preview_url

router = APIRouter(prefix="/jobs", tags=["jobs"])

_After = Annotated[int, Query(ge=0, le=2**53, description="Only jobs with a larger number.")]
_Limit = Annotated[int, Query(ge=1, le=1000)]
_States = Annotated[Sequence[State], Query(description="Only jobs in these states.")]


@router.put("/{id}", responses={**problems(403, 409, 422, 507), 201: {"description": "A new job", "model": JobStatus}})
def put_job(sidecar: ThisSidecar, is_local: IsLocal, response: Response, id: Id, body: JobRequest) -> JobStatus:
    """Ask for a job. The same request again, after a lost answer say, changes nothing."""
    if isinstance(body, ImportJob | ReshootJob):
        check_media(body.footage, is_local)
        check_media(body.depth, is_local)
        check_media(body.depth_model_dir, is_local)
        if isinstance(body.source_camera, FromPath | FromUpload):
            check_media(body.source_camera, is_local)
        if body.estimator is not None:
            estimator_facts(body.estimator)
    if isinstance(body, GenerateJob | ReshootJob):
        check_media(body.model_dir, is_local)
        check_request(body.engine, body.quality, body.keep_source, setup_of(canonical(body)))
    if isinstance(body, ModelsJob):
        check_model(body)
    request = canonical(body)
    row, new, same = sidecar.store.add_job(id, request)
    if not same:
        raise RequestError(f"The job {id!r} is another request: choose another id.", "job-differs", 409)
    if new:
        if isinstance(body, ImportJob | ReshootJob):
            for media in (body.footage, body.depth, body.source_camera):
                if isinstance(media, FromUpload):
                    sidecar.uploads.pin(id, media.upload)
        sidecar.wake()
    response.status_code = 201 if new else 200
    return _status(row, sidecar, is_local)


@router.get("", responses=problems(422))
def get_jobs(
    sidecar: ThisSidecar,
    is_local: IsLocal,
    state: _States = (),
    after: _After = 0,
    limit: _Limit = 100,
) -> JobList:
    """Jobs in the order in which they were asked for."""
    rows = sidecar.store.list_jobs(state, after, limit + 1)
    following = rows[limit - 1]["number"] if len(rows) > limit else None
    return JobList(jobs=[_status(row, sidecar, is_local) for row in rows[:limit]], next=following)


@router.get("/{id}", responses=problems(404, 422))
def get_job(sidecar: ThisSidecar, is_local: IsLocal, id: Id) -> JobStatus:
    """A job as it is now."""
    return _status(_row(sidecar, id), sidecar, is_local)


@router.get("/{id}/request", responses=problems(404, 422))
def get_job_request(sidecar: ThisSidecar, id: Id) -> JobRequestBack:
    """What a job was asked for, as to ask for another like it."""
    request = sidecar.store.request(id)
    if request is None:
        raise not_found("job", id)
    return JobRequestBack(request=request)


@router.post("/{id}/cancel", responses=problems(404, 409, 422))
def cancel_job(sidecar: ThisSidecar, is_local: IsLocal, id: Id) -> JobStatus:
    """Stop a job; `retry` goes on with what is finished."""
    store = sidecar.store
    if store.change(id, "state", only=("queued",), state="cancelled", message="cancelled") is None:
        if store.change(id, "progress", cancel=True, message="stopping") is not None:
            sidecar.cancel(id)
        elif _row(sidecar, id)["state"] != "cancelled":
            raise RequestError(f"The job {id!r} is finished: there is nothing to cancel.", "job-finished", 409)
    return _status(_row(sidecar, id), sidecar, is_local)


@router.post("/{id}/retry", responses=problems(404, 409, 422))
def retry_job(sidecar: ThisSidecar, is_local: IsLocal, id: Id) -> JobStatus:
    """Queue a failed or cancelled job again."""
    fresh: dict[str, Any] = {
        "problem": None,
        "fraction": None,
        "eta_s": None,
        "stage": None,
        "finished_at": None,
        "preview": None,
        "state": "queued",
        "message": "waiting",
        "stages": [],
        "cancel": False,
    }
    if sidecar.store.change(id, "state", only=("failed", "cancelled"), **fresh) is None:
        state = _row(sidecar, id)["state"]
        raise RequestError(
            f"The job {id!r} is {state}: only failed and cancelled jobs can be retried.", "job-state", 409
        )
    sidecar.wake()
    return _status(_row(sidecar, id), sidecar, is_local)


@router.delete("/{id}", status_code=204, responses=problems(404, 409, 422))
def delete_job(sidecar: ThisSidecar, id: Id) -> None:
    """Forget a job; its results may be evicted from then on."""
    _row(sidecar, id)
    if not sidecar.delete_job(id):
        raise RequestError(f"The job {id!r} is running: cancel it first.", "job-running", 409)


@router.get("/{id}/files", responses=problems(404, 409, 422))
def get_job_files(sidecar: ThisSidecar, id: Id) -> FileList:
    """The files of a succeeded job's result."""
    return FileList(files=list_files(_result_folder(sidecar, id)))


@router.get("/{id}/files/{name:path}", response_class=Response, responses=problems(404, 409, 416, 422))
def get_job_file(sidecar: ThisSidecar, request: Request, id: Id, name: FileName) -> Response:
    """One file of the result; understands Range, If-Range and If-None-Match."""
    return file_response(request, _result_folder(sidecar, id), name)


@router.get("/{id}/log", response_class=PlainTextResponse, responses=problems(404, 422))
def get_job_log(sidecar: ThisSidecar, id: Id) -> Response:
    """What the worker wrote while it did the job."""
    _row(sidecar, id)
    return _own_file(sidecar, id, LOG_FILE, "text/plain; charset=utf-8") or PlainTextResponse("", headers=NO_PAGE)


@router.get(
    "/{id}/preview",
    response_class=Response,
    responses={**problems(404, 422), 200: {"content": {"image/jpeg": {}}, "description": "The newest thumbnail"}},
)
def get_job_preview(sidecar: ThisSidecar, id: Id) -> Response:
    """The newest frame, small."""
    _row(sidecar, id)
    found = _own_file(sidecar, id, "preview.jpg", "image/jpeg")
    if found is None:
        raise RequestError(f"The job {id!r} has no preview yet: wait for its preview event.", "no-preview", 404)
    return found


def _own_file(sidecar: Sidecar, job: str, name: str, media_type: str) -> Response | None:
    try:
        content = (sidecar.folder.job(job) / name).read_bytes()  # at once: both change while the job runs
    except FileNotFoundError:
        return None
    return Response(content, media_type=media_type, headers=NO_PAGE)


def _row(sidecar: Sidecar, job: str) -> RowMapping:
    row = sidecar.store.job(job)
    if row is None:
        raise not_found("job", job)
    return row


def _result_folder(sidecar: Sidecar, job: str) -> Path:
    row = _row(sidecar, job)
    result = row["result"]
    if row["kind"] == DOWNLOAD_STAGE:
        raise RequestError(
            f"The job {job!r} is a download, which has no files to get: see where they are in `models` of the "
            "capabilities.",
            "job-state",
            409,
        )
    if row["state"] != "succeeded" or result is None:
        raise RequestError(f"The job {job!r} is {row['state']}: it has no files yet.", "job-state", 409)
    folder = sidecar.cache.path(result["disk_kind"], result["key"])
    if folder is None:
        raise RequestError(f"The result of {job!r} was removed by hand: delete the job, ask again.", "no-result", 404)
    return folder


def _status(row: RowMapping, sidecar: Sidecar, is_local: bool) -> JobStatus:
    values = dict(row)
    result = None
    if row["result"] is not None and row["state"] == "succeeded":
        found = row["result"]
        folder = sidecar.folder.entry(found["disk_kind"], found["key"])
        path = str(folder) if is_local else None
        result = JobResult(kind=found["kind"], scene=found["scene"], path=path, content_hash=found["content_hash"])
    return JobStatus.model_validate({**values, "preview_url": preview_url(row), "result": result})


def check_media(media: FromPath | FromUpload | None, is_local: bool) -> None:
    """Require a path to be whole, and to come from a client on this machine.

    Raises:
        RequestError: 403 or 422.
    """
    if isinstance(media, FromPath):
        refuse_remote_path(media.path, is_local)
        if not Path(media.path).is_absolute():
            raise RequestError(f"{media.path!r} is not an absolute path: give the whole path.", "bad-path", 422)

"""Errors of the sidecar, and how every error becomes a problem document (RFC 9457)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from ex4d_core.errors import Ex4dError

MEDIA_TYPE = "application/problem+json"
TOO_LARGE_REMEDY = "send less, or upload it in pieces"
_log = logging.getLogger(__name__)

_TITLES = {
    400: "The request is malformed",
    401: "A token is needed",
    403: "Not allowed",
    404: "Not found",
    405: "Wrong method",
    409: "It does not go with what is there",
    413: "Too large",
    416: "No such part of the file",
    421: "Wrong host",
    422: "The request cannot be carried out",
    500: "A defect in the sidecar",
    503: "Not now",
    507: "No space",
}


class Problem(BaseModel):
    """An RFC 9457 problem document."""

    model_config = ConfigDict(extra="allow")
    type: str = Field(default="about:blank", description="`urn:ex4d:problem:CODE`")
    title: str
    status: int = Field(ge=100, le=599)
    detail: str = Field(description="One sentence: what is wrong, where, and what to do.")
    code: str = Field(description="For programs.")
    remedy: str = Field(default="", description="What to do, by itself.")


class RequestError(Ex4dError):
    """A request that cannot be carried out; answered with `status` and a problem document.

    Attributes:
        status: HTTP status.
        extras: further members of the problem document.
        headers: further headers of the answer.
    """

    def __init__(
        self, message: str, code: str, status: int, headers: dict[str, str] | None = None, **extras: Any
    ) -> None:
        super().__init__(message)
        self.code, self.status, self.headers, self.extras = code, status, headers, extras


def not_found(what: str, name: str) -> RequestError:
    """404 for a job, scene or upload that is not there."""
    return RequestError(f"There is no {what} {name!r}: look at the list, or make it first.", f"no-{what}", 404)


def problem_of(error: BaseException, status: int = 422) -> Problem:
    """The document for an error.

    Args:
        error: a user's error keeps its own sentence and code; anything else is called a defect.
        status: for errors of the core, which know none.
    """
    if isinstance(error, RequestError):
        return _problem(error.status, error.code, str(error), error.remedy, **error.extras)
    if isinstance(error, Ex4dError):
        status = 507 if error.code == "no-space" else status
        return _problem(status, error.code, str(error), error.remedy)
    remedy = "send its log to the makers"
    return _problem(500, "defect", f"The sidecar met an error of its own ({type(error).__name__}): {remedy}.", remedy)


def _problem(status: int, code: str, detail: str, remedy: str = "", **extras: Any) -> Problem:
    title = _TITLES.get(status, "Error")
    return Problem(
        type=f"urn:ex4d:problem:{code}", title=title, status=status, detail=detail, code=code, remedy=remedy, **extras
    )


def response(problem: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    """The HTTP answer that carries a problem document."""
    return JSONResponse(problem.model_dump(), problem.status, headers, MEDIA_TYPE)


def sentence_of(errors: Sequence[Any]) -> str:
    """One sentence for what pydantic found wrong."""
    first = errors[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path", "header"))
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{where or 'The body'} is not as it must be{more}: {message[:1].lower()}{message[1:].rstrip('.')}."


def add_handlers(app: FastAPI, methods_of: Callable[[str], list[str]]) -> None:
    """Answer every error of an app with a problem document.

    Args:
        app: the app.
        methods_of: the methods that a path knows.
    """

    async def known(request: Request, error: Exception) -> JSONResponse:
        return response(problem_of(error), error.headers if isinstance(error, RequestError) else None)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        details = [{"where": list(e["loc"]), "message": e["msg"]} for e in error.errors()[:20]]
        detail = sentence_of(error.errors())
        return response(_problem(422, "bad-request", detail, "correct the request", errors=details))

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        codes = {404: "no-route", 405: "bad-method", 400: "bad-request", 413: "body-too-large"}
        code = codes.get(error.status_code, "error")
        remedy = TOO_LARGE_REMEDY if error.status_code == 413 else "see /v1/openapi.json for what there is"
        # Routing names the methods of the first route of a path, not of all.
        headers = {"Allow": ", ".join(methods_of(request.url.path))} if error.status_code == 405 else None
        return response(_problem(error.status_code, code, f"{error.detail}: {remedy}.", remedy), headers)

    async def database(request: Request, error: Exception) -> JSONResponse:
        _log.error("the job store failed: %s", error)
        remedy = "free some space on the disk of the data folder, then try again"
        if "full" in str(error):
            return response(_problem(507, "no-space", f"The disk of the data folder is full: {remedy}.", remedy))
        remedy = "look at the sidecar's log, check that its data folder is writable, then start it again"
        return response(_problem(503, "store", f"The job store does not answer: {remedy}.", remedy))

    async def defect(request: Request, error: Exception) -> JSONResponse:
        _log.exception("%s %s", request.method, request.url.path, exc_info=error)
        return response(problem_of(error))

    app.add_exception_handler(Ex4dError, known)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(OperationalError, database)
    app.add_exception_handler(Exception, defect)

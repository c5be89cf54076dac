"""Answers every error of the HTTP application with a problem document."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from ex4d_core.errors import Ex4dError
from ex4d_server.names import ID_PATTERN
from ex4d_server.problems import TOO_LARGE_REMEDY, RequestError, problem, problem_of, response

_log = logging.getLogger(__name__)


def sentence_of(errors: Sequence[Any]) -> str:
    """One sentence for what pydantic found wrong."""
    # Of several forms that are allowed, those that were not meant lack fields or have too many.
    meant = [e for e in errors if e["type"] not in ("missing", "extra_forbidden")] or errors
    first = meant[0]
    if first["type"] == "json_invalid":
        return "The body is not JSON as it must be: send a whole JSON document."
    if first["type"] in ("model_attributes_type", "dict_type") and tuple(first["loc"]) == ("body",):
        return "The body is no JSON object: send one, with the header Content-Type: application/json."
    if first["type"] == "string_pattern_mismatch" and first["ctx"]["pattern"] == ID_PATTERN:
        return (
            f"The id {str(first['input'])[:80]!r} is not as it must be: choose up to 64 of a-z, A-Z, 0-9, "
            "dot, dash and underscore, beginning with a letter or digit."
        )
    skipped = ("body", "query", "path", "header")
    where = ".".join(str(p) for p in first["loc"] if p not in skipped and not str(p)[:1].isupper())
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
        return response(problem(422, "bad-request", detail, "correct the request", errors=details))

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        codes = {404: "no-route", 405: "bad-method", 400: "bad-request", 413: "body-too-large"}
        code = codes.get(error.status_code, "error")
        remedy = TOO_LARGE_REMEDY if error.status_code == 413 else "see /v1/openapi.json for what there is"
        # Routing names the methods of the first route of a path, not of all.
        headers = {"Allow": ", ".join(methods_of(request.url.path))} if error.status_code == 405 else None
        return response(problem(error.status_code, code, f"{error.detail}: {remedy}.", remedy), headers)

    async def database(request: Request, error: Exception) -> JSONResponse:
        _log.error("the job store failed: %s", error)
        remedy = "free some space on the disk of the data folder, then try again"
        if "full" in str(error):
            return response(problem(507, "no-space", f"The disk of the data folder is full: {remedy}.", remedy))
        remedy = "look at the sidecar's log, check that its data folder is writable, then start it again"
        return response(problem(503, "store", f"The job store does not answer: {remedy}.", remedy))

    async def defect(request: Request, error: Exception) -> JSONResponse:
        _log.exception("%s %s", request.method, request.url.path, exc_info=error)
        return response(problem_of(error))

    app.add_exception_handler(Ex4dError, known)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(OperationalError, database)
    app.add_exception_handler(Exception, defect)

"""Errors of the sidecar, and the problem documents (RFC 9457) that tell of them."""

from __future__ import annotations

import logging
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

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
        return problem(error.status, error.code, str(error), error.remedy, **error.extras)
    if isinstance(error, Ex4dError):
        status = 507 if error.code == "no-space" else status
        return problem(status, error.code, str(error), error.remedy)
    remedy = "send its log to the makers"
    return problem(500, "defect", f"The sidecar met an error of its own ({type(error).__name__}): {remedy}.", remedy)


def problem(status: int, code: str, detail: str, remedy: str = "", **extras: Any) -> Problem:
    title = _TITLES.get(status, "Error")
    return Problem(
        type=f"urn:ex4d:problem:{code}", title=title, status=status, detail=detail, code=code, remedy=remedy, **extras
    )


def response(problem: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    """The HTTP answer that carries a problem document."""
    return JSONResponse(problem.model_dump(), problem.status, headers, MEDIA_TYPE)

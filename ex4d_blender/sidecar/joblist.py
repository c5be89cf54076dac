# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidecar's jobs as Blender shows them. They live in memory only: the list comes from the server."""

import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..wording import for_artists

FINISHED = ("succeeded", "failed", "cancelled")
SHOT_KINDS = ("generate", "reshoot")
"""Jobs whose result is a generated shot."""


@dataclass(frozen=True)
class JobView:
    """One job as the server last told."""

    id: str
    number: int
    kind: str
    """`import`, `render`, `generate`, `reshoot` or `models`."""
    state: str
    """`queued`, `running`, `succeeded`, `failed` or `cancelled`."""
    stage: str
    fraction: float | None
    eta_s: float | None
    message: str
    problem: str
    """One sentence with its remedy, of a job that failed; else empty."""
    scene: str | None
    """Id of the scene that it made or used; once it has succeeded."""
    content_hash: str | None
    path: Path | None
    """Folder of its result, where that is on this machine."""
    preview_url: str = ""
    """Where its newest thumbnail is, a JPEG; another one has another address."""

    @property
    def name(self) -> str:
        """Its id without what makes that unique."""
        return re.sub(r"-[0-9a-f]{6}$", "", self.id)

    @property
    def finished(self) -> bool:
        """Whether it has come to its end."""
        return self.state in FINISHED


def job_view(document: dict[str, Any]) -> JobView:
    """From a Job document; what is missing or strange in it becomes empty."""
    problem, result = document.get("problem"), document.get("result")
    problem, result = problem if isinstance(problem, dict) else {}, result if isinstance(result, dict) else {}
    fraction, eta, path = document.get("fraction"), document.get("eta_s"), result.get("path")
    return JobView(
        id=str(document["id"]),
        number=int(document.get("number") or 0),
        kind=str(document.get("kind") or ""),
        state=str(document.get("state") or ""),
        stage=str(document.get("stage") or ""),
        fraction=float(fraction) if isinstance(fraction, (int, float)) else None,
        eta_s=float(eta) if isinstance(eta, (int, float)) else None,
        message=str(document.get("message") or ""),
        problem=for_artists(str(problem.get("detail") or problem.get("title") or "")),
        scene=result.get("scene"),
        content_hash=result.get("content_hash"),
        path=Path(path) if isinstance(path, str) else None,
        preview_url=str(document.get("preview_url") or ""),
    )


def job_name(about: str) -> str:
    """What the ids of jobs about something begin with."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", about).strip("-_")[:56] or "job"


def new_job_id(about: str) -> str:
    """An id for a new job that shows what it is about, such as `shot_010-3f9a1c`."""
    return f"{job_name(about)}-{uuid.uuid4().hex[:6]}"


def shown_time(seconds: float | None) -> str:
    """A remaining time for people: `1:05`; empty if unknown."""
    if seconds is None or not 0 <= seconds < 360_000:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

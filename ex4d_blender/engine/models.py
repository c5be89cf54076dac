# SPDX-License-Identifier: GPL-3.0-or-later
"""The weights that engines of the sidecar need, as its capabilities and its jobs tell: it alone knows what they are."""

from dataclasses import dataclass
from typing import Any

from ..errors import UserError
from ..sidecar import JobView, connection
from ..sidecar.joblist import job_name

KIND = "models"
"""Of the jobs that download them."""


@dataclass(frozen=True)
class Model:
    """Weights, as a ModelStatus of docs/api.md has them."""

    name: str
    title: str
    size_bytes: int
    left_bytes: int
    """What a download would still bring."""
    licence: str
    commercial: bool
    """Whether the licence allows commercial work."""
    where: str
    """Where it comes from."""
    folder: str
    """Where it goes, or is, on the sidecar's machine."""
    state: str
    """`absent`, `downloading`, `incomplete` or `ready`."""


def models() -> list[Model]:
    """All that the sidecar knows; none without one."""
    found = connection().capabilities.get("models")
    return [
        Model(
            name=str(one["name"]),
            title=str(one.get("title") or one["name"]),
            size_bytes=int(one.get("size_bytes") or 0),
            left_bytes=int(one.get("left_bytes", one.get("size_bytes")) or 0),
            licence=str(one.get("licence") or ""),
            commercial=one.get("commercial") is True,
            where=str(one.get("where") or ""),
            folder=str(one.get("folder") or ""),
            state=str(one.get("state") or ""),
        )
        for one in found or ()
        if isinstance(one, dict) and "name" in one
    ]


def absent_models(engine: dict[str, Any]) -> list[Model]:
    """What an engine of the capabilities needs and the sidecar's machine does not have, or not whole."""
    needed = engine.get("models") or ()
    return [model for model in models() if model.name in needed and model.state != "ready"]


def lacks_packages(engine: dict[str, Any]) -> bool:
    """Whether an engine of the capabilities lacks more than models: then these cannot even be downloaded."""
    return bool(engine.get("packages")) and len(engine.get("missing") or ()) > len(absent_models(engine))


def no_downloads() -> bool:
    """Whether the sidecar's engine is one without what models need, such as the kind for CPU."""
    return any(lacks_packages(engine) for engine in connection().capabilities.get("engines") or ())


def required_model(name: str) -> Model:
    """One of them. Raises: UserError."""
    found = next((model for model in models() if model.name == name), None)
    if found is None:
        raise UserError("The sidecar knows no model {model!r}: look at the list in the Engine panel.", model=name)
    return found


def download_of(model: Model) -> JobView | None:
    """The newest job that downloads a model; it may have ended."""
    about = job_name(model.name)
    return next((job for job in connection().jobs if job.kind == KIND and job.name == about), None)

"""Weights that this sidecar knows, as they are on this machine, and whether one may be downloaded."""

from __future__ import annotations

import shutil

from ex4d_core.errors import MissingDependencyError
from ex4d_core.model_hub import require_hub
from ex4d_core.model_store import places
from ex4d_core.models import CATALOGUE, Model, bytes_left, gigabytes, known_model, location, state
from ex4d_server.documents import ModelsJob, ModelStatus, Shortage
from ex4d_server.problems import RequestError


def known_models() -> list[ModelStatus]:
    """Weights that an engine or an estimator of this sidecar needs, as they are on this machine."""
    return [_status(model) for model in CATALOGUE]


def check_model(request: ModelsJob) -> None:
    """Refuse a model that is not known, and one whose licence has to be accepted first.

    Raises:
        RequestError: 422.
    """
    found = next((model for model in known_models() if model.name == request.model), None)
    if found is None:
        raise RequestError(
            f"This sidecar knows no model {request.model!r}: choose one of `models` in its capabilities.",
            "no-model",
            422,
        )
    if not found.commercial and not request.accept_licence:
        raise RequestError(
            f"The licence of {found.title} ({found.licence}) allows no commercial work: read it, then ask again with "
            "accept_licence.",
            "licence",
            422,
        )


def model_shortages(request: ModelsJob) -> list[Shortage]:
    """What a download would lack on this machine.

    Raises:
        RequestError: see `check_model`.
    """
    check_model(request)
    try:
        require_hub()
    except MissingDependencyError as error:
        return [Shortage(what="engine", needed_bytes=None, free_bytes=None, message=str(error), choices=[])]
    model = known_model(request.model)
    folder = places(model.name)[0].absolute()
    needed, free = bytes_left(model), shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free
    if needed <= free:
        return []
    choices = ["free some space there", "let EX4D_MODELS name a folder on another disk, then start the sidecar again"]
    return [
        Shortage(
            what="disk",
            needed_bytes=needed,
            free_bytes=free,
            message=f"{model.title} needs {gigabytes(needed)} of disk in {folder} and {gigabytes(free)} are free: "
            f"{' or '.join(choices)}.",
            choices=choices,
        )
    ]


def _status(model: Model) -> ModelStatus:
    return ModelStatus(
        name=model.name,
        title=model.title,
        size_bytes=model.bytes,
        left_bytes=bytes_left(model),
        licence=model.licence,
        commercial=model.commercial,
        where=model.where.removeprefix("https://"),
        folder=str(location(model) or places(model.name)[0]),
        state=state(model),
    )

"""Weights that this sidecar knows, and whether one may be downloaded. No engine needs any yet."""

from __future__ import annotations

from ex4d_server.documents import ModelsJob, ModelStatus
from ex4d_server.problems import RequestError


def known_models() -> list[ModelStatus]:
    """Weights that an engine or an estimator of this sidecar needs, as they are on this machine."""
    return []


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

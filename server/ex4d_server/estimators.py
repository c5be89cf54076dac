"""The depth estimators of this sidecar, and what a job's estimator lacks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ex4d_core.depth.registry import default_estimator, download_bytes, estimator_facts, estimator_names, missing
from ex4d_core.models import needed
from ex4d_server.documents import EstimatorStatus, Shortage


def estimators() -> list[EstimatorStatus]:
    """All of them, as they are on this machine."""
    default = default_estimator()
    return [_status(name, name == default) for name in estimator_names()]


def estimator_lacks(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """What the depth estimator of a job lacks on this machine, a sentence each.

    Args:
        fields: of a job's request, as it is stored: `depth`, `estimator` and `depth_model_dir`.

    Raises:
        InputError: there is none of that name.
    """
    name = fields["estimator"] or ("file" if fields["depth"] else default_estimator())
    folder = fields["depth_model_dir"]
    return missing(name, None if folder is None else Path(folder["path"]))


def estimator_shortages(fields: Mapping[str, Any]) -> list[Shortage]:
    """As `estimator_lacks`, with the estimators that would do instead."""
    lacks = estimator_lacks(fields)
    others = [f"the depth estimator {name}" for name in estimator_names() if name != "file" and not missing(name)]
    return [
        Shortage(what="estimator", needed_bytes=None, free_bytes=None, message=sentence, choices=others)
        for sentence in lacks
    ]


def _status(name: str, is_default: bool) -> EstimatorStatus:
    facts, lacks = estimator_facts(name), missing(name)
    return EstimatorStatus(
        name=name,
        summary=facts.summary,
        licence=facts.licence,
        commercial=facts.commercial,
        ready=not lacks,
        missing=list(lacks),
        is_default=is_default,
        packages=list(facts.packages),
        models=[model.name for model in needed(name)],
        download_bytes=download_bytes(name),
        folder=bool(facts.checkout),
        device=facts.device,
        units=facts.units,
        per_frame=facts.per_frame,
        intrinsics=facts.intrinsics,
        poses=facts.poses,
        parity=facts.parity,
    )

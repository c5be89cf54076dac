"""The depth estimators that there are, found by name and described without loading any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from ex4d_core.depth import DepthEstimator, DepthRequest, EstimatorFacts
from ex4d_core.depth.facts import FACTS
from ex4d_core.errors import InputError, MissingDependencyError

Make = Callable[[DepthRequest], DepthEstimator]


@dataclass(frozen=True)
class _Entry:
    """An estimator as the table below has it."""

    facts: EstimatorFacts
    make: Make


def _imported(module: str, kind: str) -> Make:
    """Makes one of a class that takes the request, from a module that is imported when it is asked for."""
    return lambda request: getattr(import_module(f"ex4d_core.depth.{module}"), kind)(request)


_CLASSES = {
    "file": ("file", "FileEstimator"),
    "embedded": ("builtin", "EmbeddedEstimator"),
    "depth-anything-v2-small": ("depth_anything_v2", "DepthAnythingV2Estimator"),
    "depth-anything-3": ("depth_anything_3", "DepthAnything3Estimator"),
    "depth-anything-3-metric": ("depth_anything_3_single", "DepthAnything3MetricEstimator"),
    "depth-anything-3-mono": ("depth_anything_3_single", "DepthAnything3MonoEstimator"),
    "video-depth-anything-small": ("video_depth_anything", "VideoDepthAnythingEstimator"),
    "depthcrafter": ("depthcrafter.estimator", "DepthCrafterEstimator"),
    "depth-pro": ("depth_pro", "DepthProEstimator"),
}
_ENTRIES = {facts.name: _Entry(facts, _imported(*_CLASSES[facts.name])) for facts in FACTS}

DEFAULTS = ("depth-anything-v2-small", "embedded")
"""The first of these that this machine can run is used where none is named: nothing is downloaded unasked."""


def register_estimator(facts: EstimatorFacts, make: Make) -> None:
    """Add an estimator, or replace the one of that name."""
    _ENTRIES[facts.name] = _Entry(facts, make)


def estimator_names() -> tuple[str, ...]:
    """The names that `make_estimator` knows."""
    return tuple(_ENTRIES)


def estimator_facts(name: str) -> EstimatorFacts:
    """What there is to know about an estimator.

    Raises:
        InputError: there is none of that name.
    """
    return _entry(name).facts


def default_estimator(model_dir: Path | None = None) -> str:
    """The estimator to use where none is named; with a folder of weights, the one that they are for."""
    if model_dir is not None:
        return DEFAULTS[0]
    return next((name for name in DEFAULTS if name in _ENTRIES and not missing(name)), DEFAULTS[-1])


def sharpens(name: str, wanted: bool | None = None) -> bool:
    """Whether an estimator's edges are put where the colour has them (`sharpen`), unless the user says so or not.

    Files are as their makers want them; what `embedded` finds follows the colour already (docs/depth/steady.md).
    """
    return name not in ("file", "embedded") if wanted is None else wanted


def missing(name: str, model_dir: Path | None = None) -> tuple[str, ...]:
    """What this machine lacks to run an estimator, a sentence each; empty if nothing.

    Args:
        name: of the estimator.
        model_dir: a folder with its weights or checkout; then no downloaded ones are needed.

    Raises:
        InputError: there is none of that name.
    """
    facts = estimator_facts(name)
    lacks: list[str] = []
    if packages := [package for package in facts.packages if find_spec(package) is None]:
        remedy = "run pip install .[gpu] in EX-4D's folder"
        lacks.append(f"The depth estimator {name} needs {', '.join(packages)}, which are not installed: {remedy}.")
    if model_dir is None:
        lacks += [facts.checkout] if facts.checkout else _absent_weights(name)
    return tuple(lacks)


def download_bytes(name: str) -> int:
    """What an estimator's weights take to download; 0 where it needs none.

    Raises:
        InputError: there is none of that name.
    """
    from ex4d_core.models import needed

    return sum(model.bytes for model in needed(estimator_facts(name).name))


def make_estimator(name: str, request: DepthRequest | None = None) -> DepthEstimator:
    """The estimator of that name.

    Raises:
        InputError: there is none.
        MissingDependencyError: a package or weights that it needs are not there.
    """
    entry = _entry(name)
    request = request or DepthRequest()
    if sentences := missing(name, request.model_dir):
        raise MissingDependencyError(sentences[0])
    return entry.make(request)


def _absent_weights(name: str) -> list[str]:
    """One sentence for all the weights that an estimator lacks, or none."""
    from ex4d_core.models import environment_left, gigabytes, needed, state

    lacking = [model for model in needed(name) if state(model) != "ready"]
    if not lacking:
        return []
    accept = "" if all(model.commercial for model in lacking) else " --accept"
    environment = max(environment_left(model) for model in lacking)
    python = f", and {gigabytes(environment)} for a Python of its own" if environment else ""
    return [
        f"The depth estimator {name} is not on this machine: run `ex4d models download {name}{accept}` "
        f"({gigabytes(sum(model.bytes for model in lacking))}{python})."
    ]


def _entry(name: str) -> _Entry:
    if name not in _ENTRIES:
        raise InputError(f"There is no depth estimator {name!r}: choose one of {', '.join(_ENTRIES)}.")
    return _ENTRIES[name]

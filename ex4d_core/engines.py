"""The engines that there are, and what each needs: told without loading any."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ex4d_core.errors import InputError


@dataclass(frozen=True)
class EngineFacts:
    """What there is to know about an engine before it is loaded."""

    name: str
    summary: str
    """One line for people."""
    packages: tuple[str, ...]
    """Modules that it imports beyond the base installation."""
    models: tuple[str, ...]
    """Hub ids (owner/name) of the weights that it loads."""
    licence: str
    """Of the engine with its weights, an SPDX identifier."""
    qualities: tuple[str, ...]
    """Names of its settings between fast and good, the first is the default; empty: there is only one."""
    reads_prompt: bool
    reads_seed: bool
    keeps_source: bool
    """Whether it can be asked to keep seen pixels as they are, or to draw them anew."""
    cancel_seconds: float
    """How long until a cancel takes effect, at most, on the slowest machine that it is meant for."""


@dataclass(frozen=True)
class EngineSetup:
    """Where an engine finds its models and how it uses the machine; what is left empty is chosen for it."""

    model_dir: Path | None = None
    """A folder with the models' files in any known layout (see `model_files`); None: what `ex4d models` has."""
    memory: str = ""
    """Rung of the VRAM ladder (see `generate.ladder`)."""
    attention: str = ""
    """Attention backend (see `generate.attention`)."""
    cache: str = ""
    """Which cache the quality `cached` uses: first-block or taylorseer."""
    steps: int = 0
    """Denoising steps; 0: the quality's own."""


@dataclass(frozen=True)
class Needs:
    """What an engine takes while it generates one shot."""

    vram_bytes: int
    ram_bytes: int
    """Of the process: interpreter, libraries, the shot and the work on it."""


@dataclass(frozen=True)
class _Entry:
    """An engine as the table below has it; its module is imported when the engine is asked for."""

    facts: EngineFacts
    module: str
    kind: str
    needs: Callable[[int, int, int], Needs]
    """Width, height and frames of the shot -> needs."""


def draft_workers() -> int:
    """Threads of the draft engine."""
    return min(4, os.cpu_count() or 1)


def _draft_needs(width: int, height: int, frames: int) -> Needs:
    """Peaks of real runs (832x480 x 49, 1920x1080 x 24; 1, 2 and 4 threads), footage as large as the shot."""
    process = 300_000_000
    other_times, each_worker, shot = 320, 160, 4 * frames  # bytes for each pixel of a frame
    return Needs(0, process + width * height * (other_times + each_worker * draft_workers() + shot))


_ENGINES = {
    "draft": _Entry(
        EngineFacts(
            name="draft",
            summary="previs in seconds from the footage itself: no weights, no GPU; what it invents is smooth",
            packages=(),
            models=(),
            licence="GPL-3.0-or-later",
            qualities=(),
            reads_prompt=False,
            reads_seed=False,
            keeps_source=False,
            cancel_seconds=1.0,
        ),
        module="ex4d_core.generate.draft",
        kind="DraftEngine",
        needs=_draft_needs,
    )
}


def engine_names() -> tuple[str, ...]:
    """The names that `make_engine` knows."""
    return tuple(_ENGINES)


def engine_facts(name: str) -> EngineFacts:
    """What there is to know about an engine, without importing it.

    Raises:
        InputError: there is none of that name.
    """
    return _entry(name).facts


def engine_needs(name: str, width: int, height: int, frames: int) -> Needs:
    """What an engine takes to generate a shot; an estimate.

    Args:
        name: of the engine.
        width: of the shot, pixels.
        height: of the shot, pixels.
        frames: of the shot.

    Raises:
        InputError: there is no engine of that name.
    """
    return _entry(name).needs(width, height, frames)


def missing(name: str) -> tuple[str, ...]:
    """What this machine lacks to run an engine, a sentence each; empty if nothing.

    Raises:
        InputError: there is no engine of that name.
    """
    facts = engine_facts(name)
    lacks: list[str] = []
    if packages := [package for package in facts.packages if find_spec(package) is None]:
        remedy = "run pip install .[gpu] in EX-4D's folder"
        lacks.append(f"The engine {name} needs {', '.join(packages)}, which are not installed: {remedy}.")
    lacks += [f"The model {m} is not on this machine: download it first." for m in facts.models if not _has_model(m)]
    return tuple(lacks)


def check_request(name: str, quality: str, keep_source: bool) -> None:
    """Refuse what an engine does not know.

    Args:
        name: of the engine.
        quality: one of its `qualities`; empty: its default.
        keep_source: asked to keep what was seen.

    Raises:
        InputError: there is no such engine, or it does not know that.
    """
    facts = engine_facts(name)
    if quality and quality not in facts.qualities:
        known = f"choose one of {', '.join(facts.qualities)}" if facts.qualities else "leave it out"
        raise InputError(f"The engine {name} has no quality {quality!r}: {known}.")
    if keep_source and not facts.keeps_source:
        raise InputError(f"The engine {name} cannot be asked to keep the source: leave that out.")


def engine_class(name: str) -> tuple[str, str]:
    """Module and name of the class of an engine.

    Raises:
        InputError: there is no engine of that name.
    """
    entry = _entry(name)
    return entry.module, entry.kind


def _entry(name: str) -> _Entry:
    if name not in _ENGINES:
        raise InputError(f"There is no engine {name!r}: choose one of {', '.join(_ENGINES)}.")
    return _ENGINES[name]


def _has_model(hub_id: str) -> bool:
    """Whether the hub's cache holds a snapshot of a model (its layout: models--OWNER--NAME/snapshots/REVISION/)."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    snapshots = cache / f"models--{hub_id.replace('/', '--')}" / "snapshots"
    return any(any(snapshot.iterdir()) for snapshot in snapshots.glob("*/"))

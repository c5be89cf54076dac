"""The engines that there are, and what each needs: told without loading any."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path

from ex4d_core.errors import InputError, MissingDependencyError


@dataclass(frozen=True)
class EngineFacts:
    """What there is to know about an engine before it is loaded."""

    name: str
    summary: str
    """One line for people."""
    packages: tuple[str, ...]
    """Modules that it imports beyond the base installation."""
    licence: str
    """Of the engine with its weights: an SPDX identifier, and what else is to be said."""
    qualities: tuple[str, ...]
    """Names of its profiles (see `generate.profiles`), the first is the default; empty: there is only one."""
    reads_prompt: bool
    reads_seed: bool
    keeps_source: bool
    """Whether it can be asked to keep seen pixels as they are, or to draw them anew."""
    reads_setup: bool
    """Whether there is anything to choose in an `EngineSetup`."""
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
    disk_bytes: int = 0
    """In `files.cache_folder`, for weights that are read from there in every step."""
    no_plan: str = ""
    """Why no way to run it fits this machine, and what would; the others are then what the smallest way takes."""


@dataclass(frozen=True)
class _Entry:
    """An engine as the table below has it; its module is imported when the engine is asked for."""

    facts: EngineFacts
    module: str
    kind: str
    """Name of its class there; of a diffusion engine, of its `generate.diffusion.Loader`."""
    needs: Callable[[str, int, int, int, EngineSetup, str], Needs]
    """Name, width, height and frames of the shot, setup, quality -> needs."""
    diffusion: bool = False


def draft_workers() -> int:
    """Threads of the draft engine."""
    return min(4, os.cpu_count() or 1)


def _draft_needs(_name: str, width: int, height: int, frames: int, _setup: EngineSetup, _quality: str) -> Needs:
    """Peaks of real runs (832x480 x 49, 1920x1080 x 24; 1, 2 and 4 threads), footage as large as the shot."""
    process = 300_000_000
    other_times, each_worker, shot = 320, 160, 4 * frames  # bytes for each pixel of a frame
    return Needs(0, process + width * height * (other_times + each_worker * draft_workers() + shot))


def _diffusion_needs(name: str, width: int, height: int, frames: int, setup: EngineSetup, quality: str) -> Needs:
    from ex4d_core.generate.diffusion import needs

    # of a size of 0, the weights alone
    return needs(name, max(width, 1), max(height, 1), max(frames, 1), setup, quality)


_DIFFUSION_PACKAGES = ("torch", "diffusers", "peft", "transformers", "accelerate", "safetensors")


def _diffusion(
    name: str,
    summary: str,
    qualities: tuple[str, ...],
    module: str,
    loader: str,
    cancel_seconds: float,
    licence: str = "Apache-2.0",
) -> _Entry:
    facts = EngineFacts(
        name=name,
        summary=summary,
        packages=_DIFFUSION_PACKAGES,
        licence=licence,
        qualities=qualities,
        reads_prompt=True,
        reads_seed=True,
        keeps_source=True,
        reads_setup=True,
        cancel_seconds=cancel_seconds,
    )
    return _Entry(facts, f"ex4d_core.generate.{module}", loader, _diffusion_needs, diffusion=True)


# A cancel is noticed between two blocks of the transformer, or after a pass where they are compiled. A pass of 14
# billion parameters at 832x480x81 takes 10 s on an RTX 4090 (1686 TFLOP at 165 TFLOP/s), of the small model a tenth.
_ENGINES = {
    "draft": _Entry(
        EngineFacts(
            name="draft",
            summary="previs in seconds from the footage itself: no weights, no GPU; what it invents is smooth",
            packages=(),
            licence="GPL-3.0-or-later",
            qualities=(),
            reads_prompt=False,
            reads_seed=False,
            keeps_source=False,
            reads_setup=False,
            cancel_seconds=1.0,
        ),
        module="ex4d_core.generate.draft",
        kind="DraftEngine",
        needs=_draft_needs,
    ),
    "ex4d": _diffusion(
        "ex4d",
        "final quality and extreme angles: EX-4D on Wan2.1 14B; a GPU of 12 GB or more",
        ("final", "cached", "fast"),
        "ex4d",
        "EX4D",
        cancel_seconds=15.0,
        licence="Apache-2.0; none stated for EX-4D's weights",
    ),
    "vace-1.3b": _diffusion(
        "vace-1.3b",
        "for small GPUs, from 8 GB: Wan2.1 VACE 1.3B",
        ("final", "cached"),
        "vace",
        "VACE_1_3B",
        cancel_seconds=5.0,
    ),
    "vace-14b": _diffusion(
        "vace-14b",
        "free for commercial work: Wan2.1 VACE 14B; a GPU of 12 GB or more",
        ("final", "cached"),
        "vace",
        "VACE_14B",
        cancel_seconds=15.0,
    ),
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


def engine_needs(
    name: str, width: int, height: int, frames: int, setup: EngineSetup | None = None, quality: str = ""
) -> Needs:
    """What an engine takes to generate a shot; an estimate.

    Args:
        name: of the engine.
        width: of the shot, pixels; 0 where it is not known, likewise the next two.
        height: of the shot, pixels.
        frames: of the shot.
        setup: how it is to be run.
        quality: one of its qualities; empty: its default.

    Raises:
        InputError: there is no engine of that name, or it cannot be run like that.
    """
    return _entry(name).needs(name, width, height, frames, setup or EngineSetup(), quality)


def engine_models(name: str) -> tuple[str, ...]:
    """Names of the models (see `models.CATALOGUE`) that an engine cannot do without.

    Raises:
        InputError: there is no engine of that name.
    """
    from ex4d_core.models import needed

    return tuple(model.name for model in needed(engine_facts(name).name))


def quality_models(name: str, quality: str) -> tuple[str, ...]:
    """Names of the models that one quality of an engine needs beyond `engine_models`."""
    if not quality:
        return ()
    from ex4d_core.generate.profiles import PROFILES
    from ex4d_core.models import CATALOGUE

    chosen = PROFILES.get(name, {}).get(quality)
    if chosen is None or not chosen.distilled:
        return ()
    return tuple(model.name for model in CATALOGUE if name in model.engines and model.part == "distilled")


def missing(name: str, setup: EngineSetup | None = None, quality: str = "") -> tuple[str, ...]:
    """What this machine lacks to run an engine, a sentence each; empty if nothing.

    Args:
        name: of the engine.
        setup: with a `model_dir`, no downloaded models are needed.
        quality: one of its qualities; empty: its default.

    Raises:
        InputError: there is no engine of that name.
    """
    from ex4d_core.models import absence, absences, known_model, state

    facts = engine_facts(name)
    lacks: list[str] = []
    if packages := [package for package in facts.packages if find_spec(package) is None]:
        remedy = "run pip install .[gpu] in EX-4D's folder"
        lacks.append(f"The engine {name} needs {', '.join(packages)}, which are not installed: {remedy}.")
    if setup is not None and setup.attention:
        from ex4d_core.generate.attention import not_installed

        lacks += not_installed(setup.attention)
    if setup is None or setup.model_dir is None:
        lacks += absences(name)
        more = map(known_model, quality_models(name, quality))
        lacks += [absence(model) for model in more if state(model) != "ready"]
    return tuple(lacks)


def require(name: str, setup: EngineSetup | None = None, quality: str = "") -> None:
    """Refuse an engine that this machine cannot run so; see `missing`. The models' files are looked at, and not read.

    Raises:
        InputError: there is no engine of that name, or a file of its models is damaged.
        MissingDependencyError: a package or a model that it needs is not there.
    """
    if sentences := missing(name, setup, quality):
        raise MissingDependencyError(sentences[0])
    if setup is not None and engine_facts(name).reads_setup:
        from ex4d_core.generate.revisions import model_files

        model_files(name, setup)


def check_request(name: str, quality: str, keep_source: bool, setup: EngineSetup | None = None) -> None:
    """Refuse what an engine does not know, or what cannot be combined, before any work is done.

    Args:
        name: of the engine.
        quality: one of its `qualities`; empty: its default.
        keep_source: asked to keep what was seen.
        setup: how it is to be run.

    Raises:
        InputError: there is no such engine, or it does not know that.
    """
    facts = engine_facts(name)
    if quality and quality not in facts.qualities:
        known = f"choose one of {', '.join(facts.qualities)}" if facts.qualities else "leave it out"
        raise InputError(f"The engine {name} has no quality {quality!r}: {known}.")
    if keep_source and not facts.keeps_source:
        raise InputError(f"The engine {name} cannot be asked to keep the source: leave that out.")
    if setup is None or setup == EngineSetup():
        return
    from ex4d_core.generate.attention import require_known
    from ex4d_core.generate.ladder import RUNGS
    from ex4d_core.generate.profiles import check_plan, profile

    if not facts.reads_setup:
        given = [field.name for field in fields(setup) if getattr(setup, field.name) != field.default]
        raise InputError(f"The engine {name} has no use for {' and '.join(given)}: leave that out.")
    if setup.model_dir is not None and not os.path.exists(setup.model_dir):  # false for impossible names, too
        raise InputError(f"There is no folder {setup.model_dir} with models: check the name.")
    if setup.attention:
        require_known(setup.attention)
    if setup.memory and setup.memory not in RUNGS:
        raise InputError(f"There is no way {setup.memory!r} to use the memory: choose one of {', '.join(RUNGS)}.")
    chosen = profile(name, quality, setup)
    if setup.memory in RUNGS:
        check_plan(chosen, setup.memory, compiled=False)


def engine_class(name: str) -> tuple[str, str, bool]:
    """Module and name of the class of an engine, or of its loader, and whether it is one.

    Raises:
        InputError: there is no engine of that name.
    """
    entry = _entry(name)
    return entry.module, entry.kind, entry.diffusion


def _entry(name: str) -> _Entry:
    if name not in _ENGINES:
        raise InputError(f"There is no engine {name!r}: choose one of {', '.join(_ENGINES)}.")
    return _ENGINES[name]

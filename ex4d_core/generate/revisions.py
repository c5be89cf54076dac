"""Which weights an engine would load: recorded with a shot, and compared before one is made again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from ex4d_core.engines import EngineSetup, engine_facts, missing
from ex4d_core.errors import InputError
from ex4d_core.generate.fingerprint import fingerprint
from ex4d_core.generate.profiles import profile
from ex4d_core.model_files import ModelFiles, find_files

_NO_PART = ("preview_decoder",)
"""Files that change nothing in the result."""


def model_files(engine: str, setup: EngineSetup) -> ModelFiles:
    """The files of an engine's models: in the user's folder where one is given, else what `ex4d models` has.

    Raises:
        InputError: the folder lacks a file.
        MissingDependencyError: a model is not on this machine.
    """
    from ex4d_core.models import require

    folders = require(engine) if setup.model_dir is None else [setup.model_dir]
    return find_files(engine, folders, setup.memory)


def model_revisions(engine: str, quality: str, setup: EngineSetup) -> dict[str, str]:
    """What the weights are that an engine would load, wherever they lie.

    Args:
        engine: its name.
        quality: one of its qualities; empty: its default.
        setup: where the models are.

    Returns:
        Component (a field of `ModelFiles`) -> fingerprint; empty for an engine without models, or whose models are
        not there.

    Raises:
        InputError: a folder lacks a file, or one cannot be read.
    """
    if not engine_facts(engine).reads_setup or missing(engine, setup):
        return {}
    files = model_files(engine, setup)
    unused = _NO_PART if profile(engine, quality, setup).distilled else (*_NO_PART, "distilled")
    found: dict[str, str] = {}
    for field in fields(files):
        path: Path | None = getattr(files, field.name)
        if path is not None and field.name not in unused:
            try:
                found[field.name] = fingerprint(path, *_settings(field.name, path))
            except OSError as error:
                raise InputError(f"Cannot read {path} ({error.strerror}): check its permissions.") from error
    return found


def _settings(name: str, path: Path) -> list[Path]:
    """The file beside EX-4D's checkpoint that `checkpoint.read_checkpoint` takes the LoRA's weight from."""
    beside = path.with_suffix(".json")
    return [beside] if name == "adapter" and beside.is_file() else []


def differing(recorded: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Components of which both are known and are not the same: text encoders may come and go, for prompts are kept."""
    return sorted(name for name in recorded.keys() & found.keys() if recorded[name] != found[name])


def require_same(recorded: Mapping[str, str], found: Mapping[str, str], source: Path) -> None:
    """Refuse to make a shot again with other weights than it was made with.

    Args:
        recorded: of the shot that is to be made again.
        found: of the engine that would make it.
        source: the shot's document.

    Raises:
        InputError: they differ.
    """
    if names := differing(recorded, found):
        name = names[0]
        raise InputError(
            f"{source} was made with another {name.replace('_', ' ')} ({recorded[name]}) than the one found here "
            f"({found[name]}): give the folder that has it with --model-dir, or leave out --from."
        )

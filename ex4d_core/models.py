"""The weights that engines load, as they are on this machine: which are whole, and what is said of those that are not.

Told without torch and without huggingface_hub; `model_download` fetches, `model_check` verifies and removes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ex4d_core.errors import InputError, MissingDependencyError
from ex4d_core.model_catalogue import CATALOGUE, Model, known_model
from ex4d_core.model_store import Record, is_downloading, places, read_record, repository, snapshot
from ex4d_core.weight_headers import shards

__all__ = [
    "CATALOGUE",
    "Model",
    "State",
    "absence",
    "absences",
    "bytes_left",
    "environment_left",
    "folders",
    "gigabytes",
    "known_model",
    "location",
    "needed",
    "require",
    "revision_of",
    "state",
    "text_encoder_download",
]

State = Literal["absent", "downloading", "incomplete", "ready"]


def needed(engine: str) -> tuple[Model, ...]:
    """The models that an engine cannot do without; of those that take each other's place, one that is ready or else
    the default."""
    of_engine = [model for model in CATALOGUE if engine in model.engines and not model.optional]
    parts = list(dict.fromkeys(model.part for model in of_engine))
    alternatives = [[model for model in of_engine if model.part == part] for part in parts]
    return tuple(next((m for m in same if state(m) == "ready"), same[0]) for same in alternatives)


def folders(engine: str) -> list[Path]:
    """Where the models of an engine lie that are ready, each folder once; see `model_files.find_files`."""
    found = [location(model) for model in CATALOGUE if engine in model.engines]
    return list(dict.fromkeys(folder for folder in found if folder is not None))


def require(engine: str) -> list[Path]:
    """As `folders`, of an engine that can run.

    Raises:
        MissingDependencyError: a model that it needs is not there; the sentence names the command and the gigabytes.
    """
    lacking = [model for model in needed(engine) if state(model) != "ready"]
    if len(lacking) == 1:
        raise MissingDependencyError(absence(lacking[0]))
    if lacking:
        accept = "" if all(model.commercial for model in lacking) else " --accept"
        raise MissingDependencyError(
            f"{len(lacking)} models of the engine {engine} are not on this machine: run `ex4d models download {engine}"
            f"{accept}` ({gigabytes(sum(model.bytes for model in lacking))})."
        )
    return folders(engine)


def absences(engine: str) -> tuple[str, ...]:
    """What an engine lacks of its models, a sentence each."""
    return tuple(absence(model) for model in needed(engine) if state(model) != "ready")


def absence(model: Model) -> str:
    """What to say where a model is not there."""
    return f"The model {model.name} is not on this machine: run {_command(model)}."


def text_encoder_download(engine: str) -> str:
    """The command that brings the text encoder of an engine, with the gigabytes."""
    return _command(next(model for model in CATALOGUE if engine in model.engines and model.part == "base"))


def state(model: Model, folder: Path | None = None) -> State:
    """How much of a model is on this machine.

    Args:
        model: one of the catalogue.
        folder: look only there; default: in all `places`.
    """
    if location(model, folder) is not None:
        return "incomplete" if environment_left(model) else "ready"
    if is_downloading(model.name):
        return "downloading"
    return "incomplete" if any(_begun(model, cache) for cache in places(model.name, folder)) else "absent"


def location(model: Model, folder: Path | None = None) -> Path | None:
    """The folder that holds all files of a model; None where there is none.

    Args:
        model: one of the catalogue.
        folder: look only there; default: in all `places`.
    """
    record = read_record(model.name)
    for cache in places(model.name, folder):
        found = snapshot(cache, model.hub_id, revision_of(model))
        if found is not None and _is_whole(model, found, record):
            return found
    return None


def environment_left(model: Model) -> int:
    """What the Python that a model needs would still take on disk, an estimate; 0 where it needs none, or has it."""
    if not model.environment:
        return 0
    from ex4d_core.depth.model_environment import environment_bytes

    return environment_bytes(model.environment)


def bytes_left(model: Model) -> int:
    """What a download of a model would still bring, and take on disk; an estimate before it has begun."""
    environment = environment_left(model)
    if location(model) is not None:
        return environment
    record, folder = read_record(model.name), repository(places(model.name)[0], model.hub_id)
    if record is None or not record.files:
        return model.bytes + environment
    here = 0
    for path, facts in record.files.items():
        blob = folder / "blobs" / facts.blob
        found = (folder / "snapshots" / record.revision / path, blob, blob.with_name(f"{blob.name}.incomplete"))
        here += next((size for file in found if (size := _size(file)) >= 0), 0)
    return max(sum(facts.bytes for facts in record.files.values()) - here, 0) + environment


def revision_of(model: Model) -> str:
    """The commit that a model is kept to; empty before the first download of one without a pinned commit."""
    record = read_record(model.name)
    return model.revision or (record.revision if record is not None else "")


def gigabytes(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 2e8 else f"{size / 1e6:.1f} MB"


def _command(model: Model) -> str:
    accept = "" if model.commercial else " --accept"
    return f"`ex4d models download {model.name}{accept}` ({gigabytes(model.bytes)})"


def _is_whole(model: Model, folder: Path, record: Record | None) -> bool:
    if record is not None and record.files and record.revision == folder.name:
        return all(_size(folder / path) == facts.bytes for path, facts in record.files.items())
    # Somebody else's download: nobody told us its files, but a list of shards names the large ones.
    for pattern in model.patterns:
        if not any(_size(path) >= 0 for path in folder.glob(pattern)):
            return False
    return all(_size(index.parent / shard) >= 0 for index in _indices(model, folder) for shard in _shards(index))


def _begun(model: Model, cache: Path) -> bool:
    """Whether a cache holds some of a model."""
    record = read_record(model.name)
    found = snapshot(cache, model.hub_id, revision_of(model))
    if found is not None and any(_size(path) >= 0 for pattern in model.patterns for path in found.glob(pattern)):
        return True
    blobs = repository(cache, model.hub_id) / "blobs"
    return record is not None and any(any(blobs.glob(f"{facts.blob}*")) for facts in record.files.values())


def _indices(model: Model, folder: Path) -> list[Path]:
    found = folder.rglob("*.safetensors.index.json")
    return [path for path in found if model.holds(path.relative_to(folder).as_posix())]


def _shards(index: Path) -> tuple[str, ...]:
    try:
        return shards(index)
    except InputError:
        return ("unreadable list of shards",)  # a file that is not there


def _size(path: Path) -> int:
    """Of a file or what a link leads to; -1 where there is none."""
    try:
        return path.stat().st_size if path.is_file() else -1
    except OSError:
        return -1

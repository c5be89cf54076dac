"""`shot.json`: what was asked for, and what came out (DESIGN section 3).

The renderer writes the document, an engine reads it and adds its results. Fields that this version does not
know are kept, so that an older tool does not lose what a newer one wrote.
"""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator

from ex4d_core.errors import InputError
from ex4d_core.files import atomic_file

SHOT_FILE = "shot.json"
TRAJECTORY_FILE = "trajectory.json"
COLOR_FILE = "color.mp4"
MASK_FILE = "mask.mp4"
PASS_PATTERNS = {"depth": "depth/%06d.exr", "risk": "risk/%06d.png", "risk-exr": "risk-exr/%06d.exr"}
"""Name of a pass -> its files; the folder is called like the pass."""

_MODEL = ConfigDict(extra="allow", frozen=True, populate_by_name=True)


class SceneReference(BaseModel):
    """Which scene a shot shows."""

    model_config = _MODEL
    path: str
    """The scene folder, relative to the shot folder, with forward slashes."""
    content_hash: str

    @field_validator("path")
    @classmethod
    def _relative(cls, path: str) -> str:
        if path.startswith(("/", "\\")) or path[1:2] == ":":
            raise ValueError("must be relative to the shot folder")
        return path


class ShotRequest(BaseModel):
    """What a job's body is: how the shot was asked for."""

    model_config = _MODEL
    engine: str | None = None
    """Name of the engine; None while only conditioning is rendered."""
    method: str = "dwmesh"
    """Mesh method, see `ex4d_core.methods`."""
    size: tuple[int, int] | None = None
    """Width and height, pixels."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    prompt: str | None = None
    quality: str | None = None
    """Name of the engine's quality; empty: its default."""
    keep_source: bool | None = None
    memory: str | None = None
    """Of `engines.EngineSetup`, likewise the next three; empty or 0: chosen by the engine, see `ShotResult.engine`."""
    attention: str | None = None
    cache: str | None = None
    steps: int | None = None
    models: dict[str, str] | None = None
    """Fingerprints of the weights (see `generate.revisions`), wherever they lie: paths of one machine say nothing on
    another, and are nobody's business."""
    trajectory: str = TRAJECTORY_FILE
    """File name inside the shot folder."""
    background: bool = True
    passes: tuple[str, ...] = ()


class ShotResult(BaseModel):
    """How it was made."""

    model_config = _MODEL
    engine: dict[str, JsonValue] = {}
    """What the engine chose and did (`Engine.settings`)."""
    versions: dict[str, str] = {}
    """Library name -> version."""
    timings: dict[str, float] = {}
    """Stage -> seconds."""
    machine: dict[str, str | int] = {}
    warnings: tuple[str, ...] = ()


class ShotFrame(BaseModel):
    """Facts of one frame."""

    model_config = _MODEL
    unseen: Annotated[float, Field(ge=0, le=1)]
    """Share of pixels that the source never saw, at no time."""
    seen_at_another_time: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of pixels that show the persistent background."""
    stretched: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of the seen pixels for which the source has less than half a pixel in the direction that is stretched most;
    None: not measured, only passes of risk do."""
    resolution: dict[int, Annotated[float, Field(ge=0)]] | None = None
    """Percentile -> source pixels per pixel, in that direction, that so many percent of the seen pixels stay below;
    empty where nothing is seen. None: not measured."""


class ShotDocument(BaseModel):
    """`shot.json`."""

    model_config = _MODEL
    schema_: Literal["ex4d.shot/1"] = Field(default="ex4d.shot/1", alias="schema")
    scene: SceneReference | None = None
    """None for conditioning that was made elsewhere."""
    request: ShotRequest
    result: ShotResult
    frames: tuple[ShotFrame, ...]


def read_shot(folder: Path) -> ShotDocument:
    """Read and validate a shot folder's `shot.json`.

    Raises:
        InputError: the file is missing, damaged, or not a shot.
    """
    path = folder / SHOT_FILE
    try:
        return ShotDocument.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(
            f"{folder} is not a shot folder, it has no {SHOT_FILE}: make one with `ex4d render`."
        ) from error
    except OSError as error:
        raise InputError(f"Cannot read {path} ({error.strerror}): check its permissions.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(f"{path} is not a shot: {where}: {first['msg'].lower()}: render the shot again.") from error


def write_shot(folder: Path, document: ShotDocument) -> None:
    """Write `shot.json` into a shot folder, replacing an older one in one step.

    Raises:
        OutputError: the file cannot be written.
    """
    text = json.dumps(document.model_dump(mode="json", by_alias=True), indent=1, ensure_ascii=False)
    with atomic_file(folder / SHOT_FILE) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8", newline="\n")


def relative_path(target: Path, folder: Path) -> str:
    """`target` as seen from `folder`, with forward slashes; only its name where no relative path exists."""
    try:
        return Path(os.path.relpath(target.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive on Windows: the content hash still identifies the scene
        return target.name


def library_versions(*names: str) -> dict[str, str]:
    """Installed versions of distributions, for `ShotResult.versions`; those not installed are left out."""
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine_facts() -> dict[str, Any]:
    """What a result's timings were measured on, for `ShotResult.machine`."""
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "cores": os.cpu_count() or 1,
    }

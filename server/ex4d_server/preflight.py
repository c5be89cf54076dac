"""Whether a stage fits this machine, said before the work starts, with numbers and with what would fit."""

from __future__ import annotations

import shutil
from pathlib import Path

from pydantic import BaseModel

from ex4d_core.engines import EngineSetup, check_request, engine_names, engine_needs, missing
from ex4d_core.errors import Ex4dError
from ex4d_core.footprint import generate_bytes, render_bytes, scratch_bytes
from ex4d_core.scene_format import SCENE_FILE
from ex4d_server.cache import Cache
from ex4d_server.documents import GenerateJob, ImportJob, ModelsJob, RenderJob, ReshootJob, Shortage, canonical
from ex4d_server.folders import DataFolder
from ex4d_server.models import model_shortages
from ex4d_server.results import read_scene_document
from ex4d_server.setups import setup_of
from ex4d_server.store import Store

DISK_MARGIN = 128 * 2**20
"""Disk that is left alone, bytes."""


def preflight(request: BaseModel, store: Store, cache: Cache) -> list[Shortage]:
    """What a job would lack, as far as it is known before the work starts.

    Raises:
        InputError: there is no such engine, or it does not know what it is asked for.
        RequestError: there is no such model, or its licence was not accepted.
    """
    if isinstance(request, ModelsJob):
        return model_shortages(request)
    folder, evictable = cache.folder, cache.evictable_bytes()
    size = _shot_size(request, store, folder)
    found: list[Shortage | None] = []
    if isinstance(request, GenerateJob | ReshootJob):
        setup = setup_of(canonical(request))
        check_request(request.engine, request.quality, request.keep_source, setup)
        found += engine_shortages(request.engine, *(size or (0, 0, 0)), setup)
        if size is not None:
            needed = generate_bytes(*size, exr=request.exr) + scratch_bytes(*size)
            found.append(disk_shortage(folder.root, needed, "The shot", evictable))
    if isinstance(request, RenderJob | ReshootJob) and size is not None:
        found.append(disk_shortage(folder.root, render_bytes(*size, request.passes), "The render", evictable))
    if isinstance(request, ImportJob | ReshootJob):
        found.append(disk_shortage(folder.root, 0, "Any scene", evictable))
    return [shortage for shortage in found if shortage is not None]


def _shot_size(request: BaseModel, store: Store, folder: DataFolder) -> tuple[int, int, int] | None:
    """Width, height and frames of the shot, where they are known."""
    if isinstance(request, RenderJob | ReshootJob) and request.trajectory is not None:
        return request.trajectory.width, request.trajectory.height, len(request.trajectory.frames)
    if isinstance(request, GenerateJob):
        row = store.job(request.shot)
        if row is not None and row["result"] is not None and row["result"]["kind"] == "shot":
            return row["result"]["width"], row["result"]["height"], row["result"]["frames"]
    if isinstance(request, ReshootJob) and request.footage is None and request.scene is not None:
        key = store.scene_key(request.scene)
        path = None if key is None else folder.entry("scene", key)
        if path is not None and (path / SCENE_FILE).is_file():
            document = read_scene_document(path)
            assert request.move is not None
            return document["width"], document["height"], request.move.frames or document["frames"]
    return None


class DoesNotFit(Ex4dError):
    """This machine lacks something that the job needs."""

    code = "does-not-fit"


def disk_shortage(folder: Path, needed: int, what: str, evictable: int = 0) -> Shortage | None:
    """Whether the disk of the data folder has room for a result.

    Args:
        folder: the data folder.
        needed: bytes.
        what: the result, for people.
        evictable: bytes that finished stages take which nothing needs: they would go for it.
    """
    free = shutil.disk_usage(folder).free + evictable
    if needed + DISK_MARGIN <= free:
        return None
    choices = ["free some space there", "delete old jobs, then run `ex4d cache prune`", "choose a smaller size"]
    left = max(free - DISK_MARGIN, 0)
    return Shortage(
        what="disk",
        needed_bytes=needed,
        free_bytes=free,
        message=f"{what} needs {_gb(needed)} of disk and {_gb(left)} are free: {' or '.join(choices)}.",
        choices=choices,
    )


def engine_shortages(
    engine: str, width: int, height: int, frames: int, setup: EngineSetup | None = None
) -> list[Shortage]:
    """What an engine lacks on this machine for a shot of that size.

    Args:
        engine: its name.
        width: of the shot, pixels; 0 where it is not known, likewise the next two.
        height: see `width`.
        frames: see `width`.
        setup: how the engine is to be run.

    Raises:
        InputError: there is no such engine.
    """
    from ex4d_core.devices import gpus

    found: list[Shortage] = []
    others = [e for e in engine_names() if e != engine and not missing(e)]
    choices = [f"the {other} engine" for other in others]
    for sentence in missing(engine, setup):
        found.append(Shortage(what="engine", needed_bytes=None, free_bytes=None, message=sentence, choices=choices))
    needs = engine_needs(engine, width, height, frames, setup)
    if needs.vram_bytes:
        free = max((gpu.free_bytes for gpu in gpus()), default=0)
        if needs.vram_bytes > free:
            fitting = [f"the {o} engine" for o in others if engine_needs(o, width, height, frames).vram_bytes <= free]
            fitting.append("a smaller size or fewer frames")
            found.append(_short("vram", engine, "GPU memory", needs.vram_bytes, free, fitting))
    available = _available_ram()
    if available is not None and needs.ram_bytes > available:
        choices = ["a smaller size or fewer frames", "close other programs"]
        found.append(_short("ram", engine, "memory", needs.ram_bytes, available, choices))
    return found


def _short(what: str, engine: str, kind: str, needed: int, free: int, choices: list[str]) -> Shortage:
    return Shortage(
        what=what,  # type: ignore[arg-type]  # one of the two
        needed_bytes=needed,
        free_bytes=free,
        message=f"The {engine} engine needs {_gb(needed)} of {kind} and {_gb(free)} are free: {' or '.join(choices)}.",
        choices=choices,
    )


def _available_ram() -> int | None:
    import psutil

    return psutil.virtual_memory().available


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 5e7 else f"{size / 1e6:.1f} MB"

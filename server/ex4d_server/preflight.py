"""Whether a stage fits this machine, said before the work starts, with numbers and with what would fit."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from ex4d_core.engines import (
    EngineSetup,
    Needs,
    check_request,
    engine_facts,
    engine_names,
    engine_needs,
    missing,
    quality_models,
)
from ex4d_core.errors import Ex4dError
from ex4d_core.files import cache_folder
from ex4d_core.footprint import generate_bytes, render_bytes, scratch_bytes
from ex4d_core.models import absence, known_model
from ex4d_core.scene_format import SCENE_FILE
from ex4d_server.cache import Cache
from ex4d_server.documents import GenerateJob, ImportJob, ModelsJob, RenderJob, ReshootJob, Shortage, canonical
from ex4d_server.estimators import estimator_shortages
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
        InputError: there is no such engine or depth estimator, or it does not know what it is asked for.
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
        found += engine_shortages(request.engine, *(size or (0, 0, 0)), setup, request.quality)
        if size is not None:
            needed = generate_bytes(*size, exr=request.exr) + scratch_bytes(*size)
            found.append(disk_shortage(folder.root, needed, "The shot", evictable))
    if isinstance(request, RenderJob | ReshootJob) and size is not None:
        found.append(disk_shortage(folder.root, render_bytes(*size, request.passes), "The render", evictable))
    if isinstance(request, ImportJob | ReshootJob) and request.footage is not None:
        found += estimator_shortages(canonical(request))
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
    engine: str, width: int, height: int, frames: int, setup: EngineSetup | None = None, quality: str = ""
) -> list[Shortage]:
    """What an engine lacks on this machine for a shot of that size.

    Args:
        engine: its name.
        width: of the shot, pixels; 0 where it is not known, likewise the next two.
        height: see `width`.
        frames: see `width`.
        setup: how the engine is to be run.
        quality: one of its qualities; empty: its default.

    Raises:
        InputError: there is no such engine, or it cannot be run like that.
    """
    setup, size = setup or EngineSetup(), (width, height, frames)
    lacks = list(missing(engine, setup, quality))
    if setup.model_dir is not None or not lacks:
        lacks += _faults_of_models(engine, setup, quality)
    others = [e for e in engine_names() if e != engine and not missing(e)]
    choices = [_named(other) for other in others]
    found = [
        Shortage(what="engine", needed_bytes=None, free_bytes=None, message=sentence, choices=choices)
        for sentence in lacks
    ]
    needs, free = engine_needs(engine, *size, setup, quality), _free(engine)
    short = _exceeded(needs, free)
    if not short and not needs.no_plan:
        return found
    choices = [_named(o) for o in others if _fits(engine_needs(o, *size), free)]
    if setup.memory and _fits(engine_needs(engine, *size, replace(setup, memory=""), quality), free):
        choices.append("leave out the rung of `memory`")
    choices.append("a smaller size or fewer frames")
    if "ram" in short:
        choices.append("close other programs")
    if needs.no_plan and width:  # one sentence for all that is short
        what: _What = next(iter(short)) if short else "vram"
        numbers = (needs.vram_bytes, free.vram_bytes) if what == "vram" else short[what]
        return [*found, _shortage(what, *numbers, needs.no_plan, choices)]
    for what, (needed, there) in short.items():
        message = f"The {engine} engine needs {_gb(needed)} of {_KINDS[what]} and {_gb(there)} are free"
        found.append(_shortage(what, needed, there, f"{message}: {' or '.join(choices)}.", choices))
    return found


_What = Literal["vram", "ram", "disk"]
_KINDS: dict[_What, str] = {"vram": "GPU memory", "ram": "memory", "disk": "disk for its weights"}


def _faults_of_models(engine: str, setup: EngineSetup, quality: str) -> list[str]:
    """What is wrong with the files that an engine would load."""
    if not engine_facts(engine).reads_setup:
        return []
    from ex4d_core.generate.revisions import model_files

    try:
        files = model_files(engine, setup)
    except Ex4dError as error:
        return [str(error)]
    absent = quality_models(engine, quality) if files.distilled is None else ()
    return [absence(known_model(name)) for name in absent]


def _named(engine: str) -> str:
    return f"the {engine} engine"


def _free(engine: str) -> Needs:
    """What this machine has."""
    import psutil

    from ex4d_core.devices import gpus

    if not engine_facts(engine).reads_setup:  # needs no GPU and no disk
        return Needs(0, psutil.virtual_memory().available)
    folder = cache_folder().absolute()
    disk = shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free
    return Needs(max((gpu.free_bytes for gpu in gpus()), default=0), psutil.virtual_memory().available, disk)


def _exceeded(needs: Needs, free: Needs) -> dict[_What, tuple[int, int]]:
    """Of what there is too little: bytes needed and free."""
    pairs: dict[_What, tuple[int, int]] = {
        "vram": (needs.vram_bytes, free.vram_bytes),
        "ram": (needs.ram_bytes, free.ram_bytes),
        "disk": (needs.disk_bytes, free.disk_bytes),
    }
    return {what: (needed, there) for what, (needed, there) in pairs.items() if needed > there}


def _fits(needs: Needs, free: Needs) -> bool:
    return not needs.no_plan and not _exceeded(needs, free)


def _shortage(what: _What, needed: int, free: int, message: str, choices: list[str]) -> Shortage:
    return Shortage(what=what, needed_bytes=needed, free_bytes=free, message=message, choices=choices)


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 5e7 else f"{size / 1e6:.1f} MB"

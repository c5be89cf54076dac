"""Health, capabilities, preflight, and what is done to the sidecar as a whole."""

from __future__ import annotations

import shutil

from fastapi import APIRouter

from ex4d_core.engines import engine_facts, engine_models, engine_names, missing, quality_models
from ex4d_core.methods import METHODS, PASSES
from ex4d_server import API_VERSION, __version__
from ex4d_server.documents import (
    Capabilities,
    Device,
    Disk,
    EngineStatus,
    GenerateJob,
    Health,
    JobRequest,
    Preflight,
    ReshootJob,
)
from ex4d_server.downloads import STAGE as DOWNLOAD_STAGE
from ex4d_server.estimators import estimators
from ex4d_server.models import known_models
from ex4d_server.preflight import preflight
from ex4d_server.routes.jobs import check_media
from ex4d_server.routes.shared import IsLocal, ThisSidecar, problems
from ex4d_server.sidecar import Sidecar
from ex4d_server.stages import JOB_STAGES
from ex4d_server.uploads import PIECE_BYTES

router = APIRouter(tags=["sidecar"])


@router.get("/health", openapi_extra={"security": []}, responses=problems())
def get_health(sidecar: ThisSidecar) -> Health:
    """Whether the sidecar can work. Needs no token."""
    return sidecar.health()


@router.get("/capabilities", responses=problems())
def get_capabilities(sidecar: ThisSidecar) -> Capabilities:
    """What this sidecar can do on this machine."""
    engines: list[EngineStatus] = []
    for name in engine_names():
        facts, lacks = engine_facts(name), list(missing(name))
        engines.append(
            EngineStatus(
                name=name,
                summary=facts.summary,
                licence=facts.licence,
                available=not lacks,
                missing=lacks,
                packages=list(facts.packages),
                models=list(engine_models(name)),
                quality_models={q: list(more) for q in facts.qualities if (more := quality_models(name, q))},
                qualities=list(facts.qualities),
                prompt=facts.reads_prompt,
                seed=facts.reads_seed,
                keep_source=facts.keeps_source,
                setup=facts.reads_setup,
            )
        )
    disk = Disk(
        free_bytes=shutil.disk_usage(sidecar.folder.root).free,
        cache_bytes=sidecar.cache.total_bytes(),
        cache_limit_bytes=sidecar.cache.limit_bytes,
    )
    return Capabilities(
        version=__version__,
        api=API_VERSION,
        job_kinds=[*JOB_STAGES, DOWNLOAD_STAGE],
        methods=list(METHODS),
        passes=list(PASSES),
        engines=engines,
        depth_estimators=estimators(),
        devices=_devices(sidecar),
        disk=disk,
        models=known_models(),
        upload_piece_bytes=PIECE_BYTES,
        upload_bytes=sidecar.settings.upload_bytes,
    )


@router.post("/preflight", responses=problems(403, 422))
def post_preflight(sidecar: ThisSidecar, is_local: IsLocal, body: JobRequest) -> Preflight:
    """Whether a job would fit this machine, and what would; nothing is started.

    Of a clip that was not imported yet nobody knows the size: then only the engine itself is looked at.
    """
    if isinstance(body, GenerateJob | ReshootJob):
        check_media(body.model_dir, is_local)
    shortages = preflight(body, sidecar.store, sidecar.cache)
    return Preflight(fits=not shortages, shortages=shortages)


@router.post("/unload", responses=problems())
def post_unload(sidecar: ThisSidecar) -> Health:
    """Give back the memory of loaded models, now or when the job that runs is finished."""
    sidecar.unload()
    return sidecar.health()


@router.post("/shutdown", status_code=202, responses=problems())
def post_shutdown(sidecar: ThisSidecar) -> Health:
    """End the sidecar; what runs goes on at its next start."""
    sidecar.asked_to_stop.set()
    return sidecar.health()


def _devices(sidecar: Sidecar) -> list[Device]:
    from ex4d_core.devices import gpus
    from ex4d_core.errors import MissingDependencyError

    try:
        memory = {f"gpu {gpu.index}: {gpu.name}": gpu for gpu in gpus()}
    except MissingDependencyError:
        memory = {}
    found: list[Device] = []
    for runner in sidecar.runners:
        gpu = memory.get(runner.settings.device)
        found.append(
            Device(
                name=runner.settings.device,
                total_bytes=gpu.total_bytes if gpu else None,
                free_bytes=gpu.free_bytes if gpu else None,
                worker=runner.state,
            )
        )
    return found

"""`ex4d doctor`."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import click

from ex4d_core import __version__
from ex4d_core.commands.console import Console, command
from ex4d_core.commands.doctor_engine import ShotSize, report
from ex4d_core.errors import InputError, MissingDependencyError

State = Literal["ok", "missing", "broken"]
_GPU_PACKAGES = ("torch", "diffusers", "peft", "transformers", "accelerate", "safetensors", "gguf", "huggingface_hub")
_NEEDED_DISK_GB = 2.0


@dataclass(frozen=True)
class Check:
    """One thing that this machine has or has not."""

    name: str
    state: State
    detail: str
    remedy: str = ""
    """What to do where the state is not ok."""
    needed: bool = True
    """Whether the light core needs it; what only heavier engines need is not."""


@command(
    "doctor",
    """
  ex4d doctor
  ex4d doctor --json
  ex4d doctor --engine ex4d --size 832x480x81
  ex4d doctor --engine ex4d --model-dir D:/ComfyUI
""",
)
@click.option("--engine", default="", metavar="E", help="How this engine would use the memory of this machine.")
@click.option(
    "--size",
    type=ShotSize(),
    help="With --engine: width, height and frames of a shot; default 832x480x81.",
)
@click.option(
    "--model-dir",
    type=click.Path(path_type=Path),
    help="With --engine: plan with your own files in this folder, of any known layout.",
)
def doctor_command(console: Console, engine: str, size: tuple[int, int, int] | None, model_dir: Path | None) -> int:
    """Say what this machine can run, and what to do about the rest.

    Exits with 1 if something is broken that every job needs, or if the engine of --engine fits in no way.
    """
    if engine:
        return report(console, engine, size or (832, 480, 81), model_dir)
    if size is not None or model_dir is not None:
        raise InputError("--size and --model-dir tell how an engine would be run: add --engine, or leave them out.")
    checks = [check() for check in CHECKS]
    marks = {"ok": "ok     ", "missing": "missing", "broken": "BROKEN "}
    lines = [f"ex4d {__version__}"]
    for check in checks:
        lines.append(f"{marks[check.state]}  {check.name}: {check.detail}")
        if check.remedy:
            lines.append(f"         -> {check.remedy}")
    healthy = not any(check.needed and check.state != "ok" for check in checks)
    console.result(
        {"version": __version__, "healthy": healthy, "checks": [asdict(c) for c in checks]}, "\n".join(lines)
    )
    return 0 if healthy else 1


def _machine() -> Check:
    detail = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        detail += f", {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GB memory"
    return Check("machine", "ok", detail)


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    detail = f"{free:.1f} GB free in this folder"
    if free < _NEEDED_DISK_GB:
        return Check("disk", "broken", detail, f"free at least {_NEEDED_DISK_GB:.0f} GB or work on another disk")
    return Check("disk", "ok", detail)


def _video() -> Check:
    import av
    from av.codec.codec import UnknownCodecError

    absent: list[str] = []
    for name in ("libx264rgb", "libx264", "aac"):
        try:
            av.Codec(name, "w")
        except UnknownCodecError:
            absent.append(name)
    if absent:
        return Check(
            "video",
            "broken",
            f"PyAV lacks {', '.join(absent)}",
            "reinstall it from PyPI: pip install --force-reinstall av",
        )
    return Check("video", "ok", f"PyAV {version('av')} with libx264rgb, libx264 and aac")


def _rasterizer() -> Check:
    import numpy as np

    from ex4d_core.camera import Camera, Intrinsics
    from ex4d_core.raster import choose, rasterize

    camera = Camera(np.eye(4), Intrinsics.from_focal_px(4, 4, 4))
    triangle = np.array([[-3, -3, 2], [9, -3, 2], [-3, 9, 2]], np.float32)
    try:
        choice = choose()
        raster = rasterize(triangle, np.array([[0, 1, 2]], np.int32), camera, backend=choice.backend)
    except (InputError, MissingDependencyError) as error:
        return Check("rasterizer", "broken", str(error).removesuffix(f": {error.remedy}"), error.remedy)
    name = f"{choice.backend} {version(choice.backend)}"
    if not (raster.face_id == 0).all():
        remedy = f"reinstall: pip install --force-reinstall {choice.backend}"
        return Check("rasterizer", "broken", f"a test triangle came out wrong with {name}", remedy)
    return Check("rasterizer", "ok", f"{name}: {choice.reason}")


def _gpu() -> Check:
    from ex4d_core.devices import gpus

    try:
        found = gpus()
    except MissingDependencyError as error:
        return Check("gpu", "broken", str(error).removesuffix(f": {error.remedy}"), error.remedy, needed=False)
    if not found:
        return Check(
            "gpu", "missing", "no NVIDIA driver", "all but large-model diffusion runs without one", needed=False
        )
    cards = [f"{g.name}, {g.total_bytes / 2**30:.0f} GB, {g.free_bytes / 2**30:.0f} GB free" for g in found]
    return Check("gpu", "ok", f"{'; '.join(cards)}; driver {found[0].driver}", needed=False)


def _gpu_packages() -> Check:
    absent = [name for name in _GPU_PACKAGES if find_spec(name) is None]
    if absent:
        remedy = (
            "for the diffusion engines: pip install torch (see pytorch.org for your card), "
            "then pip install .[gpu] in EX-4D's folder"
        )
        return Check("gpu packages", "missing", f"{', '.join(absent)} not installed", remedy, needed=False)
    return Check("gpu packages", "ok", ", ".join(f"{name} {version(name)}" for name in _GPU_PACKAGES), needed=False)


def _engines() -> Check:
    from ex4d_core.generate import engine_names

    return Check("engines", "ok", ", ".join(engine_names()))


def _estimators() -> Check:
    from ex4d_core.depth.registry import DEFAULTS, default_estimator, estimator_names, missing

    default = default_estimator()
    ready = [f"{name} (default)" if name == default else name for name in estimator_names() if not missing(name)]
    others = [name for name in estimator_names() if missing(name)]
    detail = f"{', '.join(ready)} ready; not yet: {', '.join(others)}"
    lacking = missing(DEFAULTS[0])
    remedy = f"for better depth: {InputError(lacking[0]).remedy.rstrip('.')}; see `ex4d depth list`" if lacking else ""
    return Check("depth estimators", "ok", detail, remedy)


CHECKS: tuple[Callable[[], Check], ...] = (
    _machine,
    _disk,
    _video,
    _rasterizer,
    _estimators,
    _engines,
    _gpu,
    _gpu_packages,
)

"""Python environments for models whose packages do not go with ours: made by `ex4d models download`, removed likewise.

An environment is a folder with a virtual environment of our own Python and `ready.json`, written last: without it, or
with that of another recipe, it is incomplete, and making it goes on from what pip has in its cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from ex4d_core.depth.worker import Process, log_file
from ex4d_core.errors import BusyError, Ex4dError, MissingDependencyError, SpaceError
from ex4d_core.files import atomic_file, explained
from ex4d_core.model_store import state_folder
from ex4d_core.models import gigabytes
from ex4d_core.progress import Cancelled, OnProgress

ENVIRONMENTS_VARIABLE = "EX4D_ENVIRONMENTS"
"""Environment variable: the folder for these environments."""
SOURCE_VARIABLE = "EX4D_DEPTH_ANYTHING_3"
"""Environment variable: a checkout, archive or mirror of Depth Anything 3 to install instead of GitHub's archive."""

_TORCH_INDEX = "https://download.pytorch.org/whl/"
_BEGUN, _READY = "begun", "ready.json"
_TELLING_PIP = "pip>=24.1"
"""The first that tells its progress to programs."""
_ANNOUNCED = re.compile(r"(Downloading|Installing|Building wheel)\W*([\w.-]*)")
"""What pip says of its steps."""

_GPU_BYTES = 5_500_000_000
"""What CUDA's or ROCm's libraries add to a torch; an estimate."""

State = Literal["absent", "incomplete", "ready"]


class ModelEnvironmentError(Ex4dError):
    """A Python environment for a model cannot be made."""

    code = "environment-failed"


@dataclass(frozen=True)
class Recipe:
    """What an environment is made of."""

    name: str
    packages: tuple[str, ...]
    """Requirements beside torch and torchvision."""
    source: str
    """What pip installs last, without its own dependencies."""
    module: str
    """Has to import in the end."""
    bytes: int
    """On disk with a CPU's torch; an estimate."""


# What inference imports, at versions that were tried together; the package also asks for xformers, open3d, moviepy 1,
# pycolmap, gradio's companions and pre-commit, which its exporters, viewer and benchmark need.
_DA3_COMMIT = "2c21ea849ceec7b469a3e62ea0c0e270afc3281a"
RECIPES = (
    Recipe(
        name="depth-anything-3",
        packages=(
            "numpy==2.4.6",  # the package asks for 1; inference gives the same bits with 2 (BSD-3)
            "opencv-python-headless==5.0.0.93",  # (Apache-2.0)
            "huggingface_hub==2.4.0",  # its loader of weights (Apache-2.0)
            "safetensors==0.8.0",  # (Apache-2.0)
            "omegaconf==2.4.0",  # its configuration (BSD-3)
            "addict==2.4.0",  # (MIT)
            "einops==0.8.2",  # (MIT)
            "imageio==2.38.1",  # (BSD-2)
            "easydict==1.14",  # Video Depth Anything's, which runs in this environment, too (LGPL-3)
            "tqdm==4.70.1",  # (MPL-2.0 and MIT)
            "pillow==13.0.0",  # (MIT-CMU)
        ),
        source=f"https://github.com/ByteDance-Seed/Depth-Anything-3/archive/{_DA3_COMMIT}.zip",
        module="depth_anything_3.model.da3",
        bytes=1_300_000_000,
    ),
)


def environment_folder(name: str) -> Path:
    """Where an environment lies, or will."""
    given = os.environ.get(ENVIRONMENTS_VARIABLE)
    return (Path(given) if given else state_folder().parent / "environments") / name


def environment_state(name: str) -> State:
    """How much of an environment is on this machine."""
    folder = environment_folder(name)
    if not os.path.isdir(folder):
        return "absent"
    try:
        made: dict[str, str] = json.loads((folder / _READY).read_text("utf-8"))
    except (OSError, ValueError):
        return "incomplete"
    whole = made.get("recipe") == _digest(_recipe(name)) and _python(folder).is_file()
    return "ready" if whole else "incomplete"


def has_environment(name: str) -> bool:
    """Whether an environment is whole."""
    return environment_state(name) == "ready"


def require_python(name: str) -> Path:
    """The interpreter of an environment.

    Raises:
        MissingDependencyError: it is not there; the sentence names the command.
    """
    if not has_environment(name):
        raise MissingDependencyError(
            f"{name} runs in a Python environment of its own, which is {environment_state(name)}: run "
            f"`ex4d models download {name}` (about {gigabytes(_size(_recipe(name)))} besides the weights)."
        )
    return _python(environment_folder(name))


def environment_bytes(name: str) -> int:
    """What an environment that is not ready will take on disk; an estimate."""
    return 0 if has_environment(name) else _size(_recipe(name))


def make_environment(name: str, on_progress: OnProgress, cancelled: Cancelled) -> Path:
    """Have an environment on disk; at once where it is ready.

    Args:
        name: of one of `RECIPES`.
        on_progress: told megabytes of each download of pip.
        cancelled: asked ten times a second; what is there stays for the next call.

    Returns:
        Its interpreter.

    Raises:
        ModelEnvironmentError: pip cannot make it; the sentence names the log.
        SpaceError: it does not fit on the disk.
        BusyError: another process makes it.
        OutputError: the folder cannot be written.
        CancelledError: `cancelled` said so.
    """
    recipe, folder = _recipe(name), environment_folder(name)
    if has_environment(name):
        return _python(folder)
    with explained(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    _check_space(recipe, folder)
    with _alone(name):
        python = _python(folder)
        (folder / _READY).unlink(missing_ok=True)
        on_progress(0, 1, f"making the Python environment of {name}")
        if not python.is_file() or not (folder / _BEGUN).is_file():  # none, of a Python that is gone, or half-made
            _run(name, "venv", [sys.executable, "-m", "venv", "--clear", folder], on_progress, cancelled)
            (folder / _BEGUN).touch()
        pip = [python, "-I", "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
        with suppress(ModelEnvironmentError):  # an index without it: then there is no progress within a file
            _run(name, "pip", [*pip, _TELLING_PIP], on_progress, cancelled)
            pip += ["--progress-bar", "raw"]
        _run(name, "torch", [*pip, *_torch()], on_progress, cancelled)
        _run(name, "packages", [*pip, *recipe.packages], on_progress, cancelled)
        # Its own list of dependencies and of Pythons is wider and narrower than what inference needs.
        source = os.environ.get(SOURCE_VARIABLE) or recipe.source
        alone = ["--no-deps", "--ignore-requires-python", "--force-reinstall", source]
        _run(name, "source", [*pip, *alone], on_progress, cancelled)
        _run(name, "import", [python, "-I", "-c", f"import torchvision, {recipe.module}"], on_progress, cancelled)
        with atomic_file(folder / _READY) as partial:
            partial.write_text(json.dumps({"recipe": _digest(recipe)} | asdict(recipe), indent=1) + "\n", "utf-8")
    return python


def remove_environment(name: str) -> int:
    """Remove an environment. Returns: bytes freed. Raises: BusyError, OutputError."""
    folder = environment_folder(name)
    if not os.path.isdir(folder):
        return 0
    with _alone(name), explained(folder):
        freed = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        (folder / _READY).unlink(missing_ok=True)
        shutil.rmtree(folder)
    return freed


def _recipe(name: str) -> Recipe:
    return next(recipe for recipe in RECIPES if recipe.name == name)


def _digest(recipe: Recipe) -> str:
    return hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode()).hexdigest()[:16]


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def _size(recipe: Recipe) -> int:
    """What an environment takes on disk, with a GPU's libraries where our torch has them; an estimate."""
    build = _torch_version().partition("+")[2]
    for_gpu = build.startswith(("cu", "rocm")) or (not build and sys.platform == "linux")  # PyPI's own for Linux
    return recipe.bytes + (_GPU_BYTES if for_gpu else 0)


def _torch_version() -> str:
    """Of the torch that is installed here; empty without."""
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return ""


def _torch() -> list[str]:
    """The torch that is installed here, which fits this machine's GPU and driver, and its torchvision."""
    if not _torch_version():
        return ["torch>=2.6", "torchvision"]
    number, _, build = _torch_version().partition("+")  # +cpu, +cu126, +rocm6.3: builds of PyTorch's own index
    index = ["--extra-index-url", f"{_TORCH_INDEX}{build}"] if build else []
    return [f"torch=={number}", "torchvision", *index]  # pip takes the torchvision that goes with it


def _check_space(recipe: Recipe, folder: Path) -> None:
    free, needed = shutil.disk_usage(folder.parent).free, _size(recipe)
    if free < needed:
        raise SpaceError(
            f"The Python environment of {recipe.name} needs {gigabytes(needed)} on the disk of {folder} and "
            f"{gigabytes(free)} are free: free some space, or name another folder with {ENVIRONMENTS_VARIABLE}."
        )


def _alone(name: str) -> FileLock:
    folder = environment_folder(name)
    with explained(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder.with_name(f"{name}.lock"), timeout=1)
        lock.acquire()
    except Timeout as error:
        raise BusyError(f"Another ex4d makes or removes the Python environment of {name}: wait for it.") from error
    return lock


def _run(name: str, step: str, command: Sequence[str | Path], on_progress: OnProgress, cancelled: Cancelled) -> None:
    """Run a step, its lines into the log, those of pip's downloads to `on_progress` as megabytes."""
    stage, last = f"making the Python environment of {name}", ""
    with Process(command, log_file(f"environment-{name}-{step}"), errors_apart=False) as process:
        for line in process.lines(cancelled):
            if progress := re.fullmatch(r"Progress (\d+) of (\d+)", line.strip()):
                done, total = (int(number) // 10**6 for number in progress.groups())
                on_progress(done, max(total, 1), f"{stage} (MB)")
                continue
            process.note(line)
            if found := _ANNOUNCED.match(line.strip()):
                stage = f"{found[1].lower()} {found[2]}"
            if line.strip() and not line.lower().startswith(("warning", "[notice]")):
                last = line.strip()
        if process.wait():
            raise ModelEnvironmentError(_sentence(name, last, process.log))


def _sentence(name: str, last: str, log: Path) -> str:
    again = "then run the same command again: it goes on where it stopped"
    what = f"The Python environment of {name} could not be made"
    if "ensurepip" in last or "venv" in last:
        return f"{what} ({last.rstrip('.')}): install Python's venv (on Debian python3-venv), {again}."
    if "torchvision::" in last:
        return (
            f"{what}, pip found a torchvision that does not go with torch (log: {log}): see that {_TORCH_INDEX} can be "
            f"reached, run `ex4d models remove {name}`, then download it again."
        )
    if "No space left" in last:
        return f"{what}, the disk is full: free some space, {again}."
    return f"{what} ({last.rstrip('.')}; log: {log}): check the network, pip's index and proxy, {again}."

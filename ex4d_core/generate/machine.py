"""What is free on this machine for a plan, told without torch: the server and `ex4d doctor` ask, too.

No CUDA context is made, and no memory taken.
"""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ex4d_core.devices import Gpu, gpus
from ex4d_core.errors import MissingDependencyError
from ex4d_core.files import cache_folder
from ex4d_core.generate.estimates import Machine

_AMD = Path("/sys/class/drm")


def this_machine(offload_folder: Path | None = None) -> Machine:
    """What is free now.

    Args:
        offload_folder: where weights may be kept on disk; None: in `files.cache_folder`.
    """
    import psutil

    folder = cache_folder() if offload_folder is None else offload_folder
    device, dtype, free, name = _device()
    return Machine(
        device=device,
        dtype=dtype,
        vram_bytes=free,
        ram_bytes=psutil.virtual_memory().available,
        disk_bytes=shutil.disk_usage(_existing(folder)).free,
        fp8=device != "mps",
        name=name,
        offload_folder=folder,
    )


def _device() -> tuple[str, str, int, str]:
    """Device and dtype of torch, free video memory, name; cpu where torch was installed without support for the GPU."""
    build = _torch_build()
    if "cpu" not in build:
        if "rocm" in build:
            if (amd := _amd_free()) > 0:
                return "cuda", "bfloat16", amd, "AMD GPU"
        elif (card := _visible()) is not None:
            return "cuda", "bfloat16", card.free_bytes, card.name
        if platform.system() == "Darwin" and platform.machine() == "arm64":
            return "mps", "bfloat16", 0, "Apple GPU"
    return "cpu", "float32", 0, ""


def _torch_build() -> str:
    """What stands behind the + of torch's version: cu130, rocm6.4, cpu; empty if it is not told or not installed."""
    try:
        return version("torch").partition("+")[2]
    except PackageNotFoundError:
        return ""


def _visible() -> Gpu | None:
    """The NVIDIA GPU that torch will call cuda:0."""
    try:
        found = gpus()
    except MissingDependencyError:
        return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return found[0] if found else None
    first = visible.split(",")[0].strip()
    return next((gpu for gpu in found if first in (str(gpu.index), gpu.uuid)), None)


def _amd_free() -> int:
    """Free memory of the largest AMD GPU, as its driver on Linux tells."""
    best = 0
    for card in _AMD.glob("card[0-9]*/device"):
        try:
            total = int((card / "mem_info_vram_total").read_text())
            used = int((card / "mem_info_vram_used").read_text())
        except (OSError, ValueError):
            continue
        best = max(best, total - used)
    return best


def _existing(folder: Path) -> Path:
    return folder if folder.exists() else _existing(folder.parent)


def with_torch(machine: Machine) -> Machine:
    """The same, as the torch that will compute sees it: whether it has the device, and which numbers that does well.

    Args:
        machine: from `this_machine`.
    """
    import torch

    from ex4d_core.generate.device import choose, probe

    found = choose(probe())
    free = machine.vram_bytes if found.name == machine.device else 0
    if found.name == "cuda" != machine.device:  # a GPU that NVML and sysfs do not show
        free = torch.cuda.mem_get_info()[0]
    return replace(machine, device=found.name, dtype=found.dtype, fp8=found.fp8, vram_bytes=free)

# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be installed, by platform and graphics card. Facts are in kinds.json, written by hand, and uv.json."""

import json
import platform
import sys
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WORDS = {
    "cpu": ("CPU", "Imports footage, renders and generates with the draft engine; no PyTorch"),
    "cuda-linux": ("NVIDIA", "Adds PyTorch with CUDA and what generating engines need"),
    "cuda-windows": ("NVIDIA", "Adds PyTorch with CUDA, from PyTorch's own index, and what generating engines need"),
    "rocm": ("AMD", "Adds PyTorch with ROCm, from PyTorch's own index, and what generating engines need"),
    "macos": ("Apple Silicon", "Adds PyTorch with Metal and what generating engines need"),
}
"""Name and description of each kind."""


@cache
def machine() -> str:
    """This platform, as kinds.json and uv.json name them, such as `linux-x86_64`."""
    system = {"linux": "linux", "win32": "windows", "darwin": "macos"}.get(sys.platform, sys.platform)
    processor = platform.machine().lower()
    return f"{system}-{ {'amd64': 'x86_64', 'aarch64': 'arm64'}.get(processor, processor) }"


@cache
def kinds() -> dict[str, dict[str, Any]]:
    """The kinds that this platform can have, by their keys."""
    found = json.loads((HERE / "kinds.json").read_text("utf-8"))
    return {key: kind for key, kind in found.items() if machine() in kind["platforms"]}


@cache
def gpu_kind() -> str:
    """The first kind with what models need; `cpu` where there is none."""
    return next((key for key, kind in kinds().items() if "gpu" in kind["extras"]), "cpu")


@cache
def uv() -> dict[str, str] | None:
    """Where uv's wheel for this platform is, and its SHA-256; None where there is none."""
    return json.loads((HERE / "uv.json").read_text("utf-8"))["wheels"].get(machine())


@cache
def kind_items() -> list[tuple[str, str, str]]:
    """The kinds as items of an enum."""
    return [(key, *WORDS[key]) for key in kinds()] or [("cpu", *WORDS["cpu"])]

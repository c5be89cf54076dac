"""The VRAM ladder: ways to fit a model into a machine, from the fastest to the smallest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Rung = Literal[
    "resident", "model-offload", "block-offload", "fp8", "gguf-q8", "gguf-q4", "leaf-offload", "disk-offload"
]


@dataclass(frozen=True)
class Plan:
    """How one engine is run on this machine."""

    rung: Rung
    device: str
    """Of torch: cuda (also ROCm), mps or cpu."""
    dtype: str
    """Of torch, of the transformer: bfloat16, float16 or float32."""
    tiled_vae: bool
    vram_bytes: int
    """Estimated peak."""
    ram_bytes: int
    disk_bytes: int = 0
    offload_folder: Path | None = None
    """Where the rung disk-offload keeps weights."""
    attention: str = "native"
    """Name of the attention backend in diffusers."""
    compiled: bool = False
    """Whether the blocks are compiled."""
    measured: bool = False
    """Whether the estimate of this rung was checked on a GPU."""

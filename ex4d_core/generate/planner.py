"""Which rung of the VRAM ladder fits: a pure function of a model's sizes, the video and the machine. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ex4d_core.generate.ladder import Plan, Rung

Stored = Literal["float", "gguf-q8", "gguf-q4"]
"""What the transformer's file holds: floats of any width, or GGUF."""


@dataclass(frozen=True)
class ComponentSizes:
    """What an engine's models weigh; parameters are counts, not bytes, unless the name says so."""

    dim: int
    """Width of the transformer's tokens."""
    ffn_dim: int
    blocks: int
    """Of the transformer, VACE's included."""
    block_parameters: int
    """Of the largest block."""
    blocks_parameters: int
    """Of all blocks."""
    outside_parameters: int
    """Of the transformer outside its blocks."""
    vae_parameters: int
    image_encoder_parameters: int = 0
    text_encoder_parameters: int = 0
    """Loaded for a prompt that is not stored yet, and freed before the rest is loaded."""
    geometry_parameters: int = 0
    lora_parameters: int = 0
    hints: int = 0
    """VACE's extra outputs that are kept until the blocks have used them, tokens x dim each."""
    transformers: int = 1
    """2: Wan2.2's pair, used one after the other."""
    stored: Stored = "float"
    bytes_per_parameter: float = 2.0
    """In the transformer's file, for GGUF."""


@dataclass(frozen=True)
class VideoSize:
    """What the model makes at once."""

    width: int
    """Pixels."""
    height: int
    frames: int

    @property
    def tokens(self) -> int:
        """Patches of 16x16 pixels and 4 frames."""
        return (self.width // 16) * (self.height // 16) * ((self.frames - 1) // 4 + 1)


@dataclass(frozen=True)
class Machine:
    """What a plan may use, free at the moment of asking."""

    device: str
    """Of torch: cuda (also ROCm), mps or cpu."""
    dtype: str
    """Of torch: what this device computes well: bfloat16, float16 or float32."""
    vram_bytes: int
    """Free memory of the GPU; 0 for mps and cpu, whose memory is `ram_bytes`."""
    ram_bytes: int
    disk_bytes: int
    """Free where weights may be offloaded to."""
    fp8: bool = True
    """Whether the device can hold 8-bit floats."""
    name: str = ""
    offload_folder: Path | None = None


def plan(sizes: ComponentSizes, size: VideoSize, machine: Machine, rung: str = "") -> Plan:
    """The highest rung that fits, or the one that is asked for.

    Raises:
        InputError: there is no such rung, or the model's file cannot be run on it.
        PlanError: nothing fits.
    """
    raise NotImplementedError


def below(sizes: ComponentSizes, size: VideoSize, machine: Machine, rung: Rung) -> Plan | None:
    """The next plan after `rung` ran out of memory; None from the last."""
    raise NotImplementedError

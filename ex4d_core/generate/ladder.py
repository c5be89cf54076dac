"""The VRAM ladder: ways to fit a model into a machine, from the fastest to the smallest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Rung = Literal[
    "resident",
    "model-offload",
    "gguf-q8",
    "gguf-q4",
    "block-offload",
    "fp8",
    "fp8-offload",
    "leaf-offload",
    "disk-offload",
]

Keeping = Literal["device", "turns", "blocks", "leaves", "disk"]
"""Where the weights of the transformer are while a step is computed: all on the device; all there, with the other
components taking turns; in RAM, one block ahead on the device; in RAM, one layer; on disk, one layer."""

Weights = Literal["full", "fp8", "gguf"]
"""How they are stored: in the compute type; the blocks' linear layers in 8 bits; quantized by whoever made the file."""


@dataclass(frozen=True)
class Step:
    """One rung: a single path, which works with LoRAs stacked on the model."""

    rung: Rung
    keeping: Keeping
    summary: str
    """For people, one line."""


LADDER: tuple[Step, ...] = (
    Step("resident", "device", "everything on the GPU in 16 bits, blocks compiled"),
    Step("model-offload", "turns", "16 bits; transformer, VAE and CLIP take turns on the GPU"),
    Step("gguf-q8", "turns", "a GGUF file of 8 bits on the GPU"),
    Step("gguf-q4", "turns", "a GGUF file of 4 to 6 bits on the GPU"),
    Step("block-offload", "blocks", "16 bits in RAM; each block is fetched while the one before it computes"),
    Step("fp8", "turns", "8-bit floats on the GPU, computed in 16 bits"),
    Step("fp8-offload", "blocks", "8-bit floats in RAM, fetched block by block"),
    Step("leaf-offload", "leaves", "16 bits in RAM, fetched layer by layer"),
    Step("disk-offload", "disk", "16 bits on disk, read layer by layer in every step: the slowest"),
)
"""From the fastest to the smallest. Weights of a GGUF file stay as they are on the rungs that fetch them."""

RUNGS: tuple[Rung, ...] = get_args(Rung)
_STEPS = {step.rung: step for step in LADDER}
_FP8: frozenset[Rung] = frozenset({"fp8", "fp8-offload"})
_GGUF: frozenset[Rung] = frozenset({"gguf-q8", "gguf-q4"})


def step(rung: Rung) -> Step:
    """What that rung is."""
    return _STEPS[rung]


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
    """Estimated peak of what torch reserves; the driver's own share is not in it."""
    ram_bytes: int
    disk_bytes: int = 0
    offload_folder: Path | None = None
    """Where the rung disk-offload keeps weights."""
    attention: str = "native"
    """One of `attention.BACKENDS`."""
    compiled: bool = False
    """Whether the blocks are compiled."""
    measured: bool = False
    """Whether the estimate of this rung was checked on a GPU."""

    @property
    def keeping(self) -> Keeping:
        """Where the transformer's weights are while it computes."""
        return _STEPS[self.rung].keeping

    @property
    def weights(self) -> Weights:
        """How the transformer's weights are stored, unless the file is GGUF: that stays what it is."""
        if self.rung in _FP8:
            return "fp8"
        return "gguf" if self.rung in _GGUF else "full"

    @property
    def mapped(self) -> bool:
        """Whether loaders leave the blocks' linear layers in their file's own type, mapped, not copied into RAM, so
        that `placement.place` can cast one after the other without the whole ever being in memory."""
        return self.weights == "fp8" or self.keeping == "disk"

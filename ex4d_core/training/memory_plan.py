"""What fits into a GPU while training: arithmetic on a model's sizes and the clips. No torch.

What a step holds beside weights was found by following every tensor of the trainer's own step, there and back, with
the model at its real dimensions on the meta device; `tests/core/training/test_train_memory.py` does it again. No GPU
has measured it yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

from ex4d_core.errors import MissingDependencyError
from ex4d_core.generate.estimates import VideoSize, vae_bytes
from ex4d_core.generate.planner import stored_for
from ex4d_core.generate.sizes import ComponentSizes

Base = Literal["whole", "fp8", "gguf-q8", "gguf-q4"]
"""How the frozen weights are kept; see `SUMMARIES`."""
SUMMARIES: dict[Base, str] = {
    "whole": "frozen weights in bfloat16",
    "fp8": "frozen weights in 8-bit floats, coarser by a few percent",
    "gguf-q8": "frozen weights from a GGUF file of 8 bits",
    "gguf-q4": "frozen weights from a GGUF file of 4 to 6 bits",
}
CARDS = (24, 48, 80)
"""GB of usual cards, for the table."""

_HALF, _FLOAT = 2, 4
_MOMENTS, _MOMENTS_8 = 8, 2
"""Bytes of AdamW's two moments, for each trained number."""

# A step in bfloat16 with a LoRA in float32, in tensors of tokens x dim (H), tokens x ffn_dim (F), both of 2 bytes, and
# 4 tokens x channels of the geometry encoder (E) of 4 bytes. One block is computed again and gone back through at a
# time, the others keep their input; without gradient checkpointing each keeps what it has computed.
_STEP_H, _STEP_F, _STEP_E = 43.9, 4.3, 4.6
_BLOCK_INPUT_H = 1.0
_BLOCK_KEPT_H, _BLOCK_KEPT_F = 33.4, 3.0
_LATENTS_OF_A_TOKEN = 4

_BLOCKS_FETCHED = 3
"""Of a sharded model: one computes, the next arrives, and what arrives is copied to its place."""
_ROUNDING = 1.08
_WORKSPACES = 250_000_000
_DRIVER = 700_000_000
"""As for generating: torch's allocator, cuBLAS and cuDNN, CUDA itself."""


@dataclass(frozen=True)
class Setup:
    """What of a training's settings decides about memory."""

    rank: int = 16
    hidden: int = 1024
    """Channels of the geometry encoder."""
    ema: bool = True
    eight_bit: bool = False
    checkpointing: bool = True
    """Of gradients."""
    base: Base = "whole"
    gpus: int = 1
    """That the model is sharded over."""


@dataclass(frozen=True)
class Estimate:
    """What a training takes of each GPU."""

    setup: Setup
    weights_bytes: int
    """Frozen."""
    trained_bytes: int
    """Trained numbers, gradients, moments, average."""
    step_bytes: int
    """What a step holds beside these."""

    @property
    def vram_bytes(self) -> int:
        """All of it, with what torch's allocator and CUDA's libraries take."""
        held = self.weights_bytes + self.trained_bytes + self.step_bytes
        return int(held * _ROUNDING) + _WORKSPACES

    def fits(self, vram_bytes: float) -> bool:
        """Whether a GPU with so much free memory is enough."""
        return self.vram_bytes + _DRIVER <= vram_bytes


def estimate(sizes: ComponentSizes, size: VideoSize, setup: Setup) -> Estimate:
    """What a training takes.

    Args:
        sizes: of the transformer, in whatever file.
        size: of the clips.
        setup: of the training.
    """
    sizes, trained = stored_for(sizes, setup.base), trained_parameters(sizes, setup)
    block, outside = _HALF * sizes.block_parameters, _HALF * sizes.outside_parameters
    numbers = trained * (2 * _FLOAT + (_MOMENTS_8 if setup.eight_bit else _MOMENTS) + (_FLOAT if setup.ema else 0))
    if setup.base == "whole":
        weights = _HALF * sizes.blocks_parameters + outside
    else:
        width = 1 if setup.base == "fp8" else sizes.bytes_per_parameter
        weights = int(width * sizes.blocks_parameters) + outside + block  # a block's weights are widened to go back
    if setup.gpus > 1:
        weights = weights // setup.gpus + _BLOCKS_FETCHED * block + outside
        numbers = numbers // setup.gpus
    showing = vae_bytes(size, tiled=False)[1] + _FLOAT * sizes.vae_parameters
    return Estimate(setup, weights, numbers, max(step_bytes(sizes, size, setup), showing))


def step_bytes(sizes: ComponentSizes, size: VideoSize, setup: Setup) -> int:
    """The most that one sample holds, there and back, beside weights and gradients.

    Args:
        sizes: of the transformer.
        size: of the clips.
        setup: of the training.
    """
    hidden, inner = _HALF * size.tokens * sizes.dim, _HALF * size.tokens * sizes.ffn_dim
    geometry = _FLOAT * _LATENTS_OF_A_TOKEN * size.tokens * setup.hidden
    if setup.checkpointing:
        kept = sizes.blocks * _BLOCK_INPUT_H * hidden
    else:
        kept = (sizes.blocks - 1) * (_BLOCK_KEPT_H * hidden + _BLOCK_KEPT_F * inner)
    return int(_STEP_H * hidden + _STEP_F * inner + _STEP_E * geometry + kept)


def trained_parameters(sizes: ComponentSizes, setup: Setup) -> int:
    """How many numbers are trained: a LoRA on ten layers of each block, and the geometry encoder."""
    dim, ffn, hidden = sizes.dim, sizes.ffn_dim, setup.hidden
    lora = sizes.blocks * setup.rank * (8 * 2 * dim + 2 * (dim + ffn))
    convolutions = (32 * hidden + hidden) + 2 * (hidden * hidden + hidden)
    return lora + convolutions + 4 * hidden * dim + dim


def ways(setup: Setup) -> Iterator[Setup]:
    """All ways to keep the frozen weights, from the most exact; sharded models are kept whole."""
    for base in get_args(Base):
        if base == "whole" or setup.gpus == 1:
            yield replace(setup, base=base)


def require_room(sizes: ComponentSizes, size: VideoSize, setup: Setup, vram_bytes: int) -> Estimate:
    """Refuse before anything is loaded what would run out of memory in the first step.

    Args:
        sizes: of the transformer.
        size: of the largest clips.
        setup: of the training.
        vram_bytes: free on each GPU.

    Raises:
        MissingDependencyError: it does not fit; the sentence says what would.
    """
    asked = estimate(sizes, size, setup)
    if asked.fits(vram_bytes):
        return asked
    needed, free = (asked.vram_bytes + _DRIVER) / 1e9, vram_bytes / 1e9
    raise MissingDependencyError(
        f"Training on clips of {size.width}x{size.height}x{size.frames} takes {needed:.1f} GB of video memory on each"
        f" GPU, and {free:.1f} GB are free: {_remedy(sizes, size, setup, vram_bytes)}."
    )


def _remedy(sizes: ComponentSizes, size: VideoSize, setup: Setup, vram_bytes: int) -> str:
    """The first change that is enough, or several."""
    if not setup.checkpointing:
        with_it = replace(setup, checkpointing=True)
        if estimate(sizes, size, with_it).fits(vram_bytes):
            return "set gradient_checkpointing to true"
        setup = with_it
    if setup.gpus == 1:
        for way in ways(setup):
            if estimate(sizes, size, way).fits(vram_bytes):
                return f'set base to "{way.base}"'
    for gpus in (2, 4, 8):
        if gpus > setup.gpus and estimate(sizes, size, replace(setup, base="whole", gpus=gpus)).fits(vram_bytes):
            return f"shard it over {gpus} such GPUs with sharded = true and torchrun"
    if (found := largest_clips(sizes, setup, vram_bytes)) is not None:
        largest, way = found
        kept = f' with base = "{way.base}"' if way.base != setup.base else ""
        return f"prepare clips of {largest.width}x{largest.height}x{largest.frames} or less{kept}"
    return "use a larger GPU"


def largest_clips(sizes: ComponentSizes, setup: Setup, vram_bytes: float) -> tuple[VideoSize, Setup] | None:
    """The largest of the usual sizes that fits, and the way in which it does; None where none does."""
    tried = ((size, way) for size in SIZES for way in ways(setup))
    return next(((size, way) for size, way in tried if estimate(sizes, size, way).fits(vram_bytes)), None)


SIZES = tuple(
    sorted(
        (
            VideoSize(width, height, frames)
            for width, height in ((832, 480), (512, 512), (512, 320), (384, 256), (256, 256))
            for frames in (81, 49, 33, 17)
        ),
        key=lambda size: -size.tokens,
    )
)
"""Usual ones, the largest first."""

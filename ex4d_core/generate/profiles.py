"""The quality ladder: named profiles of the diffusion engines, and what may be combined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Cache = Literal["none", "first-block", "taylorseer"]


@dataclass(frozen=True)
class Profile:
    """How a video is denoised."""

    name: str
    steps: int
    guidance: float
    """Scale of classifier-free guidance; 1: one pass a step, and the negative prompt has no effect."""
    cache: Cache = "none"
    """Which calls of blocks are saved."""
    distilled: float = 0.0
    """Weight of the step-distilled LoRA stacked on the engine's own; 0: without it."""

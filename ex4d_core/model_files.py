"""The files of an engine's models: found in a folder of any known layout (diffusers, original Wan, ComfyUI, GGUF)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ModelFiles:
    """Where each component lies: a file, or a folder of diffusers' or the original layout."""

    transformer: Path
    vae: Path
    second_transformer: Path | None = None
    """Of Wan2.2's pair, for the later, less noisy steps."""
    image_encoder: Path | None = None
    text_encoder: Path | None = None
    tokenizer: Path | None = None
    adapter: Path | None = None
    """EX-4D's LoRA and geometry encoder: `ex4d.ckpt`."""
    distilled: Path | None = None
    """The step-distilled LoRA of the profile `fast`."""
    preview_decoder: Path | None = None
    """`taew2_1`, which shows latents in milliseconds."""

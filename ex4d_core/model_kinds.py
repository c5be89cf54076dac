"""What part of a model a file or folder is, told by the tensors in its header, so that names are free; no torch.

Pickles (.pth, .ckpt) have no header: of those the name decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ex4d_core.weight_headers import Entry, entries

Part = Literal["transformer", "vae", "image_encoder", "text_encoder", "adapter", "distilled", "preview_decoder"]

PICKLES = (".pth", ".pt", ".ckpt")
_NAMED: tuple[tuple[str, Part], ...] = (
    ("ex-?4d", "adapter"),
    ("^taew2_1", "preview_decoder"),
    (r"^(?!.*wan_?2[._]?2).*vae", "vae"),  # Wan2.2's own is another
    ("clip", "image_encoder"),
    ("t5", "text_encoder"),
)
_DISTILLED = re.compile(r"lightx2v|distill|lightning|4step", re.IGNORECASE)
_LATENT = 16  # channels; Wan2.2's VAE has 48
_BIASES = (
    "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight",
    "blocks.1.pos_embedding.embedding.weight",
)
"""In UMT5 every block has a position bias, in T5 the first alone."""


@dataclass(frozen=True)
class Candidate:
    """A file or folder that may serve."""

    part: Part
    path: Path
    model: str = ""
    """Of a transformer: i2v, vace or t2v."""
    dim: int = 0
    """Of a transformer."""
    image_dim: int = 0
    """Width of an image encoder's tokens, or of those that a transformer takes."""
    bits: float = 0.0
    """Of a number, on average."""

    @property
    def is_gguf(self) -> bool:
        """Whether it is quantised in GGUF."""
        return self.path.suffix == ".gguf"


def candidate(path: Path) -> Candidate | None:
    """What a file, or a folder with the weights of one component, is; None: nothing that an engine takes.

    Raises:
        InputError: it is damaged.
        MissingDependencyError: it is GGUF and the package gguf is not installed.
    """
    name = path.name.lower()
    if path.suffix in PICKLES or name.startswith("taew2_1"):
        return next((Candidate(part, path) for pattern, part in _NAMED if re.search(pattern, name)), None)
    found = entries(path)
    plain = {re.sub(r"^(model\.)?(diffusion_model\.)?", "", name): entry for name, entry in found.items()}
    bits = 8 * sum(entry.bytes for entry in found.values()) / max(1, sum(entry.count for entry in found.values()))
    if any(".lora_" in name for name in plain):
        distilled = _DISTILLED.search(name) and "t2v" not in name
        return Candidate("distilled", path, bits=bits) if distilled else None
    if model := _transformer(plain):
        return Candidate("transformer", path, model, plain["patch_embedding.weight"].size(0), _image_dim(plain), bits)
    if {"decoder.conv1.weight", "decoder.conv_in.weight"} & plain.keys():
        latent = plain.get("conv2.weight") or plain.get("post_quant_conv.weight")
        return Candidate("vae", path, bits=bits) if latent is not None and latent.size(0) == _LATENT else None
    if image_dim := _image_dim(plain):
        return Candidate("image_encoder", path, image_dim=image_dim, bits=bits)
    return Candidate("text_encoder", path, bits=bits) if any(name in plain for name in _BIASES) else None


def _transformer(found: Mapping[str, Entry]) -> str:
    """Which of Wan's; empty for anything else."""
    if not {"blocks.0.self_attn.q.weight", "blocks.0.attn1.to_q.weight"} & found.keys():
        return ""
    patches = found.get("patch_embedding.weight")
    if patches is None:
        return ""
    if "vace_patch_embedding.weight" in found:
        return "vace"
    return "i2v" if _image_dim(found) and patches.size(1) == 36 else "t2v"


def _image_dim(found: Mapping[str, Entry]) -> int:
    """The width of CLIP's tokens, as it gives and as the transformer takes them; 0 without."""
    ends = ("class_embedding", "cls_embedding", "img_emb.proj.0.weight", "image_embedder.norm1.weight")
    return next((entry.size(-1) for name, entry in found.items() if name.endswith(ends)), 0)

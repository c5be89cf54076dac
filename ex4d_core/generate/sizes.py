"""What the models of an engine weigh: from the headers of their files, or from the dimensions of the known ones.

No torch, no weights read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ex4d_core.errors import InputError
from ex4d_core.generate.video_model import Limits
from ex4d_core.model_files import ModelFiles
from ex4d_core.weight_headers import Entry, entries

Stored = Literal["float", "gguf-q8", "gguf-q4"]
"""What the transformer's file holds: floats of any width, or GGUF."""

WAN2_1 = Limits(frames=81, pixels=832 * 480)
"""Of the 480p models, all of ours: what they were trained at."""

_BLOCK = re.compile(r"(?:^|\.)((?:vace_)?blocks\.\d+)\.")
_FFN = re.compile(r"(?:^|\.)blocks\.0\.ffn\.(?:0|net\.0\.proj)\.weight$")
_HALF = re.compile("bf16|fp16")
"""In the names of Wan's .pth files, whose parameters are 2 bytes, not 4."""
_Q8_BITS = 7.0  # files of fewer bits per parameter count as 4-bit ones: Q4 to Q6


@dataclass(frozen=True)
class ComponentSizes:
    """What an engine's models weigh; parameters are counts, not bytes."""

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
    """Of EX-4D's; computing with it takes memory, too."""
    distilled_parameters: int = 0
    """Of the step-distilled LoRA that some profiles add."""
    hints: int = 0
    """VACE's extra outputs that are kept until the blocks have used them, tokens x dim each."""
    transformers: int = 1
    """2: Wan2.2's pair, used one after the other."""
    stored: Stored = "float"
    bytes_per_parameter: float = 2.0
    """Of the transformer in its file."""

    @property
    def transformer_parameters(self) -> int:
        """Of one transformer."""
        return self.blocks_parameters + self.outside_parameters

    @property
    def leaf_parameters(self) -> int:
        """Of the largest layer: a linear one of the feed-forward network."""
        return self.dim * self.ffn_dim


@dataclass(frozen=True)
class WanShape:
    """Dimensions of a Wan2.1 transformer, as in its configuration."""

    dim: int
    ffn_dim: int
    layers: int
    in_channels: int = 16
    image_dim: int = 0
    """Width of CLIP's tokens, 0 without."""
    vace_layers: int = 0
    text_dim: int = 4096
    freq_dim: int = 256
    vace_channels: int = 96

    @property
    def block_parameters(self) -> int:
        """Of one of the main blocks: two attentions, a feed-forward network, norms, modulation."""
        d, f = self.dim, self.ffn_dim
        attentions = 2 * (4 * _linear(d, d) + 2 * d)
        image = 2 * _linear(d, d) + d if self.image_dim else 0
        return attentions + image + 2 * d + _linear(d, f) + _linear(f, d) + 6 * d

    @property
    def largest_block(self) -> int:
        """VACE's first block has a projection before and one after it."""
        return self.block_parameters + (2 * _linear(self.dim, self.dim) if self.vace_layers else 0)

    @property
    def blocks_parameters(self) -> int:
        """Of all blocks."""
        projections = (self.vace_layers + 1) * _linear(self.dim, self.dim) if self.vace_layers else 0
        return (self.layers + self.vace_layers) * self.block_parameters + projections

    @property
    def outside_parameters(self) -> int:
        """Patches (1x2x2), time, text, image, head."""
        d, i = self.dim, self.image_dim
        patches = _linear(4 * self.in_channels, d) + (_linear(4 * self.vace_channels, d) if self.vace_layers else 0)
        time = _linear(self.freq_dim, d) + _linear(d, d) + _linear(d, 6 * d)
        text = _linear(self.text_dim, d) + _linear(d, d)
        image = 2 * i + _linear(i, i) + _linear(i, d) + 2 * d if i else 0
        return patches + time + text + image + _linear(d, 64) + 2 * d

    def lora_parameters(self, rank: int) -> int:
        """Of a LoRA on q, k, v, o of both attentions and the two layers of the feed-forward network."""
        return self.layers * rank * (8 * 2 * self.dim + 2 * (self.dim + self.ffn_dim))


def _linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


_I2V_14B = WanShape(5120, 13824, 40, in_channels=36, image_dim=1280)
_VACE_1_3B = WanShape(1536, 8960, 30, vace_layers=15)
_VACE_14B = WanShape(5120, 13824, 40, vace_layers=8)
SHAPES = {"ex4d": _I2V_14B, "vace-1.3b": _VACE_1_3B, "vace-14b": _VACE_14B}
"""Of the engines' real models."""
_VAE, _CLIP, _TEXT = 126_892_531, 630_766_080, 5_680_910_336
_GEOMETRY, _RANK, _DISTILLED_RANK = 23_109_632, 16, 64


def known_sizes(engine: str, stored: Stored = "float") -> ComponentSizes:
    """Sizes of an engine's real models, whether they are here or not.

    Args:
        engine: ex4d, vace-1.3b or vace-14b.
        stored: what the transformer's file would hold.
    """
    shape = SHAPES[engine]
    ex4d = engine == "ex4d"
    return ComponentSizes(
        dim=shape.dim,
        ffn_dim=shape.ffn_dim,
        blocks=shape.layers + shape.vace_layers,
        block_parameters=shape.largest_block,
        blocks_parameters=shape.blocks_parameters,
        outside_parameters=shape.outside_parameters,
        vae_parameters=_VAE,
        image_encoder_parameters=_CLIP if shape.image_dim else 0,
        text_encoder_parameters=_TEXT,
        geometry_parameters=_GEOMETRY if ex4d else 0,
        lora_parameters=shape.lora_parameters(_RANK) if ex4d else 0,
        distilled_parameters=shape.lora_parameters(_DISTILLED_RANK) if ex4d else 0,
        hints=shape.vace_layers,
        stored=stored,
        # of city96's files: 18.1 GB, 11.3 GB
        bytes_per_parameter={"float": 2.0, "gguf-q8": 1.107, "gguf-q4": 0.692}[stored],
    )


def sizes_of(files: ModelFiles) -> ComponentSizes:
    """Sizes of the models in these files.

    Raises:
        InputError: a file is damaged, or not a Wan transformer.
        MissingDependencyError: it is GGUF and the package gguf is not installed.
    """
    sizes = transformer_sizes(files.transformer)
    adapter, geometry = _count(files.adapter), _geometry(files.adapter, sizes.dim)
    return replace(
        sizes,
        vae_parameters=_count(files.vae),
        image_encoder_parameters=_count(files.image_encoder),
        text_encoder_parameters=_count(files.text_encoder),
        geometry_parameters=geometry,
        lora_parameters=adapter - geometry,
        distilled_parameters=_count(files.distilled),
        transformers=1 if files.second_transformer is None else 2,
    )


def transformer_sizes(path: Path) -> ComponentSizes:
    """Sizes of a transformer alone.

    Args:
        path: file or folder.

    Raises:
        InputError: it is damaged, or not a Wan transformer.
        MissingDependencyError: it is GGUF and the package gguf is not installed.
    """
    tensors = entries(path)
    blocks: dict[str, int] = {}
    for name, entry in tensors.items():
        if match := _BLOCK.search(name):
            blocks[match[1]] = blocks.get(match[1], 0) + entry.count
    total = sum(entry.count for entry in tensors.values())
    patches = [e.shape for name, e in tensors.items() if name.endswith("patch_embedding.weight") and "vace" not in name]
    ffns = [entry.shape for name, entry in tensors.items() if _FFN.search(name)]
    if not blocks or not patches or not ffns:
        raise InputError(f"{path} is not a transformer of Wan: give the file that the model's page names.")
    width = sum(entry.bytes for entry in tensors.values()) / total
    return ComponentSizes(
        dim=patches[0][0],
        ffn_dim=ffns[0][0],
        blocks=len(blocks),
        block_parameters=max(blocks.values()),
        blocks_parameters=sum(blocks.values()),
        outside_parameters=total - sum(blocks.values()),
        vae_parameters=0,
        hints=sum(name.startswith("vace") for name in blocks),
        stored=_stored(tensors, path, width),
        bytes_per_parameter=width,
    )


def _count(path: Path | None) -> int:
    """Parameters of a component; of pickles, which nothing but torch reads, by their length."""
    if path is None:
        return 0
    if path.is_file() and path.suffix not in (".safetensors", ".gguf"):
        return path.stat().st_size // (2 if _HALF.search(path.name) else 4)
    return sum(entry.count for entry in entries(path).values())


def _geometry(adapter: Path | None, dim: int) -> int:
    """Of the geometry encoder within `ex4d.ckpt`: convolutions 32 -> 1024 -> 1024 -> 1024 and patches of 2x2."""
    if adapter is None:
        return 0
    hidden = 1024
    encoder = _linear(32, hidden) + 2 * _linear(hidden, hidden) + _linear(4 * hidden, dim)
    return min(encoder, _count(adapter) // 4)  # it is just under a quarter of the released file


def _stored(tensors: dict[str, Entry], path: Path, width: float) -> Stored:
    if path.suffix != ".gguf":
        return "float"
    return "gguf-q8" if width * 8 >= _Q8_BITS else "gguf-q4"

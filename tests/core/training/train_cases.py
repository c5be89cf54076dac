"""Tiny transformers, and samples and datasets of latents by chance, as the trainer takes them."""

from __future__ import annotations

from pathlib import Path

import make_tiny_models
import torch

from ex4d_core.training.adapter import AdapterShape
from ex4d_core.training.dataset import Sample, write_index, write_shard
from ex4d_core.training.dataset_format import Clip, Index, Variant, shard_shapes

HIDDEN = make_tiny_models.HIDDEN
SHAPE = AdapterShape(rank=4, alpha=8.0, hidden=HIDDEN)
TEXT_TOKENS = 6


def sample(seed: int = 0) -> Sample:
    """64x64, 5 frames."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw)

    video = (1, 16, 2, 8, 8)
    tokens, text = normal(1, 257, make_tiny_models.IMAGE_DIM), normal(1, 512, make_tiny_models.TEXT_DIM)
    text[:, TEXT_TOKENS:] = 0
    return Sample(normal(*video), normal(1, 20, 2, 8, 8), tokens, text, normal(*video), normal(*video))


def dataset(folder: Path, clips: int = 6, variants: int = 2, seed: int = 0) -> Path:
    """Latents of 64x64, 5 frames."""
    draw = torch.Generator().manual_seed(seed)
    index = Index(
        width=64,
        height=64,
        frames=5,
        latent_channels=16,
        image_tokens=(257, make_tiny_models.IMAGE_DIM),
        text_width=make_tiny_models.TEXT_DIM,
        models={},
        seed=seed,
    )
    entries: list[Clip] = []
    for number in range(clips):
        kinds = [Variant(seed=k, kind="rendering", weather="plain", holes=0.3) for k in range(variants)]
        clip = Clip(
            name=f"clip-{number}",
            source=f"video-{number}.mp4",
            source_sha256="0" * 64,
            first_frame=0,
            fps=(24, 1),
            licence="CC0",
            prompt="a street",
            variants=tuple(kinds),
            text_tokens=TEXT_TOKENS,
            bytes=1,
            sha256="0" * 64,
        )
        shapes = shard_shapes(index, clip)
        tensors = {name: torch.randn(shape, generator=draw) for name, (shape, _) in shapes.items()}
        size, digest = write_shard(folder, clip.name, tensors)
        entries.append(clip.model_copy(update={"bytes": size, "sha256": digest}))
    write_index(folder, index.model_copy(update={"clips": tuple(entries)}))
    return folder

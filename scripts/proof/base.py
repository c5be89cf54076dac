"""A tiny image-to-video model of Wan's own class, trained until it knows what videos are like."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import make_tiny_models as tiny
import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from numpy.typing import NDArray
from torch import Tensor

from ex4d_core.generate.clip_keys import PIXEL_MEAN, PIXEL_STD
from ex4d_core.generate.conditioning import Videos, image_latents, image_tokens, padded
from ex4d_core.generate.latents import encode
from ex4d_core.training import objective
from ex4d_core.training.dataset import Sample
from proof.clips import FRAMES, crops
from proof.vae import LATENT_CHANNELS, Say

WIDTH = 192
SHIFT = 5.0
_BATCH = 8


@dataclass(frozen=True, eq=False)
class Encoders:
    """What makes samples of videos."""

    vae: AutoencoderKLWan
    clip: Any
    """Of random weights: its features tell pictures apart all the same."""
    text: Tensor
    """(1, 512, 32): the one prompt of all clips."""


def encoders(vae: AutoencoderKLWan) -> Encoders:
    """The image encoder of `make_tiny_models`, and an embedding for the prompt."""
    text = torch.randn(4, tiny.TEXT_DIM, generator=torch.Generator().manual_seed(0))
    return Encoders(vae, tiny.clip(0), padded(text))


@torch.no_grad()
def whole_sample(parts: Encoders, video: Tensor) -> Sample:
    """A clip (1, 3, T, h, w) without holes."""
    videos = Videos(video, torch.ones_like(video))
    tokens = image_tokens(parts.clip, videos.first_frame, PIXEL_MEAN, PIXEL_STD)
    latents = encode(parts.vae, video)
    return Sample(latents, image_latents(parts.vae, videos), tokens, parts.text, latents, latents)


def joined(samples: list[Sample]) -> Sample:
    """A batch of samples."""
    fields = ("latents", "image", "tokens", "text", "color", "mask")
    return Sample(**{field: torch.cat([getattr(one, field) for one in samples]) for field in fields})


def noised(sample: Sample, draw: torch.Generator) -> objective.Noising:
    """Each sample of a batch at a level of its own."""
    even = 1 - torch.rand(len(sample.latents), generator=draw)
    noise = torch.randn(sample.latents.shape, generator=draw)
    return objective.noised(sample.latents, noise, objective.shifted(even, SHIFT))


def train_base(
    parts: Encoders, videos: list[NDArray[np.uint8]], pieces: int, seconds: float, seed: int, say: Say
) -> WanTransformer3DModel:
    """Train all weights on pieces of videos, for so many seconds of this process."""
    draw, torch_draw = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    pool = [whole_sample(parts, torch.from_numpy(crops(videos, 1, FRAMES, draw))) for _ in range(pieces)]
    say(f"base: {pieces} clips encoded")
    torch.manual_seed(seed)
    model = WanTransformer3DModel(
        num_attention_heads=WIDTH // 64,
        attention_head_dim=64,
        in_channels=2 * LATENT_CHANNELS + 4,
        out_channels=LATENT_CHANNELS,
        text_dim=tiny.TEXT_DIM,
        ffn_dim=3 * WIDTH,
        num_layers=4,
        image_dim=tiny.IMAGE_DIM,
        added_kv_proj_dim=WIDTH,
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.01)
    begin, step, mean = time.process_time(), 0, 2.0
    while (done := (time.process_time() - begin) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, (step + 1) / 100) * (1 - 0.95 * done)
        batch = joined([pool[i] for i in draw.integers(len(pool), size=_BATCH)])
        noising = noised(batch, torch_draw)
        said = objective.predict(model, None, batch, noising.noisy, noising.timestep, torch.float32)
        loss = objective.loss(said, noising.target)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step, mean = step + 1, 0.98 * mean + 0.02 * loss.item()
        if step % 100 == 0:
            say(f"base: step {step}, {100 * done:.0f} %, loss {mean:.3f}")
    return model.eval().requires_grad_(False)

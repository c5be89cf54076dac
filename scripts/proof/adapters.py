"""Adapters on a frozen base: trained on eight clips with simulated masks, scored on masks that they have not seen."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from numpy.typing import NDArray
from torch import Tensor

from ex4d_core.generate.conditioning import geometry_inputs, videos
from ex4d_core.generate.geometry_encoder import GeometryEncoder
from ex4d_core.generate.latents import decode
from ex4d_core.generate.sampling import denoise
from ex4d_core.generate.schedule import euler
from ex4d_core.masking import Mixture, Wander, simulated_masks
from ex4d_core.training import objective
from ex4d_core.training.adapter import AdapterShape, new_adapter, trainable
from ex4d_core.training.dataset import Sample
from proof.base import SHIFT, Encoders, joined, noised, whole_sample
from proof.clips import Footage, Scene
from proof.vae import Say, as_video

SHAPE = AdapterShape(rank=16, alpha=16.0, hidden=256)
TRAINED, HELD_OUT = 2, 1
"""Variants of masks of each window, to train on and to score on."""
_DRAWS = 4
"""Levels of noise for each held-out mask."""
_STEPS = 20
MIXTURE = Mixture(wander=Wander(yaw=(5.0, 40.0), pitch=10.0, amount=0.3))
"""Moderate paths: at 64 pixels the VAE sees the whole picture at once, and what is left of a frame must tell a lot."""
_RATE = 3e-3


@dataclass(frozen=True, eq=False)
class Masked:
    """A clip with one drawing of masks."""

    clip: Footage
    mask: NDArray[np.bool_]
    """(T, h, w) bool, True = seen."""
    sample: Sample


@dataclass(frozen=True, eq=False)
class Adapted:
    """The base with an adapter."""

    transformer: WanTransformer3DModel
    encoder: GeometryEncoder | None
    """None: the base alone."""


def masked(parts: Encoders, clips: list[Scene], variants: range) -> list[list[Masked]]:
    """Of each clip its windows, each with its variants of masks."""
    found: list[list[Masked]] = [[] for _ in clips]
    for number, clip in enumerate(clips):
        for place, window in enumerate(clip.windows()):
            whole = whole_sample(parts, as_video(window))
            for variant in variants:
                seed = 10000 * number + 100 * place + variant
                mask = simulated_masks(window.frames, window.depths, window.lens, window.radius, seed, MIXTURE).masks
                color, holes = geometry_inputs(parts.vae, videos(window.frames, mask))
                found[number].append(Masked(window, mask, replace(whole, color=color, mask=holes)))
    return found


def train(
    base: WanTransformer3DModel, pairs: list[list[Masked]], steps: int, seed: int, shuffled: bool, say: Say
) -> Adapted:
    """Train on a batch of all clips in every step, each with one of its variants.

    Args:
        base: stays as it is.
        pairs: of each clip, its variants.
        steps: how many.
        seed: of all chance.
        shuffled: give each clip the geometry of another one.
        say: told how it goes.
    """
    model = copy.deepcopy(base)
    encoder = new_adapter(model, SHAPE, seed)
    optimizer = torch.optim.AdamW(trainable(model, encoder), lr=_RATE, weight_decay=0.0)
    draw, torch_draw = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = _RATE * min(1, (step + 1) / 20) * (1 - 0.9 * step / steps)
        batch = joined([clip[draw.integers(len(clip))].sample for clip in pairs])
        if shuffled:
            batch = _shifted_geometry(batch, int(draw.integers(1, len(pairs))))
        noising = noised(batch, torch_draw)
        loss = _loss(Adapted(model, encoder), batch, noising)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable(model, encoder), 1.0)
        optimizer.step()
        if step % 50 == 49:
            say(f"{'shuffled' if shuffled else 'adapter'} {seed}: step {step + 1}, loss {loss.item():.3f}")
    return Adapted(model.eval(), encoder.eval())


def shuffled(pairs: list[list[Masked]]) -> list[list[Masked]]:
    """Each clip with the geometry of the next one."""

    def swapped(one: Masked, other: Masked) -> Masked:
        return replace(one, sample=replace(one.sample, color=other.sample.color, mask=other.sample.mask))

    following = [*pairs[1:], pairs[0]]
    return [list(map(swapped, clip, other)) for clip, other in zip(pairs, following, strict=True)]


@torch.no_grad()
def losses(models: Mapping[str, Adapted], pairs: list[list[Masked]], seed: int) -> dict[str, float]:
    """Mean loss of each model, at the same levels of noise; of those that predict zero too."""
    sums: dict[str, list[float]] = {}
    for variant in range(len(pairs[0])):
        batch = joined([clip[variant].sample for clip in pairs])
        draw = torch.Generator().manual_seed(seed + variant)
        for _ in range(_DRAWS):
            noising = noised(batch, draw)
            sums.setdefault("zero", []).append(noising.target.square().mean().item())
            for name, model in models.items():
                sums.setdefault(name, []).append(_loss(model, batch, noising).item())
    return {name: float(np.mean(values)) for name, values in sums.items()}


@torch.no_grad()
def filled(parts: Encoders, model: Adapted, pairs: list[Masked], seed: int) -> NDArray[np.uint8]:
    """What a model makes of clips with holes: (N, T, h, w, 3) uint8 sRGB."""
    batch = joined([pair.sample for pair in pairs])
    geometry = _geometry(model, batch)

    def predict(latents: Tensor, timestep: Tensor, _branch: str) -> Tensor:
        times = timestep.expand(len(pairs))
        return objective.predict(model.transformer, geometry, batch, latents, times, torch.float32)

    noise = torch.randn(batch.latents.shape, generator=torch.Generator().manual_seed(seed))
    latents = denoise(predict, euler(_STEPS, SHIFT), noise, 1.0)
    shown = [decode(parts.vae, one[None])[0] for one in latents]
    levels = (torch.stack(shown) * 127.5 + 127.5).clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 4, 1).numpy()


def telea(pair: Masked) -> NDArray[np.uint8]:
    """Each frame filled by OpenCV from what is around its holes: (T, h, w, 3) uint8 sRGB."""
    holes = (~pair.mask).astype(np.uint8)
    frames = [cv2.inpaint(f, hole, 5, cv2.INPAINT_TELEA) for f, hole in zip(pair.clip.frames, holes, strict=True)]
    return np.stack(frames).astype(np.uint8)


def hole_psnr(shown: NDArray[np.uint8], pairs: list[Masked]) -> float:
    """dB, of all pixels of all clips that were masked."""
    errors = [
        (video.astype(np.float64) - pair.clip.frames)[~pair.mask] for video, pair in zip(shown, pairs, strict=True)
    ]
    return float(10 * np.log10(255**2 / np.mean(np.concatenate(errors) ** 2)))


def _loss(model: Adapted, batch: Sample, noising: objective.Noising) -> Tensor:
    geometry = _geometry(model, batch)
    said = objective.predict(model.transformer, geometry, batch, noising.noisy, noising.timestep, torch.float32)
    return objective.loss(said, noising.target)


def _geometry(model: Adapted, batch: Sample) -> Tensor | None:
    return None if model.encoder is None else model.encoder(batch.color, batch.mask)


def _shifted_geometry(batch: Sample, by: int) -> Sample:
    return replace(batch, color=batch.color.roll(by, 0), mask=batch.mask.roll(by, 0))

"""What is learnt: flow matching, the velocity from the video to noise at a level of noise drawn as for generating."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import Tensor

from ex4d_core.generate.geometry_encoder import geometry_added
from ex4d_core.generate.schedule import TRAINING_STEPS
from ex4d_core.training.dataset import Sample


@dataclass(frozen=True, eq=False)
class Noising:
    """A video on its way to noise, and what a model should say about it."""

    noisy: Tensor
    """(1, C, t, h, w) float32: (1 - s) video + s noise, at the level s."""
    target: Tensor
    """(1, C, t, h, w) float32: noise - video, along which `schedule.Euler` steps."""
    timestep: Tensor
    """(1,) float32: 1000 s, fractions kept."""


def shifted(u: Tensor, shift: float) -> Tensor:
    """Levels of noise of even ones, bent as `schedule.euler` bends them: s -> shift s / (1 + (shift - 1) s).

    Args:
        u: of any shape, above 0, up to 1.
        shift: 5 is what EX-4D was made with; 1 leaves them as they are.
    """
    return shift * u / (1 + (shift - 1) * u)


def noised(latents: Tensor, noise: Tensor, sigma: Tensor) -> Noising:
    """Bring a video to a level of noise.

    Args:
        latents: (1, C, t, h, w) float32, of the video.
        noise: as the latents, of a normal distribution.
        sigma: (1,) float32, level of noise, above 0, up to 1.
    """
    level = sigma.view(-1, 1, 1, 1, 1)
    return Noising((1 - level) * latents + level * noise, noise - latents, sigma * TRAINING_STEPS)


def drawn(latents: Tensor, shift: float, generator: torch.Generator) -> Noising:
    """Bring a video to a level of noise by chance, which is drawn on the CPU: the same for each device.

    Args:
        latents: (1, C, t, h, w) float32 on any device.
        shift: see `shifted`.
        generator: of the CPU; level and noise come from it.
    """
    even = 1 - torch.rand(1, generator=generator)  # above 0, up to 1
    noise = torch.randn(latents.shape, generator=generator)
    return noised(latents, noise.to(latents.device), shifted(even, shift).to(latents.device))


def predict(
    transformer: WanTransformer3DModel,
    geometry: Tensor | None,
    sample: Sample,
    noisy: Tensor,
    timestep: Tensor,
    dtype: torch.dtype,
) -> Tensor:
    """The velocity that the model sees, as `conditioning.predictor` asks it; gradients flow.

    Args:
        transformer: Wan2.1 I2V.
        geometry: (1, width, t, h/16, w/16) from the geometry encoder; None: the image-to-video model as it is.
        sample: on the transformer's device.
        noisy: (1, C, t, h/8, w/8) float32.
        timestep: (1,) float32, 0 to 1000.
        dtype: that the transformer computes in.

    Returns:
        (1, C, t, h/8, w/8), of that dtype.
    """
    with nullcontext() if geometry is None else geometry_added(transformer, geometry):
        return transformer(
            hidden_states=torch.cat([noisy, sample.image], dim=1).to(dtype),
            timestep=timestep,
            encoder_hidden_states=sample.text.to(dtype),
            encoder_hidden_states_image=sample.tokens.to(dtype),
            return_dict=False,
        )[0]


def loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error, a float32 number; in float32 whatever the model computes in."""
    return F.mse_loss(prediction.float(), target.float())

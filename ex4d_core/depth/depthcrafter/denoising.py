"""From noise to latents of depth, one window at a time; and from latents to pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ex4d_core.depth.depthcrafter.looking import NOISE_AUGMENTATION
from ex4d_core.depth.depthcrafter.unet import FrameTokenUNet
from ex4d_core.errors import InputError

STEPS = 5
FPS, MOTION_BUCKET = 7, 127
"""What the model is told of the footage, always."""
DECODED = 8
"""Frames that the VAE decodes at once: it looks a little along time, so that another number would give others."""


@torch.inference_mode()
def denoise_window(
    unet: FrameTokenUNet,
    scheduler: Any,
    footage: Tensor,
    tokens: Tensor,
    noise: Tensor,
    carried: Tensor | None,
    on_step: Callable[[int], None],
) -> Tensor:
    """Denoise one window; the model's guidance is 1, so each step asks it once.

    Latents are kept in float32 between steps, whatever the UNet computes in.

    Args:
        unet: the model; its device and dtype count.
        scheduler: `EulerDiscreteScheduler`.
        footage: (n, 4, h, w) float32, latents of the frames.
        tokens: (n, D) float32, CLIP's of the frames.
        noise: (n, 4, h, w) float32, deviation 1.
        carried: (c, 4, h, w) float32, what the window before made of the first frames; None: it carries nothing.
        on_step: told the number of finished steps.

    Returns:
        (n, 4, h, w) float32, scaled as the VAE's `scaling_factor` says.

    Raises:
        InputError: the model gives numbers of which no depth can be made.
    """
    device, dtype = unet.conv_in.weight.device, unet.conv_in.weight.dtype
    footage, tokens, noise = (tensor.to(device) for tensor in (footage, tokens, noise))
    told = torch.tensor([[FPS, MOTION_BUCKET, NOISE_AUGMENTATION]], device=device)
    scheduler.set_timesteps(STEPS, device=device)
    latents = noise * scheduler.init_noise_sigma
    if carried is not None:
        first = len(carried)
        latents[:first] = carried.to(device) + noise[:first] * scheduler.sigmas[0]
    for step, time in enumerate(scheduler.timesteps):
        scaled = scheduler.scale_model_input(latents, time)
        sample = torch.cat([scaled, footage], dim=1).to(dtype)  # (n, 8, h, w)
        prediction = unet(sample[None], time, tokens[None], told)[0].float()
        if not torch.isfinite(prediction).all():
            raise InputError(
                f"DepthCrafter gave infinity or what is no number in step {step + 1}, so its weights are damaged, or "
                "this card's float16 is too small: run `ex4d models verify`, or choose another estimator."
            )
        latents = scheduler.step(prediction, time, latents).prev_sample
        on_step(step + 1)
    return latents


@torch.inference_mode()
def decode(vae: Any, latents: Tensor) -> Tensor:
    """The picture of depth that latents stand for.

    Args:
        vae: `AutoencoderKLTemporalDecoder`.
        latents: (n, 4, h, w) float32, as `denoise_window` gives them; no more than `DECODED` frames.

    Returns:
        (n, H, W) float32, 0 (far) to 1 (near).
    """
    scaled = (latents / vae.config.scaling_factor).to(vae.device, vae.dtype)
    pictures = vae.decode(scaled, num_frames=len(scaled)).sample.float()  # (n, 3, H, W), -1 to 1
    return (pictures / 2 + 0.5).clamp(0, 1).mean(dim=1)

"""Wan's VAE: videos to the normalised latents that its transformers work on, and back."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import Tensor

from ex4d_core.generate.sampling import require_finite

FRAMES_PER_LATENT = 4
"""Of the VAE, after the first frame, which has a latent frame of its own."""
PIXELS_PER_LATENT = 8


OnChunk = Callable[[int, int], None]
"""Told how many of how many chunks are decoded."""


def _unheard(_done: int, _total: int) -> None:
    """For those who do not listen."""


@torch.no_grad()
def encode(vae: AutoencoderKLWan, video: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Latents of a video: the mean of the posterior, normalised; nothing is drawn.

    Args:
        vae: Wan2.1's.
        video: (1, 3, T, h, w) float32, -1 to 1; T = 4n+1. On the device that the VAE computes on.
        dtype: to compute in, by autocasting where it is not the VAE's own.

    Returns:
        (1, C, 1 + (T-1)/4, h/8, w/8) float32.
    """
    with _computing_in(vae, video, dtype), _forgetting(vae):
        posterior: Any = vae.encode(video.to(vae.dtype)).latent_dist  # pyright: ignore[reportAttributeAccessIssue]
    mean, std = _statistics(vae, video)
    return (posterior.mean.float() - mean) / std


@torch.no_grad()
def decode(
    vae: AutoencoderKLWan, latents: Tensor, dtype: torch.dtype = torch.float32, on_chunk: OnChunk = _unheard
) -> Tensor:
    """The video of normalised latents.

    Args:
        vae: Wan2.1's.
        latents: (1, C, t, h, w) float32.
        dtype: to compute in, by autocasting where it is not the VAE's own.
        on_chunk: told about each latent frame, of each tile where it works in tiles.

    Returns:
        (1, 3, 1 + 4 (t-1), 8 h, 8 w) float32, -1 to 1.

    Raises:
        InputError: it gives numbers of which no picture can be made.
    """
    mean, std = _statistics(vae, latents)
    total, done = _decoder_calls(vae, latents), 0

    def count(_module: Any, _inputs: Any, _output: Any) -> None:
        nonlocal done
        done += 1
        on_chunk(done, total)

    hook = vae.decoder.register_forward_hook(count)
    try:
        with _computing_in(vae, latents, dtype), _forgetting(vae):
            video = vae.decode((latents * std + mean).to(vae.dtype), return_dict=False)[0].float()
    finally:
        hook.remove()
    require_finite(video, "The VAE")
    return video


def _decoder_calls(vae: AutoencoderKLWan, latents: Tensor) -> int:
    """How often its decoder will be called, see `AutoencoderKLWan.tiled_decode`."""
    frames, height, width = latents.shape[2:]
    least = (vae.tile_sample_min_height // PIXELS_PER_LATENT, vae.tile_sample_min_width // PIXELS_PER_LATENT)
    if not vae.use_tiling or (height <= least[0] and width <= least[1]):
        return frames
    rows = range(0, height, int(vae.tile_sample_stride_height) // PIXELS_PER_LATENT)
    columns = range(0, width, int(vae.tile_sample_stride_width) // PIXELS_PER_LATENT)
    return frames * len(rows) * len(columns)


@contextmanager
def _forgetting(vae: AutoencoderKLWan) -> Generator[None]:
    """Free what it keeps of earlier frames, also where it was cancelled among them."""
    try:
        yield
    finally:
        vae.clear_cache()


def _computing_in(vae: AutoencoderKLWan, tensor: Tensor, dtype: torch.dtype) -> AbstractContextManager[Any]:
    return nullcontext() if dtype == vae.dtype else torch.autocast(tensor.device.type, dtype)


def _statistics(vae: AutoencoderKLWan, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the latents over the training, (1, C, 1, 1, 1) each."""
    config: Any = vae.config
    told = (config.latents_mean, config.latents_std)
    mean, std = (torch.tensor(v, dtype=torch.float32, device=like.device).view(1, -1, 1, 1, 1) for v in told)
    return mean, std

"""A tiny VAE of Wan's own class, trained until it can show a picture."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, WanCausalConv3d
from numpy.typing import NDArray
from torch import Tensor

from ex4d_core.generate.latents import decode, encode
from proof.clips import FRAMES, Footage, crops
from proof.principal import begin_as_components

Say = Callable[[str], None]
LATENT_CHANNELS = 16
_RATE = 3e-3
_OF_ENCODER = 0.1
"""Share of the rate: it begins as principal components, the decoder with nothing."""
_PIECE = 32
"""Pixels: many small steps teach it more than few large ones."""


def new_vae(videos: list[NDArray[np.uint8]], seed: int) -> AutoencoderKLWan:
    """One that takes a video for pictures of their own, encodes principal components and shows nothing of them yet."""
    torch.manual_seed(seed)
    vae = AutoencoderKLWan(base_dim=12, num_res_blocks=1, z_dim=LATENT_CHANNELS)
    _begin_without_time(vae)
    pictures = torch.from_numpy(crops(videos, 256, 1, np.random.default_rng(seed), _PIECE))[:, :, 0]
    begin_as_components(vae, pictures)
    return vae


def train_vae(
    vae: AutoencoderKLWan, videos: list[NDArray[np.uint8]], seconds: float, seed: int, say: Say
) -> AutoencoderKLWan:
    """Train on pieces of videos for so long (of this process on its core): pictures, and from the middle on clips too.

    The mean and deviation of its latents are measured and written into its configuration, as Wan's are.
    """
    draw = np.random.default_rng(seed)
    rate = _RATE if seed == 0 else _RATE / 2  # a later round begins with what is known
    vae.train().requires_grad_(True)
    optimizer = torch.optim.AdamW(
        [
            {"params": vae.decoder.parameters(), "share": 1.0},
            {"params": vae.encoder.parameters(), "share": _OF_ENCODER},
        ],
        betas=(0.9, 0.99),
        weight_decay=0.0,
    )
    begin, step = time.process_time(), 0
    while (done := (time.process_time() - begin) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = group["share"] * rate * min(1, (step + 1) / 50) * (1 - 0.98 * done)
        long = done > 0.5 and step % 3 == 0
        batch = torch.from_numpy(crops(videos, 2 if long else 8, FRAMES if long else 1, draw, _PIECE))
        with nullcontext() if long else _as_pictures():
            latents = vae.encode(batch).latent_dist.mean  # pyright: ignore[reportAttributeAccessIssue]
            shown = vae.decode(latents, return_dict=False)[0]
            error = shown - batch
            # Squares are what PSNR counts
            loss = error.square().mean() + 0.05 * error.abs().mean()
            optimizer.zero_grad()
            loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 50 == 0:
            say(f"VAE: step {step}, {100 * done:.0f} %, {psnr(error.detach()):.1f} dB of this batch")
    vae.eval().requires_grad_(False)
    _normalise(vae, videos, draw)
    return vae


def held_out_psnr(vae: AutoencoderKLWan, clips: list[Footage]) -> float:
    """dB, of clips that were encoded and decoded; mean error of all."""
    errors = [decode(vae, encode(vae, video)) - video for video in map(as_video, clips)]
    return psnr(torch.cat(errors))


def grey_psnr(clips: list[Footage]) -> float:
    """dB, of the clips themselves without their colours: what a VAE that knows light alone may reach."""
    return psnr(torch.cat([video.mean(dim=1, keepdim=True) - video for video in map(as_video, clips)]))


def as_video(clip: Footage) -> Tensor:
    """(1, 3, T, h, w) float32, -1 to 1."""
    return torch.from_numpy(clip.frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1


def psnr(error: Tensor) -> float:
    """dB, of errors of values from -1 to 1."""
    return float(10 * torch.log10(4 / error.square().mean()))


@torch.no_grad()
def _normalise(vae: AutoencoderKLWan, videos: list[NDArray[np.uint8]], draw: np.random.Generator) -> None:
    means = [
        vae.encode(torch.from_numpy(crops(videos, 4, FRAMES, draw))).latent_dist.mean  # pyright: ignore
        for _ in range(8)
    ]
    latents = torch.cat(means).movedim(1, 0).flatten(1)
    vae.register_to_config(latents_mean=latents.mean(1).tolist(), latents_std=latents.std(1).tolist())


@torch.no_grad()
def _begin_without_time(vae: AutoencoderKLWan) -> None:
    """Let every frame begin as a picture of its own, and frames in between as their neighbour."""
    for name, module in vae.named_modules():
        if isinstance(module, WanCausalConv3d) and module.kernel_size[0] > 1:
            module.weight[:, :, :-1] = 0
            if name.endswith("time_conv"):
                copies = module.out_channels // module.in_channels
                module.weight[:, :, -1, 0, 0] = torch.eye(module.in_channels).repeat(copies, 1)
                torch.nn.init.zeros_(module.bias)  # pyright: ignore[reportArgumentType]


@contextmanager
def _as_pictures() -> Generator[None]:
    """Clips of one frame through convolutions in two dimensions, which gives the same: before them lie zeros."""
    whole = WanCausalConv3d.forward

    def flat(self: WanCausalConv3d, x: Tensor, cache_x: Tensor | None = None) -> Tensor:
        if x.shape[2] != 1 or cache_x is not None:
            return whole(self, x, cache_x)
        padding = (self._padding[2], self._padding[0])
        return F.conv2d(x[:, :, 0], self.weight[:, :, -1], self.bias, self.stride[1:], padding)[:, :, None]

    WanCausalConv3d.forward = flat
    try:
        yield
    finally:
        WanCausalConv3d.forward = whole

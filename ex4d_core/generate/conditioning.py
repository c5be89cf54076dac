"""From the warped frames and their mask to what EX-4D's transformer is given, quirks of the training included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from numpy.typing import NDArray
from torch import Tensor

from ex4d_core.generate.geometry_encoder import GeometryEncoder
from ex4d_core.generate.latents import encode
from ex4d_core.generate.sampling import Branch, Predict

TEXT_TOKENS = 512
"""The transformer attends to all of these, the empty ones too; diffusers finds the image's tokens by this number."""
_PLANES = 4  # of the mask in y: the frames in each latent one


@dataclass(frozen=True, eq=False)
class Videos:
    """A window as the VAE is fed it."""

    color: Tensor
    """(1, 3, T, h, w) float32, -1 to 1; -1 where the mask is."""
    mask: Tensor
    """(1, 3, T, h, w) float32, -1 = unseen, 1 = seen."""

    @property
    def first_frame(self) -> Tensor:
        """(1, 3, h, w) float32, -1 to 1: frame 0 by way of 8 bits, cut off and not rounded, as the reference has it."""
        cut = (self.color[:, :, 0] * 0.5 + 0.5).mul(255).to(torch.uint8)
        return cut.to(torch.float32) * (2 / 255) - 1


@dataclass(frozen=True, eq=False)
class Conditioning:
    """All that stays the same over the steps, but the text."""

    image: Tensor
    """(1, 4 + C, t, h/8, w/8) float32, "y": which latent frames are given, and the latents of the first frame."""
    tokens: Tensor
    """(1, n, D) features of the first frame by CLIP."""
    geometry: Tensor
    """(1, width, t, h/16, w/16) from the geometry encoder."""


def videos(color: NDArray[np.uint8], mask: NDArray[np.bool_], device: str = "cpu") -> Videos:
    """Frames as videos; colour is multiplied by the mask first, so that what is unseen is black.

    Args:
        color: (T, h, w, 3) uint8 sRGB.
        mask: (T, h, w) bool, or (T, h, w, 3) for each channel; True = seen.
        device: where to put them.
    """
    channels = np.broadcast_to(mask if mask.ndim == 4 else mask[..., None], color.shape)
    seen = _batched(channels, device).to(torch.float32)
    return Videos(_batched(color, device).to(torch.float32) / 255.0 * seen * 2 - 1, seen * 2 - 1)


def image_latents(vae: AutoencoderKLWan, window: Videos, dtype: torch.dtype = torch.float32) -> Tensor:
    """The "y" of Wan's image-to-video models: the first frame, and mid grey after it, with a mask that says so.

    Args:
        vae: Wan2.1's.
        window: the conditioning.
        dtype: that the VAE computes in.

    Returns:
        (1, 4 + C, t, h/8, w/8) float32; the mask is 1 in latent frame 0 alone.
    """
    frame = window.first_frame[:, :, None]  # (1, 3, 1, h, w)
    grey = frame.new_zeros(1, 3, window.color.shape[2] - 1, *frame.shape[-2:])
    latents = encode(vae, torch.cat([frame, grey], dim=2), dtype)
    given = latents.new_zeros(1, _PLANES, *latents.shape[2:])
    given[:, :, 0] = 1
    return torch.cat([given, latents], dim=1)


def image_tokens(encoder: Any, frame: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Features of the first frame: squashed to CLIP's square, neither cropped nor smoothed, as the reference does.

    Args:
        encoder: `CLIPVisionModel` of transformers.
        frame: (1, 3, h, w) float32, -1 to 1.
        mean: of the pixels that it was trained on, RGB, 0 to 1.
        std: of these.

    Returns:
        (1, 1 + patches, D), what its last block but one gives.
    """
    side: int = encoder.config.image_size
    square = F.interpolate(frame, (side, side), mode="bicubic", align_corners=False)
    pixels = (square * 0.5 + 0.5 - frame.new_tensor(mean)[:, None, None]) / frame.new_tensor(std)[:, None, None]
    return encoder(pixel_values=pixels.to(encoder.dtype), output_hidden_states=True).hidden_states[-2]


def geometry_inputs(vae: AutoencoderKLWan, window: Videos, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """What the geometry encoder is given: latents of the warped video and of its mask.

    The mask reaches the VAE scaled to -1 ... 1 twice, as -3 and 1: a slip of the reference that its weights were
    trained with.

    Args:
        vae: Wan2.1's.
        window: the conditioning.
        dtype: that the VAE computes in.

    Returns:
        Colour and mask, (1, C, t, h/8, w/8) float32 each.
    """
    return encode(vae, window.color, dtype), encode(vae, window.mask * 2 - 1, dtype)


def geometry_latent(
    vae: AutoencoderKLWan, encoder: GeometryEncoder, window: Videos, dtype: torch.dtype = torch.float32
) -> Tensor:
    """What the geometry encoder makes of a window.

    Args:
        vae: Wan2.1's.
        encoder: EX-4D's.
        window: the conditioning.
        dtype: that the VAE computes in.

    Returns:
        (1, width, t, h/16, w/16), of the encoder's dtype.
    """
    color, mask = geometry_inputs(vae, window, dtype)
    return encoder(color.to(encoder.dtype), mask.to(encoder.dtype))


def padded(context: Tensor) -> Tensor:
    """Text embeddings (n, D) or (1, n, D) with zeros up to the length that the transformer attends to: (1, 512, D)."""
    context = context.reshape(1, *context.shape[-2:])
    return F.pad(context, (0, 0, 0, TEXT_TOKENS - context.shape[1]))


def predictor(
    transformer: WanTransformer3DModel,
    conditioning: Conditioning,
    contexts: Mapping[Branch, Tensor],
    dtype: torch.dtype = torch.float32,
) -> Predict:
    """The model as `sampling.denoise` wants it; the geometry is added by `geometry_encoder.geometry_added`.

    Args:
        transformer: Wan2.1 I2V with EX-4D's LoRA.
        conditioning: on the transformer's device.
        contexts: (1, 512, D) embeddings of prompt and negative prompt.
        dtype: that the transformer computes in.
    """
    image, tokens = conditioning.image, conditioning.tokens.to(dtype)
    texts = {branch: context.to(dtype) for branch, context in contexts.items()}

    def predict(latents: Tensor, timestep: Tensor, branch: Branch) -> Tensor:
        with transformer.cache_context(branch):
            return transformer(
                hidden_states=torch.cat([latents, image], dim=1).to(dtype),
                timestep=timestep,
                encoder_hidden_states=texts[branch],
                encoder_hidden_states_image=tokens,
                return_dict=False,
            )[0]

    return predict


def _batched(frames: NDArray[Any], device: str) -> Tensor:
    """(T, h, w, 3) -> (1, 3, T, h, w)."""
    return torch.tensor(frames, device=device).permute(3, 0, 1, 2)[None]

"""Models of a video diffusion engine read from files of any layout, with their LoRAs stacked, ready to be placed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from transformers import CLIPVisionModel

from ex4d_core.generate.geometry_encoder import GeometryEncoder
from ex4d_core.generate.ladder import Plan
from ex4d_core.generate.profiles import Profile
from ex4d_core.model_files import ModelFiles


@dataclass(eq=False)
class Components:
    """The models of one engine, on the CPU until `placement.place` has had them."""

    transformer: Any
    """`WanTransformer3DModel` or `WanVACETransformer3DModel`; parameters in the plan's dtype, save those that diffusers
    keeps in float32. With LoRAs: adapters "ex4d" and "distill", both active, unfused."""
    vae: AutoencoderKLWan
    """float32."""
    second_transformer: Any | None = None
    """Of Wan2.2's pair: takes over below `boundary`."""
    boundary: float = 0.0
    """Sigma (0..1) from which on the second transformer predicts; 0: there is none."""
    image_encoder: CLIPVisionModel | None = None
    """float32; of image-to-video models."""
    geometry_encoder: GeometryEncoder | None = None
    """EX-4D's, in the plan's dtype."""


def load_components(files: ModelFiles, plan: Plan, profile: Profile) -> Components:
    """Read all that denoising needs; text encoders are read by `text_encoder.load_text_encoder`, when a prompt is new.

    The distilled LoRA is stacked where `profile.distilled` is not 0, with that weight; other profiles of the same
    weight may use the same components.

    Raises:
        InputError: a file is damaged, lacks a tensor, or has one that does not belong there.
    """
    raise NotImplementedError


def torch_dtype(name: str) -> torch.dtype:
    """torch.bfloat16 of "bfloat16"."""
    return getattr(torch, name)

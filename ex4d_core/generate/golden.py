"""A set of golden data through the code that runs the real models: from files and frames to numbers.

The layout of a set stands in the README beside the data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import init_empty_weights
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

from ex4d_core.generate.checkpoint import add_lora, read_checkpoint
from ex4d_core.generate.clip_keys import load_image_encoder, vision_config
from ex4d_core.generate.conditioning import (
    Conditioning,
    geometry_latent,
    image_latents,
    image_tokens,
    padded,
    predictor,
    videos,
)
from ex4d_core.generate.geometry_encoder import geometry_added
from ex4d_core.generate.latents import decode
from ex4d_core.generate.sampling import Branch, denoise
from ex4d_core.generate.schedule import euler
from ex4d_core.generate.sinusoid import exact_sinusoid
from ex4d_core.generate.state import fill
from ex4d_core.generate.tensors import tensors
from ex4d_core.generate.wan_keys import transformer_names, vae_names


@torch.no_grad()
def run(folder: str | Path) -> dict[str, NDArray[np.float32]]:
    """Generate from a golden set, in float32 on the CPU.

    Args:
        folder: with config.json, base.safetensors, vae.safetensors, ex4d_tiny.ckpt, inputs.safetensors, and
            clip.safetensors where the configuration speaks of CLIP.

    Returns:
        geometry_latent: (1, width, t, h/16, w/16) float32.
        pred_pos, pred_neg: (1, C, t, h/8, w/8) float32, velocities at the first step with either prompt.
        final_latents: (1, C, t, h/8, w/8) float32.
        decoded_video: (1, 3, T, h, w) float32, -1 to 1.

    Raises:
        InputError: a file does not hold what it should.
    """
    folder = Path(folder)
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    inputs = safe_open(folder / "inputs.safetensors", "pt")

    checkpoint = read_checkpoint(folder / "ex4d_tiny.ckpt", alpha=config["lora"]["alpha"])
    with init_empty_weights():
        transformer = WanTransformer3DModel(**config["diffusers_transformer"])
        vae = AutoencoderKLWan(**_vae_config(config["vae"]))
    base, vae_file = folder / "base.safetensors", folder / "vae.safetensors"
    fill(transformer, tensors(base), transformer_names, base.name)
    fill(vae, tensors(vae_file), partial(vae_names, res_blocks=config["vae"]["num_res_blocks"]), vae_file.name)
    exact_sinusoid(transformer)
    add_lora(transformer, checkpoint)

    frames, masks = (inputs.get_tensor(name).numpy() for name in ("color_frames_u8", "mask_frames_u8"))
    window = videos(frames, masks > 127)
    geometry = geometry_latent(vae, checkpoint.geometry_encoder(), window)
    tokens = (
        inputs.get_tensor("clip_fea") if config["clip"] is None else _tokens(folder, config["clip"], window.first_frame)
    )
    conditioning = Conditioning(image_latents(vae, window), tokens, geometry)
    contexts: dict[Branch, Tensor] = {
        "cond": padded(inputs.get_tensor("context_pos")),
        "uncond": padded(inputs.get_tensor("context_neg")),
    }

    noise, sampling = inputs.get_tensor("noise"), config["sampling"]
    solver = euler(sampling["steps"], sampling["shift"])
    with geometry_added(transformer, geometry):
        predict = predictor(transformer, conditioning, contexts)
        first = solver.timesteps[:1]
        pred_pos, pred_neg = predict(noise, first, "cond"), predict(noise, first, "uncond")
        latents = denoise(predict, solver, noise, sampling["cfg_scale"])
    results = {
        "geometry_latent": geometry,
        "pred_pos": pred_pos,
        "pred_neg": pred_neg,
        "final_latents": latents,
        "decoded_video": decode(vae, latents),
    }
    return {name: tensor.numpy() for name, tensor in results.items()}


def _vae_config(told: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `AutoencoderKLWan`: names as in Wan's code, but for the width."""
    same = ("z_dim", "dim_mult", "num_res_blocks", "temperal_downsample", "latents_mean", "latents_std")
    return {"base_dim": told["dim"]} | {name: told[name] for name in same}


def _tokens(folder: Path, told: Mapping[str, Any], frame: Tensor) -> Tensor:
    file = folder / "clip.safetensors"
    encoder = load_image_encoder(tensors(file), vision_config(told), None, file.name)
    return image_tokens(encoder, frame, tuple(told["pixel_mean"]), tuple(told["pixel_std"]))

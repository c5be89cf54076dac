"""Wan's own files (`diffusion_pytorch_model-*.safetensors`, `Wan2.1_VAE.pth`, config.json) as models of diffusers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers, convert_wan_vae_to_diffusers
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import Tensor

from ex4d_core.generate.state import fill


def transformer_names(names: Iterable[str]) -> dict[str, str]:
    """Original name -> diffusers' name, of the tensors of a Wan transformer or of its LoRAs."""
    return _converted(convert_wan_transformer_to_diffusers, names)


def vae_names(names: Iterable[str]) -> dict[str, str]:
    """Original name -> diffusers' name, of the tensors of a Wan VAE."""
    return _converted(convert_wan_vae_to_diffusers, names)


def transformer_config(original: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `WanTransformer3DModel` from the config.json of Wan's own folders.

    Args:
        original: model_type ("t2v" or "i2v"), dim, ffn_dim, num_heads, num_layers, in_dim, out_dim, and those that
            are the same in all released models: patch_size, freq_dim, text_dim, eps, image_dim.
    """
    dim, heads = original["dim"], original["num_heads"]
    config: dict[str, Any] = {
        "patch_size": tuple(original.get("patch_size", (1, 2, 2))),
        "num_attention_heads": heads,
        "attention_head_dim": dim // heads,
        "in_channels": original["in_dim"],
        "out_channels": original["out_dim"],
        "text_dim": original.get("text_dim", 4096),
        "freq_dim": original["freq_dim"],
        "ffn_dim": original["ffn_dim"],
        "num_layers": original["num_layers"],
        "cross_attn_norm": original.get("cross_attn_norm", True),
        "qk_norm": "rms_norm_across_heads",
        "eps": original["eps"],
    }
    if original["model_type"] == "i2v":
        config |= {"image_dim": original.get("image_dim", 1280), "added_kv_proj_dim": dim}
    return config


def load_transformer(
    tensors: Iterable[tuple[str, Tensor]], config: Mapping[str, Any], dtype: torch.dtype | None, where: str
) -> WanTransformer3DModel:
    """A transformer from tensors with original names.

    Args:
        tensors: of all its files, one by one.
        config: arguments of the model, see `transformer_config`.
        dtype: to cast to, save what is kept in float32; None: as in the files.
        where: the file or folder, for messages.

    Raises:
        InputError: names each tensor that is missing, unexpected or of the wrong shape.
    """
    with init_empty_weights():
        model = WanTransformer3DModel(**config)
    fill(model, tensors, transformer_names, where, dtype)
    return model


def load_vae(
    tensors: Iterable[tuple[str, Tensor]], config: Mapping[str, Any], dtype: torch.dtype | None, where: str
) -> AutoencoderKLWan:
    """A VAE from tensors with original names; see `load_transformer`.

    Args:
        tensors: of `Wan2.1_VAE.pth`, one by one.
        config: arguments of the model; empty for the released one.
        dtype: to cast to; None: as in the file.
        where: the file, for messages.

    Raises:
        InputError: names each tensor that is missing, unexpected or of the wrong shape.
    """
    with init_empty_weights():
        model = AutoencoderKLWan(**config)
    fill(model, tensors, vae_names, where, dtype)
    return model


def _converted(convert: Any, names: Iterable[str]) -> dict[str, str]:
    """What diffusers' converter makes of names: it moves values about and reads none, so the names go through it."""
    return {original: new for new, original in convert({name: name for name in names}).items()}

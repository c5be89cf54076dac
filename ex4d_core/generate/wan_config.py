"""The configuration of a Wan model told by the shapes of its tensors, for files that come without one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ex4d_core.errors import InputError

Shapes = Mapping[str, tuple[int, ...]]
_HEAD = 128
"""Channels of a head in every Wan model; shapes do not tell it."""


def transformer_config(shapes: Shapes, where: str) -> dict[str, Any]:
    """Arguments of `WanTransformer3DModel`, or, where it has `vace_layers`, of `WanVACETransformer3DModel`.

    Args:
        shapes: of the tensors, with diffusers' names.
        where: the file, for messages.

    Raises:
        InputError: it is not a Wan transformer.
    """
    try:
        dim, channels, *patch = shapes["patch_embedding.weight"]
        layers = _count(shapes, "blocks")
        config: dict[str, Any] = {
            "patch_size": tuple(patch),
            "num_attention_heads": dim // _HEAD,
            "attention_head_dim": _HEAD,
            "in_channels": channels,
            "out_channels": shapes["proj_out.weight"][0] // math.prod(patch),
            "text_dim": shapes["condition_embedder.text_embedder.linear_1.weight"][1],
            "freq_dim": shapes["condition_embedder.time_embedder.linear_1.weight"][1],
            "ffn_dim": shapes["blocks.0.ffn.net.0.proj.weight"][0],
            "num_layers": layers,
            "cross_attn_norm": "blocks.0.norm2.weight" in shapes,
        }
        if image := shapes.get("condition_embedder.image_embedder.norm1.weight"):
            added = shapes["blocks.0.attn2.add_k_proj.weight"][1]
            config |= {"image_dim": image[0], "added_kv_proj_dim": added}
        if hints := _count(shapes, "vace_blocks"):
            # 15 of 30 blocks in the 1.3B model, 8 of 40 in the 14B: evenly spread from the first
            config["vace_layers"] = list(range(0, layers, layers // hints))
            config["vace_in_channels"] = shapes["vace_patch_embedding.weight"][1]
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"{where} is not a transformer of Wan: give the file that the model's page names.") from error
    return config


def vae_config(shapes: Shapes, where: str) -> dict[str, Any]:
    """Arguments of `AutoencoderKLWan` as in Wan2.1; all but the width are the class's defaults.

    Args:
        shapes: of the tensors, with diffusers' names.
        where: the file, for messages.

    Raises:
        InputError: it is not Wan2.1's VAE.
    """
    try:
        width, latent = shapes["encoder.conv_in.weight"][0], shapes["post_quant_conv.weight"][0]
    except KeyError as error:
        raise InputError(f"{where} is not the VAE of Wan2.1: give wan_2.1_vae.safetensors.") from error
    return {"base_dim": width, "z_dim": latent}


def _count(shapes: Shapes, list_name: str) -> int:
    return len({name.split(".")[1] for name in shapes if name.startswith(f"{list_name}.")})

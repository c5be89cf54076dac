"""The image encoder of Wan's I2V models: open-clip's vision tower, in its own file, as a model of transformers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel

from ex4d_core.generate.state import fill, same_names

PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)
"""Of the pictures that CLIP was trained on, RGB, 0 to 1."""

VIT_H_14: Mapping[str, Any] = {
    "image_size": 224,
    "patch_size": 14,
    "hidden_size": 1280,
    "num_heads": 16,
    "num_layers": 32,
    "mlp_ratio": 4,
    "activation": "gelu",
    "eps": 1e-5,
}
"""Of `models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth`."""

_BLOCK = re.compile(r"transformer\.(\d+)\.(.+)\.(weight|bias)")
_BLOCK_PARTS = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.proj": "self_attn.out_proj",
    "mlp.0": "mlp.fc1",
    "mlp.2": "mlp.fc2",
}
_TOP = {
    "patch_embedding.weight": "embeddings.patch_embedding.weight",
    "cls_embedding": "embeddings.class_embedding",
    "pos_embedding": "embeddings.position_embedding.weight",
    "pre_norm.weight": "pre_layrnorm.weight",
    "pre_norm.bias": "pre_layrnorm.bias",
    "post_norm.weight": "post_layernorm.weight",
    "post_norm.bias": "post_layernorm.bias",
}
_PREFIXES = ("visual.", "vision_model.")
"""Of Wan's own file, and of ComfyUI's, whose other names are those of transformers."""
_UNUSED = ("textual.", "head", "log_scale", "visual_projection.")


def vision_config(original: Mapping[str, Any] = VIT_H_14) -> CLIPVisionConfig:
    """The configuration for transformers.

    Args:
        original: as `VIT_H_14` has it.
    """
    size = original["hidden_size"]
    return CLIPVisionConfig(
        hidden_size=size,
        intermediate_size=int(size * original["mlp_ratio"]),
        num_hidden_layers=original["num_layers"],
        num_attention_heads=original["num_heads"],
        image_size=original["image_size"],
        patch_size=original["patch_size"],
        hidden_act=original["activation"],
        layer_norm_eps=original["eps"],
    )


def load_image_encoder(
    tensors: Iterable[tuple[str, Tensor]], config: CLIPVisionConfig, dtype: torch.dtype | None, where: str
) -> CLIPVisionModel:
    """The vision tower from tensors with the names of Wan's or ComfyUI's file; text tower and heads are passed over.

    Args:
        tensors: of the file, one by one.
        config: of the model, see `vision_config`.
        dtype: to cast to; None: as in the file.
        where: the file, for messages.

    Raises:
        InputError: names each tensor that is missing, unexpected or of the wrong shape.
    """
    with init_empty_weights():
        model = CLIPVisionModel(config)
    # older versions of transformers keep the tower one level down
    inside = "vision_model." if any(name.startswith("vision_model.") for name in model.state_dict()) else ""
    moved = ((inside + name, tensor) for name, tensor in _vision_tensors(tensors))
    fill(model, moved, same_names, where, dtype)
    return model


def _vision_tensors(tensors: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """Names of transformers; open-clip's joined projection taken apart."""
    for original, tensor in tensors:
        name = original
        for prefix in _PREFIXES:
            name = name.removeprefix(prefix)
        if name.startswith(_UNUSED):
            continue
        if match := _BLOCK.fullmatch(name):
            yield from _block_tensors(match[1], match[2], match[3], tensor)
        elif name in ("cls_embedding", "pos_embedding"):
            yield _TOP[name], tensor.flatten(0, -2).squeeze(0)  # (1, 1, D) -> (D,); (1, n, D) -> (n, D)
        else:
            yield _TOP.get(name, name), tensor


def _block_tensors(layer: str, part: str, kind: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """What one tensor of a block becomes.

    Args:
        layer: number of the block.
        part: "attn.to_qkv", "mlp.0" ...
        kind: weight or bias.
        tensor: (out, ...).
    """
    block = f"encoder.layers.{layer}"
    if part == "attn.to_qkv":  # the three lie one after the other, heads inside each
        for letter, third in zip("qkv", tensor.chunk(3), strict=True):
            yield f"{block}.self_attn.{letter}_proj.{kind}", third.clone()
    else:
        yield f"{block}.{_BLOCK_PARTS.get(part, part)}.{kind}", tensor

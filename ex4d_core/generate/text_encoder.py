"""UMT5, the text encoder of Wan, from any layout: a folder of transformers, Wan's own .pth, ComfyUI's file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import Tensor
from transformers import UMT5Config, UMT5EncoderModel

from ex4d_core.errors import InputError, MissingDependencyError
from ex4d_core.generate.state import described_by, fill, require_weights, shapes
from ex4d_core.generate.tensors import tensors
from ex4d_core.model_files import TextFiles

_SHARED, _EMBEDDED = "shared.weight", "encoder.embed_tokens.weight"
"""One tensor under two names; files hold either or both."""
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)\.weight")
_PARTS = {
    **{f"attn.{part}": f"layer.0.SelfAttention.{part}" for part in "qkvo"},
    "pos_embedding.embedding": "layer.0.SelfAttention.relative_attention_bias",
    "norm1": "layer.0.layer_norm",
    "norm2": "layer.1.layer_norm",
    "ffn.gate.0": "layer.1.DenseReluDense.wi_0",
    "ffn.fc1": "layer.1.DenseReluDense.wi_1",
    "ffn.fc2": "layer.1.DenseReluDense.wo",
}
_TOP = {"token_embedding.weight": _SHARED, "norm.weight": "encoder.final_layer_norm.weight"}


def load_text_encoder(files: TextFiles, dtype: torch.dtype) -> UMT5EncoderModel:
    """The text encoder on the CPU, 11 GB in bfloat16.

    Args:
        files: with `text_encoder`.
        dtype: of all its parameters.

    Raises:
        MissingDependencyError: there is none.
        InputError: it is damaged, lacks a tensor, or has one that does not belong there.
    """
    path = files.text_encoder
    if path is None:
        raise MissingDependencyError("There is no text encoder among the models: run `ex4d models download`.")
    state: dict[str, Tensor] = {}
    for name, tensor in tensors(path):
        require_weights(name, tensor, str(path))
        state[name] = tensor.to(dtype)
    names = text_names(state)
    config, found = path / "config.json", {names[name]: shape for name, shape in shapes(state).items()}
    with described_by(config if config.is_file() else path), init_empty_weights():
        model: Any = UMT5EncoderModel(_config(path, found))
    both = {name for name, new in names.items() if new in (_SHARED, _EMBEDDED)}
    if both:
        embedding = state[min(both)]
        state = {name: tensor for name, tensor in state.items() if name not in both}
        state |= {_SHARED: embedding, _EMBEDDED: embedding}
    fill(model, state.items(), text_names, str(path))
    model.tie_weights()  # the embedding is one parameter again, so that moving the model does not double it
    return model


def text_names(names: Iterable[str]) -> dict[str, str]:
    """Name in Wan's own file -> name of transformers; those of transformers stay."""
    return {name: _name(name) for name in names}


def _name(name: str) -> str:
    if match := _BLOCK.fullmatch(name):
        block, part = match.groups()
        return f"encoder.block.{block}.{_PARTS.get(part, part)}.weight"
    return _TOP.get(name, name)


def _config(path: Path, found: Mapping[str, tuple[int, ...]]) -> UMT5Config:
    """As the folder says, or told by the shapes; heads are those of the position bias."""
    if (path / "config.json").is_file():
        return UMT5Config.from_pretrained(path)
    first = "encoder.block.0.layer"
    try:
        words, width = found.get(_SHARED) or found[_EMBEDDED]
        buckets, heads = found[f"{first}.0.SelfAttention.relative_attention_bias.weight"]
        inner = found[f"{first}.0.SelfAttention.q.weight"][0]
        hidden = found[f"{first}.1.DenseReluDense.wi_0.weight"][0]
    except KeyError as error:
        raise InputError(f"{path} is not UMT5, Wan's text encoder: give models_t5_umt5-xxl-enc-bf16.pth.") from error
    return UMT5Config(
        vocab_size=words,
        d_model=width,
        d_kv=inner // heads,
        d_ff=hidden,
        num_layers=len({name.split(".")[2] for name in found if name.startswith("encoder.block.")}),
        num_heads=heads,
        relative_attention_num_buckets=buckets,
        feed_forward_proj="gated-gelu",
    )

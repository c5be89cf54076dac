"""EX-4D's released checkpoint: a peft LoRA of Wan2.1's I2V transformer and the geometry encoder, in one file.

The file is a `torch.save` state dict with the names of the original Wan code; here the LoRA has diffusers' names, so
that it is an ordinary adapter that stacks with others. Names map one to one, and tensors are never changed.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import Tensor, nn

from ex4d_core.errors import InputError
from ex4d_core.generate.geometry_encoder import PATCH, GeometryEncoder
from ex4d_core.generate.state import Shape, check_names, fill, require_weights, same_names, shapes
from ex4d_core.generate.tensors import pickled
from ex4d_core.generate.wan_keys import transformer_names

_ATTENTIONS = ("self_attn", "cross_attn")
_PROJECTIONS = ("q", "k", "v", "o")
_HIDDEN = ("ffn.0", "ffn.2")
_LORA = re.compile(r"(?P<module>blocks\.(?P<block>[0-9]{1,9})\..+\.lora_[AB])\.(?:(?P<adapter>[^.]+)\.)?weight")
_MOST_SCALE = 100
"""Alpha / rank; trained LoRAs have 0.1 to 4."""
_GEOMETRY = ("latent_encoder.", "latent_patch_embedding.")


@dataclass(frozen=True, eq=False)
class Ex4dCheckpoint:
    """What `ex4d.ckpt` holds."""

    lora: Mapping[str, Tensor]
    """blocks.N.attn1.to_q.lora_A.weight ...: diffusers' names."""
    geometry: Mapping[str, Tensor]
    """State dict of `GeometryEncoder`."""
    rank: int
    alpha: float
    """The LoRA is scaled by alpha / rank."""
    adapter: str = "default"
    """Name that the LoRA has inside the names of the file; empty: none."""

    @property
    def width(self) -> int:
        """Of the transformer that it belongs to."""
        return self.geometry["latent_patch_embedding.weight"].shape[0]

    def geometry_encoder(self, dtype: torch.dtype | None = None) -> GeometryEncoder:
        """The encoder with its weights, cast to `dtype` where that is given."""
        first = self.geometry["latent_encoder.0.weight"]
        with init_empty_weights():
            encoder = GeometryEncoder(first.shape[1] // 2, first.shape[0], self.width)
        fill(encoder, self.geometry.items(), same_names, "EX-4D's geometry encoder", dtype)
        return encoder


@dataclass(frozen=True)
class Dimensions:
    """All that decides which tensors a checkpoint has."""

    blocks: int
    width: int
    feed_forward: int
    rank: int
    latent_channels: int
    hidden_channels: int
    """Of the geometry encoder."""

    def lora(self, adapter: str) -> dict[str, Shape]:
        """Original names of the LoRA and their shapes."""
        attention = [f"{kind}.{name}" for kind in _ATTENTIONS for name in _PROJECTIONS]
        sizes = dict.fromkeys(attention, (self.width, self.width))
        sizes |= dict(zip(_HIDDEN, ((self.width, self.feed_forward), (self.feed_forward, self.width)), strict=True))
        end = f".{adapter}.weight" if adapter else ".weight"
        expected: dict[str, Shape] = {}
        for block in range(self.blocks):
            for module, (inputs, outputs) in sizes.items():
                expected[f"blocks.{block}.{module}.lora_A{end}"] = (self.rank, inputs)
                expected[f"blocks.{block}.{module}.lora_B{end}"] = (outputs, self.rank)
        return expected

    def geometry(self) -> dict[str, Shape]:
        """Names of the geometry encoder and their shapes."""
        hidden = self.hidden_channels
        expected: dict[str, Shape] = {}
        for index, inputs in ((0, 2 * self.latent_channels), (2, hidden), (4, hidden)):
            expected[f"latent_encoder.{index}.weight"] = (hidden, inputs, 1, 1, 1)
            expected[f"latent_encoder.{index}.bias"] = (hidden,)
        expected["latent_patch_embedding.weight"] = (self.width, hidden, *PATCH)
        expected["latent_patch_embedding.bias"] = (self.width,)
        return expected


def read_checkpoint(path: Path, alpha: float | None = None) -> Ex4dCheckpoint:
    """Read a checkpoint of any size.

    The rank is seen in its shapes. Alpha stands in no tensor: it comes from the caller, or from a file of the same
    name that ends in .json, as peft writes it ({"r": 16, "lora_alpha": 16}); otherwise it is the rank, as in the
    released checkpoint.

    Args:
        path: ex4d.ckpt.
        alpha: where it is known.

    Raises:
        InputError: it cannot be read, or a tensor is missing, unexpected or of another shape than the rest asks for.
    """
    state = pickled(path)
    for name, tensor in state.items():
        require_weights(name, tensor, path.name)
    found = shapes(state)
    adapters = Counter(match["adapter"] or "" for name in state if (match := _LORA.fullmatch(name)))
    adapter = adapters.most_common(1)[0][0] if adapters else "default"
    size = _measure(found)
    check_names(found, size.lora(adapter) | size.geometry(), f"{path.name}")
    rank, alpha = size.rank, _alpha(path, size.rank) if alpha is None else alpha
    lora = {name: tensor for name, tensor in state.items() if not name.startswith(_GEOMETRY)}
    names = _diffusers_names(lora, adapter)
    geometry = {name: tensor for name, tensor in state.items() if name.startswith(_GEOMETRY)}
    return Ex4dCheckpoint({names[name]: tensor for name, tensor in lora.items()}, geometry, rank, float(alpha), adapter)


def write_checkpoint(checkpoint: Ex4dCheckpoint, path: Path) -> None:
    """Write what `read_checkpoint` reads, names and bits as in the released file.

    Args:
        checkpoint: with all its tensors.
        path: replaced where it is there. Where alpha is not the rank, it is kept in a .json file beside it.

    Raises:
        OSError: it cannot be written.
    """
    blocks = 1 + max(int(name.split(".")[1]) for name in checkpoint.lora)
    originals = Dimensions(blocks, 0, 0, 0, 0, 0).lora(checkpoint.adapter)
    back = {new: name for name, new in _diffusers_names(originals, checkpoint.adapter).items()}
    state = {back[name]: tensor for name, tensor in checkpoint.lora.items()}
    save_state(state | dict(checkpoint.geometry), path)
    if checkpoint.alpha != checkpoint.rank:
        text = json.dumps({"r": checkpoint.rank, "lora_alpha": checkpoint.alpha})
        path.with_suffix(".json").write_text(text, encoding="utf-8")


def save_state(state: Mapping[str, Any], path: Path) -> None:
    """`torch.save`, which says no more than that it cannot where a disk is full.

    Raises:
        OSError: it is.
    """
    try:
        torch.save(dict(state), path)
    except RuntimeError as error:
        if not any(word in str(error) for word in ("inline_container", "iostream")):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error


def add_lora(
    transformer: WanTransformer3DModel,
    checkpoint: Ex4dCheckpoint,
    adapter_name: str = "ex4d",
    dtype: torch.dtype | None = None,
) -> None:
    """Load the LoRA as an adapter of diffusers; before fp8 casting, offloading and compilation.

    Args:
        transformer: Wan2.1 I2V.
        checkpoint: of the same size.
        adapter_name: for `set_adapters` and others.
        dtype: to cast the adapter to, which is the dtype that the transformer computes in; None: as in the file.

    Raises:
        InputError: the checkpoint was made for another transformer: names the tensors that do not fit.
    """
    check_fits(checkpoint, transformer)
    targets = sorted({name.rsplit(".lora_", 1)[0] for name in checkpoint.lora})
    metadata = {"r": checkpoint.rank, "lora_alpha": checkpoint.alpha, "target_modules": targets}
    model: Any = transformer  # annotated too narrowly: the names have no prefix
    model.load_lora_adapter(
        dict(checkpoint.lora), prefix=None, adapter_name=adapter_name, metadata=metadata, low_cpu_mem_usage=True
    )
    set_adapter(transformer, adapter_name, checkpoint.lora, dtype or next(iter(checkpoint.lora.values())).dtype)


def set_adapter(transformer: nn.Module, adapter_name: str, lora: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    """Give a loaded adapter its values again: peft has rounded them to the type of the layer's weights, be it 8 bits.

    Args:
        transformer: with the adapter.
        adapter_name: of it.
        lora: MODULE.lora_A.weight ..., what it was loaded from.
        dtype: that the transformer computes in.
    """
    for name, tensor in lora.items():
        module, kind = name.rsplit(".", 1)
        parameter = transformer.get_parameter(f"{module}.{adapter_name}.{kind}")
        parameter.data = tensor.to(parameter.device, dtype)
        parameter.requires_grad_(False)


def check_fits(checkpoint: Ex4dCheckpoint, transformer: WanTransformer3DModel) -> None:
    """Refuse a checkpoint that was made for another transformer.

    Raises:
        InputError: names the tensors that are missing, unexpected or of the wrong shape.
    """
    config: Any = transformer.config
    first = checkpoint.geometry["latent_encoder.0.weight"]
    size = Dimensions(
        blocks=config.num_layers,
        width=config.num_attention_heads * config.attention_head_dim,
        feed_forward=config.ffn_dim,
        rank=checkpoint.rank,
        latent_channels=config.out_channels,
        hidden_channels=first.shape[0],
    )
    expected = size.lora(checkpoint.adapter)
    names = _diffusers_names(expected, checkpoint.adapter)
    wanted = {names[name]: shape for name, shape in expected.items()} | size.geometry()
    check_names(
        shapes(checkpoint.lora) | shapes(checkpoint.geometry), wanted, "EX-4D's checkpoint for this transformer"
    )


def _measure(found: Mapping[str, Shape]) -> Dimensions:
    """The sizes that most tensors agree on, so that the one that does not is found."""
    numbers = {int(match["block"]) for name in found if (match := _LORA.fullmatch(name))}
    blocks = [number for number in numbers if number < 2 * len(numbers)]  # one far above all others is a stray

    def common(*places: tuple[str, int]) -> int:
        """What most tensors have: (pattern of names, axis) ..."""
        votes = Counter(
            shape[axis]
            for pattern, axis in places
            for name, shape in found.items()
            if re.search(pattern, name) and axis < len(shape)
        )
        return votes.most_common(1)[0][0] if votes else 0

    return Dimensions(
        blocks=1 + max(blocks, default=0),
        width=common((r"_attn\.[qkvo]\.lora_A", 1), (r"_attn\.[qkvo]\.lora_B", 0)),
        feed_forward=common((r"ffn\.0\.lora_B", 0), (r"ffn\.2\.lora_A", 1)),
        rank=common((r"lora_A", 0), (r"lora_B", 1)),
        latent_channels=common((r"^latent_encoder\.0\.weight$", 1)) // 2,
        hidden_channels=common((r"^latent_encoder\.", 0)),
    )


def _alpha(path: Path, rank: int) -> float:
    config = path.with_suffix(".json")
    if not config.is_file():
        return float(rank)
    try:
        document: Any = json.loads(config.read_text(encoding="utf-8"))
        told, alpha = document["r"], float(document["lora_alpha"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise InputError(f"{config.name} does not say r and lora_alpha of {path.name}: mend or remove it.") from error
    if told != rank:
        raise InputError(
            f"{config.name} says rank {told}, but {path.name} has rank {rank}: mend or remove {config.name}."
        )
    require_scale(alpha, rank, config.name)
    return alpha


def require_scale(alpha: float, rank: int, where: str) -> None:
    """Refuse an alpha by which a LoRA would do nothing, or drown the model.

    Args:
        alpha: as a file says it.
        rank: of the LoRA.
        where: the file, for messages.

    Raises:
        InputError: it is no finite number above 0, or many times the rank.
    """
    if not 0 < alpha <= _MOST_SCALE * rank:
        raise InputError(
            f"{where} scales a LoRA of rank {rank} by an alpha of {alpha:g}, where about {rank} is usual: mend it."
        )


def _diffusers_names(originals: Iterable[str], adapter: str) -> dict[str, str]:
    """Original name -> diffusers' name of each tensor of the LoRA."""
    infix = f".{adapter}.weight"
    plain = {name: name.replace(infix, ".weight") if adapter else name for name in originals}
    names = transformer_names(plain.values())
    return {name: names[short] for name, short in plain.items()}

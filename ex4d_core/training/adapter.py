"""What is trained: a LoRA of the transformer and the geometry encoder, and its way to `ex4d.ckpt` and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.training_utils import cast_training_params
from peft import LoraConfig
from torch import Tensor, nn

from ex4d_core.errors import InputError
from ex4d_core.generate.checkpoint import Ex4dCheckpoint, check_fits
from ex4d_core.generate.geometry_encoder import GeometryEncoder
from ex4d_core.training.config import TARGETS, Target
from ex4d_core.training.parallel import part, whole

ADAPTER = "ex4d"
"""Name of the LoRA in the transformer."""
_HALVES = ("lora_A", "lora_B")


@dataclass(frozen=True)
class AdapterShape:
    """How large, and where."""

    rank: int = 16
    alpha: float = 16.0
    """The LoRA is scaled by alpha / rank."""
    hidden: int = 1024
    """Channels of the geometry encoder, between its convolutions."""
    targets: tuple[Target, ...] = TARGETS
    """Which of `TARGETS` get a LoRA."""


def new_adapter(transformer: WanTransformer3DModel, shape: AdapterShape, seed: int) -> GeometryEncoder:
    """Give a transformer a LoRA and a geometry encoder that change nothing yet, and freeze all else.

    Args:
        transformer: Wan2.1 I2V in any float type; gets the adapter "ex4d", which is float32 and trainable.
        shape: of the LoRA and the encoder.
        seed: of the random half of the LoRA and the encoder's convolutions; torch's own random numbers stay as they
            were.

    Returns:
        The encoder: float32 and trainable, on the transformer's device.
    """
    config: Any = transformer.config
    transformer.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        lora = LoraConfig(r=shape.rank, lora_alpha=shape.alpha, target_modules=list(shape.targets))  # pyright: ignore[reportArgumentType]: alpha may be a float
        transformer.add_adapter(lora, ADAPTER)
        encoder: Any = GeometryEncoder(
            config.out_channels, shape.hidden, config.num_attention_heads * config.attention_head_dim
        )
    cast_training_params(transformer, torch.float32)  # peft has rounded them to the type of the layer
    return encoder.to(transformer.device)


def trainable(*models: nn.Module) -> list[nn.Parameter]:
    """The parameters that are trained, in the order of the models and their names: always the same."""
    return [parameter for model in models for parameter in model.parameters() if parameter.requires_grad]


def trained(transformer: WanTransformer3DModel, encoder: GeometryEncoder, shape: AdapterShape) -> Ex4dCheckpoint:
    """What has been learnt, as copies on the CPU, for `checkpoint.write_checkpoint`; where sharded, all processes ask.

    Layers that `shape` leaves out are in it too, as zeros that do nothing: each tool that reads the released file
    finds all that it looks for.

    Args:
        transformer: with the adapter of `new_adapter`.
        encoder: of `new_adapter`.
        shape: of both.
    """
    lora: dict[str, Tensor] = {}
    for name, layer in _layers(transformer).items():
        if _has_lora(layer):
            halves = (whole(layer.get_parameter(f"{half}.{ADAPTER}.weight")) for half in _HALVES)
        else:
            halves = (torch.zeros(shape.rank, layer.in_features), torch.zeros(layer.out_features, shape.rank))
        lora |= {f"{name}.{half}.weight": tensor for half, tensor in zip(_HALVES, halves, strict=True)}
    return Ex4dCheckpoint(lora, whole(encoder.state_dict()), shape.rank, shape.alpha)


def load_trained(transformer: WanTransformer3DModel, encoder: GeometryEncoder, checkpoint: Ex4dCheckpoint) -> None:
    """Go on from what was learnt before, ours or the released one.

    Args:
        transformer: with the adapter of `new_adapter`.
        encoder: of `new_adapter`.
        checkpoint: of the same rank, alpha and sizes.

    Raises:
        InputError: it is of another size, or has a LoRA on layers that this one leaves out.
    """
    check_fits(checkpoint, transformer)
    config: Any = transformer.peft_config[ADAPTER]
    ours = (config.r, float(config.lora_alpha), encoder.config["hidden_channels"])
    theirs = (checkpoint.rank, checkpoint.alpha, len(checkpoint.geometry["latent_encoder.0.bias"]))
    if ours != theirs:
        told = "rank {}, alpha {:g} and {} hidden channels"
        raise InputError(
            f"The checkpoint to start from has {told.format(*theirs)}, and the training asks for"
            f" {told.format(*ours)}: give it the same numbers, or start without a checkpoint."
        )
    layers = _layers(transformer)
    without = (name for name, layer in layers.items() if not _has_lora(layer))
    if lost := next((name for name in without if checkpoint.lora[f"{name}.lora_B.weight"].any()), None):
        raise InputError(
            f"The checkpoint to start from has a LoRA on {lost}, which the training leaves out: add it to `targets`."
        )
    with torch.no_grad():
        for name, layer in layers.items():
            for half in _HALVES if _has_lora(layer) else ():
                parameter = layer.get_parameter(f"{half}.{ADAPTER}.weight")
                parameter.copy_(part(checkpoint.lora[f"{name}.{half}.weight"], parameter))
        for name, parameter in encoder.named_parameters():
            parameter.copy_(part(checkpoint.geometry[name], parameter))


def _layers(transformer: nn.Module) -> dict[str, Any]:
    """All linear layers that the released LoRA is on: blocks.N.attn1.to_q ... -> layer, wrapped by peft or not."""
    modules = dict(transformer.named_modules())
    blocks = len(list(transformer.get_submodule("blocks").children()))
    return {name: modules[name] for block in range(blocks) for name in (f"blocks.{block}.{t}" for t in TARGETS)}


def _has_lora(layer: nn.Module) -> bool:
    return hasattr(layer, "lora_A")

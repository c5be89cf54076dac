"""What is trained and what stays frozen, loaded and ready on its device."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ex4d_core.errors import InputError, MissingDependencyError
from ex4d_core.generate.checkpoint import Ex4dCheckpoint, read_checkpoint, require_scale
from ex4d_core.generate.estimates import VideoSize
from ex4d_core.generate.geometry_encoder import GeometryEncoder
from ex4d_core.generate.ladder import Plan
from ex4d_core.generate.loading import load_transformer, torch_dtype
from ex4d_core.generate.sinusoid import exact_sinusoid
from ex4d_core.generate.sizes import transformer_sizes
from ex4d_core.model_files import find_parts
from ex4d_core.training.adapter import AdapterShape, load_trained, new_adapter, trainable, trained
from ex4d_core.training.config import TrainConfig
from ex4d_core.training.dataset import Sample
from ex4d_core.training.frozen import narrow
from ex4d_core.training.memory_plan import Setup, require_room
from ex4d_core.training.objective import Noising, predict
from ex4d_core.training.parallel import World, shard


@dataclass(frozen=True, eq=False)
class TrainingModel:
    """The frozen transformer with its LoRA, and the geometry encoder."""

    transformer: Any
    """`WanTransformer3DModel`, frozen in `dtype` but for the LoRA, which is float32."""
    encoder: GeometryEncoder
    """float32."""
    shape: AdapterShape
    dtype: torch.dtype
    device: str
    parameters: list[nn.Parameter]
    """Those that are trained, always in the same order."""

    def velocity(self, sample: Sample, noising: Noising) -> Tensor:
        """What the model says about a noised sample: (1, C, t, h/8, w/8), see `objective.predict`.

        Args:
            sample: on the device.
            noising: of its latents.
        """
        geometry = self.encoder(sample.color, sample.mask)
        return predict(self.transformer, geometry, sample, noising.noisy, noising.timestep, self.dtype)

    def checkpoint(self) -> Ex4dCheckpoint:
        """See `adapter.trained`; where the model is sharded, all processes must ask."""
        return trained(self.transformer, self.encoder, self.shape)

    def load(self, checkpoint: Ex4dCheckpoint) -> None:
        """See `adapter.load_trained`."""
        load_trained(self.transformer, self.encoder, checkpoint)

    def on_device(self, sample: Sample) -> Sample:
        """A sample where the model is."""
        return Sample(**{field.name: getattr(sample, field.name).to(self.device) for field in fields(sample)})


def default_device() -> str:
    """What training computes on here."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def build(config: TrainConfig, world: World) -> TrainingModel:
    """Read the base model, and give it a LoRA and an encoder that begin as nothing or as `start_from`.

    Args:
        config: of the training.
        world: of the processes.

    Raises:
        InputError: a file is damaged or does not fit, or the LoRA's scale is out of bounds.
        MissingDependencyError: there is no base model.
    """
    require_scale(config.alpha, config.rank, "The configuration")
    if config.sharded and config.base != "whole":
        raise InputError(f'Weights kept as {config.base} cannot be sharded: set base to "whole", or sharded to false.')
    native = "float32" if torch.device(world.device).type == "cpu" else "bfloat16"
    told = native if config.dtype == "auto" else config.dtype
    plan = Plan("resident", world.device, told, tiled_vae=False, vram_bytes=0, ram_bytes=0)
    transformer: Any = load_transformer(_transformer(config), plan)
    exact_sinusoid(transformer)
    shape = AdapterShape(config.rank, config.alpha, config.hidden, config.targets)
    encoder: Any = new_adapter(transformer, shape, config.seed)
    if config.start_from is not None:
        load_trained(transformer, encoder, read_checkpoint(config.start_from))
    if config.base == "fp8":
        narrow(transformer, torch_dtype(told))
    if config.gradient_checkpointing:
        transformer.enable_gradient_checkpointing()
    if config.sharded and world.size > 1:
        shard(transformer, encoder, world)
    else:
        transformer.to(world.device)
        encoder.to(world.device)
    parameters = trainable(transformer, encoder)
    return TrainingModel(transformer, encoder, shape, torch_dtype(told), world.device, parameters)


def require_memory(config: TrainConfig, clips: Iterable[VideoSize], world: World) -> None:
    """Refuse before anything is loaded what would not fit into the GPU.

    Args:
        config: of the training.
        clips: their sizes.
        world: of the processes.

    Raises:
        InputError: there is only a GGUF file, which the configuration does not ask for.
        MissingDependencyError: it does not fit, or there is no base model.
    """
    path = _transformer(config)
    sizes = transformer_sizes(path)
    if sizes.stored != "float" and config.base != sizes.stored:
        raise InputError(f'{path} is a GGUF file: set base to "{sizes.stored}".')
    if torch.device(world.device).type != "cuda":
        return
    setup = Setup(
        rank=config.rank,
        hidden=config.hidden,
        ema=config.ema > 0,
        eight_bit=config.eight_bit,
        checkpointing=config.gradient_checkpointing,
        base=config.base,
        gpus=world.size if config.sharded else 1,
    )
    largest = max(clips, key=lambda size: size.tokens)
    require_room(sizes, largest, setup, torch.cuda.mem_get_info(world.device)[0])


def _transformer(config: TrainConfig) -> Path:
    """The base model's file or folder."""
    rung = config.base if config.base.startswith("gguf") else ""
    try:
        return find_parts("ex4d", config.model_dir, needed=(), rung=rung)["transformer"]
    except MissingDependencyError as error:
        if not rung:
            raise
        raise MissingDependencyError(
            f'base "{config.base}" needs the transformer as a GGUF file: download one that `ex4d models list` names,'
            ' name its folder in model_dir, or set base to "fp8".'
        ) from error

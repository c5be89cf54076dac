"""AdamW, and how its learning rate changes over the training."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.optimization import get_scheduler
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from ex4d_core.errors import InputError, MissingDependencyError
from ex4d_core.training.config import TrainConfig


def adamw(config: TrainConfig, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """AdamW over the parameters that are trained.

    Raises:
        InputError: moments of 8 bits cannot be sharded.
        MissingDependencyError: bitsandbytes is not there.
    """
    settings: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    if not config.eight_bit:
        return torch.optim.AdamW(parameters, **settings)
    if config.sharded:
        raise InputError("Moments of 8 bits cannot be sharded: set eight_bit or sharded to false.")
    try:
        import bitsandbytes  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingDependencyError(
            "AdamW with moments of 8 bits needs bitsandbytes, which is not installed: run `pip install bitsandbytes`,"
            " or set eight_bit to false."
        ) from error
    return bitsandbytes.optim.AdamW8bit(parameters, **settings)


def rate_schedule(config: TrainConfig, optimizer: torch.optim.Optimizer) -> LambdaLR:
    """Up to `lr` in the steps of the warm-up, then as the configuration says."""
    name = "constant_with_warmup" if config.schedule == "constant" else config.schedule
    return get_scheduler(name, optimizer, num_warmup_steps=config.warmup, num_training_steps=config.steps)


def load_schedule(
    schedule: LambdaLR, optimizer: torch.optim.Optimizer, state: dict[str, Any], config: TrainConfig
) -> None:
    """Go on from where a schedule was, with the rates that the configuration says now.

    Args:
        schedule: of the optimizer.
        optimizer: with its state loaded.
        state: of a schedule, perhaps with another `lr`.
        config: of the training.
    """
    rate = config.lr * schedule.lr_lambdas[0](state["last_epoch"])
    schedule.load_state_dict(state | {"base_lrs": schedule.base_lrs, "_last_lr": [rate]})
    for group in optimizer.param_groups:
        group |= {"lr": rate, "initial_lr": config.lr, "weight_decay": config.weight_decay}

"""The moving average of what is trained, by diffusers; it makes better videos than the last step does."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

import torch
from diffusers.training_utils import EMAModel
from torch import nn


@contextmanager
def averaged(ema: EMAModel | None, parameters: Sequence[nn.Parameter]) -> Generator[None]:
    """Put the average in the place of the parameters while this lasts; sharded ones, too.

    Args:
        ema: of these parameters; None: they stay.
        parameters: that are trained.
    """
    if ema is None:
        yield
        return
    with torch.no_grad():
        last = [parameter.detach().clone() for parameter in parameters]
        ema.copy_to(parameters)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, last, strict=True):
                parameter.copy_(value)

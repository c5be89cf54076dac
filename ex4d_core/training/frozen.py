"""The frozen weights in 8 bits: half the memory, while all that is computed stays as it is."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

_STORED = torch.float8_e4m3fn


class _Widened(nn.Module):
    """Kept in 8 bits, seen in the type that is computed in."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype

    def forward(self, stored: Tensor) -> Tensor:
        return stored.to(self._dtype)


def narrow(transformer: nn.Module, dtype: torch.dtype) -> None:
    """Keep the frozen linear layers of a transformer's blocks in 8-bit floats, as the generator's rung fp8 does.

    Not by diffusers' layerwise casting, which takes the wide weights away before the gradient has gone through them.
    To be called after adapters are added, and not for sharded models.

    Args:
        transformer: of diffusers, its blocks in `blocks`.
        dtype: that it computes in.
    """
    for layer in list(transformer.get_submodule("blocks").modules()):
        if isinstance(layer, nn.Linear) and not layer.weight.requires_grad:
            layer.weight = nn.Parameter(layer.weight.to(_STORED), requires_grad=False)
            register_parametrization(layer, "weight", _Widened(dtype), unsafe=True)  # it changes the type

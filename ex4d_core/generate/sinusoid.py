"""The sinusoid of the noise level in float64, as Wan computes it: diffusers' float32 one moves the result by 2e-5."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_LONGEST = 10000.0


class ExactSinusoid(nn.Module):
    """Takes the place of diffusers' `Timesteps`; like that, it has no parameters."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, timesteps: Tensor) -> Tensor:
        """(n,) noise levels, 0 to 1000 -> (n, channels) float32: cosines, then sines."""
        half = self.channels // 2
        device = "cpu" if timesteps.device.type == "mps" else timesteps.device  # Metal knows no float64
        powers = torch.arange(half, dtype=torch.float64, device=device) / half
        angles = timesteps.to(device, torch.float64)[:, None] / _LONGEST**powers
        return torch.cat([angles.cos(), angles.sin()], dim=1).float().to(timesteps.device)


def exact_sinusoid(transformer: nn.Module) -> None:
    """Give a Wan transformer of diffusers the sinusoid that it was trained with."""
    embedder: Any = transformer.get_submodule("condition_embedder")
    embedder.timesteps_proj = ExactSinusoid(embedder.timesteps_proj.num_channels)

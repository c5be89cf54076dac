"""Schedules of flow matching: which noise levels are visited, and how one step is taken between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

TRAINING_STEPS = 1000
"""The models are told the noise level on a scale from 0 to this."""


class Solver(Protocol):
    """Takes latents from noise to video; diffusers' schedulers behind a thin skin, or `Euler`."""

    @property
    def timesteps(self) -> Tensor:
        """(steps,) float32 on the CPU, noise levels as the model is told them, descending."""
        ...

    @property
    def sigmas(self) -> Tensor:
        """(steps,) float32 on the CPU, share of noise in the latents before each step, 1 = noise alone."""
        ...

    def step(self, prediction: Tensor, index: int, latents: Tensor) -> Tensor:
        """Latents with less noise.

        Args:
            prediction: (1, C, t, h, w) float32, velocity (noise minus video) at step `index`.
            index: number of the step; taken in order, each once, by solvers that remember.
            latents: (1, C, t, h, w) float32.

        Returns:
            (1, C, t, h, w) float32.
        """
        ...


@dataclass(frozen=True, eq=False)
class Euler:
    """Straight steps along the predicted velocity, the last one to no noise."""

    sigmas: Tensor

    @property
    def timesteps(self) -> Tensor:
        """(steps,) float32, fractions kept: the stock schedulers round them, which changes the result."""
        return self.sigmas * TRAINING_STEPS

    def step(self, prediction: Tensor, index: int, latents: Tensor) -> Tensor:
        """See `Solver`."""
        following = self.sigmas[index + 1].item() if index + 1 < len(self.sigmas) else 0.0
        return latents + prediction * (following - self.sigmas[index].item())


def euler(steps: int, shift: float = 5.0) -> Euler:
    """EX-4D's schedule: evenly spaced levels, bent towards noise: s -> shift s / (1 + (shift - 1) s).

    With 4 steps these are the 1000, 937.5, 833.3, 625 for which the step-distilled LoRAs were trained.

    Args:
        steps: how many; at least 1.
        shift: 5 is what EX-4D was made with.
    """
    even = torch.linspace(1, 0, steps + 1)[:-1]
    return Euler(shift * even / (1 + (shift - 1) * even))

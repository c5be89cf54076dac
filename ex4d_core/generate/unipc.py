"""UniPC, the solver that VACE is used with: diffusers' scheduler as a `Solver`."""

from __future__ import annotations

import torch
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor


class UniPC:
    """A schedule for one video: it remembers the steps before."""

    def __init__(self, steps: int, shift: float) -> None:
        """Begin a video.

        Args:
            steps: how many; at least 1.
            shift: how far the levels are bent towards noise.
        """
        # The defaults are those of scheduler_config.json of the released models: order 2, bh2, 1000 training steps.
        self._scheduler = UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift
        )
        self._scheduler.set_timesteps(steps)
        self._scheduler.set_begin_index(0)

    @property
    def timesteps(self) -> Tensor:
        """(steps,) float32, whole numbers: the stock pipeline cuts the fractions off."""
        return self._scheduler.timesteps.float()

    @property
    def sigmas(self) -> Tensor:
        """(steps,) float32; the scheduler has one more, for the end."""
        return self._scheduler.sigmas[:-1].float()

    @torch.no_grad()
    def step(self, prediction: Tensor, index: int, latents: Tensor) -> Tensor:
        """See `Solver`."""
        return self._scheduler.step(prediction, self._scheduler.timesteps[index], latents, return_dict=False)[0]

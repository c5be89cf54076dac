"""The denoising loop of every diffusion model here, in float32 whatever the transformer computes in, and its brakes.

Own rather than the stock pipelines': those round the latents to the transformer's dtype at every step, and neither
stop between blocks nor show what is being made.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ex4d_core.errors import InputError
from ex4d_core.generate.schedule import Solver
from ex4d_core.progress import Cancelled, never_cancelled, stop_if

Branch = Literal["cond", "uncond"]
"""With the prompt, or with the negative prompt."""

Predict = Callable[[Tensor, Tensor, Branch], Tensor]
"""(latents (1, C, t, h, w) float32, timestep (1,) float32 on their device, branch) -> velocity as the latents, of any
floating dtype."""

OnStep = Callable[[int, Tensor], None]
"""Told the number of a finished step from 0 and the video that it predicts, x0: (1, C, t, h, w) float32 latents."""


def _look_away(_index: int, _x0: Tensor) -> None:
    """For those who do not look."""


@torch.no_grad()
def denoise(
    predict: Predict,
    solver: Solver,
    latents: Tensor,
    guidance: float,
    *,
    on_step: OnStep = _look_away,
    stop: Cancelled = never_cancelled,
) -> Tensor:
    """Take noise to latents of a video.

    Two passes a step rather than one batch of two: it needs less memory, and what caches compare stays apart.

    Args:
        predict: the model.
        solver: the schedule.
        latents: (1, C, t, h, w), noise.
        guidance: scale of classifier-free guidance; 1: the branch "uncond" is not run.
        on_step: told about each step.
        stop: asked before each pass.

    Returns:
        (1, C, t, h, w) float32.

    Raises:
        CancelledError: `stop` said so.
        InputError: the model gives numbers of which no picture can be made.
    """
    latents = latents.float()
    for index, time in enumerate(solver.timesteps):
        timestep = time.reshape(1).to(latents.device)
        stop_if(stop)
        velocity = predict(latents, timestep, "cond").float()
        if guidance != 1.0:
            stop_if(stop)
            without = predict(latents, timestep, "uncond").float()
            velocity = without + guidance * (velocity - without)
        require_finite(velocity, f"The transformer, in step {index + 1},")
        on_step(index, latents - solver.sigmas[index].item() * velocity)
        latents = solver.step(velocity, index, latents)
    return latents


def require_finite(tensor: Tensor, who: str) -> None:
    """Refuse NaN and infinity, of which a black picture would be made without a word.

    Args:
        tensor: of any shape, floating.
        who: gave it, begins the message.

    Raises:
        InputError: not all numbers are finite.
    """
    if not torch.isfinite(tensor).all():
        raise InputError(
            f"{who} gave infinity or what is no number (weights are damaged, a LoRA is scaled too much, or this card's"
            " float16 is too small): run `ex4d models verify`, leave out LoRAs of your own, or use a card for bfloat16."
        )


@contextmanager
def cancellable(modules: Iterable[nn.Module], cancelled: Cancelled) -> Generator[None]:
    """Ask before each of these modules runs whether to go on: blocks of a transformer, a VAE's encoder and decoder.

    Modules that are compiled are left alone: the question would be compiled with them.

    Args:
        modules: of models that run inside this context.
        cancelled: asked.

    Raises:
        CancelledError: from within the model, when `cancelled` says so.
    """

    def ask(_module: nn.Module, _inputs: Any) -> None:
        stop_if(cancelled)

    hooks = [m.register_forward_pre_hook(ask) for m in modules if getattr(m, "_compiled_call_impl", None) is None]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()

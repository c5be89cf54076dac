"""The same numbers with less memory: layers that look at frames, or at pixels, one by one get a few at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock, TemporalBasicTransformerBlock
from diffusers.models.resnet import AlphaBlender, ResnetBlock2D
from torch import Tensor, nn

PIECE = 2**16
"""Numbers of one channel that are worked on at once: 7 frames of 128x72 latents."""


def work_in_pieces(model: nn.Module, piece: int = PIECE) -> None:
    """Let the layers of a model that treat frames or pixels alike take them a few at a time.

    What such a layer needs while it works is several times what it takes and gives; in a window of 110 frames that
    decides whether a card is large enough.

    Args:
        model: a spatio-temporal UNet or VAE decoder of diffusers, changed in place; one clip at a time, no training.
        piece: numbers of one channel worked on at once.
    """
    for module in model.modules():
        layer: Any = module
        if isinstance(module, (ResnetBlock2D, BasicTransformerBlock)):
            layer.forward = _by_frames(layer.forward, piece)
        elif isinstance(module, TemporalBasicTransformerBlock):
            layer.forward = _by_pixels(layer.forward, piece)
        elif isinstance(module, AlphaBlender):
            layer.forward = _in_place(layer)


def _by_frames(forward: Callable[..., Tensor], piece: int) -> Callable[..., Tensor]:
    """Of a layer whose inputs all have frames along the first axis."""

    def in_pieces(hidden_states: Tensor, *inputs: Any, **named: Any) -> Tensor:
        frames, pixels = len(hidden_states), hidden_states[0].numel() // _channels(hidden_states)
        step = max(1, piece // pixels)
        result: Tensor | None = None
        for begin in range(0, frames, step):
            part = slice(begin, begin + step)
            some = [value[part] if isinstance(value, Tensor) else value for value in inputs]
            others = {name: value[part] if isinstance(value, Tensor) else value for name, value in named.items()}
            made = forward(hidden_states[part], *some, **others)
            if result is None:
                result = made.new_empty(frames, *made.shape[1:])
            result[part] = made
        assert result is not None
        return result

    return in_pieces


def _by_pixels(forward: Callable[..., Tensor], piece: int) -> Callable[..., Tensor]:
    """Of a layer that looks along time: hidden_states (T, pixels, C), encoder_hidden_states (pixels, 1, D)."""

    def in_pieces(hidden_states: Tensor, num_frames: int, encoder_hidden_states: Tensor) -> Tensor:
        step = max(1, piece // num_frames)
        result = torch.empty_like(hidden_states)
        for begin in range(0, hidden_states.shape[1], step):
            part = slice(begin, begin + step)
            result[:, part] = forward(hidden_states[:, part], num_frames, encoder_hidden_states[part])
        return result

    return in_pieces


def _in_place(blender: Any) -> Callable[..., Tensor]:
    """Of what mixes two results, neither of which is used again: alpha * x_spatial + (1 - alpha) * x_temporal."""

    def mixed(x_spatial: Tensor, x_temporal: Tensor, image_only_indicator: Tensor) -> Tensor:
        alpha = blender.get_alpha(image_only_indicator, x_spatial.ndim).to(x_spatial.dtype)
        if blender.switch_spatial_to_temporal_mix:
            return x_temporal.lerp_(x_spatial, 1 - alpha)
        return x_temporal.lerp_(x_spatial, alpha)

    return mixed


def _channels(hidden_states: Tensor) -> int:
    """Of (T, C, h, w) or (T, pixels, C)."""
    return hidden_states.shape[1] if hidden_states.ndim == 4 else hidden_states.shape[2]

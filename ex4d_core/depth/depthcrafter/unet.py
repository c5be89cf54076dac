"""DepthCrafter's UNet: that of Stable Video Diffusion, but every frame looks at its own picture's token.

The stock class takes the same tensors and is wrong without a word: it hands all frames' tokens to every frame.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel
from torch import Tensor


class FrameTokenUNet(UNetSpatioTemporalConditionModel):
    """Predicts what to take away from the noisy latents of a window."""

    def forward(self, sample: Tensor, timestep: Tensor, tokens: Tensor, added_time_ids: Tensor) -> Tensor:  # type: ignore[override]
        """Predict.

        Across time, all frames look at the token of the first, as in Stable Video Diffusion.

        Args:
            sample: (B, T, 8, h, w), noisy latents before those of the footage; h and w multiples of 8.
            timestep: () float32.
            tokens: (B, T, D), CLIP's embedding of each frame.
            added_time_ids: (B, 3): frames per second, motion bucket, noise augmentation.

        Returns:
            (B, T, 4, h, w).
        """
        model: Any = self
        dtype = model.conv_in.weight.dtype
        batch, frames = sample.shape[:2]
        emb = model.time_embedding(model.time_proj(timestep.reshape(-1).expand(batch)).to(dtype))
        added = model.add_time_proj(added_time_ids.flatten()).reshape(batch, -1)
        emb = emb + model.add_embedding(added.to(dtype))  # (B, E)
        common = {
            "temb": emb.repeat_interleave(frames, dim=0),  # (B T, E)
            "image_only_indicator": torch.zeros(batch, frames, dtype=dtype, device=sample.device),
        }
        looking = common | {"encoder_hidden_states": tokens.to(dtype).flatten(0, 1)[:, None]}  # (B T, 1, D)

        hidden = model.conv_in(sample.to(dtype).flatten(0, 1))
        skips: list[Tensor] = [hidden]
        for block in model.down_blocks:
            hidden, more = block(hidden, **(looking if _looks(block) else common))
            skips += more
            del more
        hidden = model.mid_block(hidden, **looking)
        for block in model.up_blocks:
            # taken off the list first: what a block has used need not be kept
            used = tuple(reversed([skips.pop() for _ in block.resnets]))
            hidden = block(hidden, res_hidden_states_tuple=used, **(looking if _looks(block) else common))
            del used
        hidden = model.conv_out(model.conv_act(model.conv_norm_out(hidden)))
        return hidden.unflatten(0, (batch, frames))


def _looks(block: Any) -> bool:
    """Whether a block has attention."""
    return getattr(block, "has_cross_attention", False)

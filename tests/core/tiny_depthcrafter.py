"""DepthCrafter's models, tiny, with weights by a rule that never changes: those that the golden data was made with."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from ex4d_core.depth.depthcrafter.unet import FrameTokenUNet

UNET: dict[str, Any] = {
    "sample_size": 8,
    "in_channels": 8,
    "out_channels": 4,
    "down_block_types": ("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
    "up_block_types": ("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
    "block_out_channels": (32, 64),
    "addition_time_embed_dim": 16,
    "projection_class_embeddings_input_dim": 48,
    "layers_per_block": 1,
    "cross_attention_dim": 16,
    "num_attention_heads": (2, 4),
    "num_frames": 6,
}
VAE: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "block_out_channels": (32,) * 4,
    "layers_per_block": 1,
    "latent_channels": 4,
    "sample_size": 64,
    "scaling_factor": 0.18215,
}
CLIP: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 224,
    "patch_size": 14,
    "projection_dim": 16,
    "hidden_act": "gelu",
}
SCHEDULER: dict[str, Any] = {  # as in stable-video-diffusion-img2vid-xt
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "interpolation_type": "linear",
    "sigma_min": 0.002,
    "sigma_max": 700.0,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "timestep_type": "continuous",
    "use_karras_sigmas": True,
}


def ruled(model: nn.Module) -> Any:
    """Give a model its weights: Gaussian numbers of numpy's frozen RandomState, seeded by the CRC-32 of each name."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            drawn = drawn_numbers(name, tuple(tensor.shape))
            if tensor.ndim > 1:
                drawn = drawn / float(np.prod(tensor.shape[1:])) ** 0.5
            elif "norm" in name and name.endswith("weight"):
                drawn = 1 + 0.1 * drawn
            elif "mix_factor" not in name:
                drawn = 0.1 * drawn
            tensor.copy_(torch.from_numpy(drawn))
    return model.requires_grad_(False).eval()


def drawn_numbers(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Gaussian numbers that belong to a name."""
    return np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)


def clip_frames(count: int, width: int, height: int) -> NDArray[np.uint8]:
    """A disc of its own colour that moves over a ramp: (T, H, W, 3) uint8."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    frames = np.empty((count, height, width, 3), np.uint8)
    for t in range(count):
        frames[t] = np.stack([x / width, y / height, (x + y) / (width + height)], -1) * 255
        frames[t][(x - 9 * t) ** 2 + (y - height / 2) ** 2 < (height / 4) ** 2] = (250 - 15 * t, 12 * t, 90)
    return frames


class TinyModels:
    """The models that the golden data was made with; see `pipeline.Models`."""

    def image_encoder(self) -> Any:
        return ruled(CLIPVisionModelWithProjection(CLIPVisionConfig(**CLIP)))

    def pixels(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

    def vae(self, encodes: bool) -> Any:
        return ruled(AutoencoderKLTemporalDecoder(**VAE))

    def unet(self) -> FrameTokenUNet:
        return ruled(FrameTokenUNet(**UNET))

    def scheduler(self) -> Any:
        return EulerDiscreteScheduler(**SCHEDULER)


class RuledNoise:
    """The noise of the golden data: of each frame, by the same rule as the weights."""

    def picture(self, frame: int, shape: tuple[int, ...]) -> Tensor:
        return torch.from_numpy(drawn_numbers(f"picture {frame}", shape))

    def latents(self, frame: int, shape: tuple[int, ...]) -> Tensor:
        return torch.from_numpy(drawn_numbers(f"latents {frame}", shape))

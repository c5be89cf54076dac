"""DepthCrafter's UNet and the parts of Stable Video Diffusion that it needs, from folders as the hub has them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from ex4d_core import models
from ex4d_core.depth.depthcrafter.unet import FrameTokenUNet
from ex4d_core.errors import InputError
from ex4d_core.generate.clip_keys import PIXEL_MEAN, PIXEL_STD
from ex4d_core.generate.device import choose, probe
from ex4d_core.generate.state import described_by, fill, same_names
from ex4d_core.generate.tensors import tensors
from ex4d_core.weight_headers import damaged

NAME = "depthcrafter"
_UNET = "UNetSpatioTemporalConditionModel"
"""A part of the name of DepthCrafter's own class, too."""
_BASE = ("image_encoder/config.json", "vae/config.json", "scheduler/scheduler_config.json")
_STEMS = ("diffusion_pytorch_model", "model")


@dataclass(frozen=True)
class Weights:
    """Where the models lie, and what they are to be computed with."""

    unet_folder: Path
    base_folder: Path
    device: torch.device
    dtype: torch.dtype

    def image_encoder(self) -> CLIPVisionModelWithProjection:
        """CLIP's vision tower."""
        folder = self.base_folder / "image_encoder"
        with described_by(folder / "config.json"), init_empty_weights():
            model: Any = CLIPVisionModelWithProjection(CLIPVisionConfig.from_pretrained(folder))
        file = _file(folder)
        # old versions of transformers kept the numbers of the patches beside the weights
        read = ((name, tensor) for name, tensor in tensors(file) if not name.endswith("position_ids"))
        fill(model, read, same_names, str(file), self.dtype)
        return model.to(self.device)

    def pixels(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation of the pictures that CLIP was trained on."""
        file = self.base_folder / "feature_extractor/preprocessor_config.json"
        told = _json(file) if file.is_file() else {}
        return tuple(told.get("image_mean", PIXEL_MEAN)), tuple(told.get("image_std", PIXEL_STD))

    def vae(self, encodes: bool) -> AutoencoderKLTemporalDecoder:
        """The VAE.

        Args:
            encodes: in the numbers that its encoder needs, which may be float32; else in those for decoding.
        """
        folder = self.base_folder / "vae"
        with described_by(folder / "config.json"), init_empty_weights():
            model: Any = AutoencoderKLTemporalDecoder.from_config(_json(folder / "config.json"))
        file = _file(folder)
        upcast = encodes and model.config.force_upcast
        fill(model, tensors(file), same_names, str(file), torch.float32 if upcast else self.dtype)
        return model.to(self.device)

    def unet(self) -> FrameTokenUNet:
        """The model that was trained for depth."""
        with described_by(self.unet_folder / "config.json"), init_empty_weights():
            model: Any = FrameTokenUNet.from_config(_json(self.unet_folder / "config.json"))
        file = _file(self.unet_folder)
        fill(model, tensors(file), same_names, str(file), self.dtype)
        return model.to(self.device)

    def scheduler(self) -> EulerDiscreteScheduler:
        """The noise levels of Stable Video Diffusion."""
        file = self.base_folder / "scheduler/scheduler_config.json"
        with described_by(file):
            made: Any = EulerDiscreteScheduler.from_config(_json(file))
        return made


def find_weights(model_dir: Path | None) -> Weights:
    """The weights to use, on the device to use; nothing is read yet.

    Args:
        model_dir: a folder with those of both repositories, side by side or each in a folder of its own; None: what
            `ex4d models` has downloaded.

    Raises:
        InputError: the folder lacks one of them.
        MissingDependencyError: they were not downloaded.
    """
    folders = models.require(NAME) if model_dir is None else _within(model_dir)
    base = next((f for f in folders if all((f / name).is_file() for name in _BASE)), None)
    # the one in the base is Stable Video Diffusion's own, which has the same shape
    unet = next((f for f in folders if f != base and _is_unet(f) and (base is None or f != base / "unet")), None)
    for found, hub_id in ((unet, "tencent/DepthCrafter"), (base, "stabilityai/stable-video-diffusion-img2vid-xt")):
        if found is None:
            raise InputError(f"{model_dir} does not hold {hub_id}: put its folder there, as huggingface.co has it.")
    assert base is not None
    assert unet is not None
    device = choose(probe())
    # as it was made with; on cards that compute float16 slowly, and on the CPU, float32
    half = device.name != "cpu" and device.dtype != "float32"
    return Weights(unet, base, torch.device(device.name), torch.float16 if half else torch.float32)


def _within(folder: Path) -> list[Path]:
    try:
        return [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    except OSError as error:
        raise InputError(f"Cannot read the folder of models {folder} ({error.strerror}): check the name.") from error


def _is_unet(folder: Path) -> bool:
    file = folder / "config.json"
    return file.is_file() and _UNET in str(_json(file).get("_class_name", ""))


def _file(folder: Path) -> Path:
    """The weights of a component: of full precision, or where there are only those, of 16 bits."""
    found = [folder / f"{stem}{kind}.safetensors" for kind in ("", ".fp16") for stem in _STEMS]
    return next((file for file in found if file.is_file()), folder)


def _json(file: Path) -> dict[str, Any]:
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise damaged(file) from error
    if not isinstance(told, dict):
        raise damaged(file)
    return told

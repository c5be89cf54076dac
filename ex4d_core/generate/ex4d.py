"""EX-4D: Wan2.1's image-to-video model with the LoRA and the geometry encoder that let it follow a warped video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ex4d_core.erosion import eroded
from ex4d_core.files import cache_folder
from ex4d_core.generate.caching import cached
from ex4d_core.generate.clip_keys import PIXEL_MEAN, PIXEL_STD
from ex4d_core.generate.conditioning import (
    Conditioning,
    geometry_latent,
    image_latents,
    image_tokens,
    predictor,
    videos,
)
from ex4d_core.generate.geometry_encoder import GeometryEncoder, geometry_added
from ex4d_core.generate.ladder import Plan
from ex4d_core.generate.latents import FRAMES_PER_LATENT, PIXELS_PER_LATENT, decode
from ex4d_core.generate.loading import Components, load_components, torch_dtype
from ex4d_core.generate.placement import place
from ex4d_core.generate.preview import Previewer
from ex4d_core.generate.profiles import Profile
from ex4d_core.generate.prompts import DEFAULTS, Prompts
from ex4d_core.generate.sampling import Branch, cancellable, denoise
from ex4d_core.generate.schedule import euler
from ex4d_core.generate.sinusoid import exact_sinusoid
from ex4d_core.generate.sizes import ComponentSizes, sizes_of
from ex4d_core.generate.stopwatch import Stopwatch
from ex4d_core.generate.video_model import Limits, Report, Window
from ex4d_core.model_files import ModelFiles

_ENGINE = "ex4d"
_LIMITS = Limits(frames=81, pixels=832 * 480, multiple=16)
_ENCODINGS = 4  # text, first frame for CLIP, the same for the VAE, colour and mask
_VAE_STAGES = ("encoding", "decoding")


class Ex4dModel:
    """EX-4D, loaded and placed."""

    def __init__(self, parts: Components, prompts: Prompts, previewer: Previewer, plan: Plan) -> None:
        """Take over what was loaded.

        Args:
            parts: with image encoder and geometry encoder.
            prompts: of the model's text encoder.
            previewer: of its VAE.
            plan: by which the parts were placed.
        """
        self._parts = parts
        self._prompts = prompts
        self._previewer = previewer
        self._device = plan.device
        self._dtype = torch_dtype(plan.dtype)
        # float16 is too small for what happens inside the VAE; the reference computes in bfloat16
        self._vae_dtype = torch.bfloat16 if self._dtype == torch.bfloat16 else torch.float32
        self._settings: Mapping[str, Any] = {}

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `VideoModel.settings`."""
        return self._settings

    @torch.no_grad()
    def video(self, window: Window, report: Report) -> NDArray[np.uint8]:
        """See `VideoModel.video`."""
        parts, profile, watch = self._parts, window.profile, Stopwatch(self._device)
        with cancellable(self._modules(), report.cancelled):
            contexts, conditioning = self._encode(window, report, watch)
            show = self._previewer.during(report.on_preview)

            def on_step(index: int, x0: Tensor) -> None:
                report.on_progress(index + 1, profile.steps, "denoising")
                show(index, x0)

            with (
                watch.stage("denoising"),
                geometry_added(parts.transformer, conditioning.geometry),
                cached(parts.transformer, profile, profile.steps) as savings,
            ):
                latents = denoise(
                    predictor(parts.transformer, conditioning, contexts, self._dtype),
                    euler(profile.steps),
                    noise(window.color.shape, window.seed).to(self._device),
                    profile.guidance,
                    on_step=on_step,
                    stop=report.cancelled,
                )
            del conditioning, contexts
            with watch.stage("decoding"):
                frames = _frames(
                    decode(parts.vae, latents, on_chunk=lambda done, all_: report.on_progress(done, all_, "decoding"))
                )
        self._settings = savings.settings | watch.settings(_VAE_STAGES)
        return frames

    def _encode(self, window: Window, report: Report, watch: Stopwatch) -> tuple[dict[Branch, Tensor], Conditioning]:
        """Everything that is computed once, with progress."""
        told, (image_encoder, geometry_encoder) = DEFAULTS[_ENGINE], self._encoders()
        report.on_progress(0, _ENCODINGS, "encoding")
        with watch.stage("prompts"):
            contexts: dict[Branch, Tensor] = {"cond": self._prompts.embeddings(window.prompt or told.prompt)}
            if window.profile.guidance != 1.0:
                contexts["uncond"] = self._prompts.embeddings(told.negative)
        report.on_progress(1, _ENCODINGS, "encoding")
        conditioned = videos(window.color, eroded(window.mask, window.seed), self._device)
        with watch.stage("image"):
            tokens = image_tokens(image_encoder, conditioned.first_frame, PIXEL_MEAN, PIXEL_STD)
        report.on_progress(2, _ENCODINGS, "encoding")
        with watch.stage("encoding"):
            image = image_latents(self._parts.vae, conditioned, self._vae_dtype)
            report.on_progress(3, _ENCODINGS, "encoding")
            geometry = geometry_latent(self._parts.vae, geometry_encoder, conditioned, self._vae_dtype)
        report.on_progress(4, _ENCODINGS, "encoding")
        return contexts, Conditioning(image, tokens, geometry)

    def _encoders(self) -> tuple[Any, GeometryEncoder]:
        image, geometry = self._parts.image_encoder, self._parts.geometry_encoder
        if image is None or geometry is None:
            raise ValueError("EX-4D works with an image encoder and its geometry encoder.")
        return image, geometry

    def _modules(self) -> list[nn.Module]:
        """Between which it can be stopped."""
        vae: Any = self._parts.vae
        return [*self._parts.transformer.blocks, vae.encoder, vae.decoder]


@dataclass(frozen=True)
class Ex4dLoader:
    """Reads EX-4D from disk; see `diffusion.Loader`."""

    engine: str = _ENGINE
    limits: Limits = _LIMITS

    def sizes(self, files: ModelFiles) -> ComponentSizes:
        """See `Loader.sizes`."""
        return sizes_of(files)

    def load(self, files: ModelFiles, plan: Plan, profile: Profile, prompt: str = "") -> Ex4dModel:
        """See `Loader.load`."""
        store, told = cache_folder(), DEFAULTS[_ENGINE]
        prompts = Prompts(files, store / "prompts", plan.device)
        prompts.prepare([prompt or told.prompt, told.negative])  # while the memory is free
        parts = load_components(files, plan, profile)
        exact_sinusoid(parts.transformer)
        place(parts, plan)
        return Ex4dModel(parts, prompts, Previewer(parts.vae, files, plan.device, store / "previews"), plan)


EX4D = Ex4dLoader()


def noise(shape: tuple[int, ...], seed: int) -> Tensor:
    """What a video begins as: drawn on the CPU, so that it is the same on each device.

    Args:
        shape: (T, h, w, 3) of the video.
        seed: of the window.

    Returns:
        (1, 16, 1 + (T-1)/4, h/8, w/8) float32.
    """
    frames, height, width, _ = shape
    size = (1, 16, 1 + (frames - 1) // FRAMES_PER_LATENT, height // PIXELS_PER_LATENT, width // PIXELS_PER_LATENT)
    return torch.randn(size, generator=torch.Generator("cpu").manual_seed(seed))


def _frames(video: Tensor) -> NDArray[np.uint8]:
    """(1, 3, T, h, w), -1 to 1 -> (T, h, w, 3) uint8, cut off and not rounded, as the reference has it."""
    levels = ((video[0] + 1) * 127.5).clamp(0, 255).to(torch.uint8)
    return levels.permute(1, 2, 3, 0).cpu().numpy()

"""Wan-VACE: generates what a mask says, on small cards too, with weights that are free for any use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.models.transformers.transformer_wan_vace import WanVACETransformer3DModel
from numpy.typing import NDArray
from torch import Tensor, nn

from ex4d_core.errors import InputError
from ex4d_core.files import cache_folder
from ex4d_core.generate.caching import cached
from ex4d_core.generate.ladder import Plan
from ex4d_core.generate.latents import decode, encode
from ex4d_core.generate.loading import Components, load_components, torch_dtype
from ex4d_core.generate.placement import place
from ex4d_core.generate.preview import Previewer
from ex4d_core.generate.profiles import Profile
from ex4d_core.generate.prompts import DEFAULTS, DefaultPrompts, Prompts
from ex4d_core.generate.sampling import Branch, OnStep, Predict, cancellable, denoise
from ex4d_core.generate.schedule import TRAINING_STEPS
from ex4d_core.generate.sizes import ComponentSizes, sizes_of
from ex4d_core.generate.stopwatch import Stopwatch
from ex4d_core.generate.unipc import UniPC
from ex4d_core.generate.vace_conditioning import VaceInputs, control_latents, vace_inputs
from ex4d_core.generate.video_model import Limits, Report, Window
from ex4d_core.model_files import ModelFiles

_LIMITS = Limits(frames=81, pixels=832 * 480)
_BETWEEN = (832 * 480 * 1280 * 720) ** 0.5
"""Pixels; as many times more than 480p as fewer than 720p."""


@dataclass(frozen=True)
class VaceLoader:
    """A `diffusion.Loader` of one size of VACE."""

    engine: str
    limits: Limits = _LIMITS

    def sizes(self, files: ModelFiles) -> ComponentSizes:
        """See `diffusion.Loader`."""
        return sizes_of(files)

    def load(self, files: ModelFiles, plan: Plan, profile: Profile, prompt: str = "") -> VaceModel:
        """See `diffusion.Loader`."""
        told = DEFAULTS[self.engine]
        prompts = Prompts(files, cache_folder() / "prompts", plan.device, self.engine)
        prompts.prepare([prompt or told.prompt, told.negative])  # while the memory is free
        parts = load_components(files, plan, profile)
        if not isinstance(parts.transformer, WanVACETransformer3DModel):
            raise InputError(
                f"{files.transformer} is a Wan model without VACE, which the engine {self.engine} cannot use: "
                "give it a folder with Wan-VACE."
            )
        place(parts, plan)
        previewer = Previewer(parts.vae, files, plan.device, cache_folder() / "previews")
        return VaceModel(parts, plan, prompts, previewer, told)


VACE_1_3B = VaceLoader("vace-1.3b")
VACE_14B = VaceLoader("vace-14b")
"""Also of Wan2.2-VACE-Fun-A14B, whose two transformers share the steps."""


class VaceModel:
    """A `VideoModel` of one VACE transformer, or of Wan2.2's pair."""

    def __init__(
        self, parts: Components, plan: Plan, prompts: Prompts, previewer: Previewer, defaults: DefaultPrompts
    ) -> None:
        """Take what is loaded and placed.

        Args:
            parts: the models.
            plan: how they are placed.
            prompts: of their text encoder.
            previewer: of their VAE.
            defaults: for artists who say nothing.
        """
        self._parts = parts
        self._plan = plan
        self._prompts = prompts
        self._previewer = previewer
        self._defaults = defaults
        self._settings: dict[str, Any] = {}

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `VideoModel.settings`."""
        return self._settings

    @torch.no_grad()
    def video(self, window: Window, report: Report) -> NDArray[np.uint8]:
        """See `VideoModel.video`."""
        parts, profile, watch = self._parts, window.profile, Stopwatch(self._plan.device)
        inputs = vace_inputs(window.color, window.mask, window.reference)
        shift = flow_shift(window.color.shape[2], window.color.shape[1])
        with watch.stage("prompts"):
            contexts = self._contexts(window)
        with cancellable(_brakes(parts), report.cancelled):
            with watch.stage("encoding"):
                control = self._control(inputs, report)
            on_step = self._on_step(inputs, profile, report)
            with (
                watch.stage("denoising"),
                cached(parts.transformer, profile, profile.steps, parts.second_transformer) as savings,
            ):
                latents = denoise(
                    predictor(parts, control, contexts, torch_dtype(self._plan.dtype)),
                    UniPC(profile.steps, shift),
                    self._noise(control, window.seed),
                    profile.guidance,
                    on_step=on_step,
                    stop=report.cancelled,
                )
            with watch.stage("decoding"):
                made = decode(
                    parts.vae,
                    latents[:, :, inputs.reference_frames :],
                    on_chunk=lambda done, total: report.on_progress(done, total, "decoding"),
                )
        told = {"solver": "unipc", "flow_shift": shift, "reference": inputs.reference is not None}
        told |= {} if parts.second_transformer is None else {"boundary": parts.boundary}
        self._settings = told | watch.settings(("encoding", "decoding")) | savings.settings
        return _frames(made)

    def _contexts(self, window: Window) -> dict[Branch, Tensor]:
        texts: dict[Branch, str] = {"cond": window.prompt or self._defaults.prompt}
        if window.profile.guidance != 1:
            texts["uncond"] = self._defaults.negative
        self._prompts.prepare(list(texts.values()))
        return {branch: self._prompts.embeddings(text) for branch, text in texts.items()}

    def _control(self, inputs: VaceInputs, report: Report) -> Tensor:
        """(1, 96, t, h/8, w/8) float32 on the device."""
        device, total, done = self._plan.device, 2 + inputs.reference_frames, 0
        # As the reference computes it; half floats are too narrow for this VAE.
        dtype = torch.bfloat16 if self._plan.dtype == "bfloat16" else torch.float32
        report.on_progress(0, total, "encoding")

        def encoded(video: Tensor) -> Tensor:
            nonlocal done
            latents = encode(self._parts.vae, video.to(device), dtype)
            done += 1
            report.on_progress(done, total, "encoding")
            return latents

        return control_latents(inputs, encoded)

    def _noise(self, control: Tensor, seed: int) -> Tensor:
        """(1, C, t, h/8, w/8) float32, drawn on the CPU: the same on every device."""
        channels: int = self._parts.transformer.config.in_channels
        drawn = torch.randn(1, channels, *control.shape[2:], generator=torch.Generator("cpu").manual_seed(seed))
        return drawn.to(control.device)

    def _on_step(self, inputs: VaceInputs, profile: Profile, report: Report) -> OnStep:
        show = self._previewer.during(report.on_preview)
        report.on_progress(0, profile.steps, "denoising")

        def on_step(index: int, x0: Tensor) -> None:
            report.on_progress(index + 1, profile.steps, "denoising")
            show(index, x0[:, :, inputs.reference_frames :])

        return on_step


def flow_shift(width: int, height: int) -> float:
    """How far the levels are bent towards noise: 3 at 480p, 5 at 720p (VACE#107, VACE#30, diffusers#11582).

    Args:
        width: pixels.
        height: pixels.
    """
    return 3.0 if width * height < _BETWEEN else 5.0


def predictor(parts: Components, control: Tensor, contexts: Mapping[Branch, Tensor], dtype: torch.dtype) -> Predict:
    """The model as `sampling.denoise` wants it.

    Args:
        parts: with one transformer, or Wan2.2's pair: the second one predicts below `boundary`.
        control: (1, 96, t, h/8, w/8) from `control_latents`, on the device.
        contexts: (1, 512, D) embeddings of prompt and negative prompt, there too.
        dtype: that the transformers compute in.
    """
    control = control.to(dtype)
    texts = {branch: context.to(dtype) for branch, context in contexts.items()}

    def predict(latents: Tensor, timestep: Tensor, branch: Branch) -> Tensor:
        transformer = parts.transformer
        if parts.second_transformer is not None and timestep.item() < parts.boundary * TRAINING_STEPS:
            transformer = parts.second_transformer
        with transformer.cache_context(branch):
            return transformer(
                hidden_states=latents.to(dtype),
                timestep=timestep,
                encoder_hidden_states=texts[branch],
                control_hidden_states=control,  # every hint counts in full, unless told otherwise
                return_dict=False,
            )[0]

    return predict


def _brakes(parts: Components) -> list[nn.Module]:
    """What is called often enough to ask there whether to go on: blocks, and the VAE's ends, for each latent frame."""
    pair = [each for each in (parts.transformer, parts.second_transformer) if each is not None]
    blocks = [block for each in pair for block in (*each.blocks, *each.vace_blocks)]
    return [*blocks, parts.vae.encoder, parts.vae.decoder]


def _frames(video: Tensor) -> NDArray[np.uint8]:
    """(1, 3, T, h, w) float32, -1 to 1 -> (T, h, w, 3) uint8."""
    return video[0].movedim(0, 3).add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy()

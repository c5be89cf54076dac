"""How good it is by now: the loss on clips that were held out, always with the same noise, and videos made of them."""

from __future__ import annotations

import logging
from fractions import Fraction

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from numpy.typing import NDArray
from torch import Tensor

from ex4d_core.contact import contact_sheet, pick_times
from ex4d_core.errors import InputError
from ex4d_core.files import explained
from ex4d_core.generate.conditioning import Conditioning, predictor
from ex4d_core.generate.geometry_encoder import geometry_added
from ex4d_core.generate.latents import decode
from ex4d_core.generate.loading import load_vae
from ex4d_core.generate.sampling import denoise
from ex4d_core.generate.schedule import euler
from ex4d_core.images import write_png
from ex4d_core.model_files import find_parts
from ex4d_core.training.config import TrainConfig
from ex4d_core.training.dataset import Sample
from ex4d_core.training.log import TrainingLog
from ex4d_core.training.model import TrainingModel
from ex4d_core.training.objective import loss, noised, shifted
from ex4d_core.training.parallel import World, agreed
from ex4d_core.training.pool import Place, Pool
from ex4d_core.video_out import write_viewing

FOLDER = "validation"
LOSS = "validation/loss"
"""What the log calls the mean loss."""
LEVELS = 4
"""Of noise, at which the loss of a clip is measured."""
_LOG = logging.getLogger(__name__)


class Validation:
    """The held-out clips, each with its first masks, and where their videos go."""

    def __init__(self, config: TrainConfig, pool: Pool, model: TrainingModel, world: World) -> None:
        """Read the clips; those that are damaged are left out.

        Args:
            config: of the training.
            pool: with the held-out clips.
            model: that is trained.
            world: of the processes.

        Raises:
            InputError: the VAE is damaged.
        """
        self._config, self._model, self._world = config, model, world
        self._clips: list[tuple[Place, Sample]] = []
        for place in pool.held_out:
            try:
                self._clips.append((place, place.sample(0)))
            except InputError as error:
                _LOG.warning("Validation goes without a clip: %s", error)
        self._vae = _vae(config) if world.leads and self._clips else None

    def run(self, step: int, log: TrainingLog | None) -> float | None:
        """Measure, make the videos, and log both; all processes take part, the one that leads writes.

        Args:
            step: how many are done.
            log: of the process that leads.

        Returns:
            Mean loss; None: no clip is held out.

        Raises:
            OutputError: something cannot be written.
        """
        if not self._clips:
            return None
        losses: list[float] = []
        for number, (place, sample) in enumerate(self._clips):
            sample = self._model.on_device(sample)
            losses += self._losses(sample, number)
            made = self._made(sample, number)
            with agreed(self._world):
                if log is not None and self._vae is not None:
                    self._write(step, place, sample, made, self._vae, log)
        mean = sum(losses) / len(losses)
        with agreed(self._world):
            if log is not None:
                log.add(step, {LOSS: mean})
        return mean

    @torch.no_grad()
    def _losses(self, sample: Sample, number: int) -> list[float]:
        """At evenly spread levels of noise, bent as in training."""
        even = (torch.arange(LEVELS) + 0.5) / LEVELS
        found: list[float] = []
        for level in shifted(even, self._config.shift).split(1):
            noising = noised(sample.latents, self._noise(sample, number), level.to(sample.latents.device))
            found.append(loss(self._model.velocity(sample, noising), noising.target).item())
        return found

    @torch.no_grad()
    def _made(self, sample: Sample, number: int) -> Tensor:
        """Latents of the video that the model makes of the clip with holes, without guidance."""
        model, config = self._model, self._config
        geometry = model.encoder(sample.color, sample.mask)
        conditioning = Conditioning(sample.image, sample.tokens, geometry)
        with geometry_added(model.transformer, geometry):
            predict = predictor(model.transformer, conditioning, {"cond": sample.text}, model.dtype)
            return denoise(predict, euler(config.validation_steps, config.shift), self._noise(sample, number), 1.0)

    def _noise(self, sample: Sample, number: int) -> Tensor:
        """The same in each run."""
        draw = torch.Generator().manual_seed(self._config.seed + number)
        return torch.randn(sample.latents.shape, generator=draw).to(sample.latents.device)

    def _write(
        self, step: int, place: Place, sample: Sample, made: Tensor, vae: AutoencoderKLWan, log: TrainingLog
    ) -> None:
        """OUT/validation/step-0000200/CLIP.png and .mp4.

        Raises:
            OutputError: they cannot be written.
        """
        clip = place.clip
        folder = self._config.out / FOLDER / f"step-{step:07d}"
        vae.to(sample.latents.device)  # pyright: ignore[reportArgumentType]
        shown = {"clip": sample.latents, "with holes": sample.color, f"made after {step} steps": made}
        videos = {label: _frames(decode(vae, latents)) for label, latents in shown.items()}
        vae.to("cpu")  # pyright: ignore[reportArgumentType]
        frames = next(iter(videos.values()))
        times = pick_times(len(frames))
        sheet = contact_sheet({label: [video[t] for t in times] for label, video in videos.items()}, times)
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
        write_png(folder / f"{clip.name}.png", sheet)
        side_by_side = np.concatenate(list(videos.values()), axis=2)  # (T, h, 3 w, 3)
        write_viewing(folder / f"{clip.name}.mp4", iter(side_by_side), Fraction(*clip.fps))
        log.picture(step, f"validation/{clip.name}", sheet)


def _vae(config: TrainConfig) -> AutoencoderKLWan | None:
    """The base model's; without one no videos are made."""
    path = find_parts("ex4d", config.model_dir, needed=()).get("vae")
    if path is None:
        _LOG.warning("There is no VAE, so validation tells its loss and makes no videos.")
        return None
    return load_vae(path)


def _frames(video: Tensor) -> NDArray[np.uint8]:
    """(1, 3, T, h, w), -1 to 1 -> (T, h, w, 3) uint8."""
    levels = ((video[0] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(1, 2, 3, 0).cpu().numpy()

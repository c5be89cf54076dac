"""Small pictures of what a video will be, while it is denoised, for hardly any time."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ex4d_core.errors import OutputError
from ex4d_core.files import atomic_file
from ex4d_core.generate.fingerprint import fingerprint
from ex4d_core.generate.latents import PIXELS_PER_LATENT, encode
from ex4d_core.generate.memory import is_out_of_memory
from ex4d_core.generate.sampling import OnStep
from ex4d_core.generate.taew import read_tiny_decoder
from ex4d_core.generate.video_model import OnPreview, no_preview
from ex4d_core.model_files import ModelFiles

SHARE = 0.02
"""Of the time of denoising, that previews may take."""

_LOG = logging.getLogger(__name__)
_CHART_SIZE = 96  # pixels; 144 latent pixels, twice, for 17 unknowns
_CHART_FRAMES = 5


class Previewer:
    """Shows latents of one VAE: by `taew2_1` where there is one, else by the linear map that fits its colours best."""

    def __init__(
        self, vae: Any, files: ModelFiles, device: str, folder: Path, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """Load nothing yet.

        Args:
            vae: `AutoencoderKLWan`.
            files: with the VAE's file, and the tiny decoder's if there is one.
            device: of torch, that the VAE computes on and the latents are on.
            folder: where the linear map is kept.
            clock: seconds.
        """
        self._vae = vae
        self._files = files
        self._device = torch.device(device)
        self._folder = folder
        self._clock = clock
        self._picture: Callable[[Tensor], Tensor] | None = None
        self._cost = 0.0  # seconds, of the last preview

    def during(self, on_preview: OnPreview) -> OnStep:
        """Begin to show one video; to be called when denoising begins.

        Reads the tiny decoder, or runs the VAE once where its linear map is not known yet.

        Args:
            on_preview: shown (t, h', w', 3) uint8, one frame for each latent one; h' is h/4 with `taew2_1`, else h/8.

        Returns:
            What to tell about each step. It shows those for which the time is there: all previews together take at most
            `SHARE` of the time since the beginning. Only the first of all may cost more, as nobody knows its cost yet;
            the next then wait until that is made up for.

        Raises:
            InputError: the file of the tiny decoder is not one.
        """
        if on_preview is no_preview:
            return lambda _index, _x0: None
        picture = self._picture = self._picture or self._make_picture()
        began, spent = self._clock(), 0.0

        def on_step(_index: int, x0: Tensor) -> None:
            nonlocal spent
            if spent + self._cost > SHARE * (self._clock() - began):
                return
            self._wait()  # the step itself may still be under way, and is not to be counted
            start = self._clock()
            try:
                frames = _bytes(picture(x0))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                _LOG.warning("There is no memory left for previews.")
                self._cost = math.inf
                return
            on_preview(frames)
            self._cost = self._clock() - start
            spent += self._cost

        return on_step

    def _make_picture(self) -> Callable[[Tensor], Tensor]:
        if self._files.preview_decoder is not None:
            # One frame for each latent one, a quarter of the size: two fifths of the whole decoder's work.
            decoder = read_tiny_decoder(self._files.preview_decoder, time=(1, 1, 1), space=(2, 1, 1))
            decoder = decoder.to(self._device, torch.float16 if self._device.type == "cuda" else torch.float32)
            return torch.no_grad()(lambda x0: torch.cat(list(decoder.frames(x0))).movedim(1, 3))
        coefficients = color_map(self._vae, self._files.vae, self._device, self._folder)
        return lambda x0: apply_color_map(coefficients, x0)

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        elif self._device.type == "mps":
            torch.mps.synchronize()


def color_map(vae: Any, weights: Path, device: torch.device, folder: Path) -> Tensor:
    """The linear map from the latents of a VAE to colour, derived once for each VAE and kept.

    Args:
        vae: `AutoencoderKLWan`.
        weights: its file or folder.
        device: that it computes on.
        folder: where maps are kept.

    Returns:
        (C + 1, 3) float32 on the device; the last row is the constant.
    """
    path = folder / f"{fingerprint(weights)}.safetensors"
    try:
        return load_file(path)["color_map"].to(device)
    except (OSError, SafetensorError, KeyError):
        _LOG.info("Fitting the colours of previews to %s, once.", weights)
    fitted = fit_color_map(vae, device)
    try:
        with atomic_file(path) as temporary:
            save_file({"color_map": fitted}, temporary)
    except (OutputError, SafetensorError) as error:
        _LOG.warning("The colours of previews are not kept, and will be fitted again: %s", error)
    return fitted.to(device)


def fit_color_map(vae: Any, device: torch.device) -> Tensor:
    """Least squares between the latents of a picture with the statistics of photographs and its colours.

    Args:
        vae: `AutoencoderKLWan`.
        device: that it computes on.

    Returns:
        (C + 1, 3) float32 on the CPU.
    """
    chart = _chart()  # (3, h, w)
    video = (chart * 2 - 1)[None, :, None].expand(-1, -1, _CHART_FRAMES, -1, -1)
    latents = encode(vae, video.contiguous().to(device)).cpu().double()  # (1, C, t, h/8, w/8)
    colors = F.avg_pool2d(chart[None].double(), PIXELS_PER_LATENT)  # (1, 3, h/8, w/8)
    samples = latents[0].flatten(1).T  # (t * n, C)
    samples = torch.cat([samples, torch.ones(len(samples), 1, dtype=samples.dtype)], dim=1)
    wanted = colors[0].flatten(1).T.repeat(latents.shape[2], 1)  # (t * n, 3)
    return torch.linalg.lstsq(samples, wanted, driver="gelsd").solution.float().contiguous()


def apply_color_map(coefficients: Tensor, latents: Tensor) -> Tensor:
    """Latents (1, C, t, h, w) as colours (t, h, w, 3), about 0 ... 1."""
    pixels = latents[0].movedim(0, -1).to(coefficients)  # (t, h, w, C)
    return pixels @ coefficients[:-1] + coefficients[-1]


def _chart() -> Tensor:
    """A picture, (3, h, w) float32 0 ... 1: amplitudes that fall with frequency, as in photographs, in all colours."""
    random = np.random.default_rng(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(_CHART_SIZE), np.fft.rfftfreq(_CHART_SIZE), indexing="ij"))
    frequency[0, 0] = np.inf
    noise = np.fft.rfft2(random.standard_normal((3, _CHART_SIZE, _CHART_SIZE)))
    waves = np.fft.irfft2(noise / frequency, (_CHART_SIZE, _CHART_SIZE))
    waves /= waves.std(axis=(1, 2), keepdims=True)
    return torch.from_numpy(np.clip(0.5 + 0.25 * waves, 0, 1)).float()


def _bytes(colors: Tensor) -> NDArray[np.uint8]:
    return colors.float().clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()

"""Clips as the trainer gets them: encoded once by the generator's own functions, so that no VAE is needed later."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ex4d_core.errors import Ex4dError, InputError
from ex4d_core.files import cache_folder
from ex4d_core.generate.clip_keys import PIXEL_MEAN, PIXEL_STD
from ex4d_core.generate.conditioning import geometry_inputs, image_latents, image_tokens, videos
from ex4d_core.generate.device import choose, probe
from ex4d_core.generate.fingerprint import fingerprint
from ex4d_core.generate.latents import encode
from ex4d_core.generate.loading import load_image_encoder, load_vae, torch_dtype
from ex4d_core.generate.memory import is_out_of_memory
from ex4d_core.generate.prompts import DEFAULTS, Prompts
from ex4d_core.generate.sampling import require_finite
from ex4d_core.model_files import EncoderFiles, find_encoders
from ex4d_core.training.material import Material

DEFAULT_PROMPT = DEFAULTS["ex4d"].prompt


class Encoders:
    """VAE, image encoder and text encoder of EX-4D."""

    def __init__(self, model_dir: Path | None = None, device: str = "") -> None:
        """Find them, load nothing yet.

        Args:
            model_dir: a folder with them, of any known layout; None: what `ex4d models` has.
            device: of torch; empty: the fastest.

        Raises:
            InputError: a folder is not there, a file is damaged, or there is no such device.
            MissingDependencyError: VAE or image encoder is not there.
        """
        chosen = choose(probe())
        self._device = _checked(device) or chosen.name
        on_best = self._device.partition(":")[0] == chosen.name
        # as `Ex4dModel` computes: float16 is too small for what happens inside the VAE
        self._dtype = torch_dtype("bfloat16" if on_best and chosen.dtype == "bfloat16" else "float32")
        self._files = find_encoders([] if model_dir is None else [model_dir])
        self._prompts = Prompts(self._files, cache_folder() / "prompts", self._device)
        self._loaded: tuple[Any, Any] | None = None

    @property
    def revisions(self) -> dict[str, str]:
        """Component -> fingerprint of its weights; without the text encoder where only its embeddings are kept.

        Raises:
            InputError: a file cannot be read.
        """
        found = _fingerprints(self._files)
        return found | ({"text_encoder": self._prompts.revision} if self._prompts.revision else {})

    def prepare(self, prompts: Sequence[str]) -> None:
        """Encode all prompts that are new, while the memory is free; see `Prompts.prepare`."""
        self._prompts.prepare(list(dict.fromkeys(prompts)))

    @torch.no_grad()
    def tensors(self, material: Material, prompt: str) -> dict[str, Tensor]:
        """All that a shard holds, see `dataset_format.shard_shapes`, float32 but for the text.

        Args:
            material: of the clip.
            prompt: that describes it.

        Raises:
            Ex4dError: the memory runs out, or a model gives numbers that are none.
        """
        try:
            return self._encoded(material, prompt)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            height, width = material.frames.shape[1:3]
            raise Ex4dError(
                f"The memory of {self._device} is too small to encode {len(material.frames)} frames of {width}x{height}"
                ": close other programs, or give a smaller --size, fewer --frames or --device cpu."
            ) from error

    def _encoded(self, material: Material, prompt: str) -> dict[str, Tensor]:
        vae, image_encoder = self._models()
        # the first frame of each variant is whole, so what is made of it is the same for all
        whole = videos(material.frames, np.ones(material.frames.shape[:3], np.bool_), self._device)
        tensors = {
            "latents": encode(vae, whole.color, self._dtype),
            "image": image_latents(vae, whole, self._dtype),
            "tokens": image_tokens(image_encoder, whole.first_frame, PIXEL_MEAN, PIXEL_STD),
        }
        for number, mask in enumerate(material.masks):
            holed = videos(material.frames, mask, self._device)
            tensors[f"color.{number}"], tensors[f"mask.{number}"] = geometry_inputs(vae, holed, self._dtype)
        for tensor in tensors.values():
            require_finite(tensor, "The encoder of a clip")
        return {name: tensor[0].cpu() for name, tensor in tensors.items()} | {"text": self._prompts.tokens(prompt)}

    def _models(self) -> tuple[Any, Any]:
        if self._loaded is None:
            vae: Any = load_vae(self._files.vae)
            image_encoder: Any = load_image_encoder(self._files.image_encoder)
            self._loaded = (vae.to(self._device), image_encoder.to(self._device))
        return self._loaded


def _fingerprints(files: EncoderFiles) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, path in (("vae", files.vae), ("image_encoder", files.image_encoder)):
        try:
            found[name] = fingerprint(path)
        except OSError as error:
            raise InputError(f"Cannot read {path} ({error.strerror}): check its permissions.") from error
    return found


def _checked(device: str) -> str:
    """The name of a device that works."""
    try:
        if device:
            torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"There is no device {device!r} for torch here: give cpu, or leave out --device.") from error
    return device

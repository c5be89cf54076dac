"""Networks of transformers as they lie on disk: config.json, preprocessor_config.json, model.safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from numpy.typing import NDArray
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from ex4d_core.errors import InputError, MissingDependencyError
from ex4d_core.generate.device import choose, probe
from ex4d_core.models import absence, known_model, location

_FAULTS = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError)
"""What transformers raises of its own where a file is none of its."""
_FILES = ("config.json", "preprocessor_config.json", "model.safetensors")


def weights_folder(name: str, model_dir: Path | None) -> Path:
    """The folder of a model: what the user named, or what was downloaded.

    Args:
        name: of the model in the catalogue.
        model_dir: named by the user.

    Raises:
        InputError: the user's folder lacks a file.
        MissingDependencyError: it was not downloaded; the sentence names the command.
    """
    if model_dir is None:
        found = location(known_model(name))
        if found is None:
            raise MissingDependencyError(absence(known_model(name)))
        return found
    lacking = [file for file in _FILES if not (model_dir / file).is_file()]
    if lacking:
        raise InputError(
            f"{model_dir} has no {lacking[0]}: give --depth-model-dir a folder with {', '.join(_FILES)} of {name}, or "
            "leave it out."
        )
    return model_dir


def load_network(kind: Any, folder: Path, name: str) -> Any:
    """A model with its weights, float32, on the device that computes best.

    Args:
        kind: its class, of transformers.
        folder: see `weights_folder`.
        name: of the estimator, for messages.

    Raises:
        InputError: the files are damaged, or another model's.
    """
    bars, verbosity = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()  # it would write over ours
    transformers_logging.set_verbosity_error()  # what is missing, we say ourselves
    try:
        model, report = kind.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (*_FAULTS, StrictDataclassError, SafetensorError) as error:
        raise _unusable(folder, name) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
    if report["missing_keys"] or report["mismatched_keys"]:  # transformers fills them with random numbers
        raise _unusable(folder, name)
    return model.eval().requires_grad_(False).to(choose(probe()).name)


def read_preprocessing(folder: Path, name: str) -> dict[str, Any]:
    """How pictures are prepared for a network, as `preprocessor_config.json` tells.

    Raises:
        InputError: it cannot be read.
    """
    try:
        found: dict[str, Any] = json.loads((folder / "preprocessor_config.json").read_text("utf-8"))
        size: dict[str, int] = found["size"]
        return found | {"size": (int(size["width"]), int(size["height"]))}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unusable(folder, name) from error


def normalised(picture: NDArray[Any], settings: dict[str, Any]) -> torch.Tensor:
    """A picture (H, W, 3) uint8 as (1, 3, H, W) float32, mean and deviation taken out."""
    pixels = torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)[None]  # [1, 3, H, W]
    mean, deviation = (torch.tensor(settings[key])[:, None, None] for key in ("image_mean", "image_std"))
    return (pixels * settings["rescale_factor"] - mean) / deviation


def _unusable(folder: Path, name: str) -> InputError:
    return InputError(
        f"The weights in {folder} are damaged, or not those of {name}: run `ex4d models verify {name} --repair`, or "
        "give another --depth-model-dir."
    )

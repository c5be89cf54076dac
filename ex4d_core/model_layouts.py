"""The parts of models that lie in a folder: of diffusers, of Wan's own files, of ComfyUI, of the hub's cache."""

from __future__ import annotations

import functools
import hashlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ex4d_core.errors import Ex4dError, OutputError
from ex4d_core.files import cache_folder
from ex4d_core.model_kinds import PICKLES, Candidate, candidate
from ex4d_core.sentence_pieces import write_tokenizer
from ex4d_core.weight_headers import INDICES, raw_tensor
from ex4d_core.weight_headers import damaged as damaged_file

COMFY = (
    *("diffusion_models", "unet", "checkpoints", "loras"),
    *("vae", "vae_approx", "clip_vision", "text_encoders", "clip"),
)
"""In ComfyUI's `models`; artists sort what is in them into folders of their own."""
_WHOLE = ("transformer", "transformer_2", "vae", "image_encoder", "text_encoder")
"""Folders of diffusers, one component each."""
_PAIR = ("high_noise_model", "low_noise_model")
"""Wan2.2's own folders of its two transformers."""
_TOKENIZERS = ("tokenizer", "google/umt5-xxl", "umt5-xxl", "text_encoders/umt5-xxl", "models/text_encoders/umt5-xxl")
_SUFFIXES = (".safetensors", ".gguf", *PICKLES)
_SHARD = "diffusion_pytorch_model"
_LOG = logging.getLogger(__name__)


def candidates(folder: Path, damaged: list[Ex4dError]) -> list[Candidate]:
    """All that may serve as part of a model.

    Args:
        folder: or a single file.
        damaged: what cannot be read is noted here, for it may be what is missed later.
    """
    found: list[Candidate] = []
    for path in _components(folder):
        try:
            serves = candidate(path)
        except Ex4dError as error:
            damaged.append(error)
            continue
        found += [serves] if serves is not None else []
    return found


def tokenizer(folder: Path) -> Path | None:
    """The folder of the text encoder's tokenizer."""
    places = [folder / name for name in _TOKENIZERS]
    return next((place for place in places if (place / "tokenizer.json").is_file()), None)


def tokenizer_within(text_encoder: Path) -> Path | None:
    """The tokenizer that ComfyUI's file of a text encoder holds, as a folder; made once and kept.

    Raises:
        InputError: the file is damaged.
    """
    model = raw_tensor(text_encoder, "spiece_model") if text_encoder.suffix == ".safetensors" else None
    if model is None:
        return None
    folder = cache_folder() / "tokenizers" / hashlib.sha256(model).hexdigest()[:16]
    if not (folder / "tokenizer.json").is_file():
        try:
            write_tokenizer(model, folder)
        except ValueError as error:
            raise damaged_file(text_encoder) from error
        except OutputError as error:
            _LOG.warning("The tokenizer of %s is not kept, and made again in each run: %s", text_encoder.name, error)
            folder = Path(_scratch().name) / folder.name
            write_tokenizer(model, folder)
    return folder


@functools.cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder that goes with the process."""
    return tempfile.TemporaryDirectory(prefix="ex4d-")


def _components(folder: Path) -> Iterator[Path]:
    """Files and folders that hold one component each."""
    if folder.is_file():
        yield folder.parent if folder.name in INDICES else folder
        return
    for name in (*_WHOLE, *_PAIR):
        if any((folder / name).glob("*.safetensors")) and (folder / name / "config.json").is_file():
            yield folder / name
    if any(folder.glob(f"{_SHARD}*.safetensors")):
        yield folder
    yield from (path for path in _files(folder.glob("*")) if not path.name.startswith((_SHARD, "model.")))
    yield from _files((folder / "models").glob("*"))
    for parent in (folder, folder / "models"):
        for name in COMFY:
            if not (parent / name / "config.json").is_file():  # diffusers has a folder vae, too
                yield from _files((parent / name).rglob("*"))


def _files(paths: Iterator[Path]) -> list[Path]:
    return sorted(path for path in paths if path.suffix in _SUFFIXES and path.is_file())

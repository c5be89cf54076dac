"""The files of an engine's models: found in a folder of any known layout (diffusers, original Wan, ComfyUI, GGUF)."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from ex4d_core import models
from ex4d_core.errors import Ex4dError, InputError, MissingDependencyError
from ex4d_core.model_kinds import Candidate, Part
from ex4d_core.model_layouts import COMFY, candidates, tokenizer, tokenizer_within

_LOG = logging.getLogger(__name__)
_OTHERS: tuple[Part, ...] = ("vae", "image_encoder", "text_encoder", "adapter", "distilled", "preview_decoder")
_EX4D_ONLY: tuple[Part, ...] = ("image_encoder", "adapter", "distilled")
_CALLED: dict[Part, str] = {
    "transformer": "transformer",
    "vae": "VAE",
    "image_encoder": "image encoder (CLIP)",
    "text_encoder": "text encoder",
    "adapter": "checkpoint ex4d.ckpt",
    "distilled": "step-distilled LoRA",
    "preview_decoder": "preview decoder",
}
_NEEDED: tuple[Part, ...] = ("transformer", "vae", "image_encoder", "adapter")
_RELEASED = frozenset(
    {
        "ex4d.ckpt",
        *("vae", "image_encoder", "text_encoder"),  # diffusers' folders
        *("wan2.1_vae.pth", "wan_2.1_vae.safetensors"),
        *("models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth", "clip_vision_h.safetensors"),
        *("models_t5_umt5-xxl-enc-bf16.pth", "umt5_xxl_fp16.safetensors"),
        *("wan2.1_i2v_lora_rank64_lightx2v_4step.safetensors", "taew2_1.safetensors"),
    }
)
"""Names, in small letters, under which parts were released: what has one goes before copies and relatives."""
_HIGH = re.compile(r"high[_-]?noise", re.IGNORECASE)
_LOW = re.compile(r"low[_-]?noise|^transformer_2$", re.IGNORECASE)
_Q8_BITS = 7.0
"""GGUF of at least so many bits a number counts as 8-bit, of fewer as 4-bit: Q4 to Q6."""


@dataclass(frozen=True)
class ModelFiles:
    """Where each component lies: a file, or a folder of diffusers' or the original layout."""

    transformer: Path
    vae: Path
    second_transformer: Path | None = None
    """Of Wan2.2's pair, for the later, less noisy steps."""
    image_encoder: Path | None = None
    text_encoder: Path | None = None
    tokenizer: Path | None = None
    adapter: Path | None = None
    """EX-4D's LoRA and geometry encoder: `ex4d.ckpt`."""
    distilled: Path | None = None
    """The step-distilled LoRA of the profile `fast`."""
    preview_decoder: Path | None = None
    """`taew2_1`, which shows latents in milliseconds."""


class TextFiles(Protocol):
    """What encodes prompts; each may be missing."""

    @property
    def text_encoder(self) -> Path | None: ...

    @property
    def tokenizer(self) -> Path | None: ...


@dataclass(frozen=True)
class EncoderFiles:
    """What makes EX-4D's conditioning of a video: all but the transformer and what is added to it."""

    vae: Path
    image_encoder: Path
    text_encoder: Path | None = None
    tokenizer: Path | None = None


def find_files(engine: str, folders: Sequence[Path], rung: str = "") -> ModelFiles:
    """Find what an engine loads.

    What the folders lack is taken from the models that `ex4d models` has on this machine.

    Args:
        engine: ex4d, vace-1.3b or vace-14b.
        folders: of any known layout, or single files; the first that has a part counts. Of ComfyUI its own folder or
            its `models`.
        rung: of the VRAM ladder, if one is asked for: gguf-q8 and gguf-q4 take a file of that kind, others a file of
            floats where there is one.

    Raises:
        InputError: a folder is not there, a file is damaged, or it is not clear which is meant.
        MissingDependencyError: a part is not there; the sentence names the command and the gigabytes.
    """
    first, second, paths = _find(engine, folders, rung, _NEEDED)
    return ModelFiles(
        transformer=first.path,
        second_transformer=second.path if second is not None else None,
        tokenizer=_words(paths.get("text_encoder"), engine, folders),
        vae=paths["vae"],
        image_encoder=paths.get("image_encoder"),
        text_encoder=paths.get("text_encoder"),
        adapter=paths.get("adapter"),
        distilled=paths.get("distilled"),
        preview_decoder=paths.get("preview_decoder"),
    )


def find_parts(engine: str, folders: Sequence[Path], needed: Collection[Part], rung: str = "") -> Mapping[Part, Path]:
    """Find what of an engine's models is there, for who does not need all of them.

    Args:
        engine: see `find_files`.
        folders: see `find_files`.
        needed: what must be there, besides the transformer.
        rung: see `find_files`.

    Raises:
        InputError: as `find_files`.
        MissingDependencyError: as `find_files`.
    """
    first, _, paths = _find(engine, folders, rung, needed)
    return {"transformer": first.path, **paths}


def find_encoders(folders: Sequence[Path]) -> EncoderFiles:
    """Find what makes EX-4D's conditioning, where there need be no transformer.

    Args:
        folders: see `find_files`.

    Raises:
        InputError: a folder is not there, a file is damaged, or it is not clear which is meant.
        MissingDependencyError: VAE or image encoder is not there; the sentence names the command and the gigabytes.
    """
    shelves, damaged = _shelves("ex4d", folders)
    parts: list[Part] = ["vae", "image_encoder", "text_encoder"]
    paths = _others("ex4d", parts, _NEEDED, shelves, folders, damaged)
    text_encoder = paths.get("text_encoder")
    return EncoderFiles(paths["vae"], paths["image_encoder"], text_encoder, _words(text_encoder, "ex4d", folders))


def _find(
    engine: str, folders: Sequence[Path], rung: str, needed: Collection[Part]
) -> tuple[Candidate, Candidate | None, dict[Part, Path]]:
    """The transformer, Wan2.2's second one, and where the other parts are that are there."""
    shelves, damaged = _shelves(engine, folders)
    kind = "i2v" if engine == "ex4d" else "vace"
    transformers = [[c for c in shelf if c.part == "transformer" and c.model == kind] for shelf in shelves]
    # one who gives a transformer does not mean another one that happens to be on the machine
    own = [c for shelf in transformers[: len(folders)] for c in shelf] or [c for shelf in transformers for c in shelf]
    if not own:
        raise _missing(engine, "transformer", folders, damaged)
    first, second = _transformer(engine, own, rung)
    parts: list[Part] = [part for part in _OTHERS if engine == "ex4d" or part not in _EX4D_ONLY]
    return first, second, _others(engine, parts, needed, shelves, folders, damaged, first.image_dim)


def _places(engine: str, folders: Sequence[Path]) -> list[Path]:
    """Where parts may lie: what is given, what is around it, and what `ex4d models` has."""
    around = [place for folder in folders for place in _around(folder)]
    return list(dict.fromkeys([*folders, *around, *models.folders(engine)]))


def _shelves(engine: str, folders: Sequence[Path]) -> tuple[list[list[Candidate]], list[Ex4dError]]:
    """What each place holds, those that are given first; and what cannot be read.

    Raises:
        InputError: a folder is not there.
    """
    if absent := [folder for folder in folders if not os.path.exists(folder)]:  # false for impossible names, too
        raise InputError(f"There is no {absent[0]}: give a folder with the models, or leave it out.")
    damaged: list[Ex4dError] = []
    return [candidates(folder, damaged) for folder in _places(engine, folders)], damaged


def _others(
    engine: str,
    parts: Sequence[Part],
    needed: Collection[Part],
    shelves: Sequence[Sequence[Candidate]],
    folders: Sequence[Path],
    damaged: list[Ex4dError],
    image_dim: int = 0,
) -> dict[Part, Path]:
    """Where the parts lie that are not the transformer; those that can be done without may be missing.

    Args:
        engine: which.
        parts: that are wanted.
        needed: what must be there of them.
        shelves: candidates of each place, in their order.
        folders: that are given.
        damaged: what could not be read; told once all that is needed is there.
        image_dim: width of the image encoder's tokens; 0: any.

    Raises:
        InputError: it is not clear which is meant.
        MissingDependencyError: one that is needed is not there.
    """
    paths: dict[Part, Path] = {}
    for part in parts:
        found = ([c for c in shelf if c.part == part and _fits(c, image_dim)] for shelf in shelves)
        if same := next((shelf for shelf in found if shelf), None):
            try:
                paths[part] = _one([c for c in same if c.path.name.lower() in _RELEASED] or same).path
            except InputError as error:
                if part != "distilled":
                    raise
                damaged.append(error)  # few profiles need it, and those say that they do
        elif part in needed:
            raise _missing(engine, part, folders, damaged)
    for error in damaged:
        _warn(str(error))
    return paths


def _fits(candidate: Candidate, image_dim: int) -> bool:
    return not image_dim or candidate.image_dim in (0, image_dim)


def _words(text_encoder: Path | None, engine: str, folders: Sequence[Path]) -> Path | None:
    """The tokenizer: beside the text encoder, in one of the places, or within the text encoder's file."""
    near = [] if text_encoder is None else [text_encoder.parent]
    places = [*near, *_places(engine, folders)]
    words = next((found for place in places if (found := tokenizer(place))), None)
    return tokenizer_within(text_encoder) if words is None and text_encoder is not None else words


def _transformer(engine: str, found: Sequence[Candidate], rung: str) -> tuple[Candidate, Candidate | None]:
    """The transformer, or Wan2.2's pair.

    Raises:
        InputError: it is not clear which.
        MissingDependencyError: there is none for that rung.
    """
    floats, eight = [c for c in found if not c.is_gguf], [c for c in found if c.is_gguf and c.bits >= _Q8_BITS]
    four = [c for c in found if c.is_gguf and c.bits < _Q8_BITS]
    fitting = {"gguf-q8": eight, "gguf-q4": four}.get(rung, floats or eight or four)
    if not fitting:
        raise _no_gguf(engine, rung)
    widths = [c.dim for c in fitting]
    width = min(widths) if engine == "vace-1.3b" else max(widths)
    fitting = [c for c in fitting if c.dim == width]
    later = [c for c in fitting if _LOW.search(c.path.name)]
    if later:
        second = _one(later)
        earlier = [c for c in fitting if _HIGH.search(c.path.name) or c.path == second.path.parent / "transformer"]
        if not earlier:
            raise InputError(f"{second.path} is one of a pair: put the one for high noise beside it.")
        return _one(earlier), second
    # EX-4D was trained on the model for 480p
    return _one([c for c in fitting if "480" in c.path.name] or fitting), None


def _one(found: Sequence[Candidate]) -> Candidate:
    """The most precise; in the first place that has it.

    Raises:
        InputError: two there are alike.
    """
    best = [c for c in found if c.bits == max(c.bits for c in found)]
    same = [c for c in best if c.path.parent == best[0].path.parent]
    if len(same) > 1:
        names = ", ".join(c.path.name for c in same)
        raise InputError(
            f"{best[0].path.parent} has more than one {_CALLED[best[0].part]} that fits, {names}: give a path to "
            "--model-dir, or put the others elsewhere."
        )
    return best[0]


@cache
def _warn(sentence: str) -> None:
    """Say it once: files are looked for several times in a run."""
    _LOG.warning("%s", sentence)


def _around(file: Path) -> list[Path]:
    """Where the rest may lie of what one gives as a single file: beside it, and in the ComfyUI that it is part of."""
    if not file.is_file():
        return []
    return [file.parent, *(parent.parent for parent in file.parents if parent.name in COMFY)]


def _missing(engine: str, part: Part, folders: Sequence[Path], damaged: Sequence[Ex4dError]) -> Ex4dError:
    """What to raise where a part is not there: a file that cannot be read may be it."""
    if damaged:
        return damaged[0]
    needed = models.needed(engine)
    model = next((m for m in needed if m.part == part), needed[0])
    if not folders:
        return MissingDependencyError(models.absence(model))
    where, accept = " or ".join(str(folder) for folder in folders), "" if model.commercial else " --accept"
    return MissingDependencyError(
        f"There is no {_CALLED[part]} for {engine} in {where}: put it there, or run "
        f"`ex4d models download {model.name}{accept}` ({models.gigabytes(model.bytes)})."
    )


def _no_gguf(engine: str, rung: str) -> MissingDependencyError:
    offered = [m for m in models.CATALOGUE if engine in m.engines and m.name.endswith(rung.removeprefix("gguf"))]
    download = [f"run `ex4d models download {m.name}` ({models.gigabytes(m.bytes)})" for m in offered]
    remedy = ", ".join([*download, "give one with --model-dir", "or choose another rung"])
    return MissingDependencyError(f"The rung {rung} needs a GGUF file of {rung[-1]} bits, and there is none: {remedy}.")

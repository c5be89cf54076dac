"""Checkpoints of a training, from which it goes on as if it had not been stopped.

OUT/checkpoints/step-0000200/
  ex4d.ckpt         what is to be used: the average, or without one what the last step gave (see `write_checkpoint`)
  state.pt          tensors and numbers for going on: weights, optimizer, schedule, sampler, random states
  checkpoint.json   step, configuration, size and SHA-256 of the files

A checkpoint grows under another name and is renamed when whole. torch reads state.pt with weights_only: nothing in it
is executed.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from torch import Tensor

from ex4d_core.errors import InputError, OutputError
from ex4d_core.files import explained
from ex4d_core.generate.checkpoint import Ex4dCheckpoint, read_checkpoint, save_state, write_checkpoint
from ex4d_core.training.dataset_format import Clip

CHECKPOINTS = "checkpoints"
ADAPTER = "ex4d.ckpt"
_STATE, _TOLD = "state.pt", "checkpoint.json"
_SCHEMA = "ex4d.training-checkpoint/1"
_NAME = re.compile(r"step-(\d{7,})")
_LOG = logging.getLogger(__name__)


class Fingerprint(BaseModel):
    """Of a file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    bytes: int
    sha256: str


class Told(BaseModel):
    """`checkpoint.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    schema_: Literal["ex4d.training-checkpoint/1"] = Field(default=_SCHEMA, alias="schema")
    step: int
    """How many were done."""
    config: dict[str, JsonValue]
    """`TrainConfig`."""
    clips: tuple[Clip, ...]
    """That it was trained on."""
    size: tuple[int, int, int]
    """Width, height and frames of most of them."""
    files: dict[str, Fingerprint] = {}


@dataclass(frozen=True, eq=False)
class Saved:
    """A checkpoint that is whole."""

    folder: Path
    told: Told

    def adapter(self) -> Ex4dCheckpoint:
        """What is to be used."""
        return read_checkpoint(self.folder / ADAPTER)

    def last(self) -> Ex4dCheckpoint:
        """What the last step gave, whether there is an average or not.

        Raises:
            InputError: a file cannot be read, or its tensors are not those of what is to be used.
        """
        used, state = self.adapter(), self.state()
        lora, geometry = state.get("lora"), state.get("geometry")
        if not (_alike(lora, used.lora) and _alike(geometry, used.geometry)):
            raise InputError(f"{self.folder / _STATE} has other tensors than {ADAPTER}: choose another checkpoint.")
        return replace(used, lora=lora, geometry=geometry)

    def state(self) -> dict[str, Any]:
        """What `save` was given.

        Raises:
            InputError: it cannot be read.
        """
        file = self.folder / _STATE
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
            raise InputError(f"{file} cannot be read: remove {self.folder}, and the one before is taken.") from error
        if not isinstance(state, dict):
            raise InputError(f"{file} holds no state of a training: choose another checkpoint.")
        return state


def save(out: Path, told: Told, adapter: Ex4dCheckpoint, state: Mapping[str, Any], keep: int) -> Path:
    """Write a checkpoint, and remove those that are too many.

    Args:
        out: folder of the training.
        told: of the training; `files` is filled in.
        adapter: what is to be used.
        state: tensors, numbers, text and nests of these.
        keep: how many checkpoints stay.

    Returns:
        Its folder.

    Raises:
        SpaceError: the disk is full; what was there before stays.
        OutputError: it cannot be written; likewise.
    """
    final = checkpoint_folder(out, told.step)
    partial = final.with_name(final.name + ".partial")
    try:
        with explained(final):
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            save_state(state, partial / _STATE)
            write_checkpoint(adapter, partial / ADAPTER)
            files = {file.name: _fingerprint(file) for file in sorted(partial.iterdir())}
            text = told.model_copy(update={"files": files}).model_dump_json(by_alias=True, indent=1)
            (partial / _TOLD).write_text(text, encoding="utf-8")
            shutil.rmtree(final, ignore_errors=True)  # a damaged one of an earlier run
            os.replace(partial, final)
    except OutputError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    numbered = _numbered(out)
    late = [folder for step, folder in numbered.items() if step > told.step]  # damaged: it went on from one before them
    early = [folder for step, folder in numbered.items() if step <= told.step]
    for folder in [*late, *early[:-keep], *(out / CHECKPOINTS).glob("*.partial")]:
        shutil.rmtree(folder, ignore_errors=True)
    return final


def checkpoint_folder(out: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return out / CHECKPOINTS / f"step-{step:07d}"


def newest(out: Path) -> Saved | None:
    """The newest checkpoint that is whole; None where there is none. Damaged ones are passed over with a warning.

    Raises:
        InputError: there are checkpoints, and none is whole.
    """
    folders = list(_numbered(out).values())
    for folder in reversed(folders):
        try:
            return read_saved(folder)
        except InputError as error:
            _LOG.warning("The checkpoint before it is taken, where there is one: %s", error)
    if folders:
        raise InputError(f"No checkpoint in {out / CHECKPOINTS} is whole: remove them to train from the beginning.")
    return None


def read_saved(folder: Path) -> Saved:
    """A checkpoint, after a look at each of its bytes.

    Raises:
        InputError: it is none, or damaged.
    """
    try:
        told = Told.model_validate_json((folder / _TOLD).read_bytes())
        wrong = [name for name, fingerprint in told.files.items() if _fingerprint(folder / name) != fingerprint]
    except (OSError, ValidationError) as error:
        raise InputError(f"{folder} is no whole checkpoint of a training: choose another one.") from error
    if lacking := sorted({_STATE, ADAPTER} - told.files.keys()):
        raise InputError(f"{folder / _TOLD} does not name {lacking[0]}: choose another checkpoint.")
    if wrong:
        raise InputError(f"{folder / wrong[0]} is damaged: choose another checkpoint.")
    return Saved(folder, told)


def _numbered(out: Path) -> dict[int, Path]:
    """Step -> folder of all checkpoints, the oldest first."""
    try:
        found = {int(match[1]): each for each in (out / CHECKPOINTS).iterdir() if (match := _NAME.fullmatch(each.name))}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"Cannot read {out / CHECKPOINTS} ({error.strerror}): check its permissions.") from error
    return dict(sorted(found.items()))


def _alike(tensors: Any, wanted: Mapping[str, Tensor]) -> bool:
    """Whether they have these names, and the shape of each."""
    if not isinstance(tensors, dict) or tensors.keys() != wanted.keys():
        return False
    return all(isinstance(each := tensors[n], Tensor) and each.shape == like.shape for n, like in wanted.items())


def _fingerprint(file: Path) -> Fingerprint:
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return Fingerprint(bytes=file.stat().st_size, sha256=digest)

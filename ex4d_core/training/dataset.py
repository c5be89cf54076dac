"""A training dataset on disk: its index, and a shard of latents for each clip; see `dataset_format`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ex4d_core.errors import InputError
from ex4d_core.files import atomic_file
from ex4d_core.generate.conditioning import padded
from ex4d_core.training.dataset_format import INDEX, Clip, Index, shard_of, shard_shapes
from ex4d_core.weight_headers import entries


@dataclass(frozen=True, eq=False)
class Sample:
    """A clip with one of its variants, a batch of one, float32 on the CPU."""

    latents: Tensor
    """(1, C, t, h/8, w/8), of the whole clip: what is to be learnt."""
    image: Tensor
    """(1, 4 + C, t, h/8, w/8), see `conditioning.Conditioning.image`."""
    tokens: Tensor
    """(1, n, D) features of the first frame by CLIP."""
    text: Tensor
    """(1, 512, D') embedding of the prompt, padded with zeros."""
    color: Tensor
    """(1, C, t, h/8, w/8), of the clip with holes."""
    mask: Tensor
    """(1, C, t, h/8, w/8), of the mask, -3 and 1."""


@dataclass(frozen=True)
class Skipped:
    """A clip of the index that cannot be used."""

    name: str
    reason: str
    """What is wrong with it, without a full stop."""


@dataclass(frozen=True)
class Dataset:
    """The clips of a dataset whose shards are whole."""

    folder: Path
    index: Index
    clips: tuple[Clip, ...]
    skipped: tuple[Skipped, ...]

    def __len__(self) -> int:
        return len(self.clips)

    def sample(self, clip: int, variant: int) -> Sample:
        """Read one.

        Args:
            clip: its number in `clips`.
            variant: number of the masks.

        Raises:
            InputError: the shard was damaged since the dataset was opened, or holds numbers that are none.
        """
        entry = self.clips[clip]
        file = shard_of(self.folder, entry.name)
        names = {"latents": "latents", "image": "image", "tokens": "tokens", "text": "text"}
        names |= {"color": f"color.{variant}", "mask": f"mask.{variant}"}
        try:
            with safe_open(file, framework="pt") as shard:
                tensors = {field: shard.get_tensor(name).float()[None] for field, name in names.items()}
        except (OSError, SafetensorError) as error:
            raise _damaged(file) from error
        for field, tensor in tensors.items():
            if not tensor.isfinite().all():
                raise InputError(f"{file} has infinity or no numbers in {names[field]!r}: {_AGAIN}.")
        return Sample(**tensors | {"text": padded(tensors["text"])})


def write_shard(folder: Path, name: str, tensors: Mapping[str, Tensor]) -> tuple[int, str]:
    """Write a clip's shard in one go.

    Args:
        folder: the dataset.
        name: of the clip.
        tensors: as `shard_shapes` says, of any floating type.

    Returns:
        Bytes and SHA-256 of the file.

    Raises:
        OutputError: it cannot be written.
    """
    kept = {n: t.to("cpu", torch.bfloat16 if n in ("tokens", "text") else torch.float16).contiguous()
            for n, t in tensors.items()}  # fmt: skip
    data = save(kept)
    with atomic_file(shard_of(folder, name)) as temporary:
        temporary.write_bytes(data)  # `save_file` says in its own way that a disk is full
    return len(data), hashlib.sha256(data).hexdigest()


def write_index(folder: Path, index: Index) -> None:
    """Write `dataset.json` in one go.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_file(folder / INDEX) as temporary:
        temporary.write_text(index.model_dump_json(by_alias=True, indent=1), encoding="utf-8")


def open_dataset(folder: Path) -> Dataset:
    """Open a dataset; shards that are missing, damaged or of the wrong size are left aside and told.

    Only headers are read: numbers are looked at when a sample is.

    Raises:
        InputError: there is no dataset, or no clip of it is whole.
    """
    file = folder / INDEX
    try:
        index = Index.model_validate_json(file.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{folder} has no {INDEX}: make a dataset with `ex4d train prepare`.") from error
    except OSError as error:
        raise InputError(f"Cannot read {file} ({error.strerror}): check its permissions.") from error
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(str(part) for part in wrong["loc"]) or "it"
        raise InputError(f"{file} is no index of a dataset ({where}: {wrong['msg']}): {_AGAIN}.") from error
    faults = [(clip, _fault(folder, index, clip)) for clip in index.clips]
    skipped = tuple(Skipped(clip.name, fault) for clip, fault in faults if fault)
    clips = tuple(clip for clip, fault in faults if not fault)
    if not clips:
        why = f"; {skipped[0].name}: {skipped[0].reason}" if skipped else ""
        raise InputError(f"{folder} has no clip that can be used{why}: {_AGAIN}.")
    return Dataset(folder, index, clips, skipped)


_AGAIN = "run `ex4d train prepare` for it again"


def _damaged(file: Path) -> InputError:
    return InputError(f"{file} is damaged or missing: {_AGAIN}.")


def _fault(folder: Path, index: Index, clip: Clip) -> str:
    """What is wrong with a clip's shard; empty: nothing that its size and header tell."""
    file = shard_of(folder, clip.name)
    if not file.is_file():
        return "its shard is missing"
    if (size := file.stat().st_size) != clip.bytes:
        return f"its shard has {size} bytes instead of {clip.bytes}"
    try:
        found = {name: (entry.shape, entry.kind) for name, entry in entries(file).items()}
    except InputError:
        return "its shard is damaged"
    expected = shard_shapes(index, clip)
    if missing := sorted(set(expected) - set(found)):
        return f"its shard lacks {missing[0]!r}"
    for name, (shape, kind) in expected.items():
        if found[name] != (shape, kind):
            is_, kind_ = found[name]
            return f"{name!r} is {kind_} {is_} instead of {kind} {shape}"
    return ""

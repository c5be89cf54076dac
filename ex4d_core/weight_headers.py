"""What tensors a file of weights holds, from its header: no torch, no weights read."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ex4d_core.errors import InputError, MissingDependencyError

INDICES = ("diffusion_pytorch_model.safetensors.index.json", "model.safetensors.index.json")
"""What a folder of shards has beside them, by diffusers and by transformers."""
SINGLES = ("diffusion_pytorch_model.safetensors", "model.safetensors")
_LARGEST_HEADER = 100_000_000  # bytes; that of safetensors itself


@dataclass(frozen=True)
class Entry:
    """One tensor."""

    shape: tuple[int, ...]
    kind: str
    """As the file calls it: F32, BF16, F8_E4M3; Q8_0, Q4_K ... in GGUF."""
    bytes: int

    @property
    def count(self) -> int:
        """Of numbers."""
        return math.prod(self.shape)


def weight_files(path: Path) -> tuple[Path, ...]:
    """The files of a component: itself, or what lies in its folder, shards as their index lists them.

    Raises:
        InputError: there is nothing, or a shard is missing.
    """
    if not path.is_dir():
        return (path,)
    for name in INDICES:
        if (index := path / name).is_file():
            return _shards(index)
    if found := [path / name for name in SINGLES if (path / name).is_file()]:
        return (found[0],)
    if found := sorted(path.glob("*-of-*.safetensors")):
        return tuple(found)
    raise InputError(f"There are no weights (.safetensors) in {path}: download the model again.")


def entries(path: Path) -> dict[str, Entry]:
    """All tensors of a component, with the names in its files.

    Args:
        path: a .safetensors or .gguf file, or a folder with shards.

    Raises:
        InputError: a file is damaged or missing.
        MissingDependencyError: it is GGUF and the package gguf is not installed.
    """
    found: dict[str, Entry] = {}
    for file in weight_files(path):
        found |= _gguf(file) if file.suffix == ".gguf" else _safetensors(file)
    return found


def raw_tensor(file: Path, name: str) -> bytes | None:
    """The bytes of one small tensor of a .safetensors file; None if it has none of that name.

    Raises:
        InputError: the file is damaged.
    """
    header, begin = _header(file)
    if name not in header:
        return None
    first, end = header[name]["data_offsets"]
    with file.open("rb") as opened:
        opened.seek(begin + first)
        return opened.read(end - first)


def damaged(file: Path) -> InputError:
    """The error to raise of a file that breaks off or holds something else."""
    return InputError(f"{file} is damaged or was not downloaded whole: download it again.")


def _shards(index: Path) -> tuple[Path, ...]:
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise damaged(index) from error
    if missing := sorted(name for name in names if not (index.parent / name).is_file()):
        raise InputError(f"{index.parent} lacks {', '.join(missing)}: download the model again.")
    return tuple(index.parent / name for name in sorted(names))


def _safetensors(file: Path) -> dict[str, Entry]:
    header, begin = _header(file)
    try:
        found = {
            name: Entry(tuple(facts["shape"]), facts["dtype"], facts["data_offsets"][1] - facts["data_offsets"][0])
            for name, facts in header.items()
        }
        whole = file.stat().st_size == begin + sum(entry.bytes for entry in found.values())
    except (OSError, KeyError, TypeError, IndexError) as error:
        raise damaged(file) from error
    if not whole:
        raise damaged(file)
    return found


def _header(file: Path) -> tuple[Mapping[str, Any], int]:
    """The header is JSON, after its length as 8 bytes, and says where in the rest of the file each tensor lies.

    Returns:
        Name of a tensor -> facts, and where in the file that rest begins.
    """
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > _LARGEST_HEADER:
                raise damaged(file)
            header: dict[str, Any] = json.loads(opened.read(length))
            header.pop("__metadata__", None)
    except (OSError, ValueError, AttributeError, struct.error) as error:
        raise damaged(file) from error
    return header, 8 + length


def _gguf(file: Path) -> dict[str, Entry]:
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise MissingDependencyError(f"{file.name} is GGUF: run pip install .[gpu] in EX-4D's folder.") from error
    try:
        tensors = GGUFReader(file).tensors
    except (OSError, ValueError, IndexError, KeyError, OverflowError) as error:
        raise damaged(file) from error
    # GGUF tells the fastest axis first
    return {
        t.name: Entry(tuple(int(n) for n in reversed(t.shape)), t.tensor_type.name, int(t.n_bytes)) for t in tensors
    }

"""What tensors a file of weights holds, from its header: no torch, no weights read."""

from __future__ import annotations

import json
import math
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

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

    def size(self, axis: int) -> int:
        """Along an axis; 0 where a tensor has no such axis, as in a damaged file."""
        return self.shape[axis] if -len(self.shape) <= axis < len(self.shape) else 0


def weight_files(path: Path) -> tuple[Path, ...]:
    """The files of a component: itself, or what lies in its folder, shards as their index lists them.

    Raises:
        InputError: there is nothing, or a shard is missing.
    """
    if not path.is_dir():
        return (path,)
    for name in INDICES:
        if (index := path / name).is_file():
            return _present(index)
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
    tensors, begin = _header(file)
    if name not in tensors:
        return None
    entry, first = tensors[name]
    with file.open("rb") as opened:
        opened.seek(begin + first)
        return opened.read(entry.bytes)


def damaged(file: Path) -> InputError:
    """The error to raise of a file that breaks off or holds something else."""
    return InputError(f"{file} is damaged or was not downloaded whole: download it again.")


def shards(index: Path) -> tuple[str, ...]:
    """The files that an index names: they lie beside it, so that no index leads out of its folder.

    Raises:
        InputError: it is damaged, or names something else than a file beside it.
    """
    try:
        names = sorted(set(json.loads(read(index))["weight_map"].values()))
        if not names or not all(_is_plain(name) for name in names):
            raise damaged(index)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(index) from error
    return tuple(names)


def read(file: Path, length: int = -1, skipped: int = 0) -> bytes:
    """Some bytes of a file.

    Raises:
        InputError: the system does not give them.
    """
    try:
        with file.open("rb") as opened:
            opened.seek(skipped)
            return opened.read(length)
    except OSError as error:
        raise InputError(f"Cannot read {file} ({error.strerror}): check its permissions and its disk.") from error


def _is_plain(name: str) -> bool:
    """Whether it is a file's name alone, on every system; 255 bytes are what file systems take."""
    return re.fullmatch(r"[^/\\:\0]+", name) is not None and name not in (".", "..") and len(name.encode()) <= 255


def _present(index: Path) -> tuple[Path, ...]:
    names = shards(index)
    if missing := [name for name in names if not (index.parent / name).is_file()]:
        raise InputError(f"{index.parent} lacks {', '.join(missing)}: download the model again.")
    return tuple(index.parent / name for name in names)


def _safetensors(file: Path) -> dict[str, Entry]:
    tensors, begin = _header(file)
    found = {name: entry for name, (entry, _) in tensors.items()}
    if file.stat().st_size != begin + sum(entry.bytes for entry in found.values()):
        raise damaged(file)
    return found


def _header(file: Path) -> tuple[dict[str, tuple[Entry, int]], int]:
    """The header is JSON, after its length as 8 bytes, and says where in the rest of the file each tensor lies.

    Returns:
        Name of a tensor -> facts and its first byte in that rest; and where in the file the rest begins.
    """
    try:
        (length,) = struct.unpack("<Q", read(file, 8))
        if length > _LARGEST_HEADER:
            raise damaged(file)
        header: dict[str, Any] = json.loads(read(file, length, 8))
        found = {name: _tensor(facts) for name, facts in header.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error) as error:
        raise damaged(file) from error
    return found, 8 + length


def _tensor(facts: Any) -> tuple[Entry, int]:
    """What a header says of one tensor.

    Raises:
        ValueError, KeyError, TypeError: it says nothing of the kind.
    """
    first, end = facts["data_offsets"]
    shape, kind = facts["shape"], facts["dtype"]
    if not isinstance(shape, list) or not isinstance(kind, str):
        raise TypeError
    sizes = tuple(cast("list[Any]", shape))
    if any(type(number) is not int or number < 0 for number in (*sizes, first, end)) or end < first:
        raise ValueError
    return Entry(sizes, kind, end - first), first


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

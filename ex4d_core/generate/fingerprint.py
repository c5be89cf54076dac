"""Which weights a file or folder holds, told in milliseconds: names for what is derived from them and kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ex4d_core.weight_headers import weight_files

_SAMPLES, _BYTES = 16, 4096
_BESIDE_WEIGHTS = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
"""What loading reads in a folder besides weights."""


def fingerprint(*paths: Path) -> str:
    """16 hexadecimal digits from sizes and samples of files, and, in folders, their names.

    Training changes nearly all weights, so that a few thousand of them tell as much as 11 GB. The same files in another
    place have the same fingerprint.

    Args:
        paths: files, or folders of a component: what is loaded counts, and nothing else that lies there.

    Raises:
        OSError: one cannot be read.
        InputError: a folder lacks a shard that its index lists.
    """
    digest = hashlib.sha256()
    for path in paths:
        for file in _loaded(path) if path.is_dir() else [path]:
            size = file.stat().st_size
            digest.update(f"{file.relative_to(path).as_posix()} {size}\n".encode())
            with file.open("rb") as stream:
                for start in range(0, size, max(size // _SAMPLES, _BYTES)):
                    stream.seek(start)
                    digest.update(stream.read(_BYTES))
    return digest.hexdigest()[:16]


def _loaded(folder: Path) -> list[Path]:
    weights = weight_files(folder) if any(folder.glob("*.safetensors")) else ()  # a tokenizer has none
    return sorted({*weights, *(file for name in _BESIDE_WEIGHTS if (file := folder / name).is_file())})

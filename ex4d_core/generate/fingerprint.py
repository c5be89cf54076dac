"""Which weights a file or folder holds, told in milliseconds: names for what is derived from them and kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

_SAMPLES, _BYTES = 16, 4096


def fingerprint(*paths: Path) -> str:
    """16 hexadecimal digits from sizes and samples of files, and, in folders, their names.

    Training changes nearly all weights, so that a few thousand of them tell as much as 11 GB. The same files in another
    place have the same fingerprint.

    Args:
        paths: files, or folders with all that is in them.

    Raises:
        OSError: one cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        inside = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in inside:
            size = file.stat().st_size
            digest.update(f"{file.relative_to(path).as_posix()} {size}\n".encode())
            with file.open("rb") as stream:
                for start in range(0, size, max(size // _SAMPLES, _BYTES)):
                    stream.seek(start)
                    digest.update(stream.read(_BYTES))
    return digest.hexdigest()[:16]

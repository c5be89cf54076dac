# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that says that a folder is an engine's, which, and whether it is whole. Used by helper and extension."""

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

NAME = "ex4d-engine.json"
LOCK = "ex4d-engine.lock"
SCHEMA = "ex4d.engine/1"
OWN = ("env", "cache", "python", "uv", "install.log", f"{NAME}.partial", NAME)
"""All that an engine's folder holds of ours; the marker last, so that what is left of a removal is still ours."""


@dataclass(frozen=True)
class Marker:
    """What is, or is to be, in an engine's folder."""

    complete: bool
    kind: str
    """A key of kinds.json."""
    wheel: str
    """SHA-256 of the `ex4d` wheel."""
    version: str
    """Of `ex4d`."""


def read(folder: Path) -> Marker | None:
    """The marker of a folder; None where there is none that can be read."""
    try:
        document = json.loads((folder / NAME).read_text("utf-8"))
        if document.pop("schema") != SCHEMA:
            return None
        return Marker(**document)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def write(folder: Path, marker: Marker) -> None:
    """Write it, whole or not at all."""
    partial = folder / f"{NAME}.partial"
    partial.write_text(json.dumps({"schema": SCHEMA, **asdict(marker)}, indent=2) + "\n", "utf-8")
    os.replace(partial, folder / NAME)


def is_foreign(folder: Path) -> bool:
    """Whether a folder holds something, and not an engine."""
    if not folder.exists():
        return False
    return not folder.is_dir() or (
        not (folder / NAME).is_file() and any(path.name != LOCK for path in folder.iterdir())
    )


def program(folder: Path, name: str) -> Path:
    """A program of the engine's environment: `python`, `ex4d`."""
    return folder / "env" / (f"Scripts/{name}.exe" if sys.platform == "win32" else f"bin/{name}")


def strangers(folder: Path) -> list[str]:
    """Names in a folder that are not ours."""
    return sorted(path.name for path in folder.iterdir() if path.name not in (*OWN, LOCK))

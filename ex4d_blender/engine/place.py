# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the engine is, and what is there. Looked at when something has changed, not when a panel is drawn."""

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import bpy

from ..preferences import own_folder, preferences
from .installing import marker
from .kinds import HERE
from .problems import EngineError

State = Literal["none", "foreign", "incomplete", "outdated", "ready"]


@dataclass(frozen=True)
class Place:
    """What was found in the engine's folder."""

    folder: Path
    state: State
    """`outdated`: whole, and of another build of the extension."""
    marker: marker.Marker | None

    @property
    def executable(self) -> Path:
        """Its `ex4d`; there if it is whole."""
        return marker.program(self.folder, "ex4d")


@cache
def bundled_wheel() -> tuple[Path, str]:
    """The wheel that this extension carries and its SHA-256. Raises: EngineError."""
    found = next(HERE.glob("ex4d-*.whl"), None)
    if found is None:
        raise EngineError("no-engine")
    return found, hashlib.sha256(found.read_bytes()).hexdigest()


def chosen_folder() -> Path:
    """The folder in the preferences, or the extension's own."""
    chosen = preferences().engine_folder
    return Path(bpy.path.abspath(chosen)).absolute() if chosen else own_folder("") / "engine"


_found: dict[str, Place] = {}
"""By what the preferences say."""


def place() -> Place:
    """What is there, as last looked at."""
    chosen = preferences().engine_folder
    if chosen not in _found:
        _found[chosen] = look(chosen_folder())
    return _found[chosen]


def forget() -> None:
    """Look again when asked next."""
    _found.clear()


def look(folder: Path) -> Place:
    """Look into a folder."""
    found = marker.read(folder)
    if found is None:
        try:
            return Place(folder, "foreign" if marker.is_foreign(folder) else "none", None)
        except OSError:
            return Place(folder, "none", None)
    if not found.complete or not marker.program(folder, "python").exists():
        return Place(folder, "incomplete", found)
    try:
        is_ours = found.wheel == bundled_wheel()[1]
    except EngineError:
        is_ours = True  # there is nothing to update it with
    return Place(folder, "ready" if is_ours else "outdated", found)


def require_room(folder: Path, needed_gb: float) -> None:
    """Require a folder that is ours or empty, can be written, and has room. It is not made.

    Raises:
        EngineError: it is not so.
    """
    there = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    try:
        if marker.is_foreign(folder):
            raise EngineError("foreign", folder=folder)
        with tempfile.TemporaryFile(dir=there):  # the only way that tells on each system
            pass
        free = shutil.disk_usage(there).free / 1e9
    except OSError as error:
        raise EngineError("files", path=folder, reason=error.strerror or error) from error
    if free < needed_gb:
        raise EngineError("space", folder=folder, free=f"{free:.1f}", needed=f"{needed_gb:.1f}")

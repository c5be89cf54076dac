# SPDX-License-Identifier: GPL-3.0-or-later
"""The text for who mends it: versions, graphics card, state, ends of logs; nothing that is the artist's own."""

import getpass
import os
import platform
import re
import sys
from pathlib import Path

import bpy

from ..errors import UserError
from ..placed import all_placed
from ..preferences import own_folder, preferences
from ..sidecar import connection, running
from ..sidecar.operators import log_file, masked
from ..sidecar.process import tail
from . import doing, place
from .kinds import HERE, machine

TAIL_BYTES = 1 << 13


def report() -> str:
    """The report, with private names masked."""
    here, now = place.place(), connection()
    failed = doing.error()
    engine = f"{here.state}, {here.marker.kind}, {here.marker.version}" if here.marker else here.state
    parts = [
        f"Blender {bpy.app.version_string} ({bpy.app.build_hash.decode()}, {bpy.app.build_platform.decode()})",
        f"Extension {_extension_version()}",
        f"Engine {engine}, wheel {here.marker.wheel[:12] if here.marker else 'none'}",
        f"System {platform.platform()} ({machine()}), Python {sys.version.split()[0]}",
        f"Graphics {_graphics()}",
        f"Sidecar {now.state}: {now.message}",
        f"Its health {now.health}",
        f"Its devices {now.capabilities.get('devices')}",
        *(f"Message: {text}" for text in [*running.complaints(), *([str(failed)] if failed else [])]),
        _section("Installation", here.folder / "install.log"),
        _section("Installer", own_folder("installer") / "progress.log"),
    ]
    try:
        parts.append(_section("Sidecar", log_file()))
    except UserError:
        parts.append("No log of a sidecar")
    return hidden("\n".join(parts)) + "\n"


def hidden(text: str) -> str:
    """The text without paths of the artist's, names of footage, shots and jobs, the user's name, and tokens."""
    for label, folder in _known_folders():
        if len(folder) > 3:  # and not the root of a disk
            text = re.sub(_path_pattern(folder), lambda _, label=label: _KNOWN + label, text)
    text = _QUOTED_PATH.sub(_without_names, text)
    text = _PATH.sub(_without_names, text)
    text = _JOB.sub(r"(job)\1", text)
    for name, label in [*_names(), (getpass.getuser(), "(user)")]:
        if len(name) > 2:
            text = re.sub(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", lambda _, label=label: label, text)
    return masked(text.replace(_KNOWN, ""))


_KNOWN = "\1"
"""Stands before the label of a folder while a text is being masked: a path ends there, and none begins."""
_ARTIST_S = ("(project)", "(outputs)", "(data)", "(own files)", "~")
"""Folders below which the names are the artist's too."""
_BEGINS = "|".join(
    (
        rf"{_KNOWN}(?P<label>{'|'.join(map(re.escape, _ARTIST_S))})[\\/]+",
        rf"file:/+(?=[^/\s{_KNOWN}])",
        r"(?<![\w/\\).~])[A-Za-z]:[\\/]",
        r"(?<![\w/\\).~:])[\\/]{2}(?=\w)",  # a server; an address on the net has a colon there
        r"(?<![\w/\\).~])/(?=[^/\s])",
    )
)
_QUOTED_PATH = re.compile(rf"(?<=(?P<quote>[\"']))(?:{_BEGINS})(?P<rest>[^\n]*?)(?=(?P=quote))")
_PATH = re.compile(
    rf"(?:{_BEGINS})(?P<rest>(?:[^\n{_KNOWN}]*[\\/])?(?:[^\n\\/{_KNOWN}]*\.[A-Za-z]\w*|[^\s:,;\\/{_KNOWN}]*))"
)
"""To the last slash of its line, and to the last ending after it: names have blanks, and too much is better hidden."""
_JOB = re.compile(r"(?<![\w-])[\w-]+(-[0-9a-f]{6})(?![\w-])")
"""An id as `sidecar.joblist.new_job_id` makes it."""


def _without_names(found: re.Match[str]) -> str:
    """A path as what it was below, and its ending."""
    below = f"{_KNOWN}{found['label']}/" if found["label"] else ""
    return f"{below}(path){Path(found['rest']).suffix}"


def _known_folders() -> list[tuple[str, str]]:
    """Labels and absolute folders, the longest first."""
    chosen = preferences()
    given = (
        ("(project)", bpy.data.filepath and str(Path(bpy.data.filepath).parent)),
        ("(outputs)", chosen.outputs),
        ("(data)", chosen.data_folder),
        ("(engine)", str(place.chosen_folder())),
        ("(wheels)", chosen.engine_wheels),
        ("(extension)", str(HERE.parent)),
        ("(own files)", str(own_folder(""))),
        ("~", str(Path.home())),
    )
    found = [(label, os.path.abspath(bpy.path.abspath(folder))) for label, folder in given if folder]
    return sorted(found, key=lambda item: -len(item[1]))


def _names() -> list[tuple[str, str]]:
    """What this file is about, with labels, the longest first."""
    found = [(Path(bpy.data.filepath).stem, "(file)")]
    for scene in bpy.data.scenes:
        found += [(shot.name, "(shot)") for shot in scene.ex4d_shots]
        for footage in all_placed(scene):
            found += [(footage.empty.name, "(footage)"), (footage.folder.stem, "(footage)")]
    return sorted(found, key=lambda item: -len(item[0]))


def _path_pattern(folder: str) -> str:
    """A folder as it may be written: with either slash, doubled in JSON; in any case where the system does not care."""
    steps = [re.escape(step) for step in re.split(r"[\\/]", folder.rstrip("\\/"))]
    return ("(?i)" if sys.platform in ("win32", "darwin") else "") + r"[\\/]{1,2}".join(steps) + r"(?![\w-])"


def _section(title: str, file: Path) -> str:
    return f"--- {title}\n{tail(file, TAIL_BYTES).strip()}"


def _extension_version() -> str:
    """As the manifest beside the code says."""
    text = (Path(__file__).resolve().parent.parent / "blender_manifest.toml").read_text("utf-8")
    found = re.search(r'^version = "(.*)"', text, re.MULTILINE)
    return found[1] if found else "unknown"


def _graphics() -> str:
    """Of Blender itself; background mode has none."""
    if bpy.app.background:
        return "none, in background mode"
    import gpu

    return f"{gpu.platform.vendor_get()}, {gpu.platform.renderer_get()}, {gpu.platform.version_get()}"

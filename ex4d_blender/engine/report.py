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
from ..preferences import own_folder, preferences
from ..sidecar import connection, running
from ..sidecar.operators import log_file, masked
from ..sidecar.process import tail
from . import doing, place
from .kinds import machine

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
    """The text without folders of the artist's, the user's name, and tokens."""
    chosen = preferences()
    folders = {"(project)": bpy.data.filepath and str(Path(bpy.data.filepath).parent)}
    for name, folder in (
        ("(outputs)", chosen.outputs),
        ("(data)", chosen.data_folder),
        ("(engine)", str(place.chosen_folder())),
        ("(wheels)", chosen.engine_wheels),
        ("(extension)", str(own_folder(""))),
        ("~", str(Path.home())),
    ):
        folders[name] = folder and os.path.abspath(bpy.path.abspath(folder))
    for name, folder in sorted(folders.items(), key=lambda item: -len(item[1])):
        if len(folder) > 3:  # and not the root of a disk
            text = re.sub(_path_pattern(folder), lambda _, name=name: name, text)
    if bpy.data.filepath:
        text = text.replace(Path(bpy.data.filepath).stem, "(file)")
    user = getpass.getuser()
    if len(user) > 2:
        text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(user)}(?![A-Za-z0-9])", "(user)", text)
    return masked(text)


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

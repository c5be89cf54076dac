# SPDX-License-Identifier: GPL-3.0-or-later
"""What the helper is told to do."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import bpy

from .installing.marker import Marker
from .kinds import HERE, kinds, machine, uv
from .place import bundled_wheel, look, require_room
from .problems import EngineError


def install_job(folder: Path, kind: str, wheels: str, *, fresh: bool = False) -> dict[str, Any]:
    """An installation, a repair or an update, after a look at whether it can succeed.

    Args:
        folder: where to, absolute.
        kind: a key of `kinds`.
        wheels: offline folder, absolute; empty: from the network.
        fresh: leave nothing of what was downloaded.

    Raises:
        EngineError: it cannot.
    """
    if kind not in kinds():
        raise EngineError("platform", machine=machine())
    if wheels and not Path(wheels).is_dir():
        raise EngineError("no-wheels", wheels=wheels)
    if not wheels and not bpy.app.online_access:
        raise EngineError("offline")
    facts, (wheel, sha256) = kinds()[kind], bundled_wheel()
    before = look(folder).marker
    require_room(folder, 0.0 if before and before.kind == kind else facts["disk_gb"])
    return {
        "action": "install",
        "folder": str(folder),
        "fresh": fresh,
        "marker": asdict(Marker(complete=False, kind=kind, wheel=sha256, version=wheel.name.split("-")[1])),
        "uv": uv(),
        "wheels": wheels,
        "requirements": str(HERE / f"requirements-{kind}.txt"),
        "torch": facts["torch"],
        "gpu": "gpu" in facts["extras"],
        "wheel": str(wheel),
        "expected_bytes": int(facts["disk_gb"] * 1e9),
    }


def remove_job(folder: Path) -> dict[str, Any]:
    """The removal of an engine. Raises: EngineError where there is none."""
    if look(folder).marker is None:
        raise EngineError("no-folder", folder=folder)
    return {"action": "remove", "folder": str(folder)}

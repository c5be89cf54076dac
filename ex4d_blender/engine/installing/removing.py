# SPDX-License-Identifier: GPL-3.0-or-later
"""Removes an engine: what is ours in a folder that carries our marker, and nothing else."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from .failing import Failed
from .marker import OWN, read, strangers, write
from .telling import progress, require_wanted, tell


def remove(job: dict[str, Any], lock: int) -> None:
    """Remove it; files of others stay, and with them the folder. Raises: Failed, Cancelled."""
    folder = Path(job["folder"])
    marker = read(folder)
    if marker is None:
        raise Failed("foreign", folder=str(folder))
    write(folder, replace(marker, complete=False))  # half removed is not whole
    for number, name in enumerate(OWN):
        require_wanted()
        progress("remove", number / len(OWN))
        delete(folder / name)
    tell("done", left=strangers(folder)[:3])


def delete(path: Path) -> None:
    """Delete a file or folder; of a link the link, never what it leads to."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)

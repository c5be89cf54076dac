# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows a file or folder in the program that this system has for it. Blender's own way prints its failures only."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from ..errors import UserError

_PATIENCE_SECONDS = 3.0
"""A program that is still there after it has opened the file."""


def open_outside(path: Path) -> None:
    """Open a file or folder. Raises: UserError with its path, where this system has no program for it."""
    try:
        if sys.platform == "win32":
            os.startfile(path)
            return
        opener = "open" if sys.platform == "darwin" else "xdg-open"
        process = subprocess.Popen(
            [opener, str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        code = 0
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(_PATIENCE_SECONDS)
    except FileNotFoundError as error:
        reason = f"{error.filename}: {error.strerror}"  # it is the program that is missing
    except OSError as error:
        reason = error.strerror or error
    else:
        reason = f"{opener}: {code}" if code else None
    if reason:
        raise UserError("No program here opens {path} ({reason}): look at it by hand.", path=path, reason=reason)

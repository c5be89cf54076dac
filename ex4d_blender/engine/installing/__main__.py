# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a job from the first line of stdin, tells about it in lines of JSON on stdout, and ends when stdin ends."""

import errno
import json
import os
import sys
import threading
from pathlib import Path

from .failing import Cancelled, Failed
from .locking import locked
from .removing import remove
from .steps import install
from .telling import cancelled, tell


def main() -> int:
    """0 if it was done."""
    said = b""
    while not said.endswith(b"\n"):
        said += os.read(0, 1 << 16)  # and not sys.stdin, whose lock the watching thread would hold for ever
    job = json.loads(said)
    threading.Thread(target=_watch, daemon=True).start()
    work = {"install": install, "remove": remove}[job["action"]]
    try:
        with locked(Path(job["folder"])) as lock:
            work(job, lock)
    except Cancelled:
        tell("cancelled")
        return 2
    except Failed as error:
        tell("failed", code=error.code, values=error.values)
        return 1
    except OSError as error:
        code = "disk" if error.errno == errno.ENOSPC else "files"
        if sys.platform == "win32" and error.errno == errno.EACCES:  # it lets nobody delete what runs
            code = "in-use"
        values = {"reason": error.strerror or str(error), "path": str(error.filename or job["folder"])}
        tell("failed", code=code, values=values)
        return 1
    return 0


def _watch() -> None:
    """Blender closes the pipe to cancel; it closes too when Blender ends, in whatever way."""
    while os.read(0, 1):
        pass
    cancelled.set()


if __name__ == "__main__":
    sys.exit(main())

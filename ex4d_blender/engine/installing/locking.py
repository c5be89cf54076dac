# SPDX-License-Identifier: GPL-3.0-or-later
"""One installation in a folder at a time, also between two Blenders. What died holds nothing."""

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .failing import Failed
from .marker import LOCK, NAME

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Hold the folder's lock, a file in it; yields its descriptor, for children to hold it as well.

    A folder that is no engine's at the end is left as it was, or removed if it is empty.

    Raises:
        Failed: somebody else holds it.
        OSError: the folder cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            if sys.platform == "win32":
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Failed("busy", folder=str(folder)) from error
        yield descriptor
    finally:
        os.close(descriptor)
        if not (folder / NAME).exists():
            with contextlib.suppress(OSError):
                path.unlink()
                folder.rmdir()

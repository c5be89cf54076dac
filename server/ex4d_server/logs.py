"""The server's own log: a file in the data folder that does not grow for ever. It never holds the token."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path

from ex4d_core.files import explained

_BYTES, _FILES = 2 * 2**20, 3


@contextmanager
def log_to(folder: Path) -> Generator[None]:
    """Write the log of this process into `sidecar.log` of a folder.

    Raises:
        OutputError: it cannot be written.
    """
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(folder / "sidecar.log", maxBytes=_BYTES, backupCount=_FILES, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.raiseExceptions = False  # no traceback for each line that a full disk does not take
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    for other in root.handlers:  # the terminal keeps to warnings
        if other is not handler:
            other.setLevel(max(other.level, logging.WARNING))
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        handler.close()

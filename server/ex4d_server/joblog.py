"""The log of one job, a text file."""

from __future__ import annotations

import logging
import threading
from datetime import datetime
from pathlib import Path

LOG_FILE = "log.txt"
_MAX_BYTES = 4 * 2**20
_log = logging.getLogger(__name__)


class JobLog:
    """Appends lines with their time; never fails a job."""

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        self._file = None
        self._written = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / LOG_FILE).open("a", encoding="utf-8", newline="\n")
            self._written = self._file.tell()
        except OSError as error:
            _log.warning("no log for %s: %s", folder.name, error)

    def write(self, line: str) -> None:
        """Add a line; beyond 4 MiB nothing more."""
        with self._lock:
            if self._file is None or self._written > _MAX_BYTES:
                return
            text = f"{datetime.now():%Y-%m-%d %H:%M:%S} {line}\n"
            try:
                self._file.write(text)
                self._file.flush()
                self._written += len(text)
            except OSError as error:
                _log.warning("the log of a job cannot be written: %s", error)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._file is not None:
                try:
                    self._file.close()
                except OSError as error:
                    _log.warning("closing the log of a job: %s", error)
                self._file = None

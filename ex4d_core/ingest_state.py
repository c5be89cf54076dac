"""What a half-made scene knows of itself: from which inputs it grows, and what of it is finished."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from ex4d_core.files import explained
from ex4d_core.scene import clear_folder

STATE_FILE = "import.json"
_TEMPORARY = "import.tmp"
_LOG = logging.getLogger(__name__)


class ImportState:
    """`import.json` in a half-made scene; gone from the finished one."""

    def __init__(self, folder: Path, guard: str) -> None:
        """Go on with what an earlier run left of this very import; of any other, nothing stays.

        Args:
            folder: the scene in the making.
            guard: of the inputs, see `import_request.resume_guard`.

        Raises:
            OutputError: the folder cannot be written.
        """
        self._folder = folder
        self._facts: dict[str, Any] = {}
        try:
            self._facts = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
            if self._facts["guard"] == guard:
                return
        except (OSError, ValueError, KeyError, TypeError):
            _LOG.debug("nothing to go on with in %s", folder, exc_info=True)
        clear_folder(folder)
        self._facts = {}
        self.keep("guard", guard)

    def get(self, name: str) -> Any:
        """What an earlier run found; None if it did not come that far."""
        return self._facts.get(name)

    def keep(self, name: str, value: Any) -> None:
        """Note what was found, as JSON.

        Raises:
            OutputError: the file cannot be written.
        """
        self._facts[name] = value
        path, temporary = self._folder / STATE_FILE, self._folder / _TEMPORARY
        with explained(path):
            temporary.write_text(json.dumps(self._facts), encoding="utf-8")
            os.replace(temporary, path)

    def remove(self) -> None:
        """The scene is finished."""
        for name in (STATE_FILE, _TEMPORARY):
            (self._folder / name).unlink(missing_ok=True)


def frames_done(folder: Path, pattern: str, count: int) -> int:
    """How many frames are there from the first on without a gap."""
    for frame in range(count):
        path = folder / (pattern % frame)
        if not path.is_file() or path.stat().st_size == 0:
            return frame
    return count

# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts `ex4d serve` as a process of its own, and turns its end into a sentence. Knows nothing of Blender."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from ..client import Server, discover
from ..errors import UserError
from ..translation import translated
from ..wording import for_artists

START_SECONDS = 60.0
ANSWER_BYTES = 1 << 16
_PLACES = ("~/.local/bin", "/opt/homebrew/bin", "/usr/local/bin", "~/AppData/Roaming/uv/tools/ex4d/Scripts")
"""Where programs are that a Blender started from the desktop does not find on its path."""


_ENDED = "The sidecar ended at its start with code {code}{text}: look into its log, or choose another executable."
_KILLED = "The sidecar ended at its start with signal {code}{text}: look into its log, or choose another executable."

_children: list["subprocess.Popen[bytes]"] = []


def living() -> list[Server]:
    """Sidecars that run on this machine, newest first."""
    _children[:] = [child for child in _children if child.poll() is None]  # asked, a dead child no longer looks alive
    return discover()


def find_executable(chosen: str) -> list[str]:
    """The command that `serve` is added to.

    Args:
        chosen: a path to `ex4d`, to a Python that has it, or empty to look for it.

    Raises:
        UserError: there is none.
    """
    if chosen:
        path = Path(chosen).expanduser()
        if not path.is_file() or not os.access(path, os.X_OK):
            raise UserError(
                "{path} cannot be run: choose the `ex4d` program in the extension's preferences.", path=path
            )
        return [str(path), "-m", "ex4d_core.cli"] if path.stem.startswith("python") else [str(path)]
    where = os.pathsep.join([os.environ.get("PATH", ""), *(os.path.expanduser(place) for place in _PLACES)])
    if found := shutil.which("ex4d", path=where):
        return [found]
    raise UserError(
        "The `ex4d` program is not on this machine's path: choose it in the extension's preferences, or use Install "
        "Engine."
    )


class Launch:
    """A sidecar that was started here: `poll` until it is found or has ended.

    The process is made in a short thread, for that can take longer than a tick; the thread touches nothing of Blender.
    It is no child to be ended with Blender: it stays while Blender lives, and ten idle minutes more.

    Args:
        command: of `find_executable`.
        options: for `ex4d serve`.
        folder: for what it says at its start; exists.
    """

    def __init__(self, command: Sequence[str], options: Sequence[str], folder: Path) -> None:
        self.log = folder / "sidecar.log"
        self.began = time.monotonic()
        self.found: Server | None = None
        self._answer = folder / "sidecar.json"
        self._command = [*command, "serve", "--json", "--parent-pid", str(os.getpid()), *options]
        self._box: list[subprocess.Popen[bytes] | OSError] = []
        with contextlib.suppress(OSError):  # there is no older one, or it is held open by one that still runs
            os.replace(self.log, self.log.with_suffix(".previous.log"))
        self._thread = threading.Thread(target=self._start, name="ex4d-start", daemon=True)
        self._thread.start()

    def _start(self) -> None:
        without = ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "VIRTUAL_ENV")  # Blender's Python is not the sidecar's
        environment = {name: value for name, value in os.environ.items() if name not in without}
        flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP if sys.platform == "win32" else 0
        try:
            with self._answer.open("wb") as answer, self.log.open("wb") as log:
                process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=answer,
                    stderr=log,
                    env=environment,
                    creationflags=flags,
                    start_new_session=sys.platform != "win32",  # Ctrl-C in Blender's terminal is not meant for it
                )
            _children.append(process)
            self._box.append(process)
        except OSError as error:
            self._box.append(error)

    @property
    def process(self) -> "subprocess.Popen[bytes] | None":
        """Once it was made."""
        return self._box[0] if self._box and isinstance(self._box[0], subprocess.Popen) else None

    @property
    def exit_code(self) -> int | None:
        """Of a process that has ended; negative for a signal."""
        return self.process.poll() if self.process else None

    def poll(self) -> Server | None:
        """The sidecar, as soon as it says where it is. Raises: UserError if it never will."""
        if self.found or not self._box:
            return self.found
        if isinstance(error := self._box[0], OSError):
            raise UserError(
                "{program} does not start ({reason}): choose another executable in the preferences.",
                program=self._command[0],
                reason=error.strerror or error,
            )
        ended = self.exit_code  # looked at first: what it wrote before is then there to be read
        said = self._said()
        if address := said.get("address"):
            self.found = next((server for server in living() if server.address == address), None)
        if self.found is None and ended is not None:
            raise UserError(self._why(said, ended))
        if self.found is None and time.monotonic() - self.began > START_SECONDS:
            self.end()
            raise UserError(
                "The sidecar has not answered for {seconds:.0f} s: look into its log, start it again.",
                seconds=START_SECONDS,
            )
        return self.found

    def end(self) -> None:
        """Tell the process to end, without waiting for it."""
        if self.process and self.process.poll() is None:
            self.process.terminate()

    def _said(self) -> dict:
        """The one line that it prints: its address, or an error."""
        try:
            with self._answer.open("rb") as file:
                said = json.loads(file.read(ANSWER_BYTES) or b"{}")
        except (OSError, ValueError):  # half a line yet
            return {}
        return said if isinstance(said, dict) else {}

    def _why(self, said: dict, code: int) -> str:
        error = said.get("error")
        if isinstance(error, dict) and error.get("message"):
            return for_artists(" ".join(str(error["message"]).split())[:500])
        last = [line.strip() for line in tail(self.log).splitlines() if line.strip()][-1:]
        text = f" ({last[0][:300]})" if last else ""
        return translated(_KILLED if code < 0 else _ENDED, code=abs(code), text=text)


def tail(file: Path, size: int = 1 << 16) -> str:
    """The end of a text file; empty if it cannot be read."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(os.fstat(stream.fileno()).st_size - size, 0))
            return stream.read().decode("utf-8", errors="replace")
    except OSError:
        return ""

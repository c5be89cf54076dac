# SPDX-License-Identifier: GPL-3.0-or-later
"""The helper process as Blender sees it: started, listened to by the tick, cancelled. Nothing here waits."""

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ..client import Call
from ..client.discovery import is_alive
from ..errors import UserError
from ..preferences import own_folder, preferences
from ..sidecar import connection, running, waiting
from ..sidecar.process import living
from .kinds import HERE
from .problems import EngineError

ENDING_SECONDS = 20.0  # that a sidecar may take to end before its program is replaced
LOOK_SECONDS = 0.5
_RUN = "import sys, runpy; sys.path.append(sys.argv[1]); runpy.run_module('installing', run_name='__main__')"
STAGES = {
    "ending": "Ending the Sidecar",
    "uv": "Fetching uv",
    "python": "Looking for Python",
    "packages": "Packages",
    "torch": "PyTorch",
    "engine": "EX-4D",
    "check": "Checking",
    "remove": "Removing",
}
"""What the stages of the helper are called."""


class Work:
    """One installation or removal: step it until `outcome` is set.

    Args:
        job: for the helper, see `jobs.py`.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.stage, self.fraction, self.bytes = "ending", 0.0, 0
        self.outcome: dict[str, Any] | None = None
        """The helper's last word: the event `done`, `failed` or `cancelled`."""
        self._process: subprocess.Popen[bytes] | None = None
        self._heard = own_folder("installer") / "progress.jsonl"
        self._read = 0
        self._until = time.monotonic() + ENDING_SECONDS
        self._next_look = 0.0
        self._ending = self._end_sidecars()
        """Processes of sidecars that still use what is worked on."""

    def step(self) -> bool:
        """Go on; whether anything looks different."""
        if self.outcome:
            return False
        if self._process is None:
            if time.monotonic() < self._next_look:
                return False
            self._next_look = time.monotonic() + LOOK_SECONDS
            living()  # which asks children of this Blender whether they have ended
            if any(map(is_alive, self._ending)) and time.monotonic() < self._until:
                return False
            return self._start()
        code = self._process.poll()  # looked at first: what it wrote before is then there to be read
        changed = self._listen()
        if self.outcome is None and code is not None:
            self.outcome = {"event": "failed", "code": "ended", "values": {}}
        if self.outcome:
            self.close()
            return True
        return changed

    def cancel(self) -> None:
        """Tell the helper to end, which it does by itself within seconds."""
        if self._process is None:
            self.outcome = {"event": "cancelled"}
        else:
            self._hang_up()

    def close(self) -> None:
        """Let go of the process; where it runs, that cancels it."""
        self._hang_up()

    @property
    def pid(self) -> int | None:
        """Of the helper, while there is one."""
        return self._process.pid if self._process else None

    def _runs_from_here(self) -> bool:
        """Whether the sidecar's program is the one that is worked on."""
        executable = preferences().executable
        return bool(executable) and Path(self.job["folder"]) in Path(executable).parents

    def _end_sidecars(self) -> list[int]:
        """Their program is about to go, or was just found too old; jobs go on with the next start."""
        if not (self._runs_from_here() or connection().outdated):
            return []
        found = living()
        for server in found:
            call = Call(server, "POST", "/v1/shutdown")
            if waiting.operators_wait():
                with contextlib.suppress(UserError):  # one that does not listen is waited for all the same
                    running.run(call)
            else:
                running.start(call, on_end=lambda task: None)
        if connection().is_local:
            connection().stop()
        return [server.pid for server in found if server.pid]

    def _start(self) -> bool:
        try:
            with self._heard.open("wb") as heard, self._heard.with_suffix(".log").open("wb") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-B", "-c", _RUN, str(HERE)],
                    stdin=subprocess.PIPE,
                    stdout=heard,
                    stderr=log,
                    creationflags=subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0,
                    start_new_session=sys.platform != "win32",
                )
            assert self._process.stdin
            self._process.stdin.write(json.dumps(self.job).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            self.outcome = {"event": "failed", "code": "step", "values": {"reason": error.strerror or str(error)}}
        return True

    def _listen(self) -> bool:
        """Reads whole lines that have come."""
        with self._heard.open("rb") as file:
            file.seek(self._read)
            said = file.read()
        whole = said[: said.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            event = json.loads(line)
            if event["event"] == "progress":
                self.stage, self.fraction, self.bytes = event["stage"], event["fraction"], event["bytes"]
            else:
                self.outcome = event
        return bool(whole)

    def _hang_up(self) -> None:
        if self._process and self._process.stdin:
            self._process.stdin.close()


def error_of(job: dict[str, Any], outcome: dict[str, Any]) -> EngineError:
    """What the helper said of a failure as a sentence with its remedy."""
    code = "hash-wheels" if outcome["code"] == "hash" and job["wheels"] else outcome["code"]
    return EngineError(code, **{"folder": job["folder"], "path": job["folder"], **outcome["values"]})

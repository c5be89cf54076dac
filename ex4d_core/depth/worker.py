"""A model that runs in a Python of its own: a subprocess that is asked with JSON and answers with files.

Another Python has other packages, and a crash or a cancel of it leaves ours as it was. What it prints goes into a
log that is kept and named in errors.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from ex4d_core.errors import Ex4dError, OutputError
from ex4d_core.files import cache_folder, explained
from ex4d_core.progress import Cancelled, stop_if

_POLL_SECONDS = 0.1
"""How often a waiting thread asks whether it should stop."""


class WorkerError(OutputError):
    """A model in a Python of its own failed. As after a full disk, what is finished stays, and a rerun goes on."""

    code = "estimator-failed"


def log_file(name: str) -> Path:
    """Where the output of the latest subprocess of that name is kept."""
    return cache_folder() / "logs" / f"{name}.log"


class Process:
    """A program whose lines are read as they come; it ends with the `with` block, however that ends."""

    def __init__(self, command: Sequence[str | Path], log: Path, *, errors_apart: bool = True) -> None:
        """Start it.

        Args:
            command: program and arguments.
            log: what it writes to stderr goes there.
            errors_apart: whether stderr is not among the lines.

        Raises:
            OutputError: the log cannot be written.
            WorkerError: the program cannot be started.
        """
        self.log = log
        with explained(log):
            log.parent.mkdir(parents=True, exist_ok=True)
            self._log = open(log, "w", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed in __exit__
        hidden = {name for name in os.environ if name in ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")}
        try:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log if errors_apart else subprocess.STDOUT,
                env={name: value for name, value in os.environ.items() if name not in hidden} | {"PYTHONUTF8": "1"},
                encoding="utf-8",
                errors="replace",
                start_new_session=sys.platform != "win32",  # a group of its own: children go with it
            )
        except OSError as error:
            self._log.close()
            raise WorkerError(f"{command[0]} cannot be started ({error.strerror}): install it again.") from error
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, name="worker output", daemon=True).start()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it, and its log."""
        self.kill()
        self._log.close()

    def send(self, line: str) -> None:
        """Write a line to its stdin; a program that has ended is noticed by who reads."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except OSError:
            return

    def lines(self, cancelled: Cancelled) -> Iterator[str]:
        """What it writes, until it ends.

        Args:
            cancelled: asked ten times a second.

        Raises:
            CancelledError: `cancelled` said so; the program is ended.
        """
        while True:
            try:
                line = self._lines.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                line = ""
            if cancelled():
                self.kill()
                stop_if(cancelled)
            if line is None:
                return
            if line:
                yield line

    def wait(self) -> int:
        """Its exit status, once `lines` has ended."""
        return self._process.wait()

    def note(self, line: str) -> None:
        """Write a line of our own into the log."""
        self._log.write(line + "\n")
        self._log.flush()

    def kill(self) -> None:
        """End it and its children now."""
        if self._process.poll() is None:
            if sys.platform == "win32":
                self._process.kill()
            else:
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _read(self) -> None:
        output: IO[str] | None = self._process.stdout
        assert output is not None
        for line in output:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)


class Worker:
    """A runner (see `runners`) that answers one request after another, with its model loaded once."""

    def __init__(self, name: str, python: Path, script: Path, arguments: Sequence[str | Path]) -> None:
        """Start it.

        Args:
            name: of the estimator, for messages and the log.
            python: interpreter that has the model's packages.
            script: one of `runners`.
            arguments: of the script.

        Raises:
            OutputError, WorkerError: as `Process`.
        """
        self.name = name
        # -I: neither our packages nor the folder it happens to run in hide the model's own
        self._process = Process([python, "-I", "-u", script, *arguments], log_file(name))

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it now, whatever it is doing."""
        self._process.close()

    def ask(self, request: dict[str, Any], cancelled: Cancelled) -> dict[str, Any]:
        """Send a request and wait for its reply.

        Raises:
            WorkerError: the model failed.
            CancelledError: `cancelled` said so; the runner is ended within a second.
        """
        self._process.send(json.dumps(request))
        for line in self._process.lines(cancelled):
            reply: dict[str, Any] = json.loads(line)
            if "error" in reply:
                raise self._failure(reply["error"], reply["message"])
            return reply
        status = self._process.wait()
        raise WorkerError(
            f"{self.name} stopped without an answer (exit status {status}{_reason(status)}): read {self._process.log}."
        )

    def _failure(self, kind: str, message: str) -> Ex4dError:
        log = self._process.log
        if kind == "memory":
            return WorkerError(
                f"{self.name} needs more memory than is free (log: {log}): close other programs and run the same "
                "command again, or choose a smaller estimator."
            )
        if kind == "import":
            return WorkerError(f"{self.name} lacks a package ({message.rstrip('.')}): see {log}, and install it again.")
        return WorkerError(f"{self.name} failed ({message.rstrip('.')}): the whole story is in {log}.")


def _reason(status: int) -> str:
    if status == -9:
        return ", mostly for want of memory"
    return ""

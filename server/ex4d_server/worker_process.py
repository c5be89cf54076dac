"""The server's side of a worker process: starting it, asking it, and noticing that it died or hangs."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import IO, Any

import psutil

from ex4d_core.errors import CancelledError, Ex4dError

_log = logging.getLogger(__name__)

READY_SECONDS = 60.0
"""How long a worker may take to start."""
_POLL = 0.1
_NICE = 5
_EXIT_SECONDS = 2.0

Message = dict[str, Any]


class WorkerDied(Exception):
    """The worker ended, or had to be ended, in the middle of its work; says why in plain words."""


class OperationFailed(Ex4dError):
    """The worker reported an error that the user can mend."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class WorkerProcess:
    """One worker process; used by one thread at a time, `end` and `loaded` by any."""

    def __init__(self, environment: dict[str, str], on_log: Callable[[str], None], heartbeat_seconds: float) -> None:
        """Start it.

        Args:
            environment: variables to add, as for choosing a GPU.
            on_log: told each line of its log.
            heartbeat_seconds: how long it may be silent.
        """
        self.loaded: list[str] = []
        """Engines that it keeps loaded."""
        self.warm = False
        """It has imported all that jobs need, without harm."""
        self._last_words = ""
        self._on_log, self._heartbeat = on_log, heartbeat_seconds
        self._messages: SimpleQueue[Message | None] = SimpleQueue()
        self._number = 0
        self.killed_because = ""
        """Why we ended it, if we did."""
        self._last_beat = time.monotonic()
        self._process = subprocess.Popen(
            # -P: a folder that the user happens to be in must not shadow modules.
            [sys.executable, "-P", "-m", "ex4d_server.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            start_new_session=True,  # Ctrl-C in a terminal is for the server, which ends its workers itself
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        self._make_polite()
        self._threads = [
            threading.Thread(target=target, daemon=True, name=f"worker {target.__name__}")
            for target in (self._read_messages, self._read_log)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    @property
    def obituary(self) -> str:
        """Why it ended, in plain words; waits until it has."""
        code = self._process.wait()
        for thread in self._threads:  # its last words
            if thread is not threading.current_thread():
                thread.join(_EXIT_SECONDS)
        return self.killed_because or explain_exit(code, self._last_words)

    def wait_ready(self, given_up: Callable[[], bool] = lambda: False) -> None:
        """Wait until it listens.

        Args:
            given_up: asked ten times a second.

        Raises:
            WorkerDied: it ended or said nothing for `READY_SECONDS`, or `given_up` said so.
        """
        while True:
            message = self._next(_POLL, READY_SECONDS)
            if message is not None and "ready" in message:
                return
            if given_up():
                self._kill("was no longer wanted")
                raise self._died()

    def call(
        self,
        operation: str,
        arguments: Message,
        on_message: Callable[[Message], None],
        cancelled: Callable[[], bool],
        grace_seconds: float,
    ) -> Message:
        """Let it do one thing.

        Args:
            operation: a name of `operations.OPERATIONS`.
            arguments: its arguments.
            on_message: told about progress, previews and warnings.
            cancelled: asked ten times a second.
            grace_seconds: how long it may go on after a cancel before it is killed.

        Returns:
            The operation's result.

        Raises:
            OperationFailed: with the operation's own words.
            CancelledError: `cancelled` said so.
            WorkerDied: it ended, or was silent for too long.
        """
        self._number += 1
        number, asked_to_stop = self._number, 0.0
        self._send({"op": operation, "n": number, "args": arguments})
        while True:
            message = self._next(_POLL, self._heartbeat)
            if message is not None and message.get("n") == number:
                if "done" in message:
                    return message["done"]
                if "failed" in message:
                    failed = message["failed"]
                    if failed["code"] == CancelledError.code:
                        raise CancelledError(failed["message"])
                    raise OperationFailed(failed["code"], failed["message"])
                try:
                    on_message(message)
                except BaseException:  # the store cannot be written, say: nobody waits for the result any more
                    self._send({"cancel": number})
                    raise
            if not asked_to_stop and cancelled():
                asked_to_stop = time.monotonic()
                self._send({"cancel": number})
            if asked_to_stop and time.monotonic() - asked_to_stop > grace_seconds:
                self._kill("was in the middle of something long when its job was cancelled")
                raise CancelledError("Stopped.")

    def end(self) -> None:
        """End it; harmless when it has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()  # it takes this as the end of the server
        except OSError as error:
            _log.debug("closing a worker's input: %s", error)
        try:
            self._process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for thread in self._threads:
            thread.join(_EXIT_SECONDS)

    def _make_polite(self) -> None:
        """Blender and the desktop go first."""
        try:
            process = psutil.Process(self._process.pid)
            process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS if os.name == "nt" else _NICE)
        except psutil.Error as error:
            _log.debug("cannot lower the worker's priority: %s", error)

    def _send(self, message: Message) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            _log.info("the worker does not listen: %s", error)  # `_next` finds out why

    def _next(self, seconds: float, patience: float) -> Message | None:
        """The next message but heartbeats, or None if there is none in time."""
        try:
            message = self._messages.get(timeout=seconds)
        except Empty:
            silence = time.monotonic() - self._last_beat
            if silence > patience:
                self._kill(f"gave no sign of life for {silence:.0f} s")
                raise self._died() from None
            return None
        if message is None:
            raise self._died()
        return message

    def _kill(self, why: str) -> None:
        self.killed_because = why
        self._process.kill()

    def _died(self) -> WorkerDied:
        return WorkerDied(self.obituary)

    def _read_messages(self) -> None:
        assert self._process.stdout is not None
        for line in _lines(self._process.stdout):
            try:
                message = json.loads(line)
            except ValueError:
                self._on_log(line)
                continue
            self._last_beat = time.monotonic()
            if "alive" in message:
                self.loaded, self.warm = message["loaded"], message["warm"]
            else:
                self._messages.put(message)
        self._process.wait()
        self._messages.put(None)

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        for line in _lines(self._process.stderr):
            self._last_words = line.strip() or self._last_words
            self._on_log(line)


def _lines(stream: IO[bytes]) -> Any:
    for line in stream:
        yield line.decode("utf-8", "replace").rstrip("\r\n")
    stream.close()


def explain_exit(code: int, last_words: str = "") -> str:
    """Why a process ended, in plain words.

    Args:
        code: its exit code.
        last_words: the last line of its log, which tells why if it ended by itself.
    """
    if code >= 0 and os.name != "nt":
        return f"ended by itself with code {code}" + (f" ({last_words[:200]})" if last_words else "")
    if code in (-getattr(signal, "SIGKILL", 9), 0xC0000017):
        return "was killed: by hand, or by the system because the machine ran out of memory"
    if code in (-getattr(signal, "SIGSEGV", 11), -getattr(signal, "SIGBUS", 7), 0xC0000005):
        return "crashed (a fault in a library, often a graphics driver)"
    if code == -getattr(signal, "SIGABRT", 6):
        return "gave up (a library found its own state broken)"
    return f"was ended by signal {-code}" if code < 0 else f"ended with code {code:#x}"

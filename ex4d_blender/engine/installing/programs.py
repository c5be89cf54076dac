# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a program with an eye on it: its output into the log, its progress by what grows, its end when cancelled."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from .failing import Failed
from .telling import require_wanted

STALL_SECONDS = 300.0
"""Without a line and without a byte: nothing comes any more."""
LOOK_SECONDS = 2.0
_WITHOUT = ("PYTHON", "VIRTUAL_ENV", "CONDA", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_REQUIRE_VIRTUALENV")


def environment(folder: Path) -> dict[str, str]:
    """This process's own, without what leads into other Pythons, with the system's proxies and our folders."""
    found = {name: value for name, value in os.environ.items() if not name.startswith(_WITHOUT)}
    for scheme, address in urllib.request.getproxies().items():  # of Windows and macOS too, which uv does not ask
        found.setdefault("NO_PROXY" if scheme == "no" else f"{scheme.upper()}_PROXY", address)
    found |= {
        "UV_CACHE_DIR": str(folder / "cache"),
        "PIP_CACHE_DIR": str(folder / "cache"),
        "UV_PYTHON_INSTALL_DIR": str(folder / "python"),
        "UV_NO_PROGRESS": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
    }
    return found


def run(
    command: Sequence[str | Path], folder: Path, lock: int, *, look: Callable[[], int] | None = None
) -> tuple[int, list[str]]:
    """Run a program to its end.

    Args:
        command: the program and its arguments.
        folder: the engine's; its log is written there.
        lock: held by the program too, so that nobody else begins while it outlives a helper that was killed.
        look: called every few seconds; what it returns grows while something goes on.

    Returns:
        Its exit code and its output.

    Raises:
        Cancelled: it was ended.
        Failed: it cannot be started, or it stood still and was ended.
    """
    process = _started(command, folder, lock)
    lines: list[str] = []
    heard: queue.Queue[str] = queue.Queue()
    reader = threading.Thread(target=_read, args=(process, heard.put), daemon=True)
    reader.start()
    grown, moved, looked = 0, time.monotonic(), 0.0
    try:
        with (folder / "install.log").open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(str(word) for word in command)}\n")
            while reader.is_alive() or not heard.empty():
                require_wanted()
                with contextlib.suppress(queue.Empty):
                    lines.append(heard.get(timeout=0.1))
                    log.write(f"{lines[-1]}\n")
                    moved = time.monotonic()
                if look and time.monotonic() - looked > LOOK_SECONDS:
                    size = look()
                    moved = time.monotonic() if size != grown else moved
                    grown, looked = size, time.monotonic()
                if time.monotonic() - moved > STALL_SECONDS:
                    raise Failed("stalled", seconds=f"{STALL_SECONDS:.0f}")
    finally:
        _end(process)
    return process.returncode, lines


def size_of(*folders: Path) -> int:
    """Bytes of the files in folders; what disappears meanwhile is not counted."""
    total, waiting = 0, list(folders)
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
    return total


def _started(command: Sequence[str | Path], folder: Path, lock: int) -> "subprocess.Popen[bytes]":
    options: dict = {"creationflags": subprocess.CREATE_NO_WINDOW} if sys.platform == "win32" else {}
    if sys.platform != "win32":
        options = {"start_new_session": True, "pass_fds": (lock,)}
    try:
        return subprocess.Popen(
            [str(word) for word in command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(folder),
            **options,
        )
    except OSError as error:
        raise Failed("step", reason=f"{command[0]}: {error.strerror or error}") from error


def _read(process: "subprocess.Popen[bytes]", put: Callable[[str], object]) -> None:
    assert process.stdout
    for line in process.stdout:
        put(line.decode("utf-8", errors="replace").rstrip())
    process.wait()


def _end(process: "subprocess.Popen[bytes]") -> None:
    """With its children, where it still runs."""
    if process.poll() is not None:
        return
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

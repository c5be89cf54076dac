"""Finds the sidecars of this machine by the files in which they announce themselves. Standard library only: the Blender
extension ships this very file."""

import contextlib
import json
import os
import sys
from pathlib import Path

from .http import ClientError, Server

ANNOUNCEMENT_BYTES = 1 << 16  # most of one file


def state_folder() -> Path:
    """Where sidecars of this user announce themselves."""
    if own := os.environ.get("EX4D_STATE_DIR"):
        return Path(own)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "ex4d"
    if sys.platform == "darwin":
        return Path.home() / "Library/Application Support/ex4d"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "ex4d"


def is_alive(pid: int) -> bool:
    """Whether a process runs, or a child of ours has ended and was not asked for its exit code."""
    if sys.platform == "win32":  # os.kill(pid, 0) would send Ctrl-C there
        import ctypes

        kernel, code = ctypes.windll.kernel32, ctypes.c_ulong()
        handle = kernel.OpenProcess(0x1000, False, pid)  # PROCESS_QUERY_LIMITED_INFORMATION
        running = bool(handle) and bool(kernel.GetExitCodeProcess(handle, ctypes.byref(code))) and code.value == 259
        kernel.CloseHandle(handle)
        return running
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs, as another user
        return True
    return True


def discover(folder: Path | None = None) -> list[Server]:
    """Sidecars that run on this machine, newest first; damaged announcements and dead processes are left out."""
    found: list[tuple[int, Server]] = []
    for file in ((folder or state_folder()) / "sidecars").glob("*.json"):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError, ClientError):
            written, said = file.stat().st_mtime_ns, json.loads(file.read_bytes()[:ANNOUNCEMENT_BYTES])
            texts = [str(said[name]) for name in ("address", "token", "version", "data")]
            server = Server(texts[0], texts[1], int(said["pid"]), texts[2], int(said["api"]), texts[3])
            server.parts()
            if server.pid and server.pid > 0 and is_alive(server.pid):
                found.append((written, server))
    return [server for _, server in sorted(found, key=lambda pair: pair[0], reverse=True)]

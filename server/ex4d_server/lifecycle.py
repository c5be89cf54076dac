"""The life of the server process: one per data folder, found by its address file, ended with care."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import psutil
import uvicorn
from filelock import FileLock, Timeout
from sqlalchemy.exc import SQLAlchemyError

from ex4d_core.errors import BusyError, Ex4dError, InputError, OutputError
from ex4d_core.files import explain_os_error, explained
from ex4d_server import API_VERSION, __version__
from ex4d_server.app import create_app
from ex4d_server.folders import state_folder
from ex4d_server.guard import is_loopback
from ex4d_server.sidecar import Settings, Sidecar

_log = logging.getLogger(__name__)

SHORTEST_TOKEN = 16
_WATCH_SECONDS = 0.5
_ORPHAN_MINUTES = 10.0
"""How long a server whose parent died waits for another client, where nothing else is given."""
_CLIENTS = 256
_GRACE_SECONDS = 3
_STARTING_SECONDS = 3.0
"""How long a server that has just started may take to leave its address."""


@dataclass(frozen=True)
class Life:
    """When a server ends by itself."""

    parent_pid: int | None = None
    """While this process lives, the server does too."""
    idle_minutes: float | None = None
    """How long it waits for another request or job."""


def address_file(data: Path) -> Path:
    """Where the sidecar of a data folder leaves its address and token."""
    name = hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:16]
    return state_folder() / "sidecars" / f"{name}.json"


def read_token(path: Path) -> str:
    """A token from a file.

    Raises:
        InputError: it cannot be read, or what it holds is too short to be a secret.
    """
    try:
        token = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InputError(f"Cannot read the token file {path} ({error.strerror}): give a file with one line.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"The token file {path} holds no text: give a file with one line of it.") from error
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(
            f"The token in {path} must be one line of at least {SHORTEST_TOKEN} letters and digits: make one with "
            'python -c "import secrets; print(secrets.token_urlsafe(32))".'
        )
    return token


def new_token() -> str:
    """A random token."""
    return secrets.token_urlsafe(32)


def serve(settings: Settings, port: int, life: Life, on_ready: Callable[[str], None]) -> int:
    """Run a sidecar until it is told to end.

    Args:
        settings: how it runs.
        port: to listen on; 0: any that is free.
        life: when it ends by itself.
        on_ready: called with the address once it answers.

    Returns:
        How many jobs are left for the next start.

    Raises:
        BusyError: one runs on this data folder, or the port is taken.
        OutputError: the data folder or the state folder cannot be written.
    """
    os.umask(0o077)  # what it makes is for its owner alone
    with _only_one(settings.data), _listening(settings.host, port) as listener:
        sidecar = Sidecar(settings)
        app = create_app(sidecar)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=_CLIENTS,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            timeout_keep_alive=60,
        )
        address = _address(settings.host, listener.getsockname()[1])
        server = _Server(config, lambda: on_ready(address))
        file = address_file(settings.data)
        watch = threading.Thread(target=_watch, args=(server, sidecar, life), daemon=True, name="watch")
        watch.start()

        def on_signal(number: int, frame: FrameType | None) -> None:
            """Before uvicorn takes over, and after: it raises the signal that ended it once more when it is done."""
            server.should_exit = True

        for name in ("SIGTERM", "SIGINT", "SIGBREAK"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), on_signal)
        try:
            _write_address(file, address, settings)
            server.run(sockets=[listener])
            if isinstance(failure := app.state.failure, Exception):
                raise _start_failed(settings.data, failure) from failure
            return sidecar.left
        finally:
            server.should_exit = True
            with suppress(OSError):
                file.unlink(missing_ok=True)


class _Server(uvicorn.Server):
    """Says when it answers, and lets event streams end when it shall."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """However often somebody presses Ctrl-C, what runs is written down first: a few seconds at most."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.config.app.state.sidecar.announcer.close()  # type: ignore[union-attr]  # it is our app
        await super().shutdown(sockets)


def _start_failed(data: Path, failure: Exception) -> Ex4dError:
    if isinstance(failure, Ex4dError):
        return failure
    if isinstance(failure, OSError):
        return explain_os_error(failure, data)
    return OutputError(
        f"The sidecar cannot start on {data} ({failure}): free some space there, or give another --data."
    )


@contextmanager
def _only_one(data: Path) -> Generator[None]:
    with explained(data):
        data.mkdir(parents=True, exist_ok=True)
        lock = FileLock(data / "lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise BusyError(_who_runs(data)) from error
    try:
        yield
    finally:
        lock.release()


def _who_runs(data: Path) -> str:
    remedy = "use it, stop it first, or give another --data"
    deadline = time.monotonic() + _STARTING_SECONDS
    while time.monotonic() < deadline:
        try:
            known = json.loads(address_file(data).read_text(encoding="utf-8"))
            if psutil.pid_exists(known["pid"]):  # else it is of one that was killed, and the one that runs is starting
                return f"A sidecar runs on {data} already, at {known['address']} (process {known['pid']}): {remedy}."
        except (OSError, ValueError, KeyError) as error:
            _log.debug("no address of the other sidecar yet: %s", error)
        time.sleep(0.05)
    return f"A sidecar runs on {data} already, started by another user or another state folder: {remedy}."


@contextmanager
def _listening(host: str, port: int) -> Generator[socket.socket]:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except (OSError, UnicodeError) as error:
        raise _no_address(host) from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    with listener:
        # On Windows SO_REUSEADDR lets two servers share a port.
        option = socket.SO_EXCLUSIVEADDRUSE if sys.platform == "win32" else socket.SO_REUSEADDR
        listener.setsockopt(socket.SOL_SOCKET, option, 1)
        try:
            listener.bind((host, port))
        except OverflowError as error:
            raise InputError(f"There is no port {port}: give 0 to 65535.") from error
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise _no_address(host) from error
            raise BusyError(
                f"Cannot listen on {host} port {port} ({error.strerror}): give another --port, or 0 for any."
            ) from error
        yield listener


def _no_address(host: str) -> InputError:
    return InputError(f"This machine has no address {host!r}: give --host 127.0.0.1, 0.0.0.0 or one of its own.")


def _address(host: str, port: int) -> str:
    """Where clients on this machine find it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _write_address(file: Path, address: str, settings: Settings) -> None:
    facts = {
        "address": address,
        "pid": os.getpid(),
        "version": __version__,
        "api": API_VERSION,
        "token": settings.token,
        "data": str(settings.data.resolve()),
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    temporary = file.with_suffix(f".{os.getpid()}.tmp")
    with explained(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        os.chmod(file.parent, 0o700)
        temporary.unlink(missing_ok=True)
        # On Windows the folder below %LOCALAPPDATA% is the user's alone; elsewhere the mode says so.
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
            json.dump(facts, out)
        os.replace(temporary, file)


def _watch(server: uvicorn.Server, sidecar: Sidecar, life: Life) -> None:
    """End the server when it is told to, or when nobody needs it any more."""
    parent = _process(life.parent_pid)
    minutes = life.idle_minutes
    if minutes is None and life.parent_pid is not None:
        minutes = _ORPHAN_MINUTES
    quiet_since = time.monotonic()
    while not server.should_exit:
        time.sleep(_WATCH_SECONDS)
        if sidecar.asked_to_stop.is_set():
            break
        if _lives(parent) or not server.started or not _is_idle(sidecar):
            quiet_since = time.monotonic()
            continue
        quiet_since = max(quiet_since, sidecar.last_request)
        if minutes is not None and time.monotonic() - quiet_since > minutes * 60:
            _log.info("nobody has needed the sidecar for %g minutes", minutes)
            break
    server.should_exit = True


def _process(pid: int | None) -> psutil.Process | None:
    """A process; it remembers its start, so that a later one of the same number is not taken for it."""
    if pid is None:
        return None
    try:
        return psutil.Process(pid)
    except (psutil.Error, ValueError):
        return None


def _lives(process: psutil.Process | None) -> bool:
    """Whether a process runs; one that ended and whose parent has not looked does not."""
    try:
        return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _is_idle(sidecar: Sidecar) -> bool:
    try:
        return sidecar.idle
    except SQLAlchemyError as error:  # a full disk, say: no reason to stop watching
        _log.warning("cannot tell whether jobs wait: %s", error)
        return False


def require_token_for(host: str, token_file: Path | None) -> None:
    """Listening to other machines needs a token of the user's own.

    Raises:
        InputError: there is none.
    """
    try:
        socket.getaddrinfo(host or "-", 0, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise _no_address(host) from error
    if not is_loopback(host) and token_file is None:
        raise InputError(
            f"With --host {host} other machines can send jobs and read results: add --token-file FILE with a secret "
            "that only you know, and use it in a network that you trust."
        )

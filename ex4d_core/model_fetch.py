"""Fetches files of the hub into its cache, so that what was begun goes on: after an error, a cancel, a crash.

huggingface_hub itself (2.4) begins a broken file anew, and one of ours has 18 GB. Sessions, tokens, proxies, mirror and
time-outs are its own; so is the layout: blobs/HASH, and links to it in snapshots/COMMIT.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import httpx2
from huggingface_hub import constants, get_session
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

from ex4d_core.errors import Ex4dError
from ex4d_core.model_store import FileFacts
from ex4d_core.progress import Cancelled, OnProgress, stop_if

Result = TypeVar("Result")

CONNECTIONS = 4
"""Files fetched at once."""
RETRIES = 4
"""How often in a row a file may bring nothing new."""
_READ = 2**23
_PATIENCE = 0.1
_UNIT = 10**6
_STAGE = "downloading (MB)"

for _name in ("httpx2", "httpcore2"):
    # They log each address, and those that the hub redirects to carry a signature that opens the file.
    logging.getLogger(_name).setLevel(logging.WARNING)


class DamagedError(Ex4dError):
    """A file came with another content than the hub named."""

    code = "damaged"


@dataclass(frozen=True)
class Wanted:
    """A file to fetch."""

    url: str
    facts: FileFacts
    blob: Path
    """blobs/HASH"""
    pointer: Path
    """snapshots/COMMIT/FILE"""

    @property
    def partial(self) -> Path:
        """What was fetched so far."""
        return self.blob.with_name(f"{self.blob.name}.incomplete")

    @property
    def done(self) -> int:
        """Bytes that need not be fetched any more."""
        if self.has_blob:
            return self.facts.bytes
        size = self.partial.stat().st_size if self.partial.is_file() else 0
        return size if size <= self.facts.bytes else 0

    @property
    def has_blob(self) -> bool:
        """Whether only the link is missing."""
        return self.blob.is_file() and self.blob.stat().st_size == self.facts.bytes


def fetch(wanted: Sequence[Wanted], on_progress: OnProgress, cancelled: Cancelled) -> None:
    """Fetch files, several at once; each appears in its snapshot when it is whole and its hash is right.

    Args:
        wanted: the files.
        on_progress: told megabytes.
        cancelled: asked ten times a second.

    Raises:
        CancelledError: what came so far stays.
        DamagedError: a file came wrong; it is removed.
        httpx2.HTTPError, OSError: after some retries.
    """
    transfer = _Transfer(sum(file.done for file in wanted))
    total = sum(file.facts.bytes for file in wanted)
    files: SimpleQueue[Wanted] = SimpleQueue()
    for file in wanted:
        files.put(file)
    # Daemons: one that waits for a server that says nothing must not hold up a cancel, or the end of the program.
    threads = [
        threading.Thread(target=transfer.work, args=(files,), daemon=True, name=f"fetch {n}")
        for n in range(min(CONNECTIONS, len(wanted)))
    ]
    try:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) and transfer.error is None:
            on_progress(transfer.done // _UNIT, -(-total // _UNIT), _STAGE)
            stop_if(cancelled)
            transfer.changed.wait(_PATIENCE)
        if transfer.error is not None:
            raise transfer.error
        on_progress(-(-total // _UNIT), -(-total // _UNIT), _STAGE)
    finally:
        transfer.stop()


def awaited(work: Callable[[], Result], cancelled: Cancelled) -> Result:
    """The result of something that may take long and cannot be stopped: after a cancel nobody waits for it.

    Raises:
        CancelledError: `cancelled` said so.
        Exception: of the work.
    """
    results: SimpleQueue[Result | Exception] = SimpleQueue()

    def run() -> None:
        try:
            results.put(work())
        except Exception as error:
            results.put(error)

    threading.Thread(target=run, daemon=True, name="awaited").start()
    while True:
        stop_if(cancelled)
        try:
            result = results.get(timeout=_PATIENCE)
        except Empty:
            continue
        if isinstance(result, Exception):
            raise result
        return result


def hasher(facts: FileFacts) -> Any:
    """A hash object as the hub names files of that kind."""
    if facts.sha256:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % facts.bytes, usedforsecurity=False)  # git's


def feed(digest: Any, path: Path, on_bytes: Callable[[int], None]) -> None:
    """Hash a file on disk.

    Args:
        digest: of `hasher`.
        path: the file.
        on_bytes: told how many were read since; may raise.
    """
    with path.open("rb") as stream:
        while chunk := stream.read(_READ):
            digest.update(chunk)
            on_bytes(len(chunk))


class _StoppedError(Exception):
    """Nobody waits any more."""


@dataclass
class _Transfer:
    """What the threads of one `fetch` share."""

    done: int
    """Bytes of all files that are on disk."""
    error: Exception | None = None
    changed: threading.Event = field(default_factory=threading.Event)
    """Set when there is an error."""
    _stopped: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def stop(self) -> None:
        """From here on nothing is written."""
        with self._lock:
            self._stopped = True

    def work(self, files: SimpleQueue[Wanted]) -> None:
        """Fetch files until there are no more."""
        try:
            while True:
                self._fetch(files.get_nowait())
        except (Empty, _StoppedError):
            return
        except Exception as error:
            with self._lock:
                self.error = self.error or error
                self._stopped = True
            self.changed.set()

    def _fetch(self, file: Wanted) -> None:
        file.blob.parent.mkdir(parents=True, exist_ok=True)
        if not file.has_blob:
            partial = _Partial(file, self._check, self._write)
            failures = 0
            while partial.size < file.facts.bytes:
                before = partial.size
                try:
                    partial.stream()
                except (httpx2.TransportError, HfHubHTTPError) as error:
                    failures = failures + 1 if partial.size <= before else 0
                    if failures > RETRIES or not _is_passing(error):
                        raise
                    self._pause(min(2.0**failures, 15.0) / 2)
            partial.finish()
        self._check()
        link(file.blob, file.pointer)

    def _write(self, stream: Any, chunk: bytes) -> None:
        """Write a piece, unless nobody waits any more: then another fetch may write the same file already."""
        with self._lock:
            if self._stopped:
                raise _StoppedError
            stream.write(chunk)
            self.done += len(chunk)

    def _check(self, lost: int = 0) -> None:
        with self._lock:
            self.done -= lost
            if self._stopped:
                raise _StoppedError

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._check()
            time.sleep(_PATIENCE)


class _Partial:
    """A file that is being fetched, with the hash of what is there."""

    def __init__(self, file: Wanted, check: Callable[[int], None], write: Callable[[Any, bytes], None]) -> None:
        self._file, self._check, self._write = file, check, write
        self.size = 0
        self._digest = hasher(file.facts)
        if file.done:
            feed(self._digest, file.partial, lambda _count: check(0))
            self.size = file.done
        else:
            self._begin_anew()

    def stream(self) -> None:
        """Fetch what is missing, or as much of it as comes."""
        headers: Mapping[str, str] = {**build_hf_headers(), "Accept-Encoding": "identity"}
        if self.size:
            headers = {**headers, "Range": f"bytes={self.size}-"}
        timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
        with get_session().stream("GET", self._file.url, headers=headers, timeout=timeout) as response:
            hf_raise_for_status(response)
            if self.size and response.status_code != 206:  # the server knows no ranges
                self._check(self.size)
                self._begin_anew()
            with self._file.partial.open("ab") as stream:
                for chunk in response.iter_bytes():  # as they come: what is gathered first is lost in a break
                    self._write(stream, chunk)
                    self._digest.update(chunk)
                    self.size += len(chunk)

    def finish(self) -> None:
        """Let it appear among the blobs.

        Raises:
            DamagedError: it is not what the hub named.
        """
        name = self._file.pointer.name
        if self.size != self._file.facts.bytes or self._digest.hexdigest() != self._file.facts.blob:
            self._file.partial.unlink()
            raise DamagedError(
                f"{name} came with another content than its hash says: run the same command again, and if that "
                "happens twice, without a mirror (HF_ENDPOINT) or proxy."
            )
        os.replace(self._file.partial, self._file.blob)

    def _begin_anew(self) -> None:
        self._file.partial.write_bytes(b"")
        self.size, self._digest = 0, hasher(self._file.facts)


def link(blob: Path, pointer: Path) -> None:
    """Let a file appear in its snapshot: a link to the blob, or the blob itself where the disk knows no links."""
    pointer.parent.mkdir(parents=True, exist_ok=True)
    pointer.unlink(missing_ok=True)
    try:
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError:
        os.replace(blob, pointer)


def _is_passing(error: Exception) -> bool:
    """Whether an error may be gone the next time."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in (408, 429) or error.response.status_code >= 500
    return not isinstance(error, (httpx2.ProxyError, httpx2.UnsupportedProtocol))

"""Finished stages on disk, found by the content they depend on; the oldest that nothing needs go first.

A folder appears under its final name when it is whole (`ex4d_core.files.partial_folder`), so what a crash left
unrecorded is taken in, and what it left half-made is kept as long as a job may go on with it. What was cut or removed
by hand since then shows in the number of bytes: such a stage is made anew.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from ex4d_server.folders import KINDS, DataFolder, Kind
from ex4d_server.store import Store, entries, jobs, now, scenes, uploads, uses

_log = logging.getLogger(__name__)
_TRASH = "trash-"


@dataclass(frozen=True)
class Entry:
    """A finished stage."""

    key: str
    kind: Kind
    bytes: int
    made_at: str
    pinned: bool
    """A job or a scene still needs it: it is never evicted."""


class Cache:
    """The finished stages of a data folder."""

    def __init__(self, folder: DataFolder, store: Store, limit_bytes: int) -> None:
        self.folder, self.store, self.limit_bytes = folder, store, limit_bytes
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    @contextmanager
    def making(self, key: str) -> Generator[None]:
        """Let one worker at a time make a stage, so that a second one finds it."""
        with self._locks[key]:
            yield

    def use(self, job: str, key: str, keeps: bool = False) -> None:
        """Note that a job needs a stage, before it is looked for or made.

        Args:
            job: id of the job.
            key: of the stage.
            keeps: also once the job has succeeded: its result, or what the result refers to.
        """
        with self.store.writing() as connection:
            mine = (uses.c.job == job) & (uses.c.key == key)
            if connection.execute(select(uses.c.keeps).where(mine)).first() is None:
                connection.execute(insert(uses).values(job=job, key=key, keeps=keeps))
            elif keeps:
                connection.execute(update(uses).where(mine).values(keeps=True))

    def path(self, kind: Kind, key: str) -> Path | None:
        """The folder of a finished stage, for reading; does not count as a use."""
        path = self.folder.entry(kind, key)
        return path if path.is_dir() else None

    def find(self, kind: Kind, key: str) -> Path | None:
        """The folder of a finished stage, used once more; None if it has to be made.

        A damaged one is put aside; the next start removes it.
        """
        path = self.path(kind, key)
        size = -1 if path is None else folder_bytes(path)
        with self.store.writing() as connection:
            mine = entries.c.key == key
            recorded = connection.execute(select(entries.c.bytes).where(mine)).scalar()
            if recorded is not None and recorded != size:
                _log.warning("the stage %s %s was damaged or removed by hand: it is made anew", kind, key)
                connection.execute(delete(entries).where(mine))
                if path is not None:
                    path.rename(path.with_name(f"{_TRASH}{time.time_ns():x}-{path.name}"))
                return None
            if path is None:
                return None
            if connection.execute(update(entries).where(mine).values(used=_next_use(connection))).rowcount:
                return path
        self.add(kind, key)
        return path

    def add(self, kind: Kind, key: str) -> None:
        """Record a finished stage that lies under its final name."""
        size = folder_bytes(self.folder.entry(kind, key))
        with self.store.writing() as connection:
            connection.execute(delete(entries).where(entries.c.key == key))
            values = {"key": key, "kind": kind, "bytes": size, "used": _next_use(connection), "made_at": now()}
            connection.execute(insert(entries).values(**values))

    def adopt(self, kind: Kind) -> None:
        """Record finished stages that nobody recorded: by-products, and what a crash kept from being recorded."""
        with self.store.reading() as connection:
            known = set(connection.execute(select(entries.c.key).where(entries.c.kind == kind)).scalars())
        for key, path in self.folder.entries(kind):
            if key.startswith(_TRASH) or key in known:
                continue
            if path == self.folder.entry(kind, key) and path.is_dir():
                self.add(kind, key)

    def list(self) -> list[Entry]:
        """All finished stages, the first to go first."""
        with self.store.reading() as connection:
            return _listed(connection)

    def total_bytes(self) -> int:
        """What all of them take on disk."""
        with self.store.reading() as connection:
            return connection.execute(select(func.coalesce(func.sum(entries.c.bytes), 0))).scalar_one()

    def evictable_bytes(self) -> int:
        """What those take that nothing needs."""
        return sum(entry.bytes for entry in self.list() if not entry.pinned)

    def make_room(self, needed_bytes: int) -> None:
        """Evict as little as lets a result of this size fit on the disk; nothing where it would not fit even so."""
        short = needed_bytes - shutil.disk_usage(self.folder.root).free
        if short <= 0:
            return
        if self.evictable_bytes() >= short:
            self.evict(self.total_bytes() - short)

    def evict(self, limit_bytes: int | None = None) -> list[Entry]:
        """Remove what nothing needs, oldest use first, until the rest fits the limit.

        Args:
            limit_bytes: default the cache's own.

        Returns:
            What was removed.
        """
        limit = self.limit_bytes if limit_bytes is None else limit_bytes
        gone: list[Entry] = []
        trash: list[Path] = []
        with self.store.writing() as connection:
            found = _listed(connection)
            total = sum(e.bytes for e in found)
            for entry in found:
                if total <= limit:
                    break
                if entry.pinned:
                    continue
                path = self.folder.entry(entry.kind, entry.key)
                try:
                    # Inside the transaction: from here on nobody finds it, on disk or in the store.
                    trash.append(path.rename(path.with_name(_TRASH + path.name)))
                except FileNotFoundError:
                    _log.info("%s was removed by hand", path)
                except OSError as error:  # somebody reads it, on Windows
                    _log.info("cannot evict %s now: %s", path, error)
                    continue
                connection.execute(delete(entries).where(entries.c.key == entry.key))
                connection.execute(update(uploads).where(uploads.c.key == entry.key).values(key=None))
                total -= entry.bytes
                gone.append(entry)
        for path in trash:
            shutil.rmtree(path, ignore_errors=True)
        return gone

    def forget(self, keys: list[str]) -> None:
        """Remove what a deleted job left half-made, unless another job may go on with it."""
        with self.store.reading() as connection:
            left = set(keys) - set(connection.execute(select(uses.c.key)).scalars())
        for kind in KINDS:
            for key in left:
                path = self.folder.entry(kind, key)
                _remove(path.with_name(path.name + ".partial"))

    def sweep(self) -> None:
        """Bring disk and store together, while nothing works yet."""
        with self.store.reading() as connection:
            wanted = select(uses.c.key).join(jobs, jobs.c.id == uses.c.job).where(jobs.c.state != "succeeded")
            unfinished = set(connection.execute(wanted).scalars())
            known_jobs = set(connection.execute(select(jobs.c.id)).scalars())
            known_uploads = set(connection.execute(select(uploads.c.id)).scalars())
            recorded = {(row.kind, row.key) for row in connection.execute(select(entries.c.kind, entries.c.key))}
        for kind in KINDS:
            on_disk: set[str] = set()
            for key, path in self.folder.entries(kind):
                if path == self.folder.entry(kind, key) and path.suffix != ".lock" and not key.startswith(_TRASH):
                    on_disk.add(key)
                elif key not in unfinished or path.suffix == ".lock":
                    _log.info("removing %s, which no job needs", path)
                    _remove(path)
            self.adopt(kind)
            for key in {key for k, key in recorded if k == kind} - on_disk:
                self.find(kind, key)  # forgets it
        if self.store.is_new:  # the old one was moved away: what it knew is not ours to judge
            return
        for path in (self.folder.root / "jobs").iterdir():
            if path.name not in known_jobs:
                _log.info("removing %s, of no job", path)
                _remove(path)
        for path in (self.folder.root / "uploads").iterdir():
            if path.name.removesuffix(".part") not in known_uploads:
                _log.info("removing %s, of no upload", path)
                _remove(path)


def folder_bytes(folder: Path) -> int:
    """What a folder takes on disk, bytes; a file that it shares with others counts whole, for they may go first."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.stat(os.path.join(root, name)).st_size
    return total


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _next_use(connection: Connection) -> Any:
    return connection.execute(select(func.coalesce(func.max(entries.c.used), 0) + 1)).scalar_one()


def _listed(connection: Connection) -> list[Entry]:
    by_jobs = select(uses.c.key).join(jobs, jobs.c.id == uses.c.job)
    needed = by_jobs.where(uses.c.keeps | (jobs.c.state != "succeeded"))
    pinned = set(connection.execute(needed).scalars()) | set(connection.execute(select(scenes.c.key)).scalars())
    rows = connection.execute(select(entries).order_by(entries.c.used))
    return [Entry(row.key, row.kind, row.bytes, row.made_at, row.key in pinned) for row in rows]

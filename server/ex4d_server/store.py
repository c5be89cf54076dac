"""The job store: jobs, their events, scenes, uploads and cached stages in one SQLite file.

Every change of a job and the event that tells of it are one transaction, flushed to disk before anybody hears of
it. Times are for people; order is kept by numbers, so that a clock set back changes nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    MetaData,
    RowMapping,
    Table,
    Text,
    create_engine,
    delete,
    event,
    insert,
    select,
    update,
)
from sqlalchemy.exc import DatabaseError, OperationalError

from ex4d_core.errors import OutputError, SpaceError
from ex4d_server.documents import TERMINAL, State
from ex4d_server.folders import DataFolder

EventKind = Literal["state", "progress", "preview", "log"]
SCHEMA_VERSION = 1
_META = MetaData()

jobs = Table(
    "jobs",
    _META,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", Text, unique=True, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False, index=True),
    Column("stage", Text),
    Column("fraction", Float),
    Column("eta_s", Float),
    Column("message", Text, nullable=False, default=""),
    Column("preview", Integer),
    Column("problem", JSON(none_as_null=True)),
    Column("attempt", Integer, nullable=False, default=0),
    Column("stages", JSON, nullable=False, default=list),
    Column("result", JSON(none_as_null=True)),
    Column("cancel", Boolean, nullable=False, default=False),
    Column("created_at", Text, nullable=False),
    Column("started_at", Text),
    Column("finished_at", Text),
    Column("last_event", Integer, nullable=False, default=0),
    # Last: SQLite reads a row from its beginning, and each connection keeps what it has read.
    Column("request", JSON, nullable=False),
    sqlite_autoincrement=True,
)
_STATUS = [column for column in jobs.c if column.name != "request"]
events = Table(
    "events",
    _META,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("job", Text, nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("data", JSON, nullable=False),
    sqlite_autoincrement=True,
)
scenes = Table("scenes", _META, Column("id", Text, primary_key=True), Column("key", Text, nullable=False))
uploads = Table(
    "uploads",
    _META,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("key", Text, comment="of the finished upload in the cache"),
)
entries = Table(
    "entries",
    _META,
    Column("key", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("used", Integer, nullable=False, comment="grows with every use; the smallest is evicted first"),
    Column("made_at", Text, nullable=False),
)
uses = Table(
    "uses",
    _META,
    Column("job", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("keeps", Boolean, nullable=False, comment="also after the job: its result, or the scene of it"),
)


def now() -> str:
    """The time for people: UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Store:
    """One open job store. Safe to use from many threads; a second process may read, and prune the cache."""

    def __init__(self, path: Path) -> None:
        """Open or create it.

        Raises:
            OutputError: it cannot be written, is damaged, or was made by a newer version.
        """
        self.is_new = False
        """It was created just now."""
        self.on_event: Callable[[str], None] = lambda job: None
        """Told, after the commit, which job has a new event."""
        self._writing = threading.Lock()
        self._engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 20, "check_same_thread": False})
        # As many readers as there ever are stay open: opening one costs more than most of what it is asked.
        reading = {"pool_size": 15, "max_overflow": 0}
        self._reader = create_engine(
            f"sqlite:///{path}", connect_args={"timeout": 20, "check_same_thread": False}, **reading
        )
        for engine in (self._engine, self._reader):
            event.listen(engine, "connect", _prepare)
        event.listen(self._engine, "begin", _begin)
        self._read = self._reader.execution_options(isolation_level="AUTOCOMMIT")
        try:
            with self.writing() as connection:
                version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
                self.is_new = version == 0
                if version == 0:
                    _META.create_all(connection)
                    connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
        except OperationalError as error:
            if DataFolder(path.parent).is_full:
                raise SpaceError(f"The disk of {path.parent} is full: free some space, then start again.") from error
            raise OutputError(
                f"Cannot open the job store {path} ({error.orig}): make its folder writable, or give another --data."
            ) from error
        except DatabaseError as error:
            raise OutputError(
                f"The job store {path} is damaged ({error.orig}): move it away to start with "
                "an empty list; finished results stay in cache/ beside it until room is needed."
            ) from error
        if version > SCHEMA_VERSION:
            raise OutputError(f"The job store {path} is of a newer EX-4D: update this one, or give another --data.")

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()
        self._reader.dispose()

    @contextmanager
    def writing(self) -> Generator[Connection]:
        """One durable transaction; only one at a time."""
        with self._writing, self._engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Generator[Connection]:
        """Statements that change nothing."""
        with self._read.connect() as connection:
            yield connection

    # Jobs

    def add_job(self, job: str, request: Mapping[str, Any]) -> tuple[RowMapping, bool, bool]:
        """Enqueue a job unless its id is taken.

        Returns:
            The job of that id, whether it is new, and whether it has this very request.
        """
        with self.writing() as connection:
            row = _job(connection, job)
            if row is not None:
                known = connection.execute(select(jobs.c.request).where(jobs.c.id == job)).scalar_one()
                return row, False, known == request
            values = {"id": job, "kind": request["kind"], "request": request, "state": "queued", "created_at": now()}
            connection.execute(insert(jobs).values(**values, message="waiting"))
            row = _tell(connection, job, "state")
        self.on_event(job)
        return row, True, True

    def job(self, job: str) -> RowMapping | None:
        """A job without its request, which may be long; or None."""
        with self.reading() as connection:
            return _job(connection, job)

    def request(self, job: str) -> dict[str, Any] | None:
        """What a job was asked for; None if there is none of that id."""
        with self.reading() as connection:
            return connection.execute(select(jobs.c.request).where(jobs.c.id == job)).scalar()

    def list_jobs(self, states: Sequence[State] = (), after: int = 0, limit: int = 1000) -> list[RowMapping]:
        """Jobs with a number over `after`, in order."""
        query = select(*_STATUS).where(jobs.c.number > after).order_by(jobs.c.number).limit(limit)
        if states:
            query = query.where(jobs.c.state.in_(states))
        with self.reading() as connection:
            return list(connection.execute(query).mappings())

    def claim(self, downloads: bool = False) -> RowMapping | None:
        """The next queued job with its request, now running; None if none waits.

        Args:
            downloads: one that downloads a model, or else one of any other kind.
        """
        kind = jobs.c.kind == "models" if downloads else jobs.c.kind != "models"
        with self.writing() as connection:
            first = select(jobs.c.id).where(jobs.c.state == "queued", kind).order_by(jobs.c.number).limit(1)
            job = connection.execute(first).scalar()
            if job is None:
                return None
            changes = {"state": "running", "started_at": now(), "message": "starting", "attempt": jobs.c.attempt + 1}
            connection.execute(update(jobs).where(jobs.c.id == job).values(**changes, cancel=False))
            _tell(connection, job, "state")
            row = connection.execute(select(jobs).where(jobs.c.id == job)).mappings().one()
        self.on_event(job)
        return row

    def change(
        self, job: str, kind: EventKind, *, only: Sequence[State] = ("running",), **values: Any
    ) -> RowMapping | None:
        """Change a job and record the event that tells of it.

        Args:
            job: its id.
            kind: of the event.
            only: the states in which the change may happen.
            values: columns of the job.

        Returns:
            The job after the change; None, and nothing changed, where it is in another state or gone.
        """
        if values.get("state") in TERMINAL:
            values["finished_at"] = now()
        with self.writing() as connection:
            done = connection.execute(update(jobs).where(jobs.c.id == job, jobs.c.state.in_(only)).values(**values))
            if done.rowcount == 0:
                return None
            row = _tell(connection, job, kind)
            if values.get("state") in TERMINAL:
                # Nobody needs to hear again how far a finished job once was.
                old = (events.c.job == job) & events.c.kind.in_(("progress", "preview"))
                connection.execute(delete(events).where(old, events.c.id < row["last_event"]))
        self.on_event(job)
        return row

    def delete_job(self, job: str) -> list[str] | None:
        """Forget a job that is not running.

        Returns:
            The keys of the stages that it used; None, and nothing changed, if it runs or is not there.
        """
        with self.writing() as connection:
            gone = connection.execute(delete(jobs).where(jobs.c.id == job, jobs.c.state != "running")).rowcount > 0
            keys = list(connection.execute(select(uses.c.key).where(uses.c.job == job)).scalars())
            if gone:
                connection.execute(delete(uses).where(uses.c.job == job))
                connection.execute(delete(events).where(events.c.job == job))
        if gone:
            self.on_event(job)
        return keys if gone else None

    def events_after(self, job: str, last: int, limit: int = 500) -> list[RowMapping]:
        """Events of a job with an id over `last`, in order."""
        query = select(events).where(events.c.job == job, events.c.id > last).order_by(events.c.id).limit(limit)
        with self.reading() as connection:
            return list(connection.execute(query).mappings())

    def requeue_interrupted(self, why: str) -> list[str]:
        """Put back in the queue what was running when the server ended; the ids."""
        with self.reading() as connection:
            found = connection.execute(select(jobs.c.id, jobs.c.cancel).where(jobs.c.state == "running")).all()
        for job, cancel in found:
            if cancel:
                self.change(job, "state", state="cancelled", message="cancelled", eta_s=None)
            else:
                self.change(job, "state", state="queued", message=why, eta_s=None)
        return [job for job, _ in found]

    # Scenes and uploads

    def name_scene(self, scene: str, key: str) -> None:
        """Let a scene id mean a cached scene."""
        with self.writing() as connection:
            connection.execute(delete(scenes).where(scenes.c.id == scene))
            connection.execute(insert(scenes).values(id=scene, key=key))

    def scene_key(self, scene: str) -> str | None:
        """The cached scene that an id means."""
        with self.reading() as connection:
            return connection.execute(select(scenes.c.key).where(scenes.c.id == scene)).scalar()

    def list_scenes(self) -> list[tuple[str, str]]:
        """Ids and keys of all scenes."""
        with self.reading() as connection:
            return [(row.id, row.key) for row in connection.execute(select(scenes).order_by(scenes.c.id))]

    def delete_scene(self, scene: str) -> bool:
        """Forget an id; the scene stays in the cache while something needs it."""
        with self.writing() as connection:
            return connection.execute(delete(scenes).where(scenes.c.id == scene)).rowcount > 0

    def upload(self, name: str) -> RowMapping | None:
        """An upload, or None."""
        with self.reading() as connection:
            return connection.execute(select(uploads).where(uploads.c.id == name)).mappings().first()

    def put_upload(self, upload: str, **values: Any) -> None:
        """Record an upload, or change it."""
        with self.writing() as connection:
            if connection.execute(update(uploads).where(uploads.c.id == upload).values(**values)).rowcount == 0:
                connection.execute(insert(uploads).values(id=upload, **values))

    def delete_upload(self, name: str) -> bool:
        """Forget an upload; whether it was there."""
        with self.writing() as connection:
            return connection.execute(delete(uploads).where(uploads.c.id == name)).rowcount > 0


def event_data(row: RowMapping) -> dict[str, Any]:
    """What an event tells of a job (DESIGN section 3)."""
    return {
        "job": row["id"],
        "state": row["state"],
        "stage": row["stage"],
        "fraction": row["fraction"],
        "eta_s": row["eta_s"],
        "message": row["message"],
        "preview_url": preview_url(row),
        "problem": row["problem"],
    }


def preview_url(row: RowMapping) -> str | None:
    """Where the latest thumbnail of a job is; another one has another address."""
    return None if row["preview"] is None else f"/v1/jobs/{row['id']}/preview?n={row['preview']}"


def _job(connection: Connection, job: str) -> RowMapping | None:
    return connection.execute(select(*_STATUS).where(jobs.c.id == job)).mappings().first()


def _tell(connection: Connection, job: str, kind: EventKind) -> RowMapping:
    """Record an event of a job as it is now."""
    row = cast("RowMapping", _job(connection, job))
    done = connection.execute(insert(events).values(job=job, kind=kind, data=event_data(row)))
    number = done.inserted_primary_key[0]  # type: ignore[index]  # an insert of one row has one
    connection.execute(update(jobs).where(jobs.c.id == job).values(last_event=number))
    return cast("RowMapping", _job(connection, job))


def _prepare(connection: Any, record: object) -> None:
    connection.isolation_level = None  # transactions are begun by `_begin`
    # A small cache for each of the many connections: the system keeps the file in memory, too.
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "cache_size = -256"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")

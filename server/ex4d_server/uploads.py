"""Files from clients that do not share a disk with the sidecar: in pieces, resumable, checked."""

from __future__ import annotations

import hashlib
import hmac
import os
import shutil
import threading
from collections import defaultdict
from pathlib import Path

from sqlalchemy import RowMapping

from ex4d_core.errors import SpaceError
from ex4d_core.files import explained
from ex4d_server.cache import Cache
from ex4d_server.documents import UploadStatus
from ex4d_server.problems import RequestError, not_found

PIECE_BYTES = 16 * 2**20
"""Largest piece of an upload."""
_MARGIN = 256 * 2**20


class Uploads:
    """Uploads of a data folder; a complete one is an entry of the cache, a folder with one file in it."""

    def __init__(self, cache: Cache, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._cache, self._folder, self._store = cache, cache.folder, cache.store
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def put(
        self, upload: str, name: str, size: int, sha256: str, offset: int, piece_sha256: str, piece: bytes
    ) -> tuple[UploadStatus, bool]:
        """Take in one piece.

        Args:
            upload: id of the upload.
            name: of the file.
            size: bytes of the whole file.
            sha256: of the whole file, hexadecimal.
            offset: of the piece in the file, bytes.
            piece_sha256: of the piece, hexadecimal.
            piece: the bytes.

        Returns:
            How far the upload is, and whether it is new.

        Raises:
            RequestError: it does not fit what is there, or is damaged, or too large.
            SpaceError: the disk has no room for the whole file.
        """
        if not hmac.compare_digest(hashlib.sha256(piece).hexdigest(), piece_sha256):
            raise RequestError("This piece was damaged on its way: send it again.", "upload-checksum", 422)
        if offset + len(piece) > size:
            raise RequestError(
                f"This piece ends at byte {offset + len(piece)} of {size}: send what the file holds.",
                "upload-size",
                422,
            )
        with self._locks[upload]:
            row = self._store.upload(upload)
            new = row is None
            if row is None:
                self._check_room(size)
                self._store.put_upload(upload, name=name, size=size, sha256=sha256, key=None)
            elif (row["name"], row["size"], row["sha256"]) != (name, size, sha256):
                raise RequestError(
                    f"The upload {upload!r} is another file: choose another id, or delete it first.",
                    "upload-differs",
                    409,
                )
            elif self._complete(row):
                return self._status(row), False
            self._write(upload, offset, piece)
            if self._received(upload) == size:
                self._finish(upload, name, sha256)
            row = self._store.upload(upload)
            assert row is not None
            return self._status(row), new

    def status(self, upload: str) -> UploadStatus:
        """How far an upload is.

        Raises:
            RequestError: there is none.
        """
        return self._status(self._row(upload))

    def key(self, upload: str) -> str:
        """The cache entry of a complete upload.

        Raises:
            RequestError: there is none, it is not complete, or it was evicted.
        """
        row = self._row(upload)
        if not self._complete(row):
            received = self._received(upload)
            raise RequestError(
                f"Of the upload {upload!r} {received} of {row['size']} bytes are here: send the rest first.",
                "upload-incomplete",
                409,
                received=received,
            )
        return row["key"]

    def pin(self, job: str, upload: str) -> None:
        """Keep a complete upload on disk for a job that waits; where there is none, the job says so when it runs."""
        row = self._store.upload(upload)
        if row is not None and row["key"] is not None:
            self._cache.use(job, row["key"])

    def delete(self, upload: str) -> None:
        """Forget an upload; what a job needs of it stays in the cache.

        Raises:
            RequestError: there is none.
        """
        with self._locks[upload]:
            if not self._store.delete_upload(upload):
                raise not_found("upload", upload)
            self._folder.upload(upload).unlink(missing_ok=True)

    def _row(self, upload: str) -> RowMapping:
        row = self._store.upload(upload)
        if row is None:
            raise not_found("upload", upload)
        return row

    def _complete(self, row: RowMapping) -> bool:
        return row["key"] is not None and self._cache.path("upload", row["key"]) is not None

    def _received(self, upload: str) -> int:
        try:
            return self._folder.upload(upload).stat().st_size
        except FileNotFoundError:
            return 0

    def _status(self, row: RowMapping) -> UploadStatus:
        complete = self._complete(row)
        return UploadStatus(
            id=row["id"],
            name=row["name"],
            size=row["size"],
            sha256=row["sha256"],
            # A crash may have come after the last byte and before the check of the whole: that byte is asked for again.
            received=row["size"] if complete else min(self._received(row["id"]), row["size"] - 1),
            complete=complete,
        )

    def _check_room(self, size: int) -> None:
        if size > self.limit_bytes:
            raise RequestError(
                f"{size / 1e9:.1f} GB is more than the {self.limit_bytes / 1e9:.1f} GB that this sidecar takes: "
                "send a shorter or smaller clip.",
                "upload-too-large",
                413,
            )
        free = shutil.disk_usage(self._folder.root).free
        if size + _MARGIN > free:
            raise SpaceError(
                f"The file needs {size / 1e9:.2f} GB and the sidecar's disk has {free / 1e9:.2f} GB free: "
                "free some space there, then try again."
            )

    def _write(self, upload: str, offset: int, piece: bytes) -> None:
        received = self._received(upload)
        if offset > received:
            raise RequestError(
                f"A piece is lost: {received} bytes are here, this one starts at {offset}: go on at {received}.",
                "upload-gap",
                409,
                received=received,
            )
        path = self._folder.upload(upload)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        with explained(path):
            path.parent.mkdir(exist_ok=True)
            with open(os.open(path, flags, 0o600), "r+b") as file:
                file.seek(offset)
                file.write(piece)

    def _finish(self, upload: str, name: str, sha256: str) -> None:
        path = self._folder.upload(upload)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        if not hmac.compare_digest(found, sha256):
            path.unlink()
            raise RequestError(
                "The whole file has another checksum than announced: send it again from the start.",
                "upload-damaged",
                422,
            )
        key = hashlib.sha256(f"{sha256} {name}".encode()).hexdigest()
        if self._cache.find("upload", key) is None:
            final = self._folder.entry("upload", key)
            partial = final.with_name(final.name + ".partial")
            with explained(final):
                partial.mkdir(exist_ok=True)
                os.replace(path, partial / name)
                os.replace(partial, final)
            self._cache.add("upload", key)
        path.unlink(missing_ok=True)
        self._store.put_upload(upload, key=key)


def file_of(entry: Path) -> Path:
    """The file in the folder of a complete upload."""
    return next(path for path in entry.iterdir() if path.is_file())

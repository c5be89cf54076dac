"""Uploads and downloads of the sidecar's client: resumable, checked, stepped like all its tasks.

Standard library only: the Blender extension ships this very file.
"""

import hashlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from .http import MORE, PIECE_BYTES, ClientError, Event, Flow, Http, Json, Server, Wait, bad_reply
from .tasks import PATIENCE_SECONDS, SILENCE_SECONDS, FindServer, Task

UPLOAD_BYTES = 4 << 20  # one piece
UPLOAD_SILENCE_SECONDS = 300.0  # the last piece is answered when the server has looked into the whole file
STALLS = 5  # this many tries in a row, answered but without progress, end an upload or download
PARALLEL = 6  # files of a folder on their way at once: small ones take longer to ask for than to send
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # names that Windows opens as a device


class Upload(Task[Json]):
    """Sends a file in checksummed pieces, going on where the server has got to. Result: the upload document.

    Without an id it takes one made from the file's name and content: the same file again costs one request.
    """

    def __init__(
        self,
        server: Server,
        upload_id: str | None,
        path: Path,
        piece_bytes: int = UPLOAD_BYTES,
        find_server: FindServer | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        super().__init__(server, find_server, patience)
        self.upload_id, self._path, self._piece_bytes = upload_id, path, piece_bytes

    def flow(self) -> Flow[Json]:
        """Hashes the file, then sends it."""
        with self._path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            whole = yield from self._hash(file, size)
            name = self._path.name
            self.upload_id = self.upload_id or hashlib.sha256(f"{whole} {name}".encode()).hexdigest()[:40]
            query: Json = {"name": name, "size": size, "sha256": whole}
            return (yield from self._send(file, f"/v1/uploads/{self.upload_id}", query))

    def _progress(self, stage: str, done: int, total: int) -> Event:
        return Event("bytes", {"stage": stage, "name": self._path.name, "done": done, "total": total})

    def _hash(self, file: BinaryIO, size: int) -> Flow[str]:
        digest, done, told = hashlib.sha256(), 0, 0
        while data := file.read(PIECE_BYTES):
            digest.update(data)
            done += len(data)
            if done - told >= UPLOAD_BYTES:
                told = done
                yield self._progress("hash", done, size)
            yield MORE
        return digest.hexdigest()

    def _send(self, file: BinaryIO, path: str, query: Json) -> Flow[Json]:
        size, whole = int(query["size"]), str(query["sha256"])
        document = yield from self._known(path)
        offset = self._received(document, size) if document.get("sha256") == whole else 0
        restarted, stalls = False, 0
        while not (document.get("complete") and document.get("sha256") == whole):
            piece, piece_hash = yield from self._piece(file, offset, min(self._piece_bytes, size - offset))
            place: Json = {"offset": offset, "piece_sha256": piece_hash}
            try:
                reply = yield from self.call(
                    "PUT", path, piece, "application/octet-stream", query | place, silence=UPLOAD_SILENCE_SECONDS
                )
                document = reply.document
                yield from self.reached()
            except ClientError as error:
                if error.code == "upload-gap":
                    document = error.extras
                elif error.code == "upload-checksum":
                    document = {"received": offset}
                elif error.code == "upload-damaged" and not restarted:
                    document, restarted = {"received": 0}, True
                else:
                    yield from self.failed(error)
                    document = yield from self._known(path)
            received = self._received(document, size)
            stalls = 0 if received > offset else stalls + 1
            if stalls >= STALLS:
                raise ClientError(
                    f"The sidecar takes no more of {self._path.name}: look into its log", "upload-stalled"
                )
            offset = received
            yield self._progress("upload", offset, size)
        return document

    def _known(self, path: str) -> Flow[Json]:
        """What the server knows of this upload; nothing received if it knows none."""
        try:
            return (yield from self.insist("GET", path)).document
        except ClientError as error:
            if error.status != 404:
                raise
        yield from self.reached()
        return {"received": 0}

    def _received(self, document: Json, size: int) -> int:
        received = document.get("received")
        if not isinstance(received, int) or not 0 <= received <= size:
            raise bad_reply("an upload document without a usable `received`")
        return received

    def _piece(self, file: BinaryIO, offset: int, size: int) -> Flow[tuple[bytearray, str]]:
        piece, digest, done = bytearray(size), hashlib.sha256(), 0
        file.seek(offset)
        while done < size:
            data = file.read(min(PIECE_BYTES, size - done))
            if not data:
                raise ClientError(f"{self._path} was shortened on its way: upload it again", "file-changed")
            piece[done : done + len(data)] = data
            digest.update(data)
            done += len(data)
            yield MORE
        return piece, digest.hexdigest()


class Download(Task[Path]):
    """Fetches a file to `target`, over `target`.partial. Result: `target`.

    Cut, it goes on where it was, in a later session too, as long as the server's ETag stays the same.

    Args:
        size: bytes the file must have, if known.
    """

    def __init__(
        self,
        server: Server,
        url_path: str,
        target: Path,
        size: int | None = None,
        find_server: FindServer | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        super().__init__(server, find_server, patience)
        self._url_path, self._target, self._size = url_path, target, size
        self._partial = target.with_name(target.name + ".partial")
        self._tag_file = target.with_name(target.name + ".partial.etag")

    def flow(self) -> Flow[Path]:
        """Fetches until it is whole."""
        self._target.parent.mkdir(parents=True, exist_ok=True)
        stalls = 0
        while True:
            before, _ = self._kept()
            try:
                if not (yield from self._fetch()):
                    continue
            except ClientError as error:
                answered = self._down_since is None
                stalls = stalls + 1 if answered and self._kept()[0] <= before else 0
                if stalls >= STALLS:
                    raise
                yield from self.failed(error)
                continue
            os.replace(self._partial, self._target)
            self._tag_file.unlink(missing_ok=True)
            return self._target

    def _discard(self) -> None:
        self._partial.unlink(missing_ok=True)
        self._tag_file.unlink(missing_ok=True)

    def _kept(self) -> tuple[int, str]:
        """Bytes that an earlier try left, and their ETag; none without a strong one."""
        if not self._partial.is_file() or not self._tag_file.is_file():
            return 0, ""
        tag = self._tag_file.read_text("utf-8", errors="replace")
        return (self._partial.stat().st_size, tag) if re.fullmatch(r'"[\x21\x23-\x7e]*"', tag) else (0, "")

    def _fetch(self) -> Flow[bool]:
        """One request; False to start over."""
        kept, tag = self._kept()
        http = Http(self.server, SILENCE_SECONDS)
        headers = {"Range": f"bytes={kept}-", "If-Range": tag} if kept else {}
        try:
            yield from http.request("GET", self._url_path, b"", "", {}, headers)
            yield from self.reached()
            place = re.fullmatch(r"(?a)bytes (\d+)-\d+/(\d+)", http.headers.get("content-range", ""))
            total = http.headers.get("content-length")
            if http.status == 206:
                if place is None or int(place[1]) != kept or http.headers.get("etag", tag) != tag:
                    self._discard()
                    return False
                total = place[2]
            elif http.status == 200:
                kept = 0
                self._discard()
                if re.fullmatch(r'"[\x21\x23-\x7e]*"', new := http.headers.get("etag", "")):
                    self._tag_file.write_text(new, "utf-8")
            else:
                raise bad_reply(f"status {http.status} instead of a file")
            yield from self._write(http, kept, int(total) if total else None)
            return True
        except ClientError as error:
            if error.status != 416 or not kept:
                raise
            whole = http.headers.get("content-range") == f"bytes */{kept}" and self._size in (None, kept)
            if not whole:
                self._discard()
            return whole  # nothing was missing: an earlier session ended before the renaming
        finally:
            http.close()

    def _write(self, http: Http, kept: int, total: int | None) -> Flow[None]:
        expected, told = self._size if total is None else total, time.monotonic()
        with self._partial.open("r+b" if kept else "wb") as file:
            file.seek(kept)
            while self._size in (None, expected) and (data := (yield from http.read())):
                file.write(data)
                kept += len(data)
                self._pause = self._shortest
                if expected is not None and kept > expected:
                    break
                if (now := time.monotonic()) - told > 0.1:
                    told = now
                    yield self._progress(kept, expected)
        if expected not in (None, kept) or self._size not in (None, kept):
            self._discard()
            text = f"{self._target.name} has another length than the {self._size or expected} bytes announced"
            raise ClientError(f"{text}: fetch it again", "wrong-length")
        yield self._progress(kept, expected)

    def _progress(self, done: int, total: int | None) -> Event:
        return Event("bytes", {"stage": "download", "name": self._target.name, "done": done, "total": total})


def local_path(folder: Path, name: str) -> Path:
    """Where a file of the server's goes below `folder`.

    Raises: ClientError `bad-reply` for a name that leads outside it or that some platform cannot hold.
    """
    parts = PurePosixPath(name).parts
    bad = not parts or "/".join(parts) != name or len(name) > 1024
    for part in parts:
        bad = bad or part[-1] in ". " or bool(re.search(r'[\x00-\x1f\\:*?"<>|]', part))
        bad = bad or bool(_DEVICES.fullmatch(part))
    if bad or name.startswith("/"):
        raise bad_reply(f"a file name that is no use here ({name[:80]!r})")
    return folder / name


class DownloadFolder(Task[list[Path]]):
    """Fetches all files that `url_path` lists (a job's or a scene's `files`) into `folder`, several at once.

    A file is whole or not there; after a failure the same task again begins with the files' list anew.
    """

    def __init__(
        self,
        server: Server,
        url_path: str,
        folder: Path,
        find_server: FindServer | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        super().__init__(server, find_server, patience)
        self._url_path, self._folder = url_path, folder

    def flow(self) -> Flow[list[Path]]:
        """Asks for the list, then for the files."""
        listed = (yield from self.insist("GET", self._url_path)).document.get("files")
        if not isinstance(listed, list):
            raise bad_reply("no list of files")
        entries = [cast(Json, e) for e in cast("list[Any]", listed) if isinstance(e, dict)]
        targets = {str(entry.get("name")): local_path(self._folder, str(entry.get("name"))) for entry in entries}
        sizes = {str(entry.get("name")): entry.get("size") for entry in entries}
        yield from _together(
            Download(
                self.server,
                f"{self._url_path}/{name}",
                target,
                size if isinstance(size := sizes[name], int) else None,
                self.find_server,
                self.patience,
            ).flow()
            for name, target in targets.items()
        )
        return list(targets.values())


def _together(flows: Iterator[Flow[Any]]) -> Flow[None]:
    """Runs flows side by side, at most `PARALLEL` of them begun at a time; the first error ends all."""
    running: dict[Flow[Any], Wait] = {}
    try:
        while True:
            while len(running) < PARALLEL and (flow := next(flows, None)):
                running[flow] = MORE
            if not running:
                return
            ended = False
            for flow, pause in list(running.items()):
                if not pause.sockets and pause.until > time.monotonic():
                    continue
                try:
                    item = next(flow)
                except StopIteration:
                    del running[flow]
                    ended = True
                    continue
                running[flow] = item if isinstance(item, Wait) else MORE
                if isinstance(item, Event):
                    yield item
            pauses = running.values()
            if ended or MORE in pauses:
                yield MORE
            else:
                sockets = tuple(pair for pause in pauses for pair in pause.sockets)
                yield Wait(sockets, min(pause.until for pause in pauses))
    finally:
        for flow in running:
            flow.close()

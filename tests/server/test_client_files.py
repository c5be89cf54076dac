"""The client's uploads and downloads: pieces lost and repeated, cuts, restarts, files that change under them."""

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ex4d_server.client import Client, ClientError, Download, DownloadFolder, Event, Server, Upload, local_path, wait
from ex4d_server.client import tasks as client_tasks
from scripted_server import TOKEN, Peer, ScriptedServer, answering, head, replying

PIECE = 1000


class Store:
    """The server's side of an upload, as the contract has it: keeps what really arrived, and fails where told to.

    Args:
        faults: for the n-th PUT, what goes wrong: `lost` (taken, but the answer is lost), `dropped` (not taken),
            `forgets` (half of all received is gone), `checksum`, `damaged`.
    """

    def __init__(self, name: str, size: int, faults: dict[int, str] | None = None) -> None:
        self.name, self.size, self.faults = name, size, faults or {}
        self.data, self.puts, self.known = b"", 0, False

    def document(self, sha256: str) -> dict[str, object]:
        whole = self.known and len(self.data) == self.size
        return {"id": "u", "name": self.name, "size": self.size, "sha256": sha256} | {
            "received": len(self.data),
            "complete": whole and hashlib.sha256(self.data).hexdigest() == sha256,
        }

    def __call__(self, peer: Peer) -> None:
        request = peer.request()
        if request.method == "GET":
            sha = hashlib.sha256(self.data).hexdigest() if len(self.data) == self.size else "unknown-yet"
            reply = (200, self.document(sha)) if self.known else (404, {"code": "unknown-upload", "detail": "No: send"})
            return peer.reply(*reply)
        fault = self.faults.get(self.puts)
        self.puts += 1
        offset, sha = int(request.query["offset"]), request.query["sha256"]
        assert (request.query["name"], int(request.query["size"])) == (self.name, self.size)
        assert hashlib.sha256(request.body).hexdigest() == request.query["piece_sha256"]
        if fault == "dropped":
            return peer.reset()
        if fault == "checksum":
            return peer.reply(422, {"code": "upload-checksum", "detail": "Damaged on its way: send it again"})
        if fault == "forgets":
            self.data = self.data[: len(self.data) // 2]
        if offset > len(self.data):
            gap = {"code": "upload-gap", "detail": "A piece is missing: send it", "received": len(self.data)}
            return peer.reply(409, gap)
        self.known = True
        self.data = self.data[:offset] + request.body
        if fault == "damaged":
            self.data = b""
            return peer.reply(422, {"code": "upload-damaged", "detail": "Not what was announced: send it again"})
        if fault == "lost":
            return peer.reset()
        return peer.reply(200, self.document(sha))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "Café clip.mp4"
    path.write_bytes(os.urandom(7 * PIECE + 123))
    return path


def send(clip: Path, faults: dict[int, str] | None = None) -> tuple[Store, list[tuple[str, int | None]], list[Event]]:
    """The store after an upload, what was asked of it (method, offset), and the events."""
    store, heard = Store(clip.name, clip.stat().st_size, faults), list[Event]()
    with ScriptedServer(always=store) as scripted:
        document = wait(Upload(scripted.server, "u", clip, PIECE), 20, heard.append)
        asked = [(r.method, int(r.query["offset"]) if r.query else None) for r in scripted.requests]
    assert document["complete"] is True
    assert store.data == clip.read_bytes()
    return store, asked, heard


def test_upload_in_pieces(clip: Path) -> None:
    _, asked, heard = send(clip)
    assert asked == [("GET", None), *[("PUT", n * PIECE) for n in range(8)]]
    done = [event.data["done"] for event in heard if event.data["stage"] == "upload"]
    assert done == [*(n * PIECE for n in range(1, 8)), 7 * PIECE + 123]


def test_one_piece_lost_and_one_repeated(clip: Path) -> None:
    """Lost: it never arrived, so it is sent again. Taken, but unanswered: the client asks, and goes on behind it."""
    _, asked, heard = send(clip, {2: "dropped", 5: "lost"})
    offsets = [offset for method, offset in asked if method == "PUT"]
    assert offsets == [n * PIECE for n in (0, 1, 2, 2, 3, 4, 5, 6, 7)]
    assert [event.kind for event in heard if event.kind != "bytes"] == ["offline", "online"] * 2


def test_server_that_lost_what_it_had(clip: Path) -> None:
    _, asked, _ = send(clip, {4: "forgets"})
    assert [offset for method, offset in asked if method == "PUT"] == [
        n * PIECE for n in (0, 1, 2, 3, 4, 2, 3, 4, 5, 6, 7)
    ]


def test_damaged_pieces_and_one_damaged_whole(clip: Path) -> None:
    store, asked, _ = send(clip, {1: "checksum", 4: "checksum", 9: "damaged"})
    assert store.puts == 18
    assert [offset for method, offset in asked if method == "PUT"].count(0) == 2


@pytest.mark.parametrize(("fault", "code"), [("damaged", "upload-damaged"), ("checksum", "upload-stalled")])
def test_upload_that_never_succeeds_ends(clip: Path, fault: str, code: str) -> None:
    store = Store(clip.name, clip.stat().st_size, dict.fromkeys(range(100), fault))
    with ScriptedServer(always=store) as scripted, pytest.raises(ClientError) as caught:
        wait(Upload(scripted.server, "u", clip, PIECE), 20)
    assert caught.value.code == code
    assert store.puts <= 5


def test_upload_goes_on_in_a_later_session(clip: Path) -> None:
    store = Store(clip.name, clip.stat().st_size)
    store.known, store.data = True, clip.read_bytes()[: 3 * PIECE + 7]
    whole = hashlib.sha256(clip.read_bytes()).hexdigest()
    store.document = lambda sha256, inner=store.document: inner(whole)  # the real one remembers what was announced
    with ScriptedServer(always=store) as scripted:
        wait(Upload(scripted.server, "u", clip, PIECE), 20)
        assert scripted.requests[1].query["offset"] == str(3 * PIECE + 7)
        assert len(scripted.requests) == 6
        wait(Upload(scripted.server, "u", clip, PIECE), 20)
        assert len(scripted.requests) == 7, "complete: nothing to send"
    assert store.data == clip.read_bytes()


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    store, asked, _ = send(tmp_path / "empty")
    assert asked == [("GET", None), ("PUT", 0)]
    assert store.known


def test_another_file_under_the_same_id(clip: Path) -> None:
    known = {"received": 5, "complete": True, "sha256": "of another file"}
    differs = {"code": "upload-differs", "detail": "Another file: take a new id"}
    server = ScriptedServer(replying(200, known), replying(409, differs))
    with server as scripted, pytest.raises(ClientError) as caught:
        wait(Upload(scripted.server, "u", clip, PIECE), 5)
    assert caught.value.code == "upload-differs"


def test_file_that_shrinks_or_is_not_there(clip: Path, tmp_path: Path) -> None:
    store = Store(clip.name, clip.stat().st_size)

    def serve(peer: Peer) -> None:
        if store.puts == 2:
            os.truncate(clip, 2 * PIECE)
        store(peer)

    with ScriptedServer(always=serve) as scripted:
        with pytest.raises(ClientError, match="shortened") as caught:
            wait(Upload(scripted.server, "u", clip, PIECE), 5)
        assert caught.value.code == "file-changed"
        with pytest.raises(ClientError, match="No such file") as caught:
            wait(Upload(scripted.server, "u", tmp_path / "missing.mp4"), 5)
        assert caught.value.code == "file"


def test_default_id_is_made_of_name_and_content(clip: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin.mp4"
    twin.write_bytes(clip.read_bytes())
    ids: list[str] = []
    for path in (clip, clip, twin):
        with ScriptedServer(always=Store(path.name, path.stat().st_size)) as scripted:
            ids.append(Client(scripted.server).upload(path))
    assert ids[0] == ids[1] != ids[2]
    assert all(len(name) <= 64 and name.isalnum() for name in ids)


# ---- downloads


class Files:
    """A server of files with ETags and ranges; `cut` bytes into the n-th reply it breaks off."""

    def __init__(self, cuts: tuple[int | None, ...] = (), **contents: bytes) -> None:
        self.contents, self.cuts, self.tag, self.replies = contents, cuts, '"v1"', 0

    def __call__(self, peer: Peer) -> None:
        request = peer.request()
        data = self.contents[request.path.rsplit("/", 1)[-1]]
        cut = self.cuts[self.replies] if self.replies < len(self.cuts) else None
        self.replies += 1
        fields = {"etag": self.tag}
        if "range" in request.headers and request.headers.get("if-range") == self.tag:
            start = int(request.headers["range"].removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                return peer.reply(416, b"", {"content-range": f"bytes */{len(data)}"})
            fields["content-range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            whole = head(206, fields | {"content-length": str(len(data) - start)}) + data[start:]
        else:
            whole = head(200, fields | {"content-length": str(len(data))}) + data
        peer.send(whole if cut is None else whole[: whole.index(b"\r\n\r\n") + 4 + cut])
        return None


DATA = os.urandom(300_000)


def fetch(files: Files, target: Path, meanwhile: Callable[[int], None] | None = None) -> list[str | None]:
    """Downloads to `target`; returns the Range of each request."""

    def serve(peer: Peer) -> None:
        if meanwhile:
            meanwhile(files.replies)
        files(peer)

    with ScriptedServer(always=serve) as scripted:
        assert wait(Download(scripted.server, "/v1/jobs/j/files/a", target), 20) == target
        return [request.headers.get("range") for request in scripted.requests]


def test_download(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "out.mp4"
    assert fetch(Files(a=DATA), target) == [None]
    assert target.read_bytes() == DATA
    assert os.listdir(target.parent) == ["out.mp4"]


def test_download_cut_and_resumed(tmp_path: Path) -> None:
    ranges = fetch(Files((100_000, 50_000, 0, 1), a=DATA), tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == DATA
    assert ranges == [None, "bytes=100000-", "bytes=150000-", "bytes=150000-", "bytes=150001-"]


def test_changed_file_starts_over(tmp_path: Path) -> None:
    files, changed = Files((100_000,), a=DATA), os.urandom(200_000)

    def change(reply: int) -> None:
        if reply == 1:
            files.contents["a"], files.tag = changed, '"v2"'

    assert fetch(files, tmp_path / "out", change) == [None, "bytes=100000-"]
    assert (tmp_path / "out").read_bytes() == changed


def test_changed_file_in_spite_of_a_partial_reply(tmp_path: Path) -> None:
    """A server that answers If-Range with the rest of another file must not give a mixture."""
    changed = os.urandom(len(DATA))

    def wrong(peer: Peer) -> None:
        peer.request()
        place = f"bytes 100000-{len(changed) - 1}/{len(changed)}"
        peer.reply(206, changed[100_000:], {"etag": '"v2"', "content-range": place})

    files = Files((100_000,), a=DATA)
    again = Files(a=changed)
    with ScriptedServer(files, wrong, again) as scripted:
        wait(Download(scripted.server, "/a", tmp_path / "out"), 10)
    assert (tmp_path / "out").read_bytes() == changed


def test_download_goes_on_in_a_later_session(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with ScriptedServer(Files((100_000,), a=DATA)) as scripted:
        task = Download(scripted.server, "/a", target)
        while not any(event.kind == "offline" for event in task.step()):
            time.sleep(0.001)
        task.close()
    assert not target.exists()
    assert fetch(Files(a=DATA), target) == ["bytes=100000-"]
    assert target.read_bytes() == DATA
    target.rename(tmp_path / "out.partial")  # an earlier session ended just before the renaming
    (tmp_path / "out.partial.etag").write_text('"v1"')
    assert fetch(Files(a=DATA), target) == ["bytes=300000-"]
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("tag", ["", 'W/"v1"', '"v\r\nX: 1"', '"ä"'])
def test_without_a_strong_etag_nothing_is_resumed(tmp_path: Path, tag: str) -> None:
    (tmp_path / "out.partial").write_bytes(b"old")
    (tmp_path / "out.partial.etag").write_text(tag, "utf-8")
    assert fetch(Files(a=DATA), tmp_path / "out") == [None]
    assert (tmp_path / "out").read_bytes() == DATA


@pytest.mark.parametrize(
    "reply",
    [head(200, {"content-length": "5"}) + b"abcde", head(200, {}) + b"abc", head(200, {}) + b"x" * 500_000],
    ids=["announced", "short", "flood"],
)
def test_wrong_length(tmp_path: Path, reply: bytes) -> None:
    with ScriptedServer(answering(reply)) as scripted, pytest.raises(ClientError) as caught:
        wait(Download(scripted.server, "/a", tmp_path / "out", size=4), 5)
    assert caught.value.code == "wrong-length"
    assert os.listdir(tmp_path) == []


def test_flood_instead_of_a_file(tmp_path: Path) -> None:
    """The disk is not filled beyond what was announced."""

    def flood(peer: Peer) -> None:
        peer.request()
        peer.send(head(200, {}))
        while True:
            peer.send(bytes(1 << 16))

    with ScriptedServer(flood) as scripted, pytest.raises(ClientError) as caught:
        wait(Download(scripted.server, "/a", tmp_path / "out", size=100_000), 3)
    assert caught.value.code == "wrong-length"
    assert os.listdir(tmp_path) == []


def test_download_that_never_gets_further_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_tasks, "PAUSE_SECONDS", 0.01)
    files = Files((10,) + (0,) * 20, a=DATA)
    with ScriptedServer(always=files) as scripted, pytest.raises(ClientError) as caught:
        wait(Download(scripted.server, "/a", tmp_path / "out"), 20)
    assert caught.value.code == "lost"
    assert files.replies <= 7


def test_errors_of_downloads(tmp_path: Path) -> None:
    with (
        ScriptedServer(answering(head(404, {"content-length": "0"}))) as scripted,
        pytest.raises(ClientError) as caught,
    ):
        wait(Download(scripted.server, "/a", tmp_path / "out"), 5)
    assert caught.value.status == 404
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ClientError) as caught:
        wait(Download(Server("http://127.0.0.1:1", TOKEN), "/a", tmp_path / "file" / "out"), 5)
    assert caught.value.code == "file"


def test_whole_folder(tmp_path: Path) -> None:
    contents = {f"{n:06d}.png": os.urandom(n * 700) for n in range(40)}
    files = Files((), **contents)

    def serve(peer: Peer) -> None:
        if not listed:
            request = peer.request()
            listed.append(request.path)
            names = [{"name": f"color/{name}", "size": len(data), "etag": "x"} for name, data in contents.items()]
            return peer.reply(200, {"files": names})
        return files(peer)

    listed: list[str] = []
    heard: list[Event] = []
    with ScriptedServer(always=serve) as scripted:
        paths = Client(scripted.server).download_job("j", tmp_path / "shot", heard.append)
        assert {request.path for request in scripted.requests[1:]} == {f"/v1/jobs/j/files/color/{n}" for n in contents}
    assert {path.name: path.read_bytes() for path in paths} == contents
    assert all(path.parent == tmp_path / "shot" / "color" for path in paths)
    assert {event.data["name"] for event in heard} == set(contents)


def test_one_missing_file_ends_the_folder(tmp_path: Path) -> None:
    listing = {"files": [{"name": f"f{n}", "size": 3} for n in range(20)]}

    def serve(peer: Peer) -> None:
        path = peer.request().path
        if path.endswith("/files"):
            return peer.reply(200, listing)
        return peer.reply(404, {}) if path.endswith("f7") else peer.reply(200, b"abc")

    with ScriptedServer(always=serve) as scripted, pytest.raises(ClientError) as caught:
        wait(DownloadFolder(scripted.server, "/v1/jobs/j/files", tmp_path), 10)
    assert caught.value.status == 404
    assert not (tmp_path / "f7").exists()


BAD_NAMES = ["", ".", "..", "../x", "a/../../x", "/etc/passwd", "C:\\x", "C:x", "a\\b", "a//b", "a/", "./a", "a\0b"]


@pytest.mark.parametrize(
    "name", [*BAD_NAMES, "a\nb", "nul", "a/COM1.txt", "con.png", "a.", "a ", "a?", "a*", "x" * 2000]
)
def test_names_that_lead_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(ClientError, match="file name"):
        local_path(tmp_path, name)
    listing = {"files": [{"name": name, "size": 3}]}
    with ScriptedServer(replying(200, listing)) as scripted, pytest.raises(ClientError, match="file name"):
        wait(DownloadFolder(scripted.server, "/v1/jobs/j/files", tmp_path), 5)
    assert os.listdir(tmp_path) == []


def test_ordinary_names(tmp_path: Path) -> None:
    for name in ("color.mp4", "depth/000001.exr", "é ü/名.png", ".hidden", "console.txt", "a..b"):
        assert local_path(tmp_path, name).relative_to(tmp_path).as_posix() == name

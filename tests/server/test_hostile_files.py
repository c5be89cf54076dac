"""Files that mean harm: zips, scenes, clips, pickles, and paths to what is no footage."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile_zips as zips
import numpy as np
import pytest
from conftest import Running
from ex4d_server.unpack import unpack
from raw_http import ask, new_id, run_job, upload, wait_job

from ex4d_core.errors import Ex4dError
from ex4d_core.scene import hash_scene
from ex4d_core.scene_format import SCENE_FILE, document_text, parse_document

SECRET = b"the secret of this machine\n"


def state_of(running: Running) -> dict[str, int]:
    """Every file of a sidecar with its size, but logs, the store and what belongs to a job."""
    folder = running.data.parent
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    passing = ("data/logs/", "data/ex4d.sqlite3", "data/jobs/")
    return {name: path.lstat().st_size for name, path in found.items() if not name.startswith(passing)}


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def scene(sidecar: Running, reshot: dict[str, Any]) -> Path:
    """A good scene folder."""
    return Path(ask(sidecar.server, "GET", "/v1/scenes/reshot").json()["path"])


HOSTILE_ZIPS: dict[str, Callable[[], bytes]] = {
    "climbs out": lambda: zips.packed({"../../planted.txt": b"x", SCENE_FILE: b"{}"}),
    "climbs out inside": lambda: zips.packed({"a/../../../planted.txt": b"x"}),
    "absolute": lambda: zips.packed({"/tmp/planted-by-a-zip.txt": b"x"}),
    "absolute on Windows": lambda: zips.packed({"C:/planted.txt": b"x"}),
    "backslashes": lambda: zips.packed({"..\\..\\planted.txt": b"x"}),
    "device": lambda: zips.packed({"color/con.png": b"x"}),
    "stream": lambda: zips.packed({"scene.json:hidden": b"x"}),
    "trailing dot": lambda: zips.packed({"color./0.png": b"x"}),
    "link": lambda: zips.packed({SCENE_FILE: b"{}"}, {"color": "/etc"}),
    "link to a file": lambda: zips.packed({}, {SCENE_FILE: "/etc/passwd"}),
    "pipe": lambda: zips.packed_special("color", stat.S_IFIFO),
    "character device": lambda: zips.packed_special("color", stat.S_IFCHR),
    "larger than it says": lambda: zips.with_sizes(zips.packed({SCENE_FILE: bytes(50_000_000)}), 10),
    "huge": lambda: zips.with_sizes(zips.packed({f"{n}.png": b"x" for n in range(30)}), 0xFFFF_FFF0),
    "the same name": lambda: zips.packed({"color/A.png": b"x", "color/a.png": b"y"}),
    "a file that is a folder": lambda: zips.packed({"color": b"x", "color/0.png": b"y"}),
    "a name that no disk takes": lambda: zips.packed({"x" * 300 + "/a.png": b"x", "b.png": b"y"}),
    "a way of packing that nobody knows": lambda: zips.packed_as(zips.packed({SCENE_FILE: b"{}"}), 99),
    "another way of packing than it says": lambda: zips.packed_as(zips.packed({SCENE_FILE: SECRET * 50}), 14),
    "encrypted": lambda: zips.encrypted(zips.packed({SCENE_FILE: b"{}"})),
    "truncated": lambda: zips.packed({SCENE_FILE: bytes(range(256)) * 50})[:-30],
    "damaged": lambda: zips.packed({SCENE_FILE: bytes(range(256)) * 50}).replace(b"\x05\x06", b"\x07\x08", 1),
    "empty": lambda: zips.packed({}),
    "nothing of a zip": lambda: SECRET * 100,
    "no scene": lambda: zips.packed({"readme.txt": b"hello"}),
    "a scene of nonsense": lambda: zips.packed({SCENE_FILE: b"[" * 100_000}),
}


@pytest.mark.parametrize("what", HOSTILE_ZIPS)
def test_a_hostile_zip_is_refused_and_leaves_nothing(sidecar: Running, reshot: dict[str, Any], what: str) -> None:
    name = upload(sidecar.server, HOSTILE_ZIPS[what](), "scene.zip")
    before = state_of(sidecar)
    answer = ask(sidecar.server, "PUT", f"/v1/scenes/{new_id('hostile')}", {"upload": name})
    answer.problem(422, answer.json()["code"])
    assert answer.json()["code"] in ("bad-input", "bad-output"), answer.json()
    assert state_of(sidecar) == before
    assert not Path("/tmp/planted-by-a-zip.txt").exists()
    assert ask(sidecar.server, "GET", "/v1/health").json()["status"] in ("ready", "busy")


def test_a_zip_damaged_anywhere_is_unpacked_or_refused(tmp_path: Path) -> None:
    good = zips.packed({SCENE_FILE: b"{}" * 40, "color/000000.png": bytes(range(64))})
    rng = random.Random(1)
    outcomes = set[str]()
    for number in range(400):
        damaged = bytearray(good)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(len(good))] = rng.randrange(256)
        archive, folder = tmp_path / "a.zip", tmp_path / str(number)
        archive.write_bytes(damaged)
        try:
            unpack(archive, folder, 10**6)
            outcomes.add("unpacked")
        except Ex4dError as error:
            outcomes.add(error.code)
        assert {path.name for path in tmp_path.iterdir()} <= {"a.zip", str(number)}
        shutil.rmtree(folder, ignore_errors=True)
    assert {"unpacked", "bad-input"} <= outcomes


def test_a_zip_on_this_machine_is_not_unpacked_beside_it(sidecar: Running, tmp_path: Path) -> None:
    (tmp_path / "frames.zip").write_bytes(zips.packed({"000000.png": b"x"}))
    assert_refused(run_job(sidecar.server, {"kind": "import", "footage": {"path": str(tmp_path / "frames.zip")}}))
    assert [path.name for path in tmp_path.iterdir()] == ["frames.zip"]


@pytest.mark.parametrize("what", ["climbs out", "link", "larger than it says", "truncated"])
def test_a_hostile_zip_is_no_footage_either(sidecar: Running, what: str) -> None:
    name = upload(sidecar.server, HOSTILE_ZIPS[what](), "frames.zip")
    before = state_of(sidecar)
    job = run_job(sidecar.server, {"kind": "import", "footage": {"upload": name}})
    assert_refused(job)
    assert state_of(sidecar) == before


def assert_refused(job: dict[str, Any]) -> None:
    """The job failed with one sentence that says what to do."""
    assert job["state"] == "failed", job
    problem = job["problem"]
    assert problem["code"] not in ("defect", "worker-died"), problem
    assert problem["remedy"], problem
    assert problem["detail"].endswith(".")
    assert ". " not in problem["detail"], problem
    assert "Traceback" not in problem["detail"]


def rehashed(folder: Path) -> None:
    """Give a changed scene the hash that it should have."""
    document, raw = parse_document((folder / SCENE_FILE).read_text(), folder / SCENE_FILE)
    raw["content_hash"] = hash_scene(folder, document, raw)
    (folder / SCENE_FILE).write_text(document_text(raw))


def change_document(folder: Path, **changes: Any) -> None:
    raw = json.loads((folder / SCENE_FILE).read_text())
    for name, value in changes.items():
        if isinstance(value, dict):
            raw[name] |= value
        else:
            raw[name] = value
    (folder / SCENE_FILE).write_text(json.dumps(raw))


def link_away(path: Path) -> None:
    kept = path.with_name("kept-" + path.name)
    path.rename(kept)
    path.symlink_to(kept)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def cut_and_rehash(folder: Path) -> None:
    cut(folder / "color/000003.png")
    rehashed(folder)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


HOSTILE_SCENES: dict[str, Callable[[Path], None]] = {
    "files outside": lambda scene: change_document(scene, files={"color": "../../secret/%06d.png"}),
    "absolute files": lambda scene: change_document(scene, files={"color": "/etc/%06d.png"}),
    "files of Windows": lambda scene: change_document(scene, files={"color": "..\\x%06d.png"}),
    "no number": lambda scene: change_document(scene, files={"color": "color/x.png"}),
    "frames that are not there": lambda scene: change_document(scene, frames=100_000),
    "too many frames": lambda scene: change_document(scene, frames=10**15),
    "another hash": lambda scene: change_document(scene, content_hash="0" * 64),
    "a damaged frame": lambda scene: cut(scene / "color/000003.png"),
    "a damaged frame that is hashed": cut_and_rehash,
    "a damaged occlusion, which is not hashed": lambda scene: cut(scene / "occlusion/000000.png"),
    "a missing frame": lambda scene: (scene / "color/000001.png").unlink(),
    "another size": lambda scene: change_document(scene, width=32),
    "a pickle": lambda scene: (scene / SCENE_FILE).write_bytes(pickle.dumps({"a": 1})),
}
LINKED_SCENES: dict[str, Callable[[Path], None]] = {
    "a linked frame": lambda scene: link_away(scene / "color/000000.png"),
    "a pipe for a frame": lambda scene: pipe(scene / "color/000000.png"),
    "a pipe for a document": lambda scene: pipe(scene / SCENE_FILE),
}


UPLOADED = ("files outside", "another hash", "a damaged frame that is hashed", "a missing frame")
"""Also tried as an upload: after unpacking all scenes are checked alike."""


@pytest.mark.parametrize(
    ("what", "way"),
    [*((what, "path") for what in HOSTILE_SCENES | LINKED_SCENES), *((what, "upload") for what in UPLOADED)],
)
def test_a_hostile_scene_is_refused(sidecar: Running, scene: Path, tmp_path: Path, what: str, way: str) -> None:
    folder = tmp_path / "hostile.ex4d"
    shutil.copytree(scene, folder)
    (HOSTILE_SCENES | LINKED_SCENES)[what](folder)
    if way == "upload":
        body = {"upload": upload(sidecar.server, zips.packed(files_of(folder)), "scene.zip")}
    else:
        body = {"path": str(folder)}
    before = state_of(sidecar)
    name = new_id("hostile")
    answer = ask(sidecar.server, "PUT", f"/v1/scenes/{name}", body)
    answer.problem(422, answer.json()["code"])
    assert answer.json()["code"] == "bad-input", answer.json()
    ask(sidecar.server, "GET", f"/v1/scenes/{name}").problem(404, "no-scene")
    assert state_of(sidecar) == before


def test_a_good_scene_is_taken_in_both_ways(sidecar: Running, scene: Path) -> None:
    content_hash = json.loads((scene / SCENE_FILE).read_text())["content_hash"]
    inside = {f"packed/{name}": content for name, content in files_of(scene).items()}
    for files in (files_of(scene), inside):
        name = new_id("good")
        body = {"upload": upload(sidecar.server, zips.packed(files), "scene.zip")}
        assert ask(sidecar.server, "PUT", f"/v1/scenes/{name}", body).status == 201
    taken = ask(sidecar.server, "PUT", f"/v1/scenes/{name}", {"path": str(scene)})
    assert taken.status == 200
    assert taken.json()["content_hash"] == content_hash
    assert taken.json()["document"]["content_hash"] == content_hash
    assert files_of(Path(taken.json()["path"])) == files_of(scene)


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.marker}'",)


def test_nothing_is_unpickled(sidecar: Running, tiny_clip: Path, tmp_path: Path) -> None:
    marker = tmp_path / "unpickled"
    evil = pickle.dumps(Evil(marker))
    array = io.BytesIO()
    np.save(array, np.array([Evil(marker)] * 6, object), allow_pickle=True)
    arrays = io.BytesIO()
    np.savez(arrays, depth=np.array([Evil(marker)], object))
    name = upload(sidecar.server, evil, "scene.zip")
    ask(sidecar.server, "PUT", f"/v1/scenes/{new_id('evil')}", {"upload": name}).problem(422, "bad-input")
    for content, name in ((evil, "clip.mp4"), (evil, "clip.png"), (evil, "frames.zip"), (evil, "clip.pkl")):
        assert_refused(
            run_job(sidecar.server, {"kind": "import", "footage": {"upload": upload(sidecar.server, content, name)}})
        )
    for content, name in (
        *((evil, "depth.npz"), (evil, "depth.npy"), (evil, "depth.exr"), (evil, "depth.pt"), (evil, "depth.pkl")),
        *((array.getvalue(), "depth.npy"), (arrays.getvalue(), "depth.npz")),
    ):
        depth = {"upload": upload(sidecar.server, content, name)}
        assert_refused(run_job(sidecar.server, {"kind": "import", "footage": {"path": str(tiny_clip)}, "depth": depth}))
    assert not marker.exists()
    pickle.loads(evil)
    assert marker.exists(), "the pickle is a live one"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("clip.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n"),
        ("clip.mkv", "ffconcat version 1.0\nfile '{secret}'\n"),
        ("clip.m3u8", "#EXTM3U\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n"),
    ],
)
def test_a_clip_that_points_elsewhere_is_refused(sidecar: Running, tmp_path: Path, name: str, text: str) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_bytes(SECRET)
    content = text.format(secret=secret).encode()
    job = run_job(sidecar.server, {"kind": "import", "footage": {"upload": upload(sidecar.server, content, name)}})
    assert_refused(job)
    log = ask(sidecar.server, "GET", f"/v1/jobs/{job['id']}/log").body
    assert SECRET.strip() not in log + json.dumps(job).encode()


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "/dev/null", "/dev/zero", "{tmp}/empty", "{tmp}/none.mp4", "{tmp}/text"]
)
def test_footage_that_is_none_fails_with_a_sentence(sidecar: Running, tmp_path: Path, path: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "notes.txt").write_bytes(SECRET)
    job = run_job(sidecar.server, {"kind": "import", "footage": {"path": path.format(tmp=tmp_path)}})
    assert_refused(job)
    assert b"root:" not in ask(sidecar.server, "GET", f"/v1/jobs/{job['id']}/log").body


@pytest.mark.parametrize("name", ["clip.mp4", "pipe"])
def test_a_pipe_for_footage_does_not_hold_the_worker(sidecar: Running, tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    job = new_id("pipe")
    request = {"kind": "import", "footage": {"path": str(tmp_path / name)}}
    assert ask(sidecar.server, "PUT", f"/v1/jobs/{job}", request).status == 201
    wait_job(sidecar.server, job, "running", "failed")
    time.sleep(0.3)
    asked = time.monotonic()
    cancelled = ask(sidecar.server, "POST", f"/v1/jobs/{job}/cancel")
    if cancelled.status == 409:  # it found out by itself
        assert_refused(wait_job(sidecar.server, job))
        return
    assert wait_job(sidecar.server, job)["state"] == "cancelled"
    assert time.monotonic() - asked < 5

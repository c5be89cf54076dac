"""A client on another machine: it may give no path and is told none, and goes the whole way with files alone."""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
import itertools
import secrets
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import Running, end, launch, reshoot_request, wait_started
from hostile_zips import packed
from raw_http import Answer, ask, connect, events, new_id, put_piece, upload, wait_job


@pytest.fixture(scope="session")
def address() -> str:
    """An address of this machine that is not loopback; whoever comes from it counts as remote."""
    for found in psutil.net_if_addrs().values():
        for one in found:
            if one.family.name == "AF_INET" and not ipaddress.ip_address(one.address).is_loopback:
                return one.address
    pytest.skip("this machine has no other address than loopback")


@pytest.fixture(scope="module")
def open_sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A sidecar that listens to other machines."""
    folder = tmp_path_factory.mktemp("open")
    (folder / "token.txt").write_text(secrets.token_urlsafe(32) + "\n")
    options = ("--host", "0.0.0.0", "--token-file", str(folder / "token.txt"))
    one = wait_started(launch(folder / "data", folder / "state", *options), folder / "data", folder / "state")
    yield one
    end(one)


Far = Callable[..., Answer]


@pytest.fixture(scope="module")
def far(open_sidecar: Running, address: str) -> Far:
    """Asks as a client on another machine does."""
    return partial(ask, open_sidecar.server, source=address)


def test_the_token_is_needed_from_afar(open_sidecar: Running, far: Far) -> None:
    assert far("GET", "/v1/health", token=None).status == 200
    for token in (None, "x" * 43):
        far("GET", "/v1/jobs", token=token).problem(401, "bad-token")
    assert far("GET", "/v1/jobs").status == 200
    for host in ("evil.example", "127.0.0.1.evil.example"):
        far("GET", "/v1/jobs", headers={"Host": host}).problem(421, "bad-host")


def test_paths_are_for_this_machine(open_sidecar: Running, far: Far, address: str, tiny_clip: Path) -> None:
    clip = {"path": str(tiny_clip)}
    for request in (
        {"kind": "import", "footage": clip},
        {"kind": "import", "footage": {"path": "/etc/passwd"}},
        {"kind": "import", "footage": {"upload": "any"}, "depth": clip},
        {"kind": "reshoot", "footage": clip, "move": {"preset": "orbit"}},
        {"kind": "generate", "shot": "any", "engine": "ex4d", "model_dir": clip},
    ):
        job = new_id("far")
        refused = far("PUT", f"/v1/jobs/{job}", request).problem(403, "path-not-allowed")
        assert str(tiny_clip) not in str(refused)
        far("GET", f"/v1/jobs/{job}").problem(404, "no-job")
    for path in ("/", "/nowhere", str(tiny_clip)):
        models = {"kind": "generate", "shot": "any", "engine": "ex4d", "model_dir": {"path": path}}
        far("POST", "/v1/preflight", models).problem(403, "path-not-allowed")
        far("PUT", f"/v1/scenes/{new_id('far')}", {"path": path}).problem(403, "path-not-allowed")
    # what it says about where it comes from changes nothing
    for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Client-IP", "X-Forwarded-Host"):
        for value in ("127.0.0.1", "for=127.0.0.1", "localhost", "::1"):
            headers = {name: value}
            far("PUT", f"/v1/scenes/{new_id('far')}", {"path": "/"}, headers=headers).problem(403, "path-not-allowed")
    # the same machine by its outer address is this machine
    near = dataclasses.replace(open_sidecar.server, address=f"http://{address}:{connect(open_sidecar.server).port}")
    answer = ask(near, "PUT", f"/v1/scenes/{new_id('near')}", {"path": "/nowhere"}, source=address)
    assert answer.status == 422


def test_the_whole_way(open_sidecar: Running, far: Far, address: str, tiny_clip: Path, tmp_path: Path) -> None:
    server, data = open_sidecar.server, tiny_clip.read_bytes()
    cuts = [len(data) * n // 5 for n in range(6)]
    send = partial(put_piece, server, "clip", data, source=address)
    # one piece is repeated, one lost
    assert send(cuts[0], cuts[1]).status == 201
    assert send(cuts[1], cuts[2]).status == 200
    assert send(cuts[1], cuts[2]).status == 200
    received = send(cuts[3], cuts[4]).problem(409, "upload-gap")["received"]
    assert received == cuts[2]
    for start, stop in itertools.pairwise(cuts[2:]):
        assert send(start, stop).json()["received"] == stop
    assert far("GET", "/v1/uploads/clip").json()["complete"]
    # the job, asked for twice as after a lost answer
    request: dict[str, Any] = {
        "kind": "reshoot",
        "footage": {"upload": "clip"},
        "move": {"preset": "orbit", "yaw": 20.0},
    }
    assert far("POST", "/v1/preflight", request).json()["fits"]
    assert [far("PUT", "/v1/jobs/journey", request).status for _ in range(2)] == [201, 200]
    # its events, cut after every third
    told: list[Any] = []
    while not told or told[-1].data["state"] in ("queued", "running"):
        stream = events(server, "journey", told[-1].id if told else None, address)
        for _, one in zip(range(3), stream, strict=False):
            told.append(one)
        stream.close()
    assert [one.id for one in told] == sorted({one.id for one in told})
    assert told[-1].data["state"] == "succeeded", told[-1]
    # no path of that machine is told
    job = far("GET", "/v1/jobs/journey").json()
    assert job["result"]["path"] is None
    scene = far("GET", f"/v1/scenes/{job['result']['scene']}").json()
    assert scene["path"] is None
    for path in ("/v1/jobs", "/v1/jobs/journey", "/v1/jobs/journey/files", "/v1/scenes", "/v1/capabilities"):
        assert str(open_sidecar.data) not in far("GET", path).body.decode(), path
    # the result, in parts
    near = ask(server, "GET", "/v1/jobs/journey").json()
    folder = Path(near["result"]["path"])
    files = far("GET", "/v1/jobs/journey/files").json()["files"]
    on_disk = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {file["name"] for file in files} == on_disk
    for file in files:
        fetched = fetch(far, f"/v1/jobs/journey/files/{file['name']}", file["size"], file["etag"])
        assert hashlib.sha256(fetched).digest() == hashlib.sha256((folder / file["name"]).read_bytes()).digest()
    # the same as on one machine; shot.json and trajectory.json name the scene, which knows where its footage came from
    assert ask(server, "PUT", "/v1/jobs/local", reshoot_request(tiny_clip)).status == 201
    local = Path(wait_job(server, "local")["result"]["path"])
    shown = [name for name in sorted(on_disk) if name not in ("shot.json", "trajectory.json")]
    assert len(shown) > 6
    assert [(local / name).read_bytes() for name in shown] == [(folder / name).read_bytes() for name in shown]


def fetch(far: Far, target: str, size: int, tag: str) -> bytes:
    """Download in three parts, as after two cuts."""
    whole = b""
    step = size // 3 + 1
    while len(whole) < size:
        headers = {"Range": f"bytes={len(whole)}-{len(whole) + step - 1}", "If-Range": tag}
        part = far("GET", target, headers=headers)
        assert part.status == 206
        assert part.headers["content-range"].endswith(f"/{size}")
        whole += part.body
    return whole


def test_a_scene_from_afar(open_sidecar: Running, far: Far, address: str, tiny_clip: Path) -> None:
    server = open_sidecar.server
    assert ask(server, "PUT", "/v1/jobs/made", {"kind": "import", "footage": {"path": str(tiny_clip)}}).status == 201
    wait_job(server, "made")
    listing = far("GET", "/v1/scenes/made/files").json()["files"]
    files = {file["name"]: far("GET", f"/v1/scenes/made/files/{file['name']}").body for file in listing}
    name = upload(server, packed({f"made.ex4d/{name}": content for name, content in files.items()}), "made.zip")
    taken = far("PUT", "/v1/scenes/taken", {"upload": name})
    assert taken.status == 201
    made = far("GET", "/v1/scenes/made").json()
    assert taken.json() == {**made, "id": "taken", "bytes": taken.json()["bytes"]}
    assert far("DELETE", "/v1/scenes/taken").status == 204
    far("GET", "/v1/scenes/taken").problem(404, "no-scene")

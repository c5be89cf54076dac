"""Who may talk to the sidecar: token, Host header, origin, size of what is sent, names."""

from __future__ import annotations

import json
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest
from conftest import Running
from ex4d_server.lifecycle import address_file
from raw_http import ask, connect, new_id, put_piece, send

MIB = 2**20


def operations(sidecar: Running) -> list[tuple[str, str]]:
    """Method and path of everything in the OpenAPI document, and the document itself."""
    document = ask(sidecar.server, "GET", "/v1/openapi.json").json()
    found = [(method.upper(), path) for path, methods in document["paths"].items() for method in methods]
    assert len(found) > 25
    return [*found, ("GET", "/v1/openapi.json")]


def filled(path: str) -> str:
    return path.replace("{id}", "an-id").replace("{name}", "a/file.png")


def test_every_route_but_health_needs_the_token(sidecar: Running) -> None:
    token = sidecar.server.token
    wrong = {
        "missing": None,
        "another": "Bearer " + "x" * len(token),
        "a beginning of it": f"Bearer {token[:-1]}",
        "more than it": f"Bearer {token}x",
        "another scheme": f"Basic {token}",
        "no scheme": token,
        "empty": "Bearer ",
        "nothing": "",
        "not ASCII": "Bearer \u00e9\u00ff" + token,
        "other case": f"Bearer {token.swapcase()}",
    }
    for method, path in operations(sidecar):
        if path == "/v1/health":
            assert ask(sidecar.server, method, path, token=None).status == 200
            continue
        for what, header in wrong.items():
            if what != "missing" and path not in ("/v1/capabilities", "/v1/jobs/{id}"):
                continue  # one check stands before all routes: each is tried without, two with every wrong one
            headers = {} if header is None else {"Authorization": header}
            answer = ask(sidecar.server, method, filled(path), token=None, headers=headers)
            answer.problem(401, "bad-token")
            assert answer.headers["www-authenticate"] == "Bearer", (what, method, path)
            assert token not in answer.body.decode()
    assert ask(sidecar.server, "GET", "/v1/capabilities", headers={"Authorization": f"bearer {token}"}).status == 200


def test_paths_that_look_like_health_need_the_token(sidecar: Running) -> None:
    for path in ("/v1/health/", "/v1//health", "/v1/health/../jobs", "/v1/jobs/../health", "/v1/Health", "//v1/health"):
        ask(sidecar.server, "GET", path, token=None).problem(401, "bad-token")


def test_unknown_routes_do_not_tell_whether_they_exist(sidecar: Running) -> None:
    ask(sidecar.server, "GET", "/v1/nothing", token=None).problem(401, "bad-token")
    ask(sidecar.server, "GET", "/v1/nothing").problem(404, "no-route")
    ask(sidecar.server, "PATCH", "/v1/jobs").problem(405, "bad-method")


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example:{port}", "", "0.0.0.0"),
        *("192.0.2.1", "[::2]", "[::1", "127.0.0.1@evil.example", "localhost:80:80", "2130706433"),
    ],
)
def test_other_host_names_are_refused(sidecar: Running, host: str) -> None:
    port = connect(sidecar.server).port
    for path in ("/v1/health", "/v1/jobs"):
        answer = ask(sidecar.server, "GET", path, headers={"Host": host.format(port=port)})
        if host == "" and answer.status == 400:
            continue  # refused by the HTTP layer already: HTTP/1.1 demands one
        answer.problem(421, "bad-host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "[::1]", "localhost.", "127.0.0.2"])
def test_names_of_this_machine_are_taken(sidecar: Running, host: str) -> None:
    port = connect(sidecar.server).port
    for name in (host, f"{host}:{port}"):
        assert ask(sidecar.server, "GET", "/v1/jobs", headers={"Host": name}).status == 200, name


def test_http_1_0_without_a_host_is_refused(sidecar: Running) -> None:
    connection = connect(sidecar.server)
    with socket.create_connection((connection.host, connection.port), timeout=10) as plain:
        plain.sendall(b"GET /v1/health HTTP/1.0\r\n\r\n")
        assert plain.recv(200).split(b"\r\n")[0].split()[1] == b"421"


def test_web_pages_get_no_permission(sidecar: Running) -> None:
    origin = {"Origin": "https://evil.example"}
    for method, path in operations(sidecar):
        asked = {**origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": "authorization"}
        for token in (None, ""):
            answer = ask(sidecar.server, "OPTIONS", filled(path), headers=asked, token=token)
            assert answer.status in (401, 405), (path, answer.status)
            assert not [name for name in answer.headers if name.startswith("access-control-")]
    for path in ("/v1/health", "/v1/jobs"):
        answer = ask(sidecar.server, "GET", path, headers=origin)
        assert answer.status == 200
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def chunks(total: int, size: int = MIB) -> Iterator[bytes]:
    for _ in range(total // size):
        yield b" " * size


def test_too_large_a_body_is_refused_and_the_sidecar_goes_on(sidecar: Running) -> None:
    server = sidecar.server
    authorization = {"Authorization": f"Bearer {server.token}"}
    for path, limit in (("/v1/preflight", 32 * MIB), ("/v1/jobs/large", 32 * MIB), ("/v1/uploads/large", 16 * MIB)):
        method = "POST" if path == "/v1/preflight" else "PUT"
        query = "?name=a&size=99&offset=0&sha256=" + "0" * 64 + "&piece_sha256=" + "0" * 64
        target = path + (query if "uploads" in path else "")
        announced = {**authorization, "Content-Length": str(limit + 1)}
        # announced: refused before anything was sent
        ask(server, method, target, headers=announced).problem(413, "body-too-large")
        for said in ("1e3", "-1", "99999999999999999999999999"):
            # nothing is sent after it: what arrives after the answer would reset the connection
            refused = ask(server, method, target, headers={**authorization, "Content-Length": said})
            assert refused.status in (400, 413), said
        # sent all the same, or in chunks with its length unsaid: the client still hears why, on a connection that lasts
        for body in (bytes(limit + MIB), chunks(limit + MIB)):
            connection = connect(server)
            connection.connect()
            before = connection.sock
            headers = {**authorization, "Content-Type": "application/json"}
            send(connection, method, target, body, headers).problem(413, "body-too-large")
            assert send(connection, "GET", "/v1/jobs", None, authorization).status == 200
            assert connection.sock is before
            connection.close()
    assert ask(server, "GET", "/v1/uploads/large").status == 404


def test_a_body_that_ends_early_changes_nothing(sidecar: Running) -> None:
    job = new_id("cut")
    connection = connect(sidecar.server)
    body = json.dumps({"kind": "generate", "shot": "nothing"}).encode()
    with socket.create_connection((connection.host, connection.port), timeout=10) as plain:
        head = f"PUT /v1/jobs/{job} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {sidecar.server.token}\r\n"
        plain.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        plain.sendall(body[:-1])
    ask(sidecar.server, "GET", f"/v1/jobs/{job}").problem(404, "no-job")


BAD_IDS = [
    *("..", ".", "%2e%2e", "..%2f..%2fetc", "a%2fb", "%2fetc%2fpasswd", "a%5cb", "..%5c..", "a%00b", "%00", "a%0ab"),
    *("con", "CON", "nul.txt", "com1", "LPT9.zip", "aux", "prn.a.b", "end.", "a%20", "%20a", "-a", "_a", ".hidden"),
    *("x" * 65, "x" * 5000, "%c3%a9", "%ff", "a%3ab", "C%3a", "a%2a", "%7e", "a%0d%0aX-Evil:1", "a;b", "a%25b"),
]


@pytest.mark.parametrize("noun", ["jobs", "scenes", "uploads"])
def test_ids_are_plain_names(sidecar: Running, noun: str) -> None:
    before = tree(sidecar.data)
    bodies: dict[str, Any] = {"jobs": {"kind": "generate", "shot": "nothing"}, "scenes": {"path": "/nothing"}}
    for name in BAD_IDS:
        if noun == "uploads":
            answers = [put_piece(sidecar.server, name, b"abc")]
        else:
            answers = [ask(sidecar.server, "PUT", f"/v1/{noun}/{name}", bodies[noun])]
        answers += [ask(sidecar.server, method, f"/v1/{noun}/{name}") for method in ("GET", "DELETE")]
        for answer in answers:
            # what decodes to a path of several parts is no route; a plain `.` or `..` is the client's own affair
            assert answer.status in (404, 405, 422), (name, answer.status, answer.body)
            answer.problem(answer.status, {404: "no-route", 405: "bad-method", 422: "bad-request"}[answer.status])
            assert "x-evil" not in answer.headers
    assert tree(sidecar.data) == before


def test_ids_inside_requests_are_plain_names(sidecar: Running) -> None:
    for name in ("..", "../reshot", "con", "a/b", "a\\b", "a\x00b", "", "x" * 65, "end."):
        for body in (
            {"kind": "generate", "shot": name},
            {"kind": "import", "footage": {"upload": name}},
            {"kind": "import", "footage": {"path": "/a.mp4"}, "scene": name},
            {"kind": "reshoot", "scene": name, "move": {"preset": "orbit"}},
        ):
            ask(sidecar.server, "PUT", f"/v1/jobs/{new_id('bad')}", body).problem(422, "bad-request")
        ask(sidecar.server, "PUT", f"/v1/scenes/{new_id('bad')}", {"upload": name}).problem(422, "bad-request")


BAD_FILES = [
    *("..", "../shot.json", "output/../shot.json", "./shot.json", "output//000000.png", "/etc/passwd", "output"),
    *("..%2fshot.json", "%2e%2e/%2e%2e/ex4d.sqlite3", "..%5cshot.json", "output%5c000000.png", "%2fetc%2fpasswd"),
    *("shot.json%00", "shot.json%00.png", "shot.json.", "shot.json%20", "con", "output/nul.png", "shot.json::$DATA"),
    *("x" * 1025, "a/" * 600 + "b", "%ff", "shot.json/", "%2e/shot.json", "*.json", "%7e/.ssh/id_rsa"),
]


@pytest.mark.parametrize("noun", ["jobs", "scenes"])
def test_files_are_those_of_the_result_alone(sidecar: Running, reshot: dict[str, Any], noun: str) -> None:
    base = f"/v1/{noun}/reshot/files"
    good = ask(sidecar.server, "GET", base).json()["files"][0]["name"]
    for name in (good, quote(good, safe=""), "%73" + good[1:] if good[0] == "s" else good):
        assert ask(sidecar.server, "GET", f"{base}/{name}").status == 200, name
    for name in BAD_FILES:
        answer = ask(sidecar.server, "GET", f"{base}/{name}")
        assert answer.status in (404, 422), (name, answer.status, answer.body[:100])
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("kind", ["file", "folder", "loop"])
def test_a_symlink_in_a_result_is_not_served(
    sidecar: Running, reshot: dict[str, Any], tmp_path: Path, kind: str
) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    link = Path(reshot["result"]["path"], "planted")
    link.symlink_to({"file": tmp_path / "secret.png", "folder": tmp_path, "loop": link}[kind])
    try:
        for name in ("planted", "planted/secret.png"):
            ask(sidecar.server, "GET", f"/v1/jobs/reshot/files/{name}").problem(404, "no-file")
        listed = [file["name"] for file in ask(sidecar.server, "GET", "/v1/jobs/reshot/files").json()["files"]]
        assert "shot.json" in listed
        assert not [name for name in listed if "planted" in name]
    finally:
        link.unlink()


def test_files_are_never_taken_for_pages(sidecar: Running, reshot: dict[str, Any]) -> None:
    served = ["/v1/jobs/reshot/files/shot.json", "/v1/jobs/reshot/log", "/v1/jobs/reshot/preview"]
    for path in (*served, "/v1/scenes/reshot/files/scene.json"):
        answer = ask(sidecar.server, "GET", path)
        assert answer.status == 200
        assert answer.headers["x-content-type-options"] == "nosniff", path


def test_the_token_stands_in_one_file_that_is_the_owners(sidecar: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EX4D_STATE_DIR", str(sidecar.state))
    file = address_file(sidecar.data)
    assert json.loads(file.read_text())["token"] == sidecar.server.token
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(sidecar.data.stat().st_mode) == 0o700
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert len(sidecar.server.token) >= 32


def tree(folder: Path) -> set[str]:
    """Every name below a folder but what grows by itself: logs and the store's own files."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    return {name for name in names if not name.startswith(("logs/", "ex4d.sqlite3"))}


def test_the_token_is_nowhere_else(sidecar: Running, reshot: dict[str, Any]) -> None:
    import hashlib

    token = sidecar.server.token
    ask(sidecar.server, "GET", f"/v1/jobs?state={token}").problem(422, "bad-request")
    ask(sidecar.server, "GET", f"/v1/{token}", token=token + "x").problem(401, "bad-token")
    secrets = [token.encode(), hashlib.sha256(token.encode()).hexdigest().encode()]
    read = 0
    for path in sidecar.data.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            read += len(content)
            assert not any(secret in content for secret in secrets), path
    assert read > 10_000
    process = psutil.Process(sidecar.process.pid)
    family = [process, *process.children(recursive=True)]
    assert len(family) > 1, "the worker"
    for one in family:
        assert token not in " ".join(one.cmdline())
        assert token not in str(one.environ())
    for path in ("/v1/capabilities", "/v1/health", "/v1/openapi.json", "/v1/jobs/reshot", "/v1/jobs/reshot/log"):
        assert token not in ask(sidecar.server, "GET", path).body.decode()

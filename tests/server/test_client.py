"""The client's requests against a server that answers slowly, wrongly, half, late or never."""

import os
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest
from ex4d_server.client import Call, Client, ClientError, Reply, Server, wait
from ex4d_server.client import http as client_http
from scripted_server import TOKEN, Peer, ScriptedServer, answering, chunked, head

JSON = {"content-type": "application/json"}
PLAIN = head(200, JSON | {"content-length": "17"}) + b'{"name": "\xc3\xa9t\xc3\xa9"}'
CHUNKED = head(200, JSON | {"transfer-encoding": "chunked"}) + chunked(b'{"na', b'me": "\xc3', b"\xa9t\xc3\xa9", b'"}')
UNTIL_CLOSE = head(200, JSON) + b'{"name": "\xc3\xa9t\xc3\xa9"}'


def ask(reply: bytes, **options: float) -> Reply:
    """The client's reading of this reply; it must come within five seconds."""
    with ScriptedServer(answering(reply)) as scripted:
        return wait(Call(scripted.server, "GET", "/v1/health", **options), 5)  # type: ignore[arg-type]


def refused(reply: bytes) -> ClientError:
    """The error that the client makes of this reply; whatever it is, the token is not in it."""
    with pytest.raises(ClientError) as caught:
        ask(reply)
    error = caught.value
    assert TOKEN not in f"{error} {error!r} {error.remedy} {error.code} {error.__cause__}"
    assert len(str(error)) < 700
    return error


@pytest.mark.parametrize("reply", [PLAIN, CHUNKED, UNTIL_CLOSE], ids=["length", "chunked", "until-close"])
def test_any_cut_between_packets(reply: bytes) -> None:
    places = range(1, len(reply))
    with ScriptedServer(*[lambda peer, at=at: (peer.request(), peer.drip(reply, [at])) for at in places]) as scripted:
        for at in places:
            got = wait(Call(scripted.server, "GET", "/v1/jobs/a"), 5)
            assert got.body == {"name": "été"}, at


def test_one_byte_at_a_time() -> None:
    with ScriptedServer(lambda peer: (peer.request(), peer.drip(CHUNKED, range(1, len(CHUNKED))))) as scripted:
        assert wait(Call(scripted.server, "GET", "/"), 5).body == {"name": "été"}


def test_request_as_sent() -> None:
    with ScriptedServer(lambda peer: (peer.request(), peer.reply(201, {}))) as scripted:
        query = {"name": "clip ä&=\r\nX: y", "offset": 0}
        task = Call(
            scripted.server, "PUT", "/v1/scenes/a b?\r\nEvil: 1/é", {"x": [1.5, None]}, query, {"If-Match": "q"}
        )
        assert wait(task, 5).status == 201
        sent = scripted.requests[0]
    assert (sent.method, sent.path, sent.query["name"]) == ("PUT", "/v1/scenes/a b?\r\nEvil: 1/é", query["name"])
    assert sent.headers["authorization"] == f"Bearer {TOKEN}"
    assert sent.headers["host"] == f"127.0.0.1:{scripted.port}"
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["if-match"] == "q"
    assert "evil" not in sent.headers
    assert sent.body == b'{"x": [1.5, null]}'


@pytest.mark.parametrize("status", [204, 304])
def test_replies_without_a_body(status: int) -> None:
    assert ask(head(status, {"content-length": "99"})) == Reply(status, {"content-length": "99"}, b"")


def test_interim_replies_are_passed_over() -> None:
    assert ask(head(103, {"link": "x"}) * 3 + PLAIN).status == 200


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n" * 3,
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"\0" * 100_000,
        head(101, {}),
        head(100, {}) * 50,
        head(200, {"content-length": "-1"}),
        head(200, {"content-length": "1" * 30}),
        head(200, {"content-length": "2", "Content-Length": "3"}) + b"abc",
        head(200, {"content-length": "2", "transfer-encoding": "chunked"}) + chunked(b"ab"),
        head(200, {"transfer-encoding": "gzip, chunked"}) + chunked(b"ab"),
        head(200, {"content-encoding": "gzip", "content-length": "2"}) + b"ab",
        head(200, {"no colon": "x"}).replace(b": x", b""),
        head(200, {"bad name": "x"}),
        head(200, {"x": "y" * 70_000}),
        head(200, {f"x-{i}": "y" * 50 for i in range(2000)}),
        head(200, {"transfer-encoding": "chunked"}) + b"xyz\r\n",
        head(200, {"transfer-encoding": "chunked"}) + b"-2\r\nab\r\n0\r\n\r\n",
        head(200, {"transfer-encoding": "chunked"}) + b"2\r\nabc\r\n0\r\n\r\n",
        head(200, {"transfer-encoding": "chunked"}) + b"0\r\n" + b"x: y\r\n" * 20_000,
        head(200, JSON | {"content-length": "9"}) + b'{"a": 1]}',
        head(200, JSON | {"content-length": "2"}) + b"\xff\xfe",
        head(200, JSON | {"content-length": "200000"}) + b"[" * 200_000,
    ],
)
def test_garbage_is_one_error(reply: bytes) -> None:
    error = refused(reply)
    assert error.code == "bad-reply"
    assert error.remedy
    assert not error.transient


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200 O",
        head(200, {"content-length": "10"})[:-2],
        head(200, {"content-length": "10"}) + b"abc",
        CHUNKED[:-3],
        CHUNKED[: CHUNKED.index(b"\xa9t")],
    ],
)
def test_broken_off_is_an_error_that_may_pass(reply: bytes) -> None:
    error = refused(reply)
    assert error.code == "lost"
    assert error.transient


def test_reset_in_the_middle() -> None:
    with ScriptedServer(
        lambda peer: (peer.request(), peer.send(PLAIN[:-4]), time.sleep(0.05), peer.reset())
    ) as scripted:
        with pytest.raises(ClientError, match="broke off") as caught:
            wait(Call(scripted.server, "GET", "/"), 5)
        assert caught.value.code == "lost"


def test_too_long_a_body() -> None:
    assert len(ask(head(200, {}) + b"x" * 1000, limit=1000).body) == 1000
    with pytest.raises(ClientError) as caught:
        ask(head(200, {}) + b"x" * 1001, limit=1000)
    assert caught.value.code == "too-large"


def test_redirect_is_refused_and_the_token_stays() -> None:
    with ScriptedServer() as elsewhere:
        error = refused(head(307, {"location": f"{elsewhere.server.address}/v1", "content-length": "0"}))
        assert error.code == "redirect-refused"
        assert not elsewhere.requests


def test_problem_document() -> None:
    problem = {
        "title": "Gap",
        "detail": f"Piece {TOKEN} is\nmissing: send it",
        "code": "upload-gap",
        "remedy": "send it",
    }

    def script(peer: Peer) -> None:
        peer.request()
        peer.reply(409, problem | {"received": 7, "status": 409, "type": "about:blank"})

    with ScriptedServer(script) as scripted, pytest.raises(ClientError) as caught:
        wait(Call(scripted.server, "PUT", "/v1/uploads/a", b"xyz"), 5)
    error = caught.value
    assert (error.code, error.remedy, error.status, error.extras) == ("upload-gap", "send it", 409, {"received": 7})
    assert str(error) == "Piece (token) is missing: send it"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"detail": null, "code": 3}'[:-1]])
def test_error_status_without_a_problem_document(body: bytes) -> None:
    error = refused(head(401, {"content-length": str(len(body))}) + body)
    assert (error.code, error.status) == ("unauthorized", 401)
    assert error.remedy == "take the one it announces"
    error = refused(head(500, {"content-length": str(len(body))}) + body)
    assert (error.code, error.status, error.transient) == ("http-500", 500, False)


def test_early_refusal_of_a_large_body() -> None:
    def script(peer: Peer) -> None:
        peer.sock.recv(100)
        peer.reply(413, {"detail": "Too large: send less", "code": "too-much"})
        time.sleep(1)  # never reads the rest

    with ScriptedServer(script) as scripted, pytest.raises(ClientError) as caught:
        wait(Call(scripted.server, "PUT", "/v1/uploads/a", bytes(32 << 20)), 5)
    assert caught.value.code == "too-much"


def test_large_body_arrives_whole() -> None:
    body = os.urandom(5_000_000)
    with ScriptedServer(lambda peer: (time.sleep(0.2), peer.request(), peer.reply(200, {}))) as scripted:
        wait(Call(scripted.server, "PUT", "/", body), 10)
        assert scripted.requests[0].body == body


@pytest.mark.timed
@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\n", PLAIN[:-1]])
def test_silence(sent: bytes) -> None:
    began = time.monotonic()
    with ScriptedServer(lambda peer: (peer.request(), peer.send(sent), time.sleep(0.8))) as scripted:
        with pytest.raises(ClientError, match="silent for 0.3 s") as caught:
            wait(Call(scripted.server, "GET", "/", silence=0.3), 5)
        assert 0.3 <= time.monotonic() - began < 0.8
        assert (caught.value.code, caught.value.transient) == ("silent", True)


def test_a_slow_server_is_no_silent_one() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        for start in range(0, len(PLAIN), 8):
            peer.send(PLAIN[start : start + 8])
            time.sleep(0.1)

    with ScriptedServer(script) as scripted:
        began = time.monotonic()
        assert wait(Call(scripted.server, "GET", "/", silence=0.4), 10).status == 200
        assert time.monotonic() - began > 0.8


def test_a_late_step_hears_what_came_meanwhile() -> None:
    """Blender may render for minutes between two ticks: what has arrived counts, not the clock."""
    with ScriptedServer(lambda peer: (peer.request(), peer.send(PLAIN), time.sleep(0.6))) as scripted:
        task = Call(scripted.server, "GET", "/", silence=0.2)
        while not scripted.requests:
            task.step()
        time.sleep(0.4)
        assert wait(task, 5).status == 200


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ClientError, match="does not answer") as caught:
        wait(Call(Server(f"http://127.0.0.1:{port}", TOKEN), "GET", "/"), 5)
    assert (caught.value.code, caught.value.transient) == ("unreachable", True)
    with pytest.raises(ClientError, match="does not answer"):
        wait(Call(Server(f"http://localhost:{port}", TOKEN), "GET", "/"), 5)


def test_a_listener_that_never_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_http, "CONNECT_SECONDS", 0.4)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        fill = [socket.socket() for _ in range(4)]
        for sock in fill:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        time.sleep(0.05)
        with pytest.raises(ClientError, match="no connection within") as caught:
            wait(Call(Server(f"http://127.0.0.1:{port}", TOKEN), "GET", "/"), 5)
        assert caught.value.code == "unreachable"
        for sock in fill:
            sock.close()


def test_names_are_looked_up_aside_and_addresses_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    begin = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda self: (started.append(self.name), begin(self)))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for host in ("127.0.0.1", "localhost", "[::1]"):
        with pytest.raises(ClientError):
            wait(Call(Server(f"http://{host}:{port}", TOKEN), "GET", "/"), 5)
    assert started == []
    with pytest.raises(ClientError) as caught:
        wait(Call(Server(f"http://no-such-host.invalid:{port}", TOKEN), "GET", "/"), 20)
    assert caught.value.code == "unreachable"
    assert started == ["ex4d-resolve"]


@pytest.mark.timed
def test_a_lookup_that_hangs_does_not_hold_up(monkeypatch: pytest.MonkeyPatch) -> None:
    look_up, release = socket.getaddrinfo, threading.Event()

    def slow(host: bytes, *args: int, **named: int) -> object:
        if not named.get("flags"):
            release.wait(5)
        return look_up(host, *args, **named)

    monkeypatch.setattr(client_http.socket, "getaddrinfo", slow)
    monkeypatch.setattr(client_http, "CONNECT_SECONDS", 0.3)
    task = Call(Server("http://box.invalid:1", TOKEN), "GET", "/")
    began = time.monotonic()
    while not task.done and time.monotonic() - began < 4:
        before = time.monotonic()
        task.step()
        assert time.monotonic() - before < 0.1
        time.sleep(0.01)
    release.set()
    assert task.error is not None
    assert "nobody resolves" in str(task.error)


BAD_ADDRESSES = [
    "",
    "127.0.0.1:80",
    "ftp://a",
    "http://",
    "http://a:99999",
    "http://a:0",
    "http://u:p@a/",
    "http://a/?q",
]
STRANGE_ADDRESSES = [
    "http://a\r\nb",
    "http://a b",
    "http://ä.de",
    "file:///etc/passwd",
    "http://[::1",
    "http://a/%0d%0a",
]


@pytest.mark.parametrize("address", BAD_ADDRESSES + STRANGE_ADDRESSES)
def test_bad_addresses(address: str) -> None:
    with pytest.raises(ClientError) as caught:
        wait(Call(Server(address, TOKEN), "GET", "/"), 5)
    assert caught.value.code == "bad-address"


@pytest.mark.parametrize("token", ["", "a b", "a\r\nX-Evil: 1", "ä"])
def test_bad_tokens(token: str) -> None:
    with pytest.raises(ClientError) as caught:
        wait(Call(Server("http://127.0.0.1:1", token), "GET", "/"), 5)
    assert caught.value.code == "bad-token"
    assert not token or token not in str(caught.value)


def test_the_token_does_not_show() -> None:
    server = Server("http://127.0.0.1:1", TOKEN, 1, "0.1.0", 1, "/data")
    assert TOKEN not in f"{server!r} {server}"


def test_requests_that_are_no_json() -> None:
    for body in ({"x": float("nan")}, {"x": object()}, {1, 2}):
        with pytest.raises(ClientError, match="no JSON"):
            Call(Server("http://127.0.0.1:1", TOKEN), "PUT", "/", body)


def test_base_path_of_a_reverse_proxy() -> None:
    with ScriptedServer(lambda peer: (peer.request(), peer.reply(200, {}))) as scripted:
        wait(Call(Server(scripted.server.address + "/box/ex4d/", TOKEN), "GET", "/v1/health"), 5)
        assert scripted.requests[0].path == "/box/ex4d/v1/health"


def test_nothing_stays_open() -> None:
    """Closed half way, failed or finished: no socket is left."""

    def count() -> int:
        return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    with socket.create_server(("127.0.0.1", 0)) as listener:
        silent = Server(f"http://127.0.0.1:{listener.getsockname()[1]}", TOKEN)
        before = count()
        for _ in range(20):
            task = Call(silent, "GET", "/")
            task.step()
            assert not task.done
            task.close()
            assert task.error is not None
            assert task.error.code == "closed"
            assert task.step() == []
        assert count() == before
        with pytest.raises(ClientError, match="not through after 0.05 s"):
            wait(task := Call(silent, "GET", "/"), 0.05)
        task.close()
        assert count() == before


def test_blocking_client() -> None:
    scripts = [lambda peer: (peer.request(), peer.reply(200, {"n": 1}))] * 3
    with ScriptedServer(*scripts, answering(head(204, {}))) as scripted:
        client = Client(scripted.server)
        assert client.get("/v1/jobs", limit=3, state="queued") == {"n": 1}
        assert client.put("/v1/scenes/a", {"path": "/x"}) == {"n": 1}
        assert client.post("/v1/unload") == {"n": 1}
        assert client.delete("/v1/jobs/a") == b""
        assert [(r.method, r.query, r.body) for r in scripted.requests] == [
            ("GET", {"limit": "3", "state": "queued"}, b""),
            ("PUT", {}, b'{"path": "/x"}'),
            ("POST", {}, b""),
            ("DELETE", {}, b""),
        ]


@pytest.fixture
def tls_folder(tmp_path: Path) -> Path:
    """A fresh certificate for 127.0.0.1."""
    names = ["-subj", "/CN=ex4d test", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *files]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("makes its certificate with the openssl command, which is not here")
    return tmp_path


def test_tls(tls_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls_folder / "cert.pem", tls_folder / "key.pem")
    body = os.urandom(3_000_000)

    def script(peer: Peer) -> None:
        with context.wrap_socket(peer.sock, server_side=True) as secure:
            inner = Peer(secure, requests)
            inner.reply(200, inner.request().body)

    requests: list[object] = []
    with ScriptedServer(always=script) as scripted:
        server = Server(scripted.server.address.replace("http:", "https:"), TOKEN)
        client_http._tls.cache_clear()  # pyright: ignore[reportPrivateUsage]
        with pytest.raises(ClientError, match="not trusted") as caught:
            wait(Call(server, "GET", "/"), 10)
        assert (caught.value.code, caught.value.transient) == ("tls-failed", False)
        assert requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(tls_folder / "cert.pem"))
        client_http._tls.cache_clear()  # pyright: ignore[reportPrivateUsage]
        assert wait(Call(server, "PUT", "/", body), 10).body == body
    client_http._tls.cache_clear()  # pyright: ignore[reportPrivateUsage]

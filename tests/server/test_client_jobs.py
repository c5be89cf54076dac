"""The client's event streams and jobs: every event once, whatever the network, the server or its restart does."""

import json
import time
from collections.abc import Iterator
from itertools import chain, pairwise
from typing import Any

import pytest
from ex4d_server.client import ClientError, Event, EventStream, JobTask, Server, wait
from ex4d_server.client import jobs as client_jobs
from ex4d_server.client.jobs import EventParser, Message
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_server import TOKEN, Peer, Script, ScriptedServer, answering, chunked, head, replying, sse

STREAM = {"content-type": "text/event-stream; charset=utf-8"}
RUNNING = [(n, {"state": "running", "fraction": n / 10, "message": f"Bild {n} für été"}) for n in range(1, 6)]
END = (6, {"state": "succeeded", "fraction": 1.0})


def streaming(*parts: bytes, cut: bool = False, pause: float = 0.0) -> Script:
    """A script that streams these parts, chunked; `cut` breaks off without an end."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(head(200, STREAM | {"transfer-encoding": "chunked"}))
        for part in parts:
            peer.send(b"%x\r\n%s\r\n" % (len(part), part))
            time.sleep(pause)
        if not cut:
            peer.send(b"0\r\n\r\n")

    return script


def follow(*scripts: Script, task: type[EventStream] = EventStream, **options: Any) -> tuple[list[Event], list[str]]:
    """The events heard from these connections, and the Last-Event-ID of each request."""
    heard: list[Event] = []
    with ScriptedServer(*scripts) as scripted:
        wait(task(scripted.server, "job", **options), 10, heard.append)
        return heard, [request.headers["last-event-id"] for request in scripted.requests]


def numbers(events: list[Event]) -> list[int]:
    return [event.id for event in events if event.id is not None]


# ---- the parser


def messages(*parts: bytes) -> list[Message]:
    parser = EventParser()
    return [message for part in parts for message in parser.feed(part)]


def test_parser_reads_the_format() -> None:
    text = (
        b'\xef\xbb\xbf: hello\r\n\r\nid: 1\r\nevent: progress\r\ndata: {\r\ndata:  "a":1}\r\n\r\n'
        b"id: 2\rdata\r\rdata:x\n"
        b"unknown: y\n:\nretry: 1500\nretry: soon\nid:3\n\nid: 4\nevent: state\n\ndata: never ended"
    )
    parser = EventParser()
    assert list(parser.feed(text)) == [
        Message("progress", b'{\n "a":1}', b"1"),
        Message("message", b"", b"2"),
        Message("message", b"x", b"3"),
    ]
    assert parser.retry_seconds == 1.5


LINES = st.sampled_from(
    [b"", b"id: 7", b"data: \xc3\xa9\xe2\x82\xac", b"data", b"data:x: y", b": ping", b"event: log", b"retry: 5", b"odd"]
)
ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])


@given(st.lists(st.tuples(LINES, ENDS), max_size=12), st.lists(st.integers(0, 200), max_size=12))
@settings(max_examples=300, deadline=None)
def test_parser_does_not_care_where_the_network_cuts(lines: list[tuple[bytes, bytes]], places: list[int]) -> None:
    text = b"".join(b"".join(pair) for pair in lines)
    cuts = sorted({min(place, len(text)) for place in places} | {0, len(text)})
    pieces = [text[a:b] for a, b in pairwise(cuts)]
    whole = messages(text)
    assert messages(*pieces) == whole
    assert messages(*(bytes([byte]) for byte in text)) == whole
    plain = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert len(whole) == sum(b"\ndata" in b"\n" + block for block in plain.split(b"\n\n")[:-1])


def test_parser_refuses_an_endless_event() -> None:
    for flood in (b"x" * 4096, b"data: " + b"x" * 4090, b"data: x\n" * 512):
        parser = EventParser()
        with pytest.raises(ClientError, match="endless"):
            list(chain.from_iterable(parser.feed(flood) for _ in range(400)))


# ---- the stream


def test_every_event_once() -> None:
    heard, asked = follow(streaming(b": hi\n\n", sse(*RUNNING), sse(END)))
    assert [event.data for event in heard] == [data for _, data in [*RUNNING, END]]
    assert {event.kind for event in heard} == {"state"}
    assert numbers(heard) == [1, 2, 3, 4, 5, 6]
    assert asked == ["0"]


def test_cut_at_every_byte_and_resumed() -> None:
    """Cut inside lines, characters and events, the first connection's rest comes over the second."""
    whole = sse(*RUNNING[:2])
    for place in range(0, len(whole), 3):
        done = whole[:place].count(b"\n\n")
        heard, asked = follow(
            streaming(b"retry: 50\n\n", whole[:place], cut=True), streaming(sse(*RUNNING[done:], END))
        )
        assert numbers(heard) == [1, 2, 3, 4, 5, 6], place
        assert asked == ["0", str(done)]


def test_repeated_events_are_dropped() -> None:
    scripts = [streaming(sse(*RUNNING[:3]), cut=True), streaming(sse(*RUNNING, *RUNNING), sse(END))]
    heard, asked = follow(*scripts)
    assert numbers(heard) == [1, 2, 3, 4, 5, 6]
    assert asked == ["0", "3"]
    assert [event.kind for event in heard if event.id is None] == ["offline", "online"]


def test_resumes_where_the_caller_was() -> None:
    heard, asked = follow(streaming(sse(*RUNNING, END)), last_event_id=4)
    assert numbers(heard) == [5, 6]
    assert asked == ["4"]


def test_nothing_more_to_come() -> None:
    assert follow(answering(head(204, {})), last_event_id=6) == ([], ["6"])


def test_end_of_the_stream_before_the_end_of_the_job() -> None:
    """A server that stops ends its streams; the job goes on when it is back."""
    heard, asked = follow(streaming(sse(*RUNNING)), streaming(sse(END)))
    assert numbers(heard) == [1, 2, 3, 4, 5, 6]
    assert asked == ["0", "5"]


def test_events_after_the_terminal_one_are_heard() -> None:
    log = b'id: 7\nevent: log\ndata: {"state": "succeeded", "message": "bye"}\n\n'
    heard, _ = follow(streaming(sse(END), log, pause=0.1))
    assert numbers(heard) == [6, 7]


def test_a_retried_job_goes_on_after_its_failure() -> None:
    failed = (6, {"state": "failed"})
    heard, _ = follow(
        streaming(sse(*RUNNING, failed, (7, {"state": "queued"}))), streaming(sse((8, {"state": "succeeded"})))
    )
    assert numbers(heard) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_stream_left_open_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_jobs, "AFTERMATH_SECONDS", 0.2)
    heard, _ = follow(streaming(sse(END), *[b": ping\n\n"] * 20, pause=0.05))
    assert numbers(heard) == [6]


def test_server_gone_after_the_end() -> None:
    with ScriptedServer(streaming(sse(END), cut=True)) as scripted:
        task = EventStream(scripted.server, "job")
        heard: list[Event] = []
        while not heard:
            heard += task.step()
        scripted.stop()
        assert wait(task, 5, heard.append) == 6


def test_a_silent_stream_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_jobs, "STREAM_SILENCE_SECONDS", 0.3)
    ping = streaming(*[b": ping\n\n"] * 8, sse(*RUNNING), b": ping\n\n", cut=True, pause=0.1)
    silent = streaming(sse(*RUNNING[:1]), b"", cut=True, pause=1.0)
    heard, asked = follow(silent, ping, streaming(sse(END)))
    assert numbers(heard) == [1, 2, 3, 4, 5, 6]
    assert asked == ["0", "1", "5"]
    assert "silent" in heard[1].data["message"]


def test_retry_field_sets_the_pause_and_pauses_grow() -> None:
    refusals = [answering(head(503, {"content-length": "0"}))] * 4
    began = time.monotonic()
    heard, _ = follow(streaming(b"retry: 50\n\n", sse(*RUNNING), cut=True), *refusals, streaming(sse(END)))
    took = time.monotonic() - began
    assert numbers(heard) == [1, 2, 3, 4, 5, 6]
    assert 0.05 + 0.1 + 0.2 + 0.4 + 0.8 < took < 10


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (head(401, {"content-length": "0"}), "unauthorized"),
        (head(404, {"content-length": "0"}), "http-404"),
        (head(200, {"content-type": "text/html", "content-length": "0"}), "bad-reply"),
        (head(200, STREAM) + b"data: {}\n\n", "bad-reply"),
        (head(200, STREAM) + b"id: x\ndata: {}\n\n", "bad-reply"),
        (head(200, STREAM) + b"id: 1\ndata: [1]\n\n", "bad-reply"),
        (head(200, STREAM) + b"id: 1\ndata: {\n\n", "bad-reply"),
        (head(200, STREAM | {"transfer-encoding": "chunked"}) + chunked(b": ping")[:-5] + b"zz\r\n", "bad-reply"),
    ],
)
def test_errors_that_end_the_stream(reply: bytes, code: str) -> None:
    with pytest.raises(ClientError) as caught:
        follow(answering(reply))
    assert caught.value.code == code
    assert TOKEN not in str(caught.value)


def test_what_was_heard_before_an_error_is_not_lost() -> None:
    heard: list[Event] = []
    reply = head(200, STREAM) + sse(*RUNNING) + b"id: 9\ndata: {\n\n"
    with ScriptedServer(answering(reply)) as scripted, pytest.raises(ClientError):
        wait(EventStream(scripted.server, "job"), 5, heard.append)
    assert numbers(heard) == [1, 2, 3, 4, 5]


def test_patience_ends() -> None:
    with ScriptedServer(streaming(sse(*RUNNING), cut=True)) as scripted:
        task = EventStream(scripted.server, "job", patience=0.6)
        heard: list[Event] = []
        while len(heard) < 5:
            heard += task.step()
        scripted.stop()
        with pytest.raises(ClientError) as caught:
            wait(task, 8, heard.append)
    assert caught.value.code == "unreachable"
    assert [event.kind for event in heard[5:]] == ["offline"]


# ---- the job


def job(state: str) -> dict[str, object]:
    return {"id": "shot-1", "state": state, "last_event": 6}


REQUEST = {"kind": "render", "scene": "s", "trajectory": {"frames": []}}


def test_job_from_submit_to_end() -> None:
    heard: list[Event] = []
    scripts = [replying(201, job("queued")), streaming(sse(*RUNNING, END)), replying(200, job("succeeded"))]
    with ScriptedServer(*scripts) as scripted:
        document = wait(JobTask(scripted.server, "shot-1", REQUEST), 10, heard.append)
        asked = [(request.method, request.path) for request in scripted.requests]
        assert json.loads(scripted.requests[0].body) == REQUEST
    assert document == job("succeeded")
    assert asked == [("PUT", "/v1/jobs/shot-1"), ("GET", "/v1/jobs/shot-1/events"), ("GET", "/v1/jobs/shot-1")]
    assert heard[0] == Event("job", job("queued"))
    assert numbers(heard) == [1, 2, 3, 4, 5, 6]


def test_job_that_fails_is_a_result_and_a_refused_one_an_error() -> None:
    failed = job("failed") | {"problem": {"code": "no-space"}}
    scripts = [replying(201, job("queued")), streaming(sse((1, {"state": "failed"}))), replying(200, failed)]
    with ScriptedServer(*scripts) as scripted:
        assert wait(JobTask(scripted.server, "shot-1", REQUEST), 10) == failed
    problem = {"code": "job-differs", "detail": "shot-1 is another job: take a new id"}
    with ScriptedServer(replying(409, problem)) as scripted, pytest.raises(ClientError) as caught:
        wait(JobTask(scripted.server, "shot-1", REQUEST), 10)
    assert (caught.value.code, str(caught.value)) == ("job-differs", problem["detail"])


def test_lost_submission_is_repeated() -> None:
    """The first PUT's answer is lost; the same PUT again is the same job."""
    lost: Script = lambda peer: (peer.request(), peer.reset(), None)[-1]  # noqa: E731
    scripts = [
        lost,
        replying(503, {}),
        replying(200, job("running")),
        streaming(sse(END)),
        replying(200, job("succeeded")),
    ]
    with ScriptedServer(*scripts) as scripted:
        assert wait(JobTask(scripted.server, "shot-1", REQUEST), 10) == job("succeeded")
        bodies = {request.body for request in scripted.requests if request.method == "PUT"}
        assert len(bodies) == 1
        assert [request.method for request in scripted.requests] == ["PUT", "PUT", "PUT", "GET", "GET"]


@pytest.mark.parametrize("unchanged_port", [False, True])
def test_restart_of_the_server(unchanged_port: bool) -> None:
    """The server dies in the middle of the events and comes back with another token, on another port or the same."""
    first = ScriptedServer(replying(201, job("queued")), streaming(sse(*RUNNING[:3]), b"", cut=True, pause=0.3))
    second_scripts = [streaming(sse(*RUNNING[3:], END)), replying(200, job("succeeded"))]
    if unchanged_port:  # asked once with the old token before the new announcement is seen
        second_scripts.insert(0, answering(head(401, {"content-length": "0"})))
    now: list[Server] = [first.server]
    heard: list[Event] = []
    with first:
        task = JobTask(first.server, "shot-1", REQUEST, find_server=lambda: now[-1])
        while 3 not in numbers(heard):
            heard += task.step()
        first.stop()
        until = time.monotonic() + 0.5
        while time.monotonic() < until:  # refused for a while
            heard += task.step()
            time.sleep(0.01)
    with ScriptedServer(*second_scripts, port=first.port if unchanged_port else 0) as second:
        server = Server(second.server.address, TOKEN + "-new")
        if not unchanged_port:
            now.append(server)
        while not task.done:
            heard += task.step()
            if second.requests:
                now.append(server)
            time.sleep(0.005)
        tokens = [request.headers["authorization"] for request in second.requests]
        resumed = [request.headers.get("last-event-id") for request in second.requests]
    assert task.error is None
    assert task.result == job("succeeded")
    assert numbers(heard) == [1, 2, 3, 4, 5, 6]
    assert [event.kind for event in heard if event.id is None] == ["job", "offline", "online"]
    assert tokens[-2:] == [f"Bearer {TOKEN}-new"] * 2
    assert resumed[-2] == "3"


def test_refused_token_without_a_new_server() -> None:
    with (
        ScriptedServer(answering(head(401, {"content-length": "0"}))) as scripted,
        pytest.raises(ClientError) as caught,
    ):
        wait(JobTask(scripted.server, "shot-1", REQUEST, find_server=lambda: scripted.server), 5)
    assert caught.value.code == "unauthorized"


def test_flood_of_events_arrives_whole_and_in_order() -> None:
    events = [(n, {"state": "running", "message": "x" * (n % 50)}) for n in range(1, 20_001)]

    def parts() -> Iterator[bytes]:
        for start in range(0, len(events), 500):
            yield sse(*events[start : start + 500])

    heard, _ = follow(streaming(*parts(), sse((20_001, {"state": "cancelled"}))))
    assert numbers(heard) == list(range(1, 20_002))

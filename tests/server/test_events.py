"""Server-sent events: nothing lost, nothing twice, durable before told, resumed anywhere."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import Running, Start, reshoot_request
from ex4d_server.documents import EventData
from raw_http import Told, ask, events, new_id, run_job, wait_job

LONG: dict[str, Any] = {"move": {"preset": "orbit", "yaw": 15.0, "frames": 60}}


def another(clip: Path) -> dict[str, Any]:
    """A reshoot of a camera that no other test uses, with some seconds of work."""
    return reshoot_request(clip, move={"preset": "orbit", "yaw": 10 + time.monotonic() % 1, "frames": 40})


def put(running: Running, job: str, request: dict[str, Any]) -> None:
    assert ask(running.server, "PUT", f"/v1/jobs/{job}", request).status == 201


def ids(told: list[Told]) -> list[int]:
    return [one.id for one in told]


def test_a_job_is_told_from_its_beginning_to_its_end(sidecar: Running, tiny_clip: Path) -> None:
    job = new_id("told")
    put(sidecar, job, another(tiny_clip))
    told = [one for one in events(sidecar.server, job) if one.kind != "comment"]
    document = ask(sidecar.server, "GET", f"/v1/jobs/{job}").json()
    assert document["state"] == "succeeded", document
    assert ids(told) == sorted(set(ids(told)))
    assert told[-1].id == document["last_event"]
    assert {one.kind for one in told} >= {"state", "progress", "preview"}
    for one in told:
        data = EventData.model_validate(one.data)
        assert data.job == job
    states = [one.data["state"] for one in told]
    assert states == sorted(states, key=["queued", "running", "succeeded"].index)
    assert (told[0].data["state"], told[-1].data["state"]) == ("queued", "succeeded")
    fractions = [one.data["fraction"] for one in told if one.data["fraction"] is not None]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert len(set(fractions)) > 3
    assert {one.data["stage"] for one in told} >= {"render", "generate"}
    for name in ("state", "stage", "fraction", "message", "preview_url", "problem"):
        assert told[-1].data[name] == document[name]
    # Replayed from every cut: exactly the rest, which for a finished job leaves out how far it once was.
    kept = [one for one in told if one.kind not in ("progress", "preview") or one is told[-1]]
    assert list(events(sidecar.server, job)) == kept
    for cut in [0, *ids(told)]:
        assert list(events(sidecar.server, job, cut)) == [one for one in kept if one.id > cut]
    assert list(events(sidecar.server, job, told[-1].id + 10**6)) == []


def test_cut_anywhere_while_it_runs(sidecar: Running, tiny_clip: Path) -> None:
    """One watcher keeps its stream, another loses it after each event: both hear the same."""
    job = new_id("cut")
    put(sidecar, job, another(tiny_clip))
    whole: list[Told] = []
    watcher = threading.Thread(target=lambda: whole.extend(events(sidecar.server, job)))
    watcher.start()
    pieces: list[Told] = []
    while not pieces or pieces[-1].data["state"] in ("queued", "running"):
        stream = events(sidecar.server, job, pieces[-1].id if pieces else None)
        pieces.append(next(stream))
        stream.close()
    watcher.join(30)
    seen = {one.id: one for one in whole}
    assert ids(pieces) == sorted(set(ids(pieces)))
    assert all(seen.get(one.id, one) == one for one in pieces)
    missed = [one for one in whole if one.id not in set(ids(pieces))]
    assert all(one.kind in ("progress", "preview") for one in missed), "only what the end makes idle may be left out"
    assert pieces[-1] == whole[-1]


def test_nothing_more_to_come(sidecar: Running, reshot: dict[str, Any]) -> None:
    for last in (reshot["last_event"], reshot["last_event"] + 1, 2**53):
        answer = ask(sidecar.server, "GET", "/v1/jobs/reshot/events", headers={"Last-Event-ID": str(last)})
        assert (answer.status, answer.body) == (204, b"")
    for wrong in ("x", "-1", "1.5", str(2**60)):
        answer = ask(sidecar.server, "GET", "/v1/jobs/reshot/events", headers={"Last-Event-ID": wrong})
        answer.problem(422, "bad-request")
    ask(sidecar.server, "GET", "/v1/jobs/never/events").problem(404, "no-job")


def test_eight_streams_hear_the_same(sidecar: Running, tiny_clip: Path) -> None:
    job = new_id("eight")
    put(sidecar, job, another(tiny_clip))
    with ThreadPoolExecutor(8) as pool:
        streams = list(pool.map(lambda _: list(events(sidecar.server, job)), range(8)))
    assert len(streams[0]) > 5
    lasting = [[one for one in stream if one.kind not in ("progress", "preview")] for stream in streams]
    assert all(one == lasting[0] for one in lasting)
    seen: dict[int, Told] = {}
    for stream in streams:
        assert ids(stream) == sorted(set(ids(stream)))
        assert all(seen.setdefault(one.id, one) == one for one in stream)
    # A slow reader may miss progress that the end made idle, and nothing else.
    assert len(seen) == max(len(stream) for stream in streams)


def test_the_events_of_a_job_that_waits(start: Start, tiny_clip: Path) -> None:
    running = start()
    put(running, "first", reshoot_request(tiny_clip, **LONG))
    put(running, "second", {"kind": "generate", "shot": "first"})
    stream = events(running.server, "second")
    assert next(stream).data["state"] == "queued"
    ask(running.server, "POST", "/v1/jobs/second/cancel")
    rest = list(stream)
    assert [one.data["state"] for one in rest] == ["cancelled"]
    # a retry is heard by whoever goes on from there
    ask(running.server, "POST", "/v1/jobs/second/retry")
    stream = events(running.server, "second", rest[-1].id)
    assert next(stream).data["state"] == "queued"
    # deleted: the stream ends
    ask(running.server, "POST", "/v1/jobs/second/cancel")
    assert next(stream).data["state"] == "cancelled"
    assert list(stream) == []


def test_events_are_on_disk_before_they_are_told(sidecar: Running, tiny_clip: Path) -> None:
    job = new_id("durable")
    put(sidecar, job, another(tiny_clip))
    store = sqlite3.connect(f"file:{sidecar.data / 'ex4d.sqlite3'}?mode=ro", uri=True)
    seen = 0
    try:
        for one in events(sidecar.server, job):
            row = store.execute("SELECT kind, data FROM events WHERE id = ?", (one.id,)).fetchone()
            last, state = store.execute("SELECT last_event, state FROM jobs WHERE id = ?", (job,)).fetchone()
            assert last >= one.id
            if row is None:
                # the end of the job made it idle before this was looked up
                assert (one.kind, state) in (("progress", "succeeded"), ("preview", "succeeded"))
                continue
            seen += 1
            assert (row[0], json.loads(row[1])) == (one.kind, one.data)
    finally:
        store.close()
    assert seen > 5


def test_events_go_on_after_a_crash(start: Start, tiny_clip: Path) -> None:
    running = start()
    put(running, "long", reshoot_request(tiny_clip, **LONG))
    before: list[Told] = []
    for one in events(running.server, "long"):
        before.append(one)
        if one.data["stage"] == "render":
            break
    running.kill()
    again = start()
    after = list(events(again.server, "long", before[-1].id))
    whole = ids(before) + ids(after)
    assert whole == sorted(set(whole))
    assert [one.data["state"] for one in after][-1] == "succeeded"
    assert "queued" in [one.data["state"] for one in after], "told that it was put back"
    document = wait_job(again.server, "long")
    assert after[-1].id == document["last_event"]
    assert document["attempt"] == 2
    put(again, "other", {"kind": "generate", "shot": "nothing"})
    assert min(ids(list(events(again.server, "other")))) > max(whole), "ids are never used twice"


def test_ids_are_not_used_again_after_a_delete(start: Start) -> None:
    running = start()
    request = {"kind": "generate", "shot": "nothing"}
    first = run_job(running.server, request, "again")["last_event"]
    assert ask(running.server, "DELETE", "/v1/jobs/again").status == 204
    put(running, "again", request)
    assert min(ids(list(events(running.server, "again")))) > first


@pytest.mark.slow
def test_a_quiet_stream_shows_that_it_lives(start: Start, tiny_clip: Path, tmp_path: Path) -> None:
    running = start()
    put(running, "long", reshoot_request(tiny_clip, move={"preset": "orbit", "yaw": 15.0, "frames": 20_000}))
    put(running, "waits", {"kind": "generate", "shot": "long"})
    stream = events(running.server, "waits")
    assert next(stream).data["state"] == "queued"
    for _ in range(2):
        quiet_since = time.monotonic()
        assert next(stream).kind == "comment"
        assert 5 < time.monotonic() - quiet_since < 16
    stream.close()
    ask(running.server, "POST", "/v1/jobs/long/cancel")

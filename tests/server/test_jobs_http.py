"""Jobs over HTTP: asked for once, listed, cancelled, retried, deleted, answered from disk."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Running, Start, reshoot_request
from raw_http import Answer, ask, new_id, run_job, upload, wait_job

from ex4d_core.camera import TrajectoryDocument
from ex4d_core.clip import write_lossless

NOWHERE: dict[str, Any] = {"kind": "generate", "shot": "nothing"}
"""A job that fails at once."""


@pytest.fixture(scope="session")
def trajectory(sidecar: Running, reshot: dict[str, Any]) -> dict[str, Any]:
    """The camera path of the finished reshoot."""
    document = ask(sidecar.server, "GET", "/v1/jobs/reshot/files/trajectory.json").json()
    TrajectoryDocument.model_validate(document)
    return document


def moved(trajectory: dict[str, Any], by: float) -> dict[str, Any]:
    """Another camera: the same path, shifted along x."""
    changed = json.loads(json.dumps(trajectory))
    for frame in changed["frames"]:
        frame["c2w"][0][3] += by
    return changed


def put(running: Running, job: str, request: dict[str, Any]) -> Answer:
    return ask(running.server, "PUT", f"/v1/jobs/{job}", request)


def test_the_same_request_twice_is_one_job(sidecar: Running) -> None:
    job = new_id("twice")
    first, again = put(sidecar, job, NOWHERE), put(sidecar, job, {"shot": "nothing", "kind": "generate", "seed": 0})
    assert (first.status, again.status) == (201, 200)
    assert first.json()["number"] == again.json()["number"]
    for other in ({**NOWHERE, "seed": 1}, {**NOWHERE, "shot": "else"}, {"kind": "render"} | _render("reshot")):
        problem = put(sidecar, job, other).problem(409, "job-differs")
        assert job in problem["detail"]
    finished = wait_job(sidecar.server, job)
    assert put(sidecar, job, NOWHERE).json() == finished, "asking again does not run it again"


def _render(scene: str) -> dict[str, Any]:
    pose = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    frame = {"c2w": pose, "intrinsics": [60, 60, 32, 24], "source_time": 0}
    path = {"schema": "ex4d.trajectory/1", "width": 64, "height": 48, "fps": [12, 1], "frames": [frame]}
    return {"kind": "render", "scene": scene, "trajectory": path}


def test_twenty_at_once_are_one_job(sidecar: Running) -> None:
    job, gate = new_id("at-once"), threading.Barrier(20)

    def one(number: int) -> int:
        gate.wait()
        return put(sidecar, job, NOWHERE if number % 4 else {**NOWHERE, "seed": 1}).status

    with ThreadPoolExecutor(20) as pool:
        statuses = sorted(pool.map(one, range(20)))
    assert statuses.count(201) == 1
    won = statuses.count(200) + 1
    assert (won, statuses.count(409)) in ((15, 5), (5, 15))
    numbers = [j["number"] for j in listed(sidecar) if j["id"] == job]
    assert len(numbers) == 1


def listed(running: Running, query: str = "limit=1000") -> list[dict[str, Any]]:
    return ask(running.server, "GET", f"/v1/jobs?{query}").json()["jobs"]


def test_the_list_comes_in_pages_and_by_state(start: Start) -> None:
    running = start()
    for number in range(25):
        put(running, f"job-{number}", NOWHERE)
    for number in range(25):
        wait_job(running.server, f"job-{number}")
    names = [f"job-{number}" for number in range(25)]
    assert [job["id"] for job in listed(running)] == names
    for limit in (1, 7, 24, 25, 26):
        seen: list[str] = []
        after = 0
        while after is not None:
            page = ask(running.server, "GET", f"/v1/jobs?limit={limit}&after={after}").json()
            assert len(page["jobs"]) <= limit
            seen += [job["id"] for job in page["jobs"]]
            after = page["next"]
        assert seen == names, limit
    assert listed(running, "state=succeeded&state=queued&state=running") == []
    assert len(listed(running, "state=failed&state=succeeded&limit=1000")) == 25
    for query in ("limit=0", "limit=1001", "after=-1", "after=x", "state=done", f"after={2**60}"):
        ask(running.server, "GET", f"/v1/jobs?{query}").problem(422, "bad-request")


def test_what_was_asked_for_is_given_back(sidecar: Running, reshot: dict[str, Any], tiny_clip: Path) -> None:
    request = ask(sidecar.server, "GET", "/v1/jobs/reshot/request").json()["request"]
    assert request["footage"] == {"path": str(tiny_clip)}
    assert put(sidecar, "reshot", request).status == 200, "with its defaults filled in it is the same request"
    ask(sidecar.server, "GET", "/v1/jobs/never/request").problem(404, "no-job")


@pytest.mark.parametrize(
    "request_",
    [
        {"kind": "models"},
        {"kind": None},
        {},
        {"kind": "generate"},
        {**NOWHERE, "engine": "veo"},
        {**NOWHERE, "seed": -1},
        {**NOWHERE, "seed": 2**63},
        {**NOWHERE, "seed": 1.5},
        {**NOWHERE, "seed": "1"},
        {**NOWHERE, "surprise": 1},
        {"kind": "import", "footage": {"path": "clip.mp4"}},
        {"kind": "import", "footage": {"path": "~/clip.mp4"}},
        {"kind": "import", "footage": {}},
        {"kind": "import", "footage": {"path": "/a", "upload": "b"}},
        {"kind": "import", "footage": {"path": "/a"}, "size": [1, 99999]},
        {"kind": "reshoot", "move": {"preset": "orbit"}},
        {"kind": "reshoot", "scene": "a"},
        {"kind": "reshoot", "scene": "a", "move": {"preset": "orbit"}, "trajectory": _render("a")["trajectory"]},
        {"kind": "reshoot", "scene": "a", "move": {"preset": "orbit", "yaw": "left"}},
        {"kind": "reshoot", "scene": "a", "move": {"preset": "hop"}},
        {**_render("a"), "method": "splats"},
        {**_render("a"), "passes": ["everything"]},
        {**_render("a"), "trajectory": {**_render("a")["trajectory"], "fps": [0, 1]}},
        {**_render("a"), "trajectory": {**_render("a")["trajectory"], "frames": []}},
    ],
)
def test_requests_that_cannot_be_are_refused_at_once(sidecar: Running, request_: dict[str, Any]) -> None:
    job = new_id("impossible")
    answer = put(sidecar, job, request_)
    answer.problem(422, answer.json()["code"])
    ask(sidecar.server, "GET", f"/v1/jobs/{job}").problem(404, "no-job")
    preflight = ask(sidecar.server, "POST", "/v1/preflight", request_)
    if answer.json()["code"] != "bad-path":  # preflight looks at no path
        assert preflight.status == 422


def test_bodies_that_are_no_json_are_refused(sidecar: Running) -> None:
    for body in (b"", b"{", b"\xff\xfe", b"[" * 100_000, b"null", b'"x"', b'{"kind": NaN}', b"1e999"):
        answer = ask(sidecar.server, "PUT", "/v1/jobs/no-json", body, headers={"Content-Type": "application/json"})
        assert answer.status in (400, 422), body[:20]
        answer.problem(answer.status, "bad-request")
    ask(sidecar.server, "GET", "/v1/jobs/no-json").problem(404, "no-job")


def assert_failed(job: dict[str, Any], code: str, *words: str) -> None:
    assert job["state"] == "failed", job
    problem = job["problem"]
    assert (problem["code"], job["message"]) == (code, problem["detail"])
    assert problem["remedy"]
    assert problem["detail"].endswith(".")
    assert ". " not in problem["detail"]
    for word in words:
        assert word in problem["detail"]


def test_what_is_not_there_fails_with_its_name(sidecar: Running, reshot: dict[str, Any], tiny_clip: Path) -> None:
    server = sidecar.server
    scene = run_job(server, {"kind": "import", "footage": {"path": str(tiny_clip)}})
    assert scene["result"]["kind"] == "scene"
    assert_failed(run_job(server, _render("nowhere")), "bad-input", "nowhere")
    assert_failed(run_job(server, NOWHERE), "bad-input", "nothing")
    assert_failed(run_job(server, {"kind": "generate", "shot": scene["id"]}), "bad-input", scene["id"])
    assert_failed(run_job(server, {"kind": "import", "footage": {"upload": "nothing"}}), "no-upload", "nothing")
    assert_failed(run_job(server, {"kind": "reshoot", "scene": "nowhere", "move": {"preset": "orbit"}}), "bad-input")


def test_a_path_of_another_scene_is_refused(sidecar: Running, trajectory: dict[str, Any]) -> None:
    request = {"kind": "render", "scene": "reshot", "trajectory": {**trajectory, "scene_hash": "0" * 64}}
    assert_failed(run_job(sidecar.server, request), "bad-input", "another version")
    right = {**request, "trajectory": trajectory}
    assert run_job(sidecar.server, right)["state"] == "succeeded"


def test_a_generate_goes_on_from_a_render(sidecar: Running, trajectory: dict[str, Any]) -> None:
    server = sidecar.server
    rendered = run_job(server, {"kind": "render", "scene": "reshot", "trajectory": moved(trajectory, 0.01)})
    assert rendered["state"] == "succeeded", rendered
    assert [stage["name"] for stage in rendered["stages"]] == ["render"]
    files = names(sidecar, rendered["id"])
    assert "color.mp4" in files
    assert "output.mp4" not in files
    generated = run_job(server, {"kind": "generate", "shot": rendered["id"], "seed": 3})
    assert generated["state"] == "succeeded", generated
    assert "output.mp4" in names(sidecar, generated["id"])
    shot = ask(server, "GET", f"/v1/jobs/{generated['id']}/files/shot.json").json()
    assert shot["request"]["seed"] == 3
    preview = ask(server, "GET", f"/v1/jobs/{generated['id']}/preview")
    assert preview.headers["content-type"] == "image/jpeg"
    assert preview.body.startswith(b"\xff\xd8\xff")
    assert generated["preview_url"].startswith(f"/v1/jobs/{generated['id']}/preview?n=")
    assert ask(server, "GET", generated["preview_url"]).body == preview.body
    again = run_job(server, {"kind": "generate", "shot": generated["id"], "seed": 4})
    assert again["state"] == "succeeded", again
    ask(server, "GET", f"/v1/jobs/{rendered['id']}/preview").problem(404, "no-preview")


def names(running: Running, job: str) -> list[str]:
    return [file["name"] for file in ask(running.server, "GET", f"/v1/jobs/{job}/files").json()["files"]]


def contents(running: Running, job: str) -> dict[str, bytes]:
    """Every file of a result, as served."""
    return {name: ask(running.server, "GET", f"/v1/jobs/{job}/files/{name}").body for name in names(running, job)}


def test_the_same_again_is_answered_from_disk(sidecar: Running, reshot: dict[str, Any], tiny_clip: Path) -> None:
    before = {path: path.stat() for path in Path(reshot["result"]["path"]).rglob("*")}
    started = time.monotonic()
    again = run_job(sidecar.server, reshoot_request(tiny_clip))
    took = time.monotonic() - started
    assert again["state"] == "succeeded", again
    assert [(s["name"], s["cached"]) for s in again["stages"]] == [(n, True) for n in ("scene", "render", "generate")]
    assert again["result"]["content_hash"] == reshot["result"]["content_hash"]
    assert again["result"]["path"] == reshot["result"]["path"]
    assert contents(sidecar, again["id"]) == contents(sidecar, "reshot")
    after = {path: path.stat() for path in Path(reshot["result"]["path"]).rglob("*")}
    assert {p: (s.st_ino, s.st_mtime_ns) for p, s in after.items()} == {
        p: (s.st_ino, s.st_mtime_ns) for p, s in before.items()
    }, "nothing was written again"
    made = sum(stage["seconds"] for stage in reshot["stages"])
    assert sum(stage["seconds"] for stage in again["stages"]) < made / 3, (again["stages"], reshot["stages"])
    assert took < 30


def test_another_camera_keeps_the_scene(sidecar: Running, reshot: dict[str, Any], tiny_clip: Path) -> None:
    def cached(**changes: Any) -> dict[str, bool]:
        job = run_job(sidecar.server, reshoot_request(tiny_clip, **changes))
        assert job["state"] == "succeeded", job
        return {stage["name"]: stage["cached"] for stage in job["stages"]}

    move = {"preset": "orbit", "yaw": 21.0}
    assert cached(move=move) == {"scene": True, "render": False, "generate": False}
    assert cached(move=move, seed=1) == {"scene": True, "render": True, "generate": False}
    assert cached(move=move, prompt="rain") == {"scene": True, "render": True, "generate": False}
    assert cached(move=move, method="reference") == {"scene": True, "render": False, "generate": False}
    assert cached(move=move) == {"scene": True, "render": True, "generate": True}
    assert cached(move=move, frames=5) == {"scene": False, "render": False, "generate": False}


def test_changed_footage_is_noticed(sidecar: Running, tiny_clip: Path, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(tiny_clip.read_bytes())
    request = {"kind": "import", "footage": {"path": str(clip)}}
    first, again = (run_job(sidecar.server, request) for _ in range(2))
    assert again["stages"][0]["cached"]
    assert again["result"]["content_hash"] == first["result"]["content_hash"]
    clip.unlink()
    write_lossless(clip, [np.full((48, 64, 3), 20 * t, np.uint8) for t in range(6)], Fraction(12))
    changed = run_job(sidecar.server, request)
    assert changed["state"] == "succeeded", changed
    assert not changed["stages"][0]["cached"]
    assert changed["result"]["content_hash"] != first["result"]["content_hash"]


def test_the_result_on_disk_is_what_is_served(sidecar: Running, reshot: dict[str, Any]) -> None:
    folder = Path(reshot["result"]["path"])
    on_disk = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert contents(sidecar, "reshot") == on_disk
    assert {"shot.json", "output.mp4", "trajectory.json", "output/000005.png"} <= set(on_disk)
    listing = ask(sidecar.server, "GET", "/v1/jobs/reshot/files").json()["files"]
    assert {file["name"]: file["size"] for file in listing} == {name: len(data) for name, data in on_disk.items()}
    scene = ask(sidecar.server, "GET", "/v1/scenes/reshot").json()
    assert (Path(scene["path"]) / "scene.json").is_file()
    assert scene["content_hash"] == reshot["result"]["content_hash"]
    assert "reshot" in [one["id"] for one in ask(sidecar.server, "GET", "/v1/scenes").json()["scenes"]]


def test_the_log_tells_what_happened(sidecar: Running, reshot: dict[str, Any]) -> None:
    log = ask(sidecar.server, "GET", "/v1/jobs/reshot/log")
    assert log.headers["content-type"].startswith("text/plain")
    lines = log.body.decode().splitlines()
    assert "attempt 1: reshoot" in lines[0]
    assert "succeeded" in lines[-1]
    ask(sidecar.server, "GET", "/v1/jobs/never/log").problem(404, "no-job")


def test_cancel_retry_and_delete(start: Start, tiny_clip: Path, tmp_path: Path) -> None:
    running = start()
    server = running.server

    def post(job: str, verb: str) -> Answer:
        return ask(server, "POST", f"/v1/jobs/{job}/{verb}")

    def delete(job: str) -> Answer:
        return ask(server, "DELETE", f"/v1/jobs/{job}")

    put(running, "long", reshoot_request(tiny_clip, move={"preset": "orbit", "yaw": 15.0, "frames": 2000}))
    put(running, "waiting", reshoot_request(tiny_clip))
    put(running, "next", NOWHERE)
    wait_job(server, "long", "running")
    # what waits
    assert post("waiting", "retry").problem(409, "job-state")["remedy"]
    assert post("waiting", "cancel").json()["state"] == "cancelled"
    assert post("waiting", "cancel").json()["state"] == "cancelled", "twice is once"
    # what runs
    post("long", "retry").problem(409, "job-state")
    delete("long").problem(409, "job-running")
    ask(server, "GET", "/v1/jobs/long/files").problem(409, "job-state")
    asked = time.monotonic()
    assert post("long", "cancel").status == 200
    assert post("long", "cancel").status == 200
    cancelled = wait_job(server, "long")
    assert cancelled["state"] == "cancelled", cancelled
    assert time.monotonic() - asked < 5
    assert cancelled["result"] is None
    # what failed
    assert wait_job(server, "next")["state"] == "failed"
    post("next", "cancel").problem(409, "job-finished")
    assert post("next", "retry").json()["state"] == "queued"
    failed = wait_job(server, "next")
    assert (failed["state"], failed["attempt"]) == ("failed", 2)
    # what was cancelled goes on
    assert post("waiting", "retry").json()["state"] == "queued"
    finished = wait_job(server, "waiting")
    assert finished["state"] == "succeeded", finished
    post("waiting", "cancel").problem(409, "job-finished")
    post("waiting", "retry").problem(409, "job-state")
    # deleted is gone, and its id is free
    folder = Path(finished["result"]["path"])
    for job in ("waiting", "next", "long"):
        assert delete(job).status == 204
        for what in ("", "/files", "/log", "/events", "/request", "/preview"):
            ask(server, "GET", f"/v1/jobs/{job}{what}").problem(404, "no-job")
        delete(job).problem(404, "no-job")
        assert not (running.data / "jobs" / job).exists()
    assert put(running, "waiting", NOWHERE).status == 201
    assert folder.exists(), "the cache keeps what it has until it is full"
    for verb in ("cancel", "retry"):
        post("never", verb).problem(404, "no-job")


def test_footage_and_depth_may_be_uploads(sidecar: Running, tiny_clip: Path) -> None:
    footage = upload(sidecar.server, tiny_clip.read_bytes(), "clip.mp4")
    job = run_job(sidecar.server, {"kind": "import", "footage": {"upload": footage}})
    assert job["state"] == "succeeded", job
    assert job["result"]["scene"] == job["id"]

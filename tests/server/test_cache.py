"""The cache: what depends on what, what goes first when it is full, and what a crash leaves of it."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Running, Start, reshoot_request, run_job
from ex4d_server.cache import Cache
from ex4d_server.documents import JobRequest
from ex4d_server.folders import DataFolder, Kind
from ex4d_server.preflight import DISK_MARGIN, preflight
from ex4d_server.store import Store
from ex4d_server.uploads import Uploads
from job_cases import make_scene, orbit, render_request, reshoot_scene_request, rows, wait_for
from pydantic import TypeAdapter

from ex4d_core.footprint import render_bytes


@pytest.fixture(scope="module")
def scene(tiny_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene folder of the tiny clip."""
    return make_scene(tiny_clip, tmp_path_factory.mktemp("scene"))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """An empty cache without a server."""
    folder = DataFolder(tmp_path / "data")
    folder.make()
    Store(folder.database).close()  # the next one is not new
    return Cache(folder, Store(folder.database), limit_bytes=1000)


def put(cache: Cache, key: str, size: int = 100, kind: Kind = "render") -> Path:
    """A finished stage of so many bytes, as a worker leaves it."""
    path = cache.folder.entry(kind, key)
    path.mkdir()
    (path / "file").write_bytes(bytes(size))
    cache.add(kind, key)
    return path


def keys(cache: Cache) -> list[str]:
    """What there is, the first to go first."""
    return [entry.key for entry in cache.list()]


def stages(running: Running, job: str, request: dict[str, Any]) -> list[tuple[str, bool]]:
    """Which stages of a job were found on disk."""
    done = run_job(running.server, request, job)
    assert done["state"] == "succeeded", (done["message"], done["problem"])
    return [(stage["name"], stage["cached"]) for stage in done["stages"]]


def test_each_stage_is_made_anew_only_if_what_it_depends_on_changed(
    start: Start, tiny_clip: Path, tmp_path: Path
) -> None:
    running = start()
    base = reshoot_request(tiny_clip)
    made = [("scene", False), ("render", False), ("generate", False)]
    rendered = [("scene", True), ("render", False), ("generate", False)]
    generated = [("scene", True), ("render", True), ("generate", False)]
    found = [("scene", True), ("render", True), ("generate", True)]
    assert stages(running, "first", base) == made
    assert stages(running, "same", base) == found
    assert stages(running, "named", {**base, "scene": "other-name"}) == found
    assert stages(running, "camera", {**base, "move": {"preset": "orbit", "yaw": 21.0}}) == rendered
    assert stages(running, "method", {**base, "method": "reference"}) == rendered
    assert stages(running, "seed", {**base, "seed": 1}) == generated
    assert stages(running, "prompt", {**base, "prompt": "a square"}) == generated
    assert stages(running, "lens", {**base, "focal_px": 80.0}) == made
    copy = tmp_path / tiny_clip.name
    shutil.copyfile(tiny_clip, copy)
    assert stages(running, "copy", reshoot_request(copy)) == found  # the content counts, not where it lies
    with copy.open("ab") as file:
        file.write(b"\0" * 8)
    assert stages(running, "changed", reshoot_request(copy))[0] == ("scene", False)


def test_a_result_that_was_removed_by_hand_is_made_again(start: Start, scene: Path) -> None:
    running = start()
    running.client.put("/v1/scenes/scene", {"path": str(scene)})
    request = reshoot_scene_request(orbit(scene, 20.0))
    first = running.client.run("first", request)
    shutil.rmtree(first["result"]["path"])
    assert stages(running, "again", request) == [("render", True), ("generate", False)]


def test_the_limit_is_kept(start: Start, scene: Path) -> None:
    limit, sizes = 600_000, list[int]()
    running = start("--cache-gb", str(limit / 1e9))
    running.client.put("/v1/scenes/scene", {"path": str(scene)})
    for n in range(6):
        job = running.client.run(f"job-{n}", reshoot_scene_request(orbit(scene, 10.0 + n, frames=24)))
        assert job["state"] == "succeeded", job
        running.client.delete(f"/v1/jobs/job-{n}")  # a result that is kept is never evicted
        sizes.append(running.client.get("/v1/capabilities")["disk"]["cache_bytes"])
    size = sizes[-1]
    assert 0 < size <= limit
    assert 6 * sizes[0] > 2 * limit  # else nothing had to go
    cache = running.data / "cache"
    wait_for(lambda: not list(cache.glob("*/trash-*")))
    on_disk = {p.stat().st_ino: p.stat().st_size for p in cache.rglob("*") if p.is_file()}
    assert sum(on_disk.values()) <= size
    assert running.client.get("/v1/scenes/scene")["id"] == "scene"


def test_kept_results_stay_beyond_the_limit(start: Start, scene: Path) -> None:
    running = start("--cache-gb", "0")
    running.client.put("/v1/scenes/scene", {"path": str(scene)})
    jobs = [running.client.run(f"job-{n}", reshoot_scene_request(orbit(scene, 10.0 + n))) for n in range(3)]
    for job in jobs:
        assert (Path(job["result"]["path"]) / "output.mp4").is_file()
    assert len(list((running.data / "cache" / "generate").iterdir())) == 3
    wait_for(lambda: not list((running.data / "cache" / "render").iterdir()))  # only a step on the way
    running.client.delete("/v1/jobs/job-0")
    running.client.run("job-3", render_request(orbit(scene, 40.0)))
    wait_for(lambda: not Path(jobs[0]["result"]["path"]).exists())
    assert Path(jobs[1]["result"]["path"]).exists()


def test_oldest_use_first(cache: Cache) -> None:
    for key in ("a", "b", "c", "d"):
        put(cache, key)
    assert cache.find("render", "a") is not None  # used again
    gone = cache.evict(250)
    assert [entry.key for entry in gone] == ["b", "c"]
    assert keys(cache) == ["d", "a"]
    assert sorted(p.name for p in cache.folder.cache("render").iterdir()) == ["a", "d"]


def test_pinned_is_never_evicted(cache: Cache) -> None:
    for key in ("kept", "passing", "needed", "scene-of-it", "free"):
        put(cache, key)
    store = cache.store
    store.add_job("done", {"kind": "render"})
    cache.use("done", "kept", keeps=True)
    cache.use("done", "passing")
    store.claim()
    store.change("done", "state", state="succeeded")
    store.add_job("failed", {"kind": "render"})
    cache.use("failed", "needed")
    store.claim()
    store.change("failed", "state", state="failed")
    store.name_scene("scene", "scene-of-it")
    assert [entry.key for entry in cache.evict(0)] == ["passing", "free"]
    store.delete_job("failed")
    store.delete_scene("scene")
    assert [entry.key for entry in cache.evict(0)] == ["needed", "scene-of-it"]
    assert keys(cache) == ["kept"]


def test_the_preflight_counts_what_would_be_evicted(cache: Cache, scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Removing a job helps at once, though its result goes when the room is needed."""
    request = TypeAdapter(JobRequest).validate_python(render_request(orbit(scene, 20.0)))
    usage = shutil.disk_usage(cache.folder.root)._replace(free=DISK_MARGIN)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    cache.store.add_job("done", {"kind": "render"})
    cache.use("done", "kept", keeps=True)
    put(cache, "kept", 10**7)
    (short,) = preflight(request, cache.store, cache)
    assert (short.what, short.free_bytes) == ("disk", DISK_MARGIN)
    cache.store.delete_job("done")
    assert preflight(request, cache.store, cache) == []


def test_a_stage_that_a_crash_kept_from_being_recorded(cache: Cache) -> None:
    path = cache.folder.entry("generate", "finished")
    path.mkdir()
    (path / "file").write_bytes(bytes(77))
    assert keys(cache) == []
    assert cache.find("generate", "finished") == path
    assert [(entry.key, entry.bytes) for entry in cache.list()] == [("finished", 77)]
    other = cache.folder.entry("scene", "other")
    other.mkdir()
    cache.sweep()
    assert sorted(keys(cache)) == ["finished", "other"]
    shutil.rmtree(path)
    cache.sweep()
    assert keys(cache) == ["other"]


def test_what_a_crash_leaves_half_made(cache: Cache) -> None:
    cache.store.add_job("unfinished", {"kind": "render"})
    cache.use("unfinished", "goes-on")
    kinds: list[Kind] = ["scene", "render", "generate", "depth"]
    for kind in kinds:
        for key in ("goes-on", "nobody"):
            path = cache.folder.entry(kind, key)
            partial = path.with_name(path.name + ".partial")
            partial.mkdir()
            (partial / "file").write_bytes(b"half")
            partial.with_name(partial.name + ".lock").touch()
            path.with_name("trash-" + path.name).mkdir()
    (cache.folder.root / "jobs" / "forgotten").mkdir()
    (cache.folder.root / "jobs" / "unfinished").mkdir()
    (cache.folder.root / "uploads" / "forgotten.part").touch()
    cache.store.is_new = False
    cache.sweep()
    left = {str(p.relative_to(cache.folder.root / "cache")) for p in (cache.folder.root / "cache").glob("*/*")}
    assert left == {f"{kind}/goes-on{'.ex4d' if kind == 'scene' else ''}.partial" for kind in kinds}
    assert [p.name for p in (cache.folder.root / "jobs").iterdir()] == ["unfinished"]
    assert not list((cache.folder.root / "uploads").iterdir())
    assert keys(cache) == []


def test_a_deleted_job_takes_its_half_made_stages_along(cache: Cache) -> None:
    partial = cache.folder.cache("render") / "shared.partial"
    partial.mkdir()
    for job in ("one", "two"):
        cache.store.add_job(job, {"kind": "render"})
        cache.use(job, "shared")
    cache.forget(cache.store.delete_job("one") or [])
    assert partial.is_dir()
    cache.forget(cache.store.delete_job("two") or [])
    assert not partial.exists()


def command(*arguments: str) -> dict[str, Any]:
    """`ex4d cache ... --json`."""
    done = subprocess.run(
        [sys.executable, "-m", "ex4d_core.cli", "cache", *arguments, "--json"], capture_output=True, text=True
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    return json.loads(done.stdout)


def test_show_and_prune_from_the_command_line(start: Start, scene: Path) -> None:
    running = start()
    data = ("--data", str(running.data))
    running.client.put("/v1/scenes/scene", {"path": str(scene)})
    for n in range(2):
        assert running.client.run(f"job-{n}", reshoot_scene_request(orbit(scene, 10.0 + n)))["state"] == "succeeded"
    shown = command("show", *data)
    assert sorted((e["kind"], e["pinned"]) for e in shown["entries"]) == [
        ("generate", True),
        ("generate", True),
        ("render", False),
        ("render", False),
        ("scene", True),
    ]
    assert shown["bytes"] == sum(entry["bytes"] for entry in shown["entries"])
    assert command("prune", *data)["removed"] == 2  # while it runs
    assert running.client.run("again", reshoot_scene_request(orbit(scene, 10.0), seed=3))["state"] == "succeeded"
    assert running.stop() == 0
    assert command("prune", *data)["removed"] == 1  # and while it does not
    assert len(command("show", *data)["entries"]) == 4


def test_prune_while_jobs_run(start: Start, scene: Path) -> None:
    running = start()
    running.client.put("/v1/scenes/scene", {"path": str(scene)})
    for n in range(8):
        running.client.put(f"/v1/jobs/job-{n}", reshoot_scene_request(orbit(scene, 10.0 + n)))
    while running.client.get("/v1/jobs", state="queued")["jobs"]:
        command("prune", "--data", str(running.data))
        time.sleep(0.05)
    for n in range(8):
        while (job := running.client.get(f"/v1/jobs/job-{n}"))["state"] == "running":
            time.sleep(0.05)
        assert job["state"] == "succeeded", job
        assert (Path(job["result"]["path"]) / "output.mp4").is_file()


def test_no_cache_where_no_sidecar_worked(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ex4d_core.cli", "cache", "show", "--data", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "No sidecar has worked in" in done.stderr
    assert not list(tmp_path.iterdir())


def test_room_is_made_before_the_work(start: Start, scene: Path) -> None:
    """The limit holds for what is about to be made, too."""
    running = start("--cache-gb", str(2 * render_bytes(64, 48, 6) / 1e9))
    running.client.put("/v1/scenes/scene", {"path": str(scene)})
    for n in range(4):
        running.client.run(f"job-{n}", render_request(orbit(scene, 10.0 + n)))
        running.client.delete(f"/v1/jobs/job-{n}")
    assert len(list((running.data / "cache" / "render").iterdir())) < 4
    assert rows(running.data, "SELECT sum(bytes) FROM entries")[0][0] <= 2 * render_bytes(64, 48, 6)


def test_an_upload_stays_for_a_job_that_waits(cache: Cache) -> None:
    piece = b"footage"
    digest = hashlib.sha256(piece).hexdigest()
    uploads = Uploads(cache, 1000)
    uploads.put("clip", "clip.mp4", len(piece), digest, 0, digest, piece)
    cache.store.add_job("waits", {"kind": "import"})
    uploads.pin("waits", "clip")
    uploads.pin("waits", "nowhere")
    assert cache.evict(0) == []
    assert uploads.status("clip").complete
    assert cache.store.delete_job("waits") is not None
    assert [entry.kind for entry in cache.evict(0)] == ["upload"]

"""What people and disks do to a data folder by hand: nothing of theirs is removed, and what is damaged is made anew."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Running, reshoot_request

Start = Callable[..., Running]


def serve(data: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """`ex4d serve` that is expected to refuse."""
    command = [sys.executable, "-m", "ex4d_core.cli", "serve", "--data", str(data), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("folder", ["jobs/wedding", "uploads/holiday", "cache/render/mine"])
def test_a_folder_of_other_things_is_left_alone(tmp_path: Path, folder: str) -> None:
    photo = tmp_path / "photos" / folder / "a.jpg"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(b"precious")
    mode = (tmp_path / "photos").stat().st_mode
    done = serve(tmp_path / "photos")
    assert done.returncode == 1
    assert "holds other files" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert [p for p in (tmp_path / "photos").rglob("*") if p.is_file()] == [photo]
    assert (tmp_path / "photos").stat().st_mode == mode


@pytest.mark.parametrize(
    ("option", "value"),
    [("--cache-gb", "nan"), ("--cache-gb", "inf"), ("--parent-pid", "-5"), ("--exit-when-idle", "nan")],
)
def test_numbers_that_are_none(tmp_path: Path, option: str, value: str) -> None:
    done = serve(tmp_path / "data", option, value)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert value in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("host", ["8.8.8.8", "localhost:80", "", "no.such.host.example"])
def test_a_host_that_is_not_here(tmp_path: Path, host: str) -> None:
    token = tmp_path / "token"
    token.write_text("a" * 32)
    done = serve(tmp_path / "data", "--host", host, "--token-file", str(token))
    assert done.returncode == 1
    assert done.stderr.strip().endswith(
        f"This machine has no address {host!r}: give --host 127.0.0.1, 0.0.0.0 or one of its own."
    )


def imported(running: Running, clip: Path, job: str) -> dict[str, Any]:
    """Import the clip; the job's document."""
    found: dict[str, Any] = running.client.run(job, {"kind": "import", "footage": {"path": str(clip)}, "scene": "s"})
    return found


@pytest.mark.parametrize("harm", ["a frame is removed", "a frame is emptied", "scene.json is cut", "all is removed"])
def test_a_damaged_scene_is_imported_anew(start: Start, tiny_clip: Path, harm: str) -> None:
    running = start()
    first = imported(running, tiny_clip, "first")
    folder = Path(first["result"]["path"])
    whole = {p.name: p.read_bytes() for p in (folder / "depth").iterdir()}
    match harm:
        case "a frame is removed":
            (folder / "depth/000000.exr").unlink()
        case "a frame is emptied":
            (folder / "color/000001.png").write_bytes(b"")
        case "scene.json is cut":
            (folder / "scene.json").write_text("{")
        case _:
            shutil.rmtree(folder)
    render = {"kind": "reshoot", "scene": "s", "move": {"preset": "orbit", "yaw": 10.0}}
    job = running.client.run("before", render)
    assert job["state"] == "failed"
    assert "import it" in job["message"]
    assert running.client.get("/v1/scenes")["scenes"] == []
    second = imported(running, tiny_clip, "second")
    assert (second["state"], second["stages"][0]["cached"]) == ("succeeded", False)
    folder = Path(second["result"]["path"])
    assert {p.name: p.read_bytes() for p in (folder / "depth").iterdir()} == whole
    assert running.client.run("after", render)["state"] == "succeeded"
    # the next start removes what was put aside
    assert running.stop() == 0
    start()
    assert not [p for p in (running.data / "cache").glob("*/*") if p.name.startswith("trash-")]


def test_a_job_that_cannot_fit_costs_nothing(start: Start, tiny_clip: Path) -> None:
    running = start()
    assert running.client.run("small", reshoot_request(tiny_clip))["state"] == "succeeded"
    before = sorted(p.name for p in (running.data / "cache").glob("*/*"))
    huge = {"kind": "reshoot", "scene": "small", "move": {"preset": "orbit", "yaw": 1.0, "frames": 100_000}}
    trajectory = {
        "schema": "ex4d.trajectory/1",
        "width": 16384,
        "height": 16384,
        "fps": [24, 1],
        "frames": [
            {
                "c2w": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
                "intrinsics": [9000, 9000, 8192, 8192],
                "source_time": 0,
            }
        ]
        * 1000,
    }
    del huge["move"]
    job = running.client.run("huge", {**huge, "trajectory": trajectory})
    assert job["problem"]["code"] == "no-space"
    assert "GB" in job["message"]
    assert sorted(p.name for p in (running.data / "cache").glob("*/*")) == before


def test_a_lost_store_loses_no_result(start: Start, tiny_clip: Path) -> None:
    running = start()
    assert running.client.run("one", reshoot_request(tiny_clip))["state"] == "succeeded"
    assert running.stop() == 0
    for file in running.data.glob("ex4d.sqlite3*"):
        file.unlink()
    again = start()
    assert (again.data / "jobs/one/log.txt").is_file()
    job = again.client.run("two", reshoot_request(tiny_clip))
    assert [stage["cached"] for stage in job["stages"]] == [True, True, True]


def test_an_impatient_end(start: Start, tiny_clip: Path) -> None:
    """Ctrl-C again and again: still one clean end, and the job is kept."""
    import signal
    import time

    running = start()
    running.client.put("/v1/jobs/goes-on", reshoot_request(tiny_clip, move={"preset": "orbit", "frames": 500}))
    time.sleep(0.5)
    for _ in range(4):
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    assert running.process.wait(20) == 0
    assert running.process.stderr is not None
    said = running.process.stderr.read()
    assert "Traceback" not in said
    assert "1 unfinished job goes on at the next start" in said
    assert start().client.get("/v1/jobs/goes-on")["state"] in ("queued", "running")

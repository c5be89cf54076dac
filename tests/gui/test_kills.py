"""`kill -9` of the sidecar, its worker and Blender at each stage of a job, from a real window; see `kill_window.py`."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import OpenEXR
import psutil
import pytest
from blender_window import run_in_window, why_not
from ex4d_server.client import Server, discover
from executioner import Executioner, Places

from ex4d_core import sample
from ex4d_core.clip import load_clip
from ex4d_core.images import read_image
from ex4d_core.scene import Scene

ROOT = Path(__file__).resolve().parent.parent.parent

pytestmark = [
    pytest.mark.gui,
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "-"),
]
FRAMES, SIZE = 12, (208, 120)
KILLED = -9
WINDOW_SECONDS = 900
TOKEN = "a-token-of-this-test-that-nobody-else-knows"


@dataclass(frozen=True)
class Round:
    """One take, and who is killed at which stage of it."""

    stage: str
    victim: str
    pressed: str = ""
    """The button that the artist has to press; empty: it arrives by itself. Start does not count."""


CALM = Round("", "")
"""Nobody is killed: what comes then, must come in all the others."""


def live_through(release: str, rounds: list[Round], folder: Path, *, remote: Path | None = None) -> None:
    """Go through the rounds in as many windows as it takes, and look at all that has come.

    Args:
        remote: a scene folder; the sidecar is then on "another machine", where it is started again after a kill, and
            Blender sends it this scene. Else Blender starts it, here.
    """
    subprocess.run([sys.executable, ROOT / "scripts/build_extension.py", "--output", folder], check=True)
    (archive,) = folder.glob("*.zip")
    out = Path(os.environ.get("EX4D_PICTURES", folder)) / folder.name
    shutil.rmtree(out, ignore_errors=True)
    places = Places(out, out / "project", folder / "data", folder / "temporary")
    for place in (out, places.temporary):
        place.mkdir(parents=True)
    sidecar = OtherMachine(folder) if remote else ThisMachine(folder)
    task = {
        "zip": str(archive),
        "out": str(out),
        "executable": str(sidecar.executable),
        "data": str(places.data),
        "address": sidecar.address,
        "token": TOKEN,
        "scene": str(remote or ""),
        "footage": str(sample.clip_path()),
        "options": import_options(),
        "frames": FRAMES,
        "size": SIZE,
        "rounds": [asdict(each) for each in rounds],
    }
    (folder / "task.json").write_text(json.dumps(task))
    environment = {
        "EX4D_STATE_DIR": str(folder / "state"),
        "TMPDIR": str(places.temporary),
        "BLENDER_USER_RESOURCES": str(folder / "blender"),
    }
    start_again = sidecar.start if isinstance(sidecar, OtherMachine) else None
    executioner = Executioner(places, sidecar.server, start_again)
    executioner.start()
    try:
        while True:
            begun = time.monotonic()
            done = run_in_window(
                release, ROOT / "tests/gui/kill_window.py", [str(folder / "task.json")], environment, WINDOW_SECONDS
            )
            print(f"{release}: a window of {time.monotonic() - begun:.0f} s, exit code {done.returncode}")
            if done.returncode != KILLED:
                break
        assert done.returncode == 0, done.stdout[-8000:]
        assert "Traceback" not in done.stdout, done.stdout[-8000:]
        assert executioner.failure is None
    finally:
        executioner.over.set()
        executioner.join()
        sidecar.end()
    look_at(json.loads((out / "story.json").read_text()), rounds, executioner.takes())
    if not remote:
        (scene,) = places.project.glob("*.ex4d")
        Scene.open(scene, verify=True)
    assert not list(places.project.rglob("*.partial"))
    assert not list((places.data / "uploads").iterdir())


def look_at(story: dict[str, Any], rounds: list[Round], takes: list[Path]) -> None:
    """All rounds went as they should, and all takes are whole and the same."""
    for told in story["rounds"]:
        print(told)
    ticks = sorted(story["ticks"])
    print(f"{len(ticks)} ticks: median {ticks[len(ticks) // 2]} ms, worst {ticks[-3:]} ms")
    pressed = [[button for button in told["pressed"] if button != "ex4d.start_sidecar"] for told in story["rounds"]]
    assert pressed == [[each.pressed] if each.pressed else [] for each in rounds]
    assert ticks[len(ticks) * 99 // 100] < 8  # milliseconds of the main thread
    assert ticks[-1] < 40  # and never a picture of a video late, whatever else this machine has to do
    assert len(takes) >= sum(told["came"] for told in story["rounds"]) >= len(rounds) - 1
    for take in takes:
        assert contents(take) == contents(takes[0]), take
    pictures = [read_image(path) for path in sorted((takes[0] / "output").glob("*.png"))]
    layers = [OpenEXR.File(str(path)).channels() for path in sorted((takes[0] / "exr").glob("*.exr"))]
    assert len(pictures) == len(layers) == FRAMES
    for movie in ("output.mp4", "color.mp4", "mask.mp4"):
        assert len(load_clip(takes[0] / movie).frames) == FRAMES, movie


def contents(take: Path) -> dict[str, str]:
    """Hashes of a take's files, but of those that tell of the job."""
    files = (path for path in take.rglob("*") if path.is_file() and path.name not in ("take.json", "shot.json"))
    return {str(path.relative_to(take)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def import_options() -> dict[str, Any]:
    """Of the bundled clip: small, and with its own depth."""
    low, high = sample.facts().depth_range
    return {
        "depth": "FILES",
        "depth_path": str(sample.depth_path()),
        "depth_kind": "disparity",
        "use_depth_range": True,
        "depth_low": low,
        "depth_high": high,
        "lens": "PIXELS",
        "focal_px": sample.facts().focal_px,
        "frames": FRAMES,
        "max_side": SIZE[0],
    }


class ThisMachine:
    """The sidecar that Blender starts: a program that leaves Blender's chroot, and is then the sidecar."""

    address = ""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.executable = folder / "ex4d"
        command = [sys.executable, "-m", "ex4d_core.cli"]
        leave = ["nsenter", "--target", str(os.getpid()), "--mount", "--root", "--wd=/"]
        self.executable.write_text(f'#!/bin/sh\nexec {shlex.join([*leave, *command])} "$@"\n')
        self.executable.chmod(0o755)

    def server(self) -> Server:
        """The one that runs."""
        return discover(self._folder / "state")[0]

    def end(self) -> None:
        """No process is left."""
        for server in discover(self._folder / "state"):
            end_family(server)


class OtherMachine:
    """A sidecar that Blender knows by its address alone; always at the same one."""

    executable = ""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self._port}"
        (folder / "token").write_text(TOKEN)
        self.start()

    def start(self) -> None:
        """Until it answers."""
        command = [sys.executable, "-m", "ex4d_core.cli", "serve", "--json", "--data", str(self._folder / "data")]
        command += ["--port", str(self._port), "--token-file", str(self._folder / "token")]
        environment = {**os.environ, "EX4D_STATE_DIR": str(self._folder / "elsewhere")}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        assert process.stdout is not None
        with process.stdout as said:
            assert b"address" in said.readline()

    def server(self) -> Server:
        """The one that runs."""
        return discover(self._folder / "elsewhere")[0]

    def end(self) -> None:
        """No process is left."""
        end_family(self.server())


def end_family(server: Server) -> None:
    """End a sidecar as its user does: its worker ends with it."""
    assert server.pid is not None
    process = psutil.Process(server.pid)
    family = [process, *process.children(recursive=True)]
    process.terminate()
    assert not psutil.wait_procs(family, 20)[1]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled clip as a scene folder."""
    folder = tmp_path_factory.mktemp("kills") / "clip.ex4d"
    command = ["import", "sample", "--size", "{}x{}".format(*SIZE), "--frames", str(FRAMES), "-o", folder]
    subprocess.run([sys.executable, "-m", "ex4d_core.cli", *command], check=True, cwd=ROOT)
    return folder


def test_the_sidecar_is_killed_at_each_stage(tmp_path: Path) -> None:
    stages = ("scene", "sending", "queued", "render", "generate", "exr", "fetching")
    rounds = [Round(stage, "sidecar") for stage in stages]
    rounds.insert(1, CALM)
    live_through("sid", [*rounds, Round("generate", "worker", "ex4d.retry_job")], tmp_path)


def test_blender_is_killed_at_each_stage(tmp_path: Path) -> None:
    stages = ("scene", "sending", "queued", "render", "generate", "exr", "fetching", "fetched")
    rounds = [Round(stage, "blender", "ex4d.send_take" if stage == "sending" else "") for stage in stages]
    live_through("sid", [*rounds, CALM], tmp_path)


def test_killed_while_footage_goes_to_another_machine(scene: Path, tmp_path: Path) -> None:
    rounds = [
        Round("uploaded", "sidecar"),
        Round("packed", "blender", "ex4d.send_take"),
        Round("uploaded", "blender", "ex4d.send_take"),
        Round("fetching", "sidecar"),
    ]
    live_through("sid", [CALM, *rounds], tmp_path, remote=scene)


def test_an_older_blender(tmp_path: Path) -> None:
    rounds = [Round("scene", ""), Round("generate", "sidecar"), Round("exr", "blender")]
    live_through("trixie", rounds, tmp_path)

"""Kills the sidecar, its worker or Blender with SIGKILL at a stage of a job, told by files when to look out for which.

It looks at the disks of both, hundreds of times a second: what is half-made there tells the stage of a job without
asking anybody who may be dead. After a kill that is still half-made, or the stage was missed.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from ex4d_server.client import Client, Server

LOOK_SECONDS = 0.002
WORKER_DEATHS = 3
"""After so many the sidecar gives a job up."""


@dataclass(frozen=True)
class Places:
    """Where it looks."""

    orders: Path
    """What `kill_window.py` writes, and the answers."""
    project: Path
    """Of the .blend: takes and footage."""
    data: Path
    """Of the sidecar."""
    temporary: Path
    """Blender's folder for what it packs."""


class Executioner(threading.Thread):
    """Carries out orders until `over` is set.

    Args:
        server: the sidecar that runs now.
        start_again: where nobody else does, starts it after a kill.
    """

    def __init__(self, places: Places, server: Callable[[], Server], start_again: Callable[[], object] | None) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.failure: BaseException | None = None
        self._places, self._server, self._start_again = places, server, start_again
        self._last, self._takes = 0, 0

    def run(self) -> None:
        """Look for orders."""
        try:
            while not self.over.wait(LOOK_SECONDS):
                order = _document(self._places.orders / "order.json")
                if order.get("number", 0) > self._last:
                    self._last = order["number"]
                    answer = {"hit": self._carry_out(order)}
                    partial = self._places.orders / "answer.new"
                    partial.write_text(json.dumps(answer))
                    os.replace(partial, self._places.orders / f"answer_{self._last}.json")
        except BaseException as error:
            self.failure = error
            raise

    def _carry_out(self, order: dict[str, Any]) -> bool:
        """Whether somebody was killed in time."""
        stage, victim = order["stage"], order["victim"]
        if stage == "reset":
            return self._reset()
        if stage == "sending":
            os.kill(self._sidecar().pid, signal.SIGSTOP)
            return True
        if stage == "hold":
            self._freeze(True)
            return True
        if victim == "worker":
            return self._kill_workers(stage)
        self._takes = order["takes"]
        if stage != "now" and not self._wait_for(stage):
            return False
        if victim == "blender":
            os.kill(order["blender"], signal.SIGKILL)
            self._freeze(False)
            return True
        self._kill_sidecar()
        return stage == "now" or self._is_at(stage)

    def _wait_for(self, stage: str) -> bool:
        """False if it has gone by."""
        while not self._is_at(stage):
            if len(self.takes()) > self._takes or self.over.wait(LOOK_SECONDS):
                return self._is_at(stage)
        return True

    def _is_at(self, stage: str) -> bool:
        places = self._places
        match stage:
            case "scene" | "render" | "generate" | "exr":
                return any((places.data / "cache" / stage).glob("*.partial/*"))
            case "queued":
                return self._states() == ["queued", "running"]
            case "packed":
                return any(places.temporary.glob("ex4d-*/*.zip"))
            case "uploaded":
                return any((places.data / "uploads").glob("*.part"))
            case "fetching":
                return any(places.project.rglob("take_*.partial/output*"))
            case "fetched":
                return len(self.takes()) > self._takes
            case _:
                raise ValueError(stage)

    def takes(self) -> list[Path]:
        """The takes that are whole."""
        found = self._places.project.glob("*.shots/*/take_*")
        return sorted(path for path in found if path.suffix == "")

    def _states(self) -> list[str]:
        """Of all jobs, sorted."""
        store = sqlite3.connect(f"file:{self._places.data / 'ex4d.sqlite3'}?mode=ro", uri=True)
        try:
            return sorted(row[0] for row in store.execute("SELECT state FROM jobs"))
        finally:
            store.close()

    def _sidecar(self) -> psutil.Process:
        pid = self._server().pid
        assert pid is not None
        return psutil.Process(pid)

    def _freeze(self, frozen: bool) -> None:
        """Hold the worker, or let it go on."""
        for worker in self._sidecar().children():
            os.kill(worker.pid, signal.SIGSTOP if frozen else signal.SIGCONT)

    def _kill_sidecar(self) -> None:
        """With its workers, which would end by themselves a moment later."""
        sidecar = self._sidecar()
        victims = [sidecar, *sidecar.children(recursive=True)]
        for victim in victims:
            victim.kill()
        psutil.wait_procs(victims, 5)
        if self._start_again:
            self._start_again()

    def _kill_workers(self, stage: str) -> bool:
        """Each worker that takes up the job, until the sidecar no longer begins it again."""
        deaths, died_at = 0, 0.0
        while deaths < WORKER_DEATHS:
            partials = (self._places.data / "cache" / stage).glob("*.partial")
            if self._states() == ["running"] and any(path.stat().st_mtime > died_at for path in partials):
                for worker in self._sidecar().children():
                    worker.kill()
                deaths, died_at = deaths + 1, time.time()
            if self.over.wait(LOOK_SECONDS):
                return False
        while self._states() != ["failed"]:
            if self.over.wait(LOOK_SECONDS):
                return False
        return True

    def _reset(self) -> bool:
        """Forget all jobs and what was made for them; and scenes, where they were sent."""
        client = Client(self._server())
        for job in client.get("/v1/jobs", limit=1000)["jobs"]:
            client.delete(f"/v1/jobs/{job['id']}")
        if self._start_again:
            for scene in client.get("/v1/scenes")["scenes"]:
                client.delete(f"/v1/scenes/{scene['id']}")
        prune = [sys.executable, "-m", "ex4d_core.cli", "cache", "prune", "--data", str(self._places.data), "--json"]
        subprocess.run(prune, check=True, stdout=subprocess.DEVNULL)
        return True


def _document(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}

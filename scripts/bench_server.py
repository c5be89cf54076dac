#!/usr/bin/env python3
"""Measure the sidecar: start, first progress, answers under load and what that costs the job, cancels, memory.

Every figure comes from real processes: `ex4d serve`, its worker, and clients in a process of their own. The cost of
the load is a ratio in one run: the same job done by the same worker code, once through the sidecar while clients poll
it, once directly while the same clients poll a server that does nothing but answer; in turn, several times. The
job's process is bound to one core, so that it is single-threaded on any machine.

    python scripts/bench_server.py                  about four minutes on two cores
    python scripts/bench_server.py --jobs 1000 --json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from environment import in_environment

in_environment()

import psutil
from ex4d_server.client import Client, EventStream, Server
from ex4d_server.worker_process import WorkerProcess

from ex4d_core import sample
from ex4d_core.camera import trajectory_to_document
from ex4d_core.ingest import import_scene
from ex4d_core.presets import Move, preset
from ex4d_core.scene import Scene

POLLERS, STREAMS = 50, 8
Report = dict[str, Any]


class Sidecar:
    """`ex4d serve` in a folder of its own."""

    def __init__(self, data: Path) -> None:
        begun = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ex4d_core.cli", "serve", "--data", str(data), "--json"],
            stdout=subprocess.PIPE,
            env={**os.environ, "EX4D_STATE_DIR": str(data.with_name("state"))},
            text=True,
        )
        assert self.process.stdout is not None
        known = json.loads(Path(json.loads(self.process.stdout.readline())["address_file"]).read_text())
        self.answers_seconds = time.monotonic() - begun
        self.server = Server(known["address"], known["token"])
        self.client = Client(self.server)
        while self.client.get("/v1/health")["status"] == "starting":
            time.sleep(0.005)
        self.ready_seconds = time.monotonic() - begun

    @property
    def worker(self) -> psutil.Process:
        """The process that does the jobs."""
        return psutil.Process(self.process.pid).children()[0]

    def put_scene(self, scene: Path) -> None:
        """Have it take in a scene under the id `scene`."""
        self.client.put("/v1/scenes/scene", {"path": str(scene)})

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()


def orbit(scene: Path, yaw: float, frames: int | None = None) -> dict[str, Any]:
    """The document of an orbit by so many degrees."""
    return trajectory_to_document(preset(Scene.open(scene), Move("orbit", yaw=yaw), frames=frames))


def render(trajectory: dict[str, Any]) -> dict[str, Any]:
    """A job that nobody has asked for before."""
    return {"kind": "render", "scene": "scene", "trajectory": trajectory}


def measure_start(folder: Path, rounds: int) -> Report:
    """Seconds from the command to the first answer, and to a worker that takes jobs."""
    answers: list[float] = []
    ready: list[float] = []
    for _ in range(rounds):
        sidecar = Sidecar(folder / "start")
        answers.append(sidecar.answers_seconds)
        ready.append(sidecar.ready_seconds)
        sidecar.stop()
    return {"answers_s": statistics.median(answers), "ready_s": statistics.median(ready), "worst_ready_s": max(ready)}


def measure_first_progress(sidecar: Sidecar, scene: Path, rounds: int) -> Report:
    """Milliseconds from sending a job to the first progress event of it."""
    found: list[float] = []
    for n in range(rounds + 3):  # the first ones warm the worker
        trajectory = orbit(scene, 5.0 + n / 10, frames=4)
        begun = time.monotonic()
        sidecar.client.put(f"/v1/jobs/progress-{n}", render(trajectory))
        stream = EventStream(sidecar.server, f"progress-{n}")
        seen: float | None = None
        while not stream.done:
            for event in stream.step():
                if seen is None and event.kind == "progress":
                    seen = time.monotonic()
            time.sleep(0.001)
        assert seen is not None, "a job without a progress event"
        found.append((seen - begun) * 1e3)
    found = found[3:]
    return {"median_ms": statistics.median(found), "p95_ms": statistics.quantiles(found, n=20)[-1]}


def measure_load(sidecar: Sidecar, scene: Path, folder: Path, rounds: int) -> Report:
    """Milliseconds of `GET jobs/{id}` under load, and how much longer the job takes than beside an idle server."""
    ours: list[float] = []
    idle: list[float] = []
    answers: list[float] = []
    stub_answers: list[float] = []
    shares: list[float] = []
    server = psutil.Process(sidecar.process.pid)
    with _idle_server() as stub:
        direct = WorkerProcess({}, lambda line: None, heartbeat_seconds=60)
        direct.wait_ready()
        for worker in (sidecar.worker, psutil.Process(direct.pid)):
            worker.cpu_affinity([max(worker.cpu_affinity() or [0])])
        for n in range(-1, rounds):  # the first round only warms both workers
            trajectory = orbit(scene, 20.0 + n, frames=49 if n >= 0 else 4)
            job = f"load-{n}"
            with _load(sidecar.server, job, POLLERS, STREAMS) as load:
                begun, used = time.monotonic(), sum(server.cpu_times()[:2])
                done = sidecar.client.run(job, render(trajectory))
                wall, used = time.monotonic() - begun, sum(server.cpu_times()[:2]) - used
                assert done["state"] == "succeeded", done["message"]
            if n >= 0:
                answers += load.milliseconds
                ours.append(sum(stage["seconds"] for stage in done["stages"]))
                assert ours[-1] <= wall
                shares.append(used / wall)
            with _load(stub, job, POLLERS, STREAMS) as load:
                begun = time.monotonic()
                out = str(folder / f"direct-{n}")
                options = {"method": "dwmesh", "background": True, "passes": [], "allow_unseen": False}
                arguments = {"scene": str(scene), "trajectory": trajectory, "out": out, **options}
                direct.call("render", arguments, lambda message: None, lambda: False, 1.0)
                seconds = time.monotonic() - begun
            if n >= 0:
                idle.append(seconds)
                stub_answers += load.milliseconds
        direct.end()
    return {
        "clients": POLLERS,
        "streams": STREAMS,
        "answers": len(answers),
        "median_ms": statistics.median(answers),
        "p99_ms": statistics.quantiles(answers, n=100)[-1],
        "idle_server_p99_ms": statistics.quantiles(stub_answers, n=100)[-1],
        "server_share_of_a_core": statistics.median(shares),
        "job_s": statistics.median(ours),
        "job_beside_idle_server_s": statistics.median(idle),
        "slow_down": statistics.median(a / b for a, b in zip(ours, idle, strict=True)),
        "slow_downs": [a / b for a, b in zip(ours, idle, strict=True)],
    }


def measure_cancel(sidecar: Sidecar, scene: Path, rounds: int) -> Report:
    """Milliseconds from asking for a cancel, at a random moment of a reshoot, to a cancelled job."""
    chance = random.Random(1)
    found: list[float] = []
    for n in range(rounds):
        sidecar.client.put(f"/v1/jobs/cancel-{n}", {**render(orbit(scene, 60.0 + n)), "kind": "reshoot"})
        time.sleep(chance.uniform(0.05, 6))
        begun = time.monotonic()
        with suppress(Exception):  # it may just be finished
            sidecar.client.post(f"/v1/jobs/cancel-{n}/cancel")
        while (state := sidecar.client.get(f"/v1/jobs/cancel-{n}")["state"]) == "running":
            time.sleep(0.005)
        if state == "cancelled":
            found.append((time.monotonic() - begun) * 1e3)
    return {"cancels": len(found), "median_ms": statistics.median(found), "worst_ms": max(found)}


def measure_memory(sidecar: Sidecar, scene: Path, jobs: int) -> Report:
    """MB of the server's memory after the 100th and the last of many tiny jobs."""
    process = psutil.Process(sidecar.process.pid)
    memory: dict[int, float] = {}
    begun = time.monotonic()
    first = min(100, jobs // 2)
    for n in range(1, jobs + 1):
        sidecar.client.put(f"/v1/jobs/many-{n}", render(orbit(scene, -1.0 - n / 100, frames=2)))
        if n in (first, jobs):
            while sidecar.client.get(f"/v1/jobs/many-{n}")["state"] in ("queued", "running"):
                time.sleep(0.05)
            memory[n] = process.memory_info().rss / 1e6
    seconds = time.monotonic() - begun
    failed = [
        job["id"] for state in ("failed", "cancelled") for job in sidecar.client.get("/v1/jobs", state=state)["jobs"]
    ]
    failed = [job for job in failed if job.startswith("many")]
    return {
        "jobs": jobs,
        "failed": len(failed),
        "jobs_per_second": jobs / seconds,
        f"after_{first}_mb": memory[first],
        "after_last_mb": memory[jobs],
        "grown_mb": memory[jobs] - memory[first],
    }


class _load:
    """Clients in a process of their own: some poll a job once a second, some listen to its events."""

    def __init__(self, server: Server, job: str, pollers: int, streams: int) -> None:
        self._arguments = json.dumps([server.address, server.token, job, pollers, streams])
        self.milliseconds: list[float] = []

    def __enter__(self) -> _load:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--be-clients", self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()  # all are connected
        return self

    def __exit__(self, *error: object) -> None:
        out, _ = self._process.communicate("\n")
        self.milliseconds = json.loads(out)


async def be_clients(address: str, token: str, job: str, pollers: int, streams: int) -> None:
    """Poll and listen until stdin ends; then print the milliseconds of each answer."""
    host, port = address.removeprefix("http://").rsplit(":", 1)
    found: list[float] = []

    def request(path: str) -> bytes:
        return f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()

    async def answer(reader: asyncio.StreamReader) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line)
        await reader.readexactly(length)

    async def poll(number: int) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        await asyncio.sleep(number / pollers)
        while True:
            begun = time.monotonic()
            writer.write(request(f"/v1/jobs/{job}"))
            await answer(reader)
            found.append((time.monotonic() - begun) * 1e3)
            await asyncio.sleep(max(0.0, 1 - (time.monotonic() - begun)))

    async def listen() -> None:
        while True:
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(request(f"/v1/jobs/{job}/events"))
            while await reader.read(65536):
                pass
            writer.close()
            await asyncio.sleep(1)

    tasks = [asyncio.create_task(poll(n)) for n in range(pollers)] + [
        asyncio.create_task(listen()) for _ in range(streams)
    ]
    await asyncio.sleep(0.5)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(json.dumps(found))


class _idle_server:
    """A process that answers the same requests and does nothing else."""

    def __enter__(self) -> Server:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--be-idle-server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        return Server(self._process.stdout.readline().strip(), "none")

    def __exit__(self, *error: object) -> None:
        self._process.communicate("\n")


async def be_idle_server() -> None:
    """Answer with a document as long as a job's, or with a stream in which nothing happens."""
    body = json.dumps({"id": "x" * 700}).encode()
    whole = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    stream = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(stream if b"/events " in head else whole)
                await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


def small_scene(folder: Path) -> Path:
    """The first frames of the sample, small."""
    path = folder / "small.ex4d"
    import_scene(sample.clip_path(), path, **sample.import_options(), frames=4, max_side=64)
    return path


def run(rounds: int, jobs: int, only: set[str]) -> Report:
    """All measurements, or only those named."""
    report: Report = {"machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before"}
    with tempfile.TemporaryDirectory(prefix="ex4d-bench-") as name:
        folder = Path(name)
        small, full = small_scene(folder), folder / "full.ex4d"
        import_scene(sample.clip_path(), full, **sample.import_options())
        parts: dict[str, tuple[Path, Callable[[Sidecar], Report]]] = {
            "first_progress": (small, lambda s: measure_first_progress(s, small, 50)),
            "load": (full, lambda s: measure_load(s, full, folder, rounds)),
            "cancel": (full, lambda s: measure_cancel(s, full, 20)),
            "memory": (small, lambda s: measure_memory(s, small, jobs)),
        }
        if "start" in only:
            report["start"] = measure_start(folder, 5)
        for part, (scene, measure) in parts.items():
            if part in only:
                sidecar = Sidecar(folder / part)
                sidecar.put_scene(scene)
                report[part] = measure(sidecar)
                sidecar.stop()
    return report


TARGETS = {
    ("start", "ready_s"): 2.0,
    ("first_progress", "median_ms"): 150.0,
    ("load", "p99_ms"): 50.0,
    ("load", "slow_down"): 1.10,
    ("cancel", "worst_ms"): 1000.0,
    ("memory", "grown_mb"): 20.0,
}


def table(report: Report) -> str:
    """The report for people."""
    lines = [report["machine"]]
    for part, values in report.items():
        if isinstance(values, str):
            continue
        for name, value in values.items():
            if isinstance(value, list):
                continue
            target = TARGETS.get((part, name))
            text = f"{value:.2f}" if isinstance(value, float) else str(value)
            verdict = "" if target is None else f"   under {target:g}: {'yes' if value < target else 'NO'}"
            lines.append(f"{part:16}{name:28}{text:>10}{verdict}")
    return "\n".join(lines)


def main() -> int:
    names = ["start", "first_progress", "load", "cancel", "memory"]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="jobs under load, each way (5)")
    parser.add_argument("--jobs", type=int, default=300, help="tiny jobs for the memory (300)")
    parser.add_argument("--only", choices=names, action="append", help="measure this alone; may be repeated")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--be-clients", help=argparse.SUPPRESS)
    parser.add_argument("--be-idle-server", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.be_clients:
        asyncio.run(be_clients(*json.loads(arguments.be_clients)))
        return 0
    if arguments.be_idle_server:
        asyncio.run(be_idle_server())
        return 0
    if arguments.rounds < 1 or arguments.jobs < 2:
        parser.error("give at least one round and two jobs")
    report = run(arguments.rounds, arguments.jobs, set(arguments.only or names))
    print(json.dumps(report, indent=1) if arguments.json else table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())

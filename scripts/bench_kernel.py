#!/usr/bin/env python3
"""Where the compiled rasterizer's cycles go, before and after a change, and how they grow with size and threads.

A cycle count is CPU time (all threads) times the clock, which a chain of dependent additions tells right before and
after; counts whose two clocks agree go first. Another version runs in a process of its own and gets the same
frames in turn, so that a busy machine slows both: trust the ratio, which is the median of the frames' ratios.

    python scripts/bench_kernel.py                          512x512, one thread, by stage
    python scripts/bench_kernel.py --against 59492c1        and the same of that commit, with ratios
    python scripts/bench_kernel.py --scaling                256x256 to 2048x2048, and what two cores make of it
    python scripts/bench_kernel.py --method quads --data DIR    stages of `quads` on scenes with truth
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from environment import in_environment

if "--worker" not in sys.argv:  # a worker imports the version that it measures
    in_environment()

ROOT = Path(__file__).resolve().parents[1]

MESHES = {
    "whole": "grid, bridges and the closing fan (facts/rasterizer.md), four attributes blended",
    "render": "what a render draws: bridges cut short, no fan; with meshing, masks and colours around it",
}

TRUTH_PATHS = ("30", "60")
"""Paths of target cameras that `--method quads` renders."""

CHAIN = 40_000
"""Steps of the clock's chain, two dependent additions each."""

_MANY = 15
"""Counts of which the least is taken for `--method quads`: its larger arrays feel who else uses the machine."""

_STEADY = 0.1
"""Two clocks around a measurement may differ by this share."""

Stages = dict[str, float]


class Worker:
    """This script in a process of its own, with the package of one source tree."""

    def __init__(self, tree: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
        if tree != ROOT:
            environment["NUMBA_CACHE_DIR"] = str(tree / "cache")
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--worker"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def measure(self, mesh: str, size: tuple[int, int], index: int, frames: int, threads: int) -> Stages:
        """Megacycles by stage of one frame."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([mesh, size, index, frames, threads]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit("bench_kernel: a worker died, see above")
        return json.loads(answer)

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def serve() -> None:
    """The worker: a request a line, an answer a line."""
    from ex4d_core.raster import warm_up

    warm_up()
    for line in sys.stdin:
        mesh, size, index, frames, threads = json.loads(line)
        job = JOBS[mesh](size, index, frames, threads)
        job({})  # caches, pools
        print(json.dumps(_steady(job)), flush=True)


def _steady(job: Callable[[Stages], None], counts: int = 5) -> Stages:
    """Least of some counts at a steady clock: by stage CPU seconds times MHz."""
    runs: list[tuple[bool, Stages]] = []
    for _ in range(counts):
        seconds: Stages = {}
        before = _megahertz()
        start = time.process_time()
        job(seconds)
        seconds["all"] = time.process_time() - start
        after = _megahertz()
        moved = abs(before - after) > _STEADY * before
        runs.append((moved, {name: value * (before + after) / 2 for name, value in seconds.items()}))
    return min(runs, key=lambda run: (run[0], run[1]["all"]))[1]


def _megahertz() -> float:
    from numba import njit

    global _chain
    if _chain is None:

        def chain(n: int) -> int:
            x = 1
            for i in range(n):
                x = (x ^ i) + 3
            return x

        _chain = njit(chain)
        _chain(1)
    start = time.thread_time()
    _chain(CHAIN)
    return 2 * CHAIN / (time.thread_time() - start) / 1e6


_chain: Any = None


def _timed(seconds: Stages, stack: ExitStack, module: Any, name: str, stage: str) -> None:
    """Have a module's function add its CPU time to a stage, until the stack is closed."""
    function = getattr(module, name)

    def wrapped(*arguments: Any, **options: Any) -> Any:
        start = time.thread_time()
        result = function(*arguments, **options)
        seconds[stage] = seconds.get(stage, 0.0) + time.thread_time() - start
        return result

    setattr(module, name, wrapped)
    stack.callback(setattr, module, name, function)


def _kernels(seconds: Stages, stack: ExitStack) -> None:
    from ex4d_core.raster import numba_draw, numba_grid, numba_setup, numba_shade

    _timed(seconds, stack, numba_setup, "project", "project")
    for name in ("box_strips", "box_faces", "clip_outside"):
        _timed(seconds, stack, numba_setup, name, "box, clip")
    _timed(seconds, stack, numba_grid, "draw_grid", "grid")
    _timed(seconds, stack, numba_draw, "draw_rest", "slivers, fan")
    _timed(seconds, stack, numba_shade, "blend", "blend")


def _whole(size: tuple[int, int], index: int, frames: int, threads: int) -> Callable[[Stages], None]:
    from benchmark.raster_scene import make_frame

    from ex4d_core.raster import interpolate, rasterize

    frame = make_frame(*size, index, frames)

    def job(seconds: Stages) -> None:
        with ExitStack() as stack:
            if threads == 1:  # dictionaries of several threads would mix
                _kernels(seconds, stack)
            raster = rasterize(frame.vertices, frame.faces, frame.camera, grid=frame.grid, threads=threads)
            interpolate(raster, frame.faces, frame.rgba, grid=frame.grid, threads=threads)

    return job


def _render(size: tuple[int, int], index: int, frames: int, threads: int) -> Callable[[Stages], None]:
    import numpy as np
    from benchmark.raster_scene import make_frame, scene_depth

    from ex4d_core import frame as frames_module
    from ex4d_core import mesh as mesh_module

    camera = make_frame(*size, index, frames).camera
    depth = scene_depth(*size, index / max(frames, 1))
    color = np.random.default_rng(0).integers(0, 256, (*depth.shape, 3), dtype=np.uint8)

    def job(seconds: Stages) -> None:
        with ExitStack() as stack:
            if threads == 1:
                _kernels(seconds, stack)
                _timed(seconds, stack, mesh_module, "build_mesh", "mesh, flags")
                _timed(seconds, stack, frames_module, "limit_bridges", "cut bridges short")
                _timed(seconds, stack, frames_module, "source_positions", "positions, mask")
                _timed(seconds, stack, frames_module, "sample_color", "colour")
            mesh = mesh_module.build_mesh(depth, camera.intrinsics, "dwmesh")
            frames_module.render_frame(color, mesh, camera, threads=threads)

    return job


def _two_cores(size: tuple[int, int], index: int, frames: int, threads: int) -> Callable[[Stages], None]:
    """The whole mesh cut up as for `threads`, the pieces one after the other.

    Stage `foreseen` is the time on as many free cores: each piece goes to the core that is free first. On a busy
    machine that cannot be measured.
    """
    from ex4d_core.raster import numba_backend

    job = _whole(size, index, frames, threads)

    def in_turn(seconds: Stages) -> None:
        saved = 0.0

        def spread(task: Callable[[int, int], None], total: int, step: int, workers: int) -> None:
            nonlocal saved
            cores = [0.0] * workers
            for start in range(0, total, step):
                began = time.thread_time()
                task(start, min(start + step, total))
                cores[cores.index(min(cores))] += time.thread_time() - began
            saved += sum(cores) - max(cores)

        with ExitStack() as stack:
            stack.callback(setattr, numba_backend, "_spread", numba_backend._spread)
            numba_backend._spread = spread
            began = time.thread_time()
            job({})
            seconds["foreseen"] = time.thread_time() - began - saved

    return in_turn


JOBS = {"whole": _whole, "render": _render, "in turn": _two_cores}


def quads(root: Path, key_frames: int) -> dict[str, dict[str, Stages]]:
    """By scene and path, stages of `quads` and in turn those of `dwmesh`: medians over key frames.

    `visible` is what the goal of 90 million speaks of: cuts, mixtures, links, shells, and visibility at 2x2 samples.
    `two threads` is how many times as soon those are ready with the last of it.
    """
    import numpy as np

    from ex4d_core import frame as frames_module
    from ex4d_core import mesh as mesh_module
    from ex4d_core import quads as quads_module
    from ex4d_core.camera import Camera
    from ex4d_core.evaluation.truth import find_truths, open_truth
    from ex4d_core.memory import keep_memory
    from ex4d_core.quads import shading

    keep_memory()  # as the programs that render do
    report: dict[str, dict[str, Stages]] = {}
    for scene in find_truths((root,)):
        truth = open_truth(scene)
        keys = truth.key_frames[:: -(-len(truth.key_frames) // key_frames)]
        for path in TRUTH_PATHS:
            runs: list[Stages] = []
            for key in keys:
                color = truth.colors[key]
                depth = (1 / truth.disparity(key)).astype(np.float32)
                camera = Camera(np.linalg.inv(truth.target_from_source[path][key]), truth.lens)

                def ours(seconds: Stages) -> None:
                    with ExitStack() as stack:
                        _kernels(seconds, stack)
                        for name in ("find_cuts", "separate", "find_links", "build_solid", "rasterize", "shade"):
                            _timed(seconds, stack, quads_module, name, name)
                        for name in ("_locate", "_find_owners", "_choose", "_sample", "_resolve"):
                            _timed(seconds, stack, shading, name, name)
                        built = quads_module.build_quads(color, depth, truth.lens)  # noqa: B023
                        quads_module.render_quads(built, camera, threads=1)  # noqa: B023

                def theirs(seconds: Stages) -> None:
                    with ExitStack() as stack:
                        _timed(seconds, stack, frames_module, "rasterize", "rasterize")
                        mesh = mesh_module.build_mesh(depth, truth.lens, "dwmesh")  # noqa: B023
                        frames_module.render_frame(color, mesh, camera, threads=1)  # noqa: B023

                for job in (ours, theirs):
                    job({})
                run, other = _steady(ours, _MANY), _steady(theirs, _MANY)
                stages = ("find_cuts", "separate", "find_links", "build_solid", "rasterize")
                run["visible"] = sum(run[name] for name in stages)
                run["dwmesh kernel"], run["dwmesh all"] = other["rasterize"], other["all"]
                run["visible / kernel"] = run["visible"] / other["rasterize"]
                run["all / dwmesh"] = run["all"] / other["all"]
                run["two threads"] = _two_threads(
                    quads_module, quads_module.build_quads(color, depth, truth.lens), camera
                )
                runs.append(run)
            report[f"{scene.name} {path}"] = {
                name: {"median": statistics.median(run[name] for run in runs), "least": min(run[name] for run in runs)}
                for name in runs[0]
            }
    return report


def _two_threads(module: Any, built: Any, camera: Any) -> float:
    """How many times as soon two threads are ready with the visibility of the samples, least wall times."""
    solid, samples = built.solid, module._sampling(camera)
    least = [math.inf, math.inf]
    for _ in range(2 * _MANY):
        for n in range(2):
            start = time.perf_counter()
            module.rasterize(
                solid.vertices, solid.faces, samples, grid=solid.grid, apart=solid.apart, near=built.near,
                barycentrics=False, backend="numba", threads=n + 1,
            )  # fmt: skip
            least[n] = min(least[n], time.perf_counter() - start)
    return least[0] / least[1]


def compare(size: tuple[int, int], frames: int, against: Path | None) -> dict[str, Any]:
    """By mesh and stage: medians over the frames, and of their ratios to the other version."""
    new, old = Worker(ROOT), Worker(against) if against else None
    report: dict[str, Any] = {}
    for mesh in MESHES:
        ours: list[Stages] = []
        theirs: list[Stages] = []
        for index in range(frames):
            ours.append(new.measure(mesh, size, index, frames, 1))
            if old:
                theirs.append(old.measure(mesh, size, index, frames, 1))
        report[mesh] = {name: {"now": statistics.median(run[name] for run in ours)} for name in ours[0]}
        for name, row in report[mesh].items():
            row["least"] = min(run[name] for run in ours)
            if theirs:
                row["before"] = statistics.median(run[name] for run in theirs)
                row["ratio"] = statistics.median(a[name] / b[name] for a, b in zip(ours, theirs, strict=True))
    new.close()
    if old:
        old.close()
    return report


def scaling(frames: int) -> list[dict[str, Any]]:
    """Megacycles of the whole mesh, one thread, by size; and how much sooner two cores would be ready."""
    worker, rows = Worker(ROOT), []
    for side in (256, 512, 1024, 2048):
        one: list[float] = []
        ratios: list[float] = []
        cpu: list[float] = []
        for index in range(frames):
            alone = worker.measure("whole", (side, side), index, frames, 1)["all"]
            pieces = worker.measure("in turn", (side, side), index, frames, 2)
            one.append(alone)
            ratios.append(alone / pieces["foreseen"])
            cpu.append(pieces["all"] / alone)
        rows.append(
            {
                "size": f"{side}x{side}",
                "Mcycles": statistics.median(one),
                "cycles a pixel": statistics.median(one) * 1e6 / side**2,
                "two threads, cycles": statistics.median(cpu),
                "two cores, sooner": statistics.median(ratios),
            }
        )
    worker.close()
    return rows


def table(report: dict[str, Any]) -> str:
    """The comparison for people."""
    lines: list[str] = []
    for mesh, stages in report.items():
        columns = list(next(iter(stages.values())))
        lines += [f"{mesh}: {MESHES[mesh]}; Mcycles", f"{'':20}" + "".join(f"{name:>9}" for name in columns)]
        lines += [f"{name:20}" + "".join(f"{row[c]:9.2f}" for c in columns) for name, row in stages.items()]
    return "\n".join(lines)


def quads_table(report: dict[str, dict[str, Stages]]) -> str:
    """Of all scenes and paths the median and the least, Mcycles a frame, for people."""
    lines = [f"{'':20}{'median':>9}{'least':>9}"]
    for name in next(iter(report.values())):
        medians = [stages[name]["median"] for stages in report.values()]
        least = min(stages[name]["least"] for stages in report.values())
        lines.append(f"{name:20}{statistics.median(medians):9.2f}{least:9.2f}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", default="512x512", help="image and grid size, WxH (512x512)")
    parser.add_argument("--frames", type=int, default=12, help="how many poses of the path (12)")
    parser.add_argument("--against", metavar="COMMIT", help="also measure this version of ex4d_core")
    parser.add_argument("--scaling", action="store_true", help="the table of sizes and threads instead")
    parser.add_argument("--method", choices=("dwmesh", "quads"), default="dwmesh", help="whose kernels (dwmesh)")
    parser.add_argument("--data", type=Path, help="folder of scenes with truth, for --method quads")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        serve()
        return 0
    try:
        width, height = (int(side) for side in arguments.size.lower().split("x"))
    except ValueError:
        parser.error(f"--size {arguments.size}: give WIDTHxHEIGHT, like 832x480")
    if min(width, height) < 2 or arguments.frames < 1:
        parser.error("give a size of at least 2x2, and at least one frame")
    if arguments.scaling:
        rows = scaling(arguments.frames)
        print(json.dumps(rows, indent=1) if arguments.json else _lines(rows))
        return 0
    if arguments.method == "quads":
        if not arguments.data:
            parser.error("--method quads: name scenes to render, --data FOLDER (`ex4d evaluate` reads the same)")
        from ex4d_core.errors import InputError

        try:
            found = quads(arguments.data, arguments.frames)
        except InputError as error:
            parser.error(str(error))
        print(json.dumps(found, indent=1) if arguments.json else quads_table(found))
        return 0
    if arguments.data:
        parser.error("--data goes with --method quads")
    with tempfile.TemporaryDirectory() as folder:
        against = Path(folder) if arguments.against else None
        if against:
            archive = subprocess.run(
                ["git", "-C", str(ROOT), "archive", arguments.against, "ex4d_core"], capture_output=True
            )
            if archive.returncode:
                parser.error(f"--against {arguments.against}: {archive.stderr.decode().strip()}")
            subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        report = compare((width, height), arguments.frames, against)
    print(json.dumps(report, indent=1) if arguments.json else table(report))
    return 0


def _lines(rows: list[dict[str, Any]]) -> str:
    names = list(rows[0])
    lines = ["".join(f"{name:>20}" for name in names)]
    for row in rows:
        lines.append("".join(f"{row[n]:>20}" if isinstance(row[n], str) else f"{row[n]:20.1f}" for n in names))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Measure where the time goes between a scene on disk and its lossless colour and mask videos.

For each scene, in turn and several times: the whole (`render_shot`: PNG and EXR decoded, meshed, rasterized, shaded,
two videos encoded, all overlapped) and the method alone (`render` with the same threads, the frames already in
memory). Their ratio is what the files cost; both share whatever else the machine does. Then every stage alone, one
frame after the other in one thread, by the CPU time of the whole process.

    python scripts/bench_pipeline.py                            the bundled sample, at 512x512
    python scripts/bench_pipeline.py room.ex4d vase.ex4d        scenes that were imported, at their size
    python scripts/bench_pipeline.py --method reference --passes depth,risk --json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from environment import in_environment

in_environment()

import numpy as np
from numpy.typing import NDArray

from ex4d_core import sample
from ex4d_core.camera import Trajectory
from ex4d_core.commands.shot import split_passes
from ex4d_core.frame import RenderedFrame
from ex4d_core.ingest import import_scene
from ex4d_core.methods import DEFAULT_METHOD, METHODS
from ex4d_core.presets import Move, preset
from ex4d_core.raster import warm_up
from ex4d_core.rendering import render, render_shot
from ex4d_core.scene import Scene
from ex4d_core.shot_files import FrameFiles
from ex4d_core.video_out import write_lossless

MOVE = Move("orbit", yaw=30)


@dataclass(frozen=True, eq=False)
class InMemory(Scene):
    """A scene whose frames were read before."""

    colors: tuple[NDArray[np.uint8], ...] = ()
    depths: tuple[NDArray[np.float32], ...] = ()

    @classmethod
    def of(cls, scene: Scene, frames: int) -> InMemory:
        """The first frames of a scene."""
        colors, depths = tuple(map(scene.color, range(frames))), tuple(map(scene.depth, range(frames)))
        return cls(scene.path, scene.document, scene.intrinsics_all, scene.source_c2w, colors, depths)

    def color(self, frame: int) -> NDArray[np.uint8]:
        return self.colors[frame]

    def depth(self, frame: int) -> NDArray[np.float32]:
        return self.depths[frame]


@dataclass(frozen=True)
class Job:
    """What is measured."""

    scene: Scene
    trajectory: Trajectory
    method: str
    passes: tuple[str, ...]
    workers: int

    def whole(self, out: Path) -> None:
        """From disk to disk."""
        render_shot(self.scene, self.trajectory, out, overwrite=True, workers=self.workers, **self._options())

    def alone(self, scene: InMemory) -> None:
        """The method, from memory to nowhere."""
        for _ in render(scene, self.trajectory, workers=self.workers, **self._options()):
            pass

    def frames(self, scene: InMemory) -> Iterable[RenderedFrame]:
        """One frame after the other, with the method's own work done when asked for."""
        for index in range(len(self.trajectory)):
            one = replace(
                self.trajectory,
                c2w=self.trajectory.c2w[[index]],
                intrinsics=self.trajectory.intrinsics[[index]],
                source_time=self.trajectory.source_time[[index]],
            )
            yield from render(scene, one, workers=1, **self._options())

    def _options(self) -> dict[str, Any]:
        return {"method": self.method, "passes": self.passes, "background": False, "allow_unseen": True}


def clocked(call: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU milliseconds, of all threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3


def stages(job: Job, memory: InMemory, folder: Path) -> dict[str, float]:
    """CPU milliseconds of each stage for a frame, each alone."""
    count = len(job.trajectory)
    sources = [job.trajectory.source_frame(index, job.scene.frames) for index in range(count)]
    rendered: list[RenderedFrame] = []
    found = {
        "read colour": clocked(lambda: [job.scene.color(source) for source in sources])[1],
        "read depth": clocked(lambda: [job.scene.depth(source) for source in sources])[1],
        "method": clocked(lambda: rendered.extend(job.frames(memory)))[1],
    }
    encoding = job.scene.document.depth.encoding
    for name in job.passes:
        found[f"encode {name}"] = clocked(lambda n=name: [FrameFiles.of(f, (n,), encoding) for f in rendered])[1]
    for name in ("color", "mask"):
        pictures = (getattr(frame, name) for frame in rendered)
        write = partial(write_lossless, folder / f"{name}.mp4", pictures, job.trajectory.fps)
        found[f"encode {name}"] = clocked(write)[1]
    return {name: spent / count for name, spent in found.items()}


def measure(job: Job, repeats: int) -> dict[str, Any]:
    """All numbers of one scene."""
    count = len(job.trajectory)
    memory = InMemory.of(job.scene, job.scene.frames)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job.whole(folder / "shot")  # the file cache, pools, compiled kernels
        pairs: list[tuple[tuple[float, float], tuple[float, float]]] = []
        for _ in range(repeats):
            pairs.append((clocked(lambda: job.alone(memory)), clocked(lambda: job.whole(folder / "shot"))))
        each = [stages(job, memory, folder) for _ in range(repeats)]
    walls, cpus = ([(method[i] / count, whole[i] / count) for method, whole in pairs] for i in (0, 1))
    return {
        "scene": job.scene.path.name,
        "size": [job.trajectory.width, job.trajectory.height],
        "frames": count,
        "method": job.method,
        "passes": list(job.passes),
        "threads": job.workers,
        "cores": os.cpu_count(),
        "stages_cpu_ms": {name: statistics.median(one[name] for one in each) for name in each[0]},
        "method_cpu_ms": statistics.median(a for a, _ in cpus),
        "whole_cpu_ms": statistics.median(b for _, b in cpus),
        "method_wall_ms": statistics.median(a for a, _ in walls),
        "whole_wall_ms": statistics.median(b for _, b in walls),
        "ratio_cpu": statistics.median(b / a for a, b in cpus),
        "ratio_wall": statistics.median(b / a for a, b in walls),
        "overlap": statistics.median(cpu / wall for (_, cpu), (_, wall) in zip(cpus, walls, strict=True)),
    }


def table(report: dict[str, Any]) -> str:
    """The numbers of one scene for people."""
    width, height = report["size"]
    lines = [
        f"{report['scene']}: {width}x{height}, {report['frames']} frames, {report['method']}, "
        f"{report['threads']} rendering threads on {report['cores']} cores",
        "CPU ms a frame, each stage alone:",
        *(f"  {name:16}{spent:8.1f}" for name, spent in report["stages_cpu_ms"].items()),
        f"{'ms a frame':18}{'CPU':>8}{'wall':>8}",
        *(f"  {n:16}{report[f'{n}_cpu_ms']:8.1f}{report[f'{n}_wall_ms']:8.1f}" for n in ("method", "whole")),
        f"  {'ratio':16}{report['ratio_cpu']:8.2f}{report['ratio_wall']:8.2f}   (medians of pairs)",
        f"the whole kept {report['overlap']:.2f} cores busy",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scenes", nargs="*", type=Path, metavar="NAME.ex4d", help="imported scenes (the sample)")
    parser.add_argument("--method", choices=METHODS, default=DEFAULT_METHOD, help=f"kind of mesh ({DEFAULT_METHOD})")
    parser.add_argument("--passes", default="", help="passes to write, as in `ex4d render`")
    parser.add_argument("--frames", type=int, default=49, help="frames of the shot (49)")
    parser.add_argument("--threads", type=int, default=min(4, os.cpu_count() or 1), help="rendering threads")
    parser.add_argument("--repeats", type=int, default=5, help="pairs of runs (5)")
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    arguments = parser.parse_args()
    if min(arguments.frames, arguments.threads, arguments.repeats) < 1:
        parser.error("give at least one frame, thread and pair of runs")
    warm_up()
    with tempfile.TemporaryDirectory() as name:
        scenes = [Scene.open(path) for path in arguments.scenes]
        radius = None
        if not scenes:
            options = sample.import_options()
            scenes = [import_scene(sample.clip_path(), Path(name) / "sample.ex4d", size=(512, 512), **options)]
            radius = sample.facts().orbit_radius
        reports: list[dict[str, Any]] = []
        for scene in scenes:
            path = preset(scene, MOVE, radius=radius, frames=arguments.frames)
            job = Job(scene, path, arguments.method, split_passes(arguments.passes), arguments.threads)
            reports.append(measure(job, arguments.repeats))
            if not arguments.json:
                print(table(reports[-1]), flush=True)
    if arguments.json:
        print(json.dumps(reports, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())

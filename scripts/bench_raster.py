#!/usr/bin/env python3
"""Compare rasterizers frame by frame: this project's backends, and OpenGL (moderngl on Mesa llvmpipe through EGL).

All draw the same meshes, a new one each frame, from the same cameras: the reference's path "180" in a scene of
moving spheres, a pole and a floor before a wavy background, with the border and the closing fan of a DW-Mesh. A
backend returns face id, barycentrics, depth, facing (the table's `seen`) and, blended on the CPU, colour; OpenGL float
RGBA, face id and depth. The frames are done in turn (one, other, one, ...), so that a busy machine slows all.

Each backend is held against the NumPy reference in windows of several frames: coverage, IoU of the masks (at least
0.9995) and depth. The exit code is 1 if one falls short.

    python scripts/bench_raster.py                  numba and OpenGL, 512x512, 49 frames
    python scripts/bench_raster.py --backend all    and whatever else this machine can run
    python scripts/bench_raster.py --backend numba,torch --size 832x480 --frames 15 --json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from environment import in_environment

in_environment("dev")

import numpy as np
from benchmark.opengl import OpenGL
from benchmark.raster_judge import Window, compare, window
from benchmark.raster_scene import Frame, make_frame
from numpy.typing import NDArray

from ex4d_core.errors import Ex4dError
from ex4d_core.raster import BACKENDS, Raster, interpolate, rasterize, warm_up

OPENGL = "moderngl"
OURS = tuple(name for name in BACKENDS if name != "numpy")  # numpy is the judge

Drawing = tuple[Raster | None, NDArray[np.int32], NDArray[np.float32], float]
"""Visibility (None: OpenGL's), face id, RGBA, wall milliseconds until the visibility was there."""

Draw = Callable[[Frame], Drawing]


def with_backend(name: str, threads: int) -> Draw:
    """Draw with a backend of ours.

    Raises:
        Ex4dError: this machine cannot.
    """

    def draw(frame: Frame) -> Drawing:
        started = time.perf_counter()
        raster = rasterize(frame.vertices, frame.faces, frame.camera, grid=frame.grid, threads=threads, backend=name)
        seen = (time.perf_counter() - started) * 1e3
        return (
            raster,
            raster.face_id,
            interpolate(raster, frame.faces, frame.rgba, grid=frame.grid, threads=threads),
            seen,
        )

    draw(make_frame(8, 8, 0, 1))
    return draw


def with_opengl(width: int, height: int, first: Frame) -> Draw:
    """Draw with OpenGL.

    Raises:
        RuntimeError: this machine cannot.
    """
    context = OpenGL(width, height, first)

    def draw(frame: Frame) -> Drawing:
        started = time.perf_counter()
        face, rgba, _ = context.draw(frame)
        return None, face, rgba, (time.perf_counter() - started) * 1e3

    return draw


def candidates(names: list[str], first: Frame, threads: int) -> tuple[dict[str, Draw], dict[str, str]]:
    """Those that this machine can run, and why it cannot run the others."""
    height, width = first.grid
    able: dict[str, Draw] = {}
    skipped: dict[str, str] = {}
    for name in names:
        try:
            able[name] = with_opengl(width, height, first) if name == OPENGL else with_backend(name, threads)
        except (Ex4dError, RuntimeError) as error:
            skipped[name] = str(error)
    return able, skipped


def run(width: int, height: int, frames: int, threads: int, names: list[str], judged: int) -> dict[str, Any]:
    """All measurements."""
    warm_up()
    able, skipped = candidates(names, make_frame(width, height, 0, frames), threads)
    times: dict[str, list[tuple[float, float, float]]] = {name: [] for name in able}
    rasters: dict[str, list[Raster]] = {name: [] for name in able}
    same_face: list[float] = []
    colour: list[float] = []
    windows: list[Window] = []
    every = max((frames - 1) // max(judged, 1), 1)
    for index in range(frames):
        frame = make_frame(width, height, index, frames)
        # Not the first: from the source's own camera each pixel's centre lies on a diagonal of the grid, a tie.
        judge = index > 0 and index % every == every // 2 and len(windows) < judged
        if judge:
            windows.append(window(frame, index))
        drawn: dict[str, Drawing] = {}
        for name, draw in able.items():
            wall, cpu = time.perf_counter(), time.process_time()
            drawn[name] = draw(frame)
            times[name].append(((time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3, drawn[name][3]))
            raster = drawn[name][0]
            if judge and raster:
                rasters[name].append(raster)
        if OPENGL in drawn and len(drawn) > 1:
            first = next(drawing for name, drawing in drawn.items() if name != OPENGL)
            same_face.append(float((first[1] == drawn[OPENGL][1]).mean()))
            colour.append(float(np.abs(first[2] - drawn[OPENGL][2]).mean()))
    agreements = {name: compare(found, windows) for name, found in rasters.items() if found}
    report: dict[str, Any] = {
        "size": [width, height],
        "frames": frames,
        "faces": len(make_frame(width, height, 0, frames).faces),
        "threads": threads,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "skipped": skipped,
        "backends": {name: _medians(rows, next(iter(times.values()))) for name, rows in times.items()},
        "agreement": {name: asdict(found) for name, found in agreements.items()},
        "failures": {name: found.failures() for name, found in agreements.items() if found.failures()},
    }
    if same_face:
        report["opengl"] = {"same_face": statistics.median(same_face), "mean_colour_difference": max(colour)}
    return report


def _medians(rows: list[tuple[float, float, float]], base: list[tuple[float, float, float]]) -> dict[str, float]:
    pairs = list(zip(rows, base, strict=True))
    return {
        "wall_ms": statistics.median(row[0] for row in rows),
        "cpu_ms": statistics.median(row[1] for row in rows),
        "seen_wall_ms": statistics.median(row[2] for row in rows),
        "least_wall_ms": min(row[0] for row in rows),
        "wall_ratio": statistics.median(row[0] / first[0] for row, first in pairs),
        "cpu_ratio": statistics.median(row[1] / first[1] for row, first in pairs),
    }


def table(report: dict[str, Any]) -> str:
    """The report for people."""
    width, height = report["size"]
    lines = [
        f"{width}x{height}, {report['faces']} faces, {report['frames']} frames, medians in ms, "
        f"{report['threads']} thread(s), {report['machine']}",
        f"{'':12}{'CPU':>9}{'wall':>9}{'seen':>9}{'least wall':>12}{'CPU ratio':>11}{'wall ratio':>12}",
    ]
    lines += [
        f"{name:12}{row['cpu_ms']:9.1f}{row['wall_ms']:9.1f}{row['seen_wall_ms']:9.1f}{row['least_wall_ms']:12.1f}"
        f"{row['cpu_ratio']:10.2f}x{row['wall_ratio']:11.2f}x"
        for name, row in report["backends"].items()
    ]
    for name, found in report["agreement"].items():
        verdict = f"TOO FAR: {'; '.join(report['failures'][name])}" if name in report["failures"] else "agrees"
        lines.append(
            f"{name} {verdict}, with the NumPy reference in {found['pixels']} pixels: coverage differs in "
            f"{found['mismatch']:.6f}, IoU of masks {found['iou']:.6f}, same face {found['same_face']:.5f}, depth "
            f"within {found['depth']:.1e}"
        )
    if "opengl" in report:
        found = report["opengl"]
        lines.append(
            f"{OPENGL}: the same face as the first in {found['same_face']:.4f} of the pixels, greatest mean difference "
            f"of colour {found['mean_colour_difference']:.5f} of 1"
        )
    return "\n".join([*lines, *(f"{name} is left out: {reason}" for name, reason in report["skipped"].items())])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    known = (*OURS, OPENGL)
    parser.add_argument(
        "--backend", default=f"numba,{OPENGL}", help=f"'all', or of {', '.join(known)}, with commas (numba,{OPENGL})"
    )
    parser.add_argument("--size", default="512x512", help="image and grid size, WxH (512x512)")
    parser.add_argument("--frames", type=int, default=49, help="how many frames (49)")
    parser.add_argument("--judged", type=int, default=6, help="frames of which a window is held against NumPy (6)")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count() or 1, help="threads for numba (all cores, as llvmpipe takes)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    names = list(known) if arguments.backend == "all" else arguments.backend.split(",")
    if unknown := [name for name in names if name not in known]:
        parser.error(f"--backend {','.join(unknown)}: there are {', '.join(known)}, and all")
    try:
        width, height = (int(side) for side in arguments.size.lower().split("x"))
    except ValueError:
        parser.error(f"--size {arguments.size}: give WIDTHxHEIGHT, like 832x480")
    if min(width, height) < 2 or arguments.frames < 1 or arguments.threads < 1 or arguments.judged < 0:
        parser.error("give a size of at least 2x2, at least one frame and one thread, and no negative number")
    report = run(width, height, arguments.frames, arguments.threads, names, arguments.judged)
    print(json.dumps(report, indent=1) if arguments.json else table(report))
    return 1 if report["failures"] or not report["backends"] else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Make rendered ground truth: four dynamic scenes, each from a camera that stands and from one that moves.

    python scripts/make_benchmark.py OUT --blender PATH [--size 320] [--frames 49] [--scene NAME ...] [--fast]
    python scripts/make_benchmark.py OUT --blender PATH --source static --moves presets --frames 5 --burst 0

PATH is a Blender, or a Python that has the `bpy` wheel. Scenes: fence (railing, wire mesh, cables, a bicycle whose
wheel turns), person (walks and waves, with loose hair), foliage (tree, bushes and grass in the wind), street (deep,
with a car that passes and someone who crosses). Nothing is downloaded. Blender renders the colours (Cycles, CPU), a
file for each frame, and goes on where it was stopped; depth, what moves and what is visible come from rays against
the same triangles (Embree). The format is described in docs/depth/evaluation.md.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from environment import in_environment

in_environment("dev")

from benchmark.scene import FOCAL
from benchmark.truth import SOURCES, Plan, write_truth

from ex4d_core.errors import Ex4dError

INTERRUPTED = 130
SCENES = ("fence", "person", "foliage", "street")


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and make what is not there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--blender", default="blender", help="a Blender, or a Python with bpy")
    parser.add_argument("--scene", action="append", choices=SCENES, help="only this one; may be repeated")
    parser.add_argument("--size", type=int, default=320, help="width and height, pixels")
    parser.add_argument("--frames", type=int, default=49)
    parser.add_argument("--samples", type=int, default=5, help="of Cycles, a pixel")
    parser.add_argument("--focal-mm", type=float, default=36 * FOCAL, help="lens of all cameras, on 36 mm of width")
    parser.add_argument("--source", action="append", choices=SOURCES, help="only this source camera")
    parser.add_argument(
        "--moves", choices=("orbit", "presets"), default="orbit",
        help="target cameras go round to 30, 60, 90 degrees, or as the presets 30, 60, 90, 180 of ex4d camera",
    )  # fmt: skip
    parser.add_argument(
        "--way", type=float, default=1.0,
        help="share of these degrees that an orbit goes: with a long lens little of what was seen stays in the picture",
    )  # fmt: skip
    parser.add_argument("--keys", type=int, default=4, help="how many frames have the targets' truth")
    parser.add_argument("--burst", type=int, default=5, help="how many consecutive frames have masks, for flicker")
    parser.add_argument("--fast", action="store_true", help="96 pixels, 9 frames, 2 samples: to try it out")
    options = parser.parse_args(arguments)
    size, frames, samples = (96, 9, 2) if options.fast else (options.size, options.frames, options.samples)
    if size < 16 or frames < 2 or samples < 1:
        parser.error("give a --size of 16 or more, --frames of 2 or more and --samples of 1 or more")
    if not 0 < options.way <= 1 or (options.way < 1 and options.moves == "presets"):
        parser.error("give a --way over 0 and up to 1, of an orbit")
    if not 1 <= options.focal_mm <= 1000 or options.keys < 1 or options.burst < 0:
        parser.error("give a --focal-mm of 1 to 1000, --keys of 1 or more and --burst of 0 or more")
    try:
        for name in options.scene or SCENES:
            scene = importlib.import_module(f"benchmark.{name}").scene()
            sources = tuple(dict.fromkeys(options.source or SOURCES))
            focal, moves, way = options.focal_mm / 36, options.moves, options.way
            plan = Plan(name, scene, size, frames, focal, moves, way, sources, options.keys, options.burst)
            make(plan, options.out, options.blender, samples)
    except KeyboardInterrupt:
        print("make_benchmark: Interrupted: run the same command again to go on.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except OSError as error:
        sys.exit(f"make_benchmark: cannot write {error.filename or options.out} ({error.strerror}): give another OUT.")
    except Ex4dError as error:
        sys.exit(f"make_benchmark: {error}")


def make(plan: Plan, out: Path, blender: str, samples: int) -> None:
    """One scene: its colours, then its truth."""
    started = time.perf_counter()
    default = (plan.moves, plan.focal, plan.way) == ("orbit", FOCAL, 1)
    kind = "" if default else f"-{plan.moves}-{36 * plan.focal:g}mm-{plan.way:g}"
    work = out / ".work" / f"{plan.name}-{plan.size}-{plan.frames}-{samples}{kind}"
    work.mkdir(parents=True, exist_ok=True)
    render(blender, plan, work, samples)
    colored = time.perf_counter()
    write_truth(plan, work, out)
    print(f"{plan.name}: colours {colored - started:.0f} s, truth {time.perf_counter() - colored:.0f} s", flush=True)


def render(blender: str, plan: Plan, work: Path, samples: int) -> None:
    """The colours of all views that are not there yet."""
    job, log = work / "job.json", work / "blender.log"
    views = plan.views(work.resolve())
    wanted = {"scene": plan.name, "size": plan.size, "focal": plan.focal, "samples": samples, "views": views}
    job.write_text(json.dumps(wanted))
    script = str(Path(__file__).resolve().parent / "benchmark" / "colors.py")
    of_python = Path(blender).name.startswith("python")
    command = [blender, script, str(job)] if of_python else [blender, "-b", "-noaudio", "-P", script, "--", str(job)]
    with log.open("w") as stream:
        try:
            code = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode
        except OSError as error:
            sys.exit(f"make_benchmark: cannot start {blender} ({error.strerror}): give --blender PATH.")
    lacking = [view["file"] for view in views if not os.path.exists(str(view["file"]))]
    if code or lacking:
        sys.exit(f"make_benchmark: Blender left {len(lacking)} pictures of {plan.name} undone: see {log}.")


if __name__ == "__main__":
    main()

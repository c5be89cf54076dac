"""Measure `stabilise` against rendered truth whose depth was corrupted in known ways.

    python scripts/bench_steady.py TRUTH ... [--size 256] [--fault NAME ...] [--json]

TRUTH holds scenes as `ex4d evaluate` takes them. Each fault is put onto the true disparity, once a frame, and
taken out again by `stabilise`. AbsRel, boundary F1 and flicker are those of `ex4d_core.evaluation.scores`, after one
alignment of disparity by scale and shift for the clip.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from environment import in_environment

in_environment()

import cv2
import numpy as np

from ex4d_core.depth.frame_store import FrameStore
from ex4d_core.depth.stabilise import stabilise
from ex4d_core.errors import Ex4dError
from ex4d_core.evaluation import scores
from ex4d_core.evaluation.truth import Truth, find_truths, open_truth

Rng = np.random.Generator
Floats = np.ndarray


def gauge(d: Floats, t: int, rng: Rng) -> Floats:
    """Scale and shift of its own: 20 % and 15 % of the range."""
    return d * np.float32(np.exp(rng.normal(0, 0.2))) + np.float32(rng.normal(0, 0.15) * np.ptp(d))


def wobble(d: Floats, t: int, rng: Rng) -> Floats:
    """A smooth bulge of its own, 5 % of the range."""
    bumps = rng.normal(0, 0.05, (4, 4)).astype(np.float32)
    return d + cv2.resize(bumps, d.shape[::-1], interpolation=cv2.INTER_CUBIC) * np.ptp(d)


def noise(d: Floats, t: int, rng: Rng) -> Floats:
    """Noise of each pixel, 3 % of the range."""
    return d + rng.normal(0, 0.03 * np.ptp(d), d.shape).astype(np.float32)


def bleeding(d: Floats, t: int, rng: Rng) -> Floats:
    """Edges smeared by another width in each frame, up to 1 % of the side."""
    return cv2.GaussianBlur(d, (0, 0), 0.3 + rng.uniform(0, 0.007) * max(d.shape))


def broken(d: Floats, t: int, rng: Rng) -> Floats:
    """Every eleventh frame is nonsense."""
    if t % 11 != 5:
        return d
    bumps = rng.uniform(0, 1, (6, 6)).astype(np.float32)
    return cv2.resize(bumps, d.shape[::-1], interpolation=cv2.INTER_CUBIC)


def everything(d: Floats, t: int, rng: Rng) -> Floats:
    """All of them."""
    return broken(gauge(noise(wobble(bleeding(d, t, rng), t, rng), t, rng), t, rng), t, rng)


def nothing(d: Floats, t: int, rng: Rng) -> Floats:
    """The truth as it is."""
    return d


FAULTS: dict[str, Callable[[Floats, int, Rng], Floats]] = {
    f.__name__: f for f in (nothing, gauge, wobble, noise, bleeding, broken, everything)
}


def judge(disparity: Sequence[Floats], truth: Truth, frames: int) -> dict[str, float]:
    """AbsRel, boundary F1 and flicker of a clip, aligned as a whole."""
    true = [truth.disparity(t) for t in range(frames)]
    put = scores.align(zip(disparity, true, strict=False))
    depths = [(1 / put(d)).astype(np.float32) for d in (disparity[t] for t in range(frames))]
    flicker = [
        scores.temporal_error(
            (depths[t], depths[t + 1]),
            (truth.depth(t), truth.depth(t + 1)),
            ~truth.dynamic(t),
            truth.lens,
            np.linalg.inv(truth.source_c2w[t + 1]) @ truth.source_c2w[t],
        )
        for t in range(frames - 1)
    ]
    return {
        "abs_rel": float(np.mean([scores.abs_rel(d, truth.depth(t)) for t, d in enumerate(depths)])),
        "boundary_f1": float(np.mean([scores.boundary_f1(depths[t], truth.depth(t)) for t in range(1, frames, 4)])),
        "flicker": float(np.nanmean(flicker)),
    }


def measure(truth: Truth, name: str, frames: int) -> dict[str, object]:
    """Before and after, of one fault."""
    rng = np.random.default_rng(1)
    raw = [FAULTS[name](truth.disparity(t), t, rng) for t in range(frames)]
    store = FrameStore(None, "steady", frames)
    started = time.perf_counter()
    stabilise(raw, truth.colors[:frames], store)
    seconds = (time.perf_counter() - started) / frames
    return {
        "scene": truth.name,
        "fault": name,
        "before": judge(raw, truth, frames),
        "after": judge(store, truth, frames),
        "seconds_per_frame": seconds,
    }


def main() -> None:
    """Parse the command line and print one line per scene and fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", type=Path, nargs="+")
    parser.add_argument("--frames", type=int, help="take only the first frames")
    parser.add_argument("--size", type=int, help="longer side in pixels; default: as stored")
    parser.add_argument("--fault", action="append", choices=list(FAULTS), help="only this; may be repeated")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    found = []
    if not arguments.json:
        print("scene      fault         AbsRel           boundary F1      flicker                   s/frame")
    for folder in find_truths(tuple(arguments.truth)):
        truth = open_truth(folder)
        if arguments.size:
            scale = arguments.size / max(truth.lens.width, truth.lens.height)
            truth = open_truth(folder, (round(truth.lens.width * scale), round(truth.lens.height * scale)))
        for name in arguments.fault or FAULTS:
            result = measure(truth, name, min(arguments.frames or truth.frames, truth.frames))
            found.append(result)
            if not arguments.json:
                b, a = result["before"], result["after"]
                print(
                    f"{result['scene']:10} {name:11} {b['abs_rel']:.3f} -> {a['abs_rel']:.3f}   "
                    f"{b['boundary_f1']:.3f} -> {a['boundary_f1']:.3f}   {b['flicker']:.4f} -> {a['flicker']:.4f} "
                    f"({b['flicker'] / max(a['flicker'], 1e-9):5.1f}x)   {result['seconds_per_frame']:.2f}",
                    flush=True,
                )
    if arguments.json:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    try:
        main()
    except Ex4dError as error:
        sys.exit(f"bench_steady: {error}")

#!/usr/bin/env python3
"""Score the persistent background against rendered ground truth with true depth.

    python scripts/bench_background.py TRUTH...

TRUTH holds scenes as scripts/make_benchmark.py makes them (docs/depth/evaluation.md). For each path, over its key
frames:

  unseen    share of pixels never seen, without the background -> with it
  removed   share of the never-seen pixels that it shows; possible: that rested and were seen at any time
  right     share of what it shows that stands where the truth does, within 5 % of depth
  psnr      dB of its colour, over all it shows; seen: of what the frame itself saw
  ms        CPU time of a frame, without -> with
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

from environment import in_environment

in_environment()

import numpy as np
from numpy.typing import NDArray

from ex4d_core.background import make_background
from ex4d_core.camera import Trajectory
from ex4d_core.errors import Ex4dError
from ex4d_core.evaluation.truth import Truth, find_truths, open_truth
from ex4d_core.progress import never_cancelled, silent
from ex4d_core.rendering import render
from ex4d_core.scene import Scene, write_document, write_scene

_SAME_SURFACE = 0.02


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truths", nargs="+", type=Path, metavar="TRUTH")
    options = parser.parse_args()
    try:
        for folder in find_truths(tuple(options.truths)):
            with tempfile.TemporaryDirectory() as work:
                score_scene(open_truth(folder), Path(work))
    except Ex4dError as error:
        sys.exit(f"bench_background: {error}")


def score_scene(truth: Truth, work: Path) -> None:
    """Make a scene with its background, render and score its paths."""
    poses = np.linalg.inv(truth.source_c2w[0]) @ truth.source_c2w
    moves = not np.allclose(poses, np.eye(4), atol=1e-6)
    depth = np.stack([truth.depth(t) for t in range(truth.frames)])
    scene = write_scene(
        work / "truth.ex4d",
        truth.colors,
        depth,
        fps=Fraction(24),
        intrinsics=truth.lens,
        source_c2w=poses if moves else None,
    )
    started, facts = time.process_time(), scene.document.depth
    made = make_background(
        scene.path, facts, truth.colors, scene.depth, [truth.lens] * truth.frames, scene.source_c2w, (), "", silent,
        never_cancelled,
    )  # fmt: skip
    seconds = time.process_time() - started
    write_document(scene.path, scene.document.model_copy(update={"background": made}))
    scene = Scene.open(scene.path)
    size = f"{truth.lens.width}x{truth.lens.height}"
    print(f"{truth.name}: {truth.frames} frames {size}, {len(made.layers)} layers in {seconds:.1f} s {made.note}")
    for path in truth.paths:
        score_path(truth, scene, path, poses, depth)


def score_path(truth: Truth, scene: Scene, path: str, poses: NDArray[np.float64], depth: NDArray[np.float32]) -> None:
    """Print a row."""
    keys, lens = truth.key_frames, truth.lens
    to = np.stack([poses[t] @ np.linalg.inv(truth.target_from_source[path][t]) for t in keys])
    lenses = np.tile(lens.as_tuple(), (len(keys), 1))
    trajectory = Trajectory(to, lenses, np.array(keys, np.float64), lens.width, lens.height, Fraction(24))
    rendered, cost = {}, {}
    for on in (False, True):
        list(render(scene, trajectory, background=on, allow_unseen=True, workers=1))  # compiles, warms up
        started = time.process_time()
        rendered[on] = list(render(scene, trajectory, background=on, allow_unseen=True, workers=1))
        cost[on] = (time.process_time() - started) / len(keys) * 1000
    colors = truth.target_colors(path)
    shown, possible, unseen, right = 0, 0, 0, 0
    errors: list[NDArray[np.float64]] = []
    own: list[NDArray[np.float64]] = []
    for index, t in enumerate(keys):
        alone, frame = rendered[False][index], rendered[True][index]
        z = 1 / truth.target_disparity(path, t)
        ever = rested(truth, to[index], z, poses, depth) & ~truth.target_visible(path, t)
        new = frame.seen_elsewhere
        squares = ((frame.color.astype(np.float64) - colors[index]) ** 2).mean(axis=-1)
        errors.append(squares[new])
        own.append(squares[alone.mask])
        shown, unseen = shown + new.sum(), unseen + (~alone.mask).sum()
        possible += (ever & ~alone.mask).sum()
        right += (np.abs(frame.depth / z - 1) < 0.05)[new].sum()
    pixels = lens.width * lens.height * len(keys)
    psnr, seen = (10 * np.log10(255**2 / np.concatenate(e).mean()) if shown else np.nan for e in (errors, own))
    print(
        f"  {path:9s} unseen {unseen / pixels:.3f} -> {(unseen - shown) / pixels:.3f}  removed {shown / unseen:6.1%} "
        f"(possible {possible / unseen:6.1%})  right {right / max(shown, 1):.3f}  psnr {psnr:.1f} (seen {seen:.1f})  "
        f"ms {cost[False]:.0f} -> {cost[True]:.0f}",
        flush=True,
    )


def rested(
    truth: Truth,
    target: NDArray[np.float64],
    z: NDArray[np.floating],
    poses: NDArray[np.float64],
    depth: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """(h, w) bool: whose surface the source saw at rest, at any of every second frame."""
    lens = truth.lens
    y, x = np.mgrid[: lens.height, : lens.width] + 0.5
    rays = np.stack([(x - lens.cx) / lens.fx, (y - lens.cy) / lens.fy, np.ones_like(x)], axis=-1)
    points = (rays * z[..., None]) @ target[:3, :3].T + target[:3, 3]
    found = np.zeros(z.shape, np.bool_)
    for t in range(0, truth.frames, 2):
        view = np.linalg.inv(poses[t])
        local = points @ view[:3, :3].T + view[:3, 3]
        ahead = np.maximum(local[..., 2], 1e-6)
        column = np.floor(local[..., 0] / ahead * lens.fx + lens.cx)
        row = np.floor(local[..., 1] / ahead * lens.fy + lens.cy)
        inside = (local[..., 2] > 0) & (column >= 0) & (row >= 0) & (column < lens.width) & (row < lens.height)
        at = np.where(inside, row, 0).astype(np.intp), np.where(inside, column, 0).astype(np.intp)
        found |= inside & (np.abs(depth[t][at] / ahead - 1) < _SAME_SURFACE) & ~truth.dynamic(t)[at]
    return found


if __name__ == "__main__":
    main()

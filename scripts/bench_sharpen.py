"""Measure what `sharpen` does to the mask of rendered truth: for true depth, for smeared depth, for `embedded`'s.

    python scripts/bench_sharpen.py TRUTH ... [--size 512] [--path 30 --path 60] [--embedded]

TRUTH holds scenes as `ex4d evaluate` takes them. For three key frames, the depth before and after `sharpen` is meshed
and rendered from each path's camera; printed are the mean F1 of the mask against true visibility, boundary F1 and
AbsRel. Smeared depth is true disparity blurred by that share of the side. `embedded` is aligned once for the clip.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from environment import in_environment

in_environment()

import cv2
import numpy as np

from ex4d_core.camera import Camera
from ex4d_core.depth.embedded import estimate_depth
from ex4d_core.depth.sharpen import sharpen
from ex4d_core.errors import Ex4dError
from ex4d_core.evaluation import scores
from ex4d_core.evaluation.truth import Truth, find_truths, open_truth
from ex4d_core.frame import render_frame
from ex4d_core.mesh import build_mesh

Floats = np.ndarray
SMEARS = (0.0, 0.003, 0.006)
"""Shares of the longer side."""


def judge(disparity: Floats, truth: Truth, frame: int, paths: Sequence[str]) -> tuple[float, float, float]:
    """Mask F1 (mean over the paths), boundary F1 and AbsRel of one frame."""
    depth = (1 / disparity).astype(np.float32)
    mesh, found = build_mesh(depth, truth.lens), []
    for path in paths:
        camera = Camera(np.linalg.inv(truth.target_from_source[path][frame]), truth.lens)
        mask = render_frame(truth.colors[frame], mesh, camera).mask
        found.append(scores.mask_scores(mask, truth.target_visible(path, frame))["f1"])
    true = truth.depth(frame)
    return float(np.mean(found)), scores.boundary_f1(depth, true), scores.abs_rel(depth, true)


def measure(truth: Truth, name: str, given: Callable[[int], Floats], paths: Sequence[str]) -> None:
    """Print a row."""
    before, after = [], []
    for frame in truth.key_frames[1:8:3]:
        disparity = given(frame)
        before.append(judge(disparity, truth, frame, paths))
        after.append(judge(sharpen(disparity, truth.colors[frame]), truth, frame, paths))
    pairs = zip(("mask F1", "boundary F1", "AbsRel"), np.mean(before, 0), np.mean(after, 0), strict=True)
    print(f"{truth.name:16} {name:12}", *(f"{what} {a:.4f} -> {b:.4f}  " for what, a, b in pairs), flush=True)


def smeared(truth: Truth, share: float) -> Callable[[int], Floats]:
    """True disparity, blurred."""

    def given(frame: int) -> Floats:
        disparity = truth.disparity(frame)
        return cv2.GaussianBlur(disparity, (0, 0), share * max(disparity.shape)) if share else disparity

    return given


def embedded(truth: Truth) -> Callable[[int], Floats]:
    """What `embedded` finds, aligned by one scale and shift."""
    found = estimate_depth(truth.colors, truth.lens).disparity
    put = scores.align((found[t], truth.disparity(t)) for t in range(truth.frames))
    return lambda frame: put(found[frame])


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truths", nargs="+", type=Path)
    parser.add_argument("--size", type=int, default=512, help="longer side, pixels (default: 512)")
    parser.add_argument("--path", action="append", help="which target cameras (default: 30 and 60)")
    parser.add_argument(
        "--embedded", action="store_true", help="the embedded estimator's depth instead of the true one"
    )
    options = parser.parse_args()
    paths = options.path or ["30", "60"]
    try:
        for folder in find_truths(options.truths):
            truth = open_truth(folder, (options.size, options.size))
            if options.embedded:
                measure(truth, "embedded", embedded(truth), paths)
                continue
            for share in SMEARS:
                measure(truth, f"smear {100 * share:.1f} %", smeared(truth, share), paths)
    except Ex4dError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

"""Does footage stand still in the world? The estimated camera and the check of a static one, on rendered truth.

    python scripts/bench_camera.py FOLDER... [--depth true|embedded]

prints a table for docs/depth/camera.md: drift of resting surfaces with the estimated path and with a camera that is
taken to stand still (see `ex4d_core.evaluation.drift`), what `static` says, and milliseconds a frame.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from environment import in_environment

in_environment()

import numpy as np

from ex4d_core.camera_estimate import estimate_camera
from ex4d_core.depth.registry import make_estimator
from ex4d_core.errors import Ex4dError
from ex4d_core.evaluation.drift import Depth, Filmed, drift
from ex4d_core.evaluation.truth import Truth, find_truths, open_truth
from ex4d_core.progress import never_cancelled, silent
from ex4d_core.steadiness import measure_steadiness

EVERY = 4
"""Every how many frames drift is measured."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--depth", choices=("true", "embedded"), default="true")
    options = parser.parse_args()
    print("| scene | drift, estimated | drift, static | off by | ms a frame | `static` says | ms a frame |")
    print("|---|---|---|---|---|---|---|")
    for folder in find_truths(tuple(options.folders)):
        print(_row(open_truth(folder), options.depth), flush=True)


def _row(truth: Truth, which: str) -> str:
    lenses = [truth.lens] * truth.frames
    depth = truth.depth if which == "true" else _embedded(truth)
    known = Filmed(lenses, truth.source_c2w, truth.depth, truth.dynamic)
    asked = (truth.colors, depth, lenses, (), silent, never_cancelled)
    start = time.process_time()
    path = estimate_camera(*asked)
    middle = time.process_time()
    steady = measure_steadiness(*asked)
    end = time.process_time()

    def worst(c2w: np.ndarray) -> str:
        found = [drift(known, t, c2w, depth) for t in range(EVERY, truth.frames, EVERY)]
        return f"{100 * float(np.nanmax(found)):.2f} %"

    each = 1000 / truth.frames
    return (
        f"| {truth.folder.name} | {worst(path.c2w)} | {worst(np.tile(np.eye(4), (truth.frames, 1, 1)))} "
        f"| {path.residual_px:.2f} px | {(middle - start) * each:.0f} "
        f"| {'moves' if steady.moving else 'stands'}, {steady.drift_px:.2f} px | {(end - middle) * each:.0f} |"
    )


def _embedded(truth: Truth) -> Depth:
    """The depth of the estimator that needs no weights."""
    lenses = [truth.lens] * truth.frames
    found = make_estimator("embedded").estimate(truth.colors, lenses, None, silent, never_cancelled)
    frames = list(found.depth.iterate())
    return frames.__getitem__


if __name__ == "__main__":
    try:
        main()
    except Ex4dError as error:
        sys.exit(f"bench_camera: {error}")

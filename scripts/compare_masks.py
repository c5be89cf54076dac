"""Hold simulated masks against true ones, in numbers.

    python scripts/compare_masks.py TRUTH ... [--seeds 6] [--json]

TRUTH holds scenes as `ex4d evaluate` takes them. `true`: what a target camera truly saw of the clip. `simulated`: of
the same frames and cameras, what the clip would keep if it were seen from there (`ex4d_core.masking.still_seen`).
`drawn`: what training draws for those frames, of its own random paths and patches (`simulated_masks`). Means over
scenes and paths.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from environment import in_environment

in_environment()

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Camera
from ex4d_core.errors import Ex4dError
from ex4d_core.evaluation.truth import Truth, find_truths, open_truth
from ex4d_core.masking import MaskStatistics, mask_statistics, simulated_masks, still_seen
from ex4d_core.presets import subject_distance
from ex4d_core.quads import build_quads

Rows = dict[tuple[str, str], list[MaskStatistics]]
DRAWN = 17
"""Frames of a drawn clip."""


def compare(truth: Truth, rows: Rows) -> None:
    """Add the statistics of each path of a scene, true and simulated."""
    for path in truth.paths:
        runs = [truth.bursts[path]] if path in truth.bursts else [(frame,) for frame in truth.key_frames]
        for run in runs:
            burst = path in truth.bursts
            true = [truth.target_burst(path, f) if burst else truth.target_visible(path, f) for f in run]
            rows.setdefault((path, "true"), []).append(mask_statistics(np.stack(true)))
            rows.setdefault((path, "simulated"), []).append(mask_statistics(np.stack(_simulated(truth, path, run))))


def _simulated(truth: Truth, path: str, frames: tuple[int, ...]) -> list[NDArray[np.bool_]]:
    masks: list[NDArray[np.bool_]] = []
    for frame in frames:
        depth = truth.depth(frame)
        camera = Camera(np.linalg.inv(truth.target_from_source[path][frame]), truth.lens)
        masks.append(still_seen(build_quads(truth.colors[frame], depth, truth.lens), depth, camera))
    return masks


def draw(truth: Truth, seeds: int, rows: Rows) -> None:
    """Add the statistics of drawn masks of a scene, frame 0 left out: it is whole."""
    frames, depths = truth.colors[:DRAWN], np.stack([truth.depth(f) for f in range(min(DRAWN, truth.frames))])
    radius = subject_distance(depths[0])
    for seed in range(seeds):
        drawn = simulated_masks(frames, depths, truth.lens, radius, seed)
        rows.setdefault(("random", "drawn"), []).append(mask_statistics(drawn.masks[1:]))


def means(rows: Rows) -> dict[str, dict[str, dict[str, float]]]:
    """path -> whose -> statistic."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for (path, whose), measured in rows.items():
        values = np.array([dataclasses.astuple(one) for one in measured])
        known = [column[~np.isnan(column)] for column in values.T]
        names = [field.name for field in dataclasses.fields(MaskStatistics)]
        mean = [float(column.mean()) if len(column) else float("nan") for column in known]
        found.setdefault(path, {})[whose] = dict(zip(names, mean, strict=True))
    return found


def table(found: dict[str, dict[str, dict[str, float]]]) -> str:
    """The same in Markdown."""
    names = [field.name for field in dataclasses.fields(MaskStatistics)]
    lines = ["| path | masks | " + " | ".join(name.replace("_", " ") for name in names) + " |"]
    lines.append("|---" * (len(names) + 2) + "|")
    for path, sides in found.items():
        for whose, row in sides.items():
            values = ["" if np.isnan(row[n]) else f"{row[n]:.0f}" if n == "holes" else f"{row[n]:.3g}" for n in names]
            lines.append(f"| {path} | {whose} | " + " | ".join(values) + " |")
    return "\n".join(lines)


def main() -> int:
    """Parse the command line, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truths", type=Path, nargs="+", help="scenes, or folders of such")
    parser.add_argument("--seeds", type=int, default=6, help="how many masks to draw for each scene (6)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    rows: Rows = {}
    try:
        for folder in find_truths(tuple(options.truths)):
            truth = open_truth(folder)
            compare(truth, rows)
            draw(truth, options.seeds, rows)
    except Ex4dError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    found = means(rows)
    print(json.dumps(found, indent=1) if options.json else table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Score the geometry stage against rendered ground truth.

usage: bench_geometry.py DATASET [--methods reference,dwmesh] [--reach R,R,...] [--markdown]

DATASET holds one folder per scene: meta.json, source.mp4, source_disparity/, target_from_source.npz and, for each
path P, path_P.mp4 and path_P_visible/. True depth goes in, the mask and the colour of the key frames come out:

  error  share of pixels whose mask is wrong       precision, recall, F1, IoU  of "seen"
  psnr   colour (dB) where seen, rightly           psnr all   colour over all that the mask calls seen

Each number is the mean over the key frames. --reach renders `dwmesh` with several depths of its bridges (see
ex4d_core/occluder.py); inf is a bridge that hides all behind it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Camera, Intrinsics, invert_pose
from ex4d_core.clip import load_clip
from ex4d_core.frame import render_frame
from ex4d_core.images import read_image
from ex4d_core.mesh import METHODS, build_mesh
from ex4d_core.occluder import BRIDGE_REACH

COLUMNS = ("error", "precision", "recall", "F1", "IoU", "psnr", "psnr all")


def main() -> None:
    """Read the arguments, score, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--reach", default=str(BRIDGE_REACH))
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args()
    variants = [
        (method, float(reach))
        for method in options.methods.split(",")
        for reach in (options.reach.split(",") if method == "dwmesh" else ["inf"])
    ]
    folders = sorted(f.parent for f in options.dataset.glob("*/meta.json"))
    if not folders:
        parser.error(f"no scene (a folder with meta.json) in {options.dataset}")
    names = [m if m != "dwmesh" or r == BRIDGE_REACH else f"{m}, reach {r:g}" for m, r in variants]
    totals: dict[str, list[list[float]]] = {name: [] for name in names}
    show(["scene", "path", "method", *COLUMNS], options.markdown, head=True)
    for folder in folders:
        for path, rows in score_scene(folder, variants).items():
            for name, row in zip(names, rows, strict=True):
                totals[name].append(row)
                show([folder.name, path, name, *formatted(row)], options.markdown)
    for name, rows in totals.items():
        show(["mean", f"{len(rows)} paths", name, *formatted(np.nanmean(rows, axis=0).tolist())], options.markdown)


def score_scene(folder: Path, variants: list[tuple[str, float]]) -> dict[str, list[list[float]]]:
    """For each path of a scene, a row of scores per variant."""
    meta = json.loads((folder / "meta.json").read_text())
    k = np.array(meta["K"])
    lens = Intrinsics(k[0, 0], k[1, 1], k[0, 2], k[1, 2], meta["width"], meta["height"])
    source = load_clip(folder / "source.mp4").frames
    low, high = meta["disparity_range"]["source"]
    with np.load(folder / "target_from_source.npz") as data:
        poses = {name.removeprefix("path_"): data[name].astype(np.float64) for name in data.files}
    truth = {path: load_clip(folder / f"path_{path}.mp4").frames for path in poses}
    scores: dict[str, list[list[list[float]]]] = {path: [[] for _ in variants] for path in poses}
    for index, frame in enumerate(meta["key_frames"]):
        stored = read_image(folder / "source_disparity" / f"{frame:03d}.png")[..., 0]
        depth = (1 / (low + stored / 65535.0 * (high - low))).astype(np.float32)
        for number, (method, reach) in enumerate(variants):
            mesh = build_mesh(depth, lens, method)
            for path, w2c in poses.items():
                seen = read_image(folder / f"path_{path}_visible" / f"{frame:03d}.png")[..., 0] > 127
                camera = Camera(invert_pose(w2c[frame]), lens)
                rendered = render_frame(source[frame], mesh, camera, bridge_reach=reach)
                scores[path][number].append(score(rendered.mask, rendered.color, seen, truth[path][index]))
    return {path: [np.nanmean(rows, axis=0).tolist() for rows in of_path] for path, of_path in scores.items()}


def score(
    mask: NDArray[np.bool_], color: NDArray[np.uint8], seen: NDArray[np.bool_], truth: NDArray[np.uint8]
) -> list[float]:
    """One frame's row of `COLUMNS`."""
    hit, extra, missed = (int(np.count_nonzero(x)) for x in (mask & seen, mask & ~seen, ~mask & seen))
    squares = ((color.astype(np.float64) - truth) ** 2).mean(axis=-1)

    def psnr(where: NDArray[np.bool_]) -> float:
        return float(10 * np.log10(255**2 / max(squares[where].mean(), 1e-6))) if where.any() else float("nan")

    return [
        float((mask != seen).mean()),
        hit / max(hit + extra, 1),
        hit / max(hit + missed, 1),
        2 * hit / max(2 * hit + extra + missed, 1),
        hit / max(hit + extra + missed, 1),
        psnr(mask & seen),
        psnr(mask),
    ]


def formatted(row: list[float]) -> list[str]:
    """Shares with four decimals, decibels with one."""
    return [f"{v:.4f}" for v in row[:5]] + [f"{v:.1f}" for v in row[5:]]


def show(cells: list[str], markdown: bool, head: bool = False) -> None:
    """Print one row."""
    if markdown:
        print("| " + " | ".join(cells) + " |", flush=True)
        if head:
            print("|" + "---|" * len(cells), flush=True)
    else:
        print(f"{cells[0]:10s} {cells[1]:9s} {cells[2]:18s} " + " ".join(f"{c:>9s}" for c in cells[3:]), flush=True)


if __name__ == "__main__":
    main()

"""How close the draft engine comes to the truth, and how steady it is.

    python scripts/bench_draft.py DATASET [--scene NAME ...] [--pictures FOLDER] [--json]

DATASET holds rendered ground truth, one folder per scene (see docs/benchmarks.md). Depth and source cameras are the
true ones. For the paths 30, 60, 90 and 180 and the key frames 24 and 48, those with under 500 truly unseen pixels
left out: squared error over the truly unseen pixels, pooled per path; the mean over paths and scenes of PSNR.
"inside" counts only unseen pixels whose surface lies inside the source frame. Flicker: mean absolute difference
of consecutive output frames over the pixels unseen in both, on the burst frames. Baselines: the mean known colour,
and OpenCV's Telea inpainting of each frame.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from environment import in_environment

in_environment()

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Trajectory
from ex4d_core.clip import load_clip
from ex4d_core.generate import Shot, make_engine
from ex4d_core.images import write_png
from ex4d_core.ingest import import_scene
from ex4d_core.progress import never_cancelled, silent
from ex4d_core.rendering import render
from ex4d_core.scene import Scene

PATHS = ("30", "60", "90", "180")
KEY_FRAMES = (24, 48)
LEAST_UNSEEN = 500
Image = NDArray[np.uint8]
Fill = Callable[[Shot], list[Image]]


@dataclass(frozen=True)
class Truth:
    """One frame of a path as it really is."""

    time: int
    unseen: NDArray[np.bool_]
    color: Image | None
    """None on burst frames, which have only visibility."""
    inside: NDArray[np.bool_] | None


def main() -> None:
    """Parse the command line and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--scene", action="append", help="only this scene; may be repeated")
    parser.add_argument("--pictures", type=Path, help="write conditioning | fill | truth of each key frame here")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    names = options.scene or sorted(p.parent.name for p in options.dataset.glob("*/meta.json"))
    if not names:
        sys.exit(f"{options.dataset} holds no scenes with a meta.json")
    fills: dict[str, Fill] = {"mean colour": mean_color, "telea": telea, "draft": draft}
    scores = {name: Score() for name in fills}
    with tempfile.TemporaryDirectory() as work:
        for name in names:
            folder = options.dataset / name
            scene = load_scene(folder, Path(work) / f"{name}.ex4d")
            for path in PATHS:
                truths = load_truths(folder, path)
                shot = condition(scene, folder, path, truths)
                for method, fill in fills.items():
                    scores[method].add(f"{name} {path}", truths, fill(shot))
                    if options.pictures and method == "draft":
                        write_pictures(options.pictures, f"{name}_{path}", truths, shot, fill(shot))
    if options.json:
        print(json.dumps({name: score.table() for name, score in scores.items()}, indent=1))
        return
    print(f"{'':16}" + "".join(f"{name:>24}" for name in fills))
    print(f"{'':16}" + f"{'PSNR  inside  flicker':>24}" * len(fills))
    tables = {name: score.table() for name, score in scores.items()}
    for row in tables["draft"]:
        cells = [tables[name][row] for name in fills]
        print(f"{row:16}" + "".join(f"{c['psnr']:>10.2f}{c['inside']:>7.2f}{c['flicker']:>7.2f}" for c in cells))


class Score:
    """Squared errors and differences of one method, pooled per scene and path."""

    def __init__(self) -> None:
        """Empty."""
        self._pools: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0.0, 0.0]))

    def add(self, row: str, truths: list[Truth], output: list[Image]) -> None:
        """Count the frames of one path."""
        before: tuple[int, Image, NDArray[np.bool_]] | None = None
        for truth, image in zip(truths, output, strict=True):
            if truth.color is not None and truth.inside is not None:
                error = ((image.astype(np.float64) - truth.color) ** 2).mean(axis=-1)
                self._pool(row, "psnr", error, truth.unseen)
                self._pool(row, "inside", error, truth.inside)
            else:
                if before is not None and before[0] == truth.time - 1:
                    change = np.abs(image.astype(np.float64) - before[1]).mean(axis=-1)
                    self._pool(row, "flicker", change, truth.unseen & before[2])
                before = (truth.time, image, truth.unseen)

    def _pool(self, row: str, kind: str, values: NDArray[np.float64], where: NDArray[np.bool_]) -> None:
        pool = self._pools[row][kind]
        pool[0] += float(values[where].sum())
        pool[1] += float(where.sum())

    def table(self) -> dict[str, dict[str, float]]:
        """Row -> PSNR, dB, overall and inside; flicker, 0..255; the last row is the mean over rows."""
        rows: dict[str, dict[str, float]] = {}
        for row, pools in self._pools.items():
            mean = {kind: total / max(count, 1) if count else np.nan for kind, (total, count) in pools.items()}
            rows[row] = {
                "psnr": float(10 * np.log10(255**2 / mean["psnr"])),
                "inside": float(10 * np.log10(255**2 / mean["inside"])),
                "flicker": float(mean.get("flicker", np.nan)),
            }
        kinds = ("psnr", "inside", "flicker")
        rows["mean"] = {kind: float(np.nanmean([r[kind] for r in rows.values()])) for kind in kinds}
        return rows


def mean_color(shot: Shot) -> list[Image]:
    """Every unseen pixel in the mean of the frame's seen ones."""
    return [
        np.where(m[..., None], c, np.rint(c[m].mean(axis=0)).astype(np.uint8))
        for c, m in zip(shot.color, shot.mask, strict=True)
    ]


def telea(shot: Shot) -> list[Image]:
    """OpenCV's inpainting of each frame by itself."""
    return [
        np.asarray(cv2.inpaint(c, (~m).astype(np.uint8), 3, cv2.INPAINT_TELEA), np.uint8)
        for c, m in zip(shot.color, shot.mask, strict=True)
    ]


def draft(shot: Shot) -> list[Image]:
    """The engine."""
    return [frame.color for frame in make_engine("draft").generate(shot, silent, never_cancelled)]


def load_scene(folder: Path, out: Path) -> Scene:
    """Import a scene with its true depth and source camera."""
    meta = json.loads((folder / "meta.json").read_text())
    c2w, k = np.array(meta["source_c2w"], np.float64), meta["K"]
    camera = Trajectory(
        c2w=c2w,
        intrinsics=np.tile([k[0][0], k[1][1], k[0][2], k[1][2]], (len(c2w), 1)).astype(np.float64),
        source_time=np.arange(len(c2w), dtype=np.float64),
        width=meta["width"],
        height=meta["height"],
        fps=Fraction(meta["fps"]),
    )
    return import_scene(
        folder / "source.mp4",
        out,
        depth=folder / "source_disparity",
        depth_kind="disparity",
        depth_range=tuple(meta["disparity_range"]["source"]),
        source_camera=camera,
    )


def load_truths(folder: Path, path: str) -> list[Truth]:
    """The key frames that count, then the burst frames."""
    meta = json.loads((folder / "meta.json").read_text())
    colors = load_clip(folder / f"path_{path}.mp4").frames
    truths: list[Truth] = []
    for time in KEY_FRAMES:
        unseen = ~read_mask(folder / f"path_{path}_visible/{time:03d}.png")
        if unseen.sum() >= LEAST_UNSEEN:
            inside = unseen & inside_source(folder, meta, path, time)
            truths.append(Truth(time, unseen, colors[meta["key_frames"].index(time)], inside))
    for time in meta["burst_frames"].get(path, []):
        truths.append(Truth(time, ~read_mask(folder / f"burst_{path}_visible/{time:03d}.png"), None, None))
    return truths


def read_mask(path: Path) -> NDArray[np.bool_]:
    """(H, W) bool of an 8-bit PNG."""
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        sys.exit(f"cannot read {path}")
    return np.asarray(image) > 127


def inside_source(folder: Path, meta: dict[str, Any], path: str, time: int) -> NDArray[np.bool_]:
    """(H, W) bool, where the true surface lies inside the source frame of that time."""
    low, high = meta["disparity_range"][path]
    stored = cv2.imread(str(folder / f"path_{path}_disparity/{time:03d}.png"), cv2.IMREAD_UNCHANGED)
    if stored is None:
        sys.exit(f"cannot read the disparity of {path} {time}")
    z = 1.0 / (low + np.asarray(stored, np.float64) / 65535 * (high - low))
    k = np.array(meta["K"])
    height, width = z.shape
    pixel = np.stack(np.broadcast_arrays(np.arange(width)[None] + 0.5, np.arange(height)[:, None] + 0.5, 1.0), axis=-1)
    target_from_source = np.load(folder / "target_from_source.npz")[f"path_{path}"][time]
    point = (pixel @ np.linalg.inv(k).T) * z[..., None] - target_from_source[:3, 3]
    seen = (point @ target_from_source[:3, :3]) @ k.T
    x, y = seen[..., 0] / seen[..., 2], seen[..., 1] / seen[..., 2]
    return (seen[..., 2] > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)


def condition(scene: Scene, folder: Path, path: str, truths: list[Truth]) -> Shot:
    """Render the frames that are looked at."""
    times = np.array([t.time for t in truths])
    target_from_source = np.load(folder / "target_from_source.npz")[f"path_{path}"][times]
    c2w = np.stack([scene.source_camera(int(t)).c2w for t in times]) @ np.linalg.inv(target_from_source)
    trajectory = Trajectory(
        c2w=c2w,
        intrinsics=scene.intrinsics_all[times],
        source_time=times.astype(np.float64),
        width=scene.width,
        height=scene.height,
        fps=scene.fps,
    )
    frames = list(render(scene, trajectory))
    color, mask = np.stack([f.color for f in frames]), np.stack([f.mask for f in frames])
    return replace(Shot(color, mask, scene.fps), scene=scene, trajectory=trajectory)


def write_pictures(folder: Path, name: str, truths: list[Truth], shot: Shot, output: list[Image]) -> None:
    """Conditioning, fill and truth side by side."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, truth in _with_truth(truths):
        assert truth.color is not None
        write_png(folder / f"{name}_{truth.time:03d}.png", np.hstack([shot.color[index], output[index], truth.color]))


def _with_truth(truths: list[Truth]) -> Iterator[tuple[int, Truth]]:
    return ((index, truth) for index, truth in enumerate(truths) if truth.color is not None)


if __name__ == "__main__":
    main()

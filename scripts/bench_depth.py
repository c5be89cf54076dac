"""Measure the embedded depth estimator against rendered truth.

    python scripts/bench_depth.py DATASET [--scene NAME ...] [--pictures FOLDER] [--json]

DATASET holds one folder per scene: `source.mp4`, `source_disparity/NNN.png` (16 bit) and `meta.json` with `K` and
`disparity_range`. Every candidate's disparity is aligned to the true one by scale and shift (least squares),
once per clip (the criterion) and once per frame, kept within the true range of the clip, and compared as depth:
AbsRel = mean |z - z_true| / z_true. Beside the estimator stand the two it has to beat: a constant plane, and a
ramp from the top to the bottom of the picture. Flicker is the mean |d_t - d_(t-1) warped by optical flow| of the
aligned disparity, in percent of its mean; the truth's own value is given for comparison.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ex4d_core.camera import Intrinsics
from ex4d_core.depth.embedded import estimate_depth
from ex4d_core.depth.motion import FlowMeter, sample


def read_scene(folder: Path) -> tuple[np.ndarray, np.ndarray, Intrinsics]:
    """Frames (T, H, W, 3) uint8, true disparity (T, H, W) float32 in 1/m, intrinsics."""
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    with av.open(str(folder / "source.mp4")) as video:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])
    low, high = meta["disparity_range"]["source"]
    paths = sorted((folder / "source_disparity").glob("*.png"))
    stored = np.stack([cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in paths])
    truth = (low + stored.astype(np.float32) / 65535 * (high - low)).astype(np.float32)
    k = meta["K"]
    return frames, truth, Intrinsics(k[0][0], k[1][1], k[0][2], k[1][2], meta["width"], meta["height"])


def align(disparity: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Scale and shift `disparity` onto `truth` by least squares, kept within the range of `truth`."""
    x, y = disparity.ravel().astype(np.float64), truth.ravel().astype(np.float64)
    spread = x.var()
    scale = ((x - x.mean()) * (y - y.mean())).mean() / spread if spread > 1e-12 else 0.0
    return np.clip(scale * (disparity - x.mean()) + y.mean(), truth.min(), truth.max())


def abs_rel(disparity: np.ndarray, truth: np.ndarray) -> float:
    """Mean |z - z_true| / z_true of aligned disparities."""
    return float(np.abs(truth / disparity - 1).mean())


def scores(disparity: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """AbsRel aligned per clip, and aligned per frame."""
    per_frame = [abs_rel(align(d, t), t) for d, t in zip(disparity, truth, strict=True)]
    return abs_rel(align(disparity, truth), truth), float(np.mean(per_frame))


def flicker(disparity: np.ndarray, meter: FlowMeter) -> float:
    """Mean |d_t - warp(d_(t-1))| over pixels whose flow is confirmed, in percent of the mean disparity."""
    differences = []
    for t in range(1, len(disparity)):
        back, miss = meter.checked(t, t - 1)
        change = np.abs(disparity[t] - sample(disparity[t - 1], back))
        differences.append(change[miss < 1.0].mean())
    return 100 * float(np.mean(differences) / disparity.mean())


def write_pictures(folder: Path, frames: np.ndarray, disparity: np.ndarray, truth: np.ndarray) -> None:
    """For five times: frame, estimate, truth, side by side."""
    folder.mkdir(parents=True, exist_ok=True)
    aligned = align(disparity, truth)
    low, high = float(truth.min()), float(truth.max())
    for t in np.linspace(0, len(frames) - 1, 5).astype(int):
        grey = [np.uint8((d[t] - low) / (high - low) * 255) for d in (aligned, truth)]
        color = [cv2.applyColorMap(g, cv2.COLORMAP_TURBO) for g in grey]
        cv2.imwrite(str(folder / f"{t:03d}.png"), np.hstack([frames[t][..., ::-1], *color]))


def measure(folder: Path, pictures: Path | None) -> dict[str, Any]:
    """All figures of one scene."""
    frames, truth, intrinsics = read_scene(folder)
    started = time.perf_counter()
    result = estimate_depth(frames, intrinsics)
    disparity = result.disparity
    seconds = time.perf_counter() - started
    ramp = np.broadcast_to(np.linspace(0, 1, truth.shape[1])[None, :, None], truth.shape)
    clip, frame = scores(disparity, truth)
    meter = FlowMeter(frames)
    if pictures is not None:
        write_pictures(pictures / folder.name, frames, disparity, truth)
    return {
        "scene": folder.name,
        "method": result.method,
        "notes": result.notes,
        "seconds": round(seconds, 2),
        "abs_rel_clip": clip,
        "abs_rel_frame": frame,
        "constant": scores(np.ones_like(truth), truth),
        "ramp": scores(ramp, truth),
        "flicker_percent": flicker(align(disparity, truth), meter),
        "flicker_of_truth_percent": flicker(truth, meter),
    }


def main() -> None:
    """Parse the command line and print one line per scene."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--scene", action="append", help="only this scene; may be repeated")
    parser.add_argument("--pictures", type=Path, help="write comparisons here")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    scenes = arguments.scene or sorted(p.parent.name for p in arguments.dataset.glob("*/source.mp4"))
    results = [measure(arguments.dataset / scene, arguments.pictures) for scene in scenes]
    if arguments.json:
        print(json.dumps(results, indent=1))
        return
    print("scene      method       AbsRel clip/frame   constant        ramp            flicker (truth)   time")
    for r in results:
        print(
            f"{r['scene']:10} {r['method']:10} {r['abs_rel_clip']:9.3f} /{r['abs_rel_frame']:6.3f}   "
            f"{r['constant'][0]:.3f} /{r['constant'][1]:6.3f}  {r['ramp'][0]:.3f} /{r['ramp'][1]:6.3f}   "
            f"{r['flicker_percent']:5.2f} % ({r['flicker_of_truth_percent']:.2f} %)  {r['seconds']:5.1f} s"
        )
        print(f"           {r['notes']}")


if __name__ == "__main__":
    main()

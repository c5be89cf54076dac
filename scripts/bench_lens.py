"""How exactly lens distortion is removed and put back, and how well points tell a solve's scale.

python scripts/bench_lens.py                       lenses
python scripts/bench_lens.py --truth build/benchmark   also the scale, on scenes of make_benchmark.py that move
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from environment import in_environment

in_environment()

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.distortion import Distortion, distorter, undistorter
from ex4d_core.errors import Ex4dError
from ex4d_core.evaluation.truth import Truth, open_truth
from ex4d_core.progress import never_cancelled, silent
from ex4d_core.solve_scale import fit_scale
from ex4d_core.triangulate import triangulate

WIDTH, HEIGHT = 1280, 720
WRONG = 0.2
"""How large the solve is made, of its true size."""
MOST_FRAMES = 25

LENSES = {
    "wide, barrel": Distortion("opencv", (-0.25, 0.08, 0.001, -0.0005), Intrinsics(900, 905, 640, 360, WIDTH, HEIGHT)),
    "tele, pincushion": Distortion("opencv", (0.12, 0.02, 0, 0), Intrinsics(1800, 1800, 640, 360, WIDTH, HEIGHT)),
    "rational": Distortion(
        "opencv", (0.1, 0.02, 0.001, 0.002, 0.01, 0.05, 0.01, 0), Intrinsics(900, 905, 640, 360, WIDTH, HEIGHT)
    ),
    "action camera, fisheye": Distortion(
        "opencv-fisheye", (0.02, -0.01, 0.003, 0), Intrinsics(500, 500, 640, 360, WIDTH, HEIGHT)
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", type=Path, help="a folder of ground-truth scenes")
    truth: Path | None = parser.parse_args().truth
    print("| lens | undistorted, degrees | of the frame that comes back | PSNR there, dB | inverse within, px |")
    print("|---|---|---|---|---|")
    for name, distortion in LENSES.items():
        pinhole = distortion.pinhole()
        back = distorter(distortion, pinhole)
        image = _picture()
        bent = back(undistorter(distortion, pinhole)(image))
        error = float(((bent.astype(np.float64) - image)[back.seen] ** 2).mean())
        pixels = np.random.default_rng(0).uniform([0, 0], [WIDTH, HEIGHT], (20000, 2))
        missed = float(np.nanmax(np.abs(distortion.distorted(distortion.undistorted(pixels)) - pixels)))
        share, psnr = 100 * back.seen.mean(), 10 * np.log10(255**2 / error)
        print(f"| {name} | {pinhole.fov_x_degrees:.1f} | {share:.1f} % | {psnr:.1f} | {missed:.0e} |")
    if truth is None:
        return
    print(f"\n| scene | scale found, of {1 / WRONG:g} | off | spread | points |\n|---|---|---|---|---|")
    for folder in sorted(path.parent for path in truth.glob("*/meta.json")):
        _scale(open_truth(folder))


def _picture() -> NDArray[np.uint8]:
    """Blobs of ten pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT // 10, WIDTH // 10, 3), np.uint8)
    return np.asarray(cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), np.uint8)


@dataclass(frozen=True)
class _First:
    """The first frames of a clip."""

    truth: Truth
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]:
        return self.truth.colors[index]


def _scale(truth: Truth) -> None:
    poses = truth.source_c2w[:MOST_FRAMES].copy()
    if np.ptp(poses[:, :3, 3], axis=0).max() < 0.1:
        return
    poses[:, :3, 3] *= WRONG
    lenses = [truth.lens] * len(poses)
    points = triangulate(_First(truth, len(poses)), poses, lenses, (), silent, never_cancelled)
    fit = fit_scale(points, poses, lenses, truth.depth)
    if fit is None:
        print(f"| {truth.name} | not told | | | |")
        return
    off = 100 * abs(fit.scale * WRONG - 1)
    print(f"| {truth.name} | {fit.scale:.3f} | {off:.1f} % | {100 * fit.spread:.0f} % | {fit.points} |")


if __name__ == "__main__":
    try:
        main()
    except Ex4dError as error:
        sys.exit(f"bench_lens: {error}")

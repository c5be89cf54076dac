"""Make tests/data/golden_vda: Video Depth Anything's own classes with random weights, and our runner beside them.

In an environment with what that code imports (that of depth-anything-3 has it), from the folder of EX-4D:

    PYTHONPATH=. ~/.local/state/ex4d/environments/depth-anything-3/bin/python scripts/make_golden_vda.py CHECKOUT
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ex4d_core.depth.keyframe_windows import join_windows, window_count, window_frames
from ex4d_core.depth.worker import Worker
from ex4d_core.progress import never_cancelled

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "tests" / "data" / "golden_vda" / "golden.npz"
RUNNER = ROOT / "ex4d_core" / "depth" / "runners" / "run_video_depth_anything.py"
FRAMES, HEIGHT, WIDTH, INPUT_SIZE = 50, 20, 32, 14
TOLERANCE = 1e-4
SPREAD = 100.0
"""Disparity then varies as much as it is large: where it does not, the official fit, in float32, is rough."""


def main() -> None:
    """Compare, and write the tensors if the two agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="a clone of github.com/DepthAnything/Video-Depth-Anything")
    checkout = parser.parse_args().checkout.resolve()
    sys.path.insert(0, str(checkout))
    frames = moving_picture()
    with tempfile.TemporaryDirectory() as name:
        weights = Path(name) / "random.pth"
        model = random_model()
        torch.save(model.state_dict(), weights)
        official, _ = model.infer_video_depth(frames, 24, input_size=INPUT_SIZE, device="cpu", fp32=True)
        windows = np.stack(ours(checkout, weights, frames, Path(name)))
    joined = join_windows(FRAMES, lambda window: windows[window], (WIDTH, HEIGHT), never_cancelled)
    found = np.stack([joined.at_size(t, (WIDTH, HEIGHT)) for t in range(FRAMES)])
    apart = float(np.abs(found - official).max())
    print(f"official {official.min():.4f} to {official.max():.4f}, gauges {joined.gauges}, apart {apart:.2e}")
    assert apart < TOLERANCE, apart
    OUT.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(OUT, windows=windows, official=official.astype(np.float32))


def moving_picture() -> np.ndarray:
    """(T, H, W, 3) uint8: noise that moves and changes, so that no two frames are alike."""
    rng = np.random.default_rng(8)
    noise = cv2.resize(rng.uniform(0, 255, (HEIGHT, 2 * WIDTH, 3)), (2 * WIDTH, HEIGHT)).astype(np.float32)
    return np.stack(
        [np.clip(noise[:, t % WIDTH :][:, :WIDTH] * (0.5 + t / FRAMES), 0, 255) for t in range(FRAMES)]
    ).astype(np.uint8)


def random_model() -> Any:
    """The small model's own class; all weights random, those of the temporal layers too, which begin as zeros."""
    from video_depth_anything.video_depth import VideoDepthAnything

    torch.manual_seed(8)
    model = VideoDepthAnything(encoder="vits", features=64, out_channels=[48, 96, 192, 384]).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.5 * parameter[0].numel() ** -0.5)
        last = model.head.scratch.output_conv2[2]  # before the last ReLU: about half is to be zero, the rest to differ
        last.weight.mul_(SPREAD)
    return model


def ours(checkout: Path, weights: Path, frames: np.ndarray, folder: Path) -> list[np.ndarray]:
    """What our runner writes of each window."""
    paths = [str(folder / f"{t:06d}.png") for t in range(FRAMES)]
    for path, frame in zip(paths, frames, strict=True):
        cv2.imwrite(path, frame[:, :, ::-1])
    found: list[np.ndarray] = []
    with Worker("golden", Path(sys.executable), RUNNER, [checkout, weights, str(INPUT_SIZE)]) as worker:
        for window in range(window_count(FRAMES)):
            out = folder / f"window{window}.npz"
            seen = [paths[frame] for frame in window_frames(window, FRAMES)]
            worker.ask({"frames": seen, "out": str(out)}, never_cancelled)
            found.append(np.load(out)["disparity"])
    return found


if __name__ == "__main__":
    main()

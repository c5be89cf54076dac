"""The embedded estimator against rendered truth: better than a constant plane and than a vertical ramp."""

import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from ex4d_core.camera import Intrinsics
from ex4d_core.depth.embedded import estimate_depth

SIDE, FRAMES = 192, 25


def abs_rel(disparity: np.ndarray, truth: np.ndarray) -> float:
    """AbsRel of depth after aligning disparity by scale and shift over the clip."""
    x, y = disparity.ravel().astype(np.float64), truth.ravel().astype(np.float64)
    covariance = np.cov(x, y)
    scale = covariance[0, 1] / max(covariance[0, 0], 1e-12)
    aligned = np.clip(scale * (disparity - x.mean()) + y.mean(), truth.min(), truth.max())
    return float(np.abs(truth / aligned - 1).mean())


@pytest.mark.parametrize(
    ("scene", "methods"),
    [("room", {"heuristic"}), ("landscape", {"parallax", "mixed"}), ("vase", {"parallax", "mixed"})],
)
def test_beats_plane_and_ramp(shared: Path, scene: str, methods: set[str]) -> None:
    folder = shared / "data" / "gt" / scene
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    low, high = meta["disparity_range"]["source"]
    k = meta["K"]
    lens = Intrinsics(k[0][0], k[1][1], k[0][2], k[1][2], meta["width"], meta["height"]).resized(SIDE, SIDE)
    with av.open(str(folder / "source.mp4")) as video:
        pictures = [
            frame.to_ndarray(format="rgb24") for _, frame in zip(range(FRAMES), video.decode(video=0), strict=False)
        ]
    frames = np.stack([cv2.resize(p, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for p in pictures])
    stored = [
        cv2.imread(str(folder / "source_disparity" / f"{t:03d}.png"), cv2.IMREAD_UNCHANGED) for t in range(FRAMES)
    ]
    truth = np.stack([cv2.resize(s, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST) for s in stored]).astype(np.float32)
    truth = low + truth / 65535 * (high - low)

    result = estimate_depth(frames, lens)
    error = abs_rel(result.disparity, truth)
    ramp = np.broadcast_to(np.linspace(0, 1, SIDE)[None, :, None], truth.shape)
    assert result.method in methods
    assert error < 0.75 * abs_rel(ramp, truth)
    assert error < 0.75 * abs_rel(np.ones_like(truth), truth)

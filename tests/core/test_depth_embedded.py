"""The embedded depth estimator takes any footage, and keeps its promises about the result."""

import numpy as np
import pytest

from ex4d_core.camera import Intrinsics
from ex4d_core.depth.embedded import estimate_depth
from ex4d_core.errors import CancelledError


def check_promises(frames: np.ndarray) -> np.ndarray:
    """What every result has to keep, whatever the footage."""
    result = estimate_depth(frames, Intrinsics.unknown_lens(frames.shape[2], frames.shape[1]))
    assert result.disparity.shape == frames.shape[:3]
    assert result.disparity.dtype == np.float32
    assert np.isfinite(result.disparity).all()
    assert result.disparity.min() > 0
    assert result.method in ("parallax", "heuristic", "mixed")
    assert result.notes
    return result.disparity


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 8, 8), (3, 1, 1), (1, 64, 96), (4, 33, 21), (2, 5, 400)])
def test_takes_any_size_of_noise(shape: tuple[int, int, int]) -> None:
    check_promises(np.random.default_rng(1).integers(0, 256, (*shape, 3)).astype(np.uint8))


@pytest.mark.parametrize("value", [0, 128, 255])
def test_takes_constant_color(value: int) -> None:
    check_promises(np.full((3, 48, 64, 3), value, np.uint8))


def test_reports_each_frame_and_stops_when_asked() -> None:
    frames = np.random.default_rng(2).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    seen: list[tuple[int, int]] = []
    estimate_depth(frames, Intrinsics.unknown_lens(32, 32), lambda done, total, stage: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1]
    assert len(seen) >= 4
    with pytest.raises(CancelledError):
        estimate_depth(frames, Intrinsics.unknown_lens(32, 32), cancelled=lambda: True)

"""The embedded depth estimator takes any footage, and keeps its promises about the result."""

import numpy as np
import pytest

from ex4d_core.camera import Intrinsics
from ex4d_core.depth.embedded import estimate_depth
from ex4d_core.depth.monocular import guess
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


def outdoors() -> np.ndarray:
    """A picture (120, 160, 3) of pale blue sky over a red wall that stands on grey ground, each a little uneven."""
    picture = np.empty((120, 160, 3), np.float32)
    picture[:24], picture[24:84], picture[84:] = (180, 205, 235), (150, 70, 55), (115, 115, 110)
    picture += np.random.default_rng(3).normal(0, 8, picture.shape[:2])[..., None]
    return np.clip(picture, 0, 255).astype(np.uint8)


def test_a_guess_tells_sky_and_walls_from_the_ground() -> None:
    found = guess(outdoors())
    sky, wall, ground = found[3:20, 5:-5], found[30:76, 5:-5], found[92:, 5:-5]
    assert sky.max() < 0.5 * wall.min()
    assert wall.max() < 1.15 * wall.min()  # upright: as near at its top as at its foot
    assert wall.mean() == pytest.approx(found[84, 5:-5].mean(), rel=0.15)
    assert (np.diff(ground.mean(axis=1)) > -1e-3).all()
    assert ground[-1].mean() > 1.5 * wall.mean()


def test_a_pale_window_is_no_sky() -> None:
    picture = outdoors()
    picture[40:60, 60:90] = (190, 210, 240)
    found = guess(picture)
    assert found[45:55, 65:85].min() > 2.0 * found[3:20].max()


def test_a_camera_at_rest_sees_the_same_depth_in_all_frames() -> None:
    noise = np.random.default_rng(4).normal(0, 1.5, (6, 120, 160, 3))
    frames = np.clip(outdoors() + noise, 0, 255).astype(np.uint8)
    result = estimate_depth(frames, Intrinsics.unknown_lens(160, 120))
    assert result.method == "heuristic"
    assert np.abs(np.diff(result.disparity, axis=0)).mean() < 0.002 * result.disparity.mean()

"""Cuts are found at their frame, and pans, flashes and black frames are none."""

import cv2
import numpy as np
import pytest

from ex4d_core.camera import Intrinsics
from ex4d_core.cuts import find_cuts
from ex4d_core.depth import DepthRequest
from ex4d_core.depth.registry import make_estimator
from ex4d_core.errors import CancelledError
from ex4d_core.progress import never_cancelled, silent

SHAPE = (108, 192)


def place(seed: int, bright: float = 1.0) -> np.ndarray:
    """(324, 576, 3) uint8: large and small blotches, another place for each seed."""
    rng = np.random.default_rng(seed)
    coarse, fine = rng.uniform(0, 1, (9, 16, 3)), rng.uniform(0, 1, (54, 96, 3))
    size = (3 * SHAPE[1], 3 * SHAPE[0])
    picture = 0.7 * cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC) + 0.3 * cv2.resize(fine, size)
    return np.uint8(np.clip(picture * bright, 0, 1) * 255)


def take(seed: int, frames: int, speed: float = 0.0, bright: float = 1.0) -> np.ndarray:
    """(frames, 108, 192, 3) uint8: a window that goes over a place by `speed` pixels a frame, with sensor noise."""
    rng = np.random.default_rng(seed + 100)
    whole = place(seed, bright)
    found = []
    for t in range(frames):
        x = int(100 + speed * t)
        part = whole[100 : 100 + SHAPE[0], x : x + SHAPE[1]].astype(np.float32)
        found.append(np.uint8(np.clip(part + rng.normal(0, 3, part.shape), 0, 255)))
    return np.stack(found)


def test_cuts_are_named_by_the_first_frame_of_a_take() -> None:
    clip = np.concatenate([take(1, 12, 2), take(2, 9), take(3, 14, 3)])
    assert find_cuts(clip) == (12, 21)


@pytest.mark.parametrize("at", [1, 2, 18, 19])
def test_beside_the_ends(at: int) -> None:
    assert find_cuts(np.concatenate([take(1, at), take(2, 20 - at)])) == (at,)


def test_between_dark_takes() -> None:
    assert find_cuts(np.concatenate([take(1, 10, bright=0.3), take(2, 10, bright=0.3)])) == (10,)


def test_no_cut_in_a_take() -> None:
    assert find_cuts(take(1, 1)) == ()
    assert find_cuts(np.zeros((12, *SHAPE, 3), np.uint8)) == ()
    assert find_cuts(take(4, 24, 1)) == ()


def test_a_whip_pan_is_no_cut() -> None:
    whole = place(5)
    columns = [100] * 10 + [165] * 10
    assert find_cuts(np.stack([whole[100 : 100 + SHAPE[0], x : x + SHAPE[1]] for x in columns])) == ()


@pytest.mark.parametrize("level", [0, 255])
@pytest.mark.parametrize("length", [1, 3])
def test_flashes_and_black_frames_are_no_cuts(level: int, length: int) -> None:
    clip = take(6, 30, 1)
    clip[14 : 14 + length] = level
    assert find_cuts(clip) == ()


def test_black_between_two_takes() -> None:
    black = np.zeros((10, *SHAPE, 3), np.uint8)
    assert find_cuts(np.concatenate([take(1, 10), black, take(2, 10)])) == (10, 20)


def test_a_cancel_stops_it() -> None:
    with pytest.raises(CancelledError):
        find_cuts(take(1, 5), cancelled=lambda: True)


def test_the_embedded_estimator_carries_nothing_over_a_cut() -> None:
    clip, lens = np.concatenate([take(1, 6, 2), take(2, 5, 3)]), Intrinsics(150, 150, 96, 54, 192, 108)

    def depths(frames: np.ndarray, cuts: tuple[int, ...]) -> list[np.ndarray]:
        estimator = make_estimator("embedded", DepthRequest(cuts=cuts))
        return list(estimator.estimate(frames, [lens] * len(frames), None, silent, never_cancelled).depth.iterate())

    alone = [*depths(clip[:6], ()), *depths(clip[6:], ())]
    assert np.allclose(depths(clip, (6,)), alone, rtol=1e-4)
    assert not np.allclose(depths(clip, ()), alone, rtol=1e-2)

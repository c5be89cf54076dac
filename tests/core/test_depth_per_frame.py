"""Any network of single frames: resumed, stopped, scaled, and black frames; the network itself is a function."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.depth import DepthRequest, DepthResult
from ex4d_core.depth.edgeaware import upsample
from ex4d_core.depth.per_frame import Network, PerFrameEstimator, Prediction
from ex4d_core.depth.scaling import FAR_RATIO
from ex4d_core.errors import CancelledError, InputError
from ex4d_core.progress import Cancelled, OnProgress, never_cancelled, silent

FRAMES, WIDTH, HEIGHT = 6, 96, 64
LENS = [Intrinsics.from_fov_x_degrees(60.0, WIDTH, HEIGHT)] * FRAMES


def clip(seed: int = 0) -> NDArray[np.uint8]:
    """(T, H, W, 3): one textured picture, whose first pixel tells the frame."""
    rng = np.random.default_rng(seed)
    picture = cv2.resize(rng.integers(40, 216, (16, 24, 3), np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    frames = np.stack([picture] * FRAMES)
    frames[:, 0, 0] = np.arange(FRAMES)[:, None]
    return frames


def truth() -> NDArray[np.float32]:
    """(H, W) disparity: a slope with a near box on it."""
    values = np.broadcast_to(np.linspace(0.1, 0.5, HEIGHT, dtype=np.float32)[:, None], (HEIGHT, WIDTH)).copy()
    values[16:48, 32:64] = 1.0
    return values


class Counted(PerFrameEstimator):
    """An estimator around a function of the frame's number; counts."""

    name = "counted"
    revision = 1
    units = "relative"

    def __init__(self, predict: Callable[[int], Prediction], request: DepthRequest | None = None) -> None:
        super().__init__(request or DepthRequest())
        self._predict, self.loads, self.calls = predict, 0, 0

    def folder(self) -> Path:
        return Path()

    def load(self) -> Network:
        self.loads += 1
        return self._seen

    def _seen(self, frame: NDArray[np.uint8]) -> Prediction:
        self.calls += 1
        return self._predict(int(frame[0, 0, 0]))


class Metric(Counted):
    units = "metric"


def run(
    estimator: Counted,
    frames: NDArray[np.uint8] | None = None,
    on_progress: OnProgress = silent,
    cancelled: Cancelled = never_cancelled,
) -> tuple[DepthResult, NDArray[np.float32]]:
    found = estimator.estimate(clip() if frames is None else frames, LENS, None, on_progress, cancelled)
    return found, np.stack(list(found.depth.iterate()))


def flickering(frame: int) -> Prediction:
    """The truth with another scale and shift in each frame."""
    return Prediction(truth() * np.float32(1 + 0.2 * np.sin(frame)) + np.float32(0.05 * np.cos(3 * frame)))


def test_one_scale_for_all_frames_and_0_is_far() -> None:
    stages: list[str] = []
    found, depth = run(Counted(lambda _: Prediction(truth() * 7)), on_progress=lambda d, t, stage: stages.append(stage))
    expected = 1 / (truth() * (1 - 1 / FAR_RATIO) + 1 / FAR_RATIO)
    np.testing.assert_allclose(depth, np.broadcast_to(expected, depth.shape), rtol=0.02)
    assert (found.nearest, found.farthest) == (depth.min(), depth.max())
    assert found.units == "relative"
    assert found.intrinsics is None
    assert found.warnings == ()
    assert stages.count("estimating depth") == FRAMES
    np.testing.assert_array_equal(np.stack(list(found.depth.iterate(4))), depth[4:])
    (take,) = found.conversion["takes"]  # type: ignore[misc]
    assert take["first"] == 0
    assert np.float32(1) / (take["scale"] * np.float32(7) + take["shift"]) == pytest.approx(found.nearest, rel=0.02)


def test_frames_that_disagree_are_brought_together() -> None:
    _, depth = run(Counted(flickering))
    disparity = 1 / depth
    flicker = np.abs(np.diff(disparity, axis=0)).mean()
    raw = np.stack([flickering(t).disparity for t in range(FRAMES)])
    assert flicker < np.abs(np.diff(raw / raw.max(), axis=0)).mean() / 10


def test_a_rerun_goes_on_after_the_last_frame(tmp_path: Path) -> None:
    _, whole = run(Counted(flickering))
    request = DepthRequest(work=tmp_path)
    first = Counted(flickering, request)
    with pytest.raises(CancelledError):
        run(first, cancelled=lambda: first.calls >= 4)
    second = Counted(flickering, request)
    _, resumed = run(second)
    assert first.calls == 4
    assert second.calls <= FRAMES - 3, "what was being looked at when it was stopped is looked at again"
    np.testing.assert_array_equal(resumed, whole)
    third = Counted(flickering, request)
    run(third)
    assert (third.loads, third.calls) == (0, 0), "nothing is left to do"


def test_a_cancel_does_not_wait_for_the_network() -> None:
    def slow(frame: int) -> Prediction:
        time.sleep(3)
        return flickering(frame)

    began = time.monotonic()
    with pytest.raises(CancelledError):
        run(Counted(slow), cancelled=lambda: time.monotonic() > began + 0.2)
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_no_depth_are_named_with_their_frame(value: float) -> None:
    def bad(frame: int) -> Prediction:
        disparity = truth()
        disparity[3, 4] = value if frame == 2 else 1.0
        return Prediction(disparity)

    with pytest.raises(InputError, match=r"for frame 2: run `ex4d models verify counted`, or choose .*\.$"):
        run(Counted(bad))


@pytest.mark.parametrize("how", ["black", "constant depth"])
def test_frames_that_show_nothing_take_the_depth_of_others(how: str) -> None:
    frames = clip()
    if how == "black":
        frames[0] = 0
        frames[3] = 3

    def predict(frame: int) -> Prediction:
        nothing = how == "constant depth" and frame in (0, 3)
        return Prediction(np.full_like(truth(), 0.7) if nothing else truth() * 7)

    found, depth = run(Counted(predict), frames)
    assert found.warnings == (
        "2 frames, the first is 0, show nothing to tell depth by (black, or of one colour): the depth is that of the "
        "nearest that does.",
    )
    np.testing.assert_allclose(depth, np.broadcast_to(depth[1], depth.shape), rtol=0.02)


def test_a_clip_that_shows_nothing_is_refused() -> None:
    for frames, predict in (
        (np.zeros_like(clip()), flickering),
        (clip(), lambda _: Prediction(np.zeros_like(truth()))),
    ):
        with pytest.raises(InputError, match=r"sees no depth in any frame .*: give another clip, or --depth\.$"):
            run(Counted(predict), frames)


def test_metric_depth_goes_by_the_median_lens() -> None:
    focals = (0.8, 0.8, 2.0, 0.8, 0.8, np.nan)
    found, depth = run(Metric(lambda frame: Prediction(truth(), focals[frame])))
    np.testing.assert_allclose(depth, np.broadcast_to(0.8 / truth(), depth.shape), rtol=0.02)
    assert found.intrinsics is not None
    assert {round(lens.fx / WIDTH, 6) for lens in found.intrinsics} == {0.8}
    assert found.units == "metric"


def test_a_lens_that_is_known_counts_more_than_that_of_the_network() -> None:
    found, depth = run(Metric(lambda _: Prediction(truth(), 0.8), DepthRequest(lens_known=True)))
    np.testing.assert_allclose(depth[0], LENS[0].fx / WIDTH / truth(), rtol=0.02)
    assert found.intrinsics is None


def test_each_take_has_a_scale_and_a_lens_of_its_own() -> None:
    frames = clip()
    frames[3:] = clip(seed=1)[3:]
    request = DepthRequest(cuts=(3,))
    found, depth = run(Metric(lambda frame: Prediction(truth(), 0.8 if frame < 3 else 1.6), request), frames)
    np.testing.assert_allclose(depth[0], 0.8 / truth(), rtol=0.02)
    np.testing.assert_allclose(depth[5], 1.6 / truth(), rtol=0.02)
    assert found.intrinsics is not None
    assert [round(lens.fx / WIDTH, 3) for lens in found.intrinsics] == [0.8] * 3 + [1.6] * 3
    relative, depth = run(Counted(lambda frame: Prediction(truth() * (1 if frame < 3 else 9)), request), frames)
    np.testing.assert_allclose(depth[5], depth[0], rtol=0.02)
    assert [take["first"] for take in relative.conversion["takes"]] == [0, 3]  # type: ignore[attr-defined]


def test_colours_are_compared_whichever_is_the_brighter() -> None:
    """Numba takes the difference of two bytes for a large number unless they are made signed."""
    near_dark = np.full((8, 8, 3), 60, np.uint8)
    near_dark[:, :4] += 120
    values = np.where(np.arange(8) < 4, np.float32(1.0), np.float32(0.2))[None].repeat(8, 0)
    for guide in (near_dark, 255 - near_dark):
        noise = np.random.default_rng(0).integers(-8, 9, (32, 32, 3))
        fine = np.clip(cv2.resize(guide, (32, 32), interpolation=cv2.INTER_NEAREST) + noise, 0, 255).astype(np.uint8)
        enlarged = upsample(values, guide, fine)
        np.testing.assert_allclose(enlarged[:, :16], 1.0, atol=0.01)
        np.testing.assert_allclose(enlarged[:, 16:], 0.2, atol=0.01)


def test_small_predictions_follow_the_edges_of_the_colour() -> None:
    frames = clip() // 4
    frames[:, 16:48, 32:64] += 150
    small = cv2.resize(truth(), (WIDTH // 4, HEIGHT // 4), interpolation=cv2.INTER_AREA)
    _, depth = run(Counted(lambda _: Prediction(small)), frames)
    assert depth.shape == (FRAMES, HEIGHT, WIDTH)
    assert (depth[:, 20:44, 33:63] < 1.1).all(), "near up to the rim of the box"
    assert (depth[:, 20:44, :31] > 1.5).all(), "far up to it"
    large = cv2.resize(truth(), (WIDTH * 3, HEIGHT * 2), interpolation=cv2.INTER_NEAREST)
    _, depth = run(Counted(lambda _: Prediction(large)))
    assert depth.shape == (FRAMES, HEIGHT, WIDTH)

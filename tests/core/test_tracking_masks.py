"""Points followed through clips whose motion is known, and patches that stick to what they hide."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ex4d_core.errors import CancelledError
from ex4d_core.evaluation.truth import Truth, open_truth
from ex4d_core.masking import LucasKanade, Tracks, tracking_masks

SIDE, FRAMES = 160, 12


def texture(seed: int = 0, side: int = 2 * SIDE) -> NDArray[np.uint8]:
    """Blobs of many sizes, (side, side, 3)."""
    draw = np.random.default_rng(seed)
    layers = [cv2.resize(draw.uniform(0, 1, (n, n, 3)), (side, side), interpolation=cv2.INTER_CUBIC) for n in (40, 120)]
    picture = layers[0] + 0.6 * layers[1]
    return np.clip(255 * (picture - picture.min()) / np.ptp(picture), 0, 255).astype(np.uint8)


def motion(frame: int) -> NDArray[np.float64]:
    """(2, 3): from the texture to the picture; drifts, turns and grows."""
    turned = cv2.getRotationMatrix2D((SIDE, SIDE), 1.5 * frame, 1 + 0.01 * frame)
    return turned - np.array([[0, 0, SIDE / 2 - 2.0 * frame], [0, 0, SIDE / 2 + 1.2 * frame]])


def moving_clip() -> NDArray[np.uint8]:
    picture = texture()
    return np.stack([cv2.warpAffine(picture, motion(t), (SIDE, SIDE), flags=cv2.INTER_CUBIC) for t in range(FRAMES)])


def moved(points: NDArray[np.float32], start: int, frame: int) -> NDArray[np.float64]:
    """Where points of one frame are in another one, pixel centres at +0.5."""
    first, other = np.vstack([motion(start), [0, 0, 1]]), np.vstack([motion(frame), [0, 0, 1]])
    both = other @ np.linalg.inv(first)
    return (points - 0.5) @ both[:2, :2].T + both[:2, 2] + 0.5


@pytest.mark.parametrize("start", [0, 5, FRAMES - 1])
def test_points_are_followed_both_ways_to_a_fraction_of_a_pixel(start: int) -> None:
    clip = moving_clip()
    points = np.random.default_rng(1).uniform(50, 110, (80, 2)).astype(np.float32)
    tracks = LucasKanade().track(clip, points, start)
    assert tracks.at.shape == (FRAMES, 80, 2)
    assert tracks.seen[start].all()
    np.testing.assert_allclose(tracks.at[start], points, atol=1e-3)
    errors = []
    for frame in range(FRAMES):
        where = moved(points, start, frame)
        inside = ((where > 12) & (where < SIDE - 12)).all(axis=1)
        assert (tracks.seen[frame] & inside).sum() >= 0.9 * inside.sum(), frame
        found = tracks.seen[frame] & inside
        errors.append(np.linalg.norm(tracks.at[frame][found] - where[found], axis=1))
    error = np.concatenate(errors)
    assert np.median(error) < 0.3
    assert np.percentile(error, 99) < 2


def test_what_is_hidden_is_lost_and_stays_lost() -> None:
    clip = np.stack([texture()[40 : 40 + SIDE, 40 : 40 + SIDE]] * 6)
    points = np.array([[40, 40], [120, 120]], np.float32)
    clip[2:4, 90:150, 90:150] = texture(9)[:60, :60]
    tracks = LucasKanade().track(clip, points, 0)
    assert tracks.seen[:, 0].all()
    np.testing.assert_array_equal(tracks.seen[:, 1], [True, True, False, False, False, False])


def test_points_on_rendered_truth(shared: Path) -> None:
    """A clip with a carried camera: where its resting points truly go, by its depth and cameras."""
    truth = open_truth(shared / "data/gt/landscape")
    frames = truth.colors[:25]
    resting = ~truth.dynamic(0)
    corners = cv2.goodFeaturesToTrack(
        cv2.cvtColor(frames[0], cv2.COLOR_RGB2GRAY), 300, 0.01, 8, mask=255 * resting.astype(np.uint8)
    )
    points = (corners.reshape(-1, 2) + 0.5).astype(np.float32)
    tracks = LucasKanade().track(frames, points, 0)
    for frame, most in ((8, 0.5), (24, 1.0)):
        where, visible = true_places(truth, points, frame)
        error = np.linalg.norm(tracks.at[frame] - where, axis=1)
        found = tracks.seen[frame] & visible
        assert found.sum() > 0.7 * visible.sum()
        assert np.median(error[found]) < most
        assert (error[found] > 5).mean() < 0.1  # corners of two surfaces are none


def true_places(truth: Truth, points: NDArray[np.float32], frame: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Where points of frame 0 are in another one, and whether they are seen there."""
    lens = truth.lens
    column, row = np.floor(points).astype(int).T
    z = truth.depth(0)[row, column]
    at = np.stack([(points[:, 0] - lens.cx) / lens.fx * z, (points[:, 1] - lens.cy) / lens.fy * z, z], axis=1)
    change = np.linalg.inv(truth.source_c2w[frame]) @ truth.source_c2w[0]
    at = at @ change[:3, :3].T + change[:3, 3]
    where = at[:, :2] / at[:, 2:] * (lens.fx, lens.fy) + (lens.cx, lens.cy)
    inside = ((where >= 0) & (where < (lens.width, lens.height))).all(axis=1)
    column, row = np.clip(np.floor(where), 0, (lens.width - 1, lens.height - 1)).astype(int).T
    return where, inside & (np.abs(truth.depth(frame)[row, column] / at[:, 2] - 1) < 0.02)


def test_patches_stick_to_what_they_hide() -> None:
    clip = moving_clip()
    masks = tracking_masks(clip, LucasKanade(), seed=3, patches=(1, 1), sizes=(0.3, 0.35))
    areas = (~masks).sum(axis=(1, 2))
    present = np.flatnonzero(areas)
    assert len(present) == FRAMES
    # The hole of one frame, moved as the texture is, is that of another one.
    first, last = np.vstack([motion(0), [0, 0, 1]]), np.vstack([motion(FRAMES - 1), [0, 0, 1]])
    between = (last @ np.linalg.inv(first))[:2]
    expected = cv2.warpAffine((~masks[0]).astype(np.uint8), between, (SIDE, SIDE)) > 0
    both = (expected & ~masks[-1]).sum() / (expected | ~masks[-1]).sum()
    assert both > 0.9
    still = ((~masks[0]) & ~masks[-1]).sum() / ((~masks[0]) | ~masks[-1]).sum()
    assert still < 0.5  # it did move


def test_the_same_seed_gives_the_same_patches() -> None:
    clip = moving_clip()
    one, same, other = (tracking_masks(clip, LucasKanade(), seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


class Forgetful:
    """Loses all points after two frames."""

    def track(self, frames: NDArray[np.uint8], points: NDArray[np.float32], start: int, *_: object) -> Tracks:
        seen = np.abs(np.arange(len(frames)) - start)[:, None] <= 2
        return Tracks(np.repeat(points[None], len(frames), axis=0), np.broadcast_to(seen, (len(frames), len(points))))


def test_a_patch_is_gone_when_its_points_are() -> None:
    masks = tracking_masks(moving_clip(), Forgetful(), seed=3, patches=(1, 1), sizes=(0.3, 0.35))
    holes = (~masks).any(axis=(1, 2))
    assert 3 <= holes.sum() <= 5
    assert np.ptp(np.flatnonzero(holes)) == holes.sum() - 1


def test_following_can_be_stopped() -> None:
    with pytest.raises(CancelledError):
        tracking_masks(moving_clip(), LucasKanade(), seed=3, cancelled=lambda: True)

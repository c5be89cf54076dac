"""PSNR and SSIM of shots, and their masked variants: against scikit-image, by hand, and with what must not matter."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

pytest.importorskip("torchmetrics", reason="the extra train is not installed")

from ex4d_core.evaluation.shot_flicker import flickers
from ex4d_core.evaluation.shot_frechet import Features, clips_of, fid
from ex4d_core.evaluation.shot_metrics import score_frame
from ex4d_core.evaluation.shot_ranges import range_of
from ex4d_core.presets import Move, path_of

SHAPE = (50, 61, 3)


@pytest.fixture(scope="module")
def both() -> tuple[np.ndarray, np.ndarray]:
    """A picture and a worse one."""
    draw = np.random.default_rng(5)
    truth = cv2.GaussianBlur(draw.integers(0, 256, SHAPE, dtype=np.uint8), (0, 0), 1.5)
    return np.clip(truth + draw.normal(0, 9, SHAPE), 0, 255).astype(np.uint8), truth


@pytest.fixture(scope="module")
def mask() -> np.ndarray:
    """Ragged, with holes."""
    noise = np.random.default_rng(6).normal(size=SHAPE[:2]).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 3) > 0


def test_unmasked_scores_are_those_of_scikit_image(both: tuple[np.ndarray, np.ndarray]) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    found = score_frame(*both, None, None)
    assert found.psnr == pytest.approx(metrics.peak_signal_noise_ratio(both[1], both[0]), abs=1e-4)
    mirrored = [np.pad(p, ((5, 5), (5, 5), (0, 0)), mode="reflect") for p in both]  # theirs leaves the border out
    theirs = metrics.structural_similarity(
        *mirrored, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
    )
    assert found.ssim == pytest.approx(theirs, abs=1e-5)
    assert math.isnan(found.lpips)
    assert math.isnan(found.mpsnr)


def test_a_mask_of_ones_gives_the_unmasked_values(both: tuple[np.ndarray, np.ndarray]) -> None:
    found = score_frame(*both, np.ones(SHAPE[:2], bool), None)
    assert found.mpsnr == pytest.approx(found.psnr, abs=1e-5)
    assert found.mssim == pytest.approx(found.ssim, abs=1e-5)
    assert found.covisible == 1


def test_what_lies_outside_the_mask_does_not_matter(both: tuple[np.ndarray, np.ndarray], mask: np.ndarray) -> None:
    picture, truth = both
    before = score_frame(picture, truth, mask, None)
    worse = np.where(mask[..., None], picture, np.random.default_rng(7).integers(0, 256, SHAPE)).astype(np.uint8)
    after = score_frame(worse, truth, mask, None)
    assert (after.mpsnr, after.mssim) == (before.mpsnr, before.mssim)
    assert after.psnr < before.psnr - 3
    inside = picture.copy()
    inside[mask] = 255 - inside[mask]
    assert score_frame(inside, truth, mask, None).mssim < before.mssim


def test_masked_scores_by_hand(both: tuple[np.ndarray, np.ndarray], mask: np.ndarray) -> None:
    picture, truth = both
    found = score_frame(picture, truth, mask, None)
    error = np.mean((picture[mask].astype(float) - truth[mask]) ** 2)
    assert found.mpsnr == pytest.approx(10 * math.log10(255**2 / error), abs=1e-5)
    assert found.mssim == pytest.approx(_masked_ssim(picture / 255, truth / 255, mask), abs=1e-6)
    assert found.covisible == pytest.approx(mask.mean())


def _masked_ssim(x: np.ndarray, y: np.ndarray, mask: np.ndarray) -> float:
    """Pixel by pixel: weighted moments of the co-visible pixels of each window."""
    at = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    around, x, y = (np.pad(p, [(5, 5), (5, 5), (0, 0)][: p.ndim], mode="reflect") for p in (mask, x, y))
    found = []
    for row, column in zip(*np.nonzero(mask), strict=True):
        window = np.s_[row : row + 11, column : column + 11]
        weight = (np.outer(at, at) * around[window])[..., None]
        weight = weight / weight.sum()
        a, b = x[window], y[window]
        mean_a, mean_b = (weight * a).sum((0, 1)), (weight * b).sum((0, 1))
        var_a, var_b = (weight * (a - mean_a) ** 2).sum((0, 1)), (weight * (b - mean_b) ** 2).sum((0, 1))
        both = (weight * (a - mean_a) * (b - mean_b)).sum((0, 1))
        top = (2 * mean_a * mean_b + 0.01**2) * (2 * both + 0.03**2)
        found.append((top / ((mean_a**2 + mean_b**2 + 0.01**2) * (var_a + var_b + 0.03**2))).mean())
    return float(np.mean(found))


def test_the_same_picture_is_infinitely_good(both: tuple[np.ndarray, np.ndarray], mask: np.ndarray) -> None:
    found = score_frame(both[1], both[1], mask, None)
    assert found.psnr == found.mpsnr == math.inf
    assert (found.ssim, found.mssim) == pytest.approx((1, 1))


def test_nothing_covisible_is_no_number(both: tuple[np.ndarray, np.ndarray]) -> None:
    found = score_frame(*both, np.zeros(SHAPE[:2], bool), None)
    assert math.isnan(found.mpsnr)
    assert math.isnan(found.mssim)
    assert found.covisible == 0
    one = np.zeros(SHAPE[:2], bool)
    one[0, 3] = True
    assert 0 < score_frame(*both, one, None).mpsnr < 60
    assert -1 <= score_frame(*both, one, None).mssim <= 1


def test_flicker_is_what_motion_does_not_explain() -> None:
    noise = np.random.default_rng(8).integers(0, 256, (96, 140, 3), dtype=np.uint8)
    wide = cv2.GaussianBlur(noise, (0, 0), 4)
    wide = cv2.normalize(wide, None, 0, 255, cv2.NORM_MINMAX)
    still = np.stack([wide[:, 10:110]] * 3)
    assert flickers(still) == [0, 0]
    moving = np.stack([wide[:, n : n + 100] for n in range(0, 9, 2)])
    plain = np.abs(np.diff(moving.astype(float), axis=0)).mean()
    assert max(flickers(moving)) < plain / 5
    blinking = moving.copy()
    blinking[1::2] = np.clip(blinking[1::2].astype(int) + 20, 0, 255)
    assert min(flickers(blinking)) > max(flickers(moving)) + 10
    assert flickers(moving[:1]) == []


def test_fid_of_gaussian_features_is_the_closed_form() -> None:
    draw = np.random.default_rng(9)
    true = draw.normal(size=(400, 12)).astype(np.float32) * np.linspace(0.5, 2, 12, dtype=np.float32) + 3
    spread = np.trace(np.cov(true, rowvar=False))
    for scale, shift in ((1.0, 0.0), (1.0, 0.7), (1.6, 0.0), (0.5, -2.0)):
        made = scale * true + np.float32(shift)
        away = float(((made.mean(axis=0) - true.mean(axis=0)) ** 2).sum())
        closed = away + (1 - scale) ** 2 * spread  # the square root of S and a^2 S is a S
        assert fid(Features([made], [true])) == pytest.approx(closed, rel=1e-4, abs=1e-3)
    parts = Features([made[:100], made[100:]], [true])
    assert fid(parts) == pytest.approx(closed, rel=1e-4)
    assert len(parts) == 400


def test_a_video_is_cut_into_clips() -> None:
    video = np.arange(40, dtype=np.uint8)[:, None, None, None]
    assert [clip[0].item() for clip in clips_of(video)] == [0, 16]
    assert clips_of(video[:15]) == []


@pytest.mark.parametrize(
    ("move", "wanted"),
    [
        (Move("30"), "small"),
        (Move("60"), "large"),
        (Move("90"), "extreme"),
        (Move("180"), "full"),
        (Move("arc", yaw=90), "full"),
        (Move("arc", yaw=20), "small"),
        (Move("orbit", yaw=-45), "large"),
        (Move("orbit", yaw=130), "other"),
        (Move("zoom_in"), "other"),
    ],
)
def test_paths_belong_to_ranges(move: Move, wanted: str) -> None:
    assert range_of(path_of(move, 49, 3.0)) == wanted

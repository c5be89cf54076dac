"""Smeared depth edges go to the surface of their colour; clean depth stays."""

import cv2
import numpy as np

from ex4d_core.camera import Camera, Intrinsics
from ex4d_core.depth.sharpen import sharpen
from ex4d_core.evaluation.scores import boundary_f1, mask_scores
from ex4d_core.frame import render_frame
from ex4d_core.mesh import build_mesh

HEIGHT, WIDTH = 120, 160


def scene() -> tuple[np.ndarray, np.ndarray]:
    """(H, W) float32 disparity and (H, W, 3) uint8 colour: a ground, a disc and a thin pole before a wall."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    disparity = np.maximum(0.2, 0.012 * (y - 60)).astype(np.float32)
    color = np.empty((HEIGHT, WIDTH, 3), np.float32)
    color[:] = (90, 120, 150)
    color[y > 77] = (110, 90, 60)
    for where, near, paint in (
        (np.hypot(x - 55, y - 55) < 26, 0.9, (200, 60, 50)),
        (np.abs(x - 120) < 1.5, 0.7, (40, 160, 60)),
    ):
        disparity[where], color[where] = near, paint
    return disparity, np.uint8(np.clip(color + rng.normal(0, 6, color.shape), 0, 255))


def mask_from_the_side(disparity: np.ndarray) -> np.ndarray:
    """(H, W) bool: what a camera that went half a unit to the right sees of the source."""
    lens = Intrinsics(150, 150, WIDTH / 2, HEIGHT / 2, WIDTH, HEIGHT)
    moved = np.eye(4)
    moved[0, 3] = 0.5
    _, color = scene()
    return render_frame(color, build_mesh(1 / disparity, lens), Camera(moved, lens)).mask


def test_a_ramp_goes_to_its_surfaces() -> None:
    truth, color = scene()
    smeared = cv2.GaussianBlur(truth, (0, 0), 1.5)
    sharp = sharpen(smeared, color)
    assert boundary_f1(1 / sharp, 1 / truth) > boundary_f1(1 / smeared, 1 / truth) + 0.2
    assert np.abs(sharp - truth).mean() < 0.8 * np.abs(smeared - truth).mean()
    seen = mask_from_the_side(truth)
    before, after = (mask_scores(mask_from_the_side(d), seen)["f1"] for d in (smeared, sharp))
    assert after > before + 0.005


def test_clean_depth_stays() -> None:
    truth, color = scene()
    assert (sharpen(truth, color) != truth).mean() < 0.002
    assert boundary_f1(1 / sharpen(truth, color), 1 / truth) > 0.98


def test_any_scale() -> None:
    truth, color = scene()
    smeared = cv2.GaussianBlur(truth, (0, 0), 1.5)
    assert np.allclose(sharpen(1024 * smeared, color), 1024 * sharpen(smeared, color), rtol=1e-4)


def test_slopes_and_constants_stay() -> None:
    _, color = scene()
    slope = np.tile(np.linspace(0.1, 1, WIDTH, dtype=np.float32), (HEIGHT, 1))
    assert np.array_equal(sharpen(slope, color), slope)
    assert np.array_equal(sharpen(np.ones_like(slope), color), np.ones_like(slope))
    assert np.array_equal(sharpen(np.zeros_like(slope), color), np.zeros_like(slope))

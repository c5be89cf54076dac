"""Smeared edges of depth, steepened; true ones left alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ex4d_core.camera import Camera, Intrinsics
from ex4d_core.quads import build_quads, render_quads
from ex4d_core.quads.ramps import steepen


def slanted_scene() -> NDArray[np.float32]:
    """Disparity of a slanted board in front of a slanted wall, (40, 60)."""
    y, x = np.mgrid[:40, :60].astype(np.float32)
    disparity = 0.2 + 0.001 * x + 0.0005 * y
    disparity[:, 30:] = 0.5 - 0.002 * (x[:, 30:] - 30)
    return disparity.astype(np.float32)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("blur", [3, 5])
def test_a_smeared_edge_becomes_the_step_that_it_was(blur: int, turned: bool) -> None:
    true = slanted_scene().T.copy() if turned else slanted_scene()
    smeared = np.asarray(cv2.blur(true, (blur, blur), borderType=cv2.BORDER_REPLICATE), np.float32)
    inside = np.s_[5:-5, 5:-5]
    assert np.abs(smeared / true - 1)[inside].max() > 0.2
    np.testing.assert_allclose(steepen(smeared)[inside], true[inside], rtol=0.02)


def test_true_edges_stay_as_they_are() -> None:
    rows = np.arange(64, dtype=np.float32)
    floor = np.tile((0.001 + 0.01 * rows)[:, None], (1, 40))
    crease = np.tile((0.2 + 0.01 * np.abs(rows - 30))[:, None], (1, 40))
    bar = np.full((30, 40), 0.2, np.float32)
    bar[:, 18:20] = 0.5
    y, x = np.mgrid[:64, :64] - 31.5
    ball = np.full((64, 64), 0.2, np.float32)
    inside = x**2 + y**2 < 20**2
    ball[inside] = 1 / (3 - np.sqrt(20**2 - (x**2 + y**2)[inside]) / 20)
    for true in (slanted_scene(), slanted_scene().T.copy(), floor, crease, bar, ball):
        np.testing.assert_array_equal(steepen(true.astype(np.float32)), true.astype(np.float32))


def test_a_smeared_edge_shows_no_streaks() -> None:
    true = np.full((40, 60), 0.2, np.float32)
    true[:, 20:40] = 0.5
    smeared = np.asarray(cv2.blur(true, (5, 5)), np.float32)
    color = np.full((40, 60, 3), 100, np.uint8)
    lens = Intrinsics(60, 60, 30, 20, 60, 40)
    c2w = np.eye(4)
    c2w[0, 3] = 0.8
    frame = render_quads(build_quads(color, np.float32(1) / smeared, lens), Camera(c2w, lens), threads=1)
    seen = 1 / frame.depth[frame.mask]
    between = (seen > 0.23) & (seen < 0.47)
    assert frame.mask.mean() > 0.5
    assert not between.any(), f"{between.sum()} pixels lie on neither surface"

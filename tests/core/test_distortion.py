"""Lens distortion: as OpenCV's documentation writes it, inverted exactly, and pictures that come back as they were."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.distortion import WIDEST_DEGREES, Distortion, distorter, undistorter
from ex4d_core.errors import CameraError

LENS = Intrinsics(450.0, 452.0, 322.0, 178.0, 640, 360)
BARREL = Distortion("opencv", (-0.25, 0.08, 0.001, -0.0005), LENS)
PINCUSHION = Distortion("opencv", (0.12, 0.02, 0.0, 0.0), LENS)
RATIONAL = Distortion("opencv", (0.1, 0.02, 0.001, 0.002, 0.01, 0.05, 0.01, 0.0), LENS)
FISHEYE = Distortion("opencv-fisheye", (0.02, -0.01, 0.003, 0.0), Intrinsics(260.0, 260.0, 322.0, 178.0, 640, 360))
ALL = pytest.mark.parametrize("distortion", [BARREL, PINCUSHION, RATIONAL, FISHEYE], ids=repr)


def _by_the_book(distortion: Distortion, rays: NDArray[np.float64]) -> NDArray[np.float64]:
    """The formulas of OpenCV's documentation, in pixels whose centres lie at +0.5."""
    x, y = rays.T
    lens = distortion.intrinsics
    if distortion.model == "opencv-fisheye":
        k1, k2, k3, k4 = distortion.parameters
        r = np.hypot(x, y)
        angle = np.arctan(r)
        bent = angle * (1 + k1 * angle**2 + k2 * angle**4 + k3 * angle**6 + k4 * angle**8)
        scale = np.divide(bent, r, out=np.ones_like(r), where=r > 0)
        u, v = x * scale, y * scale
    else:
        k1, k2, p1, p2, k3, k4, k5, k6 = (*distortion.parameters, 0.0, 0.0, 0.0, 0.0)[:8]
        r2 = x * x + y * y
        radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
        u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
        v = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return np.stack([lens.fx * u + lens.cx, lens.fy * v + lens.cy], axis=1)


def _picture(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 12, width // 12, 3), np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)  # type: ignore[return-value]


@ALL
def test_rays_land_where_the_formulas_say_and_come_back(distortion: Distortion) -> None:
    rays = np.random.default_rng(0).uniform([-0.6, -0.35], [0.6, 0.35], (200, 2))
    pixels = distortion.distorted(rays)
    np.testing.assert_allclose(pixels, _by_the_book(distortion, rays), atol=1e-9)
    np.testing.assert_allclose(distortion.undistorted(pixels), rays, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    k=st.tuples(st.floats(-0.3, 0.3), st.floats(-0.1, 0.1)),
    p=st.tuples(st.floats(-0.005, 0.005), st.floats(-0.005, 0.005)),
    focal=st.floats(300, 1200),
)
def test_an_undistorted_picture_has_no_black_border_and_is_no_narrower_than_it_must(
    k: tuple[float, float], p: tuple[float, float], focal: float
) -> None:
    distortion = Distortion("opencv", (*k, *p), Intrinsics(focal, focal, 330.0, 170.0, 640, 360))
    pinhole = distortion.pinhole()
    assume(pinhole.fov_x_degrees < WIDEST_DEGREES - 1)
    edge = np.linspace(0, 1, 33)
    square = [(edge, 0 * edge), (edge, 0 * edge + 1), (0 * edge, edge), (0 * edge + 1, edge)]
    border = np.concatenate([np.stack(side, 1) for side in square]) * [640, 360]
    shown = _by_the_book(distortion, (border - [pinhole.cx, pinhole.cy]) / [pinhole.fx, pinhole.fy])
    slack = np.stack([shown, [640, 360] - shown])
    assert slack.min() > -1e-6
    wider = (border - [pinhole.cx, pinhole.cy]) / [pinhole.fx, pinhole.fy] * 1.02
    shown, near = _by_the_book(distortion, wider), _by_the_book(distortion, wider * 0.98)
    outside = (shown < 0) | (shown > [640, 360])
    turning = np.hypot(*(shown - [330, 170]).T) <= np.hypot(*(near - [330, 170]).T) * 1.001
    assert outside.any() or turning.any()


@ALL
def test_pictures_come_back_as_they_were(distortion: Distortion) -> None:
    pinhole = distortion.pinhole()
    image = _picture(640, 360)
    undistort, distort = undistorter(distortion, pinhole), distorter(distortion, pinhole)
    assert undistort.seen.all()
    back = distort(undistort(image))
    inner = cv2.erode(distort.seen.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    assert inner.mean() > 0.6
    error = (back.astype(float) - image)[inner]
    assert 10 * np.log10(255**2 / (error**2).mean()) > 44
    assert (back[~distort.seen] == 0).all()


@ALL
def test_every_pixel_is_taken_from_where_the_formulas_say(distortion: Distortion) -> None:
    pinhole = distortion.pinhole()
    rows, columns = np.mgrid[20:340:40, 20:620:50]
    rays = (np.stack([columns.ravel(), rows.ravel()], 1) + 0.5 - [pinhole.cx, pinhole.cy]) / [pinhole.fx, pinhole.fy]
    x, y = np.meshgrid(np.arange(640) + 0.5, np.arange(360) + 0.5)
    coordinates = np.stack([x, y, 0 * x], -1).astype(np.float32)  # a picture of its own places
    taken = undistorter(distortion, pinhole)(coordinates)[rows.ravel(), columns.ravel(), :2]
    np.testing.assert_allclose(taken, _by_the_book(distortion, rays), atol=0.06)  # OpenCV's cubic, in steps of 1/32


@ALL
def test_the_same_lens_at_another_size(distortion: Distortion) -> None:
    large = distortion.resized(960, 540)
    rays = np.random.default_rng(0).uniform([-0.4, -0.2], [0.4, 0.2], (50, 2))
    np.testing.assert_allclose(large.distorted(rays), distortion.distorted(rays) * 1.5, atol=1e-9)
    assert large.pinhole().resized(640, 360).as_tuple() == pytest.approx(distortion.pinhole().as_tuple(), rel=1e-6)
    document = large.document()
    assert Distortion.from_document(document, 960, 540) == large


def test_masks_and_depth_keep_their_values_and_deep_pictures_their_depth() -> None:
    depth = np.where(_picture(640, 360)[..., 0] > 128, np.float32(2), np.float32(7))
    bend = undistorter(BARREL, BARREL.pinhole())
    assert set(np.unique(bend(depth))) == {2, 7}
    mask = bend(depth > 3)
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, bend(depth) > 3)
    deep = _picture(640, 360).astype(np.uint16) * np.uint16(257)
    np.testing.assert_allclose(bend(deep) / 257.0, bend(_picture(640, 360)), atol=1)


def test_the_direction_is_that_of_a_barrel() -> None:
    """The footage of a barrel lens shows straight lines bowed outwards: undistorted, its corners move out."""
    pinhole = BARREL.pinhole()
    corner = np.array([[20.0, 20.0]])
    straight = BARREL.undistorted(corner) * [LENS.fx, LENS.fy] + [LENS.cx, LENS.cy]
    assert (straight < 0).all()
    assert pinhole.fx < LENS.fx


def test_pixels_that_no_ray_reaches_are_black() -> None:
    strong = Distortion("opencv", (-0.4, 0.0, 0.0, 0.0), LENS)
    assert np.isnan(strong.undistorted(np.array([[1.0, 1.0]]))).all()
    assert not distorter(strong, strong.pinhole()).seen[0, 0]


def test_a_fisheye_of_half_the_world_becomes_a_picture_that_is_not_wider_than_is_of_use() -> None:
    wide = Distortion("opencv-fisheye", (0.0, 0.0, 0.0, 0.0), Intrinsics(150.0, 150.0, 320.0, 180.0, 640, 360))
    assert wide.pinhole().fov_x_degrees == pytest.approx(WIDEST_DEGREES, abs=0.1)
    assert undistorter(wide, wide.pinhole()).seen.all()


def test_what_is_no_distortion_is_refused() -> None:
    with pytest.raises(CameraError, match="3 parameters is unknown"):
        Distortion("opencv", (0.1, 0.2, 0.3), LENS)
    with pytest.raises(CameraError, match="finite"):
        Distortion("opencv", (np.nan, 0.0, 0.0, 0.0), LENS)
    with pytest.raises(ValueError, match="360, 640"):
        undistorter(BARREL, BARREL.pinhole())(np.zeros((10, 10), np.float32))

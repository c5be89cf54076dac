"""The risk pass: how finely the source sampled what a camera sees, as maps, pictures and numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from render_cases import FOCAL, HEIGHT, LENS, WIDTH, card, moved, noise, tilted

from ex4d_core.camera import Camera, Intrinsics
from ex4d_core.frame import RESOLUTION_PERCENTILES, RenderedFrame, render_frame
from ex4d_core.mesh import build_mesh


def seen_by(camera: Camera, depth: NDArray[np.float32]) -> tuple[RenderedFrame, NDArray[np.float32]]:
    """A frame and its resolution."""
    frame = render_frame(noise(), build_mesh(depth, LENS), camera, resolution=True)
    assert frame.resolution is not None
    assert frame.resolution.shape == (*frame.mask.shape, 2)
    assert not frame.resolution[~frame.mask].any()
    return frame, frame.resolution


def plane(slope: float) -> NDArray[np.float32]:
    """A plane through (0, 0, 4) that runs away to the right."""
    u = (np.arange(WIDTH) + 0.5 - LENS.cx) / LENS.fx
    return np.broadcast_to(4 / (1 - slope * u), (HEIGHT, WIDTH)).astype(np.float32)


def test_going_half_the_way_halves_it() -> None:
    wall = np.full((HEIGHT, WIDTH), 4, np.float32)
    near, resolution = seen_by(moved(z=2.0), wall)
    np.testing.assert_allclose(resolution, 0.5, rtol=1e-4)
    np.testing.assert_allclose(near.risk()[..., 1], 128, atol=1)
    away, resolution = seen_by(moved(z=-4.0), wall)
    np.testing.assert_allclose(resolution[away.mask], 2, rtol=1e-4)
    np.testing.assert_array_equal(away.risk()[..., 0] == 255, ~away.mask)
    assert not away.risk()[..., 1:].any()


def test_a_stretch_to_one_side_has_two_values() -> None:
    wide = Intrinsics(FOCAL * 3, FOCAL, WIDTH / 2, HEIGHT / 2, WIDTH, HEIGHT)
    frame, resolution = seen_by(moved(lens=wide), np.full((HEIGHT, WIDTH), 4, np.float32))
    np.testing.assert_allclose(resolution, np.broadcast_to([1 / 3, 1], resolution.shape), rtol=1e-4)
    np.testing.assert_allclose(frame.risk()[..., 1], 170, atol=1)


@pytest.mark.parametrize("camera", [tilted(50), tilted(-35), moved(x=0.4, z=3.2)], ids=["right", "left", "close"])
def test_it_is_the_derivative_of_the_source_position(camera: Camera) -> None:
    """By central differences, on a slanted plane, also close up, where faces are many pixels large."""
    frame, resolution = seen_by(camera, plane(0.4))
    xy = frame.source_xy.astype(np.float64)
    jacobian = np.stack([xy[1:-1, 2:] - xy[1:-1, :-2], xy[2:, 1:-1] - xy[:-2, 1:-1]], axis=-1) / 2
    most, least = np.moveaxis(np.linalg.svd(jacobian, compute_uv=False), -1, 0)
    m = frame.mask
    inside = m[1:-1, 1:-1] & m[1:-1, 2:] & m[1:-1, :-2] & m[2:, 1:-1] & m[:-2, 1:-1]
    assert inside.mean() > 0.3
    # The position is linear within a face, the plane's is not quite, and a difference spans three pixels.
    for found, expected in ((resolution[..., 0], least), (resolution[..., 1], most)):
        off = np.abs(found[1:-1, 1:-1][inside] / expected[inside] - 1)
        assert np.median(off) < 4e-3
        assert (off < 0.03).mean() > 0.98


def test_pixels_that_show_a_corner_have_its_size() -> None:
    """Pixels on bridges beside the card show a pixel of it or of the wall, from as near as those inside."""
    frame, resolution = seen_by(moved(x=0.3, z=1.0), card())
    on_card = frame.mask & (np.abs(frame.depth - 1) < 1e-3)
    on_wall = frame.mask & (np.abs(frame.depth - 3) < 1e-3)
    assert (on_card | on_wall)[frame.mask].all()
    np.testing.assert_allclose(resolution[on_card], 1 / 2, rtol=0.02)
    np.testing.assert_allclose(resolution[on_wall], 3 / 4, rtol=0.02)


def test_the_numbers_count_seen_pixels() -> None:
    frame, resolution = seen_by(moved(x=0.3, z=1.2), card())
    seen = resolution[..., 0][frame.mask]
    assert frame.stretched == pytest.approx((seen < 0.5).mean())
    assert 0.05 < frame.stretched < 0.95
    percentiles = frame.resolution_percentiles
    assert percentiles is not None
    assert tuple(percentiles) == RESOLUTION_PERCENTILES
    for percent, value in percentiles.items():
        assert (seen < value - 1e-4).mean() <= percent / 100 <= (seen <= value + 1e-4).mean()
    nothing = replace(frame, mask=np.zeros_like(frame.mask))
    assert (nothing.stretched, nothing.resolution_percentiles) == (0.0, {})
    unmeasured = replace(frame, resolution=None)
    assert (unmeasured.stretched, unmeasured.resolution_percentiles) == (None, None)
    assert not unmeasured.risk()[..., 1].any()


def test_the_channels_of_the_exr_are_the_maps() -> None:
    frame, resolution = seen_by(moved(x=0.3, z=1.2), card())
    elsewhere = np.zeros_like(frame.mask)
    elsewhere[3:5, 7:9] = True
    frame = replace(frame, elsewhere=elsewhere)
    channels = frame.risk_channels()
    assert sorted(channels) == ["coverage.Y", "performance.Y", "resolution_least.Y", "resolution_most.Y"]
    np.testing.assert_array_equal(channels["coverage.Y"], ~frame.mask)
    np.testing.assert_array_equal(channels["performance.Y"], elsewhere)
    np.testing.assert_allclose(channels["resolution_least.Y"], resolution[..., 0], rtol=2**-10)
    np.testing.assert_allclose(channels["resolution_most.Y"], resolution[..., 1], rtol=2**-10)
    assert all(values.dtype == np.float16 for values in channels.values())
    huge = replace(frame, resolution=np.full_like(resolution, 1e9))
    assert np.isfinite(huge.risk_channels()["resolution_most.Y"]).all()
    assert sorted(replace(frame, resolution=None).risk_channels()) == ["coverage.Y", "performance.Y"]

"""Sizes that a model can do: aspect kept, budget kept, nothing of a shot lost or darkened."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ex4d_core.generate.sizing import fit
from ex4d_core.generate.video_model import Limits

LIMITS = Limits(frames=81, pixels=832 * 480)


@pytest.mark.parametrize(
    ("shot", "model", "content"),
    [
        ((832, 480), (832, 480), (832, 480)),
        ((512, 512), (512, 512), (512, 512)),  # as the reference: not enlarged to the budget
        ((480, 832), (480, 832), (480, 832)),
        ((1920, 1080), (832, 480), (832, 468)),
        ((1280, 720), (832, 480), (832, 468)),
        ((1000, 1000), (624, 624), (624, 624)),
        ((2048, 858), (960, 416), (960, 402)),
        ((97, 55), (112, 64), (97, 55)),
    ],
)
def test_known_sizes(shot: tuple[int, int], model: tuple[int, int], content: tuple[int, int]) -> None:
    found = fit(*shot, LIMITS)
    assert (found.model, found.content) == (model, content)


@given(st.integers(8, 4096), st.integers(8, 4096), st.sampled_from([64 * 64, 832 * 480, 1280 * 720]))
def test_any_size_fits_and_is_not_squashed(width: int, height: int, pixels: int) -> None:
    found = fit(width, height, Limits(81, pixels))
    (wide, high), (columns, rows) = found.model, found.content
    assert wide % 16 == high % 16 == 0
    assert wide * high <= pixels
    assert wide - columns >= 0
    assert high - rows >= 0
    # There is one factor for both directions, to half a pixel of rounding.
    assert (columns - 0.501) / width <= (rows + 0.501) / height
    assert (rows - 0.501) / height <= (columns + 0.501) / width
    if width * height <= pixels / 2 and max(width, height) < 500:
        assert not found.scaled


def test_what_is_unseen_neither_darkens_nor_shows() -> None:
    """A white picture with a hole, half the size: white where it says seen, and the hole has not shrunk."""
    found = fit(160, 96, Limits(81, 80 * 48))
    assert found.content == (80, 48)
    mask = np.ones((96, 160), bool)
    mask[33:60, 41:90] = False
    small, seen = found.shrink(np.where(mask[..., None], np.uint8(255), np.uint8(7)) * np.ones(3, np.uint8), mask)
    assert (small[seen] == 255).all()
    assert (small[~seen] == 0).all()
    np.testing.assert_array_equal(seen, mask.reshape(48, 2, 80, 2).all(axis=(1, 3)))


def test_padding_continues_the_edge_and_is_cut_away() -> None:
    found = fit(97, 55, LIMITS)
    rng = np.random.default_rng(0)
    color, mask = rng.integers(1, 255, (55, 97, 3), np.uint8), np.ones((55, 97), bool)
    padded, seen = found.shrink(color, mask)
    assert padded.shape == (64, 112, 3)
    assert seen.all()
    np.testing.assert_array_equal(padded[:55, 97:], np.repeat(color[:, -1:], 15, axis=1))
    np.testing.assert_array_equal(found.enlarge(padded), color)


def test_a_gradient_comes_back_where_it_was() -> None:
    """Smaller and larger again by other factors than whole ones: no shift, no other size."""
    width, height = 401, 227
    found = fit(width, height, Limits(81, 208 * 128))
    assert found.scaled
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    color = np.stack([x, y, np.full_like(x, 90)], axis=-1).astype(np.uint8)
    small, _ = found.shrink(color, np.ones((height, width), bool))
    back = found.enlarge(small).astype(int) - color
    assert back.shape == (height, width, 3)
    assert np.abs(back[8:-8, 8:-8]).max() <= 2


def test_previews_lose_the_padding_too() -> None:
    found = fit(97, 55, LIMITS)
    assert found.cropped(np.zeros((3, 8, 14, 3), np.uint8)).shape == (3, 7, 12, 3)


def test_a_picture_of_another_aspect_shows_its_middle() -> None:
    found = fit(96, 96, LIMITS)
    picture = np.zeros((50, 150, 3), np.uint8)
    picture[:, 60:90] = 200
    shown = found.picture(picture)
    assert shown.shape == (96, 96, 3)
    assert shown[48, 48, 0] == 200
    assert shown[48, 2, 0] == shown[48, -2, 0] == 0

"""An artist's plate is sacred: what was seen stays exactly as it was."""

import numpy as np

from ex4d_core.generate.keeping import feather_pixels, keep_source


def _frame(height: int = 240) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    color, generated = rng.integers(0, 255, (2, height, 320, 3), np.uint8)
    mask = np.ones((height, 320), bool)
    mask[80:160, 100:180] = False
    return generated, np.where(mask[..., None], color, np.uint8(0)), mask


def test_the_source_is_exact_beyond_the_feather_and_the_hole_is_what_was_generated() -> None:
    generated, color, mask = _frame()
    kept = keep_source(generated, color, mask)
    feather = feather_pixels(240)
    near = np.zeros_like(mask)
    near[80 - feather : 160 + feather, 100 - feather : 180 + feather] = True
    np.testing.assert_array_equal(kept[~near], color[~near])
    np.testing.assert_array_equal(kept[~mask], generated[~mask])


def test_the_feather_lies_on_the_seen_side_and_holds_no_black() -> None:
    """White over white: any black of the hole in the mix would show."""
    _, _, mask = _frame()
    white = np.full((*mask.shape, 3), 255, np.uint8)
    kept = keep_source(white, np.where(mask[..., None], white, np.uint8(0)), mask)
    assert (kept == 255).all()


def test_the_feather_goes_over_evenly() -> None:
    _, _, mask = _frame()
    shape = (*mask.shape, 3)
    kept = keep_source(np.zeros(shape, np.uint8), np.full(shape, 200, np.uint8), mask)[120, :100, 0].astype(int)
    ramp = kept[100 - feather_pixels(240) - 1 :]
    assert ramp[0] == 200
    assert ramp[-1] == 0
    assert (np.diff(ramp) < 0).all()


def test_wholly_seen_and_wholly_unseen_frames() -> None:
    generated, color, mask = _frame()
    np.testing.assert_array_equal(keep_source(generated, color, np.ones_like(mask)), color)
    np.testing.assert_array_equal(keep_source(generated, color, np.zeros_like(mask)), generated)


def test_the_feather_grows_with_the_frame() -> None:
    assert [feather_pixels(h) for h in (48, 480, 1080)] == [2, 5, 11]

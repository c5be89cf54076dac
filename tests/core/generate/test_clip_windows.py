"""Clips in windows: every frame once, lengths that models do, what is shared blended."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ex4d_core.generate.windows import blended, cut, window_seed


@given(st.integers(1, 500), st.integers(1, 24))
def test_every_frame_comes_from_one_window(total: int, groups: int) -> None:
    longest = 4 * groups + 1
    pieces = cut(total, longest)
    shown: list[int] = []
    for window in range(pieces.count):
        numbers, fresh = pieces.frames(window), pieces.fresh(window)
        assert len(numbers) == pieces.length <= longest
        assert pieces.length % 4 == 1
        shown += numbers[:fresh]
        if window + 1 < pieces.count:
            following = pieces.frames(window + 1)
            assert following[: pieces.overlap] == numbers[fresh : fresh + pieces.overlap]
            assert pieces.overlap % 4 == 1
    assert shown == list(range(total))
    assert pieces.count == 1 or total > longest


def test_a_clip_that_fits_is_one_window_of_the_least_length() -> None:
    assert (cut(49, 81).length, cut(49, 81).count) == (49, 1)
    assert cut(50, 81).frames(0)[-4:] == [49, 49, 49, 49]
    assert cut(1, 81).length == 1


def test_windows_are_of_one_length_and_none_is_much_too_long() -> None:
    pieces = cut(100, 81)
    assert (pieces.count, pieces.length, pieces.overlap) == (2, 57, 9)


def test_the_seeds_of_windows_differ_and_the_first_is_the_shots() -> None:
    seeds = [window_seed(7, index) for index in range(50)]
    assert seeds[0] == 7
    assert len(set(seeds)) == 50
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seeds[1:] != [window_seed(8, index) for index in range(1, 50)]


def test_blending_goes_over_evenly() -> None:
    before, after = np.zeros((9, 2, 2, 3), np.uint8), np.full((9, 2, 2, 3), 200, np.uint8)
    levels = blended(before, after)[:, 0, 0, 0].astype(int)
    np.testing.assert_array_equal(levels, np.arange(1, 10) * 20)

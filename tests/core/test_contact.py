"""The contact sheet."""

import numpy as np

from ex4d_core.contact import contact_sheet, pick_times


def test_times_are_spread_and_never_repeat() -> None:
    assert pick_times(49) == [0, 12, 24, 36, 48]
    assert pick_times(3) == [0, 1, 2]
    assert pick_times(1) == [0]


def test_each_picture_stands_in_its_cell() -> None:
    def grey(value: int) -> np.ndarray:
        return np.full((48, 64, 3), value, np.uint8)

    sheet = contact_sheet({"source": [grey(40), grey(80)], "output": [grey(120), grey(160)]}, [0, 9])
    assert sheet.shape == (22 + 2 * (240 + 22), 2 * 324 - 4, 3)
    for row in range(2):
        for column in range(2):
            middle = sheet[44 + row * 262 + 120, column * 324 + 160]
            np.testing.assert_array_equal(middle, 40 + 80 * row + 40 * column)
    assert (sheet[:22] > 100).any(), "the column's frame number is printed"

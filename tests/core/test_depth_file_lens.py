"""A lens that stands beside the depth in its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from depth_file_cases import estimate
from ingest_cases import FRAMES, HEIGHT, WIDTH, depths

from ex4d_core.errors import Ex4dError

K = np.array([[70.0, 0, 33], [0, 72.0, 17], [0, 0, 1]])


@pytest.mark.parametrize(
    "given",
    [
        {"intrinsics": K},
        {"K": K / [[WIDTH], [HEIGHT], [1]]},  # as shares of the sides
        {"intrinsic": np.array([70.0, 72, 33, 17])},
        {"intrinsics": np.tile(K, (FRAMES, 1, 1))},
    ],
)
def test_a_lens_beside_the_depth_is_told(tmp_path: Path, given: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "z.npz", depth=depths(), **given)
    lenses = estimate(tmp_path / "z.npz", size=(WIDTH * 2, HEIGHT * 2), clip_size=(WIDTH, HEIGHT)).intrinsics
    assert lenses is not None
    assert len(lenses) == FRAMES
    assert lenses[2].as_tuple() == pytest.approx((140, 144, 66, 34))


def test_a_lens_of_each_frame_goes_with_the_part_that_is_taken(tmp_path: Path) -> None:
    rows = np.array([[70.0 + t, 72, 33, 17] for t in range(FRAMES)])
    np.savez(tmp_path / "z.npz", depth=depths(), intrinsics=rows)
    lenses = estimate(tmp_path / "z.npz", frames=2, start=3, whole=FRAMES).intrinsics
    assert lenses is not None
    assert [lens.fx for lens in lenses] == [73, 74]
    folder = tmp_path / "each"
    folder.mkdir()
    for t in range(FRAMES):
        np.savez(folder / f"{t}.npz", depth=depths()[t], intrinsics=rows[t])
    each = estimate(folder).intrinsics
    assert each is not None
    assert [lens.fx for lens in each] == list(rows[:, 0])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (K * [[2], [2], [1]], "for a picture of another size"),
        (K * np.nan, "numbers that are not positive or not finite"),
        (-K, "numbers that are not positive or not finite"),
        (np.zeros((3, 3)), "numbers that are not positive or not finite"),
        (np.eye(4), "has 4x4 numbers for 6 frames"),
        (np.tile(K, (2, 1, 1)), "has 2x3x3 numbers for 6 frames"),
        (np.empty((0, 4)), "has 0x4 numbers for 6 frames"),
        (np.array(70.0), "has single numbers for 6 frames"),
        (np.array("text"), "cannot be read as numbers"),
        (np.array([None, {}], object), "cannot be read as numbers"),
        (K * [[0.001], [0.001], [1]] + [[0, 0, 33], [0, 0, 17], [0, 0, 0]], "field of view of 180 degrees"),
    ],
)
def test_what_is_no_lens_of_this_picture_is_refused(tmp_path: Path, bad: np.ndarray, message: str) -> None:
    np.savez(tmp_path / "z.npz", depth=depths(), intrinsics=bad)
    with pytest.raises(Ex4dError, match=r"The lens in .*z.npz \('intrinsics'\).*" + message):
        estimate(tmp_path / "z.npz")

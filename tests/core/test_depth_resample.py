"""Depth of another size: nothing between two surfaces, planes exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ex4d_core.depth.resample import resample_depth


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 9999),
    old=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    new=st.tuples(st.integers(1, 24), st.integers(1, 24)),
)
def test_resampling_makes_no_depth_between_two_surfaces(seed: int, old: tuple[int, int], new: tuple[int, int]) -> None:
    random = np.random.default_rng(seed)
    near, far = random.uniform(1, 1.02, old), random.uniform(5, 5.1, old)
    depth = np.where(random.random(old) < 0.5, near, far).astype(np.float32)
    depth[random.random(old) < 0.1] = np.inf
    found = resample_depth(depth, new[1], new[0])
    assert found.shape == new
    assert (((found >= 1) & (found <= 1.021)) | ((found >= 4.99) & (found <= 5.11)) | np.isposinf(found)).all()


def test_resampling_keeps_planes_exact(tmp_path: Path) -> None:
    def plane(height: int, width: int) -> NDArray[np.float64]:
        x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
        return 1 / (0.2 + 0.1 * x[None] + 0.05 * y[:, None])

    found = resample_depth(plane(40, 60).astype(np.float32), 150, 100)
    inner = (slice(2, -2), slice(2, -2))  # beyond the old pixel centres nothing is extrapolated
    np.testing.assert_allclose(found[inner], plane(100, 150)[inner], rtol=1e-5)
    np.testing.assert_allclose(resample_depth(plane(40, 60).astype(np.float32), 30, 20), plane(20, 30), rtol=1e-5)

"""Long clips in chunks: every frame is in one, those of a take overlap, and two worlds become one."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ex4d_core.depth.chunks import (
    Similarity,
    blend_cameras,
    depth_ratio,
    join,
    nearest_rotation,
    plan_chunks,
    ramp,
    takes,
)


def random_cameras(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 4, 4) camera-to-world."""
    cameras = np.tile(np.eye(4), (count, 1, 1))
    for camera in cameras:
        camera[:3, :3] = nearest_rotation(rng.normal(size=(3, 3)))
        camera[:3, 3] = rng.normal(size=3)
    return cameras


@given(
    count=st.integers(1, 300),
    cuts=st.sets(st.integers(-3, 310), max_size=4),
    length=st.integers(2, 70),
    overlap=st.integers(0, 30),
)
def test_chunks_cover_the_clip_and_keep_to_the_takes(count: int, cuts: set[int], length: int, overlap: int) -> None:
    overlap = min(overlap, length - 1)
    chunks = plan_chunks(count, tuple(cuts), length, overlap)
    spans = takes(count, tuple(cuts))
    assert sorted({frame for chunk in chunks for frame in range(chunk.start, chunk.stop)}) == list(range(count))
    for chunk in chunks:
        start, end = next((s, e) for s, e in spans if s <= chunk.start < e)
        assert chunk.stop <= end
        assert len(chunk) == min(length, end - start)
        if not chunk.shared:
            assert chunk.start == start or overlap == 0
    for before, chunk in pairwise(chunks):
        if chunk.shared:
            assert chunk.shared == before.stop - chunk.start >= overlap
            assert chunk.start > before.start
        elif overlap:
            assert chunk.start == before.stop


def test_a_shot_of_one_chunk_is_one_piece() -> None:
    assert [(c.start, c.stop, c.shared) for c in plan_chunks(64, (), 64, 16)] == [(0, 64, 0)]
    assert [(c.start, c.stop, c.shared) for c in plan_chunks(65, (), 64, 16)] == [(0, 64, 0), (1, 65, 63)]
    assert [(c.start, c.stop) for c in plan_chunks(10, (4,), 64, 16)] == [(0, 4), (4, 10)]


@pytest.mark.parametrize("moving", [True, False])
def test_two_worlds_of_the_same_frames_become_one(moving: bool) -> None:
    rng = np.random.default_rng(0)
    wanted = random_cameras(rng, 5)
    if not moving:  # where positions alone tell nothing of the rotation between the worlds
        wanted = np.tile(wanted[:1], (5, 1, 1))
    hidden = Similarity(0.4, nearest_rotation(rng.normal(size=(3, 3))), np.array([3.0, -2.0, 1.0]))
    inverse = Similarity(1 / hidden.scale, hidden.rotation.T, -hidden.rotation.T @ hidden.translation / hidden.scale)
    given_cameras = inverse.cameras(wanted)
    depth = rng.uniform(1, 9, (5, 6, 8)).astype(np.float32)
    other = (depth / np.float32(hidden.scale)).astype(np.float32)
    scale = depth_ratio(depth, other)
    found = join(wanted, given_cameras, scale)
    np.testing.assert_allclose(found.cameras(given_cameras), wanted, atol=1e-5)
    np.testing.assert_allclose(found.after(inverse).rotation, np.eye(3), atol=1e-5)
    assert found.after(inverse).scale == pytest.approx(1, abs=1e-5)


def test_the_ratio_listens_to_the_trusted_half() -> None:
    rng = np.random.default_rng(1)
    depth = rng.uniform(1, 9, (2, 50, 50)).astype(np.float32)
    other = depth / 3 * np.exp(rng.normal(0, 0.2, depth.shape)).astype(np.float32)
    trust = np.ones_like(depth)
    other[:, :, :20] *= rng.uniform(2, 9, (2, 50, 20)).astype(np.float32)  # a wrong 40 %, all to one side
    trust[:, :, :20] = 0
    assert depth_ratio(depth, other, trust) == pytest.approx(3, rel=0.03)
    assert depth_ratio(depth, other) < 2.7


def test_paths_are_blended_without_a_jump_and_stay_cameras() -> None:
    rng = np.random.default_rng(2)
    before = random_cameras(rng, 4)
    after = before.copy()
    after[:, :3, 3] += 1
    weights = ramp(4)
    mixed = blend_cameras(before, after, weights)
    np.testing.assert_allclose(mixed[:, :3, 3] - before[:, :3, 3], np.repeat(weights[:, None], 3, 1))
    np.testing.assert_allclose(mixed[:, :3, :3], before[:, :3, :3], atol=1e-12)
    turned = blend_cameras(before, random_cameras(rng, 4), weights)[:, :3, :3]
    np.testing.assert_allclose(turned @ turned.transpose(0, 2, 1), np.tile(np.eye(3), (4, 1, 1)), atol=1e-9)
    assert (weights > 0).all()
    assert (weights < 1).all()

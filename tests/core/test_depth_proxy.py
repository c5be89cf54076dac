"""What viewports read: every n-th pixel of the depth, negative where there are bridges."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from ex4d_core.camera import Intrinsics
from ex4d_core.depth.exr import read_exr
from ex4d_core.depth_proxy import MOST_VERTICES, depth_proxy, proxy_step
from ex4d_core.errors import InputError
from ex4d_core.images import read_image
from ex4d_core.scene import Scene, write_scene


def by_loops(stored: np.ndarray, occlusion: np.ndarray, step: int) -> np.ndarray:
    """`depth_proxy`, spelled out."""
    height, width = stored.shape
    rows, columns = ([*range(0, size - 1, step), size - 1] for size in (height, width))
    proxy = np.empty((len(rows), len(columns)), stored.dtype)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            block = occlusion[row : min(row + step, height - 1), column : min(column + step, width - 1)]
            proxy[i, j] = -stored[row, column] if (block % 4).any() else stored[row, column]
    return proxy


@pytest.mark.parametrize("step", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [(2, 2), (7, 10), (10, 7), (13, 16)])
@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_it_is_what_the_loops_say(size: tuple[int, int], step: int, kind: type) -> None:
    rng = np.random.default_rng(step)
    stored = rng.uniform(0.01, 1, size).astype(kind)
    occlusion = rng.choice([0, 0, 0, 0, 1, 2, 3], size).astype(np.uint8)
    occlusion |= rng.choice([0, 4, 8, 64], size).astype(np.uint8)  # bits that are no bridges
    proxy = depth_proxy(stored, occlusion, step)
    assert proxy.dtype == kind
    np.testing.assert_array_equal(proxy, by_loops(stored, occlusion, step))


def test_a_zero_of_a_torn_block_is_negative_too() -> None:
    assert depth_proxy(np.zeros((2, 2), np.float16), np.full((2, 2), 3, np.uint8), 1)[0, 0] < 0


def test_the_step_is_the_smallest_that_is_fluent() -> None:
    assert [proxy_step(*size) for size in ((832, 480), (1024, 576), (1920, 1080), (3840, 2160))] == [1, 2, 3, 5]
    assert (1920 // 3) * (1080 // 3) <= MOST_VERTICES < (1920 // 2) * (1080 // 2)


def test_a_scene_has_one_for_each_frame(tmp_path: Path) -> None:
    depths = np.full((2, 12, 16), 5, np.float32)
    depths[:, 4:8, 5:9] = 2
    colors = np.zeros((2, 12, 16, 3), np.uint8)
    lens = Intrinsics(fx=16.0, fy=16.0, cx=8.0, cy=6.0, width=16, height=12)
    scene = write_scene(tmp_path / "a.ex4d", colors, depths, fps=Fraction(24), intrinsics=lens)
    assert (scene.document.files.proxy, scene.document.proxy_step) == ("proxy/%06d.exr", 1)
    for frame in range(2):
        proxy = read_exr(scene.path / f"proxy/{frame:06d}.exr")
        np.testing.assert_array_equal(np.abs(proxy), read_exr(scene.path / f"depth/{frame:06d}.exr"))
        np.testing.assert_array_equal(proxy < 0, read_image(scene.path / f"occlusion/{frame:06d}.png")[..., 0] & 3 > 0)
    (scene.path / "proxy/000001.exr").write_bytes(b"other")
    Scene.open(scene.path, verify=True)  # it can be made again, and so is not hashed
    (scene.path / "proxy/000001.exr").unlink()
    with pytest.raises(InputError, match="lacks the depth proxy of 1 of 2 frames"):
        Scene.open(scene.path)

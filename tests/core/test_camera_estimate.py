"""The camera's path from pictures and depth: what rests stands still in the world, what walks does not count."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from camera_cases import HEIGHT, LENS, ROOM, WALKER, WIDTH, World, filmed, walk

from ex4d_core.camera_estimate import estimate_camera
from ex4d_core.errors import CancelledError, InputError
from ex4d_core.evaluation.drift import Filmed, drift
from ex4d_core.evaluation.truth import open_truth
from ex4d_core.progress import never_cancelled, silent

FRAMES = 20
WALK = walk(FRAMES, (0.4, -0.1, 0.3), 4.0)


class Kept:
    """A world whose frames are rendered once; some may be replaced."""

    def __init__(self, world: World, replaced: dict[int, np.ndarray] | None = None) -> None:
        self.colors = [world[frame] for frame in range(len(world))]
        for frame, picture in (replaced or {}).items():
            self.colors[frame] = picture
        self.depths = [world.depth(frame) for frame in range(len(world))]

    def estimate(self, world: World, cuts: tuple[int, ...] = (), scale: float = 1.0):
        depth = [scale * z for z in self.depths]
        return estimate_camera(self.colors, depth.__getitem__, list(world.lenses), cuts, silent, never_cancelled)


@pytest.fixture(scope="module")
def walked() -> tuple[World, Kept]:
    world = filmed((*ROOM, WALKER), WALK, 4.0)
    return world, Kept(world)


def test_what_rests_stands_still_though_someone_walks(walked: tuple[World, Kept]) -> None:
    world, kept = walked
    found = kept.estimate(world)
    assert np.array_equal(found.c2w[0], np.eye(4))
    assert world.drift(found.c2w) < 0.01
    assert world.drift(np.tile(np.eye(4), (FRAMES, 1, 1))) > 0.05, "a camera that stood still would fail"
    assert found.residual_px < 0.5
    assert f"{found.residual_px:.2f} pixels" in found.note


def test_the_path_has_the_units_of_the_depth(walked: tuple[World, Kept]) -> None:
    world, kept = walked
    twice = kept.estimate(world, scale=2.0)
    assert np.allclose(twice.c2w[-1, :3, 3], 2 * WALK[-1, :3, 3], atol=0.06)


def test_depth_that_flickers_does_not_shake_the_path(walked: tuple[World, Kept]) -> None:
    world, kept = walked
    scale = np.exp(np.random.default_rng(1).normal(0, 0.05, FRAMES))
    depth = [s * z for s, z in zip(scale, kept.depths, strict=True)]
    found = estimate_camera(kept.colors, depth.__getitem__, list(world.lenses), (), silent, never_cancelled)
    assert world.drift(found.c2w) < 0.01


def test_each_take_begins_at_the_identity(walked: tuple[World, Kept]) -> None:
    world, kept = walked
    found = kept.estimate(world, cuts=(12,))
    assert np.array_equal(found.c2w[12], np.eye(4))
    relative = np.linalg.inv(WALK[12]) @ WALK[-1]
    assert np.allclose(found.c2w[-1], relative, atol=0.05)
    assert "2 takes" in found.note


def test_a_known_zoom_moves_nothing() -> None:
    lenses = tuple(LENS.from_focal_px(300 * (1 + 0.006 * frame), WIDTH, HEIGHT) for frame in range(12))
    world = World(ROOM, np.tile(np.eye(4), (12, 1, 1)), lenses, 4.0)
    assert world.drift(Kept(world).estimate(world).c2w) < 0.01


BLACK = np.zeros((HEIGHT, WIDTH, 3), np.uint8)


@pytest.mark.parametrize(
    ("frame", "picture", "reason"),
    [
        (0, BLACK, "black, blurred or without texture"),
        (5, BLACK, "black, blurred or without texture"),
        (5, filmed((replace(ROOM[0], seed=9),), WALK)[0], "(cut or a flash|agree on where)"),
    ],
)
def test_a_frame_that_cannot_be_placed_is_named(frame: int, picture: np.ndarray, reason: str) -> None:
    world = filmed(ROOM, WALK[:8], 4.0)
    kept = Kept(world, {frame: picture})
    with pytest.raises(InputError, match=f"camera of frame {frame} .*{reason}.*: .*--source-camera"):
        kept.estimate(world)


def test_without_depth_there_is_no_path() -> None:
    world = filmed(ROOM, WALK[:3])
    kept = Kept(world)
    kept.depths[0] = np.full((HEIGHT, WIDTH), np.inf, np.float32)
    with pytest.raises(InputError, match="frame 0 .*hardly any depth"):
        kept.estimate(world)


def test_it_reports_and_stops_when_asked(walked: tuple[World, Kept]) -> None:
    world, kept = walked
    told: list[tuple[int, int]] = []
    with pytest.raises(CancelledError):
        estimate_camera(
            kept.colors,
            kept.depths.__getitem__,
            list(world.lenses),
            (),
            lambda done, total, stage: told.append((done, total)),
            lambda: len(told) >= 3,
        )
    assert told == [(1, FRAMES), (2, FRAMES), (3, FRAMES)]


@pytest.mark.slow
@pytest.mark.parametrize("scene", ["vase", "landscape", "room"])
def test_rendered_truth_stands_still(shared: Path, scene: str) -> None:
    truth = open_truth(shared / "data" / "gt" / scene)
    lenses = [truth.lens] * truth.frames
    found = estimate_camera(truth.colors, truth.depth, lenses, (), silent, never_cancelled)
    known = Filmed(lenses, truth.source_c2w, truth.depth, truth.dynamic)
    assert max(drift(known, frame, found.c2w) for frame in range(0, truth.frames, 6)) < 0.002

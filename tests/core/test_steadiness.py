"""A camera that moves is told from one before which things move, from noise, and from a zoom."""

import numpy as np
import pytest
from camera_cases import HEIGHT, LENS, ROOM, WALKER, WIDTH, World, filmed, walk

from ex4d_core.errors import CancelledError
from ex4d_core.progress import never_cancelled, silent
from ex4d_core.steadiness import Steadiness, measure_steadiness

FRAMES = 14
TRIPOD = np.tile(np.eye(4), (FRAMES, 1, 1))


def measure(world: World, cuts: tuple[int, ...] = (), lenses: list | None = None, depth=None) -> Steadiness:
    colors = [world[frame] for frame in range(len(world))]
    return measure_steadiness(colors, depth or world.depth, lenses or list(world.lenses), cuts, silent, never_cancelled)


@pytest.mark.parametrize(
    ("boards", "noise"),
    [(ROOM, 15.0), ((*ROOM, WALKER), 4.0), ((ROOM[0], WALKER), 2.0)],
    ids=["noise", "walker", "wall"],
)
def test_a_tripod_stands_still(boards: tuple, noise: float) -> None:
    found = measure(filmed(boards, TRIPOD, noise))
    assert not found.moving
    assert found.drift_px < 0.2
    assert found.note == ""


@pytest.mark.parametrize("way", [(0.0, 0.0, 0.0), (0.3, 0.0, 0.2)], ids=["hand-held", "dolly"])
def test_a_moving_camera_is_told_with_the_remedy(way: tuple[float, float, float]) -> None:
    found = measure(filmed((*ROOM, WALKER), walk(FRAMES, way), 4.0))
    assert found.moving
    assert f"at frame {found.worst_frame} the background is {found.drift_px:.1f} pixels" in found.note
    assert found.note.endswith(": import with --source-camera estimate.")


def test_its_drift_is_that_of_the_background() -> None:
    path = walk(FRAMES, (0.0, 0.0, 0.0), 0.6)
    path[:, :3, 3] = 0
    found = measure(filmed((*ROOM, WALKER), path, 4.0))
    # turned by a, the middle of the picture goes f tan(a); the hand's tremble comes on top
    assert found.drift_px == pytest.approx(300 * np.tan(np.radians(0.6)), abs=2.0)


def test_depth_that_is_wrong_does_not_change_that() -> None:
    flat = lambda frame: np.full((HEIGHT, WIDTH), 3.0, np.float32)  # noqa: E731
    assert measure(filmed((*ROOM, WALKER), walk(FRAMES, (0.3, 0.0, 0.2)), 4.0), depth=flat).moving
    assert not measure(filmed((*ROOM, WALKER), TRIPOD, 4.0), depth=flat).moving


def test_a_zoom_is_called_one() -> None:
    lenses = tuple(LENS.from_focal_px(300 * (1 + 0.01 * frame), WIDTH, HEIGHT) for frame in range(FRAMES))
    found = measure(World(ROOM, TRIPOD, lenses, 4.0), lenses=[LENS] * FRAMES)
    assert found.moving
    assert "seems to zoom" in found.note
    assert "% larger" in found.note


def test_another_take_elsewhere_is_no_motion() -> None:
    path = np.concatenate([TRIPOD[:7], np.tile(walk(2, (0.5, 0.0, 0.0), 20.0)[1], (7, 1, 1))])
    world = filmed(ROOM, path, 4.0)
    assert not measure(world, cuts=(7,)).moving


def test_black_frames_tell_nothing() -> None:
    found = measure_steadiness(
        np.zeros((4, 64, 64, 3), np.uint8),
        lambda frame: np.ones((64, 64), np.float32),
        [LENS.resized(64, 64)] * 4,
        (),
        silent,
        never_cancelled,
    )
    assert found == Steadiness(False, 0.0, 0, "")


def test_it_stops_when_asked() -> None:
    told: list[int] = []
    with pytest.raises(CancelledError):
        measure_steadiness(
            filmed(ROOM, TRIPOD),
            filmed(ROOM, TRIPOD).depth,
            [LENS] * FRAMES,
            (),
            lambda done, total, stage: told.append(done),
            lambda: len(told) == 2,
        )
    assert told == [1, 2]

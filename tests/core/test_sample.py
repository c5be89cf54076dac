"""The bundled clip: there, small, whole, and its depth is the depth of its pictures."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ex4d_core import sample
from ex4d_core.clip import load_clip, probe_clip
from ex4d_core.depth.video import open_depth_video

BUDGET = 8 * 2**20
EYE_HEIGHT = 1.0  # metres above the paving, from scripts/sample_scene/view.py
WING_X = -1.9  # metres: the left wall, from scripts/sample_scene/courtyard.py


@pytest.fixture(scope="module")
def frames() -> NDArray[np.uint8]:
    return load_clip(sample.clip_path()).frames


@pytest.fixture(scope="module")
def disparity() -> NDArray[np.float64]:
    low, high = sample.facts().depth_range
    return np.stack([low + (high - low) * f for f in open_depth_video(sample.depth_path()).iterate()])


def _step() -> float:
    """Disparity between two stored values."""
    low, high = sample.facts().depth_range
    return (high - low) / 4095


def test_it_is_small_and_its_licence_lies_beside_it() -> None:
    folder = Path(sample.__file__).parent
    data = [p for p in folder.iterdir() if p.is_file()]
    assert sum(p.stat().st_size for p in data) <= BUDGET
    assert "CC0 1.0" in (folder / "LICENSE").read_text(encoding="utf-8")


def test_the_clip_is_what_its_facts_say() -> None:
    known, info = sample.facts(), probe_clip(sample.clip_path())
    assert (info.width, info.height, info.frames) == (known.width, known.height, known.frames) == (832, 480, 49)
    assert (info.fps.numerator, info.fps.denominator) == known.fps == (24, 1)
    assert info.bit_depth == 8
    assert not info.variable_rate


def test_depth_decodes_to_as_many_frames_with_twelve_bits(disparity: NDArray[np.float64]) -> None:
    assert disparity.shape == (49, 480, 832)
    depth = 1 / disparity
    assert 1.5 < depth.min() < 2.5  # the blue pot in the foreground
    assert depth.max() == pytest.approx(60)  # the sky
    codes = np.unique(np.round(disparity[0] / _step()))
    assert len(codes) > 1000  # smooth surfaces are not in steps


def test_paving_and_wall_are_the_planes_that_were_modelled(disparity: NDArray[np.float64]) -> None:
    """True z-depth, at pixel centres, with the stated lens: both planes come out where the model has them."""
    known = sample.facts()
    rows = np.arange(460, 480)
    ground = (rows + 0.5 - known.height / 2) / (known.focal_px * EYE_HEIGHT)
    assert np.abs(disparity[0, rows, 300:600] - ground[:, None]).max() < 0.51 * _step()
    columns = np.arange(30)
    wall = (columns + 0.5 - known.width / 2) / (known.focal_px * WING_X)
    assert np.abs(disparity[0, :200, columns] - wall[:, None]).max() < 0.51 * _step()


def test_what_stands_still_keeps_its_depth_and_something_moves(disparity: NDArray[np.float64]) -> None:
    still = (disparity == disparity[0]).all(axis=0)
    assert 0.7 < still.mean() < 0.95
    assert still[:, :100].all()  # the wall and the plant before it
    moving = ~still[150:460, 200:560]  # the robot's walk
    assert moving.mean() > 0.2


def test_the_subject_walks_past_the_middle(disparity: NDArray[np.float64]) -> None:
    """Where the depth is nearer than the still scene, in the walk's rows, is the robot: it goes right."""
    nearer = disparity > disparity.min(axis=0) + 0.05
    centres = [np.argwhere(mask[200:420, 230:560])[:, 1].mean() + 230 for mask in nearer]
    assert centres[0] < 350 < 416 < centres[-1]
    middle = disparity[24][nearer[24] & (np.abs(np.arange(832) - 416) < 250) & (np.arange(480) < 420)[:, None]]
    assert 1 / np.median(middle) == pytest.approx(sample.facts().orbit_radius, abs=0.4)


def test_depth_edges_lie_on_colour_edges(frames: NDArray[np.uint8], disparity: NDArray[np.float64]) -> None:
    """Shifting the depth against the pictures by four pixels must make the two agree less."""
    grey = frames[24].astype(float).mean(axis=-1)
    slope = np.hypot(*np.gradient(grey))
    jump = np.hypot(*np.gradient(disparity[24])) > 0.02
    assert jump.mean() > 0.005
    on = slope[jump].mean()
    shifted = [slope[np.roll(jump, s, axis=(0, 1))].mean() for s in ((4, 0), (-4, 0), (0, 4), (0, -4))]
    assert on > 1.5 * max(shifted)
    assert on > 3 * slope.mean()


def test_frames_reproject_onto_each_other_where_nothing_moves(
    frames: NDArray[np.uint8], disparity: NDArray[np.float64]
) -> None:
    """The camera stands still: pixels whose depth stays and that no shadow crosses keep their colour."""
    still = np.isclose(disparity[0], disparity[-1], rtol=0, atol=1e-9)
    change = np.abs(frames[0].astype(int) - frames[-1]).max(axis=-1)
    assert np.median(change[still]) <= 2
    assert np.percentile(change[still], 90) <= 10

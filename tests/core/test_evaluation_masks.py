"""Flicker of masks, corrupted depth and the sheet of the worst frames, on a truth made by the benchmark's rays."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from evaluation_cases import FRAMES, ROOT, SIZE, benchmark_modules, write_person

from ex4d_core.camera import Trajectory, save_trajectory
from ex4d_core.cli import ex4d
from ex4d_core.commands import evaluate
from ex4d_core.evaluation.corruption import CORRUPTIONS
from ex4d_core.evaluation.flicker import mask_flicker
from ex4d_core.evaluation.geometry import JudgedFrame, evaluate_geometry
from ex4d_core.evaluation.sheet import INVENTED, MISSED, WorstFrames, error_picture, make_sheet
from ex4d_core.evaluation.takes import GivenDepth, Picture, Way
from ex4d_core.evaluation.truth import Truth, open_truth
from ex4d_core.images import read_image, write_png
from ex4d_core.methods import METHODS

Masks = dict[int, np.ndarray]
PATH = "60"


@pytest.fixture(scope="module")
def benchmark() -> Iterator[None]:
    """`scripts/benchmark` can be imported."""
    with benchmark_modules():
        yield


@pytest.fixture(scope="module")
def made(benchmark: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A folder with the person's ground truth, and its plan."""
    out = tmp_path_factory.mktemp("truth")
    return out, write_person(tmp_path_factory.mktemp("work"), out)


@pytest.fixture(scope="module", params=["static", "moving"])
def truth(made: tuple[Path, Any], request: pytest.FixtureRequest) -> Truth:
    return open_truth(made[0] / f"person-{request.param}")


def _everywhere(truth: Truth, value: bool) -> Masks:
    return {frame: np.full((SIZE, SIZE), value) for frame in truth.bursts[PATH]}


def test_the_true_mask_does_not_flicker(truth: Truth) -> None:
    masks = {frame: truth.target_burst(PATH, frame) for frame in truth.bursts[PATH]}
    assert truth.bursts[PATH] == tuple(range(FRAMES))
    assert any((masks[0] != mask).any() for mask in masks.values())
    assert mask_flicker(truth, PATH, masks) == 0


def test_a_frame_that_drops_out_flickers_twice(truth: Truth) -> None:
    masks = _everywhere(truth, True)
    assert mask_flicker(truth, PATH, masks) == 0
    masks[2] = ~masks[2]
    assert mask_flicker(truth, PATH, masks) == pytest.approx(0.5, abs=0.1)  # two of four steps
    assert mask_flicker(truth, PATH, {frame: mask ^ (frame % 2 > 0) for frame, mask in masks.items()}) > 0.4


def test_what_is_fixed_to_the_world_does_not_flicker(truth: Truth, made: tuple[Path, Any]) -> None:
    """A pattern on the surfaces moves through the picture with the camera; the same one on the screen does not."""
    from benchmark.rays import Solid
    from benchmark.scene import FPS

    plan = made[1]
    on_world, on_screen = {}, {}
    for frame in truth.bursts[PATH]:
        x = plan.see(Solid(plan.scene.parts, frame / FPS), plan.targets[PATH][frame]).points[..., 0]
        on_world[frame] = np.floor(x / 4) % 2 > 0
        on_screen[frame] = on_world[0]
    assert mask_flicker(truth, PATH, on_world) < 0.03
    assert mask_flicker(truth, PATH, on_screen) > 0.1


def test_what_moves_is_not_counted(truth: Truth, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(truth.folder, tmp_path / "truth"))
    masks = {frame: np.full((SIZE, SIZE), frame % 2 > 0) for frame in truth.bursts[PATH]}
    assert mask_flicker(truth, PATH, masks) == 1
    for frame in range(FRAMES):
        write_png(folder / "source_dynamic" / f"{frame:03d}.png", np.full((SIZE, SIZE), 255, np.uint8))
    assert math.isnan(mask_flicker(open_truth(folder), PATH, masks))
    assert math.isnan(mask_flicker(replace(truth, bursts={}), PATH, masks))


def test_depth_is_corrupted_as_it_is_said(truth: Truth) -> None:
    true = truth.disparity(1)
    blurred, jittered, stepped = (CORRUPTIONS[name](truth, 1) for name in ("blur", "jitter", "8-bit"))
    changed = np.abs(blurred / true - 1) > 1e-6
    assert 0.05 < changed.mean() < 0.9
    nearest, farthest = np.ones((2, SIZE, SIZE)) * true
    for axis in (0, 1):
        for shift in range(-6, 7):
            moved = np.roll(true, shift, axis)
            nearest, farthest = np.maximum(nearest, moved), np.minimum(farthest, moved)
    assert np.abs(blurred / true - 1)[1 - farthest / nearest > 0.2].max() > 0.05
    factor = true / jittered
    np.testing.assert_allclose(factor, factor[0, 0], rtol=1e-5)
    factors = [float(np.log(truth.disparity(t) / CORRUPTIONS["jitter"](truth, t))[0, 0]) for t in range(FRAMES)]
    assert len(set(factors)) == FRAMES
    assert 0.01 < np.std(factors) < 0.15
    low, high = truth.ranges["source"]
    assert np.abs(stepped - true).max() <= (high - low) / 510 * 1.001
    assert len(np.unique(stepped)) <= 256 < len(np.unique(true))


def test_names_of_corruptions_on_the_command_line() -> None:
    assert tuple(CORRUPTIONS) == evaluate._CORRUPTIONS


def test_worse_depth_scores_worse_and_is_named(truth: Truth) -> None:
    found: list[JudgedFrame] = []
    given = (GivenDepth(), GivenDepth(corruption="blur"))
    true, blurred = evaluate_geometry(truth, given, ("dwmesh",), (False,), (PATH,), on_frame=found.append)
    assert (true.depth, blurred.depth) == ("true", "true, blur")
    assert blurred.f1 < true.f1
    assert 0 <= true.flicker < 0.2
    assert true.cpu_ms > 0
    assert [judged.frame for judged in found] == list(truth.key_frames) * 2
    first = [judged for judged in found if judged.depth == "true"]
    assert np.mean([judged.error for judged in first]) == pytest.approx(true.error)
    assert all((judged.right == truth.target_visible(PATH, judged.frame)).all() for judged in first)


def test_an_orbit_may_stop_on_its_way(benchmark: None) -> None:
    from benchmark import street
    from benchmark.truth import Plan

    plan = Plan("street", street.scene(), SIZE, FRAMES, way=0.25)
    np.testing.assert_allclose(plan.targets["60"][-1], plan.scene.target(1, 15), atol=1e-12)
    np.testing.assert_allclose(plan.targets["90"][0], plan.source(0, "static"), atol=1e-12)


def _judged(error: float, path: str = "30", method: str = "dwmesh") -> JudgedFrame:
    right = np.zeros((40, 60), bool)
    right[:, 20:] = True
    mask = np.zeros_like(right)
    mask[:20] = True
    color = np.full((40, 60, 3), 200, np.uint8)
    return JudgedFrame("scene", path, "true", Way(method, False), 3, Picture(color, mask), color, right, error)


def test_errors_are_coloured() -> None:
    picture = error_picture(_judged(0.5))
    assert tuple(picture[30, 40]) == MISSED
    assert tuple(picture[5, 5]) == INVENTED
    seen, unseen = picture[5, 40], picture[30, 5]
    assert len(set(seen)) == len(set(unseen)) == 1
    assert seen[0] > unseen[0] > 0


def test_the_sheet_has_the_worst_frames_of_each_method() -> None:
    worst = WorstFrames(rows=2)
    for error, path, method in (
        (0.3, "30", "dwmesh"),
        (0.5, "30", "dwmesh"),
        (0.4, "30", "dwmesh"),
        (0.2, "60", "dwmesh"),
        (0.6, "60", "reference"),
        (0.1, "90", "dwmesh"),
        (0.25, "90", "reference"),
    ):
        worst.add(_judged(error, path, method))
    assert [(judged.error, judged.path) for judged in worst.frames] == [
        (0.5, "30"), (0.2, "60"), (0.6, "60"), (0.25, "90")
    ]  # fmt: skip
    one, two = make_sheet(worst.frames[:1]), make_sheet(worst.frames)
    assert one.shape[1] == two.shape[1]
    assert two.shape[0] > one.shape[0]
    assert (two == MISSED).all(axis=-1).sum() > (one == MISSED).all(axis=-1).sum() > 1000


def test_a_benchmark_of_presets_and_a_long_lens(benchmark: None, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    write_person(work, tmp_path, focal=200 / 36, moves="presets", sources=("static",), keys=2, burst=0)
    assert not (tmp_path / "person-moving").exists()
    truth = open_truth(tmp_path / "person-static")
    truth_depth = truth.depth(0)
    assert truth.paths == ("30", "60", "90", "180")
    assert (truth.key_frames, truth.bursts) == ((2, 4), {})
    assert truth.lens.as_tuple() == pytest.approx((200 / 36 * SIZE, 200 / 36 * SIZE, SIZE / 2, SIZE / 2))
    radius = json.loads((truth.folder / "meta.json").read_text())["radius"]
    for path in ("30", "60", "90"):  # EX-4D's: sideways to the angle, a little up, about the point ahead
        cos, sin = math.cos(math.radians(float(path))), math.sin(math.radians(float(path)))
        last = truth.target_from_source[path][-1]
        eye = radius * np.array([sin, 0.2 * (cos - 1), 1 - cos])
        np.testing.assert_allclose(last[:3, :3] @ eye + last[:3, 3], 0, atol=1e-9)
        ahead = last[:3, :3] @ (0, 0, radius) + last[:3, 3]
        np.testing.assert_allclose(ahead[:2], 0, atol=1e-9)
    away = np.linalg.norm(truth.target_from_source["180"][:, :3, 3], axis=1)
    assert away[0] == pytest.approx(0)
    assert away[1:].min() > 0.5
    # the middle quarter of a picture of 50 mm is one of 200 mm
    write_person(work, tmp_path, focal=50 / 36, moves="presets", sources=("static",), keys=2, burst=0)
    shorter = open_truth(tmp_path / "person-static").depth(0)[24:40, 24:40]
    assert np.median(np.abs(shorter / truth_depth[2::4, 2::4] - 1)) < 0.02


@pytest.mark.slow
def test_what_the_commands_write_scores_the_same(made: tuple[Path, Any], tmp_path: Path) -> None:
    """`ex4d import` and `ex4d render`, scored by the tool of the older ground truth."""
    tool = ROOT.parent / "shared" / "tools" / "score_geometry.py"
    if not tool.is_file():
        pytest.skip("shared/tools/score_geometry.py is not here")
    truth = open_truth(made[0] / "person-static")
    (expected,) = evaluate_geometry(truth, methods=("dwmesh",), backgrounds=(False,), paths=(PATH,))
    scene, path, shot = (tmp_path / name for name in ("scene.ex4d", "path.json", "shot"))
    low, high = truth.ranges["source"]
    lens = ["--focal-px", str(truth.lens.fx), "--depth-kind", "disparity", "--depth-range", str(low), str(high)]
    run = CliRunner().invoke
    options = ["--depth", str(truth.folder / "source_disparity"), *lens, "-o", str(scene)]
    run(ex4d, ["import", str(truth.folder / "source.mp4"), *options], catch_exceptions=False)
    times = np.arange(FRAMES, dtype=np.float64)
    rows = np.repeat(np.array([truth.lens.as_tuple()]), FRAMES, axis=0)
    poses = np.linalg.inv(truth.target_from_source[PATH])
    save_trajectory(Trajectory(poses, rows, times, SIZE, SIZE, Fraction(12)), path)
    options = ["--trajectory", str(path), "--method", "dwmesh", "--background", "off", "-o", str(shot)]
    run(ex4d, ["render", str(scene), *options], catch_exceptions=False)
    command = [sys.executable, tool, truth.folder, PATH, shot / "color.mp4", shot / "mask.mp4"]
    subprocess.run([*command, "--json", tmp_path / "theirs.json"], check=True, capture_output=True)
    theirs = json.loads((tmp_path / "theirs.json").read_text())["mean"]
    assert {name: getattr(expected, name) for name in theirs} == pytest.approx(theirs, abs=2e-3)


@pytest.mark.slow
def test_the_command_compares_all_methods(made: tuple[Path, Any], tmp_path: Path) -> None:
    sheet = tmp_path / "new" / "worst.png"
    options = ["--background", "off", "--path", "30", "--corrupt", "8-bit", "--json", "--sheet", str(sheet)]
    result = CliRunner().invoke(ex4d, ["evaluate", "geometry", str(made[0] / "person-static"), *options])
    rows = json.loads(result.stdout)["geometry"]
    assert [(row["depth"], row["method"]) for row in rows] == [
        (depth, method) for depth in ("true", "true, 8-bit") for method in METHODS
    ]
    for row in rows:
        assert 0.3 < row["iou_dwmesh"] <= 1
        assert (row["iou_dwmesh"] == 1) == (row["method"] == "dwmesh")
    assert all(row["flicker"] is not None and row["cpu_ms"] > 0 for row in rows)
    assert read_image(sheet).shape[1] > 1000

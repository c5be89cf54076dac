"""Ground truth, scores and `ex4d evaluate`, on a truth made by the benchmark's rays with noise for colours."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from evaluation_cases import FRAMES, ROOT, SIZE, benchmark_modules, write_person

from ex4d_core.cli import ex4d, main
from ex4d_core.clip import write_lossless
from ex4d_core.errors import InputError
from ex4d_core.evaluation import scores
from ex4d_core.evaluation.depth import evaluate_depth
from ex4d_core.evaluation.estimates import Asked
from ex4d_core.evaluation.geometry import TrueView, evaluate_geometry, mean_scores, score_pictures
from ex4d_core.evaluation.takes import Picture
from ex4d_core.evaluation.truth import Truth, find_truths, open_truth
from ex4d_core.images import write_png

SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="module")
def benchmark() -> Iterator[None]:
    """`scripts/benchmark` can be imported."""
    with benchmark_modules():
        yield


@pytest.fixture(scope="module")
def truths(benchmark: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the ground truth of the person, standing and moving camera."""
    out = tmp_path_factory.mktemp("truth")
    write_person(tmp_path_factory.mktemp("work"), out)
    return out


@pytest.fixture(scope="module")
def moving(truths: Path) -> Truth:
    return open_truth(truths / "person-moving")


def test_rays_end_where_the_surfaces_are(benchmark: None) -> None:
    from benchmark.geometry import sheet
    from benchmark.rays import Solid
    from benchmark.scene import Look, Part, look_at, resting

    look = Look("mottled", (1, 1, 1), (0, 0, 0))
    wall = resting(look, sheet((-50, 4, -50), (100, 0, 0), (0, 0, 100)))
    flag = Part(look, lambda seconds: sheet((-0.5, 2 + seconds, -9), (0.5, 0, 0), (0, 0, 18)), moves=True)
    camera = look_at((0, 0, 0), (0, 1, 0))
    seen = Solid((wall, flag), 0.5).see(camera, 40)
    np.testing.assert_allclose(seen.depth, np.where(seen.moves, 2.5, 4), rtol=1e-6)
    # the flag spans x = -0.5 to 0 at 2.5 m: f * 0.5 / 2.5 = 7.6 pixels left of the middle
    assert seen.moves[20].tolist() == [False] * 12 + [True] * 8 + [False] * 20
    behind = np.array([[-0.4, 4, 0], [0.4, 4, 0], [0, -1, 0], [30, 4, 0]])
    assert Solid((wall, flag), 0.5).shows(behind, camera, 40).tolist() == [False, True, False, False]


def test_visibility_is_what_the_source_depth_says(moving: Truth) -> None:
    """The same by another way: project each target pixel into the source's depth map."""
    for path in moving.paths:
        for frame in moving.key_frames:
            z = 1 / moving.target_disparity(path, frame)
            y, x = np.mgrid[:SIZE, :SIZE] + 0.5
            lens = moving.lens
            points = np.stack([(x - lens.cx) / lens.fx * z, (y - lens.cy) / lens.fy * z, z, np.ones_like(z)])
            pose = np.linalg.inv(moving.target_from_source[path][frame])
            px, py, pz, _ = np.einsum("ij,jhw->ihw", pose, points)
            column, row = np.floor(lens.fx * px / pz + lens.cx), np.floor(lens.fy * py / pz + lens.cy)
            inside = (pz > 0) & (column >= 0) & (row >= 0) & (column < SIZE) & (row < SIZE)
            where = row.clip(0, SIZE - 1).astype(int), column.clip(0, SIZE - 1).astype(int)
            expected = inside & (pz < 1.03 * moving.depth(frame)[where])
            visible = moving.target_visible(path, frame)
            assert (visible == expected).mean() > 0.9  # thin edges differ
            ever = moving.target_ever(path, frame)
            assert ever is not None
            assert not (visible & ~ever).any()
            assert ever.sum() > visible.sum()


def test_the_two_cameras_of_a_scene(truths: Path, moving: Truth) -> None:
    static = open_truth(truths / "person-static")
    assert [t.name for t in (static, moving)] == ["person-static", "person-moving"]
    assert np.ptp(static.source_c2w, axis=0).max() == 0
    assert np.linalg.norm(np.ptp(moving.source_c2w[:, :3, 3], axis=0)) > 0.3
    np.testing.assert_allclose(static.source_c2w[0], moving.source_c2w[0], atol=1e-9)
    assert static.dynamic(0).mean() > 0.02
    for truth in (static, moving):
        for path in truth.paths:
            # the last target camera stands at the whole angle from the first source camera, whatever the source does
            last = truth.target_from_source[path][-1] @ np.linalg.inv(truth.source_c2w[-1]) @ truth.source_c2w[0]
            turned = math.degrees(math.acos(last[:3, 2] @ (0, 0, 1)))
            pitch = math.asin(-truth.source_c2w[0][2, 2])  # it goes round a vertical axis
            about = 1 - (1 - math.cos(math.radians(float(path)))) * math.cos(pitch) ** 2
            assert turned == pytest.approx(math.degrees(math.acos(about)), abs=1e-6)


def test_a_smaller_size(truths: Path) -> None:
    truth = open_truth(truths / "person-static", (32, 24))
    assert truth.colors.shape == (FRAMES, 24, 32, 3)
    assert truth.disparity(0).shape == truth.dynamic(1).shape == truth.target_visible("60", 4).shape == (24, 32)
    assert truth.lens.as_tuple() == pytest.approx((0.95 * 32, 0.95 * 24, 16, 12))


def test_bad_truths(truths: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no ground truth"):
        find_truths((tmp_path,))
    with pytest.raises(InputError, match="holds no ground truth"):
        open_truth(tmp_path)
    folder = tmp_path / "broken"
    shutil.copytree(truths / "person-static", folder)
    write_lossless(folder / "source.mp4", [np.zeros((SIZE, SIZE, 3), np.uint8)] * 3, 12)
    with pytest.raises(InputError, match="3 frames, not 5"):
        _ = open_truth(folder).colors
    (folder / "target_from_source.npz").write_bytes(b"PK nothing")
    with pytest.raises(InputError, match=r"target_from_source\.npz cannot be used"):
        _ = open_truth(folder).target_from_source
    meta = json.loads((folder / "meta.json").read_text())
    for change, words in (({"key_frames": [7]}, "outside of 0 to 4"), ({"K": 3}, "K: ")):
        (folder / "meta.json").write_text(json.dumps(meta | change))
        with pytest.raises(InputError, match=words):
            open_truth(folder)
    (folder / "meta.json").write_text("{")
    with pytest.raises(InputError, match="cannot be used"):
        open_truth(folder)


def test_alignment_finds_scale_and_shift_and_survives_a_constant() -> None:
    truth = [np.random.default_rng(n).uniform(0.1, 2, (20, 30)).astype(np.float32) for n in range(3)]
    found = scores.align((np.float32(7) * t + np.float32(30), t) for t in truth)
    assert found.scale == pytest.approx(1 / 7, rel=1e-4)
    np.testing.assert_allclose(found(np.float32(7) * truth[1] + np.float32(30)), truth[1], rtol=1e-4)
    flat = scores.align([(np.full((20, 30), 5, np.float32), truth[0])])
    assert flat(np.full((2, 2), 5, np.float32)) == pytest.approx(truth[0].mean(), rel=1e-5)
    assert found(np.full((1, 1), -1e6, np.float32)).item() == pytest.approx(min(t.min() for t in truth))


def test_depth_scores() -> None:
    truth = np.full((10, 10), 2, np.float32)
    depth = truth.copy()
    depth[:5] *= 1.2
    depth[5:] *= 1.3
    assert scores.abs_rel(depth, truth) == pytest.approx(0.25)
    assert scores.delta1(depth, truth) == 0.5


def test_edges_have_to_be_sharp_and_in_place() -> None:
    truth = np.full((40, 40), 4, np.float32)
    truth[10:30, 12:28] = 2
    assert scores.boundary_f1(truth, truth) == pytest.approx(1)
    assert scores.boundary_f1(truth * 3, truth) == pytest.approx(1)
    assert scores.boundary_f1(np.full_like(truth, 3), truth) == 0
    blurred = scores.boundary_f1(cv2.GaussianBlur(truth, (0, 0), 1), truth)
    more = scores.boundary_f1(cv2.GaussianBlur(truth, (0, 0), 3), truth)
    assert 1 > blurred > more
    shifted = scores.boundary_f1(np.roll(truth, 1, axis=1), truth)
    assert shifted < 0.6  # the upright edges are lost


def test_flicker_is_change_of_the_error_at_resting_points(moving: Truth) -> None:
    real = moving.depth(1), moving.depth(2)
    resting = ~moving.dynamic(1)
    move = np.linalg.inv(moving.source_c2w[2]) @ moving.source_c2w[1]

    def error(first: np.ndarray, second: np.ndarray, where: np.ndarray = resting) -> float:
        return scores.temporal_error((first, second), real, where, moving.lens, move)

    assert error(*real) == 0
    assert error(real[0] * np.float32(1.5), real[1] * np.float32(1.5)) == pytest.approx(0, abs=1e-6)  # lasting: none
    assert error(real[0], real[1] * np.float32(1.04)) == pytest.approx(0.04, rel=1e-3)
    walks = moving.dynamic(2)
    changed = np.where(walks, real[1] * np.float32(2), real[1])
    assert error(real[0], changed) < 0.01  # what moves does not count
    assert math.isnan(error(*real, np.zeros_like(resting)))


def test_mask_and_picture_scores() -> None:
    truth, mask = np.zeros((4, 5), bool), np.zeros((4, 5), bool)
    truth[:2], mask[1:3] = True, True
    found = scores.mask_scores(mask, truth)
    assert found == {"error": 0.5, "precision": 0.5, "recall": 0.5, "f1": 0.5, "iou": pytest.approx(1 / 3)}
    color = np.zeros((16, 16, 3), np.uint8)
    other = color + np.uint8(16)
    where = np.ones((16, 16), bool)
    assert scores.psnr(other, color, where) == pytest.approx(20 * math.log10(255 / 16))
    assert math.isnan(scores.psnr(other, color, ~where))
    noise = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert scores.ssim(noise, noise, where) == pytest.approx(1)
    assert scores.ssim(255 - noise, noise, where) < 0
    assert math.isnan(scores.ssim(noise, noise, ~where))


def test_ssim_is_that_of_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    draw = np.random.default_rng(4)
    truth = cv2.GaussianBlur(draw.integers(0, 256, (30, 41, 3), dtype=np.uint8), (0, 0), 1.5)
    color = np.clip(truth + draw.normal(0, 9, truth.shape), 0, 255).astype(np.uint8)
    where = draw.random((30, 41)) > 0.4
    theirs = metrics.structural_similarity(truth, color, channel_axis=2, full=True)[1].mean(axis=-1)[where].mean()
    assert scores.ssim(color, truth, where) == pytest.approx(theirs, abs=1e-9)


def test_the_scores_are_those_of_the_shared_tool(truths: Path, moving: Truth, tmp_path: Path) -> None:
    """`score_geometry.py` reads our format, and comes to the same figures."""
    tool = SHARED / "tools" / "score_geometry.py"
    if not tool.is_file():
        pytest.skip("shared/tools/score_geometry.py is not here")
    draw = np.random.default_rng(3)
    pictures: list[Picture] = []
    for frame, color in zip(moving.key_frames, moving.target_colors("60"), strict=True):
        mask = np.roll(moving.target_visible("60", frame), 2, axis=1) & (draw.random((SIZE, SIZE)) > 0.05)
        noisy = np.clip(color + draw.normal(0, 12, color.shape), 0, 255).astype(np.uint8)
        pictures.append(Picture(np.where(mask[..., None], noisy, 0).astype(np.uint8), mask))
    for name in ("color", "mask"):
        (tmp_path / name).mkdir()
        for frame in range(FRAMES):
            write_png(tmp_path / name / f"{frame:03d}.png", np.zeros((SIZE, SIZE, 3), np.uint8))
    for frame, picture in zip(moving.key_frames, pictures, strict=True):
        write_png(tmp_path / "color" / f"{frame:03d}.png", picture.color)
        write_png(tmp_path / "mask" / f"{frame:03d}.png", picture.mask)
    view = TrueView(moving, "60")
    ours = mean_scores(score_pictures(pictures, view.visible, view.colors))
    command = [sys.executable, tool, truths / "person-moving", "60", tmp_path / "color", tmp_path / "mask"]
    subprocess.run([*command, "--json", tmp_path / "theirs.json"], check=True, capture_output=True)
    theirs = json.loads((tmp_path / "theirs.json").read_text())["mean"]
    assert ours == pytest.approx(theirs, abs=1e-6)
    assert 0.5 < ours["f1"] < 0.97


def test_the_shared_truth_can_be_read() -> None:
    folder = SHARED / "data" / "gt" / "vase"
    if not folder.is_dir():
        pytest.skip("shared/data/gt is not here")
    truth = open_truth(folder, (64, 64))
    assert truth.paths == ("30", "60", "90", "180", "zoom_in", "zoom_out")
    assert 0.5 < truth.depth(0).min() < truth.depth(0).max() < 20
    assert truth.target_ever("60", 6) is None
    assert truth.target_from_source["60"].shape == (49, 4, 4)


def test_true_depth_scores_perfectly_and_a_plane_does_not(moving: Truth, tmp_path: Path) -> None:
    for frame in range(FRAMES):
        np.save(tmp_path / f"{frame:04d}.npy", 2 * moving.depth(frame))
    good = evaluate_depth(moving, Asked("file", tmp_path, "metric"), tmp_path / "pictures")
    assert (good.abs_rel, good.abs_rel_frame, good.temporal) == pytest.approx((0, 0, 0), abs=1e-4)
    assert (good.delta1, good.boundary_f1) == pytest.approx((1, 1), abs=1e-3)
    assert 0.5 < good.abs_rel_given < 1.01  # twice as far, but kept within the true range
    assert len(list((tmp_path / "pictures").rglob("*.png"))) == 5
    plane, ramp = (evaluate_depth(moving, Asked(name)) for name in ("plane", "ramp"))
    assert plane.abs_rel > ramp.abs_rel > 0.1
    assert plane.boundary_f1 == 0
    assert math.isnan(plane.abs_rel_given)


def test_true_depth_renders_what_is_visible(moving: Truth) -> None:
    off, on = evaluate_geometry(moving, methods=("dwmesh",), paths=("30",))
    assert (off.background, on.background) == (False, True)
    assert off.f1 > 0.9
    assert off.precision > 0.95
    assert math.isnan(off.removed)
    assert 0 <= on.removed < 1


def test_the_commands(truths: Path) -> None:
    run = CliRunner().invoke
    table = run(ex4d, ["evaluate", "depth", str(truths), "--estimator", "plane", "--markdown"]).output.splitlines()
    assert table[0].startswith("| scene | estimator | AbsRel |")
    assert [line.split(" | ")[0] for line in table[2:]] == ["| person-moving", "| person-static", "| mean"]
    assert "as given" not in table[0]  # only metric depth has it
    result = run(ex4d, ["evaluate", "depth", str(truths), "--estimator", "ramp", "--json", "--size", "32x32"])
    (first, second) = json.loads(result.stdout)["depth"]
    assert first["abs_rel_given"] is None
    assert first["scene"] != second["scene"]
    options = ["--background", "off", "--path", "90", "--method", "reference", "--depth", "plane", "--json"]
    result = run(ex4d, ["evaluate", "geometry", str(truths / "person-static"), *options])
    (row,) = json.loads(result.stdout)["geometry"]
    assert (row["path"], row["method"], row["depth"], row["background"]) == ("90", "reference", "plane", False)
    assert 0 < row["recall"] < 1
    options = ["--background", "off", "--per-scene", "--markdown", "--path", "30", "--path", "60"]
    options += ["--method", "dwmesh"]
    table = run(ex4d, ["evaluate", "geometry", str(truths / "person-static"), *options]).output.splitlines()
    lines = [line for line in table if line.startswith("| ")]
    assert [line.split(" | ")[:2] for line in lines[2:]] == [["| person-static", "2 paths"], ["| mean", "2 paths"]]
    with pytest.raises(InputError, match="no path 45: choose from 30, 60, 90"):
        run(ex4d, ["evaluate", "geometry", str(truths), "--path", "45"], catch_exceptions=False)
    arguments = ["evaluate", "depth", str(truths), "--estimator", "plane", "--depth", str(truths)]
    with pytest.raises(InputError, match="given twice"):
        run(ex4d, arguments, catch_exceptions=False)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"disparity_range": [1, 2]}, "disparity_range"),
        ({"disparity_range": {"30": [1, 2]}}, "disparity_range: it has none of 'source'"),
        ({"disparity_range": {"source": [math.nan, 2]}}, "disparity_range.source.0"),
        ({"disparity_range": {"source": [-0.1, 2]}}, "disparity_range: of 'source'"),
        ({"disparity_range": {"source": [2, 1]}}, "disparity_range: of 'source'"),
        ({"disparity_range": {"source": [1, 2], "../60": [1, 2]}}, "disparity_range"),
        ({"frames": math.inf}, "frames"),
        ({"frames": 0}, "frames"),
        ({"frames": FRAMES + 1}, f"source_c2w has {FRAMES} poses for {FRAMES + 1} frames"),
        ({"source_c2w": np.zeros((FRAMES, 4, 4)).tolist()}, "source_c2w is scaled, mirrored or sheared"),
        ({"source_c2w": np.full((FRAMES, 4, 4), math.nan).tolist()}, "source_c2w.0.0.0"),
        ({"key_frames": []}, "key_frames"),
        ({"burst_frames": {"30": [1, 3]}}, "burst_frames of '30' are not consecutive"),
        ({"burst_frames": {"30": [FRAMES - 1, FRAMES]}}, "burst_frames of '30' lie outside of 0 to"),
        ({"burst_frames": {"45": [1, 2]}}, "burst_frames names the path '45'"),
        ({"key_frames": [FRAMES]}, "key_frames lie outside of 0 to"),
        ({"K": [[0, 0, 1], [0, 1, 1], [0, 0, 1]]}, "K: its focal lengths"),
        ({"scene": "../person"}, "scene"),
    ],
)
def test_an_impossible_meta_is_refused_by_field(
    truths: Path, tmp_path: Path, change: dict[str, object], named: str
) -> None:
    meta = json.loads((truths / "person-moving" / "meta.json").read_text())
    (tmp_path / "meta.json").write_text(json.dumps(meta | change))
    with pytest.raises(InputError, match=re.escape(named)) as error:
        open_truth(tmp_path)
    assert str(tmp_path / "meta.json") in str(error.value)
    assert "\n" not in str(error.value)


def test_pictures_have_the_size_of_the_meta(truths: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(truths / "person-moving", tmp_path / "truth"))
    small = np.zeros((SIZE // 2, SIZE), np.uint16)
    write_png(folder / "source_disparity" / "001.png", small)
    with pytest.raises(InputError, match=rf"001.png .*it has {SIZE}x{SIZE // 2} pixels, meta.json says {SIZE}x{SIZE}"):
        open_truth(folder, (32, 32)).disparity(1)
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"width": SIZE * 2}))
    with pytest.raises(InputError, match=rf"source.mp4 .*meta.json says {SIZE * 2}x{SIZE}"):
        _ = open_truth(folder).colors


def test_target_poses_are_rigid(truths: Path, moving: Truth, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(truths / "person-moving", tmp_path / "truth"))
    poses = {f"path_{name}": values.copy() for name, values in moving.target_from_source.items()}
    for value, why in ((math.nan, "a pose of path 60 is not finite"), (7.0, "path 60 is scaled, mirrored or sheared")):
        poses["path_60"][2, 0, 0] = value
        np.savez(folder / "target_from_source.npz", **poses)
        with pytest.raises(InputError, match=f"target_from_source.npz.*{why}"):
            _ = open_truth(folder).target_from_source


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--depth", "file"], "measured by ex4d evaluate depth --depth FOLDER"),
        (["--depth", "plane", "--corrupt", "blur"], "Only true depth is made worse: leave out --corrupt"),
        (["--depth", "true", "--depth-model-dir", "."], "Nothing of true loads weights: leave out --depth-model-dir"),
        (["--keep-edges"], "leave out --keep-edges"),
        (["--reach", "nan"], "nan is not a distance"),
        (["--reach", "-1"], "-1.0 is not a distance"),
    ],
)
def test_geometry_refuses_what_it_would_not_heed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], why: str
) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "geometry", str(tmp_path), *options])
    assert why in capsys.readouterr().err


def test_memory_that_ran_out_names_the_options_that_help(
    truths: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def too_large(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("ex4d_core.evaluation.depth.evaluate_depth", too_large)
    with pytest.raises(SystemExit):
        main(["evaluate", "depth", str(truths), "--estimator", "plane"])
    assert "give a smaller --size or --max-side" in capsys.readouterr().err


@pytest.fixture
def make_benchmark(benchmark: None) -> ModuleType:
    """The script."""
    return _script("make_benchmark")


def test_a_benchmark_that_cannot_be_rendered_says_so(make_benchmark: ModuleType, tmp_path: Path) -> None:
    from benchmark import fence
    from benchmark.truth import Plan

    plan = Plan("fence", fence.scene(), 32, 2)
    with pytest.raises(SystemExit, match="cannot start .*no-blender"):
        make_benchmark.render(str(tmp_path / "no-blender"), plan, tmp_path, 1)
    with pytest.raises(SystemExit, match="left 7 pictures of fence undone"):
        make_benchmark.render(shutil.which("true") or "true", plan, tmp_path, 1)


def test_a_benchmark_ends_with_one_line(
    make_benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match=r"cannot write .*file.*: give another OUT"):
        make_benchmark.main([str(tmp_path / "file" / "out"), "--fast"])
    with pytest.raises(SystemExit):
        make_benchmark.main([str(tmp_path), "--samples", "0"])
    assert "--samples of 1 or more" in capsys.readouterr().err
    for options, why in (
        (["--focal-mm", "0"], "--focal-mm of 1 to 1000"),
        (["--way", "0"], "give a --way over 0"),
        (["--way", "0.5", "--moves", "presets"], "of an orbit"),
    ):
        with pytest.raises(SystemExit):
            make_benchmark.main([str(tmp_path), *options])
        assert why in capsys.readouterr().err

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(make_benchmark, "render", stopped)
    with pytest.raises(SystemExit, match="130"):
        make_benchmark.main([str(tmp_path / "out"), "--fast"])
    assert capsys.readouterr().err == "make_benchmark: Interrupted: run the same command again to go on.\n"


def test_the_background_is_measured_with_help_and_without_tracebacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = _script("bench_background")
    monkeypatch.setattr(sys, "argv", ["bench_background.py", "--help"])
    with pytest.raises(SystemExit, match="0"):
        script.main()
    assert "TRUTH holds scenes" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["bench_background.py", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"^bench_background: .* holds no ground truth"):
        script.main()


def _script(name: str) -> ModuleType:
    found = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module

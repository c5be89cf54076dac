"""What is done around every model: exact sizes and lengths, lead-ins, chained windows, the source kept."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from around_cases import HEIGHT, PROFILE, WIDTH, Showing, flat_shot, run, shot_of, sideways, smooth_scene

from ex4d_core.camera import Intrinsics
from ex4d_core.errors import CancelledError
from ex4d_core.generate.engine import Shot
from ex4d_core.generate.keeping import feather_pixels
from ex4d_core.generate.video_model import Limits, Report, Window
from ex4d_core.scene import Scene

LIMITS = Limits(frames=33, pixels=WIDTH * HEIGHT)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return smooth_scene(tmp_path_factory.mktemp("around"))


def shrunk(mask: np.ndarray, pixels: int) -> np.ndarray:
    """(h, w) bool: those that lie further inside than so many pixels; the frame's border is no edge."""
    kernel = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    return cv2.erode(mask.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=1) > 0


def colors(shot: Shot, video: Any, limits: Limits = LIMITS, facts: dict[str, Any] | None = None) -> np.ndarray:
    return np.stack([frame.color for frame in run(shot, video, limits, facts)])


@pytest.mark.parametrize(
    ("frames", "width", "height"), [(1, 64, 48), (6, 61, 47), (33, 64, 48), (34, 37, 50), (70, 64, 33)]
)
def test_the_user_gets_exactly_the_frames_and_the_size_of_the_shot(frames: int, width: int, height: int) -> None:
    shot, video, facts = flat_shot(frames, width, height), Showing(), dict[str, Any]()
    finished = list(run(shot, video, Limits(33, 128 * 128), facts))
    assert len(finished) == frames
    for index, frame in enumerate(finished):
        mask = shot.mask[index]
        np.testing.assert_array_equal(frame.color[mask], shot.color[index][mask])
        assert (frame.color[~mask] == 127).all()
        np.testing.assert_array_equal(frame.invented, ~mask)
        assert not frame.recovered.any()
    for window in video.windows:
        count, high, wide = window.mask.shape
        assert (count % 4, high % 16, wide % 16) == (1, 0, 0)
        assert (window.color[~window.mask] == 0).all()
    assert facts["windows"] == len(video.windows) == (1 if frames <= 33 else 2 if frames <= 61 else 3)
    assert facts["size"] == [-(-width // 16) * 16, -(-height // 16) * 16]


def test_a_shot_beyond_the_budget_comes_back_at_its_size() -> None:
    shot = flat_shot(3, 200, 120)
    finished = colors(shot, Showing())
    assert finished.shape == shot.color.shape
    difference = np.abs(finished.astype(int) - shot.color)[shot.mask]
    assert difference.mean() < 3


def test_a_path_that_jumps_gets_a_lead_in_which_is_cut_away(scene: Scene) -> None:
    shot, video, facts = shot_of(scene, sideways(5, begin=0.3)), Showing(), dict[str, Any]()
    assert shot.mask[0].mean() < 0.95, "it does not begin at the source view"
    finished = colors(shot, video, facts=facts)
    assert len(finished) == 5
    led = facts["lead_in"]
    assert led > 0
    (window,) = video.windows
    assert window.mask[0].mean() > 0.99, "it begins at the source view"
    difference = np.abs(window.color[0].astype(int) - scene.color(0))
    assert np.median(difference) <= 1
    np.testing.assert_array_equal(window.mask[led : led + 5], shot.mask)
    np.testing.assert_array_equal(finished[shot.mask], shot.color[shot.mask])
    seen = window.mask[: led + 1].mean(axis=(1, 2))
    assert (np.diff(seen) < 0.02).all(), "holes open little by little"


def test_no_lead_in_where_none_is_needed_or_possible(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    facts = dict[str, Any]()
    colors(shot_of(scene, sideways(5)), Showing(), facts=facts)
    colors(flat_shot(5), Showing())
    assert facts["lead_in"] == 0
    assert not caplog.text
    shot = shot_of(scene, sideways(5, begin=0.5))
    colors(replace(shot, scene=None, trajectory=None), Showing(), facts=facts)
    assert facts["lead_in"] == 0
    assert "no scene for a lead-in" in caplog.text


def test_the_reference_is_the_footage_at_the_size_of_the_window(scene: Scene) -> None:
    video = Showing()
    colors(shot_of(scene, sideways(5)), video)
    reference = video.windows[0].reference
    assert reference is not None
    np.testing.assert_array_equal(reference, scene.color(0))
    colors(flat_shot(5), video)
    assert video.windows[1].reference is None
    square = shot_of(scene, sideways(5, lens=Intrinsics.from_focal_px(60.0, 80, 80)))
    colors(square, video, Limits(33, 80 * 80))
    assert video.windows[2].reference is not None
    assert video.windows[2].reference.shape == (80, 80, 3)


def test_a_window_goes_on_from_the_last_frames_of_the_one_before() -> None:
    video, facts = Showing(bias=4), dict[str, Any]()
    shot = flat_shot(70)
    finished = colors(shot, video, facts=facts)
    overlap = facts["overlap"]
    assert overlap == 5
    for before, after in zip(video.windows, video.windows[1:], strict=False):
        assert after.mask[:overlap].all()
        assert not after.mask[overlap:].all()
        assert before.seed != after.seed
    stride = facts["frames"] - overlap
    second = video.windows[1]
    known = shot.mask[stride + overlap - 1]
    # The bias of the second window comes in little by little.
    level = (finished[stride : stride + overlap + 1].astype(int) - shot.color[stride : stride + overlap + 1])[:, known]
    assert list(np.round(level.mean(axis=(1, 2)))) == [1, 1, 2, 3, 3, 4]
    np.testing.assert_array_equal(second.color[0][shot.mask[stride]], shot.color[stride][shot.mask[stride]])
    assert video.windows[0].seed == shot.seed


def at_seam(finished: np.ndarray, facts: dict[str, Any]) -> float:
    """Largest difference of two frames where two windows meet, over the median of those elsewhere."""
    steps = np.abs(np.diff(finished.astype(float), axis=0)).mean(axis=(1, 2, 3))
    seam = np.r_[facts["frames"] - facts["overlap"] - 1 : facts["frames"]]
    return float(steps[seam].max() / np.median(np.delete(steps, seam)))


def test_a_window_of_other_colours_does_not_cut_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six levels are seen as a cut, and not as a slow change."""
    shot, facts = flat_shot(60), dict[str, Any]()
    assert at_seam(colors(shot, Showing(bias=6), facts=facts), facts) <= 1.5
    monkeypatch.setattr("ex4d_core.generate.around.blended", lambda before, after: after)
    assert at_seam(colors(shot, Showing(bias=6), facts=facts), facts) > 1.5


def test_drift_is_measured_against_the_first_window_and_said(caplog: pytest.LogCaptureFixture) -> None:
    facts = dict[str, Any]()
    colors(flat_shot(70), Showing(), facts=facts)
    assert facts["drift"] == [0, 0, 0]
    assert not caplog.text
    colors(flat_shot(70), Showing(bias=5), facts=facts)
    assert facts["drift"] == pytest.approx([0, 5, 10], abs=0.2)
    assert "window 3 of 3 are 10 levels away" in caplog.text


def test_the_source_can_be_kept_exactly() -> None:
    """A model that changes everything, over two windows and at another size."""

    def other(window: Window, _report: Report) -> np.ndarray:
        return np.full_like(window.color, 40)

    shot = replace(flat_shot(40, 120, 90), keep_source=True)
    finished = colors(shot, other)
    feather = feather_pixels(90)
    for index in range(len(shot)):
        beyond = shrunk(shot.mask[index], feather)
        np.testing.assert_array_equal(finished[index][beyond], shot.color[index][beyond])
        hole = shrunk(~shot.mask[index], 4)  # nearer to the edge, scaling rings a little
        assert (np.abs(finished[index][hole].astype(int) - 40) <= 1).all()
    assert shrunk(~shot.mask[-1], 4).any()
    plain = colors(replace(shot, keep_source=False), other)
    assert (np.abs(plain.astype(int) - 40) <= 1).all()


def test_what_is_kept_is_what_the_next_window_goes_on_from() -> None:
    video = Showing(bias=9)
    shot = replace(flat_shot(70), keep_source=True)
    colors(shot, video)
    third = video.windows[2]
    known = shrunk(shot.mask[-1], feather_pixels(HEIGHT))  # the hole only grows
    at = [i for i in range(len(shot)) if (third.color[4][known] == shot.color[i][known]).all()]
    assert len(at) == 1, "a frame of the source, without the second window's bias"


def test_progress_grows_over_all_windows_and_previews_are_whole() -> None:
    told: list[tuple[int, int, str]] = []
    shown: list[np.ndarray] = []
    shot = flat_shot(40, 61, 47)
    list(run(shot, Showing(), LIMITS, None, lambda d, t, s: told.append((d, t, s)), on_preview=shown.append))
    shares = [done / total for done, total, _ in told]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == 1
    assert len({total for _, total, _ in told}) == 1
    assert list(dict.fromkeys(stage for _, _, stage in told)) == ["loading", "encoding", "denoising", "decoding"]
    steps = [done for done, _, stage in told if stage == "denoising"]
    assert len(steps) == len(set(steps)) == 2 * PROFILE.steps, "one unit for each step"
    assert len(shown) == 2 * PROFILE.steps
    assert {frames.shape for frames in shown} == {(21 + 4, 6, 8, 3)}


def test_it_stops_between_windows_and_between_frames(scene: Scene) -> None:
    video, finished = Showing(), list[object]()
    with pytest.raises(CancelledError):
        finished.extend(run(flat_shot(70), video, LIMITS, cancelled=lambda: len(finished) >= 3))
    assert len(finished) == 3
    with pytest.raises(CancelledError):
        list(run(shot_of(scene, sideways(5, begin=0.5)), video, LIMITS, cancelled=lambda: True))
    assert len(video.windows) == 1


def _tiny(folder: Path) -> Callable[[Window, Report], np.ndarray]:
    """The real classes of EX-4D with tiny random weights."""
    from ex4d_core.engines import EngineSetup
    from ex4d_core.generate.ex4d import EX4D
    from ex4d_core.generate.ladder import Plan
    from ex4d_core.generate.revisions import model_files

    files = model_files("ex4d", EngineSetup(model_dir=folder))
    plan = Plan("resident", "cpu", "float32", tiled_vae=False, vram_bytes=0, ram_bytes=0)
    return EX4D.load(files, plan, PROFILE).video


def test_a_seam_is_not_seen_and_the_same_shot_is_the_same_again(tiny_ex4d: Path) -> None:
    """Random weights make noise: the noise across a seam with the noise elsewhere; see also the test without."""
    video, shot, facts = _tiny(tiny_ex4d), flat_shot(60, 32, 32), dict[str, Any]()
    finished = colors(shot, video, Limits(33, 32 * 32), facts)
    assert facts["windows"] == 2
    assert at_seam(finished, facts) <= 1.5
    np.testing.assert_array_equal(colors(shot, video, Limits(33, 32 * 32)), finished)
    other = colors(replace(shot, seed=1), video, Limits(33, 32 * 32))
    assert (other != finished).mean() > 0.5


_MEASURE = """
import sys, tracemalloc
from pathlib import Path
from ex4d_core.engines import EngineSetup
from ex4d_core.generate import ex4d, generate_shot
tracemalloc.start()
generate_shot(Path(sys.argv[1]), "ex4d", setup=EngineSetup(model_dir=Path(sys.argv[2]), steps=1, memory="resident"))
print(tracemalloc.get_traced_memory()[1])
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_does_not_grow_with_the_length(tmp_path: Path, tiny_ex4d: Path) -> None:
    from ex4d_core.rendering import render_shot

    peaks: list[list[int]] = []
    for frames in (100, 400):
        scene = smooth_scene(tmp_path / str(frames), frames, 32, 32)
        path = sideways(frames, lens=scene.source_camera(0).intrinsics)
        shot = render_shot(scene, path, tmp_path / f"shot{frames}")
        arguments = [sys.executable, "-c", _MEASURE, str(shot), str(tiny_ex4d)]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True)
        peaks.append([int(line) for line in done.stdout.split()])
    (python_short, whole_short), (python_long, whole_long) = peaks
    assert whole_long <= 1.1 * whole_short, f"{whole_short} and {whole_long} kB"
    # Cameras and records grow by 3 kB a frame; a clip that is kept would add 4 kB to them, however small it is here.
    assert python_long - python_short < 300 * 32 * 32 * 4, f"{python_short} and {python_long} bytes"

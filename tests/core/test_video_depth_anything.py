"""Video Depth Anything: its windows against the official code's own numbers, and the estimator around them."""

from pathlib import Path

import numpy as np
import pytest
from own_pythons import make_python

from ex4d_core.camera import Intrinsics
from ex4d_core.depth import DepthRequest
from ex4d_core.depth.keyframe_windows import Gauge, enlarge, fit, join_windows, window_count, window_frames
from ex4d_core.depth.video_depth_anything import CHECKPOINT, VideoDepthAnythingEstimator, find_python
from ex4d_core.depth.worker import WorkerError
from ex4d_core.errors import InputError, MissingDependencyError
from ex4d_core.progress import never_cancelled, silent

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "golden_vda" / "golden.npz"
HEIGHT, WIDTH = 24, 40


def test_windows_are_joined_as_the_official_code_joins_them() -> None:
    """`scripts/make_golden_vda.py` ran its own classes with random weights; our runner gave the windows."""
    with np.load(GOLDEN) as golden:
        windows, official = golden["windows"], golden["official"]
    frames, height, width = official.shape
    joined = join_windows(frames, lambda window: windows[window], (width, height), never_cancelled)
    assert len(joined.gauges) == len(windows) == 3
    assert abs(joined.gauges[1].scale - 1) > 0.1  # the joining has something to do
    found = np.stack([joined.at_size(t, (width, height)) for t in range(frames)])
    np.testing.assert_allclose(found, official, atol=1e-4)
    unjoined = np.stack([enlarge(windows[t // 22][t % 22], (width, height)) for t in range(frames)])
    assert np.abs(unjoined - official).max() > 0.01
    small = np.stack([joined[t] for t in range(frames)])
    assert small.shape[1:] == windows.shape[2:]
    assert small.min() >= 0


@pytest.mark.parametrize("frames", [1, 21, 22, 23, 31, 32, 33, 50, 100])
def test_windows_see_the_frames_that_the_official_code_shows_them(frames: int) -> None:
    """It pads the clip with its last frame, and puts ten of the window before over the first ten of the next."""
    padding = (22 - frames % 22) % 22 + 10
    clip = [*range(frames), *[frames - 1] * padding]
    before: list[int] = []
    starts = range(0, frames, 22)
    assert window_count(frames) == len(starts)
    for window, start in enumerate(starts):
        seen = clip[start : start + 32]
        if before:
            seen[:10] = [before[place] for place in (0, 12, 24, 25, 26, 27, 28, 29, 30, 31)]
        assert window_frames(window, frames) == seen
        before = seen


def test_scale_and_shift_are_found() -> None:
    rng = np.random.default_rng(0)
    given = rng.uniform(0, 1, (2, 5, 6)).astype(np.float32)
    found = fit(given, 3 * given - np.float32(0.5))
    assert (found.scale, found.shift) == pytest.approx((3, -0.5), abs=1e-5)
    assert found(np.zeros((1, 1), np.float32)) == 0  # never behind infinity
    assert fit(np.ones((2, 2), np.float32), given[0, :2, :2]) == Gauge()


def test_enlarging_keeps_corners_on_corners() -> None:
    values = np.array([[0, 1, 4], [2, 3, 6]], np.float32)
    large = enlarge(values, (5, 4))
    np.testing.assert_allclose(large[0], [0, 0.5, 1, 2.5, 4], atol=1e-6)
    np.testing.assert_allclose(large[:, 0], [0, 2 / 3, 4 / 3, 2], atol=1e-6)
    np.testing.assert_allclose(enlarge(values, (3, 2)), values)
    assert enlarge(values[:1, :1], (2, 2)).tolist() == [[0, 0], [0, 0]]
    assert enlarge(values, (1, 1)).tolist() == [[0]]


MODEL = """
import torch

class VideoDepthAnything(torch.nn.Module):
    def __init__(self, encoder, features, out_channels):
        super().__init__()
        assert (encoder, features) == ("vits", 64)
        self.weight = torch.nn.Parameter(torch.zeros(1))
    def forward(self, window):
        assert window.shape[:3] == (1, 32, 3)
        blue = window[:, :, 2].mean((2, 3))  # another scale and shift for each window, told by one of its own frames
        gauge = 1 + 0.5 * torch.sin(100 * blue[:, 15]).abs()
        return gauge * window[:, :, 0] + (gauge - 1) * 0.1
"""
TRANSFORM = """
import numpy as np

class Resize:
    def __init__(self, **asked):
        self.asked = asked
    def __call__(self, sample):
        assert self.asked["width"] == self.asked["height"] == 518
        return {"image": sample["image"][::2, ::2]}

class NormalizeImage:
    def __init__(self, mean, std):
        assert mean == [0.485, 0.456, 0.406]
    def __call__(self, sample):
        return sample

class PrepareForNet:
    def __call__(self, sample):
        return {"image": np.ascontiguousarray(sample["image"].transpose(2, 0, 1))}
"""
LACKING = {"torchvision.py": "", "easydict.py": "", "einops.py": "", "tqdm.py": ""}


def make_checkout(folder: Path) -> Path:
    """A network of one weight behind the official names: what it sees is the red channel, per window scaled anew."""
    import torch

    for file, source in (("video_depth.py", MODEL), ("util/transform.py", TRANSFORM)):
        path = folder / "video_depth_anything" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    (folder / CHECKPOINT).parent.mkdir()
    torch.save({"weight": torch.zeros(1)}, folder / CHECKPOINT)
    return folder


def test_windows_of_each_take_become_one_disparity(tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path / "checkout")
    make_python(checkout / ".venv", LACKING)
    rng = np.random.default_rng(3)
    count, cut = 60, 50
    frames = np.zeros((count, HEIGHT, WIDTH, 3), np.uint8)
    frames[..., 0] = np.linspace(20, 200, WIDTH)[None, None] + np.arange(count)[:, None, None] // 2
    frames[..., 2] = rng.integers(0, 255, count)[:, None, None]
    lenses = [Intrinsics.from_focal_px(40, WIDTH, HEIGHT)] * count
    estimator = VideoDepthAnythingEstimator(DepthRequest(model_dir=checkout, work=tmp_path / "work", cuts=(cut,)))
    told: list[tuple[int, int, str]] = []
    estimator.check(count, (WIDTH, HEIGHT), silent, never_cancelled)
    result = estimator.estimate(frames, lenses, None, lambda *news: told.append(news), never_cancelled)
    assert [news[0] for news in told if news[2] == "estimating depth"] == [22, 44, 50, 60]
    assert result.units == "relative"
    disparity = 1 / np.stack(list(result.depth.iterate())).astype(np.float64)
    for start, end in ((0, cut), (cut, count)):
        red = frames[start:end, :, 2:-2, 0].astype(np.float64)
        seen = disparity[start:end, :, 2:-2]
        slope, offset = np.polyfit(red.ravel(), seen.ravel(), 1)
        np.testing.assert_allclose(seen, slope * red + offset, atol=0.02)  # enlarging smooths a little
        assert slope > 0
    assert len(list((tmp_path / "work").rglob("*.npz"))) == 4
    assert not list((tmp_path / "work").rglob("*.png"))
    (checkout / CHECKPOINT).unlink()  # all is kept: neither weights nor Python are needed again
    again = estimator.estimate(frames, lenses, None, silent, never_cancelled)
    np.testing.assert_array_equal(next(again.depth.iterate(59)), next(result.depth.iterate(59)))


@pytest.mark.slow
def test_a_checkpoint_that_runs_code_is_refused(tmp_path: Path) -> None:
    """A .pth is a pickle: only tensors of it are read."""
    import torch

    checkout = make_checkout(tmp_path / "checkout")
    make_python(checkout / ".venv", LACKING)
    torch.save({"weight": Path("anything")}, checkout / CHECKPOINT)
    estimator = VideoDepthAnythingEstimator(DepthRequest(model_dir=checkout, work=tmp_path / "work"))
    frames = np.zeros((2, HEIGHT, WIDTH, 3), np.uint8)
    lenses = [Intrinsics.from_focal_px(40, WIDTH, HEIGHT)] * 2
    with pytest.raises(WorkerError, match=r"failed \(Weights only load failed"):
        estimator.estimate(frames, lenses, None, silent, never_cancelled)


def test_what_is_lacking_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EX4D_ENVIRONMENTS", str(tmp_path / "environments"))
    check = VideoDepthAnythingEstimator(DepthRequest()).check
    with pytest.raises(MissingDependencyError, match=r"clone https://github.com/DepthAnything/.*--depth-model-dir\.$"):
        check(1, (WIDTH, HEIGHT), silent, never_cancelled)
    checkout = make_checkout(tmp_path / "checkout")
    make_python(checkout / ".venv", {"torchvision.py": "", "einops.py": "", "torch.py": ""}, ours=False)
    with pytest.raises(MissingDependencyError, match=r"lacks cv2, easydict, tqdm\): run `ex4d models down"):
        find_python(checkout)
    (checkout / CHECKPOINT).unlink()
    check = VideoDepthAnythingEstimator(DepthRequest(model_dir=checkout)).check
    with pytest.raises(InputError, match=r"checkout has no checkpoints/video_depth_anything_vits.pth: name a clone"):
        check(1, (WIDTH, HEIGHT), silent, never_cancelled)

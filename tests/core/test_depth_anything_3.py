"""Depth Anything 3 through our side of it: chunks of a known scene become one world, reruns go on, errors are said.

The package itself stands in: its own classes with random weights were run by hand (docs/depth/depth-anything-3.md).
This one sees what the frames hold, in a world and at a scale that are other ones for each call, as the real one does.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from own_pythons import make_python, mark_ready

from ex4d_core.camera import Intrinsics
from ex4d_core.depth import DepthRequest, depth_anything_3
from ex4d_core.depth.depth_anything_3 import DepthAnything3Estimator
from ex4d_core.depth.depth_anything_3_single import DepthAnything3MetricEstimator
from ex4d_core.depth.model_environment import environment_folder
from ex4d_core.errors import CancelledError, InputError, MissingDependencyError
from ex4d_core.progress import never_cancelled, silent

COUNT, CUT, HEIGHT, WIDTH = 20, 13, 24, 32
FOCAL = 0.8  # of the width

PACKAGE = """
import json, types
from pathlib import Path
import cv2, numpy as np

class DepthAnything3:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.model_name = json.loads((self.folder / "config.json").read_text())["model_name"]
    @classmethod
    def from_pretrained(cls, folder, local_files_only):
        assert local_files_only
        return cls(folder)
    def to(self, device):
        return self
    eval = lambda self: self
    def inference(self, frames, process_res):
        print("[INFO ] on stdout, as the package does")
        with open(self.folder / "calls.txt", "a") as calls:
            calls.write(f"{len(frames)} {process_res}\\n")
        seen = np.stack([cv2.imread(path) for path in frames])  # BGR
        depth = (255 / np.maximum(seen[..., 2], 1)).astype(np.float32)
        if self.model_name.startswith("da3m"):
            return types.SimpleNamespace(depth=depth, conf=None, intrinsics=None, extrinsics=None)
        times = seen[:, 0, 0, 1].astype(float)
        rng = np.random.default_rng(int(times[0]))
        scale = rng.uniform(0.3, 3)
        turned = np.eye(4)
        turned[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        turned[:3, :3] *= np.linalg.det(turned[:3, :3])
        turned[:3, 3] = rng.normal(size=3)
        w2c = []
        for t in times:
            c, s = np.cos(0.03 * t), np.sin(0.03 * t)
            c2w = np.array([[c, 0, s, 0.1 * t * scale], [0, 1, 0, 0], [-s, 0, c, 0], [0, 0, 0, 1]])
            w2c.append(np.linalg.inv(turned @ c2w)[:3])
        height, width = depth.shape[1:]
        lens = np.array([[0.8 * width, 0, width / 2], [0, 0.8 * width, height / 2], [0, 0, 1]])
        return types.SimpleNamespace(
            depth=depth * np.float32(scale),
            conf=np.ones_like(depth),
            intrinsics=np.repeat(lens[None], len(frames), 0).astype(np.float32),
            extrinsics=np.array(w2c, np.float32),
        )
"""

TORCH = """
import types
cuda = types.SimpleNamespace(is_available=lambda: False)
backends = types.SimpleNamespace(mps=cuda)
device = str
"""
"""What the runner asks of it, for the real one takes seconds to import."""


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EX4D_ENVIRONMENTS", str(tmp_path / "environments"))
    monkeypatch.setattr(depth_anything_3, "CHUNK", 6)
    monkeypatch.setattr(depth_anything_3, "OVERLAP", 2)


def install() -> None:
    packages = {"depth_anything_3/api.py": PACKAGE, "torch.py": TORCH}
    make_python(environment_folder("depth-anything-3"), packages)
    mark_ready("depth-anything-3")


def weights(folder: Path, model: str = "da3-base") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_name": model, "config": {}}))
    (folder / "model.safetensors").touch()
    return folder


def scene() -> np.ndarray:
    """Red is disparity (a slope that moves), green the time."""
    frames = np.zeros((COUNT, HEIGHT, WIDTH, 3), np.uint8)
    for t in range(COUNT):
        frames[t, :, :, 0] = 60 + t + np.linspace(0, 120, WIDTH).astype(np.uint8)[None]
        frames[t, :, :, 1] = t
    return frames


def lenses() -> list[Intrinsics]:
    return [Intrinsics.from_focal_px(500, WIDTH, HEIGHT)] * COUNT


def true_camera(t: int) -> np.ndarray:
    a = 0.03 * t
    return np.array([[np.cos(a), 0, np.sin(a), 0.1 * t], [0, 1, 0, 0], [-np.sin(a), 0, np.cos(a), 0], [0, 0, 0, 1.0]])


def calls(folder: Path) -> list[str]:
    return (folder / "calls.txt").read_text().splitlines()


def test_chunks_become_one_world_and_a_rerun_goes_on(tmp_path: Path) -> None:
    install()
    folder, frames = weights(tmp_path / "weights"), scene()
    request = DepthRequest(model_dir=folder, work=tmp_path / "work", cuts=(CUT,))
    told: list[tuple[int, int, str]] = []
    estimator = DepthAnything3Estimator(request)
    estimator.check(COUNT, (WIDTH, HEIGHT), silent, never_cancelled)
    result = estimator.estimate(frames, lenses(), None, lambda *news: told.append(news), never_cancelled)

    assert calls(folder) == ["6 504"] * 3 + ["6 504"] * 2  # 0-6, 4-10, 7-13; 13-19, 14-20
    assert [news[0] for news in told if news[2] == "estimating depth"] == [6, 10, 13, 19, 20]
    assert result.units == "relative"
    assert result.warnings == ()
    true = 255 / frames[..., 0].astype(np.float64)
    assert result.source_c2w is not None
    scales = []
    for start, end in ((0, CUT), (CUT, COUNT)):
        depth = np.stack(list(result.depth.iterate()))[start:end]
        scale = np.median(depth / true[start:end])
        np.testing.assert_allclose(depth, scale * true[start:end], rtol=1e-4)
        path = np.linalg.inv(true_camera(start)) @ np.stack([true_camera(t) for t in range(start, end)])
        path[:, :3, 3] *= scale
        np.testing.assert_allclose(result.source_c2w[start:end], path, atol=1e-4)
        scales.append(scale)
    assert abs(scales[0] / scales[1] - 1) > 0.05  # takes have worlds of their own: the test would see a mix
    assert result.nearest == pytest.approx(min(z.min() for z in result.depth.iterate()))
    assert result.farthest == pytest.approx(max(z.max() for z in result.depth.iterate()))
    lens = result.intrinsics
    assert lens is not None
    assert lens[0].as_tuple() == pytest.approx((FOCAL * WIDTH, FOCAL * WIDTH, WIDTH / 2, HEIGHT / 2), rel=1e-5)
    assert not list(tmp_path.rglob("*.png"))

    kept = sorted((tmp_path / "work").rglob("*.npz"))
    assert len(kept) == 5
    kept[1].unlink()
    again = estimator.estimate(frames, lenses(), None, silent, never_cancelled)
    assert len(calls(folder)) == 6
    np.testing.assert_array_equal(np.stack(list(again.depth.iterate(3))), np.stack(list(result.depth.iterate(3))))
    shutil.rmtree(environment_folder("depth-anything-3"))
    whole = estimator.estimate(frames, lenses(), None, silent, never_cancelled)
    np.testing.assert_array_equal(whole.source_c2w, result.source_c2w)  # type: ignore[arg-type]


def test_metres_follow_the_lens(tmp_path: Path) -> None:
    """Metres = focal length in pixels * output / 300."""
    install()
    folder = weights(tmp_path / "weights", "da3metric-large")
    estimator = DepthAnything3MetricEstimator(DepthRequest(model_dir=folder))
    frames = np.repeat(scene()[:1], 3, axis=0)
    result = estimator.estimate(frames, lenses()[:3], None, silent, never_cancelled)
    assert result.units == "metric"
    assert result.source_c2w is None
    assert calls(folder) == ["1 504"] * 3
    metres = 500 * 255 / frames[0, :, :, 0].astype(np.float64) / 300
    for depth in result.depth.iterate():
        np.testing.assert_allclose(depth, metres, rtol=0.02)


def test_a_cancel_leaves_finished_chunks(tmp_path: Path) -> None:
    install()
    folder = weights(tmp_path / "weights")
    request = DepthRequest(model_dir=folder, work=tmp_path / "work")
    with pytest.raises(CancelledError):
        DepthAnything3Estimator(request).estimate(
            scene(), lenses(), None, silent, lambda: len(list((tmp_path / "work").rglob("*-*.npz"))) >= 2
        )
    kept = [path.name for path in sorted((tmp_path / "work").rglob("*.npz"))]
    assert kept[:2] == ["000000-000006.npz", "000004-000010.npz"]
    assert not list(tmp_path.rglob("*.png"))


def test_a_lens_that_is_none_is_not_told(tmp_path: Path) -> None:
    focals = np.full((4, 2), 0.8)
    focals[2, 1] = 1e6
    lens, doubt = depth_anything_3._lens(focals, [(0, 4)], lenses()[:4])
    assert lens is None
    assert doubt == ["The lens that depth-anything-3 sees is none that there is: give --fov if you know it."]


def test_a_lens_that_zooms_is_followed_and_said() -> None:
    focals = np.stack([np.linspace(0.8, 1.6, 10)] * 2, axis=1)
    told = np.concatenate([focals[:1].repeat(5, 0), focals])
    lens, doubt = depth_anything_3._lens(told, [(0, 5), (5, 15)], lenses()[:15])
    assert lens is not None
    assert len({one.fx for one in lens[:5]}) == 1
    assert lens[14].fx == pytest.approx(1.6 * WIDTH)
    assert len(doubt) == 1
    assert "From frame 5 on the lens that depth-anything-3 sees changes from 59 to 36 degrees" in doubt[0]


def test_what_is_lacking_is_said_with_the_command(tmp_path: Path) -> None:
    folder = weights(tmp_path / "weights")
    check = DepthAnything3Estimator(DepthRequest(model_dir=folder)).check
    with pytest.raises(MissingDependencyError, match=r"its own, which is absent: run `ex4d models download depth-any"):
        check(COUNT, (WIDTH, HEIGHT), silent, never_cancelled)
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"has no model.safetensors: give --depth-model-dir a folder with one"):
        check(COUNT, (WIDTH, HEIGHT), silent, never_cancelled)
    weights(folder, "da3mono-large")
    with pytest.raises(InputError, match=r"holds the checkpoint da3mono-large, and depth-anything-3 takes da3-small"):
        check(COUNT, (WIDTH, HEIGHT), silent, never_cancelled)
    (folder / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"has no config.json of a Depth Anything 3 checkpoint: give"):
        check(COUNT, (WIDTH, HEIGHT), silent, never_cancelled)


def test_depth_that_is_none_is_refused_and_not_kept(tmp_path: Path) -> None:
    install()
    folder = weights(tmp_path / "weights")
    package = environment_folder("depth-anything-3").glob("[Ll]ib/**/depth_anything_3/api.py")
    for file in package:
        file.write_text(PACKAGE.replace("depth=depth * np.float32(scale)", "depth=depth * np.float32(np.nan)"))
    request = DepthRequest(model_dir=folder, work=tmp_path / "work")
    with pytest.raises(InputError, match=r"numbers that are no depth .* for frame 0: run `ex4d models ver"):
        DepthAnything3Estimator(request).estimate(scene()[:4], lenses()[:4], None, silent, never_cancelled)
    assert not list((tmp_path / "work").rglob("*.npz"))


def test_checkpoints_that_are_not_for_commercial_work_say_so() -> None:
    assert depth_anything_3.licence_warnings("da3-base") == []
    (warning,) = depth_anything_3.licence_warnings("da3-giant")
    assert "CC BY-NC 4.0" in warning

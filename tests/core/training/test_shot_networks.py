"""LPIPS, FID and FVD with the real networks and weights drawn by lot, in files laid out as the real ones.

They need torchvision. Where only one for another torch is to be had, `scripts/environment.py` puts it beside `.venv`'s
packages, and these tests run in a process of their own, in which its operators, which nothing here calls, are named.
"""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from ex4d_core.cli import ex4d
from ex4d_core.clip import write_lossless
from ex4d_core.errors import InputError

BESIDE = Path(sys.prefix) / "torchvision-beside"
INNER = """
import sys, torch
named = torch.library.Library("torchvision", "FRAGMENT")
for name in ("nms", "qnms"):
    named.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
import pytest
sys.exit(pytest.main(["-rs", "--tb=short", "--durations=6", "-p", "no:cacheprovider", sys.argv[1]]))
"""
SHAPE = (72, 88, 3)


def _torchvision() -> str:
    """Why it cannot be used here; empty: it can."""
    try:
        import torch_fidelity  # noqa: F401
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError) as error:
        return str(error).splitlines()[0]
    return ""


WHY_NOT = _torchvision()
with_networks = pytest.mark.skipif(bool(WHY_NOT), reason=f"torchvision: {WHY_NOT}")


@pytest.mark.skipif(not WHY_NOT, reason="torchvision goes with torch: the tests run here")
@pytest.mark.skipif(not BESIDE.is_dir(), reason="the extra train is not installed")
def test_these_in_a_process_with_the_torchvision_that_lies_beside() -> None:
    paths = [str(BESIDE), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", INNER, __file__], env=environment, capture_output=True, text=True, cwd=Path.cwd()
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 passed, 2 skipped" in done.stdout, done.stdout  # skipped: this one, and the one of a misfit


@pytest.mark.skipif(not WHY_NOT or not BESIDE.is_dir(), reason="no torchvision of another torch lies beside")
def test_a_torchvision_of_another_torch_is_a_sentence() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(BESIDE), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "ex4d_core.cli", "evaluate", "shot", "a.mp4", "--truth", "b.mp4"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "install the torchvision that was built for this torch" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever wants to download fails the test."""

    def refuse(*_: Any) -> None:
        raise AssertionError("something asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def both() -> tuple[np.ndarray, np.ndarray]:
    """A picture and a worse one."""
    draw = np.random.default_rng(5)
    truth = cv2.GaussianBlur(draw.integers(0, 256, SHAPE, dtype=np.uint8), (0, 0), 2)
    return np.clip(truth + draw.normal(0, 20, SHAPE), 0, 255).astype(np.uint8), truth


@pytest.fixture(scope="module", params=["alexnet", "vgg16"])
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as torchvision's, with a part of its classifier."""
    import torchvision

    torch.manual_seed(1)
    features = getattr(torchvision.models, request.param)(weights=None).features.state_dict()
    file = tmp_path_factory.mktemp("lpips") / f"{request.param}.pth"
    torch.save({f"features.{name}": t for name, t in features.items()} | {"classifier.1.bias": torch.zeros(4096)}, file)
    return file


def tensor(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255


def reference_lpips(file: Path, x: torch.Tensor, y: torch.Tensor) -> float:
    """Zhang et al. 2018, equation 1, layer by layer, with the published heads that torchmetrics brings."""
    import torchmetrics.functional.image as functional
    import torchvision

    name, ends = ("alex", (1, 4, 7, 9, 11)) if file.stem == "alexnet" else ("vgg", (3, 8, 15, 22, 29))
    net = getattr(torchvision.models, file.stem)(weights=None).features.eval()
    state = torch.load(file, weights_only=True)
    net.load_state_dict({n.removeprefix("features."): t for n, t in state.items() if n.startswith("features.")})
    published = Path(functional.__file__).parent / "lpips_models" / f"{name}.pth"
    heads = torch.load(published, weights_only=True, map_location="cpu")
    mean, std = (torch.tensor(v)[None, :, None, None] for v in ([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]))
    a, b, total = (2 * x - 1 - mean) / std, (2 * y - 1 - mean) / std, 0.0
    with torch.inference_mode():
        for index, layer in enumerate(net):
            a, b = layer(a), layer(b)
            if index in ends:
                unit = [f / torch.sqrt(1e-8 + (f * f).sum(1, keepdim=True)) for f in (a, b)]
                head = heads[f"lin{ends.index(index)}.model.1.weight"]
                total += float(((unit[0] - unit[1]) ** 2 * head[0][None]).sum(1).mean())
    return total


@with_networks
def test_lpips_is_the_papers(backbone: Path, both: tuple[np.ndarray, np.ndarray]) -> None:
    from ex4d_core.evaluation.shot_lpips import load_lpips

    net, (x, y) = load_lpips(backbone), (tensor(p) for p in both)
    assert net(x, y) == pytest.approx(reference_lpips(backbone, x, y), rel=1e-4)
    assert net(x, x) == 0


@with_networks
def test_masked_lpips(backbone: Path, both: tuple[np.ndarray, np.ndarray]) -> None:
    from ex4d_core.evaluation.shot_lpips import load_lpips

    net, (x, y) = load_lpips(backbone), (tensor(p) for p in both)
    assert net.masked(x, y, torch.ones(1, 1, *SHAPE[:2])) == pytest.approx(net(x, y), rel=1e-5)
    mask = torch.zeros(1, 1, *SHAPE[:2])
    mask[..., 10:60, 20:50] = 1
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(2))
    before = net.masked(x, y, mask)
    assert net.masked(torch.where(mask > 0, x, noise), y, mask) == pytest.approx(before, rel=1e-5)
    assert net.masked(torch.where(mask > 0, noise, x), y, mask) != pytest.approx(before, rel=0.01)
    assert math.isnan(net(x[..., :20, :20], y[..., :20, :20]))


@with_networks
def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    from ex4d_core.evaluation.shot_frechet import I3d, Inception
    from ex4d_core.evaluation.shot_lpips import load_lpips

    other, code = tmp_path / "other.pth", tmp_path / "code.pth"
    torch.save({"features.0.weight": torch.zeros(64, 3, 11, 11), "layer.weight": torch.zeros(3)}, other)
    torch.save({"model": torch.nn.Linear(2, 2)}, code)
    script = tmp_path / "script.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), script)
    for load in (load_lpips, Inception, I3d):
        with pytest.raises(InputError, match="other.pth") as error:
            load(other)
        assert "\n" not in str(error.value)
        with pytest.raises(InputError, match="holds code besides tensors"):
            load(code)
        with pytest.raises(InputError, match="holds code besides tensors"):
            load(script)
        with pytest.raises(InputError, match="There is no file .*nothing.pth: check the name"):
            load(tmp_path / "nothing.pth")
        torch.save({"features.0.weight": torch.zeros(64, 3, 11, 11).to_sparse()}, tmp_path / "sparse.pth")
        with pytest.raises(InputError, match="sparse.pth has sparse_coo float32 in features.0.weight"):
            load(tmp_path / "sparse.pth")
        torch.save({"features.0.weight": torch.full((64, 3, 11, 11), math.nan)}, tmp_path / "nan.pth")
        with pytest.raises(InputError, match="nan.pth has numbers in features.0.weight that are not finite"):
            load(tmp_path / "nan.pth")
    (tmp_path / "cut.pth").write_bytes(other.read_bytes()[:200])
    with pytest.raises(InputError, match="cut.pth"):
        load_lpips(tmp_path / "cut.pth")


@pytest.fixture(scope="module")
def inception(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as torch-fidelity's, by lot."""
    from torch_fidelity import feature_extractor_inceptionv3 as module

    torch.manual_seed(3)
    with pytest.MonkeyPatch.context() as patch:  # else it downloads its own
        patch.setattr(module, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        net = module.FeatureExtractorInceptionV3("by-lot", ["2048"])
    file = tmp_path_factory.mktemp("inception") / "weights-inception-2015-12-05-6726825d.pth"
    torch.save(net.state_dict(), file)
    return file


@pytest.fixture(scope="module")
def i3d(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as cd-fvd's, by lot."""
    from cdfvd.third_party.i3d.pytorch_i3d import InceptionI3d

    torch.manual_seed(4)
    file = tmp_path_factory.mktemp("i3d") / "i3d_pretrained_400.pt"
    torch.save(InceptionI3d(400, in_channels=3).state_dict(), file)
    return file


@with_networks
def test_weights_that_are_far_too_large_are_refused(inception: Path, i3d: Path, tmp_path: Path) -> None:
    """Their features are no numbers, on which SciPy crashes."""
    import torchvision

    from ex4d_core.evaluation.shot_frechet import I3d, Inception
    from ex4d_core.evaluation.shot_lpips import load_lpips

    def enlarged(state: dict[str, torch.Tensor]) -> Path:
        file = tmp_path / "huge.pth"
        torch.save({n: torch.full_like(t, 3e38) if t.is_floating_point() else t for n, t in state.items()}, file)
        return file

    pictures = np.full((16, *SHAPE), 200, np.uint8)
    huge = Inception(enlarged(torch.load(inception, weights_only=True)))
    with pytest.raises(InputError, match="The weights of Inception give no finite numbers: get the file again"):
        huge.features(pictures[:2])
    huge = I3d(enlarged(torch.load(i3d, weights_only=True)))
    with pytest.raises(InputError, match="The weights of I3D give no finite numbers"):
        huge.features([pictures])
    state = torchvision.models.alexnet(weights=None).features.state_dict()
    huge = load_lpips(enlarged({f"features.{name}": t for name, t in state.items()}))
    with pytest.raises(InputError, match="The weights of LPIPS give no finite numbers"):
        huge(tensor(pictures[0]), tensor(pictures[0] // 2))


@with_networks
def test_fvd_of_features_is_the_closed_form(i3d: Path) -> None:
    from ex4d_core.evaluation.shot_frechet import Features, I3d

    net = I3d(i3d)
    true = np.random.default_rng(1).normal(size=(6, 400)).astype(np.float32)
    mean, spread = true.mean(axis=0), np.trace(np.cov(true, rowvar=False, bias=True))
    for scale, shift in ((1.0, 0.5), (1.5, 0.0), (1.0, 0.0)):
        closed = float(((scale * mean + shift - mean) ** 2).sum()) + (1 - scale) ** 2 * spread
        found = net.distance(Features([scale * true + np.float32(shift)], [true]))
        assert found == pytest.approx(closed, rel=0.01, abs=0.01)


@with_networks
def test_the_command_with_weights(inception: Path, i3d: Path, tmp_path: Path) -> None:
    """LPIPS, FID and FVD through the command are those of the networks' features, by other formulas."""
    import torchvision

    from ex4d_core.evaluation.shot_frechet import I3d, Inception

    draw = np.random.default_rng(2)
    true = np.stack([cv2.GaussianBlur(draw.integers(0, 256, SHAPE, dtype=np.uint8), (0, 0), 3) for _ in range(32)])
    made = np.clip(true.astype(int) + draw.integers(-40, 41, true.shape), 0, 255).astype(np.uint8)
    torch.manual_seed(1)
    alexnet = tmp_path / "alexnet.pth"
    features = torchvision.models.alexnet(weights=None).features.state_dict()
    torch.save({f"features.{name}": t for name, t in features.items()}, alexnet)

    def run(frames: int, *options: object) -> dict[str, Any]:
        for name, video in (("true.mp4", true), ("made.mp4", made)):
            write_lossless(tmp_path / name, list(video[:frames]), 12)
        arguments = ["evaluate", "shot", tmp_path / "made.mp4", "--truth", tmp_path / "true.mp4", "--json", *options]
        done = CliRunner().invoke(ex4d, list(map(str, arguments)), catch_exceptions=False)
        assert done.exit_code == 0
        return json.loads(done.stdout)  # and nothing else: cd-fvd prints

    found = run(4, "--lpips-weights", alexnet, "--inception-weights", inception)
    frames = [frame["lpips"] for frame in found["shots"][0]["per_frame"]]
    want = [reference_lpips(alexnet, tensor(a), tensor(b)) for a, b in zip(made[:4], true[:4], strict=True)]
    assert frames == pytest.approx(want, rel=1e-4)
    assert found["shots"][0]["lpips"] == pytest.approx(np.mean(frames))
    (together,) = found["ranges"]
    net = Inception(inception)
    assert together["fid"] == pytest.approx(frechet(net.features(made[:4]), net.features(true[:4]), 1), rel=0.01)
    assert together["fvd"] is None
    done = CliRunner().invoke(ex4d, ["evaluate", "shot", *tiny(tmp_path), "--lpips-weights", str(alexnet)])
    assert "LPIPS needs 35 pixels on each side" in done.stderr
    (together,) = run(32, "--i3d-weights", i3d)["ranges"]
    judge = I3d(i3d)
    clips = [[video[:16], video[16:]] for video in (made, true)]
    assert together["fvd"] == pytest.approx(frechet(*map(judge.features, clips), 0), rel=0.01)
    assert together["fid"] is None


def tiny(folder: Path) -> list[str]:
    """Arguments: a shot of 16 pixels that is its own truth."""
    write_lossless(folder / "tiny.mp4", [np.zeros((16, 16, 3), np.uint8)], 12)
    return [str(folder / "tiny.mp4"), "--truth", str(folder / "tiny.mp4")]


def frechet(made: np.ndarray, true: np.ndarray, ddof: int) -> float:
    """Of features (N, d) with fewer samples than dimensions: the trace of the root is the nuclear norm of A^T B."""
    (mean_a, a), (mean_b, b) = ((f.mean(0), (f - f.mean(0)).T / math.sqrt(len(f) - ddof)) for f in (made, true))
    root = np.linalg.norm(a.T.astype(np.float64) @ b, "nuc")
    return float(((mean_a - mean_b) ** 2).sum() + (a**2).sum() + (b**2).sum() - 2 * root)

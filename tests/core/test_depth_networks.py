"""Depth Anything V2 and Depth Pro: tiny models of the real classes in the real files, from a folder to a scene."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
from ingest_cases import clip_file
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from transformers import DepthAnythingForDepthEstimation, DepthProForDepthEstimation, DPTImageProcessorPil

from ex4d_core.depth import DepthRequest
from ex4d_core.depth.depth_anything_v2 import DepthAnythingV2Estimator, shrunk
from ex4d_core.depth.depth_pro import DepthProEstimator, focal_share
from ex4d_core.depth.hub_network import normalised, read_preprocessing
from ex4d_core.depth.per_frame import PerFrameEstimator
from ex4d_core.depth.registry import default_estimator, missing
from ex4d_core.errors import CancelledError, InputError
from ex4d_core.ingest import import_scene
from ex4d_core.model_store import repository
from ex4d_core.models import known_model, state
from ex4d_core.progress import never_cancelled, silent
from ex4d_core.scene import Scene

ANYTHING, PRO = "depth-anything-v2-small", "depth-pro"
Make = Callable[[DepthRequest], PerFrameEstimator]
MAKE: dict[str, Make] = {ANYTHING: DepthAnythingV2Estimator, PRO: DepthProEstimator}
FRAMES, WIDTH, HEIGHT = 5, 96, 64


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders with the name of their estimator."""
    script = Path(__file__).resolve().parents[2] / "scripts" / "make_tiny_depth_models.py"
    spec = importlib.util.spec_from_file_location("make_tiny_depth_models", script)
    assert spec is not None
    assert spec.loader is not None
    made: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = made
    spec.loader.exec_module(made)
    folder = tmp_path_factory.mktemp("weights")
    for name, write in made.LAYOUTS.items():
        write(folder / name, 0)
    return folder


@pytest.fixture(autouse=True)
def no_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("EX4D_STATE_DIR", str(tmp_path / "state"))


def picture(width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    rng = np.random.default_rng(7)
    return cv2.resize(rng.integers(0, 256, (6, 9, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("size", [(96, 64), (64, 96), (56, 56), (300, 80), (41, 1000), (1920, 1080)])
def test_pictures_are_prepared_as_the_library_prepares_them(weights: Path, size: tuple[int, int]) -> None:
    settings = read_preprocessing(weights / ANYTHING, ANYTHING)
    processor = DPTImageProcessorPil.from_pretrained(weights / ANYTHING)
    expected = processor(images=picture(*size), return_tensors="pt")["pixel_values"]
    found = normalised(shrunk(picture(*size), settings), settings)
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, atol=1e-5)


def test_disparity_is_the_model_s(weights: Path) -> None:
    model = DepthAnythingForDepthEstimation.from_pretrained(weights / ANYTHING).eval()
    inputs = DPTImageProcessorPil.from_pretrained(weights / ANYTHING)(images=picture(), return_tensors="pt")
    with torch.no_grad():
        expected = model(**inputs).predicted_depth[0].numpy()
    found = DepthAnythingV2Estimator(DepthRequest(model_dir=weights / ANYTHING)).load()(picture())
    np.testing.assert_allclose(found.disparity, expected, rtol=1e-4)
    assert np.ptp(found.disparity) > 0.1, "the picture shows in it"
    assert np.isnan(found.focal)


def test_depth_pro_is_told_in_metres(weights: Path) -> None:
    """As the library's post-processing: metres = focal length / (width * what the network gives)."""
    model = DepthProForDepthEstimation.from_pretrained(weights / PRO).eval()
    mean, deviation = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    pixels = torch.from_numpy((picture() / np.float32(255) - mean) / deviation).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        output = model(pixel_values=torch.nn.functional.interpolate(pixels, (128, 128), mode="bilinear"))
    focal_px = 0.5 * WIDTH / np.tan(np.radians(float(output.field_of_view[0])) / 2)
    inverse = torch.nn.functional.interpolate(output.predicted_depth[None], (HEIGHT, WIDTH), mode="bilinear")[0, 0]
    expected = 1 / np.clip(inverse.numpy() * WIDTH / focal_px, 1e-4, 1e4)
    found = DepthProEstimator(DepthRequest(model_dir=weights / PRO)).load()(picture())
    assert found.focal * WIDTH == pytest.approx(focal_px, rel=1e-5)
    np.testing.assert_allclose(found.focal / found.disparity, expected, rtol=1e-4)
    assert np.isnan(focal_share(0.0))
    assert np.isnan(focal_share(180.0))


@pytest.mark.parametrize("name", [ANYTHING, PRO])
def test_a_clip_becomes_a_scene_and_a_rerun_goes_on(weights: Path, tmp_path: Path, name: str) -> None:
    wide = picture(WIDTH + 2 * FRAMES)
    clip = clip_file(tmp_path, np.stack([wide[:, 2 * t : 2 * t + WIDTH] for t in range(FRAMES)]))
    options = {"estimator": name, "model_dir": weights / name, "sharpen": False}
    whole = import_scene(clip, tmp_path / "whole.ex4d", **options)
    assert (whole.estimator, whole.units) == (name, "metric" if name == PRO else "relative")
    assert np.isfinite(whole.depth(0)).all()
    assert (whole.document.source.lens == "estimated") == (name == PRO)
    looked: list[int] = []

    def note(done: int, total: int, stage: str) -> None:
        looked.extend([done] * (stage == "estimating depth"))

    with pytest.raises(CancelledError):
        import_scene(clip, tmp_path / "a.ex4d", **options, on_progress=note, cancelled=lambda: len(looked) >= 2)
    assert looked == [1, 2]
    resumed = import_scene(clip, tmp_path / "a.ex4d", **options, on_progress=note)
    assert looked == [1, 2, 3, 4, 5]
    assert resumed.content_hash == whole.content_hash


def test_downloaded_weights_are_the_default(weights: Path, tmp_path: Path) -> None:
    assert default_estimator() == "embedded"
    (sentence,) = missing(ANYTHING)
    assert sentence.endswith(f"run `ex4d models download {ANYTHING}` (99.2 MB).")
    (sentence,) = missing(PRO)
    assert sentence.endswith("run `ex4d models download depth-pro --accept` (3.8 GB).")
    model = known_model(ANYTHING)
    snapshot = repository(tmp_path / "hub", model.hub_id) / "snapshots" / model.revision
    shutil.copytree(weights / ANYTHING, snapshot)
    assert state(model) == "ready"
    assert default_estimator() == ANYTHING
    clip = clip_file(tmp_path, np.stack([picture()] * 2))
    scene: Scene = import_scene(clip, tmp_path / "a.ex4d")
    assert scene.estimator == ANYTHING


@pytest.mark.parametrize("name", [ANYTHING, PRO])
def test_weights_that_are_none_are_refused(weights: Path, tmp_path: Path, name: str) -> None:
    other, folder = weights / (PRO if name == ANYTHING else ANYTHING), tmp_path / "weights"

    def refused(match: str) -> None:
        with pytest.raises(InputError, match=match) as caught:
            MAKE[name](DepthRequest(model_dir=folder)).load()
        assert str(caught.value).count(". ") == 0

    folder.mkdir()
    with pytest.raises(InputError, match="has no config"):
        MAKE[name](DepthRequest(model_dir=folder)).check(FRAMES, (WIDTH, HEIGHT), silent, never_cancelled)
    refused(r"has no config\.json: give --depth-model-dir a folder with config\.json, .* of")
    damaged = f"are damaged, or not those of {name}: run `ex4d models verify {name} --repair`, or give another"
    shutil.copytree(weights / name, folder, dirs_exist_ok=True)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    save_file(dict(list(tensors.items())[1:]), file, {"format": "pt"})
    refused(damaged)  # transformers would make one up
    file.write_bytes((weights / name / "model.safetensors").read_bytes()[:-100])
    refused(damaged)
    shutil.copytree(other, folder, dirs_exist_ok=True)
    refused(damaged)
    shutil.copytree(weights / name, folder, dirs_exist_ok=True)
    for text in ("[]", "", json.dumps({"size": 5})):
        (folder / "preprocessor_config.json").write_text(text)
        refused(damaged)

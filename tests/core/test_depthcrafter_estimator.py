"""The estimator `depthcrafter` from files in the real layouts, on tiny random models."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_depthcrafter import clip_frames

from ex4d_core.camera import Intrinsics
from ex4d_core.depth import DepthRequest, DepthResult
from ex4d_core.depth.depthcrafter import estimator as module
from ex4d_core.depth.depthcrafter.estimator import DepthCrafterEstimator, require_memory
from ex4d_core.depth.depthcrafter.footprint import needed_bytes
from ex4d_core.depth.depthcrafter.weights import find_weights
from ex4d_core.errors import InputError, MissingDependencyError
from ex4d_core.progress import never_cancelled, silent


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `scripts/make_tiny_depth_models.py` writes for DepthCrafter."""
    script = Path(__file__).parents[2] / "scripts" / "make_tiny_depth_models.py"
    spec = importlib.util.spec_from_file_location("make_tiny_depth_models", script)
    assert spec is not None
    assert spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = maker
    spec.loader.exec_module(maker)
    folder = tmp_path_factory.mktemp("models") / "depthcrafter"
    maker.LAYOUTS["depthcrafter"](folder, 0)
    return folder


def estimated(frames: Any, request: DepthRequest) -> DepthResult:
    height, width = frames[0].shape[:2]
    lenses = [Intrinsics.from_fov_x_degrees(50, width, height)] * len(frames)
    return DepthCrafterEstimator(request).estimate(frames, lenses, None, silent, never_cancelled)


def test_depth_of_a_clip_of_another_size(models: Path, tmp_path: Path) -> None:
    frames = clip_frames(3, 100, 70)  # the model works at 128 x 64
    result = estimated(frames, DepthRequest(model_dir=models, work=tmp_path))
    depth = np.stack(list(result.depth.iterate()))
    assert depth.shape == (3, 70, 100)
    assert depth.dtype == np.float32
    assert result.nearest == pytest.approx(10000 / 3900)
    assert result.farthest == 1e4
    assert np.all((depth >= result.nearest * (1 - 1e-6)) & (depth <= result.farthest))
    assert np.array_equal(next(result.depth.iterate(2)), depth[2])
    assert result.units == "relative"
    assert result.conversion["size"] == [128, 64]
    assert "no commercial work" in result.warnings[0]
    json.dumps(result.conversion)


@pytest.fixture(scope="module")
def small(models: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[DepthResult, Path]:
    """What is found in two frames of the model's own size, and what is kept of the work."""
    work = tmp_path_factory.mktemp("work")
    return estimated(clip_frames(2, 64, 64), DepthRequest(model_dir=models, work=work)), work


def test_the_recorded_conversion_turns_what_was_drawn_into_the_depth(small: tuple[DepthResult, Path]) -> None:
    result, work = small
    told: dict[str, Any] = result.conversion
    drawn = np.load(work / "depthcrafter-1-64x64-pictures" / "000001.npy")
    scaled = told["factor"] * (drawn - told["lowest"]) / (told["highest"] - told["lowest"])
    with np.errstate(divide="ignore"):
        expected = np.clip(told["numerator"] / scaled, *told["clipped"])
    assert np.allclose(next(result.depth.iterate(1)), expected, rtol=1e-5)


def test_a_rerun_loads_no_model(small: tuple[DepthResult, Path], models: Path, tmp_path: Path) -> None:
    shutil.copytree(models, tmp_path, dirs_exist_ok=True)
    for file in tmp_path.rglob("*.safetensors"):
        file.unlink()
    again = estimated(clip_frames(2, 64, 64), DepthRequest(model_dir=tmp_path, work=small[1]))
    assert np.array_equal(list(again.depth.iterate()), list(small[0].depth.iterate()))


def test_one_black_frame_has_depth(models: Path) -> None:
    result = estimated(np.zeros((1, 64, 64, 3), np.uint8), DepthRequest(model_dir=models))
    assert np.isfinite(next(result.depth.iterate())).all()


def test_weights_in_one_folder_each_or_side_by_side_or_of_full_precision(models: Path, tmp_path: Path) -> None:
    found = find_weights(models)
    assert found.unet_folder.name == "DepthCrafter"
    assert found.base_folder.name == "stable-video-diffusion-img2vid-xt"
    shutil.copytree(found.base_folder, tmp_path, dirs_exist_ok=True)
    shutil.copytree(found.unet_folder, tmp_path / "unet of depth")
    (tmp_path / "vae" / "diffusion_pytorch_model.fp16.safetensors").rename(
        tmp_path / "vae" / "diffusion_pytorch_model.safetensors"
    )
    beside = find_weights(tmp_path)
    assert (beside.base_folder, beside.unet_folder) == (tmp_path, tmp_path / "unet of depth")
    assert beside.vae(encodes=True).config.latent_channels == 4


def test_the_unet_of_stable_video_diffusion_is_not_taken_for_depthcrafters(models: Path, tmp_path: Path) -> None:
    found = find_weights(models)
    shutil.copytree(found.base_folder, tmp_path, dirs_exist_ok=True)
    shutil.copytree(found.unet_folder, tmp_path / "unet")
    config = tmp_path / "unet" / "config.json"
    told = json.loads(config.read_text("utf-8"))
    config.write_text(json.dumps(told | {"_class_name": "UNetSpatioTemporalConditionModel"}), "utf-8")
    with pytest.raises(InputError, match=r"does not hold tencent/DepthCrafter: "):
        find_weights(tmp_path)


@pytest.mark.parametrize("lacking", ["DepthCrafter", "stable-video-diffusion-img2vid-xt"])
def test_a_folder_without_one_of_the_two_is_refused_at_once(models: Path, tmp_path: Path, lacking: str) -> None:
    shutil.copytree(models, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / lacking)
    with pytest.raises(InputError, match=rf"does not hold \S+/{lacking}: put its folder there"):
        DepthCrafterEstimator(DepthRequest(model_dir=tmp_path)).check(9, (64, 64), silent, never_cancelled)


def test_without_weights_the_command_and_the_gigabytes_are_named(monkeypatch: Any, tmp_path: Path) -> None:
    for name in ("EX4D_MODELS", "EX4D_STATE_DIR", "HF_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    with pytest.raises(MissingDependencyError, match=r"ex4d models download depthcrafter --accept` \(4\.5 GB\)"):
        DepthCrafterEstimator(DepthRequest()).check(9, (64, 64), silent, never_cancelled)


def test_damaged_weights_are_named(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "stable-video-diffusion-img2vid-xt" / "image_encoder" / "model.fp16.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"model\.fp16\.safetensors is damaged.*download it again"):
        estimated(clip_frames(1, 64, 64), DepthRequest(model_dir=tmp_path))


def test_too_little_memory_names_the_size(models: Path, monkeypatch: Any) -> None:
    def full(*_arguments: Any) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(module, "draw_depth", full)
    with pytest.raises(MissingDependencyError, match=r"than this GPU has free at 128x64: .*a smaller --max-side"):
        estimated(clip_frames(1, 100, 70), DepthRequest(model_dir=models))


def test_a_clip_that_cannot_fit_is_refused_with_the_size_that_would() -> None:
    require_memory((1920, 1080), 300, 12 * 10**9)
    with pytest.raises(
        MissingDependencyError, match=r"needs 9\.9 GB .*at 1024x576, and 7\.0 GB are free.*--max-side 704"
    ):
        require_memory((1920, 1080), 300, 7 * 10**9)
    with pytest.raises(MissingDependencyError, match="or choose another estimator"):
        require_memory((1920, 1080), 300, 2 * 10**9)
    assert needed_bytes((1024, 576), 300) == needed_bytes((1024, 576), 110)  # a window is all that counts
    assert needed_bytes((1024, 576), 1) < needed_bytes((1024, 576), 8) < needed_bytes((1024, 576), 110)

"""EX-4D as an engine's model: tiny weights, the very path of the real ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from safetensors.torch import save_file
from tiny import models

from ex4d_core import cli
from ex4d_core.clip import load_clip, write_viewing
from ex4d_core.erosion import eroded
from ex4d_core.errors import CancelledError
from ex4d_core.generate import ex4d, golden, prompts
from ex4d_core.generate.conditioning import videos
from ex4d_core.generate.ex4d import EX4D, Ex4dModel, noise
from ex4d_core.generate.ladder import Plan
from ex4d_core.generate.loading import Components, load_components
from ex4d_core.generate.profiles import PROFILES
from ex4d_core.generate.prompts import DEFAULTS, Prompts
from ex4d_core.generate.video_model import Report, Window
from ex4d_core.model_files import ModelFiles

T, H, W = 5, 32, 48
Video = NDArray[np.uint8]
PLAN = Plan("resident", "cpu", "float32", tiled_vae=False, vram_bytes=0, ram_bytes=0)
FINAL = replace(PROFILES["ex4d"]["final"], steps=2)


def files_in(folder: Path) -> ModelFiles:
    parts = ("transformer", "vae", "image_encoder", "text_encoder", "tokenizer")
    return ModelFiles(**{part: folder / part for part in parts}, adapter=folder / "ex4d.ckpt")


@pytest.fixture(scope="module")
def model(tiny_ex4d: Path, tmp_path_factory: pytest.TempPathFactory) -> Ex4dModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EX4D_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        return EX4D.load(files_in(tiny_ex4d), PLAN, FINAL)


@pytest.fixture(scope="module")
def usual(model: Ex4dModel, window: Window) -> Video:
    """What the model makes of the window."""
    return model.video(window, Report())


@pytest.fixture(scope="module")
def window() -> Window:
    """A moving picture, wholly seen."""
    waves = np.sin(np.arange(T * H * W * 3).reshape(T, H, W, 3) * 0.37) * 120 + 128
    return Window(waves.astype(np.uint8), np.ones((T, H, W), bool), prompt="", seed=11, profile=FINAL)


def test_a_window_is_what_the_golden_path_makes_of_it(
    usual: Video, window: Window, tiny_ex4d: Path, tmp_path: Path
) -> None:
    """One path from files of the original layout, which golden data proves; the other from diffusers' folders."""
    told = DEFAULTS["ex4d"]
    store = Prompts(files_in(tiny_ex4d), tmp_path / "prompts", "cpu")
    texts = {name: store.embeddings(text)[0].float() for name, text in (("pos", told.prompt), ("neg", told.negative))}
    save_file(models.original_transformer_names(models.wan_transformer(0).state_dict()), tmp_path / "base.safetensors")
    save_file(models.original_vae_names(models.vae(0).state_dict()), tmp_path / "vae.safetensors")
    save_file(models.original_clip_names(models.clip(0).state_dict()), tmp_path / "clip.safetensors")
    (tmp_path / "ex4d_tiny.ckpt").write_bytes((tiny_ex4d / "ex4d.ckpt").read_bytes())
    inputs = {f"context_{name}": context for name, context in texts.items()}
    inputs |= {"color_frames_u8": torch.from_numpy(window.color), "noise": noise(window.color.shape, window.seed)}
    inputs["mask_frames_u8"] = torch.full((T, H, W, 3), 255, dtype=torch.uint8)
    save_file(inputs, tmp_path / "inputs.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(golden_config(tiny_ex4d)), encoding="utf-8")

    expected = golden.run(tmp_path)["decoded_video"][0].transpose(1, 2, 3, 0)
    assert usual.shape == (T, H, W, 3)
    assert usual.dtype == np.uint8
    assert usual.std() > 5
    np.testing.assert_allclose(usual, (expected + 1) * 127.5, rtol=0, atol=1.02)


def golden_config(folder: Path) -> dict:
    """As in the README of the golden data."""
    transformer, vae, clip = (
        json.loads((folder / part / "config.json").read_text(encoding="utf-8"))
        for part in ("transformer", "vae", "image_encoder")
    )
    sizes = {name: value for name, value in transformer.items() if not name.startswith("_")}
    tower = {"num_heads": "num_attention_heads", "num_layers": "num_hidden_layers", "activation": "hidden_act"}
    tower |= {"eps": "layer_norm_eps"} | {name: name for name in ("image_size", "patch_size", "hidden_size")}
    told = {ours: clip[theirs] for ours, theirs in tower.items()}
    told |= {"mlp_ratio": clip["intermediate_size"] / clip["hidden_size"]}
    told |= {"pixel_mean": [0.48145466, 0.4578275, 0.40821073], "pixel_std": [0.26862954, 0.26130258, 0.27577711]}
    return {
        "diffusers_transformer": sizes,
        "vae": vae | {"dim": vae["base_dim"]},
        "clip": told,
        "lora": {"rank": 16, "alpha": 16.0},
        "sampling": {"steps": FINAL.steps, "cfg_scale": FINAL.guidance, "shift": 5.0},
    }


def test_seed_prompt_mask_and_colour_decide(model: Ex4dModel, window: Window, usual: Video) -> None:
    hole = window.mask.copy()
    hole[2:, 10:25, 10:25] = False
    for other in (
        replace(window, seed=12),
        replace(window, prompt="a sharp photograph of a street"),
        replace(window, mask=hole),
        replace(window, color=255 - window.color),
    ):
        assert not np.array_equal(model.video(other, Report()), usual)
    assert np.array_equal(model.video(replace(window, prompt=DEFAULTS["ex4d"].prompt), Report()), usual)


def test_without_guidance_the_negative_prompt_has_no_effect(
    model: Ex4dModel, window: Window, usual: Video, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = replace(window, profile=replace(FINAL, name="fast", guidance=1.0))
    first = model.video(fast, Report())
    assert not np.array_equal(first, usual)
    monkeypatch.setitem(DEFAULTS, "ex4d", replace(DEFAULTS["ex4d"], negative="a street with cars"))
    assert np.array_equal(model.video(fast, Report()), first)


def test_progress_previews_and_where_the_time_went(model: Ex4dModel, window: Window) -> None:
    told: list[tuple[int, int, str]] = []
    previews: list[np.ndarray] = []
    model.video(window, Report(lambda *step: told.append(step), previews.append))
    assert [step for step in told if step[2] == "encoding"] == [(n, 4, "encoding") for n in range(5)]
    assert [step for step in told if step[2] == "denoising"] == [(n, 2, "denoising") for n in (1, 2)]
    assert [step for step in told if step[2] == "decoding"] == [(n, 2, "decoding") for n in (1, 2)]
    assert [stage for _, _, stage in told] == sorted(
        (s for _, _, s in told), key=["encoding", "denoising", "decoding"].index
    )
    assert all(frames.shape == (2, H // 8, W // 8, 3) for frames in previews)
    seconds = model.settings["seconds"]
    assert set(seconds) == {"prompts", "image", "encoding", "denoising", "decoding"}
    share = (seconds["encoding"] + seconds["decoding"]) / sum(seconds.values())
    assert model.settings["vae_share"] == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("asked", [2, 8, 20])
def test_a_cancel_is_heard_everywhere_and_leaves_no_trace(
    model: Ex4dModel, window: Window, usual: Video, asked: int
) -> None:
    """Six chunks are encoded, four passes ask once and for each of two blocks, then two chunks are decoded."""
    times = 0

    def cancelled() -> bool:
        nonlocal times
        times += 1
        return times == asked

    with pytest.raises(CancelledError):
        model.video(window, Report(cancelled=cancelled))
    assert times == asked
    vae = model._parts.vae
    assert all(kept is None for kept in (*vae._feat_map, *vae._enc_feat_map))
    assert np.array_equal(model.video(window, Report()), usual)


def test_text_is_encoded_before_the_weights_take_the_memory(
    tiny_ex4d: Path, window: Window, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EX4D_CACHE_DIR", str(tmp_path))
    files, stored = files_in(tiny_ex4d), []

    def load(*arguments: Any) -> Components:
        stored.append(len(list((tmp_path / "prompts").iterdir())))
        return load_components(*arguments)

    monkeypatch.setattr(ex4d, "load_components", load)
    told = replace(window, prompt="a street with cars")
    loaded = EX4D.load(files, PLAN, FINAL, told.prompt)
    assert stored[0] >= 3
    monkeypatch.setattr(prompts, "load_text_encoder", None)  # would fail if it were called again
    loaded.video(told, Report())


def test_half_floats_hardly_change_the_picture(
    tiny_ex4d: Path, window: Window, usual: Video, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The VAE encodes in bfloat16, too; latents stay float32, so that the steps add no error of their own."""
    monkeypatch.setenv("EX4D_CACHE_DIR", str(tmp_path))
    half = EX4D.load(files_in(tiny_ex4d), replace(PLAN, dtype="bfloat16"), FINAL)
    off = np.abs(half.video(window, Report()).astype(float) - usual).mean()
    assert 0 < off < 0.05 * usual.std()


def test_a_cached_video_is_the_same_after_a_cancel(model: Ex4dModel, window: Window) -> None:
    profile = replace(FINAL, name="cached", steps=6, cache="first-block", threshold=0.5)
    cached = replace(window, profile=profile)
    first, settings = model.video(cached, Report()), model.settings
    assert settings["block_calls"] == 2 * 2 * 6
    assert 0 < settings["block_calls_saved"] <= 2 * 6
    steps = []
    with pytest.raises(CancelledError):
        model.video(cached, Report(lambda *step: steps.append(step), cancelled=lambda: len(steps) > 8))
    assert np.array_equal(model.video(cached, Report()), first)
    assert "block_calls" not in (model.video(window, Report()), model.settings)[1]


def test_the_mask_shrinks_by_two_to_eight_pixels_by_the_seed() -> None:
    mask = np.ones((40, 40, 60), bool)
    mask[:, 20, 30] = False
    shrunk = eroded(mask, 5)
    holes = (~shrunk).sum(axis=(1, 2))
    assert set(np.sqrt(holes).astype(int)) == set(range(2, 9))
    assert (np.sqrt(holes) % 1 == 0).all()
    assert np.array_equal(eroded(mask, 5), shrunk)
    assert not np.array_equal(eroded(mask, 6), shrunk)
    assert eroded(np.ones((3, 16, 16), bool), 0).all()  # the rims of the frame are no rims of the footage


def test_the_first_frame_goes_through_eight_bits_and_unseen_is_black() -> None:
    color = np.full((1, 4, 4, 3), 200, np.uint8)
    mask = np.ones((1, 4, 4), bool)
    mask[0, 0, 0] = False
    made = videos(color, mask)
    assert made.color[0, :, 0, 0, 0].tolist() == [-1, -1, -1]
    assert set(made.mask.unique().tolist()) == {-1, 1}
    levels = (made.first_frame + 1) * 127.5
    # 200 / 255 * 2 - 1 and back is a hair below 200 in float32, and is cut off
    assert levels[0, 0, 3, 3].item() in (pytest.approx(199, abs=1e-3), pytest.approx(200, abs=1e-3))
    truncated = videos(np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3), np.ones((1, 16, 16), bool))
    lower = (truncated.first_frame[0, 0].flatten() + 1) * 127.5 - torch.arange(256)
    assert set(lower.round().tolist()) == {0.0, -1.0}
    assert 0.1 < (lower.round() < 0).float().mean() < 0.3


def test_from_a_clip_to_a_film_and_the_same_again(
    tiny_models: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command line, with files as Wan publishes them: import, render, generate; and generate as it was noted."""
    monkeypatch.setenv("EX4D_CACHE_DIR", str(tmp_path / "cache"))

    def ex4d(*arguments: str) -> None:
        done = CliRunner().invoke(cli.ex4d, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output

    clip, folder = tmp_path / "clip.mp4", tmp_path / "film"
    y, x = np.mgrid[:48, :64]
    frames = (np.stack([(x * 3 + t * 5) % 256, y * 4, (x + y) * 2], axis=-1).astype(np.uint8) for t in range(5))
    write_viewing(clip, frames, Fraction(12))
    ex4d(
        *("reshoot", str(clip), "-o", str(folder), "--preset", "orbit", "--yaw", "15"),
        *("--engine", "ex4d", "--model-dir", str(tiny_models("ex4d-original")), "--steps", "1", "--seed", "9"),
    )
    pictures = {path.name: path.read_bytes() for path in sorted((folder / "shot/output").iterdir())}
    assert len(pictures) == 5
    film = load_clip(folder / "output.mp4")
    assert film.frames.shape[0] == 5
    noted = json.loads((folder / "shot/shot.json").read_text(encoding="utf-8"))
    assert noted["request"]["seed"] == 9
    assert noted["result"]["engine"]["profile"]["steps"] == 1
    assert noted["result"]["engine"]["vae_share"] > 0
    assert set(noted["result"]["engine"]["models"]) >= {"transformer", "vae", "image_encoder", "adapter"}
    assert {"torch", "diffusers", "peft", "transformers"} <= set(noted["result"]["versions"])
    ex4d(
        "generate",
        "--from",
        str(folder / "shot/shot.json"),
        "--overwrite",
        "--model-dir",
        str(tiny_models("ex4d-original")),
    )
    assert {path.name: path.read_bytes() for path in (folder / "shot/output").iterdir()} == pictures

"""VACE through its loader: the stock pipeline's numbers, pairs, seeds, previews, cancelling."""

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
from diffusers import UniPCMultistepScheduler, WanVACEPipeline
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from tiny import models

from ex4d_core.cli import main
from ex4d_core.clip import probe_clip, write_lossless
from ex4d_core.engines import EngineSetup
from ex4d_core.errors import CancelledError, InputError
from ex4d_core.files import cache_folder
from ex4d_core.generate.engine import Shot, make_engine
from ex4d_core.generate.ladder import Plan
from ex4d_core.generate.latents import encode
from ex4d_core.generate.loading import Components, load_components
from ex4d_core.generate.preview import Previewer
from ex4d_core.generate.profiles import PROFILES
from ex4d_core.generate.prompts import DEFAULTS, Prompts
from ex4d_core.generate.sampling import Branch, denoise
from ex4d_core.generate.unipc import UniPC
from ex4d_core.generate.vace import VACE_1_3B, VACE_14B, VaceModel, flow_shift, predictor
from ex4d_core.generate.vace_conditioning import control_latents, vace_inputs
from ex4d_core.generate.video_model import Report, Window
from ex4d_core.model_files import ModelFiles, find_files
from ex4d_core.progress import never_cancelled, silent

FRAMES, HEIGHT, WIDTH = 5, 32, 48
PLAN = Plan("resident", "cpu", "float32", tiled_vae=False, vram_bytes=0, ram_bytes=0)
FINAL = replace(PROFILES["vace-14b"]["final"], steps=4)


@pytest.fixture(autouse=True, scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Prompts and previews of the models here, not of the user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EX4D_CACHE_DIR", str(tmp_path_factory.mktemp("store")))
        yield


@pytest.fixture(scope="module")
def pair(tiny_models: Callable[[str], Path]) -> ModelFiles:
    """Of two transformers, as Wan2.2-VACE-Fun-A14B."""
    return find_files("vace-14b", [tiny_models("vace-fun-a14b")])


@pytest.fixture(scope="module")
def single(tiny_vace: Path) -> ModelFiles:
    return find_files("vace-1.3b", [tiny_vace])


@pytest.fixture(scope="module")
def model(single: ModelFiles) -> VaceModel:
    return VACE_1_3B.load(single, PLAN, FINAL)


@pytest.fixture(scope="module")
def window() -> Window:
    """The same hole in all frames, for which the stock pipeline takes the mask of the right frames."""
    color = np.random.default_rng(0).integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    mask = np.ones((FRAMES, HEIGHT, WIDTH), np.bool_)
    mask[:, 7:26, 9:37] = False
    color[~mask] = 0
    return Window(color, mask, "", 5, FINAL, reference=color[3, ::-1].copy())


@pytest.fixture(scope="module")
def usual(model: VaceModel, window: Window) -> NDArray[np.uint8]:
    """What the window becomes."""
    return model.video(window, Report())


@pytest.fixture(scope="module")
def usual_of_pair(pair: ModelFiles, window: Window) -> NDArray[np.uint8]:
    return VACE_14B.load(pair, PLAN, FINAL).video(window, Report())


def _stock(parts: Components, files: ModelFiles, window: Window, output: str) -> Any:
    """The same by diffusers' own pipeline, which takes grey holes, a mask that says where to generate, and noise."""
    scheduler = UniPCMultistepScheduler.from_pretrained(files.vae.parent / "scheduler")
    boundary = parts.boundary if parts.second_transformer is not None else None
    pipeline: Any = WanVACEPipeline(
        None, None, parts.vae, scheduler, parts.transformer, parts.second_transformer, boundary
    )
    pipeline.set_progress_bar_config(disable=True)
    prompt, negative = (Prompts(files, cache_folder() / "prompts", "cpu").embeddings(t).float() for t in _texts())
    return pipeline(
        video=[np.where(window.mask[..., None], window.color, 127.5) / 255],
        mask=[np.repeat(1.0 - window.mask[..., None], 3, axis=3)],
        reference_images=None if window.reference is None else Image.fromarray(window.reference),
        prompt_embeds=prompt,
        negative_prompt_embeds=negative,
        height=HEIGHT,
        width=WIDTH,
        num_frames=FRAMES,
        num_inference_steps=window.profile.steps,
        guidance_scale=window.profile.guidance,
        latents=_noise(window),
        output_type=output,
    ).frames


def _texts() -> tuple[str, str]:
    told = DEFAULTS["vace-14b"]
    return told.prompt, told.negative


def _noise(window: Window) -> torch.Tensor:
    frames = (FRAMES + 3) // 4 + (window.reference is not None)
    generator = torch.Generator("cpu").manual_seed(window.seed)
    return torch.randn(1, 16, frames, HEIGHT // 8, WIDTH // 8, generator=generator)


@pytest.mark.parametrize("kind", ["single", "pair"])
def test_latents_are_those_of_the_stock_pipeline(kind: str, window: Window, request: pytest.FixtureRequest) -> None:
    files: ModelFiles = request.getfixturevalue(kind)
    parts = load_components(files, PLAN, FINAL)
    expected = _stock(parts, files, window, "latent")

    inputs = vace_inputs(window.color, window.mask, window.reference)
    control = control_latents(inputs, lambda video: encode(parts.vae, video))
    prompts = Prompts(files, cache_folder() / "prompts", "cpu")
    contexts: dict[Branch, Any] = dict(zip(("cond", "uncond"), map(prompts.embeddings, _texts()), strict=True))
    predict = predictor(parts, control, contexts, torch.float32)
    ours = denoise(predict, UniPC(FINAL.steps, flow_shift(WIDTH, HEIGHT)), _noise(window), FINAL.guidance)

    assert ours.dtype == torch.float32
    assert ours.std() > 0.5
    assert (ours - expected).abs().max() < 1e-5


def test_the_video_is_that_of_the_stock_pipeline(usual: NDArray[np.uint8], single: ModelFiles, window: Window) -> None:
    expected = _stock(load_components(single, PLAN, FINAL), single, window, "np")[0]
    assert usual.shape == window.color.shape
    assert usual.std() > 1
    assert np.abs(usual - np.rint(expected * 255)).max() <= 1  # a rounding apart


def test_without_a_reference_it_is_the_stock_pipelines_too(
    model: VaceModel, single: ModelFiles, window: Window
) -> None:
    alone = replace(window, reference=None, profile=replace(FINAL, guidance=1.0))
    expected = _stock(load_components(single, PLAN, FINAL), single, alone, "np")[0]
    assert np.abs(model.video(alone, Report()) - np.rint(expected * 255)).max() <= 1


def test_the_pair_changes_over_where_the_model_says(pair: ModelFiles, window: Window, tmp_path: Path) -> None:
    parts = load_components(pair, PLAN, FINAL)
    assert parts.boundary == json.loads((pair.transformer.parent / "model_index.json").read_text())["boundary_ratio"]
    told: dict[str, list[float]] = {"first": [], "second": []}
    for name, transformer in (("first", parts.transformer), ("second", parts.second_transformer)):
        transformer.register_forward_pre_hook(
            lambda _module, _args, given, name=name: told[name].append(given["timestep"].item()), with_kwargs=True
        )
    place = Prompts(pair, tmp_path, "cpu"), Previewer(parts.vae, pair, "cpu", tmp_path)
    VaceModel(parts, PLAN, *place, DEFAULTS["vace-14b"]).video(window, Report())
    steps = [t for t in UniPC(FINAL.steps, 3.0).timesteps.tolist() for _pass in range(2)]
    assert told["first"] == [t for t in steps if t >= 875]
    assert told["second"] == [t for t in steps if t < 875]
    assert told["first"]
    assert told["second"]


def test_seed_and_prompt_and_reference_decide(model: VaceModel, window: Window, usual: NDArray[np.uint8]) -> None:
    assert window.reference is not None
    np.testing.assert_array_equal(model.video(window, Report()), usual)
    others = {"seed": window.seed + 1, "prompt": "a street in the sun", "reference": 255 - window.reference}
    for name, value in others.items():
        other = model.video(replace(window, **{name: value}), Report())
        assert other.shape == usual.shape
        assert np.abs(other.astype(int) - usual).max() > 0, name


def test_passes_are_named_for_the_caches(model: VaceModel, window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the two would get each other's results; without guidance there is one."""
    transformer, names = model._parts.transformer, list[str]()
    enter = transformer.cache_context
    monkeypatch.setattr(transformer, "cache_context", lambda name: (names.append(name), enter(name))[1])
    model.video(window, Report())
    assert names == ["cond", "uncond"] * FINAL.steps
    names.clear()
    model.video(replace(window, profile=replace(FINAL, guidance=1.0)), Report())
    assert names == ["cond"] * FINAL.steps


def test_steps_and_previews_are_told(model: VaceModel, window: Window) -> None:
    heard: list[tuple[int, int, str]] = []
    seen: list[Any] = []
    model.video(window, Report(lambda *told: heard.append(told), seen.append))
    stages = [stage for _done, _total, stage in heard]
    assert stages == sorted(stages, key=["encoding", "denoising", "decoding"].index)
    for stage, total in (("encoding", 3), ("denoising", FINAL.steps), ("decoding", 2)):
        assert [done for done, _total, each in heard if each == stage][-1] == total
        assert {each_total for _done, each_total, each in heard if each == stage} == {total}
    assert seen
    assert all(frames.shape == (2, HEIGHT // 8, WIDTH // 8, 3) and frames.dtype == np.uint8 for frames in seen)
    settings = json.loads(json.dumps(model.settings))
    assert settings["solver"] == "unipc"
    assert settings["flow_shift"] == 3.0
    assert settings["reference"] is True
    assert 0 < settings["vae_share"] < 1
    assert settings["seconds"].keys() == {"prompts", "encoding", "denoising", "decoding"}


def test_cancelling_stops_between_blocks_and_leaves_no_trace(model: VaceModel, window: Window) -> None:
    cached = replace(window, profile=replace(FINAL, cache="first-block", threshold=0.5))
    expected = model.video(cached, Report())
    saved = model.settings["block_calls_saved"]
    assert 0 < saved < model.settings["block_calls"]

    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked >= limit

    limit = 10**9
    model.video(cached, Report(cancelled=cancelled))
    whole = asked
    for limit in (1, whole // 2, whole):
        asked = 0
        with pytest.raises(CancelledError):
            model.video(cached, Report(cancelled=cancelled))
        assert asked == limit
    np.testing.assert_array_equal(model.video(cached, Report()), expected)
    assert model.settings["block_calls_saved"] == saved
    blocks = 4 + 2  # of the tiny model, with VACE's
    assert whole > 2 * FINAL.steps * blocks


@pytest.mark.slow
def test_all_rungs_of_this_machine_give_the_same_video(
    single: ModelFiles, window: Window, usual: NDArray[np.uint8]
) -> None:
    for rung in ("model-offload", "block-offload", "leaf-offload"):
        placed = VACE_1_3B.load(single, replace(PLAN, rung=rung), FINAL)
        np.testing.assert_array_equal(placed.video(window, Report()), usual)


def test_a_pair_takes_turns(pair: ModelFiles, window: Window, usual_of_pair: NDArray[np.uint8]) -> None:
    in_turns = VACE_14B.load(pair, replace(PLAN, rung="model-offload"), FINAL)
    np.testing.assert_array_equal(in_turns.video(window, Report()), usual_of_pair)


def test_the_pair_as_its_authors_publish_it(
    pair: ModelFiles, window: Window, usual_of_pair: NDArray[np.uint8], tmp_path: Path
) -> None:
    """Wan's own names in two folders, without a word about the boundary."""
    for name, seed in (("high_noise_model", 0), ("low_noise_model", 100)):
        tensors = models.original_transformer_names(models.vace_transformer(seed, heads=1, layers=2).state_dict())
        (tmp_path / name).mkdir()
        save_file(tensors, tmp_path / name / "diffusion_pytorch_model.safetensors")
        config = {"_class_name": "VaceWanModel", "dim": 128, "num_heads": 1, "vace_layers": [0]}
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    torch.save(models.original_vae_names(models.vae(0).state_dict()), tmp_path / "Wan2.1_VAE.pth")
    found = find_files("vace-14b", [tmp_path, pair.vae.parent])
    assert found.second_transformer == tmp_path / "low_noise_model"
    np.testing.assert_array_equal(VACE_14B.load(found, PLAN, FINAL).video(window, Report()), usual_of_pair)


@pytest.mark.parametrize(
    ("engine", "layout"), [("vace-1.3b", "vace-1.3b"), ("vace-14b", "vace-14b"), ("vace-14b", "vace-fun-a14b")]
)
def test_an_engine_fills_a_shot(engine: str, layout: str, tiny_models: Callable[[str], Path], window: Window) -> None:
    """By name and folder alone, as artists ask for it; other frames than 4n+1, and of another aspect."""
    color, mask = (np.concatenate([part, part[-2:]])[:, :, :40] for part in (window.color, window.mask))
    shot = Shot(color, mask, Fraction(24), seed=3, keep_source=True)
    made = make_engine(engine, EngineSetup(model_dir=tiny_models(layout), memory="resident", steps=2))
    frames = list(made.generate(shot, silent, never_cancelled))
    assert len(frames) == len(color)
    for frame, seen, known in zip(frames, color, mask, strict=True):
        assert frame.color.shape == seen.shape
        np.testing.assert_array_equal(frame.invented, ~known)
        assert frame.color[~known].std() > 1
    settings = json.loads(json.dumps(made.settings))
    assert settings["profile"]["steps"] == 2
    assert settings["memory"] == "resident"
    assert ("boundary" in settings) == (layout == "vace-fun-a14b")
    assert settings["reference"] is False  # no footage to take it from


def test_the_command_line_generates_with_vace(tiny_vace: Path, window: Window, tmp_path: Path) -> None:
    masks = np.repeat(np.where(window.mask, 255, 0).astype(np.uint8)[..., None], 3, axis=3)
    for name, frames in (("color", window.color), ("mask", masks)):
        write_lossless(tmp_path / f"{name}.mp4", iter(frames), Fraction(24))
    command = f"generate --color {tmp_path}/color.mp4 --mask {tmp_path}/mask.mp4 -o {tmp_path}/made.mp4"
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--engine", "vace-1.3b", "--model-dir", str(tiny_vace), "--steps", "2"])
    assert ended.value.code == 0
    assert probe_clip(tmp_path / "made.mp4").frames == FRAMES


def test_a_wan_without_vace_is_refused(tiny_ex4d: Path) -> None:
    files = replace(find_files("ex4d", [tiny_ex4d]), adapter=None)
    with pytest.raises(InputError, match="without VACE, which the engine vace-14b cannot use"):
        VACE_14B.load(files, PLAN, FINAL)


@pytest.mark.parametrize(
    ("size", "shift"), [((832, 480), 3.0), ((480, 832), 3.0), ((512, 512), 3.0), ((1280, 720), 5.0), ((960, 960), 5.0)]
)
def test_the_shift_goes_by_size(size: tuple[int, int], shift: float) -> None:
    assert flow_shift(*size) == shift


def test_the_solver_is_the_released_models(tiny_vace: Path) -> None:
    """Its noise levels from scheduler_config.json of Wan2.1-VACE-14B-diffusers, which says what is default here."""
    solver = UniPC(25, 3.0)
    even = np.linspace(1, 0.001, 26)[:-1]
    np.testing.assert_allclose(solver.sigmas, 3 * even / (1 + 2 * even), atol=1e-5)
    np.testing.assert_array_equal(solver.timesteps, np.floor(np.minimum(3 * even / (1 + 2 * even), 1 - 1e-6) * 1000))

"""DepthCrafter against the numbers of the official code; see tests/data/golden_depthcrafter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.models.attention_processor import Attention
from safetensors.torch import load_file
from tiny_depthcrafter import UNET, RuledNoise, TinyModels, clip_frames, drawn_numbers, ruled
from torch import Tensor

from ex4d_core.depth.depthcrafter.conversion import REFERENCE, normalised, working_size
from ex4d_core.depth.depthcrafter.pipeline import Kept, blended, draw_depth, kept_in
from ex4d_core.depth.depthcrafter.thrift import work_in_pieces
from ex4d_core.depth.depthcrafter.unet import FrameTokenUNet
from ex4d_core.depth.depthcrafter.windows import plan_windows
from ex4d_core.errors import CancelledError, InputError
from ex4d_core.progress import never_cancelled, silent

GOLDEN = Path(__file__).parents[1] / "data" / "golden_depthcrafter"
TOLERANCE = 1e-4
SIZE = (128, 64)


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(GOLDEN / "golden.safetensors")


def ruled_inputs() -> dict[str, Tensor]:
    return {
        "sample": torch.from_numpy(drawn_numbers("sample", (1, 5, 8, 8, 16))),
        "timestep": torch.tensor(1.5),
        "tokens": torch.from_numpy(drawn_numbers("tokens", (1, 5, 16))),
        "added_time_ids": torch.tensor([[7.0, 127.0, 0.02]]),
    }


def drawn(count: int, window: int, overlap: int, models: Any = None) -> Kept:
    plan = plan_windows(count, (), window, overlap)
    kept = kept_in(None, "test", plan)
    models = models or TinyModels()
    draw_depth(clip_frames(12, *SIZE)[:count], SIZE, plan, models, kept, silent, never_cancelled, RuledNoise())
    return kept


def stacked(store: Any) -> Tensor:
    return torch.from_numpy(np.stack([store[t] for t in range(len(store))]))


def close(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, rtol=0, atol=TOLERANCE)


@torch.inference_mode()
def test_the_unet_is_the_official_one(golden: dict[str, Tensor]) -> None:
    assert close(TinyModels().unet()(**ruled_inputs()), golden["unet"])


@torch.inference_mode()
def test_the_stock_unet_takes_the_same_input_and_is_wrong(golden: dict[str, Tensor]) -> None:
    inputs = ruled_inputs()
    stock = ruled(UNetSpatioTemporalConditionModel(**UNET))
    made = stock(inputs["sample"], inputs["timestep"], inputs["tokens"], inputs["added_time_ids"]).sample
    assert made.shape == golden["unet"].shape
    assert not torch.allclose(made, golden["unet"], rtol=0, atol=100 * TOLERANCE)


@torch.inference_mode()
def test_a_frame_looks_at_its_own_token_alone() -> None:
    """Across the picture. Across time all look at the first frame's, as in Stable Video Diffusion."""
    inputs = ruled_inputs()
    order = [0, 3, 2, 4, 1]  # frames 0 and 2 keep their tokens
    first = cross_attention(TinyModels().unet(), inputs)
    second = cross_attention(TinyModels().unet(), inputs | {"tokens": inputs["tokens"][:, order]})
    assert len(first) == len(second) == 2
    for name, (seen, across_time) in first.items():
        other, other_across_time = second[name]
        assert torch.equal(seen[[0, 2]], other[[0, 2]])
        # One key a frame: what is seen is a function of the token, but for where in memory a row happens to lie
        torch.testing.assert_close(seen[order], other)
        assert not torch.allclose(seen[[1, 3, 4]], other[[1, 3, 4]], atol=1e-3)
        assert torch.equal(across_time, other_across_time)


def cross_attention(unet: FrameTokenUNet, inputs: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """What the first layers in the UNet that look at tokens give: across the picture (T, ...), and across time."""
    found: dict[str, Tensor] = {}

    def hook(name: str) -> Any:
        return lambda _layer, _inputs, output: found.setdefault(name, output)

    for name, layer in unet.named_modules():
        if isinstance(layer, Attention) and name.endswith("attn2") and name.startswith(("down", "mid")):
            layer.register_forward_hook(hook(name))
    unet(**inputs)
    spatial = [name for name in found if ".transformer_blocks" in name]
    return {name: (found[name], found[name.replace(".transformer", ".temporal_transformer")]) for name in spatial}


@torch.inference_mode()
@pytest.mark.parametrize("piece", [1, 300, 10**6])
def test_working_in_pieces_gives_the_same(golden: dict[str, Tensor], piece: int) -> None:
    unet = TinyModels().unet()
    work_in_pieces(unet, piece)
    assert close(unet(**ruled_inputs()), golden["unet"])


def test_one_window_is_the_official_one(golden: dict[str, Tensor]) -> None:
    kept = drawn(5, 110, 25)
    assert len(kept.windows) == 1
    assert close(torch.from_numpy(kept.windows[0]), golden["one_latents"])
    assert close(stacked(kept.pictures), golden["one_drawn"])


@pytest.fixture(scope="module")
def many() -> Kept:
    return drawn(12, 6, 2)


def test_many_windows_are_the_official_ones(golden: dict[str, Tensor], many: Kept) -> None:
    plan = plan_windows(12, (), 6, 2)
    assert [len(window) for window in plan.windows] == [6, 6, 4]
    assert close(stacked(many.tokens), golden["tokens"])
    assert close(stacked(many.footage), golden["footage"])
    assert close(torch.stack([blended(plan, many.windows, t) for t in range(12)]), golden["many_latents"])
    assert close(stacked(many.pictures), golden["many_drawn"])


def test_depth_is_the_references(golden: dict[str, Tensor]) -> None:
    drawn = normalised(golden["many_drawn"].numpy(), range(12))
    made = np.stack([REFERENCE.depth(drawn[t]) for t in (0, 7)])
    assert np.allclose(made, golden["many_depth"].numpy(), rtol=1e-6, atol=0)
    ends = REFERENCE.depth(np.array([1, 0, 1 / 3900, 0.5], np.float32))
    assert np.allclose(ends, [10000 / 3900, 1e4, 1e4, 10000 / 1950], rtol=1e-6, atol=0)


def test_the_same_depth_everywhere_is_refused() -> None:
    with pytest.raises(InputError, match=r"the same depth everywhere.*choose another estimator"):
        normalised(np.full((2, 4, 4), 0.5, np.float32), range(2))


@pytest.mark.parametrize(
    ("clip", "expected"),
    [
        ((1024, 576), (1024, 576)),
        ((1920, 1080), (1024, 576)),
        ((512, 512), (512, 512)),
        ((854, 480), (832, 512)),  # 7.5 times 64 is rounded to 8, as Python rounds
        ((1080, 1920), (576, 1024)),
        ((20, 30), (64, 64)),
    ],
)
def test_sizes_are_the_references(clip: tuple[int, int], expected: tuple[int, int]) -> None:
    assert working_size(*clip) == expected


class Spy(FrameTokenUNet):
    """Notes what it is given, and answers so that window k ends with 1000 k + position in the first channel."""

    def __init__(self, scheduler: Any) -> None:
        super().__init__(**UNET)
        self.told: list[dict[str, list[float]]] = []
        self._scheduler = scheduler

    def forward(self, sample: Tensor, timestep: Tensor, tokens: Tensor, added_time_ids: Tensor) -> Tensor:
        step = self._scheduler.step_index
        sigma = self._scheduler.sigmas[step]
        root = (sigma * sigma + 1) ** 0.5
        latents = sample[:, :, :4] * root
        if step == 0:
            columns = {
                "footage": sample[0, :, 4, 0, 0],
                "tokens": tokens[0, :, 0],
                "noise": latents[0, :, 1, 0, 0] / self._scheduler.init_noise_sigma,
                "carried": latents[0, :, 0, 0, 0],
            }
            told = {name: column.round().int().tolist() for name, column in columns.items()}
            self.told.append(told | {"told": [round(v, 5) for v in added_time_ids[0].tolist()]})
        wanted = torch.zeros_like(latents)
        wanted[0, :, 0] = (torch.arange(sample.shape[1]) + 1000 * len(self.told)).float()[:, None, None]
        return (latents / (sigma * sigma + 1) - wanted) * root / sigma  # the velocity that leads there


class SpyModels(TinyModels):
    def __init__(self) -> None:
        self.made = TinyModels().scheduler()
        self.spy = Spy(self.made)

    def unet(self) -> FrameTokenUNet:
        return self.spy

    def scheduler(self) -> Any:
        return self.made


class NumberedNoise(RuledNoise):
    """The noise of a frame is its number, in the second channel."""

    def latents(self, frame: int, shape: tuple[int, ...]) -> Tensor:
        numbered = torch.zeros(shape)
        numbered[1] = frame
        return numbered


@pytest.mark.parametrize("count", [240, 111])
def test_the_trace_of_a_long_clip_is_the_official_one(count: int) -> None:
    expected = json.loads((GOLDEN / "trace.json").read_text("utf-8"))[str(count)]
    plan, models = plan_windows(count), SpyModels()
    kept = kept_in(None, "test", plan)
    for t in range(count):
        kept.tokens.write(t, np.full(16, t, np.float32))
        kept.footage.write(t, np.full((4, 8, 8), t, np.float32))
        kept.pictures.write(t, np.zeros((1, 1), np.float32))
    draw_depth(
        np.empty((count, 1, 1, 3), np.uint8), (64, 64), plan, models, kept, silent, never_cancelled, NumberedNoise()
    )
    assert models.spy.told == expected["windows"]
    first_channel = [float(blended(plan, kept.windows, t)[0, 0, 0]) for t in range(count)]
    assert first_channel == pytest.approx(expected["blended"], abs=2e-3)


def test_a_cut_divides_windows() -> None:
    plan = plan_windows(200, (30, 60))
    assert plan.takes == ((0, 30), (30, 60), (60, 200))
    assert [(w.begin, w.end, w.carried) for w in plan.windows] == [
        (0, 30, 0),
        (30, 60, 0),
        (60, 170, 0),
        (145, 200, 25),
    ]
    assert plan.windows[3].noise[:2] == (145, 146)
    assert min(plan.windows[3].noise) == 60
    for frame in range(200):
        assert sum(share.weight for share in plan.shares(frame)) == pytest.approx(1)


def test_nothing_is_carried_over_a_cut() -> None:
    """What comes after it does not depend on what came before."""
    plan = plan_windows(3, (1,))
    found: list[Kept] = []
    for first in ("one", "other"):
        kept = kept_in(None, "test", plan)
        for t, name in enumerate((first, "second", "third")):
            kept.tokens.write(t, drawn_numbers(f"{name} token", (16,)))
            kept.footage.write(t, drawn_numbers(f"{name} footage", (4, 8, 8)))
        frames = np.empty((3, 1, 1, 3), np.uint8)  # not looked at again
        draw_depth(frames, (64, 64), plan, TinyModels(), kept, silent, never_cancelled, RuledNoise())
        found.append(kept)
    before, *after = (np.array_equal(found[0].pictures[t], found[1].pictures[t]) for t in range(3))
    assert not before
    assert all(after)


def only_denoising(many: Kept, count: int, window: int, folder: Path | None = None) -> dict[str, Any]:
    """Arguments of `draw_depth` where all but the windows is finished."""
    plan = plan_windows(count, (), window, 2)
    kept = kept_in(folder, "test", plan)
    for t in range(count):
        kept.tokens.write(t, many.tokens[t])
        kept.footage.write(t, many.footage[t])
        kept.pictures.write(t, many.pictures[t])
    frames = np.empty((count, 1, 1, 3), np.uint8)  # not looked at again
    return {"frames": frames, "size": SIZE, "plan": plan, "kept": kept, "models": TinyModels(), "noise": RuledNoise()}


def test_a_rerun_goes_on_after_the_last_finished_window(tmp_path: Path, many: Kept) -> None:
    """And gives the same numbers as a run at once."""
    told: list[tuple[str, int]] = []

    def on_progress(done: int, total: int, stage: str) -> None:
        assert total == 3 * 5
        told.append((stage, done))

    arguments = only_denoising(many, 12, 6, tmp_path) | {"on_progress": on_progress}
    with pytest.raises(CancelledError):
        draw_depth(**arguments, cancelled=lambda: ("finding depth", 7) in told)
    assert kept_in(tmp_path, "test", arguments["plan"]).windows.done() == 1
    told.clear()
    draw_depth(**arguments, cancelled=never_cancelled)
    assert told[0] == ("finding depth", 6)
    for number in range(3):
        assert np.array_equal(arguments["kept"].windows[number], many.windows[number])


def test_a_cancel_is_noticed_between_layers(many: Kept) -> None:
    """No step is finished after it."""
    steps, asked_since = [], []

    def on_progress(done: int, total: int, stage: str) -> None:
        steps.append(done)

    def cancelled() -> bool:
        if len(steps) == 2:
            asked_since.append(1)
        return len(asked_since) > 20

    with pytest.raises(CancelledError):
        draw_depth(**only_denoising(many, 5, 110), on_progress=on_progress, cancelled=cancelled)
    assert len(steps) == 2
    assert len(asked_since) == 21


def test_a_model_that_gives_no_numbers_is_refused(many: Kept) -> None:
    class Broken(TinyModels):
        def unet(self) -> FrameTokenUNet:
            unet = super().unet()
            unet.conv_out.bias[0] = float("nan")
            return unet

    arguments = only_denoising(many, 5, 110) | {"models": Broken()}
    with pytest.raises(InputError, match=r"no number in step 1.*choose another estimator"):
        draw_depth(**arguments, on_progress=silent, cancelled=never_cancelled)


@torch.inference_mode()
def test_the_unet_in_float16_as_on_a_gpu(golden: dict[str, Tensor]) -> None:
    unet = TinyModels().unet().half()
    work_in_pieces(unet, 300)
    made = unet(**ruled_inputs())
    assert made.dtype == torch.float16
    assert torch.allclose(made.float(), golden["unet"], rtol=0, atol=0.02)


@pytest.mark.slow  # CPUs take long over float16
def test_float16_as_on_a_gpu() -> None:
    """Nothing but the precision differs: no layer is given numbers of two kinds, what is kept is float32."""

    class Half(TinyModels):
        def unet(self) -> FrameTokenUNet:
            return super().unet().half()

        def vae(self, encodes: bool) -> Any:
            return super().vae(encodes).half()

        def image_encoder(self) -> Any:
            return super().image_encoder().half()

    kept = drawn(2, 6, 2, models=Half())
    whole = drawn(2, 6, 2)
    for store in ("tokens", "footage", "pictures"):
        found, expected = stacked(getattr(kept, store)), stacked(getattr(whole, store))
        assert found.dtype == torch.float32
        assert not torch.equal(found, expected)
        assert torch.allclose(found, expected, rtol=0, atol=0.02)

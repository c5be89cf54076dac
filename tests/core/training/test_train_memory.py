"""What training takes of a GPU: the trainer's step at its real dimensions on the meta device; and what fits."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ex4d_core.cli import main
from ex4d_core.errors import MissingDependencyError
from ex4d_core.generate.estimates import VideoSize
from ex4d_core.generate.sizes import known_sizes
from ex4d_core.training.adapter import AdapterShape, new_adapter, trainable
from ex4d_core.training.dataset import Sample
from ex4d_core.training.memory_plan import (
    SIZES,
    Setup,
    estimate,
    largest_clips,
    require_room,
    step_bytes,
    trained_parameters,
    ways,
)
from ex4d_core.training.objective import loss, predict

I2V_14B: dict[str, Any] = {"in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120}
GB = 1e9
SMALL, LARGE = VideoSize(512, 512, 49), VideoSize(832, 480, 81)
REAL = known_sizes("ex4d")


class Attention(torch.autograd.Function):
    """Keeps what a GPU's kernels keep; on the meta device torch would take the plain one, of tokens x tokens."""

    @staticmethod
    def forward(context: Any, query: Any, key: Any, value: Any) -> Any:
        result = torch.empty_like(query)
        context.save_for_backward(query, key, value, result, query.new_empty(query.shape[:3], dtype=torch.float32))
        return result

    @staticmethod
    def backward(context: Any, _gradient: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return tuple(torch.empty_like(tensor) for tensor in context.saved_tensors[:3])


class Held(TorchDispatchMode):
    """The most bytes that tensors hold at once, those of `own` apart."""

    def __init__(self, own: Iterator[torch.Tensor]) -> None:
        super().__init__()
        self._own = {StorageWeakRef(tensor.untyped_storage()) for tensor in own}
        self._live: dict[StorageWeakRef, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if (reference := StorageWeakRef(storage)) not in self._own:
                    self._live[reference] = storage.nbytes()
        self._live = {reference: size for reference, size in self._live.items() if not reference.expired()}
        self.peak = max(self.peak, sum(self._live.values()))
        return result


def parts(layers: int, checkpointing: bool, device: str, **sizes: Any) -> tuple[WanTransformer3DModel, Any]:
    with torch.device(device):
        transformer = WanTransformer3DModel(**I2V_14B | sizes, num_layers=layers).to(torch.bfloat16).train()
        encoder = new_adapter(transformer, AdapterShape(16, 16.0, 1024), 0).to(device)
    transformer.rope.to(device)
    if checkpointing:
        transformer.enable_gradient_checkpointing()
    return transformer, encoder


def error(transformer: WanTransformer3DModel, encoder: Any, size: VideoSize, device: str) -> torch.Tensor:
    """The loss of a sample, as the trainer computes it."""
    config: Any = transformer.config
    video = ((size.frames - 1) // 4 + 1, size.height // 8, size.width // 8)

    def some(*shape: int) -> torch.Tensor:
        return torch.zeros(1, *shape, device=device)

    sample = Sample(
        some(16, *video), some(20, *video), some(257, config.image_dim), some(512, config.text_dim),
        some(16, *video), some(16, *video),
    )  # fmt: skip
    geometry = encoder(sample.color, sample.mask)
    timestep = torch.zeros(1, device=device)
    return loss(predict(transformer, geometry, sample, sample.latents, timestep, torch.bfloat16), sample.latents)


@pytest.mark.parametrize("checkpointing", [True, False])
@pytest.mark.parametrize(("size", "layers"), [(SMALL, 2), (SMALL, 5), (LARGE, 2), (VideoSize(256, 256, 17), 2)])
def test_a_step_holds_what_is_said(
    monkeypatch: pytest.MonkeyPatch, size: VideoSize, layers: int, checkpointing: bool
) -> None:
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda query, key, value, **_: Attention.apply(query, key, value)
    )
    transformer, encoder = parts(layers, checkpointing, "meta")
    own = (t for m in (transformer, encoder) for t in itertools.chain(m.parameters(), m.buffers()))
    with Held(own) as held:
        error(transformer, encoder, size, "meta").backward()
    told = step_bytes(some_layers(layers), size, Setup(checkpointing=checkpointing))
    gradients = sum(parameter.nbytes for parameter in trainable(transformer, encoder))  # some of them are there
    assert held.peak - gradients <= told * 1.01
    assert told <= held.peak * (1.02 if size.tokens > 10_000 else 1.1)  # of few tokens, the text's are many


def some_layers(layers: int) -> Any:
    return replace(REAL, blocks=layers)


def test_what_a_block_keeps_grows_as_said_on_a_cpu() -> None:
    """What autograd really keeps, of a narrow model: bytes that a block adds for each token."""
    dim, ffn = 256, 640
    sizes: dict[str, Any] = {"num_attention_heads": 2, "ffn_dim": ffn, "image_dim": 160, "added_kv_proj_dim": dim}

    def kept(layers: int, size: VideoSize) -> int:
        transformer, encoder = parts(layers, False, "cpu", **sizes, text_dim=32)
        own = {p.untyped_storage().data_ptr() for p in (*transformer.parameters(), *encoder.parameters())}
        found: dict[int, torch.UntypedStorage] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                found[storage.data_ptr()] = storage
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            error(transformer, encoder, size, "cpu")
        return sum(storage.nbytes() for storage in found.values())

    few, many = VideoSize(128, 128, 9), VideoSize(256, 192, 9)
    grown = (kept(3, many) - kept(3, few)) - (kept(1, many) - kept(1, few))
    found = grown / (2 * (many.tokens - few.tokens))
    told = step_bytes(narrow(2, dim, ffn), VideoSize(16, 16, 1), Setup(checkpointing=False))
    told -= step_bytes(narrow(1, dim, ffn), VideoSize(16, 16, 1), Setup(checkpointing=False))
    assert found == pytest.approx(told, rel=0.03)


def narrow(blocks: int, dim: int, ffn: int) -> Any:
    return replace(REAL, blocks=blocks, dim=dim, ffn_dim=ffn)


def test_trained_numbers_are_those_of_the_real_classes() -> None:
    transformer, encoder = parts(3, True, "meta")
    count = sum(parameter.numel() for parameter in trainable(transformer, encoder))
    assert count == trained_parameters(some_layers(3), Setup())
    assert trained_parameters(REAL, Setup()) == REAL.lora_parameters + REAL.geometry_parameters


def test_each_saving_saves() -> None:
    whole = estimate(REAL, SMALL, Setup())
    assert whole.weights_bytes == 2 * REAL.transformer_parameters
    assert whole.trained_bytes == 20 * trained_parameters(REAL, Setup())
    sizes = [estimate(REAL, SMALL, way).vram_bytes for way in ways(Setup())]
    assert sizes[0] > sizes[2] > sizes[1] > sizes[3]  # whole, gguf-q8, fp8, gguf-q4
    for smaller in (Setup(eight_bit=True), Setup(ema=False), Setup(gpus=2), Setup(rank=4), Setup(hidden=256)):
        assert estimate(REAL, SMALL, smaller).vram_bytes < whole.vram_bytes
    assert estimate(REAL, SMALL, Setup(checkpointing=False)).vram_bytes > 200 * GB
    assert [way.base for way in ways(Setup(gpus=2))] == ["whole"]


@pytest.mark.parametrize(("vram", "base"), [(24, None), (48, "fp8"), (80, "whole")])
def test_the_usual_size_on_usual_cards(vram: int, base: str | None) -> None:
    fitting = [way.base for way in ways(Setup()) if estimate(REAL, SMALL, way).fits(vram * GB)]
    assert (fitting[0] if fitting else None) == base


def test_what_fits_is_let_through() -> None:
    assert require_room(REAL, SMALL, Setup(), int(80 * GB)) == estimate(REAL, SMALL, Setup())


@pytest.mark.parametrize(
    ("setup", "size", "vram", "told"),
    [
        (
            Setup(),
            SMALL,
            48,
            r"takes 5\d\.\d GB of video memory on each GPU, and 48\.0 GB are free: set base to \"fp8\"\.",
        ),
        (Setup(checkpointing=False), SMALL, 80, r"free: set gradient_checkpointing to true\."),
        (Setup(), LARGE, 48, r"free: shard it over 8 such GPUs with sharded = true and torchrun\."),
        (Setup(gpus=2), SMALL, 30, r"free: shard it over 4 such GPUs"),
        (Setup(), LARGE, 24, r"free: prepare clips of \d+x\d+x\d+ or less with base = \"gguf-q4\"\."),
        (Setup(), LARGE, 8, r"free: use a larger GPU\."),
    ],
)
def test_what_does_not_fit_is_refused_with_what_helps(setup: Setup, size: VideoSize, vram: int, told: str) -> None:
    with pytest.raises(MissingDependencyError, match=told):
        require_room(REAL, size, setup, int(vram * GB))


def test_the_advice_is_true() -> None:
    for vram in range(14, 90, 4):
        found = largest_clips(REAL, Setup(), vram * GB)
        if found is None:
            continue
        size, way = found
        assert require_room(REAL, size, way, int(vram * GB)).fits(vram * GB)
        assert not any(
            estimate(REAL, larger, other).fits(vram * GB)
            for larger in SIZES[: SIZES.index(size)]
            for other in ways(way)
        )


def test_the_command_tells_what_fits(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "plan", "--json", "--vram", "48", "--vram", "80", "--size", "512x512x49"])
    assert ended.value.code == 0
    told = json.loads(capsys.readouterr().out)
    whole = told["ways"][0]
    assert (whole["base"], whole["gpus"], whole["fits"]) == ("whole", 1, {"48": False, "80": True})
    assert whole["vram_bytes"] == estimate(REAL, SMALL, Setup()).vram_bytes
    assert [(way["base"], way["gpus"]) for way in told["ways"][4:]] == [("whole", 2), ("whole", 4), ("whole", 8)]
    assert told["largest"]["48"] == {"width": 512, "height": 512, "frames": 81, "base": "fp8"}


def test_the_command_plans_for_no_clips_that_cannot_be_prepared(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "plan", "--size", "512x512x1"])
    assert ended.value.code == 1
    assert "give --size 512x512x5 instead of 512x512x1" in capsys.readouterr().err


def test_the_command_plans_for_a_model_on_disk(tiny_ex4d: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "plan", "--model-dir", str(tiny_ex4d / "transformer"), "--size", "64x64x5"])
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["weights", "trained", "step", "all", "24", "GB", "48", "GB", "80", "GB"]
    assert lines[2].split()[0] == "whole"
    assert lines[2].split()[-3:] == ["fits"] * 3

"""Frozen weights in 8 bits and from GGUF files: gradients are those of a model with these very weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import make_tiny_models
import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.quantizers.gguf.utils import dequantize_gguf_tensor
from torch import nn
from train_cases import HIDDEN, SHAPE, dataset, sample
from two_processes import shake

from ex4d_core.cli import main
from ex4d_core.errors import InputError, MissingDependencyError
from ex4d_core.generate.estimates import VideoSize
from ex4d_core.generate.ladder import Plan
from ex4d_core.generate.loading import load_transformer
from ex4d_core.training.adapter import new_adapter, trainable, trained
from ex4d_core.training.config import TrainConfig
from ex4d_core.training.frozen import narrow
from ex4d_core.training.model import require_memory
from ex4d_core.training.objective import drawn, loss, predict
from ex4d_core.training.parallel import World
from ex4d_core.training.state import newest

HALF = torch.bfloat16


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gguf")
    names = make_tiny_models.original_transformer_names(make_tiny_models.wan_transformer(0).state_dict())
    for kind in ("Q8_0", "Q4_0"):
        make_tiny_models.write_gguf(folder / f"wan2.1-i2v-14b-480p-{kind}.gguf", names, kind)
    return folder


def gradients(transformer: Any) -> list[torch.Tensor]:
    """After a step there and back with a LoRA that is not zero; leaves the model trainable."""
    encoder = new_adapter(transformer, SHAPE, 1)
    shake(trainable(transformer, encoder))
    return back(transformer, encoder)


def back(transformer: Any, encoder: nn.Module) -> list[torch.Tensor]:
    given = sample()
    state = drawn(given.latents, 5.0, torch.Generator().manual_seed(3))
    geometry = encoder(given.color, given.mask)
    loss(predict(transformer, geometry, given, state.noisy, state.timestep, HALF), state.target).backward()
    found = [parameter.grad for parameter in trainable(transformer, encoder)]
    assert all(gradient is not None and gradient.any() for gradient in found)
    return found  # pyright: ignore[reportReturnType]


def half() -> WanTransformer3DModel:
    return make_tiny_models.wan_transformer(0).to(HALF).train()


def linear_layers(transformer: nn.Module) -> list[nn.Linear]:
    return [layer for layer in transformer.get_submodule("blocks").modules() if isinstance(layer, nn.Linear)]


@pytest.mark.parametrize("checkpointing", [True, False])
def test_gradients_through_8_bits_are_those_of_rounded_weights(checkpointing: bool) -> None:
    narrowed, rounded = half(), half()
    encoder = new_adapter(narrowed, SHAPE, 1)
    shake(trainable(narrowed, encoder))
    names = [name for name, parameter in narrowed.named_parameters() if parameter.requires_grad]
    narrow(narrowed, HALF)
    assert [name for name, parameter in narrowed.named_parameters() if parameter.requires_grad] == names
    stored = [p for p in narrowed.parameters() if p.dtype == torch.float8_e4m3fn]
    layers = linear_layers(rounded)
    assert sum(p.numel() for p in stored) == sum(layer.weight.numel() for layer in layers)
    if checkpointing:
        narrowed.enable_gradient_checkpointing()
    for layer in layers:
        layer.weight.data = layer.weight.data.to(torch.float8_e4m3fn).to(HALF)
    ours, theirs, whole = back(narrowed, encoder), gradients(rounded), gradients(half())
    assert all(map(torch.equal, ours, theirs))
    assert not all(map(torch.equal, ours, whole))
    assert len(trained(narrowed, encoder, SHAPE).lora) == 2 * 10 * make_tiny_models.LAYERS


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_gradients_through_gguf_are_those_of_its_weights(gguf: Path, kind: str) -> None:
    plan = Plan("gguf-q8", "cpu", "bfloat16", tiled_vae=False, vram_bytes=0, ram_bytes=0)
    (file,) = gguf.glob(f"*{kind}*")
    packed, unpacked = load_transformer(file, plan).train(), half()
    weights = dict(packed.named_parameters())
    for name, parameter in unpacked.named_parameters():
        value = weights[name]
        parameter.data = dequantize_gguf_tensor(value).to(HALF) if hasattr(value, "quant_type") else value.data
    packed.enable_gradient_checkpointing()
    ours, theirs = gradients(packed), gradients(unpacked)
    assert apart(ours, theirs) < 0.01  # bfloat16 rounds in between
    if kind == "Q4_0":
        assert apart(ours, gradients(half())) > 0.03


def apart(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> float:
    """Difference of all gradients together, as a share of them."""
    one, other = (torch.cat([gradient.flatten() for gradient in each]) for each in (ours, theirs))
    return float((one - other).norm() / other.norm())


@pytest.fixture
def configured(tmp_path: Path) -> Callable[..., TrainConfig]:
    def make(model_dir: Path, **settings: Any) -> TrainConfig:
        clips = dataset(tmp_path / "clips", clips=3)
        return TrainConfig(dataset=clips, out=tmp_path / "out", model_dir=model_dir, hidden=HIDDEN, **settings)

    return make


@pytest.mark.parametrize("base", ["fp8", "gguf-q4"])
def test_the_trainer_trains_with_it(tmp_path: Path, gguf: Path, tiny_ex4d: Path, base: str) -> None:
    folder = tiny_ex4d / "transformer" if base == "fp8" else gguf
    clips = dataset(tmp_path / "clips", clips=3)
    file = tmp_path / "train.toml"
    text = (
        f"dataset = {str(clips)!r}\nmodel_dir = {str(folder)!r}\nout = 'out'\nbase = {base!r}\nsteps = 2\nbatch = 1\n"
    )
    file.write_text(text + f"hidden = {HIDDEN}\nvalidation_clips = 0\n", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["train", "run", str(file), "--quiet"])
    assert ended.value.code == 0
    saved = newest(tmp_path / "out")
    assert saved is not None
    assert any(tensor.any() for name, tensor in saved.last().lora.items() if ".lora_B." in name)


def test_a_gguf_file_is_asked_for(configured: Callable[..., TrainConfig], gguf: Path) -> None:
    (one,) = gguf.glob("*Q4_0*")
    with pytest.raises(InputError, match=r'is a GGUF file: set base to "gguf-q4"\.$'):
        require_memory(configured(one), [VideoSize(64, 64, 5)], World(0, 1, "cpu"))


def test_a_small_gpu_is_refused_before_anything_is_loaded(
    configured: Callable[..., TrainConfig], tiny_ex4d: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(tiny_ex4d / "transformer")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (3 * 10**9, 4 * 10**9))
    clips = [VideoSize(64, 64, 5), VideoSize(832, 480, 81)]
    require_memory(config, clips[:1], World(0, 1, "cuda:0"))
    with pytest.raises(MissingDependencyError, match="Training on clips of 832x480x81 takes"):
        require_memory(config, clips, World(0, 1, "cuda:0"))

"""Each way of placing a model: the same numbers as without, LoRAs stacked; what is fetched, cast, packed, in turns."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ex4d_core.generate import placement
from ex4d_core.generate.ladder import Plan, Rung
from ex4d_core.generate.latents import decode, encode
from ex4d_core.generate.loading import Components, load_components, load_transformer
from ex4d_core.generate.placement import pack, place
from ex4d_core.generate.profiles import profile
from ex4d_core.model_files import ModelFiles, find_files

FAST = profile("ex4d", "fast")  # EX-4D's LoRA with the distilled one on top


@pytest.fixture(scope="module")
def files(tiny_ex4d: Path) -> ModelFiles:
    return find_files("ex4d", [tiny_ex4d])


@pytest.fixture(scope="module")
def loaded(files: ModelFiles) -> Components:
    """With both LoRAs, to be copied."""
    return load_components(files, planned("resident", Path()), FAST)


@pytest.fixture(scope="module")
def truth(loaded: Components) -> Tensor:
    """A pass of the model that lies in one piece where it computes."""
    return a_pass(placed(loaded, planned("resident", Path())))


@pytest.fixture(scope="module")
def eight(tiny_models: Callable[[str], Path]) -> tuple[ModelFiles, Tensor]:
    """A GGUF file of 8 bits, and a pass of it."""
    files = find_files("ex4d", [tiny_models("ex4d-gguf")], "gguf-q8")
    return files, a_pass(placed_from(files, planned("gguf-q8", Path())))


def planned(rung: Rung, folder: Path, **more: Any) -> Plan:
    values: dict[str, Any] = {"dtype": "float32", "tiled_vae": False, "offload_folder": folder} | more
    return Plan(rung, "cpu", vram_bytes=0, ram_bytes=0, **values)


def placed(loaded: Components, plan: Plan) -> Components:
    components = copy.deepcopy(loaded)
    place(components, plan)
    return components


def placed_from(files: ModelFiles, plan: Plan) -> Components:
    components = load_components(files, plan, FAST)
    place(components, plan)
    return components


@torch.no_grad()
def a_pass(components: Components) -> Tensor:
    torch.manual_seed(1)
    transformer = components.transformer
    config = transformer.config
    return transformer(
        hidden_states=torch.randn(1, config.in_channels, 2, 8, 8),
        timestep=torch.tensor([417.3]),
        encoder_hidden_states=torch.randn(1, 512, config.text_dim),
        encoder_hidden_states_image=torch.randn(1, 257, config.image_dim),
        return_dict=False,
    )[0]


def deviation(found: Tensor, truth: Tensor) -> float:
    return float((found - truth).norm() / truth.norm())


@pytest.mark.parametrize("rung", ["model-offload", "block-offload", "leaf-offload", "disk-offload"])
def test_offloading_changes_no_number(loaded: Components, truth: Tensor, tmp_path: Path, rung: Rung) -> None:
    offloaded = placed(loaded, planned(rung, tmp_path))
    latents = encode(loaded.vae, torch.zeros(1, 3, 1, 16, 16))
    for _ in range(2):  # the second pass finds everything where the first left it
        assert torch.equal(a_pass(offloaded), truth)
        assert torch.equal(encode(offloaded.vae, torch.zeros(1, 3, 1, 16, 16)), latents)
        assert torch.equal(decode(offloaded.vae, latents), decode(loaded.vae, latents))


@pytest.mark.parametrize("rung", ["fp8", "fp8-offload"])
def test_fp8_casts_the_linear_layers_of_the_blocks_alone(
    loaded: Components, truth: Tensor, tmp_path: Path, rung: Rung
) -> None:
    """The field report has 2.5 % with one LoRA in full precision, 3.8 % where it was cast, too."""
    components = placed(loaded, planned(rung, tmp_path))
    kinds = {name: parameter.dtype for name, parameter in components.transformer.named_parameters()}
    cast = {name for name, dtype in kinds.items() if dtype == torch.float8_e4m3fn}
    linear = {
        name
        for name, module in components.transformer.named_modules()
        if name.startswith("blocks.") and isinstance(module, nn.Linear) and "lora" not in name
    }
    assert cast == {f"{name}.{part}" for name in linear for part in ("weight", "bias")}
    assert any("lora" in name for name in kinds)
    assert 0.002 < deviation(a_pass(components), truth) < 0.04


@pytest.mark.parametrize(("rung", "mapped"), [("fp8", True), ("disk-offload", True), ("block-offload", False)])
def test_what_is_cast_later_is_read_in_the_files_own_type(files: ModelFiles, rung: Rung, mapped: bool) -> None:
    """Such tensors are pages of the file, not copies, until they are cast one after the other."""
    plan = planned(rung, Path(), dtype="bfloat16")
    layer = load_transformer(files.transformer, plan).blocks[0].ffn.net[2]
    assert plan.mapped is mapped
    assert layer.weight.dtype == (torch.float32 if mapped else torch.bfloat16)


@pytest.mark.parametrize("rung", ["block-offload", "leaf-offload", "disk-offload"])
def test_gguf_is_fetched_as_it_is(eight: tuple[ModelFiles, Tensor], tmp_path: Path, rung: Rung) -> None:
    files, truth = eight
    assert torch.equal(a_pass(placed_from(files, planned(rung, tmp_path))), truth)


def test_gguf_stays_within_its_error(
    truth: Tensor, eight: tuple[ModelFiles, Tensor], tiny_models: Callable[[str], Path]
) -> None:
    """Both files hold the same numbers, rounded; the field report has 0.75 % and 4.7 %."""
    four = find_files("ex4d", [tiny_models("ex4d-gguf")], "gguf-q4")
    coarse = deviation(a_pass(placed_from(four, planned("gguf-q4", Path()))), truth)
    assert 0 < deviation(eight[1], truth) < 0.015
    assert deviation(eight[1], truth) < coarse < 0.12


def test_what_is_on_disk_goes_with_the_model(loaded: Components, tmp_path: Path) -> None:
    """Each block is cast to the plan's type only as it is written."""
    components = placed(loaded, planned("disk-offload", tmp_path, dtype="bfloat16"))
    (folder,) = tmp_path.iterdir()
    written = list(folder.rglob("*.safetensors"))
    blocks = components.transformer.blocks
    assert {file.parent.name for file in written} == {str(number) for number in range(len(blocks))}
    assert blocks[0].ffn.net[2].base_layer.weight.dtype == torch.bfloat16
    held = sum(parameter.nbytes for parameter in blocks.parameters())
    assert held <= sum(file.stat().st_size for file in written) < 1.5 * held
    del components, blocks
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_tiles_where_the_plan_wants_them(loaded: Components, tmp_path: Path) -> None:
    assert placed(loaded, planned("block-offload", tmp_path, tiled_vae=True)).vae.use_tiling
    assert not placed(loaded, planned("block-offload", tmp_path)).vae.use_tiling


def test_one_model_at_a_time_is_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies stand for what is on the device, of which a CPU has no other memory."""
    monkeypatch.setattr(placement, "_copied", lambda data, _device: data.clone())
    first, second = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    own = {name: parameter.data_ptr() for name, parameter in nn.ModuleList([first, second]).named_parameters()}

    def away() -> set[str]:
        named = nn.ModuleList([first, second]).named_parameters()
        return {name.split(".")[0] for name, parameter in named if parameter.data_ptr() != own[name]}

    turns = placement._Turns(torch.device("cpu"))
    turns.add(first, first)
    turns.add(second, second[1])  # a model that is not called as a whole
    turns.add(nn.Module(), idle := nn.Identity())  # one that fetches its own weights
    inputs = torch.zeros(1, 2)
    second[0](inputs)
    assert away() == set()
    for called, there in [(first, {"0"}), (first, {"0"}), (second[1], {"1"}), (first, {"0"}), (idle, set())]:
        called(inputs)
        assert away() == there


def test_packing_keeps_numbers_and_takes_few_pieces() -> None:
    torch.manual_seed(0)
    kinds = (torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.uint8)
    tensors = [nn.Parameter(torch.randn(7, 11).to(kind), requires_grad=False) for kind in kinds for _ in range(5)]
    before = [tensor.detach().clone() for tensor in tensors]
    pack(tensors, page_locked=False)
    for tensor, data in zip(tensors, before, strict=True):
        assert tensor.dtype == data.dtype
        assert tensor.is_contiguous()
        assert torch.equal(tensor.view(torch.uint8), data.view(torch.uint8))
        assert tensor.data_ptr() % 64 == 0
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == 1
    size = tensors[0].untyped_storage().nbytes()
    assert size.bit_count() == 1
    assert size < 2 * 20 * 512


@pytest.mark.slow
def test_compiled_blocks_give_the_same(
    loaded: Components, truth: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EX4D_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    assert deviation(a_pass(placed(loaded, planned("resident", tmp_path, compiled=True))), truth) < 1e-4
    assert any((tmp_path / "inductor").rglob("*"))

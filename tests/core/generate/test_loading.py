"""Every layout becomes the same components."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanTransformer3DModel, WanVACETransformer3DModel
from loading_cases import FAST, FP16, LORA, Tiny, plan
from safetensors.torch import load_file, save_file
from tiny import models

from ex4d_core.errors import InputError, MissingDependencyError
from ex4d_core.generate.ladder import Rung
from ex4d_core.generate.loading import (
    Components,
    empty_transformer,
    load_components,
    load_transformer,
)
from ex4d_core.generate.profiles import Profile
from ex4d_core.generate.text_encoder import load_text_encoder
from ex4d_core.model_files import ModelFiles, find_files

FINAL = Profile("final", 25, 5.0)
KEPT = ("time_embedder", "scale_shift_table", "norm1", "norm2", "norm3")
"""What diffusers keeps in float32 (`_keep_in_fp32_modules`)."""


@pytest.fixture
def mine(tiny_models: Tiny, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a layout, to be changed."""
    return lambda layout: Path(shutil.copytree(tiny_models(layout), tmp_path / layout))


@pytest.fixture(scope="module")
def inputs() -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return {
        "hidden_states": torch.randn(1, 36, 2, 4, 6, generator=random),
        "timestep": torch.tensor([937.5]),
        "encoder_hidden_states": torch.randn(1, 512, models.TEXT_DIM, generator=random),
        "encoder_hidden_states_image": torch.randn(1, 257, models.IMAGE_DIM, generator=random),
    }


def forward(transformer: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    dtype = transformer.patch_embedding.weight.dtype
    moved = {name: tensor if name == "timestep" else tensor.to(dtype) for name, tensor in inputs.items()}
    with torch.no_grad():
        return transformer(**moved).sample.float()


def off(value: torch.Tensor, reference: torch.Tensor) -> float:
    """Relative error."""
    return ((value - reference).norm() / reference.norm()).item()


@pytest.fixture(scope="module")
def reference(tiny_ex4d: Path) -> Components:
    """The diffusers layout with both LoRAs, float32."""
    return load_components(find_files("ex4d", [tiny_ex4d]), plan(), FAST)


@pytest.mark.parametrize(
    ("layout", "rung", "most"),
    [
        ("ex4d-original", "resident", 1e-6),
        ("ex4d-comfy", "resident", 1e-3),  # stored in float16
        ("ex4d-gguf", "gguf-q8", 1e-2),
        ("ex4d-gguf", "gguf-q4", 1e-1),
    ],
)
def test_layouts_make_the_same_models(
    tiny_models: Tiny, reference: Components, inputs: dict[str, torch.Tensor], layout: str, rung: Rung, most: float
) -> None:
    found = load_components(find_files("ex4d", [tiny_models(layout)], rung), plan(rung), FAST)
    assert off(forward(found.transformer, inputs), forward(reference.transformer, inputs)) < most
    for mine, theirs in ((found.vae, reference.vae), (found.image_encoder, reference.image_encoder)):
        assert mine is not None
        assert theirs is not None
        expected = theirs.state_dict()
        exact = layout == "ex4d-original"
        for name, tensor in mine.state_dict().items():
            assert tensor.dtype == torch.float32
            assert torch.allclose(tensor, expected[name], rtol=0 if exact else 0.01, atol=0 if exact else 1e-3), name
    assert found.geometry_encoder is not None
    for name, tensor in found.geometry_encoder.state_dict().items():
        assert tensor.equal(torch.load(tiny_models(layout) / "ex4d.ckpt", weights_only=True)[name])
    assert not any(p.requires_grad for m in (found.transformer, found.vae) for p in m.parameters())
    assert not any(p.is_meta for p in found.transformer.parameters())


@pytest.mark.parametrize(
    ("layout", "rung"), [("ex4d-diffusers", "resident"), ("ex4d-original", "fp8"), ("ex4d-gguf", "gguf-q8")]
)
def test_what_diffusers_keeps_in_float32_stays_so(tiny_models: Tiny, layout: str, rung: Rung) -> None:
    files = find_files("ex4d", [tiny_models(layout)], rung)
    transformer = load_components(files, plan(rung, "bfloat16"), FAST).transformer
    for name, parameter in transformer.named_parameters():
        if any(part in name.split(".") for part in KEPT):
            assert parameter.dtype == torch.float32, name
        elif "lora_" in name:
            assert parameter.dtype == torch.bfloat16, name
    assert transformer.patch_embedding.weight.dtype == torch.bfloat16


def test_a_plan_that_casts_later_leaves_the_blocks_in_the_file(tiny_models: Tiny) -> None:
    transformer = load_transformer(tiny_models("ex4d-comfy") / FP16, plan("fp8", "bfloat16"))
    assert transformer.blocks[0].attn1.to_q.weight.dtype == torch.float16
    assert transformer.proj_out.weight.dtype == torch.bfloat16


def merged(tiny_ex4d: Path, weight: float) -> WanTransformer3DModel:
    """Both LoRAs by hand, from the files' own names: W + B A of EX-4D, and w (alpha / r B A), w diff, w diff_b."""
    base: Any = WanTransformer3DModel.from_pretrained(tiny_ex4d / "transformer")
    own = models.original_transformer_names({name: torch.tensor(i) for i, name in enumerate(base.state_dict())})
    order = list(base.state_dict())
    parameters = {name: base.state_dict()[order[int(i)]] for name, i in own.items()}  # original name -> parameter
    ex4d = torch.load(tiny_ex4d / "ex4d.ckpt", weights_only=True)
    for name in [n for n in ex4d if "lora_A" in n]:
        up, module = ex4d[name.replace("lora_A", "lora_B")], name.split(".lora_A")[0]
        parameters[f"{module}.weight"] += up @ ex4d[name]
    distilled = {n.removeprefix("diffusion_model."): t.float() for n, t in load_file(tiny_ex4d / LORA).items()}
    for name, tensor in distilled.items():
        module = name.removesuffix(".lora_down.weight")
        if name.endswith("lora_down.weight"):
            scale = distilled[f"{module}.alpha"] / len(tensor)
            parameters[f"{module}.weight"] += weight * scale * distilled[f"{module}.lora_up.weight"] @ tensor
        elif name.endswith(".diff_b"):
            parameters[name.replace(".diff_b", ".bias")] += weight * tensor
        elif name.endswith(".diff"):
            parameters[name.replace(".diff", "" if "modulation" in name else ".weight")] += weight * tensor
    return base


def test_stacked_loras_equal_a_merge_by_hand(tiny_ex4d: Path, inputs: dict[str, torch.Tensor]) -> None:
    expected = forward(merged(tiny_ex4d, 0.7), inputs)
    for _again in range(2):  # what is read is not scaled in place
        found = load_components(find_files("ex4d", [tiny_ex4d]), plan(), FAST)
        assert off(forward(found.transformer, inputs), expected) < 1e-5
    assert found.transformer.active_adapters() == ["ex4d", "distill"]


def test_without_the_distilled_lora(tiny_ex4d: Path, inputs: dict[str, torch.Tensor]) -> None:
    found = load_components(find_files("ex4d", [tiny_ex4d]), plan(), FINAL)
    assert found.transformer.active_adapters() == ["ex4d"]
    assert off(forward(found.transformer, inputs), forward(merged(tiny_ex4d, 0.0), inputs)) < 1e-5
    with pytest.raises(MissingDependencyError, match=r"wan2.1-i2v-4step-lora is not .*: run .*GB"):
        load_components(replace(find_files("ex4d", [tiny_ex4d]), distilled=None), plan(), FAST)


def test_a_rung_of_gguf_needs_gguf(tiny_ex4d: Path) -> None:
    with pytest.raises(InputError, match=r"rung gguf-q8 needs a GGUF file, and .*transformer is none: choose"):
        load_transformer(tiny_ex4d / "transformer", plan("gguf-q8"))


def test_the_pair_of_wan_2_2(tiny_models: Tiny) -> None:
    found = load_components(find_files("vace-14b", [tiny_models("vace-fun-a14b")]), plan(), FINAL)
    assert found.boundary == 0.875
    assert found.second_transformer is not None
    first, second = found.transformer.state_dict(), found.second_transformer.state_dict()
    assert not first["proj_out.weight"].equal(second["proj_out.weight"])
    assert (found.image_encoder, found.geometry_encoder) == (None, None)


@pytest.mark.parametrize("layout", ["vace-1.3b", "vace-14b"])
def test_vace_in_one_file_of_original_names(tiny_models: Tiny, tmp_path: Path, layout: str) -> None:
    theirs: Any = WanVACETransformer3DModel.from_pretrained(tiny_models(layout) / "transformer")
    save_file(models.original_transformer_names(theirs.state_dict()), tmp_path / "vace.safetensors")
    mine = load_transformer(tmp_path / "vace.safetensors", plan())
    assert settings(mine) == settings(theirs)
    assert all(tensor.equal(theirs.state_dict()[name]) for name, tensor in mine.state_dict().items())


@pytest.mark.parametrize(
    "config",
    [
        {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30, "vace_layers": list(range(0, 30, 2))},
        pytest.param({"in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120}, marks=pytest.mark.slow),
        pytest.param({"vace_layers": list(range(0, 40, 5))}, marks=pytest.mark.slow),
    ],
    ids=["vace-1.3b", "i2v-14b", "vace-14b"],
)
def test_real_dimensions_are_told_by_shapes(tmp_path: Path, config: dict[str, Any]) -> None:
    """The configurations of the released models, from the header of a file without weights."""
    from accelerate import init_empty_weights

    if "vace_layers" in config:
        config |= {"vace_in_channels": 96}
    kind = WanVACETransformer3DModel if "vace_layers" in config else WanTransformer3DModel
    with init_empty_weights():
        expected = kind(**config)
    file = tmp_path / "model.safetensors"
    write_header(file, models.original_transformer_names(expected.state_dict()))
    found, _ = empty_transformer(file)
    assert type(found) is kind
    assert settings(found) == settings(expected)


def settings(model: Any) -> dict[str, Any]:
    """Its configuration, save the notes of diffusers."""
    return {name: value for name, value in json.loads(model.to_json_string()).items() if name[0] != "_"}


def write_header(file: Path, state: dict[str, torch.Tensor]) -> None:
    """A .safetensors of those shapes, of a type of no bytes."""
    header = {name: {"dtype": "F8", "shape": list(t.shape), "data_offsets": [0, 0]} for name, t in state.items()}
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text)


def test_heads_are_told_by_wans_own_config(mine: Callable[[str], Path]) -> None:
    folder = mine("ex4d-original")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_heads": 4}))
    assert load_transformer(folder, plan()).config.attention_head_dim == 64


def test_8_bits_with_scales(
    mine: Callable[[str], Path], reference: Components, inputs: dict[str, torch.Tensor]
) -> None:
    """ComfyUI's fp8_scaled: weight * scale_weight, marks that are no weights."""
    folder = mine("ex4d-comfy")
    state = load_file(folder / FP16)
    for name in [n for n in state if n.startswith("blocks.") and state[n].ndim == 2]:
        scale = state[name].float().abs().max() / 448
        state[name] = (state[name].float() / scale).to(torch.float8_e4m3fn)
        state[name.replace(".weight", ".scale_weight")] = scale
    state["scaled_fp8"] = torch.zeros(2).to(torch.float8_e4m3fn)
    save_file(state, folder / FP16)
    found = load_components(find_files("ex4d", [folder]), plan(), FAST)
    assert off(forward(found.transformer, inputs), forward(reference.transformer, inputs)) < 0.05


def test_loras_on_a_file_of_8_bits_keep_their_own(mine: Callable[[str], Path], reference: Components) -> None:
    folder = mine("ex4d-comfy")
    state = {
        name: tensor.to(torch.float8_e4m3fn) if name.startswith("blocks.") and tensor.ndim == 2 else tensor
        for name, tensor in load_file(folder / FP16).items()
    }
    save_file(state, folder / FP16)
    found = load_components(find_files("ex4d", [folder]), plan("fp8", "bfloat16"), FAST).transformer.state_dict()
    for name, expected in reference.transformer.state_dict().items():
        if ".lora_" in name:
            assert found[name].equal(expected.bfloat16()), name
    assert found["blocks.0.attn1.to_q.base_layer.weight"].dtype == torch.float8_e4m3fn


def test_norms_that_diffusers_folder_has_and_no_layer_uses(mine: Callable[[str], Path], tmp_path: Path) -> None:
    folder = mine("ex4d-diffusers") / "transformer"
    state = {name: tensor for shard in folder.glob("*.safetensors") for name, tensor in load_file(shard).items()}
    for file in folder.glob("diffusion*"):
        file.unlink()
    state["blocks.0.attn2.norm_added_q.weight"] = torch.ones(models.DIM)
    save_file(state, folder / "diffusion_pytorch_model.safetensors")
    assert "blocks.0.attn2.norm_added_q.weight" not in load_transformer(folder, plan()).state_dict()
    models.write_gguf(tmp_path / "model.gguf", models.original_transformer_names(state), "Q8_0")
    assert load_transformer(tmp_path / "model.gguf", plan("gguf-q8")).config.num_layers == models.LAYERS


@pytest.fixture(scope="module")
def words() -> torch.Tensor:
    """Long enough for the position bias to reach its logarithmic part."""
    return torch.randint(3, 100, (1, 60), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    ("layout", "file", "most"),
    [
        ("ex4d-diffusers", "text_encoder", 1e-6),
        ("ex4d-original", "models_t5_umt5-xxl-enc-bf16.pth", 1e-2),
        ("ex4d-comfy", "text_encoders/umt5_xxl_fp16.safetensors", 2e-3),
    ],
)
def test_text_encoders(tiny_models: Tiny, words: torch.Tensor, layout: str, file: str, most: float) -> None:
    place = tiny_models(layout) / file
    encoder: Any = load_text_encoder(ModelFiles(place, place, text_encoder=place), torch.float32)
    state = models.original_text_names(models.text_encoder(0).state_dict())
    with torch.no_grad():
        assert off(encoder(words).last_hidden_state, wan_text_encoder(state, words)) < most
    assert encoder.shared.weight is encoder.encoder.embed_tokens.weight


def test_a_text_encoder_of_the_type_asked_for(tiny_models: Tiny) -> None:
    place = tiny_models("ex4d-comfy") / "text_encoders/umt5_xxl_fp16.safetensors"
    encoder: Any = load_text_encoder(ModelFiles(place, place, text_encoder=place), torch.bfloat16)
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.bfloat16}


def wan_text_encoder(state: dict[str, torch.Tensor], words: torch.Tensor) -> torch.Tensor:
    """UMT5's arithmetic over the names of Wan's file, from the papers (T5 1.1: no scaling of scores, gated GELU)."""

    def normal(x: torch.Tensor, name: str) -> torch.Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * state[f"{name}.weight"]

    x = state["token_embedding.weight"][words[0]]  # (n, d)
    near = torch.arange(len(x))
    distance = near[None, :] - near[:, None]  # key - query
    far = 8 + (torch.log(distance.abs().clamp(min=1) / 8) / math.log(128 / 8) * 8).long().clamp(max=7)
    bucket = torch.where(distance.abs() < 8, distance.abs(), far) + 16 * (distance > 0)
    for block in range(2):
        at = f"blocks.{block}"
        h = normal(x, f"{at}.norm1")
        q, k, v = ((h @ state[f"{at}.attn.{part}.weight"].T).unflatten(-1, (4, -1)).transpose(0, 1) for part in "qkv")
        bias = state[f"{at}.pos_embedding.embedding.weight"][bucket].permute(2, 0, 1)  # (heads, n, n)
        attended = (torch.softmax(q @ k.mT + bias, dim=-1) @ v).transpose(0, 1).flatten(1)
        x = x + attended @ state[f"{at}.attn.o.weight"].T
        h = normal(x, f"{at}.norm2")
        gate = torch.nn.functional.gelu(h @ state[f"{at}.ffn.gate.0.weight"].T, approximate="tanh")
        x = x + (gate * (h @ state[f"{at}.ffn.fc1.weight"].T)) @ state[f"{at}.ffn.fc2.weight"].T
    return normal(x, "norm")[None]

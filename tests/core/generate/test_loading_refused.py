"""Whatever is wrong with a model's file is an error that names it."""

from __future__ import annotations

import json
import math
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from loading_cases import FAST, FP16, LORA, Tiny, plan
from safetensors.torch import load_file, save_file
from tiny import models

from ex4d_core.errors import InputError, MissingDependencyError
from ex4d_core.generate import loading
from ex4d_core.generate.checkpoint import read_checkpoint
from ex4d_core.generate.distilled import read_distilled
from ex4d_core.generate.loading import (
    load_components,
    load_image_encoder,
    load_transformer,
    load_vae,
)
from ex4d_core.generate.text_encoder import load_text_encoder
from ex4d_core.model_files import ModelFiles, find_files

SIZES = ("num_attention_heads", "base_dim", "hidden_size", "d_model")


@pytest.fixture
def mine(tiny_models: Tiny, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a layout, to be changed."""
    return lambda layout: Path(shutil.copytree(tiny_models(layout), tmp_path / layout))


def altered(state: dict[str, torch.Tensor], how: str) -> str:
    """Spoil one tensor; its name."""
    name = sorted(name for name in state if state[name].ndim > 1)[3]
    if how == "missing":
        del state[name]
    elif how == "misshapen":
        state[name] = torch.cat([state[name], state[name]])
    else:
        name = "a.stranger.weight"
        state[name] = torch.zeros(32, 32)
    return name


HOW = ("missing", "unexpected", "misshapen")
STRAYS = (
    ("ex4d-comfy", FP16, "transformer", HOW),
    ("ex4d-original", "Wan2.1_VAE.pth", "vae", HOW[:1]),
    ("ex4d-diffusers", "image_encoder/model.safetensors", "image_encoder", HOW[1:2]),
    ("ex4d-original", "models_t5_umt5-xxl-enc-bf16.pth", "text_encoder", HOW[2:]),
    ("ex4d-diffusers", LORA, "distilled", HOW),
    ("vace-1.3b", "transformer/diffusion_pytorch_model.safetensors", "transformer", ()),
    ("ex4d-diffusers", "vae/diffusion_pytorch_model.safetensors", "vae", ()),
    ("ex4d-comfy", "clip_vision/clip_vision_h.safetensors", "image_encoder", ()),
    ("ex4d-diffusers", "text_encoder/model.safetensors", "text_encoder", ()),
)
"""Layout, file, what it is, and what is done to it in the plain run; all else is slow."""


@pytest.mark.parametrize(
    ("layout", "file", "load", "how"),
    [
        pytest.param(*case, how, marks=() if how in plain else pytest.mark.slow)
        for *case, plain in STRAYS
        for how in HOW
    ],
)
def test_every_stray_tensor_is_named(mine: Callable[[str], Path], layout: str, file: str, load: str, how: str) -> None:
    folder = mine(layout)
    path = folder / file
    state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    name = altered(state, how)
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    whole = path if layout in ("ex4d-original", "ex4d-comfy") else path.parent
    read: dict[str, Callable[[], Any]] = {
        "transformer": lambda: load_transformer(whole, plan()),
        "vae": lambda: load_vae(whole),
        "image_encoder": lambda: load_image_encoder(whole),
        "text_encoder": lambda: load_text_encoder(ModelFiles(path, path, text_encoder=whole), torch.float32),
        "distilled": lambda: load_components(find_files("ex4d", [folder]), plan(), FAST),
    }
    with pytest.raises(InputError) as caught:
        read[load]()
    assert any(told in str(caught.value) for told in (name.removeprefix("vision_model."), new_name(name, load)))


def new_name(original: str, load: str) -> str:
    """What a tensor is called in the model, which is how one that is not in the file is told."""
    made = {
        "transformer": (models.wan_transformer, models.original_transformer_names),
        "vae": (models.vae, models.original_vae_names),
        "text_encoder": (models.text_encoder, models.original_text_names),
    }
    if load not in made:  # the other half of the pair is named
        return original.replace("lora_up", "lora_down")
    make, rename = made[load]
    names = list(make(0).state_dict())
    numbers = rename({name: torch.tensor(number) for number, name in enumerate(names)})
    return names[int(numbers[original])] if original in numbers else original


@pytest.mark.parametrize("how", HOW)
def test_every_stray_tensor_of_a_gguf_is_named(tmp_path: Path, how: str) -> None:
    state = models.original_transformer_names(models.wan_transformer(0).state_dict())
    name = altered(state, how)
    models.write_gguf(tmp_path / "model-Q8_0.gguf", state, "Q8_0")
    with pytest.raises(InputError, match=f"{name}|{new_name(name, 'transformer')}"):
        load_transformer(tmp_path / "model-Q8_0.gguf", plan("gguf-q8"))


@pytest.mark.parametrize("left", [0, 100, -500])
@pytest.mark.parametrize(
    ("layout", "file"),
    [
        ("ex4d-original", "Wan2.1_VAE.pth"),
        ("ex4d-comfy", "vae/wan_2.1_vae.safetensors"),
        ("ex4d-diffusers", "vae/diffusion_pytorch_model.safetensors"),
        ("ex4d-diffusers", "vae/config.json"),
    ],
)
def test_a_damaged_file_is_named(mine: Callable[[str], Path], layout: str, file: str, left: int) -> None:
    path = mine(layout) / file
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(InputError, match=rf"{path.name} is damaged or was not downloaded whole: download it again"):
        load_vae(path.parent if layout == "ex4d-diffusers" else path)


@pytest.mark.parametrize("damage", ["", '{"a', "null", "[1]", json.dumps(dict.fromkeys(SIZES, "many"))])
@pytest.mark.parametrize("part", ["transformer", "vae", "image_encoder", "text_encoder"])
def test_a_damaged_configuration_is_named(tiny_ex4d: Path, tmp_path: Path, part: str, damage: str) -> None:
    folder = tmp_path / part
    folder.mkdir()
    for file in (tiny_ex4d / part).iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "config.json").unlink()
    told = json.loads((tiny_ex4d / part / "config.json").read_text(encoding="utf-8"))
    text = json.dumps(told | json.loads(damage)) if damage.endswith("}") else damage
    (folder / "config.json").write_text(text, encoding="utf-8")
    read: dict[str, Callable[[], Any]] = {
        "transformer": lambda: load_transformer(folder, plan()),
        "vae": lambda: load_vae(folder),
        "image_encoder": lambda: load_image_encoder(folder),
        "text_encoder": lambda: load_text_encoder(ModelFiles(folder, folder, text_encoder=folder), torch.float32),
    }
    with pytest.raises(InputError, match=rf"{part}/config\.json is damaged or .*: download it again"):
        read[part]()


@pytest.mark.parametrize("damage", ["", "[1]", '{"boundary_ratio": "high"}'])
def test_a_damaged_index_of_a_pair_is_named(tmp_path: Path, damage: str) -> None:
    (tmp_path / "model_index.json").write_text(damage, encoding="utf-8")
    with pytest.raises(InputError, match=r"model_index\.json is damaged or .*: download it again"):
        loading._boundary(tmp_path / "transformer")


@pytest.mark.parametrize("load", ["transformer", "vae", "text_encoder", "distilled"])
def test_whole_numbers_are_no_weights(mine: Callable[[str], Path], load: str) -> None:
    folder = mine("ex4d-diffusers")
    file = folder / LORA if load == "distilled" else next(p for p in sorted((folder / load).glob("*.safetensors")))
    state = load_file(file)
    name = next(name for name in sorted(state) if state[name].ndim > 1)
    save_file(state | {name: state[name].to(torch.int8)}, file)
    read: dict[str, Callable[[], Any]] = {
        "transformer": lambda: load_transformer(folder / load, plan()),
        "vae": lambda: load_vae(folder / load),
        "text_encoder": lambda: load_text_encoder(ModelFiles(file, file, text_encoder=folder / load), torch.float32),
        "distilled": lambda: read_distilled(file),
    }
    with pytest.raises(InputError, match=rf"has int8 in {name}, where weights are floats: use"):
        read[load]()


@pytest.mark.parametrize("alpha", [[math.nan], [math.inf], [0.0], [-4.0], [1e30], [1.0, 2.0]])
def test_a_scale_that_drowns_the_model_is_refused(tiny_ex4d: Path, tmp_path: Path, alpha: list[float]) -> None:
    state = load_file(tiny_ex4d / LORA)
    name = next(name for name in state if name.endswith("lora_down.weight")).replace("lora_down.weight", "alpha")
    save_file(state | {name: torch.tensor(alpha)}, tmp_path / LORA)
    with pytest.raises(InputError, match="scales a LoRA of rank 4 by an alpha of" if len(alpha) == 1 else name):
        read_distilled(tmp_path / LORA)


@pytest.mark.parametrize("text", ["cool", '{"a": 1}', "the weights are elsewhere"])
def test_a_text_holds_no_weights(tmp_path: Path, text: str) -> None:
    (tmp_path / "ex4d.ckpt").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"ex4d.ckpt holds no weights: name a file that does"):
        read_checkpoint(tmp_path / "ex4d.ckpt")


def test_nothing_in_a_pickle_is_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(tmp_path / "sprung"),))

    with (tmp_path / "old.pth").open("wb") as file:
        pickle.dump({"encoder.conv1.weight": Trap()}, file)
    torch.save({"encoder.conv1.weight": Trap()}, tmp_path / "new.pth")
    for name in ("old.pth", "new.pth"):
        with pytest.raises(InputError, match=rf"{name} holds code besides tensors.*: take the .safetensors"):
            load_vae(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_other_models_are_told(tiny_models: Tiny) -> None:
    comfy = tiny_models("ex4d-comfy")
    vae, clip = comfy / "vae/wan_2.1_vae.safetensors", comfy / "clip_vision/clip_vision_h.safetensors"
    with pytest.raises(InputError, match=r"clip_vision_h.safetensors is not the VAE of Wan2.1: give"):
        load_vae(clip)
    with pytest.raises(InputError, match=r"wan_2.1_vae.safetensors is not the image encoder of Wan: give"):
        load_image_encoder(vae)
    with pytest.raises(InputError, match=r"wan_2.1_vae.safetensors is not a transformer of Wan: give"):
        load_transformer(vae, plan())
    with pytest.raises(InputError, match=r"wan_2.1_vae.safetensors is not UMT5, Wan's text encoder: give"):
        load_text_encoder(ModelFiles(vae, vae, text_encoder=vae), torch.float32)
    with pytest.raises(InputError, match=r"clip_vision_h.safetensors is not a LoRA of Wan, it holds .*: give"):
        load_components(replace(find_files("ex4d", [comfy]), distilled=clip), plan(), FAST)
    with pytest.raises(MissingDependencyError, match=r"no text encoder .*: run `ex4d models download`"):
        load_text_encoder(ModelFiles(vae, vae), torch.float32)


def test_a_lora_of_another_width_is_refused(mine: Callable[[str], Path]) -> None:
    folder = mine("ex4d-diffusers")
    state = {name: tensor[..., :128].contiguous() for name, tensor in load_file(folder / LORA).items() if tensor.ndim}
    save_file(state, folder / LORA)
    with pytest.raises(InputError, match=r"has other shapes, .*self_attn.q.lora_down.weight has 4x128, not 4x256"):
        load_components(find_files("ex4d", [folder]), plan(), FAST)

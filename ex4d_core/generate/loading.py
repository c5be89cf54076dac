"""Models of a video diffusion engine read from files of any layout, with their LoRAs stacked, ready to be placed."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.models.transformers.transformer_wan_vace import WanVACETransformer3DModel
from diffusers.quantizers.quantization_config import GGUFQuantizationConfig
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel

from ex4d_core import models
from ex4d_core.errors import InputError, MissingDependencyError
from ex4d_core.generate import clip_keys, wan_config, wan_keys
from ex4d_core.generate.checkpoint import add_lora, read_checkpoint
from ex4d_core.generate.distilled import add_distilled, read_distilled
from ex4d_core.generate.geometry_encoder import GeometryEncoder
from ex4d_core.generate.ladder import Plan
from ex4d_core.generate.profiles import Profile
from ex4d_core.generate.state import Rename, check_names, described_by, fill, require_weights, same_names, shapes
from ex4d_core.generate.tensors import pickled, tensors
from ex4d_core.model_files import ModelFiles
from ex4d_core.weight_headers import entries

BOUNDARY = 0.875
"""Of Wan2.2's text-to-video and VACE pair, where its files do not tell (`boundary` in wan_t2v_A14B.py of Wan2.2)."""
_HEAD_80 = 80
"""Channels of a head in CLIP's ViT-H; shapes do not tell it."""


@dataclass(eq=False)
class Components:
    """The models of one engine, on the CPU until `placement.place` has had them."""

    transformer: Any
    """`WanTransformer3DModel` or `WanVACETransformer3DModel`; parameters in the plan's dtype, save those that diffusers
    keeps in float32. With LoRAs: adapters "ex4d" and "distill", both active, unfused."""
    vae: AutoencoderKLWan
    """float32."""
    second_transformer: Any | None = None
    """Of Wan2.2's pair: takes over below `boundary`."""
    boundary: float = 0.0
    """Sigma (0..1) from which on the second transformer predicts; 0: there is none."""
    image_encoder: CLIPVisionModel | None = None
    """float32; of image-to-video models."""
    geometry_encoder: GeometryEncoder | None = None
    """EX-4D's, in the plan's dtype."""


def load_components(files: ModelFiles, plan: Plan, profile: Profile) -> Components:
    """Read all that denoising needs; text encoders are read by `text_encoder.load_text_encoder`, when a prompt is new.

    The distilled LoRA is stacked where `profile.distilled` is not 0, with that weight; other profiles of the same
    weight may use the same components.

    Raises:
        InputError: a file is damaged, lacks a tensor, or has one that does not belong there.
        MissingDependencyError: the profile needs the distilled LoRA, and it is not there.
    """
    dtype = torch_dtype(plan.dtype)
    transformer = load_transformer(files.transformer, plan)
    components = Components(transformer, load_vae(files.vae))
    if files.adapter is not None:
        checkpoint = read_checkpoint(files.adapter)
        add_lora(transformer, checkpoint, dtype=dtype)
        components.geometry_encoder = checkpoint.geometry_encoder(dtype)
    if profile.distilled:
        if files.distilled is None:
            raise MissingDependencyError(models.absence(models.known_model("wan2.1-i2v-4step-lora")))
        lora = read_distilled(files.distilled)
        add_distilled(transformer, lora, profile.distilled, dtype, str(files.distilled))
    transformer.requires_grad_(False)
    if files.image_encoder is not None:
        components.image_encoder = load_image_encoder(files.image_encoder)
    if files.second_transformer is not None:
        components.second_transformer = load_transformer(files.second_transformer, plan)
        components.boundary = _boundary(files.transformer)
    return components


def load_transformer(path: Path, plan: Plan) -> Any:
    """A Wan transformer from a folder of diffusers, Wan's own shards, a single .safetensors or .gguf.

    Args:
        path: file or folder.
        plan: its dtype, and `mapped`: that leaves the linear layers of the blocks in the file's own type, mapped,
            so that `placement.place` can cast them one by one without the whole ever being in memory.

    Raises:
        InputError: it is damaged, or no transformer of Wan; names each tensor that is missing, unexpected or misshapen.
    """
    if path.suffix == ".gguf":
        return _gguf_transformer(path, torch_dtype(plan.dtype))
    if plan.weights == "gguf":
        raise InputError(f"The rung {plan.rung} needs a GGUF file, and {path} is none: choose another rung.")
    model, rename = empty_transformer(path)
    fill(model, _cast(path, model, rename, plan), rename, str(path))
    return model


def empty_transformer(path: Path) -> tuple[Any, Rename]:
    """The transformer of a file or folder on the meta device, and how names in the file become names of the model.

    Raises:
        InputError: it is no transformer of Wan.
    """
    config, rename = _told_config(path), same_names
    if config is None:
        found = file_shapes(path)
        if "condition_embedder.time_proj.weight" not in found:
            rename = wan_keys.transformer_names
        names = rename(found)
        config = wan_config.transformer_config({names[name]: shape for name, shape in found.items()}, str(path))
        config |= _heads(path)
    kind = WanVACETransformer3DModel if "vace_layers" in config else WanTransformer3DModel
    with described_by(_config_file(path)), init_empty_weights():
        return kind.from_config(config), rename


def load_vae(path: Path) -> AutoencoderKLWan:
    """Wan2.1's VAE in float32, from a folder of diffusers or a single file.

    Raises:
        InputError: it is damaged, or not Wan2.1's VAE.
    """
    config, rename = _told_config(path), same_names
    if config is None:
        # some copies have "model." before every name
        found = {name.removeprefix("model."): shape for name, shape in file_shapes(path).items()}
        rename = _vae_names if "encoder.conv1.weight" in found else same_names
        names = rename(found)
        config = wan_config.vae_config({names[name]: shape for name, shape in found.items()}, str(path))
    with described_by(_config_file(path)), init_empty_weights():
        model: Any = AutoencoderKLWan.from_config(config)
    read = ((name.removeprefix("model."), tensor) for name, tensor in tensors(path))
    fill(model, read, rename, str(path), torch.float32)
    return model


def load_image_encoder(path: Path) -> CLIPVisionModel:
    """CLIP's vision tower in float32, from a folder of transformers, Wan's own .pth or ComfyUI's file.

    Raises:
        InputError: it is damaged, or another image encoder.
    """
    file = _config_file(path)
    with described_by(file):
        config = CLIPVisionConfig.from_pretrained(path) if file != path else _clip_config(path)
    read = ((name, tensor) for name, tensor in tensors(path) if not name.endswith("position_ids"))
    return clip_keys.load_image_encoder(read, config, torch.float32, str(path))


def torch_dtype(name: str) -> torch.dtype:
    """torch.bfloat16 of "bfloat16"."""
    return getattr(torch, name)


def file_shapes(path: Path) -> Mapping[str, tuple[int, ...]]:
    """Names in the file and shapes; no weights are read."""
    if path.suffix in (".pth", ".pt", ".ckpt"):
        return shapes(pickled(path))
    return {name: entry.shape for name, entry in entries(path).items()}


def _gguf_transformer(path: Path, dtype: torch.dtype) -> Any:
    empty, rename = empty_transformer(path)
    shaped = file_shapes(path)
    names = rename(shaped)
    found = {name: shape for name, shape in shaped.items() if not _is_unused(names[name], empty)}
    back = {new: name for name, new in names.items()}
    expected = {back.get(name, name): shape for name, shape in shapes(empty.state_dict()).items()}
    check_names(found, expected, str(path))
    with tempfile.TemporaryDirectory() as config:
        empty.save_config(config)
        return (
            type(empty)
            .from_single_file(
                str(path),
                config=config,
                quantization_config=GGUFQuantizationConfig(compute_dtype=dtype),
                torch_dtype=dtype,
            )
            .requires_grad_(False)
        )


def _cast(path: Path, model: Any, rename: Rename, plan: Plan) -> Iterator[tuple[str, Tensor]]:
    kept: tuple[str, ...] = tuple(model._keep_in_fp32_modules)
    linear = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    dtype = torch_dtype(plan.dtype)
    for name, tensor in tensors(path):
        new = rename([name])[name]
        if _is_unused(new, model):
            continue
        require_weights(name, tensor, str(path))
        if any(part in kept for part in new.split(".")):
            yield name, tensor.float()
        elif plan.mapped and "blocks." in new and new.rpartition(".")[0] in linear:
            yield name, tensor
        else:
            yield name, tensor.to(dtype)


def _is_unused(name: str, model: Any) -> bool:
    """Whether diffusers passes a tensor over: its own folder of Wan2.1 I2V has norms that no layer uses."""
    return any(re.search(pattern, name) for pattern in model._keys_to_ignore_on_load_unexpected or ())


def _told_config(path: Path) -> dict[str, Any] | None:
    """What config.json of a folder of diffusers says; None of other layouts."""
    config = _json(path / "config.json") if path.is_dir() else {}
    return config if str(config.get("_class_name", "")) in _DIFFUSERS else None


def _config_file(path: Path) -> Path:
    """What a component's sizes are told by: a configuration in its folder, or itself."""
    config = path / "config.json"
    return config if config.is_file() else path


_DIFFUSERS = ("WanTransformer3DModel", "WanVACETransformer3DModel", "AutoencoderKLWan")


def _heads(path: Path) -> dict[str, Any]:
    """The one size that shapes do not tell, where Wan's own config.json says it."""
    told = _json(path / "config.json") if path.is_dir() else {}
    if not {"num_heads", "dim"} <= told.keys():
        return {}
    with described_by(path / "config.json"):
        return {"num_attention_heads": told["num_heads"], "attention_head_dim": told["dim"] // told["num_heads"]}


def _clip_config(path: Path) -> CLIPVisionConfig:
    tower = {name: shape for name, shape in file_shapes(path).items() if not name.startswith("textual.")}
    found = {name.removeprefix("visual.").removeprefix("vision_model."): shape for name, shape in tower.items()}
    patches = found.get("patch_embedding.weight") or found.get("embeddings.patch_embedding.weight")
    positions = found.get("pos_embedding") or found.get("embeddings.position_embedding.weight")
    hidden = found.get("transformer.0.mlp.0.weight") or found.get("encoder.layers.0.mlp.fc1.weight")
    if patches is None or positions is None or hidden is None:
        raise InputError(f"{path} is not the image encoder of Wan: give clip_vision_h.safetensors.")
    width, patch = patches[0], patches[-1]
    layers = sum(name.endswith(("mlp.0.weight", "mlp.fc1.weight")) for name in found)
    size = {"hidden_size": width, "patch_size": patch, "num_heads": width // _HEAD_80, "num_layers": layers}
    size |= {"image_size": round((positions[-2] - 1) ** 0.5) * patch, "mlp_ratio": hidden[0] / width}
    return clip_keys.vision_config({**clip_keys.VIT_H_14, **size})


def _vae_names(names: Any) -> dict[str, str]:
    return wan_keys.vae_names(names)


def _boundary(transformer: Path) -> float:
    index = transformer.parent / "model_index.json"
    with described_by(index):
        return float(_json(index).get("boundary_ratio") or BOUNDARY)


def _json(file: Path) -> dict[str, Any]:
    with described_by(file):
        return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}

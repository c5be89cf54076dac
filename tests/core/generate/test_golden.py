"""Numbers of the reference implementation, and a second set that differs in every dimension against plain torch."""

import json
import re
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers
from safetensors.torch import load_file, save_file
from tiny import models

from ex4d_core.errors import InputError
from ex4d_core.generate import golden
from ex4d_core.generate.clip_keys import load_image_encoder, vision_config
from ex4d_core.generate.wan_keys import vae_names

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "golden_ex4d"
TOLERANCES = {"geometry_latent": 1e-5, "pred_pos": 1e-4, "pred_neg": 1e-4, "final_latents": 1e-4, "decoded_video": 1e-4}
READ = ("color_frames_u8", "mask_frames_u8", "context_pos", "context_neg", "noise")

T, H, W = 5, 48, 80
HEADS, HEAD_DIM, FFN, LAYERS, TEXT, IMAGE, FREQ = 3, 16, 72, 3, 20, 40, 128
RANK, ALPHA, HIDDEN, STEPS, CFG, SHIFT = 8, 4.0, 24, 2, 3.5, 4.0
CLIP = {"image_size": 48, "patch_size": 12, "hidden_size": IMAGE, "num_heads": 5, "num_layers": 3, "mlp_ratio": 2.5}
CLIP |= {"activation": "quick_gelu", "eps": 1e-5, "pixel_mean": [0.48, 0.46, 0.41], "pixel_std": [0.27, 0.26, 0.28]}


def without(folder: Path, target: Path, *, keep: tuple[str, ...]) -> Path:
    """A copy of a golden set whose inputs hold only these."""
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("inputs.*", "outputs.*"))
    inputs = load_file(folder / "inputs.safetensors")
    save_file({name: inputs[name] for name in keep}, target / "inputs.safetensors")
    return target


def test_the_numbers_are_those_of_the_reference(tmp_path: Path) -> None:
    made = golden.run(str(without(GOLDEN, tmp_path / "set", keep=(*READ, "clip_fea"))))
    outputs = load_file(GOLDEN / "outputs.safetensors")
    assert made.keys() == TOLERANCES.keys()
    for name, tolerance in TOLERANCES.items():
        assert made[name].dtype == np.float32
        np.testing.assert_allclose(made[name], outputs[name].numpy(), rtol=0, atol=tolerance, err_msg=name)
    once = outputs["wrong_geometry_latent_single_map"].numpy()
    assert np.abs(made["geometry_latent"] - once).max() > 0.01  # the mask is scaled twice
    frames = ((made["decoded_video"][0].transpose(1, 2, 3, 0) + 1) * 127.5).clip(0, 255).astype(np.uint8)
    off = np.abs(frames.astype(int) - outputs["decoded_frames_u8"].numpy())
    assert off.max() <= 1
    assert (off > 0).mean() < 1e-3


def test_another_set_is_what_plain_torch_makes_of_it(second_set: Path) -> None:
    made, expected = golden.run(second_set), reference(second_set)
    assert made["decoded_video"].shape == (1, 3, T, H, W)
    for name, tolerance in TOLERANCES.items():
        np.testing.assert_allclose(made[name], expected[name].numpy(), rtol=0, atol=tolerance, err_msg=name)
        assert made[name].std() > 0.05  # and there is something to see


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
@pytest.mark.parametrize("prefix", ["visual.", ""])
def test_the_image_encoder_is_open_clips_tower(activation: str, prefix: str) -> None:
    told = CLIP | {"activation": activation}
    state, pixels = clip_state(), torch.randn(1, 3, 48, 48)
    names = {prefix + name.removeprefix("visual."): tensor for name, tensor in state.items()}
    encoder = load_image_encoder(names.items(), vision_config(told), None, "clip.safetensors")
    features = encoder(pixel_values=pixels, output_hidden_states=True).hidden_states[-2]
    assert features.shape == (1, 17, IMAGE)
    torch.testing.assert_close(features, tower(state, told, pixels), rtol=0, atol=2e-5)


def test_names_of_the_released_vae_are_those_that_diffusers_knows() -> None:
    names = models.original_vae_names(models.vae(0).state_dict())
    known = convert_wan_vae_to_diffusers({name: name for name in names})
    assert vae_names(names) == {original: new for new, original in known.items()}


def test_a_file_of_another_model_is_refused_by_name(second_set: Path, tmp_path: Path) -> None:
    for file, gone, meant in (
        ("base.safetensors", "blocks.1.ffn.0.weight", "blocks.1.ffn.net.0.proj.weight"),
        ("vae.safetensors", "encoder.head.0.gamma", "encoder.norm_out.gamma"),
        ("clip.safetensors", "visual.pre_norm.bias", "pre_layrnorm.bias"),
    ):
        folder = shutil.copytree(second_set, tmp_path / file)
        state = load_file(folder / file)
        state["stray.weight"] = state.pop(gone)
        save_file(state, folder / file)
        with pytest.raises(InputError, match=rf"^{file} lacks {meant}; it has .* stray\.weight: use the file"):
            golden.run(folder)


@pytest.fixture(scope="module")
def second_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("second")
    width = HEADS * HEAD_DIM
    sizes = {"num_attention_heads": HEADS, "attention_head_dim": HEAD_DIM, "in_channels": 36, "out_channels": 16}
    sizes |= {"text_dim": TEXT, "freq_dim": FREQ, "ffn_dim": FFN, "num_layers": LAYERS, "image_dim": IMAGE}
    sizes |= {"added_kv_proj_dim": width, "eps": 1e-6}
    vae = {"dim": 3, "z_dim": 16, "dim_mult": [1, 2, 2, 2], "num_res_blocks": 1}
    vae |= {"temperal_downsample": [False, True, True], "latents_mean": [0.1] * 16, "latents_std": [1.5] * 16}
    config = {"diffusers_transformer": sizes, "vae": vae, "clip": CLIP, "lora": {"rank": RANK, "alpha": ALPHA}}
    config["sampling"] = {"steps": STEPS, "cfg_scale": CFG, "shift": SHIFT}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    torch.manual_seed(3)
    transformer = WanTransformer3DModel(**sizes)
    save_file(models.original_transformer_names(transformer.state_dict()), folder / "base.safetensors")
    autoencoder = AutoencoderKLWan(**vae_sizes(vae))
    save_file(original_vae(autoencoder.state_dict()), folder / "vae.safetensors")
    save_file(clip_state(), folder / "clip.safetensors")
    torch.save(checkpoint_state(width), folder / "ex4d_tiny.ckpt")
    save_file(
        {
            "color_frames_u8": torch.randint(0, 256, (T, H, W, 3), dtype=torch.uint8),
            "mask_frames_u8": (torch.rand(T, H, W, 1) > 0.2).expand(-1, -1, -1, 3).contiguous().to(torch.uint8) * 255,
            "context_pos": torch.randn(11, TEXT),
            "context_neg": torch.randn(1, TEXT),
            "noise": torch.randn(1, 16, 2, H // 8, W // 8),
        },
        folder / "inputs.safetensors",
    )
    return folder


def original_vae(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Wan's names where a level has one residual block: the decoder has two, then what enlarges; three numbers each."""

    def number(match: re.Match[str]) -> str:
        level, place = divmod(int(match[1]), 4)
        return f"decoder.upsamples.{3 * level + min(place, 2)}."

    released = models.original_vae_names(tensors)
    return {re.sub(r"^decoder\.upsamples\.(\d+)\.", number, name): tensor for name, tensor in released.items()}


def vae_sizes(told: dict) -> dict:
    return {"base_dim": told["dim"]} | {name: value for name, value in told.items() if name != "dim"}


def checkpoint_state(width: int) -> dict[str, torch.Tensor]:
    state = {}
    modules = {f"{kind}_attn.{part}": (width, width) for kind in ("self", "cross") for part in "qkvo"}
    modules |= {"ffn.0": (width, FFN), "ffn.2": (FFN, width)}
    for block in range(LAYERS):
        for module, (inputs, outputs) in modules.items():
            state[f"blocks.{block}.{module}.lora_A.default.weight"] = torch.randn(RANK, inputs) / inputs**0.5
            state[f"blocks.{block}.{module}.lora_B.default.weight"] = torch.randn(outputs, RANK) * 0.1
    for index, inputs in ((0, 32), (2, HIDDEN), (4, HIDDEN)):
        state[f"latent_encoder.{index}.weight"] = torch.randn(HIDDEN, inputs, 1, 1, 1) / inputs**0.5
        state[f"latent_encoder.{index}.bias"] = torch.randn(HIDDEN) * 0.1
    state["latent_patch_embedding.weight"] = torch.randn(width, HIDDEN, 1, 2, 2) / HIDDEN**0.5
    state["latent_patch_embedding.bias"] = torch.randn(width) * 0.1
    return state


def clip_state() -> dict[str, torch.Tensor]:
    """As in Wan's file, where only the tower of the blocks but the last is of use."""
    draw = torch.Generator().manual_seed(5)

    def normal(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return torch.randn(*shape, generator=draw) * scale

    size, inner, patch = IMAGE, int(IMAGE * CLIP["mlp_ratio"]), CLIP["patch_size"]
    state = {"cls_embedding": normal(1, 1, size), "pos_embedding": normal(1, 17, size), "head": normal(size, 7)}
    state["patch_embedding.weight"] = normal(size, 3, patch, patch, scale=0.1)
    for norm in ("pre_norm", "post_norm", *(f"transformer.{n}.norm{k}" for n in range(3) for k in (1, 2))):
        state |= {f"{norm}.weight": 1 + normal(size, scale=0.1), f"{norm}.bias": normal(size, scale=0.1)}
    for layer in range(3):
        for part, (outputs, inputs) in {
            "attn.to_qkv": (3 * size, size),
            "attn.proj": (size, size),
            "mlp.0": (inner, size),
            "mlp.2": (size, inner),
        }.items():
            state[f"transformer.{layer}.{part}.weight"] = normal(outputs, inputs, scale=inputs**-0.5)
            state[f"transformer.{layer}.{part}.bias"] = normal(outputs, scale=0.1)
    return {f"visual.{name}": tensor for name, tensor in state.items()} | {"log_scale": torch.tensor(4.6)}


def tower(state: dict[str, torch.Tensor], told: dict, pixels: torch.Tensor) -> torch.Tensor:
    """open-clip's vision transformer without its last block, in plain torch, as in wan/modules/clip.py of Wan2.1."""
    at = {name.removeprefix("visual."): tensor for name, tensor in state.items()}
    size, heads = told["hidden_size"], told["num_heads"]

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(x, (size,), at[f"{name}.weight"], at[f"{name}.bias"], told["eps"])

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ at[f"{name}.weight"].T + at[f"{name}.bias"]

    x = F.conv2d(pixels, at["patch_embedding.weight"], stride=told["patch_size"]).flatten(2).mT
    x = norm(torch.cat([at["cls_embedding"], x], dim=1) + at["pos_embedding"], "pre_norm")
    for block in (f"transformer.{n}" for n in range(told["num_layers"] - 1)):
        q, k, v = (
            linear(norm(x, f"{block}.norm1"), f"{block}.attn.to_qkv").view(1, -1, 3, heads, size // heads).unbind(2)
        )
        weights = (torch.einsum("bind,bjnd->bnij", q, k) / (size // heads) ** 0.5).softmax(-1)
        x = x + linear(torch.einsum("bnij,bjnd->bind", weights, v).flatten(2), f"{block}.attn.proj")
        inner = linear(norm(x, f"{block}.norm2"), f"{block}.mlp.0")
        inner = F.gelu(inner) if told["activation"] == "gelu" else inner * torch.sigmoid(1.702 * inner)
        x = x + linear(inner, f"{block}.mlp.2")
    return x


@torch.no_grad()
def reference(folder: Path) -> dict[str, torch.Tensor]:
    """The whole of it anew: the LoRA merged into the weights, the sums written out."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    inputs, adapter = load_file(folder / "inputs.safetensors"), torch.load(folder / "ex4d_tiny.ckpt")
    base = load_file(folder / "base.safetensors")
    for name in [name for name in adapter if ".lora_A." in name]:
        up = adapter[name.replace(".lora_A.", ".lora_B.")]
        base[name.replace(".lora_A.default", "")] += ALPHA / RANK * up @ adapter[name]
    transformer = WanTransformer3DModel(**config["diffusers_transformer"]).eval()
    ours = transformer.state_dict()
    originals = models.original_transformer_names({name: torch.tensor(i) for i, name in enumerate(ours)})
    order = {int(number): name for name, number in originals.items()}
    transformer.load_state_dict({name: base[order[i]] for i, name in enumerate(ours)})
    vae = AutoencoderKLWan(**vae_sizes(config["vae"])).eval()
    ours = vae.state_dict()
    originals = original_vae({name: torch.tensor(i) for i, name in enumerate(ours)})
    order, state = {int(number): name for name, number in originals.items()}, load_file(folder / "vae.safetensors")
    vae.load_state_dict({name: state[order[i]] for i, name in enumerate(ours)})

    def encode(video: torch.Tensor) -> torch.Tensor:
        return (vae.encode(video).latent_dist.mode() - 0.1) / 1.5

    seen = (inputs["mask_frames_u8"].float() / 255 > 0.5).float().permute(3, 0, 1, 2)[None]
    color = inputs["color_frames_u8"].float().permute(3, 0, 1, 2)[None] / 255 * seen * 2 - 1
    latents = torch.cat([encode(color), encode((seen * 2 - 1) * 2 - 1)], dim=1)
    for index in (0, 2, 4):
        latents = F.conv3d(latents, adapter[f"latent_encoder.{index}.weight"], adapter[f"latent_encoder.{index}.bias"])
        latents = F.silu(latents) if index < 4 else latents
    weight, bias = adapter["latent_patch_embedding.weight"], adapter["latent_patch_embedding.bias"]
    geometry = F.conv3d(latents, weight, bias, stride=(1, 2, 2))

    frame = ((color[:, :, 0] * 0.5 + 0.5) * 255).floor() / 255 * 2 - 1
    still = torch.zeros_like(color)
    still[:, :, 0] = frame
    given = torch.zeros(1, 4, 2, H // 8, W // 8)
    given[:, :, 0] = 1
    y = torch.cat([given, encode(still)], dim=1)
    square = F.interpolate(frame, (48, 48), mode="bicubic", align_corners=False)
    mean, std = (torch.tensor(CLIP[f"pixel_{name}"]).view(1, 3, 1, 1) for name in ("mean", "std"))
    tokens = tower(load_file(folder / "clip.safetensors"), CLIP, (square / 2 + 0.5 - mean) / std)
    transformer.patch_embedding.register_forward_hook(lambda _module, _inputs, output: output + geometry)

    def predict(x: torch.Tensor, time: float, name: str) -> torch.Tensor:
        text = torch.zeros(1, 512, TEXT)
        text[0, : len(inputs[name])] = inputs[name]
        return transformer(torch.cat([x, y], dim=1), torch.tensor([time]), text, tokens).sample

    x = inputs["noise"]
    results = {"geometry_latent": geometry, "pred_pos": predict(x, 1000.0, "context_pos")}
    results["pred_neg"] = predict(x, 1000.0, "context_neg")
    sigmas = [1.0, SHIFT * 0.5 / (1 + (SHIFT - 1) * 0.5), 0.0]
    for now, then in pairwise(sigmas):
        positive, negative = predict(x, 1000 * now, "context_pos"), predict(x, 1000 * now, "context_neg")
        x = x + (negative + CFG * (positive - negative)) * (then - now)
    results["final_latents"] = x
    results["decoded_video"] = vae.decode(x * 1.5 + 0.1).sample
    return results

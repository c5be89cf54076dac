"""Make tiny, randomly initialised models of the real classes in the real layouts on disk.

    python scripts/make_tiny_models.py OUT

Writes OUT/NAME for each layout (`LAYOUTS`): diffusers folders, the original Wan files, GGUF, ComfyUI; the four of EX-4D
hold the same weights. A few MB each and seconds in all; the same seed gives the same weights. What `ex4d generate
--model-dir OUT/NAME` makes of them is coloured noise: they prove the path that the real models take.

What is real: classes, names of files and tensors, types of numbers, 128 channels a head, 16 latent channels with their
mean and deviation, 257 image tokens. What is tiny: widths, layers, the words of the tokenizer.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from environment import in_environment

in_environment("gpu")

import gguf
import numpy as np
import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanTransformer3DModel, WanVACETransformer3DModel
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import CLIPVisionConfig, CLIPVisionModel, T5TokenizerFast, UMT5Config, UMT5EncoderModel

Tensors = dict[str, torch.Tensor]

DIM, FFN, LAYERS, TEXT_DIM, IMAGE_DIM = 256, 320, 2, 32, 160
HIDDEN = 40
"""Of the geometry encoder."""
RANK, DISTILLED_RANK = 16, 4
WORDS = (
    "4K, ultra-realistic, a sharp photograph of a street with people, cars and trees in the sun. "
    "Colours too vivid, overexposed, static, blurred details, subtitles, worst quality, low quality, ugly, deformed."
)
"""What the tokenizer knows as words; anything else is spelt."""
DISTILLED = "wan2.1_i2v_lora_rank64_lightx2v_4step.safetensors"


def main() -> int:
    """Parse the command line, write every layout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for the models")
    parser.add_argument("--seed", type=int, default=0, help="of all weights (default: 0)")
    options = parser.parse_args()
    for name, write in LAYOUTS.items():
        begin, folder = time.monotonic(), options.out / name
        write(folder, options.seed)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        print(f"{folder}: {size / 1e6:.1f} MB, {time.monotonic() - begin:.1f} s")
    return 0


def ex4d_diffusers(folder: Path, seed: int = 0) -> None:
    """As Wan-AI/Wan2.1-I2V-14B-480P-Diffusers, float32 as there, with EX-4D's checkpoint and the fast LoRA."""
    wan_transformer(seed).save_pretrained(folder / "transformer", max_shard_size="4MB")
    _diffusers_rest(folder, seed, "WanImageToVideoPipeline", "WanTransformer3DModel")
    clip(seed).save_pretrained(folder / "image_encoder")
    _ex4d(folder, seed)


def ex4d_original(folder: Path, seed: int = 0) -> None:
    """As Wan-AI/Wan2.1-I2V-14B-480P (shards of float32, .pth), with EX-4D's checkpoint and the fast LoRA."""
    folder.mkdir(parents=True, exist_ok=True)
    names = original_transformer_names(wan_transformer(seed).state_dict())
    _shards(folder, names, 3)
    config = {"_class_name": "WanModel", "model_type": "i2v", "dim": DIM, "eps": 1e-06, "ffn_dim": FFN, "freq_dim": 256}
    config |= {"in_dim": 36, "num_heads": DIM // 128, "num_layers": LAYERS, "out_dim": 16, "text_len": 512}
    _json(folder / "config.json", config)
    _original_rest(folder, seed)
    text, vision = "textual.", {f"visual.{k}": v for k, v in original_clip_names(clip(seed).state_dict()).items()}
    unused = {"log_scale": torch.tensor(4.6052), f"{text}token_embedding.weight": torch.zeros(3, 4)}
    torch.save(vision | unused, folder / "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth")
    _ex4d(folder, seed)


def ex4d_gguf(folder: Path, seed: int = 0) -> None:
    """As city96/Wan2.1-I2V-14B-480P-gguf, with the rest as ComfyUI has it."""
    ex4d_comfy(folder, seed)
    (file,) = (folder / "diffusion_models").iterdir()
    file.unlink()
    names = original_transformer_names(wan_transformer(seed).state_dict())
    for kind in ("Q8_0", "Q4_0"):
        write_gguf(folder / "diffusion_models" / f"wan2.1-i2v-14b-480p-{kind}.gguf", names, kind)


def ex4d_comfy(folder: Path, seed: int = 0) -> None:
    """As Comfy-Org/Wan_2.1_ComfyUI_repackaged lies in ComfyUI's `models`, with EX-4D's checkpoint and the fast LoRA."""
    names = original_transformer_names(wan_transformer(seed).state_dict())
    _save(folder / "diffusion_models/wan2.1_i2v_480p_14B_fp16.safetensors", names, torch.float16)
    _save(folder / "vae/wan_2.1_vae.safetensors", original_vae_names(vae(seed).state_dict()), torch.bfloat16)
    vision = {f"vision_model.{k}": v for k, v in clip(seed).state_dict().items()}
    vision["visual_projection.weight"] = torch.zeros(8, IMAGE_DIM)
    _save(folder / "clip_vision/clip_vision_h.safetensors", vision, torch.float16)
    words = text_encoder(seed).state_dict()
    words.pop("encoder.embed_tokens.weight", None)  # the same tensor as shared.weight
    words = {name: tensor.half() for name, tensor in words.items()}
    words["spiece_model"] = torch.frombuffer(bytearray(spiece_model()), dtype=torch.uint8)
    (folder / "text_encoders").mkdir()
    save_file(words, folder / "text_encoders/umt5_xxl_fp16.safetensors")
    _ex4d(folder, seed)
    (folder / "loras").mkdir()
    (folder / DISTILLED).rename(folder / "loras" / DISTILLED)


def vace_1_3b(folder: Path, seed: int = 0) -> None:
    """As Wan-AI/Wan2.1-VACE-1.3B-diffusers."""
    vace_transformer(seed, heads=1, layers=4).save_pretrained(folder / "transformer")
    _diffusers_rest(folder, seed, "WanVACEPipeline", "WanVACETransformer3DModel", transformer_2=[None, None])


def vace_14b(folder: Path, seed: int = 0) -> None:
    """As Wan-AI/Wan2.1-VACE-14B-diffusers."""
    vace_transformer(seed, heads=2, layers=2).save_pretrained(folder / "transformer", max_shard_size="4MB")
    _diffusers_rest(folder, seed, "WanVACEPipeline", "WanVACETransformer3DModel", transformer_2=[None, None])


def vace_fun_a14b(folder: Path, seed: int = 0) -> None:
    """Wan2.2-VACE-Fun-A14B in the layout of diffusers: two transformers, the second for the less noisy steps."""
    vace_transformer(seed, heads=1, layers=2).save_pretrained(folder / "transformer")
    vace_transformer(seed + 100, heads=1, layers=2).save_pretrained(folder / "transformer_2")
    second = ["diffusers", "WanVACETransformer3DModel"]
    _diffusers_rest(folder, seed, "WanVACEPipeline", second[1], transformer_2=second, boundary_ratio=0.875)


LAYOUTS: Mapping[str, Callable[[Path, int], None]] = {
    "ex4d-diffusers": ex4d_diffusers,
    "ex4d-original": ex4d_original,
    "ex4d-gguf": ex4d_gguf,
    "ex4d-comfy": ex4d_comfy,
    "vace-1.3b": vace_1_3b,
    "vace-14b": vace_14b,
    "vace-fun-a14b": vace_fun_a14b,
}


def wan_transformer(seed: int) -> WanTransformer3DModel:
    """Wan2.1 image-to-video, 36 channels in."""
    with _seeded(seed + 1):
        return WanTransformer3DModel(
            num_attention_heads=DIM // 128,
            in_channels=36,
            text_dim=TEXT_DIM,
            ffn_dim=FFN,
            num_layers=LAYERS,
            image_dim=IMAGE_DIM,
            added_kv_proj_dim=DIM,
        ).eval()


def vace_transformer(seed: int, heads: int, layers: int) -> WanVACETransformer3DModel:
    """Wan2.1-VACE, hints at every other block as in the 1.3B model."""
    with _seeded(seed + 2):
        return WanVACETransformer3DModel(
            num_attention_heads=heads,
            text_dim=TEXT_DIM,
            ffn_dim=FFN,
            num_layers=layers,
            vace_layers=list(range(0, layers, 2)),
            vace_in_channels=96,
        ).eval()


def vae(seed: int) -> AutoencoderKLWan:
    """Wan2.1's VAE, narrow; latent mean and deviation are the real ones, the class's defaults."""
    with _seeded(seed + 3):
        return AutoencoderKLWan(base_dim=4).eval()


def clip(seed: int) -> CLIPVisionModel:
    """The image encoder: 224 px in patches of 14, so 257 tokens."""
    size = {"hidden_size": IMAGE_DIM, "intermediate_size": 200, "num_hidden_layers": 2}
    size |= {"num_attention_heads": IMAGE_DIM // 80, "image_size": 224, "patch_size": 14, "projection_dim": 8}
    with _seeded(seed + 4):
        return CLIPVisionModel(CLIPVisionConfig(**size, hidden_act="gelu", initializer_factor=2.0)).eval()


def text_encoder(seed: int) -> UMT5EncoderModel:
    """UMT5: a relative position bias in every layer."""
    size = {"vocab_size": len(tokenizer()), "d_model": TEXT_DIM, "d_kv": 8, "d_ff": 40, "num_layers": 2, "num_heads": 4}
    with _seeded(seed + 5):
        return UMT5EncoderModel(UMT5Config(**size, feed_forward_proj="gated-gelu")).eval()


def tokenizer() -> T5TokenizerFast:
    """A small unigram tokenizer of the same pipeline as UMT5's: words, letters for the rest, </s> at the end."""
    pieces = _pieces()
    bare = Tokenizer(models.Unigram(pieces, unk_id=2))
    bare.normalizer = normalizers.Sequence([normalizers.NFKC()])
    bare.pre_tokenizer = pre_tokenizers.Metaspace()
    bare.decoder = decoders.Metaspace()
    bare.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return T5TokenizerFast(
        tokenizer_object=bare, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", extra_ids=0, model_max_length=512
    )


def spiece_model() -> bytes:
    """The same words as a SentencePiece model (`sentencepiece_model.proto`), which ComfyUI's text encoders hold."""
    kinds = {"<pad>": 3, "</s>": 3, "<unk>": 2}
    message = b""
    for piece, score in _pieces():
        text = piece.encode()
        inner = b"\x0a" + bytes([len(text)]) + text + b"\x15" + struct.pack("<f", score)
        inner += b"\x18" + bytes([kinds.get(piece, 1)])
        message += b"\x0a" + bytes([len(inner)]) + inner
    return message


def _pieces() -> list[tuple[str, float]]:
    """What the tokenizer knows, each with its score."""
    words = sorted({f"▁{word.strip(',.')}" for word in WORDS.split()})
    letters = ["▁", *(chr(code) for code in range(33, 127))]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return pieces + [(word, -3.0) for word in words] + [(letter, -6.0) for letter in letters]


def ex4d_checkpoint(seed: int) -> Tensors:
    """A state dict as the released `ex4d.ckpt`: LoRA in the original layout and with peft's names, geometry encoder."""
    with _seeded(seed + 6):
        tensors: Tensors = {}
        for block in range(LAYERS):
            for module, (wide, narrow) in _lora_modules().items():
                name = f"blocks.{block}.{module}"
                tensors[f"{name}.lora_A.default.weight"] = torch.randn(RANK, narrow) / narrow**0.5
                tensors[f"{name}.lora_B.default.weight"] = torch.randn(wide, RANK) * 0.05
        sizes = {"latent_encoder.0": (HIDDEN, 32, 1, 1, 1), "latent_encoder.2": (HIDDEN, HIDDEN, 1, 1, 1)}
        sizes |= {"latent_encoder.4": (HIDDEN, HIDDEN, 1, 1, 1), "latent_patch_embedding": (DIM, HIDDEN, 1, 2, 2)}
        for name, size in sizes.items():
            tensors[f"{name}.weight"] = torch.randn(size) / np.prod(size[1:]) ** 0.5
            tensors[f"{name}.bias"] = torch.randn(size[0]) * 0.1
    return tensors


def distilled_lora(seed: int) -> Tensors:
    """A step-distilled LoRA as lightx2v's: alpha that is not the rank, differences of biases and norms."""
    with _seeded(seed + 7):
        tensors: Tensors = {}
        image = {"cross_attn.k_img": (DIM, DIM), "cross_attn.v_img": (DIM, DIM)}
        for block in range(LAYERS):
            for module, (wide, narrow) in (_lora_modules() | image).items():
                name = f"diffusion_model.blocks.{block}.{module}"
                tensors[f"{name}.lora_down.weight"] = torch.randn(DISTILLED_RANK, narrow) / narrow**0.5
                tensors[f"{name}.lora_up.weight"] = torch.randn(wide, DISTILLED_RANK) * 0.1
                tensors[f"{name}.alpha"] = torch.tensor(DISTILLED_RANK / 2.0)
                tensors[f"{name}.diff_b"] = torch.randn(wide) * 0.01
            tensors[f"diffusion_model.blocks.{block}.norm3.diff_b"] = torch.randn(DIM) * 0.01
            tensors[f"diffusion_model.blocks.{block}.self_attn.norm_q.diff"] = torch.randn(DIM) * 0.01
            tensors[f"diffusion_model.blocks.{block}.modulation.diff"] = torch.randn(1, 6, DIM) * 0.01
    return {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}


def original_transformer_names(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """Wan's own names of a transformer's tensors, from those of diffusers."""
    swaps = (
        (".norm2.", ".norm_swapped."),
        (".norm3.", ".norm2."),
        (".norm_swapped.", ".norm3."),
        ("attn1.", "self_attn."),
        ("attn2.", "cross_attn."),
        (".to_out.0.", ".o."),
        (".to_q.", ".q."),
        (".to_k.", ".k."),
        (".to_v.", ".v."),
        (".add_k_proj.", ".k_img."),
        (".add_v_proj.", ".v_img."),
        (".norm_added_k.", ".norm_k_img."),
        ("ffn.net.0.proj", "ffn.0"),
        ("ffn.net.2", "ffn.2"),
        ("condition_embedder.time_embedder.linear_1", "time_embedding.0"),
        ("condition_embedder.time_embedder.linear_2", "time_embedding.2"),
        ("condition_embedder.text_embedder.linear_1", "text_embedding.0"),
        ("condition_embedder.text_embedder.linear_2", "text_embedding.2"),
        ("condition_embedder.time_proj", "time_projection.1"),
        ("condition_embedder.image_embedder.norm1", "img_emb.proj.0"),
        ("condition_embedder.image_embedder.ff.net.0.proj", "img_emb.proj.1"),
        ("condition_embedder.image_embedder.ff.net.2", "img_emb.proj.3"),
        ("condition_embedder.image_embedder.norm2", "img_emb.proj.4"),
        ("scale_shift_table", "modulation"),
    )
    renamed = {name: tensor.contiguous() for name, tensor in _renamed(tensors, swaps).items()}
    head = {"modulation": "head.modulation", "proj_out.weight": "head.head.weight", "proj_out.bias": "head.head.bias"}
    for old, new in head.items():
        renamed[new] = renamed.pop(old)
    return {_vace_name(name): tensor for name, tensor in renamed.items()}


def original_vae_names(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """The names of `Wan2.1_VAE.pth`, from those of diffusers."""
    inner = {"norm1": "residual.0", "conv1": "residual.2", "norm2": "residual.3", "conv2": "residual.6"}
    inner |= {"conv_shortcut": "shortcut"}
    whole = {"quant_conv": "conv1", "post_quant_conv": "conv2"}
    sides = {"conv_in": "conv1", "norm_out": "head.0", "conv_out": "head.2"}
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        parts = name.split(".")
        if parts[0] in whole:
            renamed[".".join([whole[parts[0]], *parts[1:]])] = tensor
            continue
        side, part, rest = parts[0], parts[1], parts[2:]
        if part in sides:
            path = [sides[part], *rest]
        elif part == "mid_block":
            place = {"resnets": 2 * int(rest[1]), "attentions": 1}[rest[0]]
            path = ["middle", str(place), *(inner.get(p, p) for p in rest[2:])]
        elif part == "down_blocks":
            path = ["downsamples", rest[0], *(inner.get(p, p) for p in rest[1:])]
        else:  # up_blocks: three residual blocks each, then what enlarges
            place = 4 * int(rest[0]) + (int(rest[2]) if rest[1] == "resnets" else 3)
            path = ["upsamples", str(place), *(inner.get(p, p) for p in rest[3:])]
        renamed[".".join([side, *path])] = tensor
    return renamed


def original_clip_names(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """The names of the vision half of Wan's CLIP file, without "visual.", from those of transformers."""
    swaps = (
        ("embeddings.class_embedding", "cls_embedding"),
        ("embeddings.patch_embedding", "patch_embedding"),
        ("embeddings.position_embedding.weight", "pos_embedding"),
        ("pre_layrnorm", "pre_norm"),
        ("post_layernorm", "post_norm"),
        ("encoder.layers.", "transformer."),
        ("layer_norm1", "norm1"),
        ("layer_norm2", "norm2"),
        ("self_attn.out_proj", "attn.proj"),
        ("mlp.fc1", "mlp.0"),
        ("mlp.fc2", "mlp.2"),
    )
    renamed = _renamed(tensors, swaps)
    for layer in range(sum(name.endswith("norm1.weight") for name in renamed)):
        for kind in ("weight", "bias"):
            parts = [renamed.pop(f"transformer.{layer}.self_attn.{p}_proj.{kind}") for p in "qkv"]
            renamed[f"transformer.{layer}.attn.to_qkv.{kind}"] = torch.cat(parts)
    renamed["cls_embedding"] = renamed["cls_embedding"].reshape(1, 1, -1)
    renamed["pos_embedding"] = renamed["pos_embedding"][None]
    renamed["head"] = torch.zeros(IMAGE_DIM, 8)
    return renamed


def original_text_names(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """The names of Wan's T5 file, from those of transformers."""
    swaps = (
        ("shared", "token_embedding"),
        ("encoder.final_layer_norm", "norm"),
        ("encoder.block.", "blocks."),
        ("layer.0.layer_norm", "norm1"),
        ("layer.1.layer_norm", "norm2"),
        ("layer.0.SelfAttention.relative_attention_bias", "pos_embedding.embedding"),
        ("layer.0.SelfAttention", "attn"),
        ("layer.1.DenseReluDense.wi_0", "ffn.gate.0"),
        ("layer.1.DenseReluDense.wi_1", "ffn.fc1"),
        ("layer.1.DenseReluDense.wo", "ffn.fc2"),
    )
    return _renamed({k: v for k, v in tensors.items() if k != "encoder.embed_tokens.weight"}, swaps)


def write_gguf(file: Path, tensors: Mapping[str, torch.Tensor], kind: str) -> None:
    """A transformer as city96's converter writes it: matrices quantised, some in F16, the rest in F32."""
    quantised = gguf.GGMLQuantizationType[kind]
    writer = gguf.GGUFWriter(str(file), "wan")
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{kind}"])
    for name, tensor in tensors.items():
        array = tensor.float().numpy()
        if array.ndim == 2 and not name.startswith(("time_embedding", "head")):
            writer.add_tensor(name, gguf.quants.quantize(array, quantised), raw_dtype=quantised)
        else:
            writer.add_tensor(name, array.astype(np.float16) if array.ndim == 2 else array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _diffusers_rest(folder: Path, seed: int, pipeline: str, transformer: str, **more: Any) -> None:
    vae(seed).save_pretrained(folder / "vae")
    text_encoder(seed).save_pretrained(folder / "text_encoder")
    tokenizer().save_pretrained(folder / "tokenizer")
    UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0).save_pretrained(
        folder / "scheduler"
    )
    index = {"_class_name": pipeline, "_diffusers_version": "0.35.0.dev0"}
    index |= {
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
    }
    index |= {"tokenizer": ["transformers", "T5TokenizerFast"], "transformer": ["diffusers", transformer]}
    if pipeline == "WanImageToVideoPipeline":
        index |= {"image_encoder": ["transformers", "CLIPVisionModel"]}
    _json(folder / "model_index.json", index | {"vae": ["diffusers", "AutoencoderKLWan"]} | more)


def _original_rest(folder: Path, seed: int) -> None:
    torch.save(original_vae_names(vae(seed).state_dict()), folder / "Wan2.1_VAE.pth")
    words = original_text_names(text_encoder(seed).state_dict())
    torch.save({k: v.to(torch.bfloat16) for k, v in words.items()}, folder / "models_t5_umt5-xxl-enc-bf16.pth")
    tokenizer().save_pretrained(folder / "google/umt5-xxl")


def _ex4d(folder: Path, seed: int) -> None:
    torch.save(ex4d_checkpoint(seed), folder / "ex4d.ckpt")
    save_file(distilled_lora(seed), folder / DISTILLED)


def _lora_modules() -> dict[str, tuple[int, int]]:
    """What EX-4D's LoRA touches in a block: name, channels out and in."""
    attention = {f"{kind}_attn.{part}": (DIM, DIM) for kind in ("self", "cross") for part in "qkvo"}
    return attention | {"ffn.0": (FFN, DIM), "ffn.2": (DIM, FFN)}


def _shards(folder: Path, tensors: Tensors, count: int) -> None:
    """Spread tensors over files, with the index that says where each lies."""
    names, where = list(tensors), {}
    for index in range(count):
        file = f"diffusion_pytorch_model-{index + 1:05d}-of-{count:05d}.safetensors"
        save_file({name: tensors[name] for name in names[index::count]}, folder / file)
        where |= dict.fromkeys(names[index::count], file)
    size = sum(tensor.nbytes for tensor in tensors.values())
    index_file = folder / "diffusion_pytorch_model.safetensors.index.json"
    _json(index_file, {"metadata": {"total_size": size}, "weight_map": where})


def _save(file: Path, tensors: Mapping[str, torch.Tensor], dtype: torch.dtype) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.to(dtype).contiguous() for name, tensor in tensors.items()}, file)


def _json(file: Path, document: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(document, indent=2), encoding="utf-8")


def _renamed(tensors: Mapping[str, torch.Tensor], swaps: tuple[tuple[str, str], ...]) -> Tensors:
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        for old, new in swaps:
            name = name.replace(old, new)
        renamed[name] = tensor
    return renamed


def _vace_name(name: str) -> str:
    if not name.startswith("vace_blocks."):
        return name
    return name.replace(".proj_in.", ".before_proj.").replace(".proj_out.", ".after_proj.")


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random numbers of torch from a seed; its state is put back after."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


if __name__ == "__main__":
    sys.exit(main())

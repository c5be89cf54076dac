"""What weights there are to download: where from, at which revision, how large, under which licence."""

from __future__ import annotations

from ex4d_core.errors import InputError
from ex4d_core.model_catalogue_depth import DEPTH_MODELS
from ex4d_core.model_entry import Model

__all__ = ["CATALOGUE", "Model", "known_model"]

_I2V, _I2V_REVISION = "Wan-AI/Wan2.1-I2V-14B-480P-Diffusers", "b184e23a8a16b20f108f727c902e769e873ffc73"
_GGUF, _GGUF_REVISION = "city96/Wan2.1-I2V-14B-480P-gguf", "5a9ff59cf29e06024c25933ae48c1c6d418325e9"
_PIPELINE = ("model_index.json", "scheduler/*", "text_encoder/*", "tokenizer/*", "vae/*")

# The revisions are those that independent public projects pin. Sizes: the whole of Wan2.1-I2V is 90,104,322,037 bytes,
# of which 16.395 G float32 parameters are the transformer; files of one piece are exact.
CATALOGUE = (
    Model(
        name="wan2.1-i2v-14b-480p",
        title="Wan2.1 I2V 14B 480P: text and image encoders, VAE",
        hub_id=_I2V,
        revision=_I2V_REVISION,
        patterns=(*_PIPELINE, "image_encoder/*", "image_processor/*", "transformer/config.json"),
        bytes=24_520_000_000,
        licence="Apache-2.0",
        commercial=True,
        engines=("ex4d",),
        approximate=True,
    ),
    Model(
        name="wan2.1-i2v-14b-480p-transformer",
        title="Wan2.1 I2V 14B 480P: transformer, full precision",
        hub_id=_I2V,
        revision=_I2V_REVISION,
        patterns=("transformer/diffusion_pytorch_model*",),
        bytes=65_580_000_000,
        licence="Apache-2.0",
        commercial=True,
        engines=("ex4d",),
        part="transformer",
        approximate=True,
    ),
    Model(
        name="wan2.1-i2v-14b-480p-q8",
        title="Wan2.1 I2V 14B 480P: transformer, GGUF 8 bits",
        hub_id=_GGUF,
        revision=_GGUF_REVISION,
        patterns=("wan2.1-i2v-14b-480p-Q8_0.gguf",),
        bytes=18_144_640_384,
        licence="Apache-2.0",
        commercial=True,
        engines=("ex4d",),
        part="transformer",
        approximate=True,  # that of the 720P model of the same shape
    ),
    Model(
        name="wan2.1-i2v-14b-480p-q4",
        title="Wan2.1 I2V 14B 480P: transformer, GGUF 4 bits",
        hub_id=_GGUF,
        revision=_GGUF_REVISION,
        patterns=("wan2.1-i2v-14b-480p-Q4_K_M.gguf",),
        bytes=11_341_184_384,
        licence="Apache-2.0",
        commercial=True,
        engines=("ex4d",),
        part="transformer",
        sha256={"wan2.1-i2v-14b-480p-Q4_K_M.gguf": "d91f7139acadb42ea05cdf97b311e5099f714f11fbe4d90916500e2f53cbba82"},
    ),
    Model(
        name="ex4d-lora",
        title="EX-4D: LoRA and geometry encoder",
        hub_id="yihouxiang/EX-4D",
        revision="",
        patterns=("ex4d.ckpt",),
        bytes=400_000_000,
        licence="none stated for the weights (code: Apache-2.0)",
        commercial=False,
        engines=("ex4d",),
        part="adapter",
        approximate=True,
    ),
    Model(
        name="wan2.1-i2v-4step-lora",
        title="LightX2V: step-distilled LoRA for the quality fast",
        hub_id="lightx2v/Wan2.1-Distill-Loras",
        revision="27ae38da91014b947dd39cc3fa78b97cd7b386dd",
        patterns=("wan2.1_i2v_lora_rank64_lightx2v_4step.safetensors",),
        bytes=739_472_104,
        licence="Apache-2.0",
        commercial=True,
        engines=("ex4d",),
        part="distilled",
        optional=True,
        sha256={
            "wan2.1_i2v_lora_rank64_lightx2v_4step.safetensors": (
                "8833bd4fd7c8eabebf0bc8ee5cfaf47f4f310ce116928a02c1adf8941dd4b0f1"
            )
        },
    ),
    Model(
        name="wan2.1-vace-1.3b",
        title="Wan2.1 VACE 1.3B",
        hub_id="Wan-AI/Wan2.1-VACE-1.3B-diffusers",
        revision="ec4d2cb062b548996b179d493fdd05340de702a1",
        patterns=(*_PIPELINE, "transformer/*"),
        bytes=19_040_000_000,
        licence="Apache-2.0",
        commercial=True,
        engines=("vace-1.3b",),
        approximate=True,
    ),
    Model(
        name="wan2.1-vace-14b",
        title="Wan2.1 VACE 14B",
        hub_id="Wan-AI/Wan2.1-VACE-14B-diffusers",
        revision="db79b90c60bbb45ceec9e41b9d5a4df934538ac4",
        patterns=(*_PIPELINE, "transformer/*"),
        bytes=75_100_000_000,
        licence="Apache-2.0",
        commercial=True,
        engines=("vace-14b",),
        approximate=True,
    ),
    Model(
        name="taew2.1",
        title="TAEHV for Wan2.1: small decoder for previews",
        hub_id="ionden/taew2.1",  # the same bytes as madebyollin/taehv, which is on GitHub only
        revision="2ac5ae1c3291a8607a2d6c423b9a0337cef45f2b",
        patterns=("taew2_1.safetensors",),
        bytes=22_642_902,
        licence="MIT",
        commercial=True,
        engines=("ex4d", "vace-1.3b", "vace-14b"),
        part="preview",
        optional=True,
        sha256={"taew2_1.safetensors": "04766eac0221b5390b985ae3fdcca652cbb4b1e8b82b28ea7ff89dfad1b1a93f"},
    ),
    *DEPTH_MODELS,
)
"""All that there is to download."""


def known_model(name: str) -> Model:
    """The model of that name.

    Raises:
        InputError: there is none.
    """
    found = next((model for model in CATALOGUE if model.name == name), None)
    if found is None:
        raise InputError(f"There is no model {name!r}: choose one of {', '.join(m.name for m in CATALOGUE)}.")
    return found

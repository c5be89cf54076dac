"""Make tiny, randomly initialised depth models of the real classes in the real layouts on disk.

    python scripts/make_tiny_depth_models.py OUT

Writes OUT/NAME for each estimator that reads weights of transformers or diffusers (`LAYOUTS`), a few megabytes at most;
the same seed gives the same weights. `ex4d import CLIP --estimator NAME --depth-model-dir OUT/NAME` makes nonsense of a
clip: they prove the path that the real models take.

What is real: classes, names of files and tensors, how pictures are prepared, four stages of patches of 14 (Depth
Anything), three scales and the lens of Depth Pro, the noise levels of DepthCrafter. What is tiny: widths, layers, the
side of a picture.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from environment import in_environment

in_environment("gpu")

import torch
from diffusers import AutoencoderKLTemporalDecoder, EulerDiscreteScheduler, UNetSpatioTemporalConditionModel
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    DepthProConfig,
    DepthProForDepthEstimation,
)

SIDE, PRO_SIDE = 56, 128
"""Pixels that a picture is brought to: 518 and 1536 in the real ones."""
_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def main() -> int:
    """Parse the command line, write every layout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for the models")
    parser.add_argument("--seed", type=int, default=0, help="of all weights (default: 0)")
    options = parser.parse_args()
    for name, write in LAYOUTS.items():
        write(options.out / name, options.seed)
        size = sum(file.stat().st_size for file in (options.out / name).rglob("*") if file.is_file())
        print(f"{options.out / name}: {size / 1e6:.1f} MB")
    return 0


def depth_anything_v2_small(folder: Path, seed: int = 0) -> None:
    """As depth-anything/Depth-Anything-V2-Small-hf."""
    backbone = _dinov2(hidden_size=32, num_hidden_layers=4, num_attention_heads=2, image_size=SIDE, patch_size=14)
    backbone |= {"out_indices": [1, 2, 3, 4], "reshape_hidden_states": False, "apply_layernorm": True}
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=32,
        neck_hidden_sizes=[8, 16, 24, 32],
        fusion_hidden_size=16,
        head_hidden_size=8,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DepthAnythingForDepthEstimation(config)
        _spread(model)
    model.head.conv3.bias.data.fill_(4.0)  # or the last ReLU may leave nothing
    model.save_pretrained(folder)
    _preprocessing(
        folder,
        {"image_processor_type": "DPTImageProcessor", "size": {"height": SIDE, "width": SIDE}, "resample": 3}
        | {"keep_aspect_ratio": True, "ensure_multiple_of": 14, "do_pad": False, "size_divisor": None},
    )


def depth_pro(folder: Path, seed: int = 0) -> None:
    """As apple/DepthPro-hf."""
    patch = 32
    encoder = _dinov2(hidden_size=32, num_hidden_layers=4, num_attention_heads=2, image_size=patch, patch_size=4)
    config = DepthProConfig(
        fusion_hidden_size=32,
        patch_size=patch,
        intermediate_hook_ids=[3, 1],
        intermediate_feature_dims=[16, 16],
        scaled_images_feature_dims=[16, 16, 16],
        merge_padding_value=1,
        use_fov_model=True,
        image_model_config=dict(encoder),
        patch_model_config=dict(encoder),
        fov_model_config=dict(encoder),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DepthProForDepthEstimation(config)
        _spread(model)
    model.head.layers[4].bias.data.fill_(0.5)  # or the last ReLU may leave nothing
    model.fov_model.head.layers[-1].bias.data.fill_(50.0)  # degrees
    model.save_pretrained(folder)
    _preprocessing(
        folder,
        {"image_processor_type": "DepthProImageProcessorFast", "size": {"height": PRO_SIDE, "width": PRO_SIDE}}
        | {"resample": 2},
    )


def depthcrafter(folder: Path, seed: int = 0) -> None:
    """As tencent/DepthCrafter and stabilityai/stable-video-diffusion-img2vid-xt side by side, 16 bits as both have."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNetSpatioTemporalConditionModel(
            down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
            up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
            block_out_channels=(32, 64),
            addition_time_embed_dim=16,
            projection_class_embeddings_input_dim=48,
            layers_per_block=1,
            cross_attention_dim=16,
            num_attention_heads=(2, 4),
        )
        vae = AutoencoderKLTemporalDecoder(
            block_out_channels=(32,) * 4, down_block_types=("DownEncoderBlock2D",) * 4, latent_channels=4
        )
        clip = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=1,
                num_attention_heads=2,
                image_size=224,
                patch_size=14,
                projection_dim=16,
                hidden_act="gelu",
            )
        )
    unet.half().save_pretrained(folder / "DepthCrafter")
    config = folder / "DepthCrafter" / "config.json"
    name = "DiffusersUNetSpatioTemporalConditionModelDepthCrafter"
    config.write_text(json.dumps(json.loads(config.read_text("utf-8")) | {"_class_name": name}, indent=2), "utf-8")
    base = folder / "stable-video-diffusion-img2vid-xt"
    vae.half().save_pretrained(base / "vae", variant="fp16")
    clip.half().save_pretrained(base / "image_encoder", variant="fp16")
    EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        sigma_min=0.002,
        sigma_max=700.0,
        steps_offset=1,
        timestep_spacing="leading",
        timestep_type="continuous",
        use_karras_sigmas=True,
    ).save_pretrained(base / "scheduler")
    (base / "feature_extractor").mkdir()
    document = {"do_normalize": True, "image_mean": [0.48145466, 0.4578275, 0.40821073]}
    document |= {"image_std": [0.26862954, 0.26130258, 0.27577711], "size": {"shortest_edge": 224}}
    (base / "feature_extractor/preprocessor_config.json").write_text(json.dumps(document, indent=2), "utf-8")
    index = {"_class_name": "StableVideoDiffusionPipeline", "vae": ["diffusers", "AutoencoderKLTemporalDecoder"]}
    index |= {"image_encoder": ["transformers", "CLIPVisionModelWithProjection"]}
    index |= {"scheduler": ["diffusers", "EulerDiscreteScheduler"]}
    (base / "model_index.json").write_text(json.dumps(index, indent=2), "utf-8")


LAYOUTS: Mapping[str, Callable[[Path, int], None]] = {
    "depth-anything-v2-small": depth_anything_v2_small,
    "depth-pro": depth_pro,
    "depthcrafter": depthcrafter,
}


def _dinov2(**sizes: Any) -> dict[str, Any]:
    return {"model_type": "dinov2", "mlp_ratio": 2, **sizes}


def _spread(model: torch.nn.Module) -> None:
    """Larger weights than a model begins with: the picture shall show in what comes out."""
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)


def _preprocessing(folder: Path, settings: Mapping[str, Any]) -> None:
    document = {"do_normalize": True, "do_rescale": True, "do_resize": True, "rescale_factor": 1 / 255, **_IMAGENET}
    (folder / "preprocessor_config.json").write_text(json.dumps(document | dict(settings), indent=2), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())

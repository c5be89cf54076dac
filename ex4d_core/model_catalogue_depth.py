"""Weights of depth estimators; `engines` names the estimators that load them.

The revisions are those that independent public projects pin; where none could be found, there is none.
"""

from __future__ import annotations

from ex4d_core.model_entry import Model

_NETWORK = ("config.json", "preprocessor_config.json", "model.safetensors")
_DA3 = ("config.json", "model.safetensors")
_SVD = (
    "model_index.json",
    "scheduler/*",
    "feature_extractor/*",
    "image_encoder/config.json",
    "image_encoder/model.fp16.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.fp16.safetensors",
)

DEPTH_MODELS = (
    Model(
        name="depth-anything-v2-small",
        title="Depth Anything V2 Small",
        hub_id="depth-anything/Depth-Anything-V2-Small-hf",
        revision="5426e4f0f36572d16453bbda7a8389317b1bef99",
        patterns=_NETWORK,
        bytes=99_175_385,
        licence="Apache-2.0",
        commercial=True,
        engines=("depth-anything-v2-small",),
        sha256={"model.safetensors": "3152477ce0d8d6978d76b995120de97cb5b928701fd0f817769f59e249a16b70"},
    ),
    Model(
        name="depth-anything-3-base",
        title="Depth Anything 3 Base",
        hub_id="depth-anything/DA3-BASE",
        revision="f4a6c9b3c95e41c82048423d3493a81ec3fa810e",
        patterns=_DA3,
        bytes=541_519_000,
        licence="Apache-2.0",
        commercial=True,
        engines=("depth-anything-3",),
        environment="depth-anything-3",
        sha256={"model.safetensors": "e01067dc1659613083d9145a9a2547ccdbe6ccbbf83c4fe7b3e8a4e2bdae78b5"},
    ),
    Model(
        name="depth-anything-3-small",
        title="Depth Anything 3 Small",
        hub_id="depth-anything/DA3-SMALL",
        revision="e08cab65ca0ec38e7826075418411ab90cab4da3",
        patterns=_DA3,
        bytes=137_250_142,
        licence="Apache-2.0",
        commercial=True,
        engines=("depth-anything-3",),
        environment="depth-anything-3",
        sha256={"model.safetensors": "364492e38a3a06d221ac75da7f6621ada3f2361cd24fde11ba79091e9f40efcf"},
    ),
    Model(
        name="depth-anything-3-metric-large",
        title="Depth Anything 3 Metric Large",
        hub_id="depth-anything/DA3METRIC-LARGE",
        revision="4010e39f3634a45bc60553321fb49fb760bd594e",
        patterns=_DA3,
        bytes=1_336_735_295,
        licence="Apache-2.0",
        commercial=True,
        engines=("depth-anything-3-metric",),
        environment="depth-anything-3",
        sha256={"model.safetensors": "bbea5b0b3ee389849cffa7ddae89de064a90abd2b055fc5aa99aac68db324776"},
    ),
    Model(
        name="depth-anything-3-mono-large",
        title="Depth Anything 3 Mono Large",
        hub_id="depth-anything/DA3MONO-LARGE",
        revision="f465978e618db8cc79c83b8bbf24964857db1875",
        patterns=_DA3,
        bytes=1_337_000_000,
        licence="Apache-2.0",
        commercial=True,
        engines=("depth-anything-3-mono",),
        approximate=True,
        environment="depth-anything-3",
        sha256={"model.safetensors": "7a799a7f95eb8d4c404c2ca8be3dc3276b350a417ddc4420db72ba850cc0e960"},
    ),
    Model(
        name="depth-pro",
        title="Depth Pro",
        hub_id="apple/DepthPro-hf",
        revision="",
        patterns=_NETWORK,
        bytes=3_808_000_000,
        licence="Apple AMLR: for research alone",
        commercial=False,
        engines=("depth-pro",),
        approximate=True,  # 951,994,402 numbers of float32
    ),
    Model(
        name="depthcrafter-unet",
        title="DepthCrafter: the UNet that draws depth",
        hub_id="tencent/DepthCrafter",
        revision="c1a22b53f8abf80cd0b025adf29e637773229eca",
        patterns=("config.json", "diffusion_pytorch_model.safetensors"),
        bytes=3_050_000_000,
        licence="Tencent: academic and educational use alone",
        commercial=False,
        engines=("depthcrafter",),
        part="transformer",
        approximate=True,
    ),
    Model(
        name="stable-video-diffusion-xt",
        title="Stable Video Diffusion XT: image encoder and VAE, for DepthCrafter",
        hub_id="stabilityai/stable-video-diffusion-img2vid-xt",
        revision="9e43909513c6714f1bc78bcb44d96e733cd242aa",
        patterns=_SVD,
        bytes=1_460_000_000,
        licence="Stability AI: non-commercial without a licence of theirs",
        commercial=False,
        engines=("depthcrafter",),
        approximate=True,
    ),
)
"""All that depth estimators download."""

"""What each rung of the VRAM ladder takes: arithmetic on a model's sizes and the video. No torch.

How much a pass and the VAE take beside the weights was found by following every tensor of diffusers' own models at
their real dimensions on the meta device; `tests/core/generate/test_planner.py` does it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ex4d_core.generate.ladder import Plan, Step
from ex4d_core.generate.profiles import Profile, cache_bytes, may_compile
from ex4d_core.generate.sizes import ComponentSizes

_ITEM_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}

# A pass, in tensors of tokens x dim (H) and tokens x ffn_dim (F). The most is held where a block adds its gated
# attention in float32, or in the feed-forward network: with a LoRA three F (the layer's result, the LoRA's, and their
# scaled sum), else two.
_RESIDUAL_H, _FEED_H = 11.15, 4.15
_VACE_H = 1  # the control stream runs beside
_LORA_F, _PLAIN_F = 3, 2

# The VAE in float32, bytes for each pixel of a frame, and for each value of the video: in, and out.
_ENCODE_PIXEL, _DECODE_PIXEL = 14_080, 19_470
_TILE_PIXELS = 256 * 256  # of a side of diffusers' tiles, which overlap by a quarter
_TILED_VIDEOS = 4.7  # tiles, rows of them, the whole, and the whole clamped
_FLOAT = 4

_ROUNDING = 1.08
"""What torch's allocator reserves over what is asked for: pieces that fit nothing else."""
_WORKSPACES = 250_000_000
"""Of cuBLAS and cuDNN."""
_PROCESS = 2_500_000_000
"""RAM of Python, torch and CUDA's libraries."""
_LIGHT_PROCESS = 1_000_000_000
"""The same while the text encoder works, before anything is on the GPU."""
_TEXT_BYTES = 2  # of the text encoder's parameters, bfloat16 on any device
_ARENA = 1.1
"""Pinned memory is taken in pieces of powers of two, which layers do not fill (`placement.pack`)."""


@dataclass(frozen=True)
class VideoSize:
    """What the model makes at once."""

    width: int
    """Pixels."""
    height: int
    frames: int

    @property
    def tokens(self) -> int:
        """Patches of 16x16 pixels and 4 frames."""
        return (self.width // 16) * (self.height // 16) * ((self.frames - 1) // 4 + 1)

    @property
    def video_bytes(self) -> int:
        """Of all frames, RGB in float32."""
        return 3 * _FLOAT * self.width * self.height * self.frames


@dataclass(frozen=True)
class Machine:
    """What a plan may use, free at the moment of asking."""

    device: str
    """Of torch: cuda (also ROCm), mps or cpu."""
    dtype: str
    """Of torch: what this device computes well: bfloat16, float16 or float32."""
    vram_bytes: int
    """Free memory of the GPU; 0 for mps and cpu, whose memory is `ram_bytes`."""
    ram_bytes: int
    disk_bytes: int
    """Free where weights may be offloaded to."""
    fp8: bool = True
    """Whether the device can hold 8-bit floats."""
    name: str = ""
    """Of the GPU."""
    offload_folder: Path | None = None

    @property
    def shared(self) -> bool:
        """Whether the device computes in the machine's own memory, so that there is nowhere to offload to but disk."""
        return self.device != "cuda"


def estimate(
    rung: Step, tiled: bool, sizes: ComponentSizes, size: VideoSize, machine: Machine, profile: Profile | None
) -> Plan:
    """What a rung takes, whether it is to be had or not.

    Args:
        rung: of the ladder.
        tiled: whether the VAE works in tiles.
        sizes: of the engine's models.
        size: of a window.
        machine: for its device and dtype.
        profile: how the video will be denoised, where that is known.
    """
    item = _ITEM_BYTES[machine.dtype]
    weights = _Weights(sizes, rung, item, profile)
    compute = activation_bytes(sizes, size, item) + _kept_bytes(sizes, size, item, profile)
    encode, decode = vae_bytes(size, tiled)
    coding = max(encode + 2 * size.video_bytes, decode)
    helpers = _FLOAT * (sizes.vae_parameters + sizes.image_encoder_parameters) + item * sizes.geometry_parameters
    vae, clip = _FLOAT * sizes.vae_parameters, _FLOAT * sizes.image_encoder_parameters
    if rung.keeping == "device":
        peak = helpers + weights.on_device + max(compute, coding)
    else:
        peak = max(weights.on_device + compute, vae + coding, clip)
    vram = int(peak * _ROUNDING) + (0 if machine.device == "cpu" else _WORKSPACES)
    text = _LIGHT_PROCESS + _TEXT_BYTES * sizes.text_encoder_parameters
    ram = _PROCESS + (vram if machine.shared else helpers + weights.in_ram)
    return Plan(
        rung=rung.rung,
        device=machine.device,
        dtype=machine.dtype,
        tiled_vae=tiled,
        vram_bytes=vram,
        ram_bytes=int(max(ram, text)),
        disk_bytes=weights.on_disk,
        offload_folder=machine.offload_folder if rung.keeping == "disk" else None,
        compiled=rung.keeping == "device"
        and machine.device == "cuda"
        and rung.rung == "resident"
        and (profile is None or may_compile(profile)),
    )


class _Weights:
    """Where the bytes of the transformer are on a rung."""

    def __init__(self, sizes: ComponentSizes, rung: Step, item: int, profile: Profile | None) -> None:
        width = sizes.bytes_per_parameter if sizes.stored != "float" else 1.0 if "fp8" in rung.rung else float(item)
        distilled = sizes.distilled_parameters if profile is not None and profile.distilled else 0
        lora = item * (sizes.lora_parameters + distilled)
        outside = sizes.outside_parameters * item
        blocks = int(sizes.blocks_parameters * width)
        leaf = int(sizes.leaf_parameters * item)  # cast or dequantized copy of the layer that computes
        copy = leaf if width != item else 0
        whole = blocks + outside + lora
        block = int(sizes.block_parameters * width) + lora // sizes.blocks
        self.on_device = {
            "device": sizes.transformers * whole + copy,
            "turns": whole + copy,
            "blocks": outside + 2 * block + copy,  # one computes, the next arrives
            "leaves": 3 * leaf,  # one computes, the next arrives, and what is outside the blocks is no larger
            "disk": 2 * leaf,
        }[rung.keeping]
        fetched = rung.keeping in ("blocks", "leaves")
        self.in_ram = 0 if rung.keeping == "disk" else int(sizes.transformers * whole * (_ARENA if fetched else 1.0))
        self.on_disk = sizes.transformers * whole if rung.keeping == "disk" else 0


def activation_bytes(sizes: ComponentSizes, size: VideoSize, item: int) -> int:
    """The most that one pass of the transformer holds beside its weights.

    Args:
        sizes: of the model.
        size: of the video.
        item: bytes of a number.
    """
    hidden, inner = size.tokens * sizes.dim * item, size.tokens * sizes.ffn_dim * item
    control = _VACE_H if sizes.hints else 0
    feed = _FEED_H * hidden + (_LORA_F if sizes.lora_parameters else _PLAIN_F) * inner
    return int(max(_RESIDUAL_H * hidden, feed) + (sizes.hints + control) * hidden)


def vae_bytes(size: VideoSize, tiled: bool) -> tuple[int, int]:
    """The most that Wan's VAE holds beside its weights while it encodes and while it decodes, in float32.

    Args:
        size: of the video.
        tiled: whether it works in tiles.
    """
    pixels = size.width * size.height
    if not tiled:
        return _ENCODE_PIXEL * pixels + size.video_bytes, _DECODE_PIXEL * pixels + size.video_bytes
    tile = min(pixels, _TILE_PIXELS)
    decode = max(_DECODE_PIXEL * tile + 1.15 * size.video_bytes, _TILED_VIDEOS * size.video_bytes)
    return int(_ENCODE_PIXEL * tile + 1.1 * size.video_bytes), int(decode)


def _kept_bytes(sizes: ComponentSizes, size: VideoSize, item: int, profile: Profile | None) -> int:
    """What stays on the device over all steps: the geometry, and what a cache keeps."""
    geometry = size.tokens * sizes.dim * item if sizes.geometry_parameters else 0
    cache = cache_bytes(profile, size.tokens, sizes.dim, sizes.blocks, item) if profile is not None else 0
    return geometry + cache

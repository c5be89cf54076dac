"""What the tensors in Wan's own files (`diffusion_pytorch_model-*.safetensors`, `Wan2.1_VAE.pth`) are to diffusers."""

from __future__ import annotations

import re
from collections.abc import Iterable

from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

_VAE_PARTS = {
    r"^conv1\.": "quant_conv.",
    r"^conv2\.": "post_quant_conv.",
    r"coder\.conv1\.": "coder.conv_in.",
    r"coder\.head\.0\.": "coder.norm_out.",
    r"coder\.head\.2\.": "coder.conv_out.",
    r"coder\.middle\.0\.": "coder.mid_block.resnets.0.",
    r"coder\.middle\.1\.": "coder.mid_block.attentions.0.",
    r"coder\.middle\.2\.": "coder.mid_block.resnets.1.",
    r"^encoder\.downsamples\.": "encoder.down_blocks.",
    r"\.residual\.0\.": ".norm1.",
    r"\.residual\.2\.": ".conv1.",
    r"\.residual\.3\.": ".norm2.",
    r"\.residual\.6\.": ".conv2.",
    r"\.shortcut\.": ".conv_shortcut.",
}
"""What stands in the names of the original, and in diffusers'."""


def transformer_names(names: Iterable[str]) -> dict[str, str]:
    """Original name -> diffusers' name, of the tensors of a Wan transformer or of its LoRAs."""
    # diffusers' converter moves values about and reads none, so that the names themselves can go through it
    converted: dict[str, str] = convert_wan_transformer_to_diffusers({name: name for name in names})
    return {original: new for new, original in converted.items()}


def vae_names(names: Iterable[str], res_blocks: int = 2) -> dict[str, str]:
    """Original name -> diffusers' name, of the tensors of a Wan VAE.

    Not diffusers' own converter, which knows the released model's widths alone.

    Args:
        names: of `Wan2.1_VAE.pth`.
        res_blocks: `num_res_blocks` of the model.
    """
    return {name: _vae_name(name, res_blocks) for name in names}


def _vae_name(name: str, res_blocks: int) -> str:
    def level(match: re.Match[str]) -> str:
        """The decoder counts through; diffusers has `res_blocks` + 1 a level, and then what enlarges."""
        level, place = divmod(int(match[1]), res_blocks + 2)
        return f"decoder.up_blocks.{level}." + (f"resnets.{place}." if place <= res_blocks else "upsamplers.0.")

    name = re.sub(r"^decoder\.upsamples\.(\d+)\.", level, name)
    for pattern, new in _VAE_PARTS.items():
        name = re.sub(pattern, new, name)
    return name

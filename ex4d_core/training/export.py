"""What was trained as files that other tools read: `ex4d.ckpt`, a LoRA for diffusers and peft, and a model card.

FOLDER/
  ex4d.ckpt                             as the released one, for `ex4d generate` and every tool that reads that
  pytorch_lora_weights.safetensors      the LoRA with diffusers' names, for `pipe.load_lora_weights(FOLDER)`
  adapter_config.json, adapter_model.safetensors    the same for `PeftModel.from_pretrained(transformer, FOLDER)`
  geometry_encoder/                     the geometry encoder, for `GeometryEncoder.from_pretrained`
  README.md                             the model card
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from diffusers.loaders.lora_pipeline import WanLoraLoaderMixin
from diffusers.utils.constants import SAFETENSORS_WEIGHTS_NAME
from huggingface_hub import ModelCardData
from peft import LoraConfig
from peft.utils import constants as peft_names
from safetensors.torch import save_file
from torch import Tensor

from ex4d_core.errors import InputError
from ex4d_core.files import partial_folder, require_replaceable, require_space
from ex4d_core.generate.checkpoint import Ex4dCheckpoint, write_checkpoint
from ex4d_core.training.dataset_format import Clip

CHECKPOINT = "ex4d.ckpt"
CARD = "README.md"
BASE = "Wan-AI/Wan2.1-I2V-14B-480P-Diffusers"
"""What EX-4D's adapters are trained on."""
_RELEASED_RANK = 16
_GEOMETRY = "geometry_encoder"
_COPIES = 3
_OTHER_BYTES = 1_000_000
"""Of what is no tensor."""
_BLOCK = re.compile(r"^blocks\.\d+\.")


@dataclass(frozen=True)
class Origin:
    """How a checkpoint came to be, for its model card."""

    steps: int
    """Done."""
    averaged: bool
    """Whether these are the moving averages of what was trained."""
    clips: tuple[Clip, ...]
    """What it learnt from."""
    size: tuple[int, int, int]
    """Width, height and frames of the clips."""
    settings: Mapping[str, Any]
    """Of the training: name -> plain value; a card is made to be published, so no paths of this machine."""


def export(checkpoint: Ex4dCheckpoint, origin: Origin, out: Path, overwrite: bool = False) -> None:
    """Write the folder in one go.

    Args:
        checkpoint: what was trained, on the CPU.
        origin: for the card.
        out: the folder.
        overwrite: replace an exported folder.

    Raises:
        InputError: the folder is there, or a tensor is not of finite floats.
        OutputError: it cannot be written.
    """
    require_replaceable(out, overwrite, CHECKPOINT, "trained model's")
    tensors = {**checkpoint.lora, **checkpoint.geometry}
    if bad := [name for name, tensor in tensors.items() if not _is_finite(tensor)]:
        raise InputError(f"What was trained has in {bad[0]} what is no finite number: export an earlier checkpoint.")
    require_space(out, _COPIES * sum(tensor.nbytes for tensor in tensors.values()) + _OTHER_BYTES)
    with partial_folder(out) as folder:
        write_checkpoint(released(checkpoint), folder / CHECKPOINT)
        _lora_config(checkpoint).save_pretrained(str(folder))
        told = json.loads((folder / peft_names.CONFIG_NAME).read_text(encoding="utf-8"))
        lora: dict[str, Any] = dict(checkpoint.lora)
        WanLoraLoaderMixin.save_lora_weights(
            folder, transformer_lora_layers=lora, transformer_lora_adapter_metadata=told
        )
        save_file(
            {f"base_model.model.{name}": tensor for name, tensor in lora.items()},
            folder / peft_names.SAFETENSORS_WEIGHTS_NAME,
        )
        encoder = checkpoint.geometry_encoder()
        encoder.save_config(folder / _GEOMETRY)
        save_file(encoder.state_dict(), folder / _GEOMETRY / SAFETENSORS_WEIGHTS_NAME, {"format": "pt"})
        (folder / CARD).write_text(card(checkpoint, origin), encoding="utf-8")


def released(checkpoint: Ex4dCheckpoint) -> Ex4dCheckpoint:
    """The same adapter with alpha = rank, and of at least rank 16: other tools take both for granted.

    What alpha / rank scales is scaled here, and zeros fill the rank up; nothing changes where both are 16 already.
    """
    scale, lacking = checkpoint.alpha / checkpoint.rank, max(0, _RELEASED_RANK - checkpoint.rank)

    def fitted(name: str, tensor: Tensor) -> Tensor:
        if ".lora_A." in name:  # (rank, inputs)
            return F.pad(tensor, (0, 0, 0, lacking))
        return F.pad(tensor * scale, (0, lacking))  # (outputs, rank)

    rank = checkpoint.rank + lacking
    return replace(checkpoint, lora={n: fitted(n, t) for n, t in checkpoint.lora.items()}, rank=rank, alpha=float(rank))


def card(checkpoint: Ex4dCheckpoint, origin: Origin) -> str:
    """The model card, Markdown with the header that the Hugging Face hub reads."""
    data = ModelCardData(
        base_model=BASE,
        base_model_relation="adapter",
        library_name="diffusers",
        pipeline_tag="image-to-video",
        tags=["ex4d", "lora", "wan2.1", "novel-view-synthesis"],
    )
    width, height, frames = origin.size
    weights = "moving averages (EMA) of the weights" if origin.averaged else "the weights of the last step"
    numbers = {
        "Base model": f"[{BASE}](https://huggingface.co/{BASE})",
        "LoRA": f"rank {checkpoint.rank}, alpha {checkpoint.alpha:g}, on {', '.join(_targets(checkpoint))}",
        "Geometry encoder": f"{checkpoint.geometry['latent_encoder.0.bias'].shape[0]} channels",
        "Steps": f"{origin.steps}; {weights}",
        "Trained at": f"{width}x{height}, {frames} frames",
        "Clips": f"{len(origin.clips)}",
        "Made with": f"ex4d {version('ex4d')}",
    }
    return "\n".join(
        [
            f"---\n{data.to_yaml()}\n---\n",
            "# An EX-4D adapter\n",
            "A LoRA and a geometry encoder by which Wan2.1's image-to-video model fills what a video, seen from another"
            " camera, lacks; trained with `ex4d train run`.\n",
            _table(("", ""), numbers.items()),
            _USE,
            "## Trained on\n",
            _table(("Licence", "Clips"), Counter(_cell(clip.licence) for clip in origin.clips).most_common()),
            _table(
                ("Source", "Credit", "Licence", "Clips"),
                (
                    (*source, count)
                    for source, count in Counter(
                        (_cell(c.source), _cell(c.credit), _cell(c.licence)) for c in origin.clips
                    ).items()
                ),
            ),
            "What the licences of the clips ask for holds for the use of this model as well.\n",
            "## Settings\n",
            _table(("Setting", "Value"), ((name, _cell(str(value))) for name, value in origin.settings.items())),
        ]
    )


_USE = f"""## Use

With EX-4D for Blender or its command line, which takes the base model from where it is:

    ex4d generate SHOT --engine ex4d --model-dir THIS_FOLDER

`{CHECKPOINT}` has the layout of the released checkpoint, and alpha is its rank: put it where a tool expects that one.
EX-4D's own `generate.py` takes rank 16 alone.

In diffusers the LoRA alone is `pipe.load_lora_weights("THIS_FOLDER")`; what it has learnt needs the geometry encoder
too: `ex4d_core.generate.geometry_encoder.GeometryEncoder.from_pretrained("THIS_FOLDER/{_GEOMETRY}")`, whose output is
added to the transformer's patch tokens (`geometry_added` in the same module).
"""


def _is_finite(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and bool(tensor.isfinite().all())


def _lora_config(checkpoint: Ex4dCheckpoint) -> LoraConfig:
    alpha: Any = checkpoint.alpha if checkpoint.alpha % 1 else int(checkpoint.alpha)
    return LoraConfig(
        r=checkpoint.rank,
        lora_alpha=alpha,
        target_modules=_targets(checkpoint),
        base_model_name_or_path=BASE,
        inference_mode=True,
    )


def _targets(checkpoint: Ex4dCheckpoint) -> list[str]:
    """Linear layers of a block that the LoRA is on."""
    return sorted({_BLOCK.sub("", name).rsplit(".lora_", 1)[0] for name in checkpoint.lora})


def _table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _cell(text: str) -> str:
    """On one line, with nothing that ends a cell."""
    return " ".join(text.split()).replace("|", "\\|")

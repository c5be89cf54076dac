"""What lies in a training dataset: `dataset.json`, and a shard of latents for each clip.

DATASET/
  dataset.json              the index: size, models, clips with their source and licence, what was left out and why
  clips/NAME.safetensors    a clip's shard, see `shard_shapes`
  clips/NAME.json           its entry of the index, written after the shard: both there = the clip is done
  clips/NAME.jpg            a strip of pictures of it and its masks
  contact.png               all strips, to look at
  prepare.json              what it was made with, so that nothing else is mixed in
  videos/NAME.json          where a video was cut into clips, so that it is looked through once
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

INDEX = "dataset.json"
CLIPS = "clips"
CONTACT = "contact.png"
SCHEMA = "ex4d.training/1"

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,99}$")]
"""Of a file without its ending: none that leaves its folder, none that Windows cannot write."""


def shard_of(folder: Path, name: str) -> Path:
    """Where the shard of a clip lies."""
    return folder / CLIPS / f"{name}.safetensors"


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Variant(_Document):
    """One drawing of masks of a clip."""

    seed: int
    kind: Literal["rendering", "tracking", "both"]
    weather: Literal["eroded", "dilated", "plain"]
    move: dict[str, Any] | None = None
    """The path of rendering masks, fields of `presets.Move`."""
    holes: float = Field(ge=0, le=1)
    """Share of the clip's pixels that are masked."""


class Clip(_Document):
    """One clip and where it comes from."""

    name: Name
    source: str
    """File name of the video, or as the manifest of its owner calls it."""
    source_sha256: str
    first_frame: int = Field(ge=0)
    """In the video, counted at the clip's rate."""
    fps: tuple[int, int]
    """Of the clip: numerator and denominator."""
    licence: str
    """Of the video; "unknown" where nobody told."""
    credit: str = ""
    prompt: str
    variants: tuple[Variant, ...] = Field(min_length=1)
    text_tokens: int = Field(ge=1, le=512)
    bytes: int = Field(ge=1)
    """Of the shard."""
    sha256: str
    """Of the shard."""


class LeftOut(_Document):
    """A piece of a video that became no clip."""

    source: str
    first_frame: int
    frames: int
    reason: str
    """One sentence."""


class Index(_Document):
    """`dataset.json`."""

    schema_: Literal["ex4d.training/1"] = Field(default=SCHEMA, alias="schema")
    width: int = Field(ge=16, multiple_of=16)
    height: int = Field(ge=16, multiple_of=16)
    frames: int = Field(ge=1)
    """4n+1."""
    latent_channels: int = Field(ge=1)
    image_tokens: tuple[int, int]
    """Number and width of CLIP's tokens."""
    text_width: int = Field(ge=1)
    models: dict[str, str]
    """Fingerprint of the VAE, the image encoder and the text encoder that made the shards."""
    seed: int
    clips: tuple[Clip, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    @property
    def latent_shape(self) -> tuple[int, int, int, int]:
        """(C, t, h, w) of a video's latents."""
        return (self.latent_channels, 1 + (self.frames - 1) // 4, self.height // 8, self.width // 8)


def shard_shapes(index: Index, clip: Clip) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and type (as safetensors call it) of each tensor of a clip's shard.

    latents: of the whole clip, (C, t, h/8, w/8); image: "y" of its first frame, (4 + C, t, h/8, w/8);
    tokens: CLIP's of its first frame; text: of its prompt, unpadded; color.K and mask.K: of variant K as the geometry
    encoder gets them, (C, t, h/8, w/8) each.
    """
    latents = index.latent_shape
    shapes: dict[str, tuple[tuple[int, ...], str]] = {
        "latents": (latents, "F16"),
        "image": ((latents[0] + 4, *latents[1:]), "F16"),
        "tokens": (index.image_tokens, "BF16"),
        "text": ((clip.text_tokens, index.text_width), "BF16"),
    }
    for number in range(len(clip.variants)):
        shapes[f"color.{number}"] = shapes[f"mask.{number}"] = (latents, "F16")
    return shapes

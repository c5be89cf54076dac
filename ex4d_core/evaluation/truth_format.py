"""`meta.json` of a folder of ground truth (docs/depth/evaluation.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ex4d_core.camera import MAX_SIDE
from ex4d_core.errors import InputError

META_FILE = "meta.json"

_Name = Annotated[str, Field(pattern=r"^[^/\\:\x00-\x1f]+$")]
"""Of a scene and of a path: parts of file names."""
_Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
_Three = tuple[float, float, float]
_Four = tuple[float, float, float, float]


class MetaDocument(BaseModel):
    """What the folder says of itself, complete and possible."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)
    scene: _Name
    width: _Side
    """Of every picture in the folder, pixels."""
    height: _Side
    frames: int = Field(gt=0, le=1_000_000)
    """Of the source clip."""
    k: tuple[_Three, _Three, _Three] = Field(alias="K")
    """Lens of all cameras, pixels, centres at +0.5."""
    key_frames: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)
    """Those with the targets' truth."""
    burst_frames: dict[_Name, list[Annotated[int, Field(ge=0)]]] = {}
    """Consecutive ones with the targets' visibility, by path."""
    source_c2w: list[tuple[_Four, _Four, _Four, _Four]]
    """Camera-to-world of each frame, OpenCV axes, metres."""
    disparity_range: dict[_Name, tuple[float, float]]
    """1/m that 0 and 65535 stand for: of "source" and of each path."""

    @field_validator("k")
    @classmethod
    def _lens(cls, value: tuple[_Three, _Three, _Three]) -> tuple[_Three, _Three, _Three]:
        if value[0][0] <= 0 or value[1][1] <= 0:
            raise ValueError("its focal lengths must be positive")
        return value

    @field_validator("disparity_range")
    @classmethod
    def _ranges(cls, value: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        if "source" not in value:
            raise ValueError("it has none of 'source'")
        for name, (low, high) in value.items():
            if not 0 < low < high:
                raise ValueError(f"of '{name}' it is {low} to {high}, which is not positive and rising")
        return value

    @model_validator(mode="after")
    def _counts(self) -> MetaDocument:
        if len(self.source_c2w) != self.frames:
            raise ValueError(f"source_c2w has {len(self.source_c2w)} poses for {self.frames} frames")
        for name, burst in self.burst_frames.items():
            if name not in self.disparity_range:
                raise ValueError(f"burst_frames names the path '{name}', which disparity_range does not")
            if burst and burst != list(range(burst[0], burst[0] + len(burst))):
                raise ValueError(f"burst_frames of '{name}' are not consecutive")
            if burst and burst[-1] >= self.frames:
                raise ValueError(f"burst_frames of '{name}' lie outside of 0 to {self.frames - 1}")
        if max(self.key_frames) >= self.frames:
            raise ValueError(f"key_frames lie outside of 0 to {self.frames - 1}")
        return self


def parse_meta(text: bytes, path: Path) -> MetaDocument:
    """Validate a `meta.json`.

    Args:
        text: UTF-8.
        path: where it is from, for the message.

    Raises:
        InputError: it is not JSON, or a field is missing or cannot be.
    """
    try:
        return MetaDocument.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{part}: " for part in [".".join(str(part) for part in first["loc"])] if part)
        raise broken(path, where + first["msg"].removeprefix("Value error, ")) from error


def broken(path: Path, why: str) -> InputError:
    """One sentence about a damaged file of ground truth."""
    return InputError(f"The ground truth {path} cannot be used ({why}): make or copy it again.")

"""The bundled clip: a robot crosses a courtyard, 49 frames, with the true depth and lens it was rendered with.

Ours, CC0 (see LICENSE beside this file); made by `scripts/make_sample.py`.

    scene = import_scene(sample.clip_path(), Path("sample.ex4d"), **sample.import_options())
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["SampleFacts", "clip_path", "depth_path", "facts", "import_options"]

_FOLDER = Path(__file__).parent


class SampleFacts(BaseModel):
    """What is known about the clip: `sample.json`, written by the renderer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    clip: str
    """File name of the pictures."""
    depth: str
    """File name of the depth: a 12-bit grey video, as many frames as the clip."""
    depth_kind: Literal["disparity"]
    """Its values are 1 / z-depth."""
    depth_range: tuple[float, float]
    """Disparity that value 0 and the largest value stand for, 1/metre. The sky has the lowest."""
    units: Literal["metric"]
    """z-depth is in metres."""
    focal_px: float
    """Focal length, pixels; square pixels, principal point in the centre."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    frames: int
    """Of clip and depth."""
    fps: tuple[int, int]
    """Frames per second, numerator and denominator."""
    orbit_radius: float
    """z-depth of the subject in the middle of its walk, metres: what an orbit should look at."""


@cache
def facts() -> SampleFacts:
    """What is known about the clip."""
    return SampleFacts.model_validate_json((_FOLDER / "sample.json").read_text(encoding="utf-8"))


def clip_path() -> Path:
    """The pictures: H.264, 832x480, 24 frames per second."""
    return _FOLDER / facts().clip


def depth_path() -> Path:
    """The true z-depth: lossless 12-bit grey HEVC; see `SampleFacts.depth_range`."""
    return _FOLDER / facts().depth


def import_options() -> dict[str, Any]:
    """What `import_scene` must be told to get the true depth and lens."""
    known = facts()
    return {
        "depth": depth_path(),
        "depth_kind": known.depth_kind,
        "depth_range": known.depth_range,
        "focal_px": known.focal_px,
    }

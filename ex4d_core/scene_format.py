"""The document `scene.json` and the names and hash that it vouches for (DESIGN section 3).

Names of files are printf patterns relative to the scene folder, as in `color/%06d.png`: `pattern % frame` is the
name of a frame, in Python, C and the shell alike.

The content hash is the SHA-256, in hexadecimal, of one UTF-8 text with a line

    <SHA-256 of the file in hexadecimal><two spaces><relative name><newline>

for `scene.json` and for each frame of the colour and depth patterns, sorted by name as UTF-8 bytes. That of
`scene.json` is taken over its canonical form: the document without `content_hash`, as
`json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)` in UTF-8.
Files of color/ and depth/ that no pattern names do not count.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator

from ex4d_core.errors import InputError

SCENE_SCHEMA = "ex4d.scene/1"
SCENE_FILE = "scene.json"
COLOR_PATTERN = "color/%06d.png"
DEPTH_PATTERN = "depth/%06d.exr"
OCCLUSION_PATTERN = "occlusion/%06d.png"
BRIDGES = 1 | 2
"""Bits of occlusion/: the upper left and the lower right triangle of a block are bridges (`mesh.occlusion_bits`)."""
CUTS_SHIFT = 2
"""The two bits of `quads.cuts.find_cuts` stand in occlusion/ this much higher up. Scenes that were made before that
method have none of them; readers pass over bits that they do not know."""
PLATE_PATTERN = "plate/%06d.png"
PROXY_PATTERN = "proxy/%06d.exr"
BACKGROUND_COLOR, BACKGROUND_DEPTH = "background/%06d.png", "background/%06d.exr"
"""Colour and depth of the clean background, one of each a layer, see `background`; like occlusion/ they can be made
again and do not count for the content hash."""
AUDIO_FILE = "audio.m4a"
"""The footage's sound, where it has any; like plate/ it does not count for the content hash."""

_PATTERN = re.compile(r"(?:[^%/\\:\x00-\x1f]+/)*[^%/\\:\x00-\x1f]*%0[1-9]d[^%/\\:\x00-\x1f]*")
_Four = tuple[float, float, float, float]


class FilePatterns(BaseModel):
    """Where the frames lie, relative to the scene folder."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    color: str = COLOR_PATTERN
    depth: str = DEPTH_PATTERN
    occlusion: str | None = None
    plate: str | None = None
    proxy: str | None = None
    """Depth and bridges as viewports read them, see `depth_proxy`."""

    @field_validator("color", "depth", "occlusion", "plate", "proxy")
    @classmethod
    def _inside(cls, value: str | None) -> str | None:
        return None if value is None else check_pattern(value)


class DepthDocument(BaseModel):
    """How depth is stored and where it came from."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    encoding: Literal["half-disparity", "float-depth"]
    channel: str = Field(default="Y", min_length=1)
    units: Literal["metric", "relative"]
    estimator: str
    far: float = Field(gt=0, allow_inf_nan=False)
    """Depth of sky, scene units."""
    conversion: dict[str, JsonValue] = {}
    """What turned the estimator's numbers into depth."""
    warnings: list[str] = []


class SourceDocument(BaseModel):
    """What the scene was imported from; facts for people and for Blender, not for finding the file again."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    name: str
    """File or folder name, without its path."""
    start: int = 0
    """First frame taken, in frames of the source at the scene's frame rate."""
    fps: tuple[int, int] | None = None
    """Frame rate of the source before any resampling."""
    width: int | None = None
    """Size of the source as displayed, pixels."""
    height: int | None = None
    """See `width`."""
    lens: Literal["assumed", "given", "trajectory", "metadata", "estimated"] | None = None
    """Where the intrinsics come from; `assumed` is the focal length for footage without lens data."""
    lens_note: str = ""
    """How sure that is, a sentence for people."""
    camera: Literal["static", "given", "estimated"] | None = None
    """Where the poses of the source camera come from."""


class FoundCameras(BaseModel):
    """What a depth estimator told of the source camera; kept beside its depth."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    intrinsics: list[_Four] | None = None
    """fx, fy, cx, cy of each frame at working size, pixels."""
    source_c2w: list[tuple[_Four, _Four, _Four, _Four]] | None = None
    """Camera-to-world of each frame, OpenCV axes, in the units of the depth."""


class DistortionDocument(BaseModel):
    """The distortion that the footage had; color/ and plate/ have none any more (see `distortion`)."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    model: Literal["opencv", "opencv-fisheye"]
    """OpenCV's rational model k1, k2, p1, p2[, k3[, k4, k5, k6]], or its fisheye model k1, k2, k3, k4."""
    parameters: list[float] = Field(max_length=8)
    intrinsics: _Four
    """fx, fy, cx, cy of the distorted footage at the scene's size, pixels."""


class BackgroundLayer(BaseModel):
    """The clean background as one camera would have seen it."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    first: int = Field(ge=0)
    """It stands behind the clip's frames from this one on ..."""
    last: int = Field(ge=0)
    """... up to and with this one."""
    c2w: tuple[_Four, _Four, _Four, _Four]
    """Camera-to-world of that camera, OpenCV axes, scene units."""
    intrinsics: _Four
    """fx, fy, cx, cy in pixels of the layer's picture, which has the scene's size."""


class BackgroundDocument(BaseModel):
    """What was seen of the background over time: layer n is `background/00000n.png` and `.exr`.

    The EXR holds disparity or depth as the scene's depth does; 0 where the background was never seen.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)
    layers: list[BackgroundLayer] = []
    """None where it is switched off, and where nothing moves, so that there is nothing to be seen at another time."""
    note: str = ""
    """Why it is switched off, a sentence for people; empty where it is not."""


class SceneDocument(BaseModel):
    """`scene.json`."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)
    schema_: Literal["ex4d.scene/1"] = Field(default=SCENE_SCHEMA, alias="schema")
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    frames: int = Field(gt=0, le=1_000_000)
    fps: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]
    intrinsics: _Four | list[_Four]
    """fx, fy, cx, cy in pixels; one for the clip, or one per frame."""
    source_c2w: list[tuple[_Four, _Four, _Four, _Four]] | None = None
    files: FilePatterns = FilePatterns()
    proxy_step: int = Field(default=1, ge=1)
    """Every how many pixels the depth proxy has one."""
    depth: DepthDocument
    source: SourceDocument | None = None
    notes: list[str] = []
    """What people should know about the clip and the lens."""
    cuts: list[Annotated[int, Field(gt=0)]] = []
    """Frames that begin another take."""
    distortion: DistortionDocument | None = None
    background: BackgroundDocument | None = None
    """None in scenes of versions that made none."""
    request: str | None = None
    """Fingerprint of the inputs and options of the import, to recognise a repeated one."""
    content_hash: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")


def check_pattern(pattern: str) -> str:
    """Require a printf pattern with one frame number that stays inside the scene folder.

    Raises:
        ValueError: it is absolute, climbs out, names a drive, or has not exactly one `%0Nd`.
    """
    parts = pattern.split("/")
    if not _PATTERN.fullmatch(pattern) or any(part in ("", ".", "..") for part in parts):
        raise ValueError(
            f"the file name pattern {pattern!r} must be relative, stay inside the scene folder and have one "
            "frame number like %06d"
        )
    return pattern


def parse_document(text: str, path: Path) -> tuple[SceneDocument, dict[str, Any]]:
    """Validate the text of a `scene.json`.

    Returns:
        The document, and the JSON object as it stands in the file, whose canonical form is hashed.

    Raises:
        InputError: it is not JSON, or a field is missing or of the wrong kind.
    """
    try:
        raw = json.loads(text, parse_constant=_refuse_constant)
        document = SceneDocument.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise InputError(
            f"{path} is not a valid scene: {where or 'document'}: {message}; import the clip again."
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable as JSON ({error}): import the clip again.") from error
    if not document.content_hash:
        raise InputError(f"{path} is not a valid scene: content_hash: it is missing; import the clip again.")
    return document, raw


def document_object(document: SceneDocument) -> dict[str, Any]:
    """The JSON object of a document, with the names used in the file."""
    return document.model_dump(mode="json", by_alias=True)


def document_text(raw: dict[str, Any]) -> str:
    """The text of `scene.json`: indented, except for the rows of long lists of numbers."""
    text = json.dumps(raw, indent=1, ensure_ascii=False, allow_nan=False)
    return re.sub(r"\[\s+((?:-?[\d.e+-]+,\s+)*-?[\d.e+-]+)\s+\]", _on_one_line, text) + "\n"


def canonical_json(raw: dict[str, Any]) -> bytes:
    """What of `scene.json` is hashed: all but `content_hash`, in one exact form."""
    rest = {key: value for key, value in raw.items() if key != "content_hash"}
    return json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def hashed_names(document: SceneDocument) -> Iterator[str]:
    """The relative names of the frames that the content hash covers."""
    for pattern in (document.files.color, document.files.depth):
        for frame in range(document.frames):
            yield pattern % frame


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def combine_hashes(raw: dict[str, Any], hashes: dict[str, str]) -> str:
    """The content hash of a scene.

    Args:
        raw: the JSON object of `scene.json`.
        hashes: SHA-256 of each frame's file by relative name.
    """
    lines = {**hashes, SCENE_FILE: hashlib.sha256(canonical_json(raw)).hexdigest()}
    total = hashlib.sha256()
    for name in sorted(lines, key=lambda name: name.encode()):
        total.update(f"{lines[name]}  {name}\n".encode())
    return total.hexdigest()


def check_frames_exist(root: Path, pattern: str, frames: int, what: str, counted: str = "frames") -> None:
    """Require the file of each frame (or of whatever is counted), inside the scene folder even through links.

    Raises:
        InputError: a file is missing, empty, or a link that leaves the folder.
    """
    folder = root / Path(pattern).parent
    real_root = root.resolve()
    _require_inside(folder, real_root)
    try:
        entries = {entry.name: entry for entry in os.scandir(folder)}
    except OSError as error:
        raise InputError(f"The scene {root} has no folder {folder.name}/: import the clip again.") from error
    missing: list[int] = []
    for frame in range(frames):
        entry = entries.get(Path(pattern % frame).name)
        if entry is None:
            missing.append(frame)
            continue
        if entry.is_symlink():
            _require_inside(Path(entry.path), real_root)
        if not entry.is_file() or entry.stat().st_size == 0:
            missing.append(frame)
    if missing:
        raise InputError(
            f"The scene {root} lacks the {what} of {len(missing)} of {frames} {counted} "
            f"(first {pattern % missing[0]}): import the clip again."
        )


def _require_inside(path: Path, real_root: Path) -> None:
    if not path.resolve().is_relative_to(real_root):
        raise InputError(
            f"{path} is a link that leaves the scene folder: replace it by the file itself, or import again."
        )


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number that JSON knows")


def _on_one_line(match: re.Match[str]) -> str:
    return "[" + re.sub(r"\s+", " ", match.group(1)) + "]"

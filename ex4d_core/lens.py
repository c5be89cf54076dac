"""The lens that a clip's own metadata tells: EXIF of photos, keys of QuickTime files, attributes of EXR images.

What cameras write is nominal: focal lengths are rounded, change with focus, and a picture may have been cropped since.
Each source therefore comes with how far off it may be, and the sentence for the user says so in degrees.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ex4d_core.camera import FIELDS_OF_VIEW, Intrinsics
from ex4d_core.clip import ClipInfo
from ex4d_core.errors import Ex4dError
from ex4d_core.exr_whole import is_cut_short
from ex4d_core.quicktime import read_keys
from ex4d_core.sensors import find_sensor
from ex4d_core.sequence import find_sequence

FULL_FRAME_DIAGONAL_MM = math.hypot(36, 24)
"""35 mm equivalents compare diagonals (CIPA DCG-001)."""

_ROUNDING_MM = 0.5
"""Equivalents are whole millimetres."""
_NOMINAL = 0.02
"""Of focal lengths: what is engraved and what the lens does, focused at some distance."""
_STABILISED = 0.08
"""Of videos: phones crop them to steady them, some count that in and some do not."""
_CROPPED = 0.12
"""Of pictures whose sides have a ratio that no camera has, or other sides than those that the camera noted."""
_TRUE = 0.001
"""Of renderers, which know."""

_CAMERA_ASPECTS = (3 / 2, 4 / 3, 16 / 9, 1.0, 5 / 4, 17 / 9, 1.9)
_SENSIBLE_SENSORS_MM = (2.0, 75.0)


@dataclass(frozen=True)
class FoundLens:
    """A lens that metadata told."""

    intrinsics: Intrinsics
    """At the clip's size as displayed, before it was brought to working size."""
    note: str
    """A sentence for people: where it is from, the field of view, and how sure that is."""


@dataclass(frozen=True)
class _Reading:
    """A focal length in pixels of the clip as displayed, and how it was found."""

    focal_px: float
    error: float
    """Share of the focal length by which it may be off."""
    told_by: str
    """"the EXIF data of a.jpg (26 mm as of full frame)"."""


def read_lens(source: Path, info: ClipInfo) -> FoundLens | None:
    """Find the lens in a clip's metadata.

    Args:
        source: the clip: a video, an image, a folder of images or a pattern; of images the first one tells.
        info: what it is.

    Returns:
        None if it does not tell, or tells what no camera has.
    """
    try:
        reading = _from_video(source, info) if info.kind == "video" else _from_image(_first_file(source, info), info)
    except Ex4dError:  # metadata that cannot be read is no reason not to read the clip
        return None
    if reading is None or not 0.1 < reading.focal_px / max(info.width, info.height) < 100:
        return None
    lens = Intrinsics.from_focal_px(reading.focal_px, info.width, info.height)
    return FoundLens(lens, _sentence(lens, reading))


def _sentence(lens: Intrinsics, reading: _Reading) -> str:
    """Where it is from, and by how many degrees it may be off."""
    wider = Intrinsics.from_focal_px(lens.fx * (1 - reading.error), lens.width, lens.height)
    degrees = wider.fov_x_degrees - lens.fov_x_degrees
    sure = "exactly" if reading.error <= _TRUE else f"give or take {degrees:.{0 if degrees >= 1 else 1}f}"
    return (
        f"The lens is told by {reading.told_by}: a horizontal field of view of {lens.fov_x_degrees:.1f} degrees, "
        f"{sure}."
    )


def _first_file(source: Path, info: ClipInfo) -> Path:
    return source if info.kind == "still" else find_sequence(source).files[0]


def _from_video(source: Path, info: ClipInfo) -> _Reading | None:
    keys = read_keys(source)
    diagonal = math.hypot(info.width, info.height)
    where = f"the metadata of {source.name}"
    equivalent = _millimetres(keys.get("com.apple.quicktime.camera.focal_length.35mm_equivalent"))
    if equivalent is not None:
        focal_px = equivalent / FULL_FRAME_DIAGONAL_MM * diagonal
        return _Reading(focal_px, _STABILISED, f"{where} ({equivalent:g} mm as of full frame)")
    # The Blackmagic Camera app names a phone's lens by its equivalent: "iPhone 16 Pro 24mm".
    named = re.search(r"iPhone.*?(\d+) ?mm", keys.get("com.blackmagic-design.camera.lensType", ""))
    if named:
        return _Reading(float(named[1]) / FULL_FRAME_DIAGONAL_MM * diagonal, _STABILISED, f"{where} ({named[0]})")
    return None


def _from_image(file: Path, info: ClipInfo) -> _Reading | None:
    return _from_exr(file, info) if file.suffix.lower() == ".exr" else _from_exif(file, info)


def _from_exif(file: Path, info: ClipInfo) -> _Reading | None:
    from PIL import Image

    try:
        # Pillow warns, on opening already, about tags that it cannot read.
        with warnings.catch_warnings(action="ignore"), Image.open(file) as image:
            stored = image.size
            tags = image.getexif()
            facts: dict[int, Any] = {**tags, **tags.get_ifd(0x8769)}
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    where = f"the EXIF data of {file.name}"
    focal, equivalent = _number(facts.get(_FOCAL)), _number(facts.get(_FOCAL_35MM))
    error = _NOMINAL if _is_whole(stored, facts) else _CROPPED
    sensor = _plane_px_per_mm(facts, stored)
    if focal and sensor:
        return _Reading(focal * sensor, error, f"{where} ({focal:g} mm on a sensor of {max(stored) / sensor:.1f} mm)")
    if equivalent:
        focal_px = equivalent / FULL_FRAME_DIAGONAL_MM * math.hypot(info.width, info.height)
        return _Reading(focal_px, error + _ROUNDING_MM / equivalent, f"{where} ({equivalent:g} mm as of full frame)")
    width = find_sensor(str(facts.get(_MODEL, "")).strip("\0 "))
    if focal and width:
        return _Reading(focal / width * max(stored), error + _NOMINAL, f"{where} ({focal:g} mm on {facts[_MODEL]})")
    return None


_MODEL, _FOCAL, _FOCAL_35MM = 0x0110, 0x920A, 0xA405
_EXIF_WIDTH, _EXIF_HEIGHT, _PLANE_X, _PLANE_UNIT = 0xA002, 0xA003, 0xA20E, 0xA210
_UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}


def _plane_px_per_mm(facts: Mapping[int, Any], stored: tuple[int, int]) -> float | None:
    """Pixels of the stored picture per millimetre on the sensor; None if unknown, or the picture was cropped."""
    resolution = _number(facts.get(_PLANE_X))
    unit = _UNIT_MM.get(int(_number(facts.get(_PLANE_UNIT)) or 2))
    width, height = _number(facts.get(_EXIF_WIDTH)), _number(facts.get(_EXIF_HEIGHT))
    if not (resolution and unit and width and height):
        return None
    sensor_mm = max(width, height) / resolution * unit
    if not _SENSIBLE_SENSORS_MM[0] < sensor_mm < _SENSIBLE_SENSORS_MM[1]:
        return None
    ratio = (max(stored) / min(stored)) / (max(width, height) / min(width, height))
    return None if abs(math.log(ratio)) > 0.01 else max(stored) / sensor_mm


def _is_whole(stored: tuple[int, int], facts: Mapping[int, Any]) -> bool:
    """Whether a picture has the size that its camera noted, and a shape that cameras make: else it may be cropped."""
    noted = [_number(facts.get(side)) for side in (_EXIF_WIDTH, _EXIF_HEIGHT)]
    if None not in noted and sorted(int(side or 0) for side in noted) != sorted(stored):
        return False
    aspect = max(stored) / min(stored)
    return any(abs(aspect / known - 1) < 0.01 for known in _CAMERA_ASPECTS)


def _from_exr(file: Path, info: ClipInfo) -> _Reading | None:
    import OpenEXR

    if is_cut_short(file):
        return None
    try:
        with OpenEXR.File(str(file), header_only=True) as opened:
            header = dict(opened.header())
    except (RuntimeError, ValueError, TypeError, OSError):
        return None
    where = f"the header of {file.name}"
    fov = _number(header.get("cameraFov"))
    if fov and fov < FIELDS_OF_VIEW[1]:  # V-Ray
        return _Reading(info.width / 2 / math.tan(math.radians(fov) / 2), _TRUE, where)
    sensor = _exr_sensor_mm(header)
    if sensor is None:
        return None
    for name, error in _EXR_FOCALS:
        if focal := _number(header.get(name)):
            focal_px = focal / sensor * max(info.width, info.height)
            return _Reading(focal_px, error, f"{where} ({focal:g} mm on {sensor:.4g} mm)")
    return None


_EXR_FOCALS = (("pinholeFocalLength", 0.005), ("effectiveFocalLength", 0.01), ("nominalFocalLength", _NOMINAL))
"""OpenEXR's standard attributes, the most exact first."""


def _exr_sensor_mm(header: Mapping[str, Any]) -> float | None:
    """Longer side of what the picture shows of the sensor: OpenEXR's standard attributes, or the camera's name."""
    pitch, used = _number(header.get("sensorPhotositePitch")), header.get("sensorAcquisitionRectangle")
    if pitch and used is not None:
        pixels = max(float(used[1][axis]) - float(used[0][axis]) + 1 for axis in (0, 1))
        return _number(pixels * pitch / 1000)  # of microns
    overall = header.get("sensorOverallDimensions")
    if overall is not None:
        return _number(max(float(side) for side in overall))
    make, model = (str(header.get(name, "")).strip() for name in ("cameraMake", "cameraModel"))
    return find_sensor(f"{make} {model}") or find_sensor(model)


def _millimetres(text: str | None) -> float | None:
    """A positive number, with or without "mm"."""
    return _number(text.lower().removesuffix("mm").strip()) if text else None


def _number(value: Any) -> float | None:
    """A positive, finite number; None for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if 0 < number < math.inf else None

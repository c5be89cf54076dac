"""What an import was asked for: its options, and fingerprints that recognise the same request again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ex4d_core.camera import Intrinsics, Trajectory, trajectory_to_document
from ex4d_core.colmap import model_files
from ex4d_core.depth import DepthKind
from ex4d_core.errors import InputError
from ex4d_core.sequence import find_sequence, is_pattern

DEFAULT_MAX_SIDE = 1024
MAX_SIDE = 16384

# Raise it when the same request would give another scene, so that old ones are made anew.
_REVISION = 3

_WHOLE_FILE = 16 * 2**20
_SAMPLES, _SAMPLE_BYTES = 64, 256 * 2**10


@dataclass(frozen=True)
class ImportOptions:
    """Everything besides the clip that decides what a scene becomes."""

    depth: Path | None = None
    """File or folder of depth; None: estimate it."""
    depth_kind: DepthKind = "relative"
    """What its numbers mean."""
    depth_range: tuple[float, float] | None = None
    """What 0 and the largest integer of integer depth stand for."""
    depth_channel: str | None = None
    """Name of the EXR channel or NPZ array with depth; None: the one that is called so."""
    estimator: str | None = None
    """Name of a depth estimator; None: `file` with `depth`, else `registry.default_estimator`."""
    model_dir: Path | None = None
    """A folder with the estimator's weights or checkout; None: what `ex4d models` has."""
    sharpen: bool | None = None
    """Put the depth's edges where the colour has them; None: see `registry.sharpens`."""
    fov_degrees: float | None = None
    """Horizontal field of view."""
    focal_mm: float | None = None
    """Focal length, with `sensor_mm`."""
    sensor_mm: float | None = None
    """Longer side of the sensor, with `focal_mm`: it lies along the longer side of the picture."""
    sensor: str | None = None
    """Name of a camera or format (see `sensors`), instead of `sensor_mm`."""
    focal_px: float | None = None
    """Focal length in pixels of the input as displayed."""
    source_camera: Trajectory | Path | None = None
    """Solved camera of the clip: a trajectory, or a file or folder that `solve.load_solve` reads."""
    estimate_camera: bool = False
    """Find the source camera's path; otherwise, without `source_camera`, it stands still."""
    start: int = 0
    """First frame taken, counted at the scene's frame rate."""
    frames: int | None = None
    """Number of frames taken; None: all that follow."""
    size: tuple[int, int] | None = None
    """Working width and height, pixels."""
    max_side: int | None = None
    """Longest side of the working size, pixels; default 1024 where `size` is not given."""
    fps: Fraction | None = None
    """Frame rate of the scene; None: that of the clip."""
    plate: bool = False
    """Also keep the frames at full size."""
    background: bool = True
    """Gather the persistent background."""

    def check(self) -> None:
        """Refuse options that contradict each other or are out of range.

        Raises:
            InputError: naming the options.
        """
        lenses = [name for name in ("fov_degrees", "focal_mm", "focal_px") if getattr(self, name) is not None]
        if len(lenses) > 1:
            raise InputError("The lens is given twice: choose one of --fov, --focal-mm and --focal-px.")
        if self.sensor_mm is not None and self.sensor is not None:
            raise InputError("The sensor is given twice: choose one of --sensor-mm and --sensor.")
        if (self.focal_mm is None) != (self.sensor_mm is None and self.sensor is None):
            raise InputError(
                "A focal length in millimetres needs the sensor's width: give --focal-mm and --sensor-mm or --sensor."
            )
        if self.sensor is not None:
            from ex4d_core.sensors import sensor_width_mm

            sensor_width_mm(self.sensor)
        if self.source_camera is not None and self.estimate_camera:
            raise InputError("The source camera is given and to be estimated: choose one of the two.")
        if self.model_dir is not None and not os.path.isdir(self.model_dir):  # false for impossible names, too
            raise InputError(f"There is no folder {self.model_dir} with a depth model: check the name.")
        if self.model_dir is not None and self.estimator_name in ("file", "embedded"):
            raise InputError(
                f"The estimator {self.estimator_name} loads no weights: leave out --depth-model-dir, or choose another "
                "estimator with --estimator."
            )
        if self.depth is not None and self.estimator not in (None, "file"):
            raise InputError("The depth is given and to be estimated: choose one of --depth and --estimator.")
        if self.focal_px is not None and not 0 < self.focal_px < float("inf"):
            raise InputError(f"A focal length of {self.focal_px} pixels is impossible: give a positive number.")
        if self.start < 0:
            raise InputError(f"Frames count from 0, so --start {self.start} is impossible: give 0 or more.")
        if self.frames is not None and self.frames < 1:
            raise InputError(f"A scene needs frames, so --frames {self.frames} is impossible: give 1 or more.")
        if self.size is not None and self.max_side is not None:
            raise InputError("The working size is given twice: choose one of --size and --max-side.")
        for name, sides in (
            ("--size", self.size or ()),
            ("--max-side", (self.max_side,) if self.max_side is not None else ()),
        ):
            if any(not 2 <= side <= MAX_SIDE for side in sides):
                given = "x".join(str(side) for side in sides)
                raise InputError(f"{name} {given} cannot be meshed: give 2 to {MAX_SIDE} pixels for each side.")
        if self.fps is not None and self.fps <= 0:
            raise InputError(f"A frame rate of {self.fps} is impossible: give a positive number.")
        if self.depth is None and self.depth_kind != "relative":
            raise InputError("--depth-kind says what the numbers of depth mean, but none is given: add --depth.")
        if self.depth is None and self.depth_range is not None:
            raise InputError("--depth-range describes integer depth, but no depth is given: add --depth.")
        if self.depth is None and self.depth_channel is not None:
            raise InputError("--depth-channel names a part of a depth file, but none is given: add --depth.")

    @property
    def working_max_side(self) -> int | None:
        """Longest side to scale down to; None where `size` decides."""
        return self.max_side or (None if self.size else DEFAULT_MAX_SIDE)

    @property
    def estimator_name(self) -> str:
        """The depth estimator to use."""
        from ex4d_core.depth.registry import default_estimator

        if self.estimator is not None:
            return self.estimator
        return "file" if self.depth is not None else default_estimator(self.model_dir)

    @property
    def sharpens(self) -> bool:
        """Whether to put the depth's edges where the colour has them."""
        from ex4d_core.depth.registry import sharpens

        return sharpens(self.estimator_name, self.sharpen)

    def lens(self, width: int, height: int) -> Intrinsics | None:
        """The lens that the options give, at the input's size as displayed; None if they give none.

        Raises:
            CameraError: no camera has such a lens.
        """
        if self.fov_degrees is not None:
            lens = Intrinsics.from_fov_x_degrees(self.fov_degrees, width, height)
        elif self.focal_mm is not None and self.sensor is not None:
            from ex4d_core.sensors import sensor_width_mm

            lens = Intrinsics.from_lens_mm(self.focal_mm, sensor_width_mm(self.sensor), width, height)
        elif self.focal_mm is not None and self.sensor_mm is not None:
            lens = Intrinsics.from_lens_mm(self.focal_mm, self.sensor_mm, width, height)
        elif self.focal_px is not None:
            lens = Intrinsics.from_focal_px(self.focal_px, width, height)
        else:
            return None
        lens.require_believable("The lens that is given")
        return lens


def request_fingerprint(source: Path, options: ImportOptions) -> str:
    """Recognises a repeated import: the same for the same contents, names and options, wherever they lie.

    Files up to 16 MiB count whole, larger ones by their size and 64 samples of 256 KiB, so that looking at a long
    clip takes a moment.

    Returns:
        SHA-256, hexadecimal.

    Raises:
        InputError: a file cannot be read.
    """
    return _digest(source, options, _sampled)


def resume_guard(source: Path, options: ImportOptions) -> str:
    """As `request_fingerprint`, and changed too by anything that touches a file: guards half-done work.

    Returns:
        SHA-256, hexadecimal.

    Raises:
        InputError: a file cannot be read.
    """
    return _digest(source, options, _stamp)


def input_files(path: Path) -> list[Path]:
    """The files that a clip, a depth or a solve is read from, in the order of their names."""
    try:
        if is_pattern(path):
            return list(find_sequence(path).files)
        if path.is_dir():
            own = [f for f in path.iterdir() if f.is_file() and not f.name.startswith(".")]
            return sorted({*own, *model_files(path)})  # a project's model lies in a folder of its own
    except OSError as error:
        raise InputError(f"Cannot read {path} ({error.strerror}): change its permissions.") from error
    return [path]


def _digest(source: Path, options: ImportOptions, look: Any) -> str:
    facts: dict[str, Any] = {"revision": _REVISION, "source": _look_at(source, look)}
    for field in fields(options):
        value = getattr(options, field.name)
        if isinstance(value, Path):
            value = _look_at(value, look)
        elif isinstance(value, Trajectory):
            value = trajectory_to_document(value)
        elif isinstance(value, Fraction):
            value = [value.numerator, value.denominator]
        facts[field.name] = value
    facts["max_side"] = options.working_max_side
    facts["estimator"], facts["sharpen"] = options.estimator_name, options.sharpens
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _look_at(path: Path, look: Any) -> list[Any]:
    try:
        return [path.name, [[file.name, look(file)] for file in input_files(path)]]
    except OSError as error:
        raise InputError(f"Cannot read {path} ({error.strerror}): check the name and its permissions.") from error


def _stamp(file: Path) -> list[Any]:
    status = file.stat()
    return [str(file.resolve()), status.st_size, status.st_mtime_ns]


def _sampled(file: Path) -> list[Any]:
    size = file.stat().st_size
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        if size <= _WHOLE_FILE:
            digest.update(stream.read())
        else:
            for position in _sample_positions(size):
                stream.seek(position)
                digest.update(stream.read(_SAMPLE_BYTES))
    return [size, digest.hexdigest()]


def _sample_positions(size: int) -> Iterable[int]:
    """From the first byte to the last, evenly."""
    return (int(p) for p in np.linspace(0, size - _SAMPLE_BYTES, _SAMPLES).astype(np.int64))

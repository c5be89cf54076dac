# SPDX-License-Identifier: GPL-3.0-or-later
"""A sampled camera move, and its two files: `trajectory.json` and the reference's `.npz` (DESIGN section 3)."""

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import UserError
from .camera_math import BLENDER_FROM_OPENCV

SCHEMA = "ex4d.trajectory/1"


@dataclass(frozen=True)
class TrajectorySample:
    """For every frame of a shot a camera, and the moment of the clip that it looks at."""

    c2w: np.ndarray
    """(T, 4, 4) float64 camera-to-world, OpenCV axes, scene units, free of the empty's transform."""
    intrinsics: np.ndarray
    """(T, 4) float64: fx, fy, cx, cy, pixels of `width` x `height`, pixel centres at +0.5."""
    source_time: np.ndarray
    """(T,) float64, clip frames, within the clip."""
    width: int
    height: int
    fps: Fraction
    """Of the Blender scene."""
    frame_start: int
    """The Blender frame of the first sample."""
    scene_hash: str | None
    """`content_hash` of the footage."""

    def __len__(self) -> int:
        return len(self.c2w)


def document(sample: TrajectorySample) -> dict[str, Any]:
    """The `trajectory.json` document."""
    return {
        "schema": SCHEMA,
        "width": sample.width,
        "height": sample.height,
        "fps": [sample.fps.numerator, sample.fps.denominator],
        "frame_start": sample.frame_start,
        "scene_hash": sample.scene_hash,
        "frames": [
            {"c2w": pose.tolist(), "intrinsics": lens.tolist(), "source_time": float(time)}
            for pose, lens, time in zip(sample.c2w, sample.intrinsics, sample.source_time, strict=True)
        ],
    }


def write(sample: TrajectorySample, file: Path) -> None:
    """Write a trajectory, as JSON or as the reference's `.npz`, whole or not at all.

    Raises:
        UserError: another suffix, or the file cannot be written.
    """
    check_name(file)
    if file.suffix.lower() == ".json":
        content = json.dumps(document(sample), indent=1).encode()
        _write_whole(file, lambda stream: stream.write(content))
    else:
        arrays = reference_arrays(sample)
        _write_whole(file, lambda stream: np.savez_compressed(stream, **arrays))


def check_name(file: Path) -> None:
    """Require a name that a trajectory can have. Raises: UserError."""
    if file.suffix.lower() not in (".json", ".npz"):
        raise UserError("{file} is not a trajectory's name: let it end in .json or .npz.", file=file.name)


def shows_each_frame(sample: TrajectorySample) -> bool:
    """Whether it shows the clip from its first frame on, one by one: what readers of an `.npz` take for granted."""
    return bool(np.abs(sample.source_time - np.arange(len(sample))).max() < 1e-3)


def reference_arrays(sample: TrajectorySample) -> dict[str, np.ndarray]:
    """The arrays of the reference's `.npz`; size and source time are not in it.

    Returns:
        `extrinsics` (T, 4, 4) float32 world-to-camera in OpenGL's axes; `intrinsics` (3, 3) float32, or (T, 3, 3)
        where the lens changes.
    """
    matrices = np.zeros((len(sample), 3, 3), np.float32)
    matrices[:, 0, 0], matrices[:, 1, 1] = sample.intrinsics[:, 0], sample.intrinsics[:, 1]
    matrices[:, 0, 2], matrices[:, 1, 2] = sample.intrinsics[:, 2], sample.intrinsics[:, 3]
    matrices[:, 2, 2] = 1.0
    return {
        "extrinsics": (BLENDER_FROM_OPENCV @ np.linalg.inv(sample.c2w)).astype(np.float32),
        "intrinsics": matrices[0] if (matrices == matrices[0]).all() else matrices,
    }


def _write_whole(file: Path, write_to: Callable[[BinaryIO], Any]) -> None:
    try:
        handle, partial = tempfile.mkstemp(prefix=f".{file.stem}-", suffix=".partial", dir=file.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                write_to(stream)
            os.chmod(partial, 0o666 & ~_umask())
            os.replace(partial, file)
        except BaseException:
            os.unlink(partial)
            raise
    except OSError as error:
        raise UserError(
            "Cannot write {file} ({reason}): choose another place.", file=file, reason=error.strerror or error
        ) from error


def _umask() -> int:
    mask = os.umask(0)  # there is no other way to ask for it
    os.umask(mask)
    return mask

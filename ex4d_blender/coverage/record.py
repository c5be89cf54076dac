# SPDX-License-Identifier: GPL-3.0-or-later
"""What the sidecar found out about a camera's move: kept on the camera, so that it survives whatever the camera does.

`Unseen` is an F-curve of the camera object's custom property: the unseen share of each frame's picture, 0 to 1;
`Stretched` another, the share of what is seen that is stretched more than twice. The curves hold samples, not keys, so
that no Dope Sheet is full of them and "jump to keyframe" still finds the artist's. `ex4d_coverage` says what they were
found for.
"""

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ..errors import UserError
from ..ownership import require_local
from ..versions import fcurves
from .numbers import Numbers

UNSEEN = "Unseen"
"""Custom property of the camera object, animated: the unseen share of the picture, 0 to 1."""
STRETCHED = "Stretched"
"""Likewise: the share of what is seen that is stretched more than twice; absent where that was not measured."""
_DESCRIPTIONS = {
    UNSEEN: "Share of the picture that the footage never saw (0 to 1), as the sidecar found it",
    STRETCHED: "Share of what is seen that is stretched more than twice (0 to 1), as the sidecar found it",
}
RECORD = "ex4d_coverage"
"""Custom property of the camera object: `Record` as JSON."""


@dataclass(frozen=True)
class Record:
    """What the curves were found for."""

    first: int
    """The Blender frame of the first picture."""
    frames: int
    inputs: str
    """What the camera's move depended on, see `inputs.fingerprint`."""
    folder: str
    """Where the sidecar's pictures lie; they may be gone."""
    finer: float
    """Pixels of those pictures for each pixel of the shot."""

    @property
    def shot_folder(self) -> Path:
        """The folder of `shot.json`, `trajectory.json` and `risk/`."""
        return Path(self.folder)

    def index(self, frame: float) -> int | None:
        """The number of the picture at a Blender frame; None outside."""
        index = round(frame) - self.first
        return index if 0 <= index < self.frames else None


def read(camera: bpy.types.Object | None) -> Record | None:
    """A camera's record; None where it has none, or one of another version."""
    text = None if camera is None else camera.get(RECORD)
    if not isinstance(text, str):
        return None
    try:
        return Record(**json.loads(text))
    except (ValueError, TypeError):
        return None


def shares(camera: bpy.types.Object, name: str = UNSEEN) -> np.ndarray:
    """The samples of a camera's curve: (T, 2) float32, Blender frame and share; empty without one."""
    curve = fcurves.find(camera, _path(name))
    if curve is None:
        return np.empty((0, 2), np.float32)
    points = curve.sampled_points or curve.keyframe_points
    values = np.empty(2 * len(points), np.float32)
    points.foreach_get("co", values)
    return values.reshape(-1, 2)


def check(camera: bpy.types.Object) -> None:
    """Require a camera that curves can be written to. Raises: UserError."""
    require_local(camera)
    animation = camera.animation_data
    if animation is not None and animation.action is not None and not animation.action.is_editable:
        raise UserError(
            "The action of {camera} is linked from another file: make it single user (Object > Relations) first.",
            camera=camera.name,
        )


def write(camera: bpy.types.Object, record: Record, numbers: Numbers) -> None:
    """Keep what was found.

    Raises:
        UserError: the camera belongs to another file.
    """
    check(camera)
    remove(camera)  # a curve of samples takes no keys
    _write_curve(camera, UNSEEN, record, numbers.unseen)
    if numbers.stretched is not None:
        _write_curve(camera, STRETCHED, record, numbers.stretched)
    camera[RECORD] = json.dumps(asdict(record))


def remove(camera: bpy.types.Object) -> None:
    """Forget what was found."""
    fcurves.remove(camera, *map(_path, _DESCRIPTIONS))
    for name in (*_DESCRIPTIONS, RECORD):
        if name in camera:
            del camera[name]


def _path(name: str) -> str:
    return f'["{name}"]'


def _write_curve(camera: bpy.types.Object, name: str, record: Record, values: np.ndarray) -> None:
    camera[name] = 0.0
    camera.id_properties_ui(name).update(min=0.0, max=1.0, description=_DESCRIPTIONS[name])
    camera.update_tag()
    camera.keyframe_insert(_path(name), frame=record.first)
    curve = fcurves.find(camera, _path(name))
    if curve is None:
        raise UserError(
            "{camera} cannot be keyed: unlock its action, or give it an action of its own.", camera=camera.name
        )
    frames = np.arange(record.first, record.first + record.frames, dtype=np.float32)
    points = curve.keyframe_points
    points.clear()
    points.add(len(frames))
    points.foreach_set("co", np.stack([frames, values.astype(np.float32)], axis=1).ravel())
    for point in points:
        point.interpolation = "LINEAR"
    curve.update()
    curve.convert_to_samples(record.first, record.first + record.frames)
    curve.lock = True


def trajectory_of(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The cameras that a shot was rendered from: c2w (T, 4, 4), intrinsics (T, 4), source times (T,); None if gone."""
    file = folder / "trajectory.json"
    try:
        return _trajectory(file, file.stat().st_mtime_ns)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # the record itself still tells whether the camera's keys have changed


@lru_cache(maxsize=8)
def _trajectory(file: Path, _written: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    frames: list[dict[str, Any]] = json.loads(file.read_text("utf-8"))["frames"]
    poses = np.array([frame["c2w"] for frame in frames], np.float64)
    lenses = np.array([frame["intrinsics"] for frame in frames], np.float64)
    return poses, lenses, np.array([frame["source_time"] for frame in frames], np.float64)

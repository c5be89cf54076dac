"""Cameras and trajectories, in OpenCV conventions.

A camera has x right, y down, z forward. Poses are camera-to-world (`c2w`), 4x4 float64. Intrinsics are in
pixels with pixel centres at +0.5, so that the centre of a W-wide image is `cx = W / 2`.
"""

from __future__ import annotations

import json
import math
import zipfile
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ex4d_core.errors import CameraError
from ex4d_core.files import atomic_file

Array = NDArray[np.float64]

TRAJECTORY_SCHEMA = "ex4d.trajectory/1"

# OpenCV camera axes (y down, z forward) to OpenGL and Blender camera axes (y up, z backward).
OPENGL_FROM_OPENCV: Array = np.diag([1.0, -1.0, -1.0, 1.0])

MAX_SIDE = 16384
"""Longest side of a picture that can be rendered, pixels."""

FIELDS_OF_VIEW = (1.0, 175.0)
"""Narrowest and widest horizontal field of view that footage is believed to have, degrees."""

# Focal length of a lens that nobody told us, as a share of the longer side (DESIGN section 3).
UNKNOWN_LENS_FOCAL = 500.0 / 512.0


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera's inner geometry at a stated image size."""

    fx: float
    """Horizontal focal length, pixels."""
    fy: float
    """Vertical focal length, pixels."""
    cx: float
    """Principal point, pixels from the left edge; W / 2 is the centre."""
    cy: float
    """Principal point, pixels from the top edge."""
    width: int
    """Image width, pixels."""
    height: int
    """Image height, pixels."""

    def __post_init__(self) -> None:
        values = (self.fx, self.fy, self.cx, self.cy)
        if not all(math.isfinite(v) for v in values) or self.fx <= 0 or self.fy <= 0:
            raise CameraError(
                f"The intrinsics {values} are not usable: give finite numbers with positive focal lengths."
            )
        if self.width < 1 or self.height < 1:
            raise CameraError(f"The image size {self.width}x{self.height} is empty: give at least 1x1 pixels.")

    @classmethod
    def from_focal_px(cls, focal_px: float, width: int, height: int) -> Intrinsics:
        """Square pixels, principal point in the centre."""
        return cls(focal_px, focal_px, width / 2, height / 2, width, height)

    @classmethod
    def from_fov_x_degrees(cls, fov_x_degrees: float, width: int, height: int) -> Intrinsics:
        """From the horizontal field of view in degrees, one of `FIELDS_OF_VIEW`."""
        low, high = FIELDS_OF_VIEW
        if not low <= fov_x_degrees <= high:
            raise CameraError(f"A field of view of {fov_x_degrees} degrees is impossible: give {low:g} to {high:g}.")
        return cls.from_focal_px(width / 2 / math.tan(math.radians(fov_x_degrees) / 2), width, height)

    @classmethod
    def from_lens_mm(cls, focal_mm: float, sensor_mm: float, width: int, height: int) -> Intrinsics:
        """From a lens and the longer side of the sensor, both in millimetres.

        It lies along the longer side of the picture: a camera held upright has the sensor that it has.
        """
        if not (focal_mm > 0 and sensor_mm > 0):
            raise CameraError(
                f"A {focal_mm} mm lens on a {sensor_mm} mm sensor is impossible: give two positive lengths."
            )
        return cls.from_focal_px(focal_mm / sensor_mm * max(width, height), width, height)

    @classmethod
    def unknown_lens(cls, width: int, height: int) -> Intrinsics:
        """The default for footage without lens data: focal = 500/512 of the longer side."""
        return cls.from_focal_px(UNKNOWN_LENS_FOCAL * max(width, height), width, height)

    @property
    def fov_x_degrees(self) -> float:
        """Horizontal field of view, degrees."""
        left, right = math.atan(self.cx / self.fx), math.atan((self.width - self.cx) / self.fx)
        return math.degrees(left + right)

    def require_believable(self, what: str) -> None:
        """Refuse a lens that no camera has.

        Args:
            what: whose lens it is, to begin the sentence with.

        Raises:
            CameraError: its horizontal field of view is not one of `FIELDS_OF_VIEW`.
        """
        low, high = FIELDS_OF_VIEW
        if not low - 1e-6 <= self.fov_x_degrees <= high + 1e-6:
            raise CameraError(
                f"{what} has a horizontal field of view of {self.fov_x_degrees:.3g} degrees, which is impossible: "
                f"give a lens of {low:g} to {high:g} degrees."
            )

    def resized(self, width: int, height: int) -> Intrinsics:
        """The same camera with its image resampled to another size."""
        sx, sy = width / self.width, height / self.height
        return Intrinsics(self.fx * sx, self.fy * sy, self.cx * sx, self.cy * sy, width, height)

    def matrix(self) -> Array:
        """K: (3, 3) float64, pixels."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], np.float64)

    def as_tuple(self) -> tuple[float, float, float, float]:
        """(fx, fy, cx, cy), the order used in the JSON contracts."""
        return (self.fx, self.fy, self.cx, self.cy)


@dataclass(frozen=True)
class Camera:
    """One posed camera: what a rasterizer needs."""

    c2w: Array
    """(4, 4) float64, camera-to-world, OpenCV axes."""
    intrinsics: Intrinsics

    def w2c(self) -> Array:
        """(4, 4) float64, world-to-camera."""
        return invert_pose(self.c2w)


@dataclass(frozen=True)
class Trajectory:
    """A camera move: for every output frame a camera and the moment of the clip that it looks at."""

    c2w: Array
    """(T, 4, 4) float64, camera-to-world, OpenCV axes, scene units."""
    intrinsics: Array
    """(T, 4) float64: fx, fy, cx, cy in pixels of `width` x `height`."""
    source_time: Array
    """(T,) float64, in frames of the source clip; shown is frame floor(t + 0.5), clamped."""
    width: int
    height: int
    fps: Fraction
    frame_start: int = 0
    """The Blender scene frame of the first sample; 0 elsewhere."""
    scene_hash: str | None = None
    """`content_hash` of the scene that the path was made for, if known."""

    def __post_init__(self) -> None:
        frames = len(self.c2w)
        if frames == 0:
            raise CameraError("The trajectory has no frames: give at least one camera.")
        shapes = (self.c2w.shape, self.intrinsics.shape, self.source_time.shape)
        if shapes != ((frames, 4, 4), (frames, 4), (frames,)):
            raise CameraError(f"The trajectory's arrays disagree in shape {shapes}: give one of each per frame.")
        for name, values in (
            ("pose", self.c2w.reshape(frames, -1)),
            ("intrinsics", self.intrinsics),
            ("source time", self.source_time[:, None]),
        ):
            bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
            if bad.size:
                raise CameraError(
                    f"Frame {bad[0]} of the trajectory has a {name} that is not a finite number: "
                    "mend that keyframe and export again."
                )
        if (self.intrinsics[:, :2] <= 0).any():
            frame = int(np.flatnonzero((self.intrinsics[:, :2] <= 0).any(axis=1))[0])
            raise CameraError(
                f"Frame {frame} of the trajectory has a focal length that is not positive: mend that keyframe."
            )
        check_rigid(self.c2w, "trajectory")
        if not (1 <= self.width <= MAX_SIDE and 1 <= self.height <= MAX_SIDE):
            raise CameraError(
                f"The trajectory's image size {self.width}x{self.height} is impossible: give 1 to {MAX_SIDE} pixels."
            )
        if self.fps <= 0:
            raise CameraError(f"The trajectory's frame rate {self.fps} is not positive.")

    def __len__(self) -> int:
        return len(self.c2w)

    def camera(self, index: int) -> Camera:
        """The camera of one frame."""
        fx, fy, cx, cy = (float(v) for v in self.intrinsics[index])
        return Camera(self.c2w[index], Intrinsics(fx, fy, cx, cy, self.width, self.height))

    def source_frame(self, index: int, frames: int) -> int:
        """The clip frame shown at a sample: floor(t + 0.5), clamped to 0..frames-1."""
        return int(min(max(math.floor(self.source_time[index] + 0.5), 0), frames - 1))

    def resized(self, width: int, height: int) -> Trajectory:
        """The same cameras with their images resampled to another size."""
        sx, sy = width / self.width, height / self.height
        return replace(self, intrinsics=self.intrinsics * [sx, sy, sx, sy], width=width, height=height)


def invert_pose(pose: Array) -> Array:
    """Inverse of rigid 4x4 poses: (..., 4, 4) -> (..., 4, 4)."""
    rotation_t = np.swapaxes(pose[..., :3, :3], -1, -2)
    inverse = np.zeros_like(pose)
    inverse[..., :3, :3] = rotation_t
    inverse[..., :3, 3] = -(rotation_t @ pose[..., :3, 3:])[..., 0]
    inverse[..., 3, 3] = 1.0
    return inverse


def check_rigid(poses: Array, what: str) -> None:
    """Require (T, 4, 4) poses to be rotations and translations.

    Raises:
        CameraError: a pose is scaled, mirrored or sheared, or its last row is not 0 0 0 1.
    """
    rotation = poses[:, :3, :3]
    with np.errstate(all="ignore"):  # huge numbers overflow, and are refused
        error = np.abs(rotation @ np.swapaxes(rotation, 1, 2) - np.eye(3)).max(axis=(1, 2))
        mirrored = ~(np.linalg.det(rotation) >= 0)
    bad = ~(error <= 1e-3) | mirrored | (np.abs(poses[:, 3] - [0, 0, 0, 1]).max(axis=1) > 1e-6)
    if bad.any():
        raise CameraError(
            f"Frame {int(np.flatnonzero(bad)[0])} of the {what} is scaled, mirrored or sheared: "
            "poses must be camera-to-world rotations and translations."
        )


def look_at(eye: Array, target: Array, up: Array | None = None) -> Array:
    """Camera-to-world poses at `eye` looking at `target`, OpenCV axes.

    Args:
        eye: (..., 3) float64, scene units.
        target: (..., 3) float64, scene units.
        up: (3,) direction that appears upwards in the image; default -y, the OpenCV world's up.

    Returns:
        (..., 4, 4) float64.

    Raises:
        CameraError: the eye is on the target, or looks straight along `up`.
    """
    up = np.array([0.0, -1.0, 0.0]) if up is None else up
    forward = target - eye
    distance = np.linalg.norm(forward, axis=-1, keepdims=True)
    if (distance < 1e-9).any():
        raise CameraError("The camera stands on the point that it looks at: move one of them.")
    forward = forward / distance
    right = np.cross(forward, np.broadcast_to(up, forward.shape))
    length = np.linalg.norm(right, axis=-1, keepdims=True)
    if (length < 1e-6).any():
        raise CameraError("The camera looks straight up or down, where its roll is undefined: tilt it a little.")
    right = right / length
    down = np.cross(forward, right)
    pose = np.zeros((*forward.shape[:-1], 4, 4))
    pose[..., :3, 0], pose[..., :3, 1], pose[..., :3, 2], pose[..., :3, 3] = right, down, forward, eye
    pose[..., 3, 3] = 1.0
    return pose


# Strict: JSON numbers, and nothing that merely looks like one ("1", true).
_Number = Annotated[float, Field(strict=True)]
_Whole = Annotated[int, Field(strict=True)]


class _Sample(BaseModel):
    model_config = ConfigDict(extra="ignore")
    c2w: Annotated[list[Annotated[list[_Number], Field(min_length=4, max_length=4)]], Field(min_length=4, max_length=4)]
    intrinsics: tuple[_Number, _Number, _Number, _Number]
    source_time: _Number


class TrajectoryDocument(BaseModel):
    """`trajectory.json` (DESIGN section 3): its form; `trajectory_from_document` checks what the numbers mean."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)
    schema_: Literal["ex4d.trajectory/1"] = Field(alias="schema")
    width: _Whole
    height: _Whole
    fps: tuple[_Whole, _Whole]
    frame_start: _Whole = 0
    scene_hash: str | None = None
    frames: Annotated[list[_Sample], Field(min_length=1)]


def trajectory_to_document(trajectory: Trajectory) -> dict[str, object]:
    """The `trajectory.json` document (DESIGN section 3)."""
    return {
        "schema": TRAJECTORY_SCHEMA,
        "width": trajectory.width,
        "height": trajectory.height,
        "fps": [trajectory.fps.numerator, trajectory.fps.denominator],
        "frame_start": trajectory.frame_start,
        "scene_hash": trajectory.scene_hash,
        "frames": [
            {"c2w": pose.tolist(), "intrinsics": k.tolist(), "source_time": float(t)}
            for pose, k, t in zip(trajectory.c2w, trajectory.intrinsics, trajectory.source_time, strict=True)
        ],
    }


def trajectory_from_document(document: object, source: str = "trajectory") -> Trajectory:
    """Validate a parsed `trajectory.json`.

    Args:
        document: what `json.loads` returned.
        source: how to name the document in an error.

    Raises:
        CameraError: a field is missing, of the wrong kind, or not finite.
    """
    try:
        d = TrajectoryDocument.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise CameraError(
            f"{source} is not a trajectory: {where} is not as it must be ({first['msg'].lower()}): export it again."
        ) from error
    if d.fps[0] <= 0 or d.fps[1] <= 0:
        raise CameraError(f"{source} has the frame rate {d.fps[0]}/{d.fps[1]}: give two positive integers.")
    return Trajectory(
        c2w=np.array([s.c2w for s in d.frames], np.float64),
        intrinsics=np.array([s.intrinsics for s in d.frames], np.float64),
        source_time=np.array([s.source_time for s in d.frames], np.float64),
        width=d.width,
        height=d.height,
        fps=Fraction(*d.fps),
        frame_start=d.frame_start,
        scene_hash=d.scene_hash,
    )


def save_trajectory(trajectory: Trajectory, path: Path) -> None:
    """Write a trajectory as `.json` (all of it) or `.npz` (the reference's extrinsics and intrinsics).

    Raises:
        CameraError: another suffix.
        OutputError: the file cannot be written.
    """
    if path.suffix == ".json":
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(trajectory_to_document(trajectory), indent=1), encoding="utf-8")
    elif path.suffix == ".npz":
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                extrinsics=(OPENGL_FROM_OPENCV @ invert_pose(trajectory.c2w)).astype(np.float32),
                intrinsics=_npz_intrinsics(trajectory.intrinsics).astype(np.float32),
            )
    else:
        raise CameraError(f"Cannot write a trajectory as {path.name}: use a name ending in .json or .npz.")


def load_trajectory(path: Path, width: int, height: int, fps: Fraction) -> Trajectory:
    """Read a trajectory from `.json`, or from the reference's `.npz`.

    Args:
        path: the file.
        width: image size to assume for a `.npz` that does not imply it, pixels; likewise `height`.
        height: see `width`.
        fps: frame rate to assume for a `.npz`.

    Raises:
        CameraError: the file is missing, damaged, or not a trajectory.
    """
    if not path.is_file():
        raise CameraError(f"There is no trajectory file {path}: check the name.")
    if path.suffix == ".json":
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise CameraError(f"{path} is not readable as JSON ({error}): export the trajectory again.") from error
        return trajectory_from_document(document, str(path))
    if path.suffix == ".npz":
        return _load_npz(path, width, height, fps)
    raise CameraError(f"{path} is not a trajectory: give a .json or .npz file.")


def npz_size(path: Path) -> tuple[int, int]:
    """The image size that the reference's `.npz` implies: twice its principal point, pixels.

    Raises:
        CameraError: the file is missing or not a trajectory.
    """
    k = load_trajectory(path, 1, 1, Fraction(24)).intrinsics[0]
    return max(round(2 * k[2]), 1), max(round(2 * k[3]), 1)


def _npz_intrinsics(intrinsics: Array) -> Array:
    """(T, 4) -> (3, 3) where all frames agree, else (T, 3, 3)."""
    matrices = np.zeros((len(intrinsics), 3, 3))
    matrices[:, 0, 0], matrices[:, 1, 1] = intrinsics[:, 0], intrinsics[:, 1]
    matrices[:, 0, 2], matrices[:, 1, 2] = intrinsics[:, 2], intrinsics[:, 3]
    matrices[:, 2, 2] = 1.0
    return matrices[0] if (intrinsics == intrinsics[0]).all() else matrices


def _load_npz(path: Path, width: int, height: int, fps: Fraction) -> Trajectory:
    try:
        with np.load(path, allow_pickle=False) as data:
            extrinsics = np.asarray(data["extrinsics"], np.float64)
            k = np.asarray(data["intrinsics"], np.float64)
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise CameraError(
            f"{path} is not a trajectory: it needs the arrays 'extrinsics' (T,4,4) and 'intrinsics'."
        ) from error
    frames = len(extrinsics)
    if extrinsics.shape != (frames, 4, 4) or k.shape not in ((3, 3), (frames, 3, 3)) or not frames:
        raise CameraError(f"{path} has extrinsics {extrinsics.shape} and intrinsics {k.shape}: need (T,4,4), (3,3).")
    if not np.isfinite(extrinsics).all():
        bad = int(np.flatnonzero(~np.isfinite(extrinsics).all(axis=(1, 2)))[0])
        raise CameraError(f"Frame {bad} of {path} has a pose that is not a finite number: export it again.")
    w2c = OPENGL_FROM_OPENCV @ extrinsics  # the diagonal is its own inverse
    w2c[:, :3, :3] = _nearest_rotation(w2c[:, :3, :3])  # the file holds float32
    check_rigid(w2c, "trajectory")
    k = np.broadcast_to(k, (frames, 3, 3))
    return Trajectory(
        c2w=invert_pose(w2c),
        intrinsics=np.stack([k[:, 0, 0], k[:, 1, 1], k[:, 0, 2], k[:, 1, 2]], axis=1),
        source_time=np.arange(frames, dtype=np.float64),
        width=width,
        height=height,
        fps=fps,
    )


def _nearest_rotation(matrices: Array) -> Array:
    """Remove float32 rounding from almost-rotations (T, 3, 3); others are left for `check_rigid` to name."""
    u, s, vt = np.linalg.svd(matrices)
    almost = (np.abs(s - 1).max(axis=1) < 1e-4)[:, None, None]
    return np.where(almost, u @ vt, matrices)

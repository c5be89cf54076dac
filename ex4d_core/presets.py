"""Named camera moves.

Every move is written in the frame of one source camera (x right, y down, z forward, the eye at the origin)
and then carried into the scene's world. Lengths are given as shares of the `radius`, the distance of the
subject, so that a move means the same in metres and in relative depth. The presets named by an angle are
EX-4D's (`recon.py`, `random_camera_traj`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Array, Intrinsics, Trajectory, look_at
from ex4d_core.errors import CameraError

if TYPE_CHECKING:
    from ex4d_core.scene import Scene

DEFAULT_FRAMES = 49
"""Length of a path over a still, frames: what the video model makes in one go."""

MAX_FRAMES = 100_000
"""Longest path, frames: over an hour."""

# The reference adds this to the nearest depth, in units where the nearest depth of a clip is 10000/3900.
_REFERENCE_MARGIN = 0.15
_REFERENCE_NEAREST = 10000.0 / 3900.0

EASINGS: dict[str, Callable[[Array], Array]] = {
    "linear": lambda u: u,
    "ease_in": lambda u: u * u,
    "ease_out": lambda u: u * (2.0 - u),
    "ease_in_out": lambda u: u * u * (3.0 - 2.0 * u),
}


@dataclass(frozen=True)
class Move:
    """What a move is made of. A field that its preset does not use is an error, so that no wish is lost."""

    preset: str
    yaw: float | None = None
    """Degrees the eye goes around the subject, positive to the camera's right (`orbit`, `arc`)."""
    pitch: float | None = None
    """Degrees the eye rises over the subject, positive up (`orbit`, `arc`)."""
    amount: float | None = None
    """Length of the move as a share of the radius; signed (`dolly`, `truck`, `crane`, …)."""
    zoom: float | None = None
    """Factor on the focal length at the end of the move (`zoom`)."""
    turns: float | None = None
    """Times around (`spiral`, `figure8`)."""
    easing: str = "linear"
    there_and_back: bool = False
    """Return to the start in the second half."""
    look_at: tuple[float, float, float] | None = None
    """Point to look at and turn around, in the source camera's frame, scene units; default (0, 0, radius)."""

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise CameraError(f"There is no preset {self.preset!r}: choose one of {', '.join(PRESETS)}.")
        if self.easing not in EASINGS:
            raise CameraError(f"There is no easing {self.easing!r}: choose one of {', '.join(EASINGS)}.")
        used = PRESETS[self.preset].uses
        for name in ("yaw", "pitch", "amount", "zoom", "turns", "look_at"):
            value = getattr(self, name)
            if value is None:
                continue
            if name not in used:
                takes = ", ".join(f"--{u.replace('_', '-')}" for u in used) or "no such options"
                raise CameraError(
                    f"The preset {self.preset!r} does not use --{name.replace('_', '-')}: it takes {takes}."
                )
            if not np.isfinite(value).all():
                raise CameraError(f"--{name.replace('_', '-')} must be a finite number, not {value}: give one.")
        if self.look_at is not None and not any(self.look_at):
            raise CameraError("--look-at 0 0 0 is where the camera stands: give a point before it, such as 0 0 3.")
        if self.zoom is not None and self.zoom <= 0:
            raise CameraError(f"--zoom must be positive, not {self.zoom}: 2 doubles the focal length.")


@dataclass(frozen=True)
class _Path:
    """A move in the source camera's frame: poses (T, 4, 4) and the factor on the focal length (T,)."""

    c2w: Array
    focal: Array


@dataclass(frozen=True)
class Preset:
    """One named move."""

    help: str
    """One line for people."""
    uses: tuple[str, ...]
    """The fields of `Move` that it reads, besides easing and there_and_back."""
    path: Callable[[Move, Array, float], _Path]
    """From the move, eased progress (T,) 0..1 and radius to poses."""


def _target(move: Move, radius: float) -> Array:
    return np.array(move.look_at if move.look_at is not None else (0.0, 0.0, radius), np.float64)


def _looking(eye: Array, target: Array) -> _Path:
    return _Path(look_at(eye, np.broadcast_to(target, eye.shape)), np.ones(len(eye)))


def _gliding(eye: Array, focal: Array | None = None) -> _Path:
    """Move without turning."""
    c2w = np.tile(np.eye(4), (len(eye), 1, 1))
    c2w[:, :3, 3] = eye
    return _Path(c2w, np.ones(len(eye)) if focal is None else focal)


def _along(direction: tuple[float, float, float], amount: Array) -> Array:
    return amount[:, None] * np.array(direction)


def _around(yaw: Array, pitch: Array, target: Array) -> _Path:
    """Turn the source camera rigidly about the target: yaw about the vertical, then pitch over it.

    The camera keeps its distance and its framing: a target off the axis stays where it is in the picture.
    """
    c2w = np.tile(np.eye(4), (len(yaw), 1, 1))
    cos_y, sin_y, cos_p, sin_p = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    # R = R_y(-yaw) R_x(-pitch): positive yaw carries the eye to the right, positive pitch carries it up.
    c2w[:, 0, 0], c2w[:, 0, 1], c2w[:, 0, 2] = cos_y, sin_y * sin_p, -sin_y * cos_p
    c2w[:, 1, 0], c2w[:, 1, 1], c2w[:, 1, 2] = 0.0, cos_p, sin_p
    c2w[:, 2, 0], c2w[:, 2, 1], c2w[:, 2, 2] = sin_y, -cos_y * sin_p, cos_y * cos_p
    c2w[:, :3, 3] = target - c2w[:, :3, :3] @ target
    return _Path(c2w, np.ones(len(yaw)))


def _orbit(move: Move, u: Array, radius: float) -> _Path:
    yaw = 60.0 if move.yaw is None and move.pitch is None else move.yaw or 0.0
    return _around(u * math.radians(yaw), u * math.radians(move.pitch or 0.0), _target(move, radius))


def _arc(move: Move, u: Array, radius: float) -> _Path:
    swing = 2.0 * u - 1.0
    yaw = 30.0 if move.yaw is None and move.pitch is None else move.yaw or 0.0
    return _around(swing * math.radians(yaw), swing * math.radians(move.pitch or 0.0), _target(move, radius))


def _dolly(move: Move, u: Array, radius: float) -> _Path:
    return _gliding(_along((0, 0, 1), u * radius * _or(move.amount, 0.4)))


def _truck(move: Move, u: Array, radius: float) -> _Path:
    return _gliding(_along((1, 0, 0), u * radius * _or(move.amount, 0.4)))


def _crane(move: Move, u: Array, radius: float) -> _Path:
    return _looking(_along((0, -1, 0), u * radius * _or(move.amount, 0.5)), _target(move, radius))


def _zoom(move: Move, u: Array, radius: float) -> _Path:
    return _gliding(np.zeros((len(u), 3)), _or(move.zoom, 1.5) ** u)


def _dolly_zoom(move: Move, u: Array, radius: float) -> _Path:
    forward = u * _or(move.amount, 0.4)
    if (forward >= 1.0).any():
        raise CameraError("A dolly_zoom of 1 or more reaches the subject: give --amount below 1.")
    return _gliding(_along((0, 0, 1), forward * radius), 1.0 - forward)


def _spiral(move: Move, u: Array, radius: float) -> _Path:
    angle = 2 * np.pi * _or(move.turns, 1.0) * u
    reach = radius * _or(move.amount, 0.25) * u
    eye = np.stack([reach * np.cos(angle), reach * np.sin(angle), reach], axis=1)
    return _looking(eye, _target(move, radius))


def _figure8(move: Move, u: Array, radius: float) -> _Path:
    angle = 2 * np.pi * _or(move.turns, 1.0) * u
    reach = radius * _or(move.amount, 0.25)
    eye = np.stack([reach * np.sin(angle), -reach / 2 * np.sin(2 * angle), np.zeros_like(u)], axis=1)
    return _looking(eye, _target(move, radius))


def _static(move: Move, u: Array, radius: float) -> _Path:
    return _gliding(np.zeros((len(u), 3)))


def _reference_side(degrees: float) -> Callable[[Move, Array, float], _Path]:
    """The reference's `--cam 30/60/90`: sideways to the angle, a little up, about (0, 0, radius).

    The reference also stretches the angle where a clip has not 49 frames; ours ends at the angle it is
    named after.
    """

    def path(move: Move, u: Array, radius: float) -> _Path:
        angle = np.radians(degrees) * u
        cos = np.abs(np.cos(angle))
        eye = np.stack([np.sin(angle), 0.2 * (cos - 1), 1 - cos], axis=1) * radius
        return _looking(eye, np.array([0.0, 0.0, radius]))

    return path


def _reference_180(move: Move, u: Array, radius: float) -> _Path:
    """The reference's `--cam 180`: an ellipse in the image plane, to both sides and back."""
    angle = 2 * np.pi * u
    eye = np.stack([np.sin(angle), 0.2 * (np.cos(angle) - 1), np.zeros_like(u)], axis=1) * radius
    return _looking(eye, np.array([0.0, 0.0, radius]))


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


PRESETS: dict[str, Preset] = {
    "orbit": Preset("around the subject to --yaw and --pitch", ("yaw", "pitch", "look_at"), _orbit),
    "arc": Preset("past the source view, from minus to plus --yaw", ("yaw", "pitch", "look_at"), _arc),
    "dolly": Preset("straight ahead; negative --amount goes back", ("amount",), _dolly),
    "truck": Preset("sideways; negative --amount goes left", ("amount",), _truck),
    "crane": Preset("up, looking at the subject", ("amount", "look_at"), _crane),
    "zoom": Preset("only the lens, to --zoom times the focal length", ("zoom",), _zoom),
    "dolly_zoom": Preset("ahead while the lens widens: the subject keeps its size", ("amount",), _dolly_zoom),
    "spiral": Preset("widening circles while moving ahead", ("amount", "turns", "look_at"), _spiral),
    "figure8": Preset("a lying eight before the subject", ("amount", "turns", "look_at"), _figure8),
    "static": Preset("the source view", (), _static),
    "30": Preset("EX-4D's move to 30 degrees", (), _reference_side(30)),
    "60": Preset("EX-4D's move to 60 degrees", (), _reference_side(60)),
    "90": Preset("EX-4D's move to 90 degrees", (), _reference_side(90)),
    "180": Preset("EX-4D's move to both sides and back", (), _reference_180),
    "zoom_in": Preset("ahead by 0.45 of the radius", (), lambda m, u, r: _gliding(_along((0, 0, 1), 0.45 * r * u))),
    "zoom_out": Preset("back by 0.6 of the radius", (), lambda m, u, r: _gliding(_along((0, 0, -1), 0.6 * r * u))),
}
REFERENCE_PRESETS = ("30", "60", "90", "180", "zoom_in", "zoom_out")


def progress_of(move: Move, frames: int) -> Array:
    """Eased progress of a move: (frames,) float64 in 0..1."""
    u = np.linspace(0.0, 1.0, frames)
    if move.there_and_back:
        u = 1.0 - np.abs(2.0 * u - 1.0)
    return EASINGS[move.easing](u)


def source_times(clip_frames: int, frames: int | None, freeze: float | None, speed: float) -> Array:
    """The moment of the clip for each output frame.

    Args:
        clip_frames: length of the clip.
        frames: output frames; default: the whole clip once at `speed` (49 where time stands still).
        freeze: clip frame to hold, or None.
        speed: clip frames per output frame; 0.5 is slow motion.

    Returns:
        (T,) float64, clip frames.

    Raises:
        CameraError: a frame outside the clip, or a speed that is not positive.
    """
    if frames is not None and not 1 <= frames <= MAX_FRAMES:
        raise CameraError(f"--frames {frames} is impossible: give 1 to {MAX_FRAMES}.")
    if freeze is not None:
        if not 0 <= freeze <= clip_frames - 1:
            raise CameraError(f"--freeze {freeze:g} is outside the clip: choose 0 to {clip_frames - 1}.")
        if speed != 1.0:
            raise CameraError("--freeze holds one moment, so it does not go with --speed: choose one of them.")
        return np.full(frames or DEFAULT_FRAMES, float(freeze))
    if not (math.isfinite(speed) and speed > 0):
        raise CameraError(f"--speed must be positive, not {speed:g}: 0.5 is half speed.")
    if frames is None:
        frames = DEFAULT_FRAMES if clip_frames == 1 else max(int((clip_frames - 1) / speed + 1e-9) + 1, 1)
    return np.minimum(np.arange(frames) * speed, clip_frames - 1.0)


def subject_distance(depth: NDArray[np.float32]) -> float:
    """Distance of the subject: a quarter of the middle of the picture is nearer.

    Args:
        depth: (H, W) float32, z-depth in scene units.
    """
    height, width = depth.shape
    middle = depth[height // 6 : height - height // 6, width // 6 : width - width // 6]
    return float(np.percentile(middle, 25))


def reference_radius(first_depth: NDArray[np.float32], nearest: float) -> float:
    """The reference's orbit radius: nearest depth of the first frame plus a margin.

    The reference adds 0.15 in units in which the nearest depth of a whole clip is 2.564 (`recon.py`); here
    the same share of `nearest`, so that the units do not matter. It looks after it has moved the outermost pixels
    far away, so these do not count.

    Args:
        first_depth: (H, W) float32, z-depth of frame 0, scene units.
        nearest: smallest depth of the whole clip, scene units.
    """
    inner = first_depth[1:-1, 1:-1]
    closest = float((inner if inner.size else first_depth).min())
    return closest + _REFERENCE_MARGIN * nearest / _REFERENCE_NEAREST


def path_of(move: Move, frames: int, radius: float) -> Array:
    """The poses of a move: (frames, 4, 4) float64, in the space of the source camera.

    Args:
        move: what to do.
        frames: length of the path.
        radius: distance of the subject, scene units, positive.

    Raises:
        CameraError: a radius that is not positive, or a move that looks straight up or down.
    """
    return _path(move, frames, radius).c2w


def _path(move: Move, frames: int, radius: float) -> _Path:
    if not (math.isfinite(radius) and radius > 0):
        raise CameraError(f"The radius must be a positive length, not {radius:g}: give the subject's distance.")
    return PRESETS[move.preset].path(move, progress_of(move, frames), radius)


def make_trajectory(
    move: Move,
    intrinsics: Intrinsics,
    source_time: Array,
    *,
    radius: float,
    fps: Fraction,
    base: Array | None = None,
    scene_hash: str | None = None,
) -> Trajectory:
    """Carry a move into the world.

    Args:
        move: what to do.
        intrinsics: the lens and size of the output.
        source_time: (T,) float64, clip frames; its length is the length of the path.
        radius: distance of the subject, scene units, positive.
        fps: output frame rate.
        base: (4, 4) camera-to-world in which the move stands, or (T, 4, 4) to follow a moving camera;
            default identity.
        scene_hash: content hash of the scene that the path was made for.

    Raises:
        CameraError: a radius that is not positive, or a move that looks straight up or down.
    """
    frames = len(source_time)
    path = _path(move, frames, radius)
    k = np.tile(np.array(intrinsics.as_tuple()), (frames, 1))
    k[:, :2] *= path.focal[:, None]
    return Trajectory(
        c2w=(np.eye(4) if base is None else base) @ path.c2w,
        intrinsics=k,
        source_time=source_time,
        width=intrinsics.width,
        height=intrinsics.height,
        fps=fps,
        scene_hash=scene_hash,
    )


def preset(
    scene: Scene,
    move: Move | str,
    *,
    frames: int | None = None,
    radius: float | None = None,
    follow: bool = False,
    freeze: float | None = None,
    speed: float = 1.0,
) -> Trajectory:
    """A named move through a scene.

    Args:
        scene: gives lens, size, frame rate, source cameras, and the radius from its depth.
        move: a `Move`, or a preset's name for its defaults.
        frames: length of the path; default: the clip's (49 for a still or a frozen moment).
        radius: distance of the subject, scene units; default: see `subject_distance`,
            for the reference's presets the reference's own rule. A `look_at` point sets it too.
        follow: let the move stand in each frame's source camera instead of the first one's.
        freeze: hold this clip frame.
        speed: clip frames per output frame.

    Raises:
        CameraError: see `Move`, `source_times` and `make_trajectory`.
    """
    move = Move(move) if isinstance(move, str) else move
    times = source_times(scene.frames, frames, freeze, speed)
    first = min(max(math.floor(times[0] + 0.5), 0), scene.frames - 1)
    if radius is None and move.look_at is not None:
        radius = float(np.linalg.norm(move.look_at))
    if radius is None:
        depth = scene.depth(first)
        if move.preset in REFERENCE_PRESETS:
            nearest = min(float(scene.depth(t).min()) for t in range(scene.frames))
            radius = reference_radius(depth, nearest)
        else:
            radius = subject_distance(depth)
    shown = np.clip(np.floor(times + 0.5).astype(int), 0, scene.frames - 1) if follow else np.array([first])
    base = np.stack([scene.source_camera(int(t)).c2w for t in shown])
    return make_trajectory(
        move,
        scene.intrinsics(first),
        times,
        radius=radius,
        fps=scene.fps,
        base=base if follow else base[0],
        scene_hash=scene.content_hash,
    )

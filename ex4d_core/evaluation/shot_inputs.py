"""A generated video and the true views that it is compared with, read and matched frame by frame."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Trajectory, invert_pose, load_trajectory
from ex4d_core.clip import ClipInfo, iter_frames, probe_clip
from ex4d_core.errors import InputError
from ex4d_core.evaluation.shot_ranges import range_of
from ex4d_core.evaluation.truth import Truth, open_truth
from ex4d_core.evaluation.truth_format import META_FILE
from ex4d_core.images import to_uint8
from ex4d_core.scene import Scene
from ex4d_core.scene_format import SCENE_FILE
from ex4d_core.shot import MASK_FILE, SHOT_FILE, TRAJECTORY_FILE, read_shot

LEAST_SIDE = 11
"""Pixels that a picture needs on each side to be compared: the window of SSIM."""
_OUTPUTS = ("output", "output.mp4")
"""What an engine writes into a shot folder; its pictures lost nothing, the video did."""

Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class AskedShot:
    """What is compared with what."""

    shot: Path
    """A shot folder, what `ex4d reshoot` wrote, a video, or a folder of frames."""
    truth: Path
    """A video or a folder of frames of the true view, or a folder of ground truth (see `truth`)."""
    path: str | None = None
    """Of the ground truth's paths."""
    mask: Path | None = None
    """A video or a folder of masks, white where the footage shows what the true view shows."""


@dataclass(frozen=True)
class Pair:
    """Both, at one size."""

    shot: str
    truth: str
    path: str
    """Empty where the truth has only one."""
    video: Frames
    """(T, H, W, 3) uint8 sRGB: all of the generated video."""
    shown: tuple[int, ...]
    """Those of its frames whose true view is known, K."""
    truths: Frames
    """(K, H, W, 3) uint8 sRGB."""
    masks: NDArray[np.bool_] | None
    """(K, H, W) bool, True = co-visible; None: not known."""
    camera: Trajectory | None
    """The path that the video should follow, T frames at its size: the ground truth's, else the one that it was made
    for; None: not known."""
    range: str
    """Of `shot_ranges.RANGES`; empty where the path is not known."""

    @property
    def whole(self) -> bool:
        """Whether each frame of the video has its true view."""
        return self.shown == tuple(range(len(self.video)))


def read_pair(asked: AskedShot, resize: bool = False) -> Pair:
    """Read a generated video and its truth.

    Args:
        asked: where they are.
        resize: bring the video (and a mask) to the size of the truth; else other sizes are refused.

    Raises:
        InputError: something is missing, damaged, or does not go together; says what to do.
        CameraError: the shot's trajectory is damaged.
    """
    folder, output = _find_output(asked.shot)
    truth = open_truth(asked.truth) if (asked.truth / META_FILE).is_file() else None
    path = _chosen_path(truth, asked)
    about = probe_clip(output)
    size = truth.stored if truth is not None else _size(probe_clip(asked.truth))
    _require_size(about, size, asked.truth, resize)
    video = _read(output, size, about.frames)
    camera = None if folder is None else _trajectory(folder, about, size)
    own_mask = None if folder is None or not (folder / MASK_FILE).is_file() else folder / MASK_FILE
    if truth is None:
        _require_length(asked, about.frames)
        shown, masks = tuple(range(about.frames)), None
        truths = _read(asked.truth, size, about.frames)
        views = None if camera is None or folder is None else _views(folder, camera)
    else:
        moments = _moments(truth, camera, about)
        shown, own_mask = _shown(truth, moments, about), None
        truths, masks = truth.target_colors(path), _visible(truth, path)
        views = invert_pose(truth.target_from_source[path])
        camera = _true_camera(truth, path, moments, about)
    if (mask := asked.mask or own_mask) is not None:
        masks = _masks(mask, size, about.frames, shown, resize)
    group = "" if views is None else range_of(views)
    name = asked.truth.name if truth is None else truth.name
    return Pair(asked.shot.name, name, path, video, shown, truths, masks, camera, group)


def _find_output(shot: Path) -> tuple[Path | None, Path]:
    """The shot folder, if it is one, and the video or frames in it."""
    folder = shot / "shot" if (shot / "shot" / SHOT_FILE).is_file() else shot
    found = [folder / name for name in _OUTPUTS if (folder / name).exists()]
    if found:
        return folder, found[0]
    if (folder / SHOT_FILE).is_file():
        raise InputError(f"{folder} has no video yet: run `ex4d generate {folder}` first.")
    return None, shot


def _chosen_path(truth: Truth | None, asked: AskedShot) -> str:
    if truth is None:
        if asked.path is not None:
            raise InputError(f"{asked.truth} has no paths, it is one view: leave out --path.")
        return ""
    known = ", ".join(truth.paths)
    if asked.path is None:
        raise InputError(f"{asked.truth} has the views of several paths: give one of {known} with --path.")
    if asked.path not in truth.paths:
        raise InputError(f"{asked.truth} has no path {asked.path}: choose from {known}.")
    return asked.path


def _size(info: ClipInfo) -> tuple[int, int]:
    return info.width, info.height


def _require_size(info: ClipInfo, size: tuple[int, int], truth: Path, resize: bool) -> None:
    if min(size) < LEAST_SIDE:
        raise InputError(f"{truth} has {size[0]}x{size[1]} pixels: give at least {LEAST_SIDE} on each side.")
    if _size(info) != size and not resize:
        raise InputError(
            f"{info.path} has {info.width}x{info.height} pixels and {truth} {size[0]}x{size[1]}: "
            "generate at that size, or add --resize to bring it to the size of the truth."
        )


def _read(path: Path, size: tuple[int, int], frames: int) -> Frames:
    """(T, H, W, 3) uint8."""
    found = np.empty((frames, size[1], size[0], 3), np.uint8)
    for index, frame in enumerate(iter_frames(path, size=size)):
        found[index] = to_uint8(frame)
    return found


def _require_length(asked: AskedShot, frames: int) -> None:
    info = probe_clip(asked.truth)
    if info.frames != frames:
        raise InputError(
            f"{asked.shot} has {frames} frames and {asked.truth} {info.frames}: give the true view of each frame, "
            "neither more nor less."
        )


def _trajectory(folder: Path, about: ClipInfo, size: tuple[int, int]) -> Trajectory | None:
    file = folder / TRAJECTORY_FILE
    if not file.is_file():
        return None
    camera = load_trajectory(file, about.width, about.height, about.fps)
    if len(camera) != about.frames:
        raise InputError(f"{file} has {len(camera)} frames and {about.path} {about.frames}: generate the shot again.")
    return camera.resized(*size)


def _moments(truth: Truth, camera: Trajectory | None, about: ClipInfo) -> tuple[int, ...]:
    """The frame of a ground truth's clip that each frame of the video shows."""
    keys = truth.key_frames
    if camera is not None:
        return tuple(camera.source_frame(index, truth.frames) for index in range(len(camera)))
    if about.frames == truth.frames:
        return tuple(range(truth.frames))
    if about.frames == len(keys):
        return keys
    raise InputError(
        f"{about.path} has {about.frames} frames, and {truth.folder} the views of {len(keys)} of its {truth.frames}: "
        f"give all {truth.frames}, or the frames {_listed(keys)} alone."
    )


def _shown(truth: Truth, moments: tuple[int, ...], about: ClipInfo) -> tuple[int, ...]:
    """The video's frame of each key frame of a ground truth."""
    if any(moments.count(key) != 1 for key in truth.key_frames):
        raise InputError(
            f"{about.path} does not show each of the frames {_listed(truth.key_frames)} of {truth.folder} once: "
            "render the shot without --freeze and --speed, over all of the clip."
        )
    return tuple(moments.index(key) for key in truth.key_frames)


def _listed(keys: tuple[int, ...]) -> str:
    return ", ".join(map(str, keys[:12])) + (" ..." if len(keys) > 12 else "")


def _visible(truth: Truth, path: str) -> NDArray[np.bool_]:
    """(K, H, W): what the source camera saw in any frame, where the truth knows that; else at that time."""
    ever = [truth.target_ever(path, key) for key in truth.key_frames]
    return np.stack(
        [truth.target_visible(path, key) if e is None else e for e, key in zip(ever, truth.key_frames, strict=True)]
    )


def _masks(path: Path, size: tuple[int, int], frames: int, shown: tuple[int, ...], resize: bool) -> NDArray[np.bool_]:
    """(K, H, W) bool of a video or folder of masks, one for each frame of the video or for each true view."""
    info = probe_clip(path)
    if info.frames not in (frames, len(shown)):
        wanted = f"{frames}" if len(shown) == frames else f"{frames} or {len(shown)}"
        raise InputError(f"The mask {path} has {info.frames} frames: give {wanted}, as the video and the truth have.")
    if _size(info) != size and not resize:
        raise InputError(
            f"The mask {path} has {info.width}x{info.height} pixels, the truth {size[0]}x{size[1]}: "
            "make it in that size, or add --resize."
        )
    found = _read(path, size, info.frames)[..., 0] > 127
    return found if info.frames == len(shown) else found[list(shown)]


def _views(folder: Path, camera: Trajectory) -> NDArray[np.float64]:
    """(T, 4, 4): the path in the source camera of its scene, if that is there; else in its own first camera."""
    if (folder / SHOT_FILE).is_file() and (reference := read_shot(folder).scene) is not None:
        place = folder / reference.path
        if (place / SCENE_FILE).is_file():
            scene = Scene.open(place)
            moments = [camera.source_frame(index, scene.frames) for index in range(len(camera))]
            return np.stack([scene.source_camera(m).w2c() for m in moments]) @ camera.c2w
    return invert_pose(camera.c2w[0]) @ camera.c2w


def _true_camera(truth: Truth, path: str, moments: tuple[int, ...], about: ClipInfo) -> Trajectory:
    """The path of the true view, of the video's frames; it has what the source camera did, known or not."""
    poses = truth.source_c2w @ invert_pose(truth.target_from_source[path])
    lens = np.repeat(np.array([truth.lens.as_tuple()]), len(moments), axis=0)
    times = np.array(moments, np.float64)
    return Trajectory(poses[list(moments)], lens, times, *truth.stored, Fraction(about.fps))

"""A solved camera of the footage, from whatever program solved it: our trajectories, and COLMAP's models.

COLMAP solves pictures, and names them; a clip has frames. `_numbered` says which is which. Frames that were not
solved, between others that were, are interpolated where they are few.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics, Trajectory, invert_pose, load_trajectory
from ex4d_core.clip import ClipInfo
from ex4d_core.colmap import ColmapCamera, ColmapImage, ColmapModel, is_colmap, read_colmap
from ex4d_core.distortion import Distortion, Model
from ex4d_core.errors import CameraError

Floats = NDArray[np.float64]

LONGEST_GAP = 12
"""Frames not solved in a row that are interpolated: half a second of film. Beyond it a camera does what it likes."""

_JUMP = 0.01
"""Change of the focal length from frame to frame, as a share, that is said where the lens does not zoom."""

_ACCEPTED: dict[str, tuple[Model | None, bool]] = {
    # COLMAP's model -> ours, and whether it has one focal length for both axes
    "SIMPLE_PINHOLE": (None, True),
    "PINHOLE": (None, False),
    "SIMPLE_RADIAL": ("opencv", True),
    "RADIAL": ("opencv", True),
    "OPENCV": ("opencv", False),
    "FULL_OPENCV": ("opencv", False),
    "OPENCV_FISHEYE": ("opencv-fisheye", False),
    "SIMPLE_RADIAL_FISHEYE": ("opencv-fisheye", True),
    "RADIAL_FISHEYE": ("opencv-fisheye", True),
}


@dataclass(frozen=True)
class SolvedPoints:
    """What a solve found in space, and in which frames."""

    positions: Floats
    """(P, 3) float64, in the world and scale of the solve's poses."""
    seen: tuple[NDArray[np.intp], ...]
    """For each frame of the trajectory the indices of the points seen in it."""


@dataclass(frozen=True)
class Solve:
    """A solved camera."""

    trajectory: Trajectory
    """A pose and a lens for each frame; without distortion, even if the footage has some (see `Distortion.pinhole`)."""
    distortion: Distortion | None = None
    """What is to be removed from the footage, at the size that was solved."""
    points: SolvedPoints | None = None
    """For `solve_scale.fit_scale`."""
    has_scale: bool = True
    """Whether its units may be those of the depth; pictures alone, which COLMAP solves, tell none."""
    notes: tuple[str, ...] = ()
    """What people should know; one sentence each."""


def load_solve(
    path: Path, info: ClipInfo, files: Sequence[str] | None = None, *, start: int = 0, frames: int | None = None
) -> Solve:
    """Read a solved camera.

    Args:
        path: a `.json` or `.npz` trajectory, or a folder with a COLMAP model (text or binary).
        info: the clip.
        files: names of the clip's images in their order, if it is a sequence.
        start: first frame that is wanted, of the clip. A COLMAP model may lack others; trajectories come whole.
        frames: how many are wanted; None: all that follow.

    Raises:
        CameraError: it is missing, damaged, of a kind that is not read, or lacks frames.
    """
    if is_colmap(path):
        return _from_colmap(path, info, files, start, info.frames - start if frames is None else frames)
    if path.is_dir():
        raise CameraError(f"{path} holds no solved camera: give a folder with COLMAP's cameras and images, or a file.")
    trajectory = load_trajectory(path, info.width, info.height, info.fps)
    _require_believable(path, trajectory)
    return Solve(trajectory)


def _from_colmap(path: Path, info: ClipInfo, files: Sequence[str] | None, start: int, count: int) -> Solve:
    model = read_colmap(path)
    numbered, matched = _numbered(path, [image.name for image in model.images], info, files)
    solved = dict(zip(numbered, model.images, strict=True))
    wanted = range(start, start + count)
    gaps = _gaps(path, sorted(solved), wanted)
    lenses = {number: _lens(path, model.cameras[image.camera]) for number, image in solved.items()}
    sizes = {(lens.width, lens.height) for lens, _ in lenses.values()}
    distortions = {distortion for _, distortion in lenses.values()}
    if len(sizes) > 1 or len(distortions) > 1:
        raise CameraError(
            f"{path} has several cameras, but a clip has one lens: solve with one camera for all images "
            "(--ImageReader.single_camera 1), or undistort them first."
        )
    distortion = distortions.pop()
    c2w, intrinsics = _filled(solved, {n: lens for n, (lens, _) in lenses.items()}, wanted)
    if distortion is not None:
        intrinsics[:] = distortion.pinhole().as_tuple()
    width, height = sizes.pop()
    trajectory = Trajectory(c2w, intrinsics, np.arange(start, start + count, dtype=np.float64), width, height, info.fps)
    _require_believable(path, trajectory)
    points = _points(model, solved, wanted)
    notes = (*matched, *_notes(path, gaps, start, intrinsics))
    return Solve(trajectory, distortion, points, has_scale=False, notes=notes)


def _require_believable(path: Path, trajectory: Trajectory) -> None:
    for frame in range(len(trajectory)):
        trajectory.camera(frame).intrinsics.require_believable(f"Frame {frame} of the camera solve {path}")


def _numbered(
    path: Path, names: list[str], info: ClipInfo, files: Sequence[str] | None
) -> tuple[list[int], tuple[str, ...]]:
    """The clip's frame of each picture that was solved, and a sentence for people if that is a guess.

    By its file's name if the clip has files; else by the number in it, counted as the clip's files are, or from 1 as
    FFmpeg does, or from 0 if there is a 0; else by order, if there are as many pictures as frames.
    """
    bare = [PurePosixPath(name.replace("\\", "/")).name for name in names]
    if files is not None:
        for key in (str, _stem):
            places = {key(file): frame for frame, file in enumerate(files)}
            if all(key(name) in places for name in bare):
                return _each_once(path, names, [places[key(name)] for name in bare]), ()
    found = [re.findall(r"\d+", _stem(name)) for name in bare]
    if all(found):
        numbers = [int(digits[-1]) for digits in found]
        first = info.first_number if info.first_number is not None else (0 if 0 in numbers else 1)
        if first <= min(numbers) and max(numbers) - first < info.frames:
            return _each_once(path, names, [number - first for number in numbers]), ()
        if max(numbers) - min(numbers) + 1 == info.frames:
            note = (
                f"The images of {path.name} are numbered {min(numbers)} to {max(numbers)} and the clip's frames "
                f"{first} to {first + info.frames - 1}: {min(numbers)} is taken for the first."
            )
            return _each_once(path, names, [number - min(numbers) for number in numbers]), (note,)
    if len(names) == info.frames:
        order = sorted(range(len(names)), key=lambda index: _natural(bare[index]))
        frame_of = {index: frame for frame, index in enumerate(order)}
        note = (
            f"The names of the images of {path.name} do not tell which frames they are: they are taken in the order "
            f"of their names, {bare[order[0]]} for the first."
        )
        return [frame_of[index] for index in range(len(names))], (note,)
    raise CameraError(
        f"The names of the {len(names)} images of {path} (such as {names[0]}) do not tell which of the clip's "
        f"{info.frames} frames they are: solve every frame, and number the images from 1."
    )


def _each_once(path: Path, names: list[str], frames: list[int]) -> list[int]:
    first: dict[int, str] = {}
    for name, frame in zip(names, frames, strict=True):
        if frame in first:
            raise CameraError(
                f"{first[frame]} and {name} of {path} are both frame {frame} of the clip: solve each frame once."
            )
        first[frame] = name
    return frames


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts digits as numbers."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _gaps(path: Path, solved: list[int], wanted: range) -> list[tuple[int, int]]:
    """Runs of frames (first, last) that have to be interpolated; those that cannot be are refused."""
    inner = [frame for frame in solved if frame in wanted]
    before, after = [f for f in solved if f < wanted.start], [f for f in solved if f >= wanted.stop]
    if not inner or (inner[0] != wanted[0] and not before) or (inner[-1] != wanted[-1] and not after):
        remedy = (
            f"take only those with --start {solved[0]} --frames {solved[-1] - solved[0] + 1}"
            if inner
            else "solve the part of the clip that is taken"
        )
        raise CameraError(
            f"{path} solves frames {solved[0]} to {solved[-1]}, but {wanted[0]} to {wanted[-1]} are taken: "
            f"solve them all, or {remedy}."
        )
    known = before[-1:] + inner + after[:1]
    gaps = [(a + 1, b - 1) for a, b in pairwise(known) if b > a + 1]
    if long := [gap for gap in gaps if gap[1] - gap[0] >= LONGEST_GAP]:
        raise CameraError(
            f"{path} lacks frames {_ranges(long)}, more than {LONGEST_GAP} in a row, which is too long to guess "
            "between: solve them too, or import the parts one by one."
        )
    return gaps


def _ranges(gaps: list[tuple[int, int]]) -> str:
    named = [str(a) if a == b else f"{a} to {b}" for a, b in gaps]
    return ", ".join(named[:5]) + (f" and {len(named) - 5} more" if len(named) > 5 else "")


def _notes(path: Path, gaps: list[tuple[int, int]], start: int, intrinsics: Floats) -> tuple[str, ...]:
    notes: list[str] = []
    if gaps:
        notes.append(f"{path.name} lacks frames {_ranges(gaps)}: their cameras are interpolated between neighbours.")
    if (jump := _jump(intrinsics[:, 0])) is not None:
        frame, share = jump
        notes.append(
            f"The lens of {path.name} jumps, by {100 * share:.0f} % at frame {start + frame}: if the footage does not "
            "zoom or cut there, solve it with one camera for all images (--ImageReader.single_camera 1)."
        )
    return tuple(notes)


def _jump(focal: Floats) -> tuple[int, float] | None:
    """The frame before which a focal length (T,) changes most, and its share, if it does so by itself.

    The steps of a zoom are like their neighbours; those between two cameras, or of noise, are not.
    """
    step = np.diff(np.log(focal))
    padded = np.pad(step, 1)
    around = np.abs(step - np.stack([padded[:-2], padded[2:]])).min(axis=0)
    jumps = np.where((np.abs(step) > _JUMP) & (around > np.abs(step) / 2), np.abs(step), 0.0)
    if not jumps.any():
        return None
    frame = int(jumps.argmax())
    return frame + 1, float(np.expm1(jumps[frame]))


def _lens(path: Path, camera: ColmapCamera) -> tuple[Intrinsics, Distortion | None]:
    """The lens of the footage, and how it bends."""
    if camera.model not in _ACCEPTED:
        raise CameraError(
            f"{path} has a camera of the model {camera.model}, which is not read: solve with one of "
            f"{', '.join(_ACCEPTED)}."
        )
    model, one_focal = _ACCEPTED[camera.model]
    fx, fy, cx, cy, *bend = camera.parameters[:1] * one_focal + camera.parameters
    lens = Intrinsics(fx, fy, cx, cy, camera.width, camera.height)
    if model is None or not any(bend):
        return lens, None
    length = 4 if len(bend) <= 4 else 8
    return lens, Distortion(model, (*bend, *[0.0] * (length - len(bend))), lens)


def _filled(solved: dict[int, ColmapImage], lenses: dict[int, Intrinsics], wanted: range) -> tuple[Floats, Floats]:
    """Camera-to-world poses (T, 4, 4) and intrinsics (T, 4) of the wanted frames."""
    known = sorted(solved)
    poses, intrinsics = np.tile(np.eye(4), (len(wanted), 1, 1)), np.zeros((len(wanted), 4))
    for row, frame in enumerate(wanted):
        after = next(number for number in known if number >= frame)
        before = max((number for number in known if number <= frame), default=after)
        share = 0.0 if after == before else (frame - before) / (after - before)
        poses[row] = _between(invert_pose(solved[before].w2c), invert_pose(solved[after].w2c), share)
        pair = np.array([lenses[before].as_tuple(), lenses[after].as_tuple()])
        intrinsics[row] = pair[0] + (pair[1] - pair[0]) * share
    return poses, intrinsics


def _between(first: Floats, last: Floats, share: float) -> Floats:
    """A camera-to-world pose on the way: the position along a line, the rotation about one axis."""
    pose = first.copy()
    turn, _ = cv2.Rodrigues(first[:3, :3].T @ last[:3, :3])
    part, _ = cv2.Rodrigues(np.asarray(turn, np.float64) * share)
    pose[:3, :3] = first[:3, :3] @ part
    pose[:3, 3] = first[:3, 3] + (last[:3, 3] - first[:3, 3]) * share
    return pose


def _points(model: ColmapModel, solved: dict[int, ColmapImage], wanted: range) -> SolvedPoints | None:
    if not len(model.point_ids):
        return None
    seen: list[NDArray[np.intp]] = []
    for frame in wanted:
        ids = solved[frame].points if frame in solved else np.empty(0, np.int64)
        places = np.searchsorted(model.point_ids, ids).clip(max=len(model.point_ids) - 1)
        seen.append(places[model.point_ids[places] == ids])
    return SolvedPoints(model.point_positions, tuple(seen))

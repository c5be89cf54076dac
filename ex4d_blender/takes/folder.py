# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a take: the folder of a finished, generated shot.

The folder was written by `ex4d render` and `ex4d generate`, or by the sidecar; `take.json`, where there is one, by the
extension. Here stands what a damaged or foreign one must be refused for.
"""

import json
import os
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..exr_header import SUSPICIOUS_BYTES, is_cut_short
from ..shots.properties import MAX_FRAME, MAX_SIDE

TAKE_FILE = "take.json"
TAKE_SCHEMA = "ex4d.take/1"
TRAJECTORY_FILE = "trajectory.json"
TRAJECTORY_SCHEMA = "ex4d.trajectory/1"
MASK_FILE = "mask.mp4"
PNG_FOLDER, EXR_FOLDER = "output", "exr"
RESHOT = "shot"
"""The take in the folder that `ex4d reshoot` writes."""
MAX_NUMBER = 999_999
MAX_OVERSCAN = 1.0
"""As in the settings of *Generate*."""


@dataclass(frozen=True)
class TakeFacts:
    """What a take says of itself. Cameras are in OpenCV's axes and scene space, as in its trajectory."""

    folder: Path
    """Absolute."""
    width: int
    """Of the pictures, pixels, overscan included; likewise `height`."""
    height: int
    frames: int
    """Handles included."""
    fps: Fraction
    frame_start: int
    """The Blender frame of the first picture, handles included."""
    intrinsics: np.ndarray
    """(T, 4) float64: fx, fy, cx, cy, pixels of `width` x `height`, pixel centres at +0.5."""
    c2w: np.ndarray
    """(T, 4, 4) float64 camera-to-world, scene units."""
    source_time: np.ndarray
    """(T,) float64, clip frames."""
    scene_hash: str
    """`content_hash` of the footage; empty where the trajectory names none."""
    overscan: float
    """How much more than the frame the pictures show: 0.1 makes them 1.1 times as wide and high."""
    handles: tuple[int, int]
    """Frames before and after the shot's own range."""
    settings: dict[str, Any]
    """As it was generated (engine, seed, prompt, …); empty for a folder without take.json."""
    has_exr: bool
    shot: str
    """The key of the shot; empty for a folder without take.json, likewise `shot_name`."""
    shot_name: str
    number: int
    """From take.json, else at the end of the folder's name, else 1."""
    name: str

    def png(self, index: int) -> Path:
        """A picture, 8-bit sRGB; `index` counts from 0."""
        return self.folder / PNG_FOLDER / f"{index:06d}.png"

    def exr(self, index: int) -> Path:
        """A picture, linear, with mask and depth; `index` counts from 0."""
        return self.folder / EXR_FOLDER / f"{index:06d}.exr"

    @property
    def mask(self) -> Path:
        """The movie of what the footage saw: white there, black where pixels were invented."""
        return self.folder / MASK_FILE

    @property
    def frame_size(self) -> tuple[int, int]:
        """Width and height of the shot's own frame, pixels: without overscan, whose pictures have even sizes."""
        if size := self.settings.get("size"):
            return int(size[0]), int(size[1])
        return round(self.width / (1 + self.overscan)), round(self.height / (1 + self.overscan))

    @property
    def last_frame(self) -> int:
        """The Blender frame of the last picture, handles included."""
        return self.frame_start + self.frames - 1

    def require_mask(self) -> None:
        """Look for the mask. Raises: UserError if it is missing."""
        if not self.mask.is_file():
            raise UserError(
                "{file} is missing: generate the shot again, or bring back the whole folder.", file=self.mask
            )

    def require_files(self) -> None:
        """Look for every picture. Raises: UserError naming the first that is missing or cut short."""
        for file_of in (self.png, self.exr) if self.has_exr else (self.png,):
            sizes = _sizes(file_of(0).parent)
            for index in range(self.frames):
                file = file_of(index)
                size = sizes.get(file.name)
                if size is None:
                    raise UserError(
                        "{file} is missing: generate the shot again, or bring back the whole folder.", file=file
                    )
                is_exr = file.suffix == ".exr"
                if size == 0 or (is_exr and size < SUSPICIOUS_BYTES and is_cut_short(file)):
                    raise UserError(
                        "{file} is damaged: generate the shot again, or bring back the whole folder.", file=file
                    )


def _sizes(folder: Path) -> dict[str, int]:
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat().st_size for entry in entries}


def take_folder(chosen: Path) -> Path:
    """The take that a chosen folder means: itself, else the one in it that `ex4d reshoot` made, else the one whose
    pictures lie there; where there is none, the folder as it was chosen."""
    chosen = Path(os.path.abspath(chosen))
    above = [chosen.parent] if chosen.name in (PNG_FOLDER, EXR_FOLDER) else []
    return next((each for each in (chosen, chosen / RESHOT, *above) if (each / TRAJECTORY_FILE).is_file()), chosen)


def read_take(folder: Path) -> TakeFacts:
    """Read a take's facts; kept in memory until its files change. Whether its pictures are there is not looked at.

    Raises:
        UserError: there is no take, or it is damaged.
    """
    folder = Path(os.path.abspath(folder))
    written = _written(folder / TRAJECTORY_FILE)
    if written is None:
        raise UserError(
            "{folder} is no finished shot: it has no trajectory.json; choose a folder made by Generate or "
            "`ex4d generate`.",
            folder=folder,
        )
    return _read(folder, written, _written(folder / TAKE_FILE), _written(folder / EXR_FOLDER))


def _written(file: Path) -> int | None:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return None


@lru_cache(maxsize=64)
def _read(folder: Path, _trajectory: int, take: int | None, _exr: int | None) -> TakeFacts:
    path = _document(folder / TRAJECTORY_FILE, TRAJECTORY_SCHEMA)
    own = {} if take is None else _document(folder / TAKE_FILE, TAKE_SCHEMA)
    try:
        return _facts(folder, path, own)
    except KeyError as error:
        raise UserError(
            "{folder} is damaged (it has no {reason}): generate the shot again.", folder=folder, reason=error
        ) from error
    except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise UserError(
            "{folder} is damaged ({reason}): generate the shot again.",
            folder=folder,
            reason=error or type(error).__name__,
        ) from error


def _document(file: Path, schema: str) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text("utf-8"))
        found = document["schema"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(
            "{file} is damaged ({reason}): generate the shot again.", file=file, reason=error or type(error).__name__
        ) from error
    if found != schema:
        raise UserError(
            "{file} has the schema {found!r}, and this extension reads {known!r}: update it.",
            file=file,
            found=found,
            known=schema,
        )
    return document


def _facts(folder: Path, path: dict[str, Any], own: dict[str, Any]) -> TakeFacts:
    samples = path["frames"]
    settings = dict(own.get("settings") or {})
    before, after = (int(handle) for handle in settings.get("handles", (0, 0)))
    overscan = float(settings.get("overscan", 0.0))
    if not 0 <= overscan <= MAX_OVERSCAN:  # nor is it one that is no number
        raise ValueError(f"its overscan is {overscan}")
    size = settings.get("size", [1, 1])
    if len(size) != 2 or not all(isinstance(side, int) and 0 < side <= MAX_SIDE for side in size):
        raise ValueError(f"its size is {size}")
    if not samples or min(before, after) < 0 or before + after >= len(samples):
        raise ValueError(f"it has {len(samples)} frames and handles of {before} and {after}")
    start = int(path["frame_start"])
    if start < -MAX_FRAME or start + len(samples) - 1 > MAX_FRAME:
        raise ValueError(f"it begins at frame {start}, and Blender's frames end at {MAX_FRAME}")
    intrinsics = _numbers(samples, "intrinsics", (4,))
    if not (intrinsics[:, :2] > 0).all():
        raise ValueError("its focal length is not positive")
    fps = Fraction(*path["fps"])
    if fps <= 0:
        raise ValueError(f"its rate is {fps}")
    numbered = re.search(r"(\d{1,6})$", folder.name)
    return TakeFacts(
        folder=folder,
        width=_whole(path, "width", MAX_SIDE),
        height=_whole(path, "height", MAX_SIDE),
        frames=len(samples),
        fps=fps,
        frame_start=start,
        intrinsics=intrinsics,
        c2w=_numbers(samples, "c2w", (4, 4)),
        source_time=_numbers(samples, "source_time", ()),
        scene_hash=str(path.get("scene_hash") or ""),
        overscan=overscan,
        handles=(before, after),
        settings=settings,
        has_exr=(folder / EXR_FOLDER).is_dir(),
        shot=str(own.get("shot") or ""),
        shot_name=str(own.get("shot_name") or ""),
        number=_whole(own, "number", MAX_NUMBER) if own else int(numbered[1]) if numbered else 1,
        name=str(own.get("name") or folder.name),
    )


def _whole(document: dict[str, Any], name: str, most: int) -> int:
    value = document[name]
    if not isinstance(value, int) or not 1 <= value <= most:
        raise ValueError(f"its {name} is {value!r}")
    return value


def _numbers(samples: list[dict[str, Any]], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """(T, *shape) float64, one of each sample; shared by all who ask, so not to be written to."""
    numbers = np.array([sample[name] for sample in samples], np.float64)
    if numbers.shape != (len(samples), *shape) or not np.isfinite(numbers).all():
        raise ValueError(f"its {name} are not those of {len(samples)} frames")
    numbers.flags.writeable = False
    return numbers

# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a scene folder (`NAME.ex4d`): the numbers of `scene.json` that Blender needs.

The folder was written and checked by `ex4d import`; here stands what a damaged or foreign one must be refused for.
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

from .errors import UserError
from .exr_header import SUSPICIOUS_BYTES, channel_names, is_cut_short
from .wording import for_artists

SCENE_FILE = "scene.json"
SCENE_SCHEMA = "ex4d.scene/1"
_PATTERN = re.compile(r"(?:[^%/\\:\x00-\x1f]+/)*[^%/\\:\x00-\x1f]*%0[1-9]d[^%/\\:\x00-\x1f]*")
_LIMITS = {
    "width": (2, 65_536),
    "height": (2, 65_536),
    "frames": (1, 1_000_000),
    "proxy_step": (1, 64),
    "frame rate": (0.001, 10_000.0),
    "focal length over its longer side": (1e-3, 1e6),
    "centre over its longer side": (-100.0, 100.0),
    "far depth": (1e-9, 1e12),
    "camera's position": (-1e9, 1e9),
}
"""What a number may be: far beyond all footage, well within what Blender's 32-bit numbers hold."""
_RIGID = 1e-3
"""How far a rotation may be off one; the core's."""


@dataclass(frozen=True)
class SceneFacts:
    """What `scene.json` says. Camera numbers are in OpenCV's axes and pixels of `width` x `height`."""

    folder: Path
    """Absolute."""
    width: int
    height: int
    frames: int
    fps: Fraction
    intrinsics: np.ndarray
    """(T, 4) float64: fx, fy, cx, cy of each frame, pixels, pixel centres at +0.5."""
    source_c2w: np.ndarray | None
    """(T, 4, 4) float64 camera-to-world of the footage camera; None where it stands at the origin."""
    color: str
    """printf patterns of file names relative to `folder`; likewise `depth`, `occlusion`, `plate`, `proxy`."""
    depth: str
    occlusion: str | None
    plate: str | None
    proxy: str | None
    """Depth and bridges in one image, for viewports (the core's `depth_proxy`)."""
    proxy_step: int
    """Every how many pixels it has one."""
    plate_size: tuple[int, int] | None
    """Size of the footage as displayed, pixels; the plate's where there is one."""
    depth_encoding: str
    """`half-disparity` (1/z in a half float) or `float-depth` (z)."""
    depth_channel: str
    units: str
    """`metric` or `relative`."""
    far: float
    """Depth of the sky, scene units."""
    lens: str | None
    """`assumed`, `given` or `trajectory`: where the intrinsics come from."""
    notes: tuple[str, ...]
    content_hash: str

    def file(self, pattern: str, frame: int) -> Path:
        """The file of a frame, for one of the patterns."""
        return self.folder / (pattern % frame)

    def require_files(self) -> None:
        """Look for every file of the clip. Raises: UserError naming the first that is missing or cut short."""
        for pattern in filter(None, (self.color, self.depth, self.occlusion, self.plate, self.proxy)):
            folder = self.file(pattern, 0).parent
            sizes: dict[str, int] = {}
            if folder.is_dir():
                with os.scandir(folder) as entries:
                    sizes = {entry.name: entry.stat().st_size for entry in entries}
            for frame in range(self.frames):
                file = self.file(pattern, frame)
                size = sizes.get(file.name)
                if size is None:
                    raise UserError(
                        "{file} is missing: import the clip again, or bring back the whole folder.", file=file
                    )
                is_exr = file.suffix.lower() == ".exr"
                if size == 0 or (is_exr and size < SUSPICIOUS_BYTES and is_cut_short(file)):
                    raise UserError(
                        "{file} is damaged: import the clip again, or bring back the whole folder.", file=file
                    )
        for pattern in filter(None, (self.depth, self.proxy)):
            file = self.file(pattern, 0)
            if self.depth_channel not in channel_names(file):
                raise UserError(
                    "{file} has no channel {channel!r}, in which scene.json says depth is: import the clip again.",
                    file=file,
                    channel=self.depth_channel,
                )

    @property
    def plate_finer(self) -> float:
        """Pixels of the plate for each pixel of the working size, along a side; 1 without a plate."""
        return self.plate_size[0] / self.width if self.plate and self.plate_size else 1.0

    @property
    def name(self) -> str:
        """The folder's name without `.ex4d`."""
        return self.folder.name.removesuffix(".ex4d")


def read_scene(folder: Path) -> SceneFacts:
    """Read a scene folder's facts; kept in memory until the file changes.

    Raises:
        UserError: there is none, or it is damaged, or Blender cannot read what lies in a folder of that name.
    """
    if os.sep == "/" and "\\" in str(folder):
        raise UserError(
            "{folder} has a backslash in its name, which Blender takes for another folder: rename it.", folder=folder
        )
    file = folder / SCENE_FILE
    try:
        written = file.stat().st_mtime_ns
    except OSError:
        raise UserError(
            "{folder} is no EX-4D scene: it has no scene.json; choose a folder that ends in .ex4d, or use Relink.",
            folder=folder,
        ) from None
    return _read(folder, written)


@lru_cache(maxsize=16)
def _read(folder: Path, written: int) -> SceneFacts:
    try:
        document = json.loads((folder / SCENE_FILE).read_text("utf-8"))
        schema = document["schema"]
        if schema != SCENE_SCHEMA:
            raise UserError(
                "{folder} has the schema {schema!r}, and this extension reads {known!r}: update it.",
                folder=folder,
                schema=schema,
                known=SCENE_SCHEMA,
            )
        return _facts(folder, document)
    except KeyError as error:
        raise UserError(
            "{file} is damaged (it has no {reason}): import the clip again.", file=folder / SCENE_FILE, reason=error
        ) from error
    except (OSError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise UserError(
            "{file} is damaged ({reason}): import the clip again.",
            file=folder / SCENE_FILE,
            reason=error or type(error).__name__,
        ) from error


def _facts(folder: Path, document: dict[str, Any]) -> SceneFacts:
    width, height, frames = (_whole(document, name) for name in ("width", "height", "frames"))
    files, depth, source = document.get("files", {}), document["depth"], document.get("source") or {}
    if depth["encoding"] not in ("half-disparity", "float-depth"):
        raise ValueError(f"its depth is encoded as {depth['encoding']!r}")
    if depth["units"] not in ("metric", "relative"):
        raise ValueError(f"its depth has the units {depth['units']!r}")
    if not isinstance(document["content_hash"], str):
        raise ValueError(f"its content_hash is {document['content_hash']!r}")
    optional = {name: files.get(name) for name in ("occlusion", "plate", "proxy")}
    patterns = {name: None if value is None else _pattern(value) for name, value in optional.items()}
    depth_files = _pattern(files.get("depth", "depth/%06d.exr"))
    for pattern in filter(None, (depth_files, patterns["proxy"])):
        if not pattern.lower().endswith(".exr"):
            raise ValueError(f"its depth files are {pattern!r}, not .exr")
    size = source.get("width"), source.get("height")
    return SceneFacts(
        folder=folder,
        width=width,
        height=height,
        frames=frames,
        fps=_rate(document["fps"]),
        intrinsics=_intrinsics(document["intrinsics"], frames, max(width, height)),
        source_c2w=None if document.get("source_c2w") is None else _poses(document["source_c2w"], frames),
        color=_pattern(files.get("color", "color/%06d.png")),
        depth=depth_files,
        **patterns,
        proxy_step=_whole(document, "proxy_step") if patterns["proxy"] else 1,
        plate_size=(_whole(source, "width"), _whole(source, "height")) if size != (None, None) else None,
        depth_encoding=depth["encoding"],
        depth_channel=str(depth.get("channel", "Y")),
        units=str(depth["units"]),
        far=_limited(float(depth["far"]), "far depth"),
        lens=source.get("lens"),
        notes=tuple(for_artists(str(note)) for note in (*document.get("notes", ()), *depth.get("warnings", ()))),
        content_hash=document["content_hash"],
    )


def _limited(value: Any, name: str, *, shown: object = None) -> Any:
    """A number, or an array of them, within `_LIMITS`; `shown` is what the file has, where that is something else."""
    low, high = _LIMITS[name]
    if not np.all((value >= low) & (value <= high)):
        at_fault = value if shown is None else shown
        raise ValueError(f"its {name} is {at_fault!r}" if np.ndim(value) == 0 else f"its {name} is out of all measure")
    return value


def _whole(document: dict[str, Any], name: str) -> int:
    value = document[name]
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"its {name} is {value!r}")
    return _limited(value, name)


def _rate(value: Any) -> Fraction:
    if len(value) != 2 or not all(isinstance(part, int) and part > 0 for part in value):
        raise ValueError(f"its fps is {value!r}")
    rate = Fraction(*value)
    return _limited(rate, "frame rate", shown=value)


def _intrinsics(value: object, frames: int, side: int) -> np.ndarray:
    numbers = _numbers(value, "intrinsics")
    numbers = np.broadcast_to(numbers, (frames, 4)) if numbers.shape == (4,) else numbers
    if numbers.shape != (frames, 4):
        raise ValueError(f"its cameras are not those of {frames} frames")
    if not (numbers[:, :2] > 0).all():
        raise ValueError("its focal length is not positive")
    _limited(numbers[:, :2] / side, "focal length over its longer side")
    _limited(numbers[:, 2:] / side, "centre over its longer side")
    return np.array(numbers)


def _poses(value: object, frames: int) -> np.ndarray:
    """As the core's `check_rigid`."""
    poses = _numbers(value, "source_c2w")
    if poses.shape != (frames, 4, 4):
        raise ValueError(f"its cameras are not those of {frames} frames")
    _limited(poses[:, :3, 3], "camera's position")
    rotation = poses[:, :3, :3]
    with np.errstate(all="ignore"):  # huge numbers overflow, and are refused
        off = np.abs(rotation @ np.swapaxes(rotation, 1, 2) - np.eye(3)).max()
        mirrored = not (np.linalg.det(rotation) > 0).all()
    if not off <= _RIGID or mirrored or not np.abs(poses[:, 3] - [0, 0, 0, 1]).max() <= 1e-6:
        raise ValueError("its camera is scaled, mirrored or sheared")
    return poses


def _numbers(value: object, name: str) -> np.ndarray:
    numbers = np.array(value, np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"its {name} has numbers that are not finite")
    return numbers


def _pattern(value: object) -> str:
    if (
        not isinstance(value, str)
        or not _PATTERN.fullmatch(value)
        or any(p in ("", ".", "..") for p in value.split("/"))
    ):
        raise ValueError(f"the file name pattern {value!r} leads outside the folder, or has no frame number like %06d")
    return value

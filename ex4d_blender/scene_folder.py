# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a scene folder (`NAME.ex4d`): the numbers of `scene.json` that Blender needs.

The folder was written and checked by `ex4d import`; here stands what a damaged or foreign one must be refused for.
"""

import json
import math
import os
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from .errors import UserError
from .exr_header import SUSPICIOUS_BYTES, is_cut_short
from .wording import for_artists

SCENE_FILE = "scene.json"
SCENE_SCHEMA = "ex4d.scene/1"
_PATTERN = re.compile(r"(?:[^%/\\:\x00-\x1f]+/)*[^%/\\:\x00-\x1f]*%0[1-9]d[^%/\\:\x00-\x1f]*")


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

    @property
    def name(self) -> str:
        """The folder's name without `.ex4d`."""
        return self.folder.name.removesuffix(".ex4d")


def read_scene(folder: Path) -> SceneFacts:
    """Read a scene folder's facts; kept in memory until the file changes.

    Raises:
        UserError: there is none, or it is damaged.
    """
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
    frames = _whole(document, "frames")
    files, depth, source = document.get("files", {}), document["depth"], document.get("source") or {}
    intrinsics = _numbers(document["intrinsics"], "intrinsics")
    intrinsics = np.broadcast_to(intrinsics, (frames, 4)) if intrinsics.ndim == 1 else intrinsics
    poses = document.get("source_c2w")
    source_c2w = None if poses is None else _numbers(poses, "source_c2w")
    if intrinsics.shape != (frames, 4) or (source_c2w is not None and source_c2w.shape != (frames, 4, 4)):
        raise ValueError(f"its cameras are not those of {frames} frames")
    if not (intrinsics[:, :2] > 0).all():
        raise ValueError("its focal length is not positive")
    if depth["encoding"] not in ("half-disparity", "float-depth"):
        raise ValueError(f"its depth is encoded as {depth['encoding']!r}")
    if depth["units"] not in ("metric", "relative"):
        raise ValueError(f"its depth has the units {depth['units']!r}")
    far = float(depth["far"])
    if not (math.isfinite(far) and far > 0):
        raise ValueError(f"its far depth is {far}")
    size = source.get("width"), source.get("height")
    return SceneFacts(
        folder=folder,
        width=_whole(document, "width"),
        height=_whole(document, "height"),
        frames=frames,
        fps=Fraction(*document["fps"]),
        intrinsics=np.array(intrinsics),
        source_c2w=source_c2w,
        color=_pattern(files.get("color", "color/%06d.png")),
        depth=_pattern(files.get("depth", "depth/%06d.exr")),
        occlusion=None if files.get("occlusion") is None else _pattern(files["occlusion"]),
        plate=None if files.get("plate") is None else _pattern(files["plate"]),
        proxy=None if files.get("proxy") is None else _pattern(files["proxy"]),
        proxy_step=_whole(document, "proxy_step") if files.get("proxy") else 1,
        plate_size=(int(size[0]), int(size[1])) if size[0] and size[1] else None,
        depth_encoding=depth["encoding"],
        depth_channel=str(depth.get("channel", "Y")),
        units=str(depth["units"]),
        far=far,
        lens=source.get("lens"),
        notes=tuple(for_artists(str(note)) for note in (*document.get("notes", ()), *depth.get("warnings", ()))),
        content_hash=str(document["content_hash"]),
    )


def _whole(document: dict[str, Any], name: str) -> int:
    value = document[name]
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"its {name} is {value!r}")
    return value


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

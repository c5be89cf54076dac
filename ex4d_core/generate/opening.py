"""Opening what an engine is given: a shot folder, or a pair of videos made elsewhere."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ex4d_core.camera import Trajectory, load_trajectory
from ex4d_core.clip import iter_frames, probe_clip
from ex4d_core.errors import CancelledError, Ex4dError, InputError
from ex4d_core.files import explained
from ex4d_core.generate.engine import Shot
from ex4d_core.images import to_uint8
from ex4d_core.progress import Cancelled
from ex4d_core.scene import Scene
from ex4d_core.shot import COLOR_FILE, MASK_FILE, ShotDocument

_log = logging.getLogger(__name__)


def load_pair(
    color: Path, mask: Path, scratch: Path, cancelled: Cancelled
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], Fraction]:
    """Conditioning as in `Shot`: colour, black where not seen, mask and rate.

    The frames lie in files without a name, which the system reads as they are asked for and forgets again: a long shot
    is larger than memory.

    Args:
        color: video of what is seen, the rest of any colour.
        mask: video of the same size and length; over half bright = seen.
        scratch: a folder on the disk that the files go to.
        cancelled: asked between frames.

    Raises:
        InputError: a video cannot be read, or they differ in size or length.
        OutputError: the disk is full, or may not be written to.
        CancelledError: `cancelled` said so.
    """
    facts = [probe_clip(path) for path in (color, mask)]
    sizes = [f"{f.frames} frames of {f.width}x{f.height}" for f in facts]
    if sizes[0] != sizes[1]:
        raise InputError(f"{color} has {sizes[0]} and {mask} {sizes[1]}: give both at one size and length.")
    with explained(scratch), TemporaryFile(dir=scratch) as colors, TemporaryFile(dir=scratch) as masks:
        for shown, seen in zip(iter_frames(color), iter_frames(mask), strict=True):
            if cancelled():
                raise CancelledError(f"Reading {mask} was stopped.")
            known = to_uint8(seen)[..., 0] > 127
            colors.write(np.where(known[..., None], to_uint8(shown), np.uint8(0)).tobytes())
            masks.write(known.tobytes())
        shape = (facts[0].frames, facts[0].height, facts[0].width)
        return _mapped(colors, np.uint8, (*shape, 3)), _mapped(masks, np.bool_, shape), facts[0].fps


def _mapped(file: IO[bytes], dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """What a file holds; it may be closed. (Written first: a full disk met through a mapping would end the process.)"""
    file.flush()
    return np.memmap(file, dtype, "r", shape=shape).view(np.ndarray)


def open_shot(folder: Path, document: ShotDocument, cancelled: Cancelled, **asked: Any) -> Shot:
    """A shot as an engine gets it.

    Args:
        folder: the shot.
        document: its shot.json.
        cancelled: asked between frames.
        asked: fields of `Shot`.

    Raises:
        InputError: conditioning or trajectory are damaged.
        CancelledError: `cancelled` said so.
    """
    color, mask, fps = load_pair(folder / COLOR_FILE, folder / MASK_FILE, folder, cancelled)
    frames, height, width = mask.shape
    path = load_trajectory(folder / document.request.trajectory, width, height, fps)
    scene = open_scene(folder, document, "the fill knows nothing of depth and other times")
    if scene is not None:
        require_fit(folder, path, width, height, frames)
        asked["trajectory"] = path
    request = document.request
    return Shot(color, mask, path.fps, scene=scene, method=request.method, background=request.background, **asked)


def require_fit(folder: Path, path: Trajectory, width: int, height: int, frames: int) -> None:
    """Require a path to have the size and length of its shot. Raises: InputError."""
    if (len(path), path.width, path.height) != (frames, width, height):
        raise InputError(f"The trajectory of {folder} does not fit its videos: render the shot again.")


def open_scene(folder: Path, document: ShotDocument, otherwise: str) -> Scene | None:
    """The scene that a shot shows; None, with a warning of what is missing then, where it is gone or another one."""
    if document.scene is None:
        return None
    path = folder / document.scene.path
    try:
        scene = Scene.open(path)
    except Ex4dError:
        _log.warning("The scene %s is not there: %s.", path, otherwise)
        return None
    if scene.content_hash != document.scene.content_hash:
        _log.warning("The scene %s has changed since the shot was rendered: %s.", path, otherwise)
        return None
    return scene


def sound_of(shot: Shot) -> tuple[Path | None, float]:
    """The footage's sound and where it starts, seconds, if the shot runs at the footage's speed."""
    if shot.scene is None or shot.trajectory is None or shot.scene.audio is None:
        return None, 0.0
    times = shot.trajectory.source_time
    first = float(times[0])
    if shot.fps != shot.scene.fps or not np.allclose(times, first + np.arange(len(times)), atol=1e-3):
        return None, 0.0
    return shot.scene.audio, first / float(shot.fps)

"""Depth kept between imports: moving the start of a shot or asking for a plate never estimates twice.

    CACHE/<key>/depth.json  000000.exr ...  000000.png ...

An entry's key is a hash of all that its depth depends on. It grows in a partial folder and is renamed when whole.
Its files are the scene's own, hard-linked where the disk can, so that an entry costs nothing while its scene exists.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from ex4d_core.camera import Intrinsics
from ex4d_core.depth import DepthEstimator, DepthRequest
from ex4d_core.errors import BusyError, InputError, OutputError
from ex4d_core.files import explained, partial_folder
from ex4d_core.import_request import input_files
from ex4d_core.models import needed, revision_of
from ex4d_core.progress import Cancelled, OnProgress, stop_if
from ex4d_core.scene_format import DepthDocument, FilePatterns, FoundCameras, file_hash

ENTRY_FILE = "depth.json"
_DEPTH, _OCCLUSION = "%06d.exr", "%06d.png"
_REVISION = 2
"""Raise it when the same depth would be stored in another way, occlusion included. Bits that occlusion has gained since
are no reason: readers do without them, and depth may have taken hours."""

_LOG = logging.getLogger(__name__)


class DepthEntry(BaseModel):
    """`depth.json`."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    document: DepthDocument
    cameras: FoundCameras | None = None
    files: dict[str, str]
    """Name in the entry -> SHA-256; two for each frame."""


def depth_key(
    colors: Iterable[Path],
    lenses: Sequence[Intrinsics],
    poses: NDArray[np.float64] | None,
    estimator: DepthEstimator,
    request: DepthRequest,
    sharpen: bool,
) -> str:
    """What a clip's depth and occlusion depend on, as one name.

    Args:
        colors: the colour frames at working size, as files.
        lenses: of the source camera at that size, one a frame.
        poses: (T, 4, 4) float64 camera-to-world of the source camera; None if it was not solved.
        estimator: who finds the depth.
        request: what it was told; counts only where it names files.
        sharpen: whether edges are put where the colour has them.

    Returns:
        SHA-256, hexadecimal.

    Raises:
        InputError: a file cannot be read.
    """
    facts: dict[str, object] = {
        "revision": _REVISION,
        "estimator": [estimator.name, estimator.revision],
        "lenses": [lens.as_tuple() for lens in lenses],
        "poses": None if poses is None else poses.tolist(),
        "lens_known": request.lens_known,
        "cuts": request.cuts,
        "sharpen": sharpen,
    }
    try:
        facts["colors"] = [file_hash(color) for color in colors]
        if request.path is not None:
            facts["input"] = {
                "name": request.path.name,
                "files": [[file.name, file_hash(file)] for file in input_files(request.path)],
                "kind": request.kind,
                "range": request.value_range,
                "channel": request.channel,
                "distortion": None if request.distortion is None else request.distortion.document().model_dump(),
                "clip": [request.clip_size, request.clip_start, request.clip_frames],
            }
        if request.model_dir is not None:
            facts["model"] = [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in _models(request)]
        else:
            facts["model"] = [[model.name, revision_of(model)] for model in needed(estimator.name)]
    except OSError as error:
        raise InputError(f"Cannot read {error.filename} ({error.strerror}): check its permissions.") from error
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def take_depth(
    entry: Path, folder: Path, files: FilePatterns, frames: int, on_progress: OnProgress, cancelled: Cancelled
) -> tuple[DepthDocument, FoundCameras | None] | None:
    """Bring an entry's depth and occlusion into a scene folder.

    Every file is hashed: a damaged entry is removed, to be made again. A used one gets the date of its use.

    Args:
        entry: the folder of the entry.
        folder: the scene in the making; its frame folders exist.
        files: its patterns.
        frames: how many it has.
        on_progress: told about each frame, as "depth from cache".
        cancelled: asked before each frame.

    Returns:
        How the depth is stored, and what was found of the cameras; None if there is no such entry, or a damaged one.

    Raises:
        OutputError: the scene folder cannot be written.
        CancelledError: `cancelled` said so.
    """
    try:
        found = DepthEntry.model_validate_json((entry / ENTRY_FILE).read_bytes())
        for frame in range(frames):
            stop_if(cancelled)
            for stored, wanted in _pairs(files, frame):
                if file_hash(entry / stored) != found.files.get(stored):
                    raise ValueError(f"{stored} is not what was kept")
                with explained(folder / wanted):
                    _link(entry / stored, folder / wanted)
            on_progress(frame + 1, frames, "depth from cache")
        os.utime(entry)
    except FileNotFoundError as error:
        if not entry.exists():
            return None
        return _remove_damaged(entry, error)
    except (OSError, ValueError, ValidationError) as error:
        return _remove_damaged(entry, error)
    return found.document, found.cameras


def keep_depth(
    entry: Path,
    folder: Path,
    files: FilePatterns,
    frames: int,
    document: DepthDocument,
    cameras: FoundCameras | None,
    cancelled: Cancelled,
) -> None:
    """Make an entry of a scene folder's depth, unless there is one. A cache that cannot be written is no failure.

    Args:
        entry: the folder of the entry.
        folder: the scene, whose depth and occlusion are whole.
        files: its patterns.
        frames: how many it has.
        document: how its depth is stored.
        cameras: what the estimator found of them.
        cancelled: asked before each frame.

    Raises:
        CancelledError: `cancelled` said so.
    """
    if entry.exists():
        return
    try:
        with partial_folder(entry) as growing:
            hashes: dict[str, str] = {}
            for frame in range(frames):
                stop_if(cancelled)
                for stored, wanted in _pairs(files, frame):
                    _link(folder / wanted, growing / stored)
                    hashes[stored] = file_hash(growing / stored)
            made = DepthEntry(document=document, cameras=cameras, files=hashes)
            (growing / ENTRY_FILE).write_text(made.model_dump_json(indent=1), encoding="utf-8")
    except BusyError:
        _LOG.debug("another import keeps %s at this moment", entry)
    except OutputError as error:
        _LOG.warning("The depth could not be kept for later imports (%s)", error)


def _models(request: DepthRequest) -> list[Path]:
    assert request.model_dir is not None
    levels = (request.model_dir.glob(pattern) for pattern in ("*", "*/*"))  # deeper lies nothing that is loaded
    return sorted(file for level in levels for file in level if file.is_file())


def _pairs(files: FilePatterns, frame: int) -> list[tuple[str, str]]:
    """Names of a frame's files: in an entry, and in a scene."""
    pairs = [(_DEPTH % frame, files.depth % frame)]
    if files.occlusion is not None:
        pairs.append((_OCCLUSION % frame, files.occlusion % frame))
    return pairs


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the disk has no such links; replaces in one step."""
    temporary = target.with_name(".next" + target.suffix)
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copyfile(source, temporary)
    os.replace(temporary, target)


def _remove_damaged(entry: Path, error: Exception) -> None:
    _LOG.warning("The kept depth %s is damaged (%s) and is made again.", entry.name, error)
    shutil.rmtree(entry, ignore_errors=True)

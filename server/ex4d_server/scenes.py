"""Scenes that come ready-made: taken in from a zip or a folder, decoded whole, kept by their content."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from ex4d_core.errors import CancelledError, InputError
from ex4d_core.files import explained
from ex4d_core.scene_format import (
    AUDIO_FILE,
    BACKGROUND_COLOR,
    BACKGROUND_DEPTH,
    SCENE_FILE,
    SceneDocument,
    parse_document,
)
from ex4d_server.cache import Cache, folder_bytes
from ex4d_server.documents import SceneSource, SceneStatus
from ex4d_server.names import is_confined
from ex4d_server.problems import RequestError, not_found
from ex4d_server.results import read_scene_document
from ex4d_server.unpack import unpack
from ex4d_server.uploads import Uploads, file_of
from ex4d_server.worker_process import WorkerDied, WorkerProcess

_log = logging.getLogger(__name__)
_CHECK_SECONDS = 1.0


def take_in(
    scene: str, source: SceneSource, cache: Cache, uploads: Uploads, limit_bytes: int, is_ending: Callable[[], bool]
) -> None:
    """Make a scene of an upload or a local folder known under an id.

    Args:
        scene: the id; it may have meant another scene before.
        source: where it comes from.
        cache: where it goes.
        uploads: where uploads are.
        limit_bytes: largest scene.
        is_ending: whether the sidecar is about to end, asked now and then.

    Raises:
        Ex4dError: it is not a whole scene, or the sidecar ends.
    """
    partial = cache.folder.cache("scene") / f"taking-in-{scene}.ex4d.partial"
    with cache.making(partial.name):
        shutil.rmtree(partial, ignore_errors=True)
        try:
            if source.upload is not None:
                entry = cache.path("upload", uploads.key(source.upload))
                if entry is None:
                    raise InputError(f"The upload {source.upload!r} is no longer on disk: send it again.")
                unpack(file_of(entry), partial, limit_bytes)
            else:
                assert source.path is not None
                _copy_scene(Path(source.path), partial, limit_bytes)
            key = _checked_hash(partial, is_ending)
            final = cache.folder.entry("scene", key)
            with explained(final):
                if cache.find("scene", key) is None:
                    shutil.rmtree(final, ignore_errors=True)
                    partial.rename(final)
            cache.store.name_scene(scene, key)
            cache.add("scene", key)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def scene_status(scene: str, cache: Cache, is_local: bool) -> SceneStatus:
    """What is known of a scene.

    Raises:
        RequestError: 404: there is none of that id.
    """
    folder = scene_folder(scene, cache)
    document = read_scene_document(folder)
    return SceneStatus(
        id=scene,
        content_hash=document["content_hash"],
        bytes=folder_bytes(folder),
        path=str(folder) if is_local else None,
        document=document,
    )


def scene_folder(scene: str, cache: Cache) -> Path:
    """The folder of a scene.

    Raises:
        RequestError: 404: there is none of that id.
    """
    key = cache.store.scene_key(scene)
    folder = None if key is None else cache.path("scene", key)
    if folder is None:
        raise not_found("scene", scene)
    return folder


def _copy_scene(source: Path, target: Path, limit_bytes: int) -> None:
    """Copy what a scene folder's document names, and nothing else."""
    if not source.is_absolute():
        raise RequestError(f"{source} is not an absolute path: give the whole path of the folder.", "bad-path", 422)
    try:
        if not (source / SCENE_FILE).is_file():  # to read from a pipe might never end
            raise FileNotFoundError(SCENE_FILE)
        text = (source / SCENE_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{source} is not a scene folder that can be read: give a NAME.ex4d folder.") from error
    document, _ = parse_document(text, source / SCENE_FILE)
    total = 0
    with explained(target):
        for name in _names(document):
            path = source / name
            if name == AUDIO_FILE and not path.is_file():
                continue
            if path.is_symlink() or not path.is_file() or not is_confined(name):
                raise InputError(f"The scene {source} lacks {name}, or it is no plain file: import the clip again.")
            total += path.stat().st_size
            if total > limit_bytes:
                raise InputError(f"The scene {source} has more than {limit_bytes / 1e9:.0f} GB: import fewer frames.")
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / name)


def _names(document: SceneDocument) -> Iterator[str]:
    """The files of a scene; one by one, for a document may claim a million frames."""
    files = document.files
    yield from (SCENE_FILE, AUDIO_FILE)
    for pattern in (files.color, files.depth, files.occlusion, files.plate, files.proxy):
        if pattern is not None:
            yield from (pattern % frame for frame in range(document.frames))
    layers = 0 if document.background is None else len(document.background.layers)
    for pattern in (BACKGROUND_COLOR, BACKGROUND_DEPTH):
        yield from (pattern % layer for layer in range(layers))


def _checked_hash(folder: Path, is_ending: Callable[[], bool]) -> str:
    """Decode every frame in a process of its own, which may crash without harm; the content hash."""
    worker = WorkerProcess({}, lambda line: _log.info("checking a scene: %s", line), heartbeat_seconds=60.0)
    try:
        worker.wait_ready(is_ending)
        arguments = {"scene": str(folder)}
        return worker.call("check-scene", arguments, lambda m: None, is_ending, _CHECK_SECONDS)["content_hash"]
    except (WorkerDied, CancelledError) as error:
        if is_ending():
            raise RequestError("The sidecar ends: send the scene again when it has started.", "ending", 503) from error
        raise InputError(f"The scene cannot be decoded, the process that tried {error}: import it again.") from error
    finally:
        worker.end()

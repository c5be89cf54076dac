"""What a worker process can do: one function per stage, JSON in and JSON out."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ex4d_core.errors import BusyError, InputError
from ex4d_core.progress import Cancelled, OnProgress
from ex4d_server.setups import setup_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ex4d_core.engines import EngineSetup
    from ex4d_core.generate import Engine
    from ex4d_core.import_request import ImportOptions

_log = logging.getLogger(__name__)

Arguments = dict[str, Any]
Result = dict[str, Any]

_PREVIEW_SIDE = 480
_PREVIEW_EVERY = 1.0
_BUSY_PATIENCE = 10.0


@dataclass(frozen=True)
class Context:
    """What an operation may use."""

    on_progress: OnProgress
    cancelled: Cancelled
    on_preview: Callable[[], None]
    """Told that the preview file is new."""
    engine: Callable[[str, EngineSetup], Engine]
    """Gives engines that stay loaded between jobs."""


def identify(arguments: Arguments, context: Context) -> Result:
    """What an import will give, without doing it: `key`, `width`, `height`, `frames`, `plate` (its size or None)."""
    from ex4d_core.clip import probe_clip, working_size
    from ex4d_core.import_request import request_fingerprint

    source = _footage(arguments["footage"])
    options = _options(arguments)
    options.check()
    info = probe_clip(source, fps=options.fps)
    width, height = working_size(info, options.size, options.working_max_side)
    return {
        "key": request_fingerprint(source, options),
        "width": width,
        "height": height,
        "frames": options.frames or max(info.frames - options.start, 1),
        "plate": [info.width, info.height] if options.plate else None,
        "bit_depth": info.bit_depth,
    }


def import_(arguments: Arguments, context: Context) -> Result:
    """Make a scene folder."""
    from ex4d_core.ingest import import_scene

    options = _options(arguments)
    given = {field.name: getattr(options, field.name) for field in fields(options)}
    scene = import_scene(
        _footage(arguments["footage"]),
        Path(arguments["out"]),
        **given,
        depth_cache=Path(arguments["depth_cache"]),
        on_progress=context.on_progress,
        cancelled=context.cancelled,
    )
    for warning in scene.warnings:
        _log.warning("%s", warning)  # becomes an event, for the artist
    return {}


def path(arguments: Arguments, context: Context) -> Result:
    """The trajectory of a named move through a scene."""
    from ex4d_core.camera import trajectory_to_document
    from ex4d_core.presets import Move, preset
    from ex4d_core.scene import Scene

    move = dict(arguments["move"])
    timing = {name: move.pop(name) for name in ("radius", "follow", "freeze", "speed", "frames")}
    trajectory = preset(Scene.open(Path(arguments["scene"])), Move(**move), **timing)
    return {"trajectory": trajectory_to_document(trajectory)}


def render(arguments: Arguments, context: Context) -> Result:
    """Render a scene along a trajectory into a shot folder."""
    from ex4d_core.camera import trajectory_from_document
    from ex4d_core.rendering import render_shot
    from ex4d_core.scene import Scene

    out = Path(arguments["out"])
    render_shot(
        Scene.open(Path(arguments["scene"])),
        trajectory_from_document(arguments["trajectory"]),
        out,
        method=arguments["method"],
        background=arguments["background"],
        passes=tuple(arguments["passes"]),
        allow_unseen=arguments["allow_unseen"],
        on_progress=context.on_progress,
        cancelled=context.cancelled,
    )
    return {}


def generate(arguments: Arguments, context: Context) -> Result:
    """Make a whole shot folder out of a rendered one."""
    from ex4d_core.files import partial_folder
    from ex4d_core.generate import generate_shot
    from ex4d_core.generate.folder import EXR_FRAMES, OUTPUT_FRAMES, OUTPUT_VIDEO
    from ex4d_core.scene import clear_folder

    show = _previews(Path(arguments["preview"]), context)
    with partial_folder(Path(arguments["out"])) as partial:
        clear_folder(partial)
        _link_shot(Path(arguments["shot"]), partial, (OUTPUT_FRAMES, OUTPUT_VIDEO, EXR_FRAMES))
        generate_shot(
            partial,
            arguments["engine"],
            seed=arguments["seed"],
            prompt=arguments["prompt"],
            quality=arguments["quality"],
            keep_source=arguments["keep_source"],
            setup=setup_of(arguments),
            make=context.engine,
            on_frame=lambda _, color: show(color),
            on_preview=lambda frames: show(frames[len(frames) // 2]),
            on_progress=context.on_progress,
            cancelled=context.cancelled,
        )
    return {}


def exr(arguments: Arguments, context: Context) -> Result:
    """Make a shot folder with EXR frames out of a generated one."""
    from ex4d_core.files import partial_folder
    from ex4d_core.generate import add_exr
    from ex4d_core.scene import clear_folder

    with partial_folder(Path(arguments["out"])) as partial:
        clear_folder(partial)
        _link_shot(Path(arguments["shot"]), partial, ())
        add_exr(partial, on_progress=context.on_progress, cancelled=context.cancelled)
    return {}


def check_scene(arguments: Arguments, context: Context) -> Result:
    """Decode every frame of a scene folder that came from outside.

    Raises:
        InputError: it is damaged, or holds links, or is not what its hash says.
    """
    from ex4d_core.depth.exr import read_exr
    from ex4d_core.images import read_image
    from ex4d_core.scene import Scene

    folder = Path(arguments["scene"])
    scene = Scene.open(folder, verify=True, confined=True, cancelled=context.cancelled)
    files = scene.document.files
    for frame in range(scene.frames):
        scene.color(frame)
        scene.depth(frame)
        for pattern in (files.occlusion, files.plate):
            if pattern is not None:
                read_image(folder / (pattern % frame))
        if files.proxy is not None:
            read_exr(folder / (files.proxy % frame), scene.document.depth.channel)
        context.on_progress(frame + 1, scene.frames, "checking")
    for layer in range(scene.background_layers):
        scene.background_layer(layer)
    return {"content_hash": scene.content_hash}


OPERATIONS: dict[str, Callable[[Arguments, Context], Result]] = {
    "identify": identify,
    "import": import_,
    "path": path,
    "render": render,
    "generate": generate,
    "exr": exr,
    "check-scene": check_scene,
}


def perform(name: str, arguments: Arguments, context: Context) -> Result:
    """Run an operation; where another process still holds the folder (a worker just killed), wait a little.

    Raises:
        Ex4dError: as the operation.
    """
    deadline = time.monotonic() + _BUSY_PATIENCE
    while True:
        try:
            return OPERATIONS[name](arguments, context)
        except BusyError:
            if time.monotonic() > deadline or context.cancelled():
                raise
            time.sleep(0.1)


def _options(arguments: Arguments) -> ImportOptions:
    from ex4d_core.camera import trajectory_from_document
    from ex4d_core.import_request import ImportOptions

    given = dict(arguments["options"])
    for name in ("depth_range", "size"):
        given[name] = None if given[name] is None else tuple(given[name])
    given["fps"] = None if given["fps"] is None else Fraction(*given["fps"])
    given["depth"] = None if given["depth"] is None else _footage(given["depth"])
    folder, camera = given.pop("depth_model_dir"), given["source_camera"]
    given["model_dir"] = None if folder is None else Path(folder["path"])
    given["estimate_camera"] = camera == "estimate"
    if camera in ("static", "estimate"):
        given["source_camera"] = None
    elif camera is not None:
        is_trajectory = "frames" in camera
        read = trajectory_from_document(camera, "The source camera") if is_trajectory else _footage(camera)
        given["source_camera"] = read
    return ImportOptions(**given)


def _footage(given: dict[str, str]) -> Path:
    """A clip, or the folder of an uploaded zip that holds an image sequence."""
    from ex4d_server.unpack import unpack

    if "path" in given:
        return Path(given["path"])
    source = Path(given["zip"])
    folder = source.with_name(source.stem)
    if not folder.is_dir():
        partial = source.with_name(source.stem + ".unpacking")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            unpack(source, partial, _UNPACKED_BYTES)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


_UNPACKED_BYTES = 500 * 10**9


def _link_shot(shot: Path, folder: Path, without: tuple[str, ...]) -> None:
    """The files of a shot, shared where the disk can, without some folders and files of these names."""
    from ex4d_core.shot import SHOT_FILE

    if not shot.is_dir():
        raise InputError(f"The shot {shot.name} is no longer there: render it again.")
    for source in sorted(shot.rglob("*")):
        name = source.relative_to(shot)
        if name.parts[0] in without or source.is_dir():
            continue
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if name.parts[0] == SHOT_FILE:  # rewritten by the engine
            shutil.copyfile(source, target)
            continue
        try:
            target.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, target)


def _previews(file: Path, context: Context) -> Callable[[NDArray[np.uint8]], None]:
    """A small JPEG of the newest picture, once a second at most."""
    last = -_PREVIEW_EVERY

    def show(color: NDArray[np.uint8]) -> None:
        nonlocal last
        if time.monotonic() - last < _PREVIEW_EVERY:
            return
        import cv2

        last = time.monotonic()
        height, width = color.shape[:2]
        scale = min(1.0, _PREVIEW_SIDE / max(height, width))
        small = cv2.resize(color, (max(1, round(width * scale)), max(1, round(height * scale))))
        encoded, jpeg = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])
        if not encoded:
            return
        temporary = file.with_suffix(".next")
        temporary.write_bytes(jpeg.tobytes())
        temporary.replace(file)
        context.on_preview()

    return show

"""Running an engine on a shot folder, or on a pair of videos made elsewhere."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Trajectory, load_trajectory
from ex4d_core.clip import iter_frames, load_clip, probe_clip, write_viewing
from ex4d_core.engines import check_request, engine_facts
from ex4d_core.errors import CancelledError, Ex4dError, InputError
from ex4d_core.files import partial_folder, require_new
from ex4d_core.generate.engine import Engine, GeneratedFrame, Shot, make_engine
from ex4d_core.generate.exr_frames import View, write_exr_frames
from ex4d_core.images import to_uint8, write_png
from ex4d_core.progress import Cancelled, OnProgress, never_cancelled, silent
from ex4d_core.scene import Scene, clear_folder
from ex4d_core.shot import COLOR_FILE, MASK_FILE, ShotDocument, read_shot, write_shot

OUTPUT_VIDEO = "output.mp4"
OUTPUT_FRAMES = "output"
EXR_FRAMES = "exr"
_FRAME_NAME = "%06d.png"

_log = logging.getLogger(__name__)

OnFrame = Callable[[int, NDArray[np.uint8]], None]
"""Shown each finished frame, for previews: its number from 0, and (h, w, 3) uint8 sRGB, not to be changed."""


def generate_shot(
    folder: Path,
    engine: str,
    *,
    seed: int = 0,
    prompt: str = "",
    quality: str = "",
    keep_source: bool = False,
    exr: bool = False,
    overwrite: bool = False,
    make: Callable[[str], Engine] = make_engine,
    on_frame: OnFrame | None = None,
    on_progress: OnProgress = silent,
    cancelled: Cancelled = never_cancelled,
) -> Path:
    """Generate a shot folder made by `rendering.render_shot`.

    Writes output/000000.png ... (opaque) and output.mp4 (to look at, with the footage's sound where the shot
    runs at its speed) into it, and the engine, timings and shares of each frame into shot.json; with `exr` also
    exr/000000.exr ..., see `add_exr`. What an earlier run of the same request finished is kept: asked again with
    `exr`, only that is written, anew where it was there.

    Args:
        folder: the shot.
        engine: name of an engine.
        seed: for engines that draw at random.
        prompt: for engines that read one.
        quality: one of the engine's qualities; empty: its default.
        keep_source: for engines that can be asked to keep seen pixels.
        exr: also write the frames as OpenEXR with mask and depth.
        overwrite: replace an earlier output.
        make: gives the engine of a name; one's own can keep engines, and so models, loaded between shots.
        on_frame: shown each finished frame.
        on_progress: told about the frames done.
        cancelled: asked between frames.

    Returns:
        The path of output.mp4.

    Raises:
        InputError: no such engine, or it does not know the quality or to keep the source; not a shot, damaged
            conditioning, or it has an output already.
        OutputError: the results cannot be written.
        CancelledError: `cancelled` said so.
    """
    check_request(engine, quality, keep_source)
    document = read_shot(folder)
    video, frames_folder = folder / OUTPUT_VIDEO, folder / OUTPUT_FRAMES
    asked = {"engine": engine, "seed": seed, "prompt": prompt, "quality": quality, "keep_source": keep_source}
    if exr and not overwrite and is_generated(folder, document, asked):
        add_exr(folder, overwrite=True, on_progress=on_progress, cancelled=cancelled)  # which mends it too
        return video
    for earlier in (video, frames_folder, folder / EXR_FRAMES):
        if earlier.exists() and not overwrite:
            raise InputError(f"{earlier} exists already: add --overwrite to generate the shot anew.")
    chosen = make(engine)
    shot = _open_shot(folder, document, cancelled, prompt=prompt, seed=seed, quality=quality, keep_source=keep_source)
    if len(document.frames) != len(shot):
        raise InputError(f"{folder} lists {len(document.frames)} frames and has {len(shot)}: render the shot again.")
    started = time.perf_counter()
    records = list(document.frames)
    with partial_folder(frames_folder) as partial:

        def finished() -> Iterator[NDArray[np.uint8]]:
            for index, frame in enumerate(chosen.generate(shot, on_progress, cancelled)):
                write_png(partial / (_FRAME_NAME % index), frame.color)
                records[index] = records[index].model_copy(update=_shares(frame))
                if on_frame is not None:
                    on_frame(index, frame.color)
                yield frame.color

        sound, start = _sound(shot)
        write_viewing(partial / OUTPUT_VIDEO, finished(), shot.fps, audio_from=sound, audio_start=start)
        # The video is renamed first: a folder output/ without it would look like a finished result.
        shutil.move(partial / OUTPUT_VIDEO, video)
        if (folder / EXR_FRAMES).exists():  # of the output that is replaced
            shutil.rmtree(folder / EXR_FRAMES)
    timings = {**document.result.timings, "generate": round(time.perf_counter() - started, 3)}
    write_shot(
        folder,
        document.model_copy(
            update={
                "request": document.request.model_copy(update=asked),
                "result": document.result.model_copy(update={"timings": timings}),
                "frames": tuple(records),
            }
        ),
    )
    if exr:
        add_exr(folder, on_progress=on_progress, cancelled=cancelled)
    return video


def add_exr(
    folder: Path,
    *,
    overwrite: bool = False,
    on_progress: OnProgress = silent,
    cancelled: Cancelled = never_cancelled,
) -> Path:
    """Write the frames of a generated shot as OpenEXR with mask and depth (see `exr_frames`): exr/000000.exr ...

    Depth is left out, with a warning, where the scene is gone or has changed.

    Args:
        folder: the shot; it has an output.
        overwrite: replace earlier ones.
        on_progress: told about the frames done.
        cancelled: asked between frames.

    Returns:
        The folder exr/.

    Raises:
        InputError: not a generated shot, or a file of it is damaged; it has an exr/ already.
        OutputError: the results cannot be written.
        CancelledError: `cancelled` said so.
    """
    document = read_shot(folder)
    out, mask = folder / EXR_FRAMES, folder / MASK_FILE
    require_new(out, overwrite)
    pictures = folder / OUTPUT_FRAMES
    if not pictures.is_dir():
        raise InputError(f"{folder} has no {OUTPUT_FRAMES}/ to write as EXR: generate it first.")
    view, facts = None, probe_clip(mask)
    scene = _open_scene(folder, document, "the EXR files have no depth")
    if scene is not None:
        path = load_trajectory(folder / document.request.trajectory, facts.width, facts.height, facts.fps)
        _require_fit(folder, path, facts.width, facts.height, facts.frames)
        view = View(scene, path, document.request.method)
    with partial_folder(out) as partial:
        clear_folder(partial)
        write_exr_frames(partial, pictures / _FRAME_NAME, mask, view, facts.frames, on_progress, cancelled)
    return out


def is_generated(folder: Path, document: ShotDocument, asked: Mapping[str, object]) -> bool:
    """Whether a shot has the output of this request; a seed or prompt that its engine does not read may differ.

    Args:
        folder: the shot.
        document: its shot.json.
        asked: the fields of `ShotRequest` that an engine is given.
    """
    empty: dict[str, object] = {"prompt": "", "quality": "", "keep_source": False}
    facts = engine_facts(str(asked["engine"]))
    unread = {name for name, reads in (("seed", facts.reads_seed), ("prompt", facts.reads_prompt)) if not reads}
    asked = {name: value for name, value in asked.items() if name not in unread}
    have = {name: getattr(document.request, name) for name in asked}
    have = {name: empty.get(name) if value is None else value for name, value in have.items()}
    return have == asked and (folder / OUTPUT_VIDEO).is_file() and (folder / OUTPUT_FRAMES).is_dir()


def generate_pair(
    color: Path,
    mask: Path,
    engine: str,
    out: Path,
    *,
    seed: int = 0,
    prompt: str = "",
    quality: str = "",
    keep_source: bool = False,
    overwrite: bool = False,
    on_progress: OnProgress = silent,
    cancelled: Cancelled = never_cancelled,
) -> Path:
    """Generate from conditioning made elsewhere.

    Args:
        color: video of what is seen, the rest of any colour.
        mask: video of the same size and length; over half bright = seen.
        engine: see `generate_shot`, likewise the rest.
        out: the video to write.
        seed: see `generate_shot`.
        prompt: see `generate_shot`.
        quality: see `generate_shot`.
        keep_source: see `generate_shot`.
        overwrite: replace an existing video.
        on_progress: see `generate_shot`.
        cancelled: see `generate_shot`.

    Returns:
        `out`.

    Raises:
        InputError: the videos cannot be read, or differ in size or length.
        OutputError: the result cannot be written.
        CancelledError: `cancelled` said so.
    """
    check_request(engine, quality, keep_source)
    chosen = make_engine(engine)
    if out.resolve() in (color.resolve(), mask.resolve()):
        raise InputError(f"{out} is one of the inputs: choose another name for the result.")
    require_new(out, overwrite)
    if out.suffix != ".mp4":
        raise InputError(f"Cannot write a video as {out.name}: use a name ending in .mp4.")
    shot = Shot(*_load_pair(color, mask, cancelled), prompt, seed, quality, keep_source)
    frames = (frame.color for frame in chosen.generate(shot, on_progress, cancelled))
    write_viewing(out, frames, shot.fps)
    return out


def _load_pair(color: Path, mask: Path, cancelled: Cancelled) -> tuple[NDArray[np.uint8], NDArray[np.bool_], Fraction]:
    """Colour, black where not seen, mask and rate; as in `Shot`."""
    facts = [probe_clip(path) for path in (color, mask)]
    sizes = [f"{f.frames} frames of {f.width}x{f.height}" for f in facts]
    if sizes[0] != sizes[1]:
        raise InputError(f"{color} has {sizes[0]} and {mask} {sizes[1]}: give both at one size and length.")
    clip = load_clip(color, cancelled=cancelled)
    seen = np.empty(clip.frames.shape[:3], np.bool_)
    for index, frame in enumerate(iter_frames(mask)):  # in place: a long shot is large
        if cancelled():
            raise CancelledError(f"Reading {mask} was stopped.")
        seen[index] = to_uint8(frame)[..., 0] > 127
        clip.frames[index][~seen[index]] = 0
    return clip.frames, seen, clip.fps


def _open_shot(folder: Path, document: ShotDocument, cancelled: Cancelled, **asked: Any) -> Shot:
    """The shot; `asked` are fields of `Shot`."""
    color, mask, fps = _load_pair(folder / COLOR_FILE, folder / MASK_FILE, cancelled)
    frames, height, width = mask.shape
    path = load_trajectory(folder / document.request.trajectory, width, height, fps)
    scene = _open_scene(folder, document, "the fill knows nothing of depth and other times")
    if scene is not None:
        _require_fit(folder, path, width, height, frames)
        asked["trajectory"] = path
    return Shot(color, mask, path.fps, scene=scene, method=document.request.method, **asked)


def _require_fit(folder: Path, path: Trajectory, width: int, height: int, frames: int) -> None:
    if (len(path), path.width, path.height) != (frames, width, height):
        raise InputError(f"The trajectory of {folder} does not fit its videos: render the shot again.")


def _open_scene(folder: Path, document: ShotDocument, otherwise: str) -> Scene | None:
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


def _sound(shot: Shot) -> tuple[Path | None, float]:
    """The footage's sound and where it starts, seconds, if the shot runs at the footage's speed."""
    if shot.scene is None or shot.trajectory is None or shot.scene.audio is None:
        return None, 0.0
    times = shot.trajectory.source_time
    first = float(times[0])
    if shot.fps != shot.scene.fps or not np.allclose(times, first + np.arange(len(times)), atol=1e-3):
        return None, 0.0
    return shot.scene.audio, first / float(shot.fps)


def _shares(frame: GeneratedFrame) -> dict[str, float]:
    return {"recovered": round(float(frame.recovered.mean()), 6), "invented": round(float(frame.invented.mean()), 6)}

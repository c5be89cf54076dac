"""Running an engine on a shot folder, or on a pair of videos made elsewhere."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import load_trajectory
from ex4d_core.clip import probe_clip, write_viewing
from ex4d_core.engines import EngineSetup, check_request, engine_facts, require
from ex4d_core.errors import InputError
from ex4d_core.files import partial_folder, require_new
from ex4d_core.generate.engine import Engine, GeneratedFrame, Shot, make_engine
from ex4d_core.generate.exr_frames import View, write_exr_frames
from ex4d_core.generate.opening import load_pair, open_scene, open_shot, require_fit, sound_of
from ex4d_core.generate.revisions import differing, model_revisions
from ex4d_core.generate.video_model import OnPreview, no_preview
from ex4d_core.images import write_png
from ex4d_core.progress import Cancelled, OnProgress, never_cancelled, silent
from ex4d_core.scene import clear_folder
from ex4d_core.shot import MASK_FILE, ShotDocument, library_versions, read_shot, write_shot

OUTPUT_VIDEO = "output.mp4"
OUTPUT_FRAMES = "output"
EXR_FRAMES = "exr"
_FRAME_NAME = "%06d.png"
_log = logging.getLogger(__name__)
_SETUP = ("memory", "attention", "cache", "steps")
"""Fields of `EngineSetup` that a shot records; of its folder of models, what lies in it."""
_UNSAID: Mapping[str, Any] = {
    "prompt": "",
    "quality": "",
    "keep_source": False,
    **{name: getattr(EngineSetup(), name) for name in _SETUP},
}
"""What stood for fields that an older shot.json does not have."""

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
    setup: EngineSetup | None = None,
    exr: bool = False,
    overwrite: bool = False,
    make: Callable[[str, EngineSetup], Engine] = make_engine,
    on_frame: OnFrame | None = None,
    on_preview: OnPreview = no_preview,
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
        setup: where the engine finds its models, and how it uses the machine.
        exr: also write the frames as OpenEXR with mask and depth.
        overwrite: replace an earlier output.
        make: gives the engine of a name; one's own can keep engines, and so models, loaded between shots.
        on_frame: shown each finished frame.
        on_preview: shown the frames to come, small, while they are made, by engines that can.
        on_progress: told about the frames done.
        cancelled: asked between frames.

    Returns:
        The path of output.mp4.

    Raises:
        InputError: no such engine, or it does not know the quality or to keep the source; not a shot, damaged
            conditioning, or it has an output already.
        BusyError: another process generates it.
        MissingDependencyError: the engine lacks a package or a model.
        OutputError: the results cannot be written.
        CancelledError: `cancelled` said so.
    """
    setup = setup or EngineSetup()
    check_request(engine, quality, keep_source, setup)
    document = read_shot(folder)
    video, frames_folder = folder / OUTPUT_VIDEO, folder / OUTPUT_FRAMES
    asked = request_fields(engine, seed, prompt, quality, keep_source, setup)
    if exr and not overwrite and is_generated(folder, document, asked):
        add_exr(folder, overwrite=True, on_progress=on_progress, cancelled=cancelled)  # which mends it too
        return video
    require(engine, setup, quality)
    _require_no_output(folder, overwrite)
    chosen = make(engine, setup)
    shot = open_shot(folder, document, cancelled, prompt=prompt, seed=seed, quality=quality, keep_source=keep_source)
    if len(document.frames) != len(shot):
        raise InputError(f"{folder} lists {len(document.frames)} frames and has {len(shot)}: render the shot again.")
    started = time.perf_counter()
    records = list(document.frames)
    with partial_folder(frames_folder) as partial:
        _require_no_output(folder, overwrite)  # another ex4d may have made it since
        clear_folder(partial)  # of a run that was killed: an engine cannot go on in the middle

        def finished() -> Iterator[NDArray[np.uint8]]:
            for index, frame in enumerate(chosen.generate(shot, on_progress, cancelled, on_preview)):
                write_png(partial / (_FRAME_NAME % index), frame.color)
                records[index] = records[index].model_copy(update=_shares(frame))
                if on_frame is not None:
                    on_frame(index, frame.color)
                yield frame.color

        sound, start = sound_of(shot)
        write_viewing(partial / OUTPUT_VIDEO, finished(), shot.fps, audio_from=sound, audio_start=start)
        # Until all is in its place the shot counts as rendered only: killed now, it must not give out frames of one
        # request as those of another. The video is renamed first: a folder output/ without it would look finished.
        write_shot(folder, _not_generated(document))
        shutil.move(partial / OUTPUT_VIDEO, video)
        if (folder / EXR_FRAMES).exists():  # of the output that is replaced
            shutil.rmtree(folder / EXR_FRAMES)
    done = document.result
    result = {
        "engine": dict(chosen.settings),
        "versions": {**done.versions, **library_versions(*engine_facts(engine).packages)},
        "timings": {**done.timings, "generate": round(time.perf_counter() - started, 3)},
    }
    update = {
        "request": document.request.model_copy(update=asked),
        "result": done.model_copy(update=result),
        "frames": tuple(records),
    }
    write_shot(folder, document.model_copy(update=update))
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
    scene = open_scene(folder, document, "the EXR files have no depth")
    if scene is not None:
        path = load_trajectory(folder / document.request.trajectory, facts.width, facts.height, facts.fps)
        require_fit(folder, path, facts.width, facts.height, facts.frames)
        view = View(scene, path, document.request.method, document.request.background)
    with partial_folder(out) as partial:
        clear_folder(partial)
        write_exr_frames(partial, pictures / _FRAME_NAME, mask, view, facts.frames, on_progress, cancelled)
    return out


def request_fields(
    engine: str, seed: int, prompt: str, quality: str, keep_source: bool, setup: EngineSetup
) -> dict[str, Any]:
    """The fields of `ShotRequest` that an engine is given; arguments and errors as `generate_shot`."""
    return {
        "engine": engine,
        "seed": seed,
        "prompt": prompt,
        "quality": quality,
        "keep_source": keep_source,
        **{name: getattr(setup, name) for name in _SETUP},
        "models": model_revisions(engine, quality, setup),
    }


def is_generated(folder: Path, document: ShotDocument, asked: Mapping[str, Any]) -> bool:
    """Whether a shot has the output of this request; a seed or prompt that its engine does not read may differ.

    Args:
        folder: the shot.
        document: its shot.json.
        asked: see `request_fields`.
    """
    facts = engine_facts(str(asked["engine"]))
    unread = {name for name, reads in (("seed", facts.reads_seed), ("prompt", facts.reads_prompt)) if not reads}
    models, others = dict(asked["models"]), {n: asked[n] for n in asked.keys() - unread - {"models"}}
    have = {name: getattr(document.request, name) for name in others}
    have = {name: _UNSAID.get(name) if value is None else value for name, value in have.items()}
    if have != others or differing(document.request.models or {}, models):
        return False
    return (folder / OUTPUT_VIDEO).is_file() and (folder / OUTPUT_FRAMES).is_dir()


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
    setup: EngineSetup | None = None,
    overwrite: bool = False,
    on_progress: OnProgress = silent,
    cancelled: Cancelled = never_cancelled,
) -> Path:
    """Generate from conditioning made elsewhere.

    Args:
        color: video of what is seen, the rest of any colour.
        mask: video of the same size and length; over half bright = seen.
        engine: see `generate_shot`, likewise the rest.
        out: the video to write; odd sizes are made even, with a warning.
        seed: see `generate_shot`.
        prompt: see `generate_shot`.
        quality: see `generate_shot`.
        keep_source: see `generate_shot`.
        setup: see `generate_shot`.
        overwrite: replace an existing video.
        on_progress: see `generate_shot`.
        cancelled: see `generate_shot`.

    Returns:
        `out`.

    Raises:
        InputError: the videos cannot be read, or differ in size or length.
        MissingDependencyError: the engine lacks a package or a model.
        OutputError: the result cannot be written.
        CancelledError: `cancelled` said so.
    """
    check_request(engine, quality, keep_source, setup)
    chosen = make_engine(engine, setup)
    if out.resolve() in (color.resolve(), mask.resolve()):
        raise InputError(f"{out} is one of the inputs: choose another name for the result.")
    require_new(out, overwrite)
    if out.suffix != ".mp4":
        raise InputError(f"Cannot write a video as {out.name}: use a name ending in .mp4.")
    scratch = next(parent for parent in out.resolve().parents if parent.is_dir())
    shot = Shot(*load_pair(color, mask, scratch, cancelled), prompt, seed, quality, keep_source)
    height, width = shot.mask.shape[1:]
    if width % 2 or height % 2:
        even = f"{width + width % 2}x{height + height % 2}"
        _log.warning(
            "%s is %s, not %dx%d: such a video has no odd sizes, its edge is repeated.", out, even, width, height
        )
    frames = (frame.color for frame in chosen.generate(shot, on_progress, cancelled))
    write_viewing(out, frames, shot.fps)
    return out


def _require_no_output(folder: Path, overwrite: bool) -> None:
    for earlier in (folder / OUTPUT_VIDEO, folder / OUTPUT_FRAMES, folder / EXR_FRAMES):
        if earlier.exists() and not overwrite:
            raise InputError(f"{earlier} exists already: add --overwrite to generate the shot anew.")


def _not_generated(document: ShotDocument) -> ShotDocument:
    request = document.request.model_copy(update={"engine": None, "models": None})
    result = document.result.model_copy(update={"engine": {}})
    return document.model_copy(update={"request": request, "result": result})


def _shares(frame: GeneratedFrame) -> dict[str, float]:
    return {"recovered": round(float(frame.recovered.mean()), 6), "invented": round(float(frame.invented.mean()), 6)}

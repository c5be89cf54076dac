"""From footage to the re-shot video in one call, stage by stage, going on where an earlier run stopped.

OUT/scene.ex4d -> OUT/shot -> OUT/shot/output.mp4 -> OUT/output.mp4, OUT/contact.png
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Trajectory, load_trajectory
from ex4d_core.clip import iter_frames
from ex4d_core.contact import contact_sheet, pick_times
from ex4d_core.engines import EngineSetup, check_request, require
from ex4d_core.errors import Ex4dError, InputError
from ex4d_core.files import atomic_file, require_new, require_replaceable
from ex4d_core.generate import add_exr, generate_shot
from ex4d_core.generate.folder import EXR_FRAMES, is_generated, request_fields
from ex4d_core.images import to_uint8, write_png
from ex4d_core.methods import DEFAULT_METHOD
from ex4d_core.progress import Cancelled, OnProgress, never_cancelled, silent, stop_if
from ex4d_core.rendering import render_shot
from ex4d_core.scene import Scene
from ex4d_core.shot import SHOT_FILE, ShotDocument, read_shot


@dataclass(frozen=True)
class Reshot:
    """Where the results of `reshoot` lie."""

    scene: Path
    shot: Path
    output: Path
    """The re-shot video, to look at."""
    contact: Path
    """Source, colour, mask and output at five times, as one picture."""


def reshoot(
    scene: Scene,
    trajectory: Trajectory,
    out: Path,
    *,
    engine: str = "draft",
    method: str = DEFAULT_METHOD,
    background: bool = True,
    passes: tuple[str, ...] = (),
    allow_unseen: bool = False,
    seed: int = 0,
    prompt: str = "",
    quality: str = "",
    keep_source: bool = False,
    setup: EngineSetup | None = None,
    exr: bool = False,
    overwrite: bool = False,
    on_progress: OnProgress = silent,
    cancelled: Cancelled = never_cancelled,
) -> Reshot:
    """Render a scene along a path and generate the shot.

    What an earlier run of the same request finished is kept.

    Args:
        scene: the footage with depth.
        trajectory: the new camera.
        out: the folder for shot/, output.mp4 and contact.png; made if needed.
        engine: what fills the unseen; see `ex4d_core.generate`.
        method: see `ex4d_core.rendering.render`; likewise the next three.
        background: see there.
        passes: see there.
        allow_unseen: see there.
        seed: for engines that draw at random.
        prompt: for engines that read one.
        quality: see `generate_shot`; likewise the next three.
        keep_source: see there.
        setup: see there.
        exr: see there.
        overwrite: replace the results of another request.
        on_progress: told about each stage.
        cancelled: asked between frames.

    Raises:
        InputError: `out` holds the results of another request; else as the stages.
        Ex4dError: as `render_shot` and `generate_shot`.
    """
    setup = setup or EngineSetup()
    check_request(engine, quality, keep_source, setup)
    result = Reshot(scene.path, out / "shot", out / "output.mp4", out / "contact.png")
    rendered = _finished(result.shot)
    if rendered is None:  # what lies here is not an earlier run of ours
        require_replaceable(result.shot, overwrite, SHOT_FILE, "shot")
        for name in (result.output, result.contact):
            require_new(name, overwrite)
    if rendered is None or not _same_render(result.shot, rendered, scene, trajectory, method, background, passes):
        require(engine, setup, quality)  # said now, not after the render
        if rendered is not None and not overwrite:
            raise InputError(
                f"{out} holds a shot of another request: choose another -o, or add --overwrite to replace it."
            )
        render_shot(
            scene,
            trajectory,
            result.shot,
            method=method,
            background=background,
            passes=passes,
            allow_unseen=allow_unseen,
            overwrite=result.shot.exists(),
            on_progress=on_progress,
            cancelled=cancelled,
        )
        rendered = read_shot(result.shot)
    asked = request_fields(engine, seed, prompt, quality, keep_source, setup)
    if not is_generated(result.shot, rendered, asked):
        generate_shot(
            result.shot,
            engine,
            seed=seed,
            prompt=prompt,
            quality=quality,
            keep_source=keep_source,
            setup=setup,
            exr=exr,
            overwrite=overwrite,
            on_progress=on_progress,
            cancelled=cancelled,
        )
    elif exr and not (result.shot / EXR_FRAMES).is_dir():
        add_exr(result.shot, on_progress=on_progress, cancelled=cancelled)
    with atomic_file(result.output) as temporary:
        shutil.copyfile(result.shot / "output.mp4", temporary)
    with atomic_file(result.contact) as temporary:
        write_png(temporary, _contact(scene, trajectory, result.shot, cancelled))
    return result


def _finished(shot: Path) -> ShotDocument | None:
    try:
        return read_shot(shot)
    except Ex4dError:
        return None


def _same_render(
    shot: Path,
    document: ShotDocument,
    scene: Scene,
    trajectory: Trajectory,
    method: str,
    background: bool,
    passes: tuple[str, ...],
) -> bool:
    request = document.request
    if document.scene is None or document.scene.content_hash != scene.content_hash:
        return False
    if (request.method, request.background, tuple(request.passes)) != (method, background, passes):
        return False
    try:
        before = load_trajectory(shot / request.trajectory, trajectory.width, trajectory.height, trajectory.fps)
    except Ex4dError:
        return False
    return all(
        np.array_equal(getattr(before, name), getattr(trajectory, name))
        for name in ("c2w", "intrinsics", "source_time")
    ) and (before.width, before.height, before.fps) == (trajectory.width, trajectory.height, trajectory.fps)


def _contact(scene: Scene, trajectory: Trajectory, shot: Path, cancelled: Cancelled) -> np.ndarray:
    times = pick_times(len(trajectory))

    def shown(video: str) -> list[NDArray[np.uint8]]:
        found: list[NDArray[np.uint8]] = []
        for t, frame in enumerate(iter_frames(shot / video)):
            stop_if(cancelled)
            if t in times:
                found.append(to_uint8(frame))
        return found

    rows = {
        "source": [scene.color(trajectory.source_frame(t, scene.frames)) for t in times],
        "colour: what the footage shows from the new camera": shown("color.mp4"),
        "mask: white = seen": shown("mask.mp4"),
        "output": shown("output.mp4"),
    }
    return contact_sheet(rows, times)

"""Rendering: a scene from another camera, with the mask of what its source saw."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ex4d_core import quads
from ex4d_core.ahead import beside, in_order
from ex4d_core.background import LEFT_OUT
from ex4d_core.background.showing import Backdrop
from ex4d_core.camera import Camera, Intrinsics, Trajectory, save_trajectory
from ex4d_core.errors import CameraError, InputError
from ex4d_core.files import partial_folder, require_outside, require_replaceable
from ex4d_core.footage import Footage
from ex4d_core.frame import RenderedFrame, render_depth, render_frame
from ex4d_core.mesh import build_mesh
from ex4d_core.methods import DEFAULT_METHOD, METHODS, PASSES
from ex4d_core.occluder import BRIDGE_REACH
from ex4d_core.progress import Cancelled, OnProgress, never_cancelled, silent, stop_if
from ex4d_core.raster import warm_up
from ex4d_core.reference import opening_frame
from ex4d_core.scene import Scene
from ex4d_core.shot import (
    SHOT_FILE,
    TRAJECTORY_FILE,
    SceneReference,
    ShotDocument,
    ShotRequest,
    ShotResult,
    library_versions,
    machine_facts,
    relative_path,
    write_shot,
)
from ex4d_core.shot_files import FrameFiles, write_frames

__all__ = ["PASSES", "RenderedFrame", "depth_of_sample", "render", "render_frame", "render_shot"]

LEAST_SEEN = 0.002
"""A frame that shows less of the source than this share of its pixels is taken for a mistake."""
MEASURING_PASSES = frozenset({"risk", "risk-exr"})
"""Those that want the resolution."""

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


def render(
    scene: Scene,
    trajectory: Trajectory,
    *,
    method: str = DEFAULT_METHOD,
    background: bool = True,
    passes: tuple[str, ...] = (),
    allow_unseen: bool = False,
    bridge_reach: float = BRIDGE_REACH,
    workers: int | None = None,
    on_progress: OnProgress = silent,
    cancelled: Cancelled = never_cancelled,
) -> Iterator[RenderedFrame]:
    """Render a scene along a trajectory, a frame for each of its samples, in order.

    Frames are read, meshed and rendered in a small pool of threads, a few ahead of the one handed out. A frame that
    several samples in a row show is meshed once.

    Args:
        scene: the clip with depth.
        trajectory: cameras in the scene's world and the source time that each looks at.
        method: mesh method, one of `ex4d_core.methods.METHODS`.
        background: show the persistent background behind each frame, where the scene has one.
        passes: of `PASSES`; those of risk measure the resolution.
        allow_unseen: go on where a frame sees nothing of the scene.
        bridge_reach: see `render_frame`.
        workers: threads; default one per core, at most 4. The result does not depend on it.
        on_progress: told about each frame handed out.
        cancelled: asked before each frame.

    Raises:
        InputError: an unknown method or pass; a frame of the scene is damaged.
        CameraError: a frame sees nothing (or under 0.2 %) of the scene, unless allowed.
        CancelledError: `cancelled` said so.
    """
    sample = _sampler(scene, trajectory, method, background, passes, allow_unseen, bridge_reach)
    return _in_turn(sample, method, len(trajectory), workers, on_progress, cancelled)


def render_shot(
    scene: Scene,
    trajectory: Trajectory,
    out: Path,
    *,
    method: str = DEFAULT_METHOD,
    background: bool = True,
    passes: tuple[str, ...] = (),
    allow_unseen: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
    on_progress: OnProgress = silent,
    cancelled: Cancelled = never_cancelled,
) -> Path:
    """Render a scene along a trajectory into a shot folder (DESIGN section 3).

    color.mp4, mask.mp4 (255 = seen), trajectory.json, shot.json; pass "depth" writes depth/000000.exr (encoded
    like the scene's; disparity 0 or depth infinite = nothing there), pass "risk" risk/000000.png (see
    `RenderedFrame.risk`), pass "risk-exr" risk-exr/000000.exr (`RenderedFrame.risk_channels`).

    Args:
        scene: see `render`, also for the other arguments.
        trajectory: see `render`.
        out: the folder to make.
        method: see `render`.
        background: see `render`.
        passes: see `render`.
        allow_unseen: see `render`.
        overwrite: replace an existing folder.
        workers: see `render`.
        on_progress: see `render`.
        cancelled: see `render`.

    Returns:
        `out`.

    Raises:
        InputError: `out` exists already or is the scene or one of its parents; else see `render`.
        CameraError: see `render`.
        OutputError: the folder cannot be written.
        CancelledError: `cancelled` said so.
    """
    require_replaceable(out, overwrite, SHOT_FILE, "shot")
    require_outside(scene.path, out)
    encoding = scene.document.depth.encoding
    sample = _sampler(scene, trajectory, method, background, passes, allow_unseen, BRIDGE_REACH)

    def ready(index: int, unwanted: Cancelled) -> FrameFiles:
        frame = sample(index, unwanted)
        stop_if(unwanted)
        return FrameFiles.of(frame, passes, encoding)

    frames = _in_turn(ready, method, len(trajectory), workers, on_progress, cancelled)
    started = time.perf_counter()
    with partial_folder(out) as folder:
        # Frames are cheap: what an interrupted run left is thrown away.
        for leftover in folder.iterdir():
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()
        save_trajectory(trajectory, folder / TRAJECTORY_FILE)
        records, behind = write_frames(frames, folder, trajectory.fps, passes, cancelled)
        warnings = _warn_behind(behind)
        if _lacks_background(scene, background):  # `_sampler` has said so
            warnings = (LEFT_OUT.note, *warnings)
        write_shot(
            folder,
            ShotDocument(
                scene=SceneReference(path=relative_path(scene.path, out), content_hash=scene.content_hash),
                request=ShotRequest(
                    method=method,
                    size=(trajectory.width, trajectory.height),
                    background=background,
                    passes=passes,
                ),
                result=ShotResult(
                    versions=library_versions("ex4d", "numpy", "numba", "av"),
                    timings={"render": round(time.perf_counter() - started, 3)},
                    machine=machine_facts(),
                    warnings=warnings,
                ),
                frames=tuple(records),
            ),
        )
    return out


def _lacks_background(scene: Scene, wanted: bool) -> bool:
    return wanted and scene.document.background == LEFT_OUT


def _warn_behind(frames: list[int]) -> tuple[str, ...]:
    if not frames:
        return ()
    named = ", ".join(f"{a}-{b}" if b > a else f"{a}" for a, b in _ranges(frames))
    warning = (
        f"In frames {named} the camera stands behind a surface that the source saw: what it shows of it is its "
        "back, as never seen; make the move smaller if that is not meant."
    )
    _log.warning(warning)
    return (warning,)


def _ranges(numbers: list[int]) -> list[tuple[int, int]]:
    """Runs of consecutive numbers, first and last of each."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def _sampler(
    scene: Scene,
    trajectory: Trajectory,
    method: str,
    background: bool,
    passes: tuple[str, ...],
    allow_unseen: bool,
    bridge_reach: float,
) -> Callable[[int, Cancelled], RenderedFrame]:
    """What renders one sample; arguments and errors as `render`."""
    if method not in METHODS:
        raise InputError(f"There is no mesh method '{method}': choose one of {', '.join(METHODS)}.")
    for name in passes:
        if name not in PASSES:
            raise InputError(f"There is no pass '{name}': choose from {', '.join(PASSES)}.")
        if passes.count(name) > 1:
            raise InputError(f"The pass '{name}' is named twice: name each once.")
    if trajectory.scene_hash not in (None, scene.content_hash):
        _log.warning("The trajectory was made for another scene, or for this one before it was imported again.")
    if _lacks_background(scene, background):
        _log.warning(LEFT_OUT.note)
    footage, backdrop = Footage(scene, method, bridge_reach), Backdrop.of(scene, method, background)
    measured = not MEASURING_PASSES.isdisjoint(passes)

    def sample(index: int, unwanted: Cancelled) -> RenderedFrame:
        frame = _render_sample(footage, trajectory, index, measured, backdrop, unwanted)
        if not allow_unseen and 1.0 - frame.unseen < LEAST_SEEN:
            raise _sees_nothing(index, frame)
        return frame

    return sample


def _in_turn(
    make: Callable[[int, Cancelled], _T],
    method: str,
    total: int,
    workers: int | None,
    on_progress: OnProgress,
    cancelled: Cancelled,
) -> Generator[_T]:
    compile_kernels = quads.warm_up if method == "quads" else warm_up
    beside(lambda _: compile_kernels(), cancelled, "compile")  # seconds, once per machine
    workers = workers or min(4, os.cpu_count() or 1)
    with closing(in_order(make, total, workers, cancelled, "render")) as made:
        for index, one in enumerate(made):
            yield one
            on_progress(index + 1, total, "rendering")


def _render_sample(
    footage: Footage,
    trajectory: Trajectory,
    index: int,
    resolution: bool,
    backdrop: Backdrop | None,
    unwanted: Cancelled,
) -> RenderedFrame:
    filmed = footage.frame(trajectory.source_frame(index, footage.scene.frames), unwanted)
    source = filmed.source
    in_source = _in_source(footage.scene, trajectory, index)
    stop_if(unwanted)
    frame = filmed.seen_from(in_source, resolution)
    lens = source.camera.intrinsics
    if index == 0 and footage.method == "reference":
        frame = opening_frame(frame, source.color, in_source, lens, float(source.depth.min()))
    behind = _is_behind(in_source, lens, source.depth)
    frame = replace(frame, source_frame=source.number, behind_surface=behind)
    if backdrop is None:
        return frame
    stop_if(unwanted)
    return backdrop.behind(frame, source, trajectory.camera(index))


def depth_of_sample(
    scene: Scene, trajectory: Trajectory, index: int, method: str, backdrop: Backdrop | None = None
) -> NDArray[np.float32]:
    """The depth of one sample of a trajectory, for what was never seen too; see `frame.render_depth`.

    Args:
        scene: the clip with depth.
        trajectory: see `render`.
        index: of the sample, from 0.
        method: see `render`.
        backdrop: the persistent background, for the pixels that show it; None: without.

    Raises:
        InputError: the frame of the scene is damaged.
    """
    source = trajectory.source_frame(index, scene.frames)
    mesh = build_mesh(scene.depth(source), scene.intrinsics(source), "dwmesh" if method == "quads" else method)
    depth = render_depth(mesh, _in_source(scene, trajectory, index), threads=1)
    if backdrop is None and method != "quads":
        return depth
    frame = _render_sample(Footage(scene, method), trajectory, index, False, backdrop, never_cancelled)
    return np.where(frame.mask if method == "quads" else frame.seen_elsewhere, frame.depth, depth)


def _in_source(scene: Scene, trajectory: Trajectory, index: int) -> Camera:
    """The camera of a sample, posed in the space of the source frame that it looks at."""
    source, target = trajectory.source_frame(index, scene.frames), trajectory.camera(index)
    return Camera(scene.source_camera(source).w2c() @ target.c2w, target.intrinsics)


def _is_behind(camera: Camera, lens: Intrinsics, depth: NDArray[np.float32]) -> bool:
    """Whether the camera's centre lies behind the surface that the source camera saw in that direction."""
    x, y, z = camera.c2w[:3, 3]
    if z <= 0:
        return False
    column, row = lens.fx * x / z + lens.cx, lens.fy * y / z + lens.cy
    if not (0 <= column < lens.width and 0 <= row < lens.height):
        return False
    return bool(z > depth[int(row), int(column)])


def _sees_nothing(index: int, frame: RenderedFrame) -> CameraError:
    where = (
        "its camera stands behind or inside the surface: keep the path in front of it or make the move smaller"
        if frame.behind_surface
        else "its camera looks past or away from it: turn it towards the scene or make the move smaller"
    )
    return CameraError(f"Frame {index} of the trajectory sees nothing of the scene, {where}.")

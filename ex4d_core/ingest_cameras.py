"""The lens and the path of the camera that took the footage, as far as they are known before its depth is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics, Trajectory
from ex4d_core.clip import ClipInfo
from ex4d_core.depth import ColorFrames, Units
from ex4d_core.errors import InputError
from ex4d_core.import_request import ImportOptions
from ex4d_core.ingest_state import ImportState
from ex4d_core.progress import Cancelled, OnProgress
from ex4d_core.scene_format import FoundCameras
from ex4d_core.sequence import find_sequence

if TYPE_CHECKING:
    from ex4d_core.distortion import Distortion
    from ex4d_core.solve import Solve, SolvedPoints

LensOrigin = Literal["assumed", "given", "trajectory", "metadata", "estimated"]
CameraOrigin = Literal["static", "given", "estimated"]

_ASPECT_TOLERANCE = 0.01


@dataclass(frozen=True)
class SourceCameras:
    """The cameras of the frames taken, at working size."""

    lenses: list[Intrinsics]
    """One a frame, without distortion."""
    origin: LensOrigin
    note: str
    """Which lens it is and how sure that is, a sentence."""
    c2w: NDArray[np.float64] | None = None
    """(T, 4, 4) float64 camera-to-world, OpenCV axes, scene units; None: it stands still."""
    camera: CameraOrigin = "static"
    distortion: Distortion | None = None
    """What the footage has of it, at working size."""
    points: SolvedPoints | None = None
    """What the solve found in space: they tell its scale."""
    has_scale: bool = True
    """Whether the solve's units may be those of the depth."""
    notes: tuple[str, ...] = ()
    """About the solve, for people."""

    def with_lens(self, lenses: tuple[Intrinsics, ...], estimator: str) -> SourceCameras:
        """With the lens that a depth estimator found, if no better one is known."""
        degrees = float(np.median([lens.fov_x_degrees for lens in lenses]))
        if estimator == "file" and self.origin in ("assumed", "metadata"):
            note = f"The lens is the one beside the depth: a horizontal field of view of {degrees:.1f} degrees."
            return replace(self, lenses=list(lenses), origin="given", note=note)
        if self.origin != "assumed":
            return self
        note = (
            f"The lens was estimated by {estimator}: a horizontal field of view of {degrees:.0f} degrees, which "
            "may be wrong; give --fov if you know it."
        )
        return replace(self, lenses=list(lenses), origin="estimated", note=note)

    def with_path(self, c2w: NDArray[np.float64]) -> SourceCameras:
        """With a path that was estimated."""
        return replace(self, c2w=c2w, camera="estimated")


def find_cameras(
    source: Path, options: ImportOptions, info: ClipInfo, count: int, size: tuple[int, int]
) -> SourceCameras:
    """The cameras that the user, a solve or the footage's metadata tell.

    Args:
        source: the clip.
        options: of the import.
        info: of the clip.
        count: frames taken of it.
        size: working size, pixels.

    Raises:
        InputError: the solve does not fit the clip, or a file cannot be read.
        CameraError: the lens or the solve is impossible.
    """
    from ex4d_core.lens import read_lens

    solved, solve = _solve(source, options, info, count)
    given = options.lens(info.width, info.height)
    origin: LensOrigin
    if given is not None and (solve is None or solve.distortion is None):
        lenses, origin = [given] * count, "given"
        note = f"The lens is as given: a horizontal field of view of {given.fov_x_degrees:.1f} degrees."
    elif solved is not None:
        lenses, origin = [solved.camera(frame).intrinsics for frame in range(count)], "trajectory"
        note = f"The lens is that of the camera solve: {lenses[0].fov_x_degrees:.1f} degrees horizontally."
    elif (found := read_lens(source, info)) is not None:
        lenses, origin, note = [found.intrinsics] * count, "metadata", found.note
    else:
        lenses, origin = [Intrinsics.unknown_lens(info.width, info.height)] * count, "assumed"
        note = (
            f"The lens is unknown, a horizontal field of view of {lenses[0].fov_x_degrees:.0f} degrees is assumed: "
            "give --fov if you know it, a wrong one bends the scene."
        )
    return SourceCameras(
        lenses=[lens.resized(*size) for lens in lenses],
        origin=origin,
        note=note,
        c2w=None if solved is None else solved.c2w,
        camera="static" if solved is None else "given",
        distortion=None if solve is None or solve.distortion is None else solve.distortion.resized(*size),
        points=None if solve is None else solve.points,
        has_scale=solve is None or solve.has_scale,
        notes=() if solve is None else solve.notes,
    )


@dataclass(frozen=True)
class Standing:
    """How the source camera stands in the world, once the depth is known."""

    cameras: SourceCameras
    notes: tuple[str, ...] = ()
    """For people."""
    unsteady: str = ""
    """Why what stands still in the world cannot be told; empty: it can."""


def place_cameras(
    cameras: SourceCameras,
    found: FoundCameras | None,
    estimate: bool,
    colors: ColorFrames,
    depth: Callable[[int], NDArray[np.float32]],
    units: Units,
    cuts: tuple[int, ...],
    state: ImportState,
    on_progress: OnProgress,
    cancelled: Cancelled,
) -> Standing:
    """Bring a solve to the depth's scale, estimate the path where that was asked for, or see whether it stands still.

    Args:
        cameras: what is known.
        found: what the depth estimator told, if that is wanted.
        estimate: whether to find the path.
        colors: T frames (H, W, 3) uint8 sRGB at working size.
        depth: the (H, W) float32 z-depth of a frame, scene units.
        units: of the depth.
        cuts: frames that begin another take.
        state: where the path is kept for a rerun.
        on_progress: told about each frame.
        cancelled: asked before each frame.

    Raises:
        InputError: the path cannot be found.
        CancelledError: `cancelled` said so.
    """
    if cameras.c2w is not None:
        return _at_scale(cameras, cameras.c2w, colors, depth, units, cuts, on_progress, cancelled)
    if len(colors) < 2:
        return Standing(cameras)
    if not estimate:
        from ex4d_core.steadiness import measure_steadiness

        steadiness = measure_steadiness(colors, depth, cameras.lenses, cuts, on_progress, cancelled)
        if steadiness.moving:
            return Standing(cameras, (steadiness.note,), steadiness.note)
        return Standing(cameras)
    if found is not None and found.source_c2w is not None:
        return Standing(cameras.with_path(np.array(found.source_c2w)), ("The camera's path is the depth estimator's.",))
    if state.get("path") is None:
        from ex4d_core.camera_estimate import estimate_camera

        path = estimate_camera(colors, depth, cameras.lenses, cuts, on_progress, cancelled)
        state.keep("path", {"c2w": path.c2w.tolist(), "note": path.note})
    kept = state.get("path")
    return Standing(cameras.with_path(np.array(kept["c2w"], np.float64)), (kept["note"],))


def _at_scale(
    cameras: SourceCameras,
    c2w: NDArray[np.float64],
    colors: ColorFrames,
    depth: Callable[[int], NDArray[np.float32]],
    units: Units,
    cuts: tuple[int, ...],
    on_progress: OnProgress,
    cancelled: Cancelled,
) -> Standing:
    """The solve at the scale of the depth; where it is in the depth's units already, as it is."""
    from ex4d_core.solve_scale import UNKNOWN_SCALE, fit_scale
    from ex4d_core.triangulate import triangulate

    points = cameras.points or triangulate(colors, c2w, cameras.lenses, cuts, on_progress, cancelled)
    fit = fit_scale(points, c2w, cameras.lenses, depth, cancelled)
    if fit is None:
        return Standing(cameras, cameras.notes if cameras.has_scale else (*cameras.notes, UNKNOWN_SCALE))
    if cameras.has_scale and (fit.close or units == "metric"):
        return Standing(cameras, cameras.notes if fit.close else (*cameras.notes, fit.metric_note))
    scaled = c2w.copy()
    scaled[:, :3, 3] *= fit.scale
    return Standing(replace(cameras, c2w=scaled), (*cameras.notes, fit.note))


def _solve(source: Path, options: ImportOptions, info: ClipInfo, count: int) -> tuple[Trajectory | None, Solve | None]:
    """The source camera of the frames taken, and what else its solve tells."""
    solved, found = options.source_camera, None
    if solved is None:
        return None, None
    name = "source camera"
    if isinstance(solved, Path):
        from ex4d_core.solve import load_solve

        name = f"source camera {solved}"
        files = find_sequence(source).files if info.kind == "sequence" else (source,)
        names = None if info.kind == "video" else [file.name for file in files]
        found = load_solve(solved, info, names, start=options.start, frames=count)
        solved = found.trajectory
    if len(solved) == info.frames and count != len(solved):
        solved = _part(solved, slice(options.start, options.start + count))
    if len(solved) != count:
        taken = "" if count == info.frames else f", of which {count} are taken"
        raise InputError(
            f"The {name} has {len(solved)} frames, but the clip has {info.frames}{taken}: give one camera per frame."
        )
    ratio = (solved.width * info.height) / (solved.height * info.width)
    if options.lens(info.width, info.height) is None and abs(math.log(ratio)) > _ASPECT_TOLERANCE:
        raise InputError(
            f"The {name} is made for {solved.width}x{solved.height} pixels, the clip has {info.width}x{info.height}, "
            "another aspect ratio: solve the uncropped clip."
        )
    return solved, found


def _part(trajectory: Trajectory, part: slice) -> Trajectory:
    return Trajectory(
        c2w=trajectory.c2w[part],
        intrinsics=trajectory.intrinsics[part],
        source_time=trajectory.source_time[part],
        width=trajectory.width,
        height=trajectory.height,
        fps=trajectory.fps,
    )

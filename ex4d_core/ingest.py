"""From a clip to a scene folder: streaming, resumable, and refused in one sentence where the input is bad.

Work grows in `NAME.ex4d.partial`. Every frame appears under its name only when whole, so that a rerun with the same
inputs goes on after the last one; `import.json` in that folder says which inputs they were, and is gone from the
finished scene.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ex4d_core.ahead import beside
from ex4d_core.audio import write_sound
from ex4d_core.background import LEFT_OUT, make_background
from ex4d_core.camera import Intrinsics, Trajectory
from ex4d_core.clip import ClipInfo, iter_frames, probe_clip, working_size
from ex4d_core.cuts import find_cuts
from ex4d_core.depth import DepthKind, DepthRequest
from ex4d_core.depth.registry import make_estimator
from ex4d_core.depth_proxy import proxy_step
from ex4d_core.errors import CancelledError, InputError
from ex4d_core.files import explained, partial_folder, require_outside, require_replaceable
from ex4d_core.images import Image, NumberedImages, write_png
from ex4d_core.import_request import ImportOptions, request_fingerprint, resume_guard
from ex4d_core.ingest_cameras import SourceCameras, find_cameras, place_cameras
from ex4d_core.ingest_depth import DepthMaker, SceneDepth
from ex4d_core.ingest_state import ImportState, frames_done
from ex4d_core.progress import Cancelled, OnProgress, never_cancelled, silent
from ex4d_core.scene import Scene, make_frame_folders, write_document
from ex4d_core.scene_format import (
    AUDIO_FILE,
    OCCLUSION_PATTERN,
    PLATE_PATTERN,
    PROXY_PATTERN,
    SCENE_FILE,
    BackgroundDocument,
    DepthDocument,
    FilePatterns,
    SceneDocument,
    SourceDocument,
)

if TYPE_CHECKING:
    from ex4d_core.distortion import Distortion

WORK_FOLDER = "estimating"
"""Name of the folder in a half-made scene where a depth estimator keeps what is finished."""

_T = TypeVar("_T")


def import_scene(
    source: Path,
    out: Path,
    *,
    depth: Path | None = None,
    depth_kind: DepthKind = "relative",
    depth_range: tuple[float, float] | None = None,
    depth_channel: str | None = None,
    estimator: str | None = None,
    model_dir: Path | None = None,
    sharpen: bool | None = None,
    fov_degrees: float | None = None,
    focal_mm: float | None = None,
    sensor_mm: float | None = None,
    sensor: str | None = None,
    focal_px: float | None = None,
    source_camera: Trajectory | Path | None = None,
    estimate_camera: bool = False,
    start: int = 0,
    frames: int | None = None,
    size: tuple[int, int] | None = None,
    max_side: int | None = None,
    fps: Fraction | None = None,
    plate: bool = False,
    background: bool = True,
    overwrite: bool = False,
    reuse: bool = False,
    depth_cache: Path | None = None,
    on_progress: OnProgress = silent,
    cancelled: Cancelled = never_cancelled,
) -> Scene:
    """Make a scene folder from a video, an image sequence or a still.

    Args:
        source: the clip.
        out: the scene folder to make, by custom `NAME.ex4d`.
        depth: file or folder of depth (see `depth.readers.open_depth`); None: estimate it.
        depth_kind: what its numbers mean: metres, depth up to scale, or 1/depth up to scale.
        depth_range: what 0 and the largest integer of integer depth stand for.
        depth_channel: name of the EXR channel or NPZ array with depth; None: the one that is called so.
        estimator: name of the depth estimator; default `file` with `depth`, else `registry.default_estimator()`.
        model_dir: a folder with the estimator's weights or checkout; None: what `ex4d models` has.
        sharpen: put the depth's edges where the colour has them; None: see `registry.sharpens`.
        fov_degrees: horizontal field of view. At most one of the lens options; without any, the lens of
            `source_camera`, of the footage's metadata, of the estimator, or the focal length of DESIGN section 3.
        focal_mm: focal length, with `sensor_mm` or `sensor`.
        sensor_mm: width of the sensor.
        sensor: name of a camera or format, see `sensors.SENSORS`.
        focal_px: focal length in pixels of the input as displayed.
        source_camera: solved camera of the clip: `c2w` of frame t is the pose at frame t, in the solve's own world.
            As many frames as the scene, or as the whole clip. A trajectory, or what `solve.load_solve` reads.
        estimate_camera: find the source camera's path; otherwise, without `source_camera`, it stands still.
        start: first frame, counted at the scene's frame rate.
        frames: how many; None: all that follow.
        size: working size (width, height), pixels.
        max_side: longest side of the working size, pixels; 1024 where neither is given. Never enlarges.
        fps: frame rate to bring the clip to; None: its own, or the nearest constant one.
        plate: also keep the frames at full size.
        background: gather the persistent background, for renders to show what was seen at another time.
        overwrite: replace an existing scene; its `shots/` are kept.
        reuse: where `out` is the whole result of the very same request, open it.
        depth_cache: a folder where depth is kept for later imports, see `depth_cache`; None: nowhere.
        on_progress: told about each stage: checking depth, reading, looking for cuts, estimating, writing depth,
            following the camera, background, hashing; "depth from cache" instead of estimating and writing.
        cancelled: asked ten times a second and more.

    Returns:
        The scene, opened.

    Raises:
        InputError: the clip, the depth, the camera or an option cannot be used, or `out` exists.
        CameraError: the lens or the source camera is impossible.
        OutputError: `out` cannot be written; what is done stays for a rerun.
        CancelledError: `cancelled` said so; what is done stays for a rerun.
    """
    options = ImportOptions(
        depth=depth,
        depth_kind=depth_kind,
        depth_range=depth_range,
        depth_channel=depth_channel,
        estimator=estimator,
        model_dir=model_dir,
        sharpen=sharpen,
        fov_degrees=fov_degrees,
        focal_mm=focal_mm,
        sensor_mm=sensor_mm,
        sensor=sensor,
        focal_px=focal_px,
        source_camera=source_camera,
        estimate_camera=estimate_camera,
        start=start,
        frames=frames,
        size=size,
        max_side=max_side,
        fps=fps,
        plate=plate,
        background=background,
    )
    options.check()
    if reuse and (existing := find_import(out, source, options)) is not None:
        return existing
    require_replaceable(out, overwrite, SCENE_FILE, "scene")
    for given in (source, depth, source_camera):
        if isinstance(given, Path):
            require_outside(given, out)
    with partial_folder(out) as folder:
        _Import(source, options, folder, depth_cache, on_progress, cancelled).run()
        _keep_shots(out, folder)
    return Scene.open(out)


def find_import(out: Path, source: Path, options: ImportOptions) -> Scene | None:
    """The scene at `out` if this very request made it; None if there is none, or another one.

    Raises:
        InputError: the clip or the depth cannot be read.
    """
    try:
        scene = Scene.open(out)
        scene.check_background()
    except InputError:
        return None
    return scene if scene.document.request == request_fingerprint(source, options) else None


class _Import:
    """One import into a partial folder that may hold the beginning of it."""

    def __init__(
        self,
        source: Path,
        options: ImportOptions,
        folder: Path,
        depth_cache: Path | None,
        on_progress: OnProgress,
        cancelled: Cancelled,
    ) -> None:
        self.source, self.options, self.folder, self.depth_cache = source, options, folder, depth_cache
        self.on_progress, self.cancelled = on_progress, cancelled
        self.files = FilePatterns(
            occlusion=OCCLUSION_PATTERN, plate=PLATE_PATTERN if options.plate else None, proxy=PROXY_PATTERN
        )

    def run(self) -> None:
        """Do what is left to do."""
        options = self.options
        info = self._beside(lambda: probe_clip(self.source, fps=options.fps))
        count = self._count(info)
        size = working_size(info, options.size, options.working_max_side)
        if min(size) < 2:
            raise InputError(
                f"{self.source} has {info.width}x{info.height} pixels and is too small at {size[0]}x{size[1]}: "
                "give a larger --size."
            )
        cameras = self._beside(lambda: find_cameras(self.source, options, info, count, size))
        request = DepthRequest(
            path=options.depth,
            kind=options.depth_kind,
            value_range=options.depth_range,
            clip_size=(info.width, info.height),
            clip_start=options.start,
            clip_frames=info.frames,
            model_dir=options.model_dir,
            channel=options.depth_channel,
            lens_known=cameras.origin != "assumed",
            distortion=cameras.distortion,
            work=self.folder / WORK_FOLDER,
        )
        estimator = make_estimator(options.estimator_name, request)
        state = ImportState(self.folder, self._beside(lambda: resume_guard(self.source, options)))
        if state.get("depth") is None:
            estimator.check(count, size, self.on_progress, self.cancelled)
        with explained(self.folder):
            make_frame_folders(self.folder, self.files)
        self._copy_frames(self.files.color, count, size, cameras.distortion, "reading")
        if self.files.plate is not None:
            self._copy_frames(self.files.plate, count, None, cameras.distortion, "keeping the plate")
        if info.has_audio:
            write_sound(
                self.folder / AUDIO_FILE,
                self.source,
                float(options.start / info.fps),
                float(count / info.fps),
                self.cancelled,
            )
        colors = NumberedImages(self.folder, self.files.color, count)
        cuts = self._cuts(state, colors)
        request = replace(request, cuts=cuts)
        depth, found = DepthMaker(
            source=self.source,
            folder=self.folder,
            files=self.files,
            estimator=make_estimator(options.estimator_name, request) if cuts else estimator,
            request=request,
            sharpen=options.sharpens,
            state=state,
            cache=self.depth_cache,
            on_progress=self.on_progress,
            cancelled=self.cancelled,
        ).make(cameras.lenses, cameras.c2w)
        if found is not None and found.intrinsics is not None:
            lenses = tuple(Intrinsics(*lens, *size) for lens in found.intrinsics)
            cameras = cameras.with_lens(lenses, estimator.name)
        standing = place_cameras(
            cameras,
            found if options.estimate_camera else None,
            options.estimate_camera,
            colors,
            SceneDepth(self.folder, self.files, depth),
            depth.units,
            cuts,
            state,
            self.on_progress,
            self.cancelled,
        )
        background = LEFT_OUT
        if options.background:
            background = make_background(
                self.folder,
                depth,
                colors,
                SceneDepth(self.folder, self.files, depth),
                standing.cameras.lenses,
                standing.cameras.c2w,
                cuts,
                standing.unsteady,
                self.on_progress,
                self.cancelled,
            )
        notes = [*info.notes, standing.cameras.note, *standing.notes, *_about_cuts(cuts)]
        if background.note and not standing.unsteady:  # which says it already
            notes.append(background.note)
        self._finish(info, size, standing.cameras, depth, cuts, background, notes, state)

    def _count(self, info: ClipInfo) -> int:
        """How many frames to take; a span that the clip does not have is refused before any work."""
        options = self.options
        iter_frames(self.source, start=options.start, frames=options.frames, fps=options.fps)
        return info.frames - options.start if options.frames is None else options.frames

    def _copy_frames(
        self, pattern: str, count: int, size: tuple[int, int] | None, distortion: Distortion | None, stage: str
    ) -> None:
        done = frames_done(self.folder, pattern, count)
        if done == count:
            return
        read: Iterator[Image] = iter_frames(
            self.source,
            start=self.options.start + done,
            # None where the user gave none: the reader then says itself if the clip is cut short.
            frames=None if self.options.frames is None else count - done,
            size=size,
            fps=self.options.fps,
        )
        if distortion is not None:
            read = _undistorted(read, distortion)
        for frame in itertools.count(done):
            self._stop_if_asked()
            image = self._beside(lambda: next(read, None))
            if image is None:
                return
            path = self.folder / (pattern % frame)
            temporary = path.with_name(".next" + path.suffix)
            write_png(temporary, image)
            with explained(path):
                os.replace(temporary, path)
            self.on_progress(frame + 1, count, stage)

    def _cuts(self, state: ImportState, colors: NumberedImages) -> tuple[int, ...]:
        if state.get("cuts") is None:
            state.keep("cuts", find_cuts(colors, self.on_progress, self.cancelled))
        return tuple(state.get("cuts"))

    def _finish(
        self,
        info: ClipInfo,
        size: tuple[int, int],
        cameras: SourceCameras,
        depth: DepthDocument,
        cuts: tuple[int, ...],
        background: BackgroundDocument,
        notes: list[str],
        state: ImportState,
    ) -> None:
        lenses = [lens.as_tuple() for lens in cameras.lenses]
        before = probe_clip(self.source).fps
        document = SceneDocument(
            width=size[0],
            height=size[1],
            frames=len(lenses),
            fps=(info.fps.numerator, info.fps.denominator),
            intrinsics=lenses[0] if all(lens == lenses[0] for lens in lenses) else lenses,
            source_c2w=None if cameras.c2w is None else cameras.c2w.tolist(),
            files=self.files,
            proxy_step=proxy_step(*size),
            depth=depth,
            source=SourceDocument(
                name=self.source.name,
                start=self.options.start,
                fps=(before.numerator, before.denominator),
                width=info.width,
                height=info.height,
                lens=cameras.origin,
                lens_note=cameras.note,
                camera=cameras.camera,
            ),
            notes=notes,
            cuts=list(cuts),
            distortion=None if cameras.distortion is None else cameras.distortion.document(),
            background=background,
            request=self._beside(lambda: request_fingerprint(self.source, self.options)),
        )
        write_document(self.folder, document, self.on_progress, self.cancelled)
        shutil.rmtree(self.folder / WORK_FOLDER, ignore_errors=True)
        state.remove()

    def _beside(self, work: Callable[[], _T]) -> _T:
        """Read or compute what may take long; a cancel does not wait for it."""
        return beside(lambda _: work(), self.cancelled, "import")

    def _stop_if_asked(self) -> None:
        if self.cancelled():
            raise CancelledError(f"Importing {self.source} was stopped: run the same command again to go on.")


def _undistorted(images: Iterator[Image], distortion: Distortion) -> Iterator[Image]:
    from ex4d_core.distortion import undistorter

    undistort: Callable[[Image], Image] | None = None
    for image in images:
        if undistort is None:
            at_size = distortion.resized(image.shape[1], image.shape[0])
            undistort = undistorter(at_size, at_size.pinhole())
        yield undistort(image)


def _about_cuts(cuts: tuple[int, ...]) -> list[str]:
    if not cuts:
        return []
    named = ", ".join(map(str, cuts[:12])) + (f" and {len(cuts) - 12} more" if len(cuts) > 12 else "")
    return [
        f"The clip is cut at frame {named}: each take is worked on by itself; import them one by one, with --start and "
        "--frames, if a shot is to show one only."
    ]


def _keep_shots(old: Path, new: Path) -> None:
    """Shots of a scene that is replaced are work: they move over."""
    shots = old / "shots"
    if shots.is_dir() and not (new / "shots").exists():
        with explained(new):
            shutil.move(shots, new / "shots")

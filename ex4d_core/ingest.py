"""From a clip to a scene folder: streaming, resumable, and refused in one sentence where the input is bad.

Work grows in `NAME.ex4d.partial`. Every frame appears under its name only when whole, so that a rerun with the same
inputs goes on after the last one; `import.json` in that folder says which inputs they were, and is gone from the
finished scene.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import os
import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from ex4d_core.ahead import beside
from ex4d_core.audio import write_sound
from ex4d_core.camera import Intrinsics, Trajectory, load_trajectory
from ex4d_core.clip import ClipInfo, iter_frames, probe_clip, working_size
from ex4d_core.depth import DepthEstimator, DepthKind, DepthRequest
from ex4d_core.depth.registry import make_estimator
from ex4d_core.depth.encoding import FAR_FACTOR, choose_encoding
from ex4d_core.depth_cache import depth_key, keep_depth, take_depth
from ex4d_core.depth_proxy import proxy_step
from ex4d_core.errors import CancelledError, InputError
from ex4d_core.files import explained, partial_folder, require_outside, require_replaceable
from ex4d_core.images import Image, NumberedImages, write_png
from ex4d_core.import_request import ImportOptions, request_fingerprint, resume_guard
from ex4d_core.progress import Cancelled, OnProgress, never_cancelled, silent
from ex4d_core.scene import (
    Scene,
    StoredDepth,
    clear_folder,
    make_frame_folders,
    read_stored_depth,
    stored_depth_frame,
    write_document,
)
from ex4d_core.scene_format import (
    AUDIO_FILE,
    OCCLUSION_PATTERN,
    PLATE_PATTERN,
    PROXY_PATTERN,
    SCENE_FILE,
    DepthDocument,
    FilePatterns,
    SceneDocument,
    SourceDocument,
)

STATE_FILE = "import.json"
"""Name of the note in a half-made scene that says what it is being made from."""

_STATE_TEMPORARY = "import.tmp"
_ASPECT_TOLERANCE = 0.01
_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")


def import_scene(
    source: Path,
    out: Path,
    *,
    depth: Path | None = None,
    depth_kind: DepthKind = "relative",
    depth_range: tuple[float, float] | None = None,
    estimator: str | None = None,
    fov_degrees: float | None = None,
    focal_mm: float | None = None,
    sensor_mm: float | None = None,
    focal_px: float | None = None,
    source_camera: Trajectory | Path | None = None,
    start: int = 0,
    frames: int | None = None,
    size: tuple[int, int] | None = None,
    max_side: int | None = None,
    fps: Fraction | None = None,
    plate: bool = False,
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
        estimator: name of the depth estimator; default `file` with `depth`, else `embedded`.
        fov_degrees: horizontal field of view. At most one of the lens options; without any, the lens of
            `source_camera`, or the focal length of DESIGN section 3.
        focal_mm: focal length, with `sensor_mm`, the width of the sensor.
        sensor_mm: see `focal_mm`.
        focal_px: focal length in pixels of the input as displayed.
        source_camera: solved camera of the clip: `c2w` of frame t is the pose at frame t, in the solve's own world.
            As many frames as the scene, or as the whole clip.
        start: first frame, counted at the scene's frame rate.
        frames: how many; None: all that follow.
        size: working size (width, height), pixels.
        max_side: longest side of the working size, pixels; 1024 where neither is given. Never enlarges.
        fps: frame rate to bring the clip to; None: its own, or the nearest constant one.
        plate: also keep the frames at full size.
        overwrite: replace an existing scene; its `shots/` are kept.
        reuse: where `out` is the whole result of the very same request, open it.
        depth_cache: a folder where depth is kept for later imports, see `depth_cache`; None: nowhere.
        on_progress: told about each stage: checking depth, reading, estimating, writing depth, hashing; "depth from
            cache" instead of the two before it.
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
        estimator=estimator,
        fov_degrees=fov_degrees,
        focal_mm=focal_mm,
        sensor_mm=sensor_mm,
        focal_px=focal_px,
        source_camera=source_camera,
        start=start,
        frames=frames,
        size=size,
        max_side=max_side,
        fps=fps,
        plate=plate,
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
        info = self._beside(lambda: probe_clip(self.source, fps=self.options.fps))
        count = self._count(info)
        size = working_size(info, self.options.size, self.options.working_max_side)
        if min(size) < 2:
            raise InputError(
                f"{self.source} has {info.width}x{info.height} pixels and is too small at {size[0]}x{size[1]}: "
                "give a larger --size."
            )
        lens, poses, lens_from = self._cameras(info, count, size)
        request = DepthRequest(
            path=self.options.depth,
            kind=self.options.depth_kind,
            value_range=self.options.depth_range,
            clip_size=(info.width, info.height),
            clip_start=self.options.start,
            clip_frames=info.frames,
        )
        estimator = make_estimator(self.options.estimator_name, request)
        state = self._resume()
        if "depth" not in state:
            estimator.check(count, size, self.on_progress, self.cancelled)
        with explained(self.folder):
            make_frame_folders(self.folder, self.files)
        self._copy_frames(self.files.color, count, size, "reading")
        if self.files.plate is not None:
            self._copy_frames(self.files.plate, count, None, "keeping the plate")
        if info.has_audio:
            write_sound(
                self.folder / AUDIO_FILE,
                self.source,
                float(self.options.start / info.fps),
                float(count / info.fps),
                self.cancelled,
            )
        depth = self._depth(estimator, request, state, count, lens, poses)
        self._make_proxies(depth, PROXY_PATTERN, count)
        notes = [*info.notes]
        if lens_from == "assumed":
            notes.append(
                f"The lens is unknown, a horizontal field of view of {lens[0].fov_x_degrees:.0f} degrees is assumed: "
                "give --fov if you know it, a wrong one bends the scene."
            )
        self._finish(info, count, size, lens, poses, lens_from, depth, notes)

    def _count(self, info: ClipInfo) -> int:
        """How many frames to take; a span that the clip does not have is refused before any work."""
        options = self.options
        iter_frames(self.source, start=options.start, frames=options.frames, fps=options.fps)
        return info.frames - options.start if options.frames is None else options.frames

    def _cameras(
        self, info: ClipInfo, count: int, size: tuple[int, int]
    ) -> tuple[list[Intrinsics], NDArray[np.float64] | None, Literal["assumed", "given", "trajectory"]]:
        """Lens per frame at working size, poses, and where the lens comes from."""
        given = self.options.lens(info.width, info.height)
        solved = self._solve(info, count)
        if given is not None:
            lens, origin = [given] * count, "given"
        elif solved is not None:
            lens, origin = [solved.camera(t).intrinsics for t in range(count)], "trajectory"
        else:
            lens, origin = [Intrinsics.unknown_lens(info.width, info.height)] * count, "assumed"
        return [i.resized(*size) for i in lens], None if solved is None else solved.c2w, origin

    def _solve(self, info: ClipInfo, count: int) -> Trajectory | None:
        """The source camera of the frames taken."""
        solved = self.options.source_camera
        if solved is None:
            return None
        name = "source camera"
        if isinstance(solved, Path):
            name = f"source camera {solved}"
            solved = load_trajectory(solved, info.width, info.height, info.fps)
        if len(solved) == info.frames and count != len(solved):
            part = slice(self.options.start, self.options.start + count)
            solved = _part(solved, part)
        if len(solved) != count:
            taken = "" if count == info.frames else f", of which {count} are taken"
            raise InputError(
                f"The {name} has {len(solved)} frames, but the clip has {info.frames}{taken}: "
                "give one camera per frame."
            )
        ratio = (solved.width * info.height) / (solved.height * info.width)
        if self.options.lens(1, 1) is None and abs(math.log(ratio)) > _ASPECT_TOLERANCE:
            raise InputError(
                f"The {name} is made for {solved.width}x{solved.height} pixels, the clip has "
                f"{info.width}x{info.height}, another aspect ratio: solve the uncropped clip."
            )
        return solved

    def _resume(self) -> dict[str, Any]:
        """What an earlier run left of this very import; of any other, nothing stays."""
        guard = resume_guard(self.source, self.options)
        try:
            state = json.loads((self.folder / STATE_FILE).read_text(encoding="utf-8"))
            if state["guard"] == guard:
                return state
        except (OSError, ValueError, KeyError, TypeError):
            _LOG.debug("nothing to go on with in %s", self.folder, exc_info=True)
        clear_folder(self.folder)
        state = {"guard": guard}
        self._write_state(state)
        return state

    def _write_state(self, state: dict[str, Any]) -> None:
        path, temporary = self.folder / STATE_FILE, self.folder / _STATE_TEMPORARY
        with explained(path):
            temporary.write_text(json.dumps(state), encoding="utf-8")
            os.replace(temporary, path)

    def _copy_frames(self, pattern: str, count: int, size: tuple[int, int] | None, stage: str) -> None:
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

    def _depth(
        self,
        estimator: DepthEstimator,
        request: DepthRequest,
        state: dict[str, Any],
        count: int,
        lens: list[Intrinsics],
        poses: NDArray[np.float64] | None,
    ) -> DepthDocument:
        """Depth and occlusion of all frames: from an earlier run, from the cache, or from the estimator."""
        if self.depth_cache is None:
            return self._made_depth(estimator, state, count, lens, poses)
        colors = [self.folder / (self.files.color % frame) for frame in range(count)]
        key = self._beside(lambda: depth_key(colors, lens, poses, estimator, request))
        entry = self.depth_cache / key
        document = None
        if "depth" not in state:
            document = take_depth(entry, self.folder, self.files, count, self.on_progress, self.cancelled)
        if document is None:
            document = self._made_depth(estimator, state, count, lens, poses)
            keep_depth(entry, self.folder, self.files, count, document, self.cancelled)
        else:
            state["depth"] = document.model_dump(mode="json")
            self._write_state(state)
        return document

    def _make_proxies(self, document: DepthDocument, pattern: str, count: int) -> None:
        """Where the depth came from the cache, which keeps none; otherwise they are there already."""
        for frame in range(frames_done(self.folder, pattern, count), count):
            self._stop_if_asked()
            kept = self._beside(partial(read_stored_depth, self.folder, document, self.files, frame))
            kept.write_proxy(self.folder, document, pattern, frame)
            self.on_progress(frame + 1, count, "writing depth proxy")

    def _made_depth(
        self,
        estimator: DepthEstimator,
        state: dict[str, Any],
        count: int,
        lens: list[Intrinsics],
        poses: NDArray[np.float64] | None,
    ) -> DepthDocument:
        done = frames_done(self.folder, self.files.depth, count)
        if "depth" in state and done == count:
            return DepthDocument.model_validate(state["depth"])
        colors = NumberedImages(self.folder, self.files.color, count)
        found = estimator.estimate(colors, lens, poses, self.on_progress, self.cancelled)
        if not 0 < found.nearest <= found.farthest < math.inf:
            raise InputError(f"The depth estimator {estimator.name} found no depth in {self.source}: give --depth.")
        document = DepthDocument(
            encoding=choose_encoding(found.nearest, found.farthest),
            units=found.units,
            estimator=estimator.name,
            far=float(np.float32(FAR_FACTOR * found.farthest)),
            conversion=found.conversion,  # type: ignore[arg-type]  # JSON values
            warnings=list(found.warnings),
        )
        facts = document.model_dump(mode="json")
        if state.get("depth") != facts:
            done = 0
            state["depth"] = facts
            self._write_state(state)
        depths = found.depth.iterate(done)

        def make(frame: int) -> StoredDepth | None:
            depth = next(depths, None)
            if depth is None:
                return None
            if not (depth > 0).all():
                raise InputError(f"The depth of frame {frame} of {self.source} is not positive: give other --depth.")
            return stored_depth_frame(document, depth, lens[frame])

        for frame in range(done, count):
            self._stop_if_asked()
            stored = self._beside(partial(make, frame))
            if stored is None:
                break
            stored.write(self.folder, document, self.files, frame)
            self.on_progress(frame + 1, count, "writing depth")
        written = frames_done(self.folder, self.files.depth, count)
        if written != count:
            raise InputError(f"The depth for {self.source} ended after {written} of {count} frames: export it again.")
        return document

    def _finish(
        self,
        info: ClipInfo,
        count: int,
        size: tuple[int, int],
        lens: list[Intrinsics],
        poses: NDArray[np.float64] | None,
        lens_from: Literal["assumed", "given", "trajectory"],
        depth: DepthDocument,
        notes: list[str],
    ) -> None:
        tuples = [i.as_tuple() for i in lens]
        before = probe_clip(self.source).fps
        document = SceneDocument(
            width=size[0],
            height=size[1],
            frames=count,
            fps=(info.fps.numerator, info.fps.denominator),
            intrinsics=tuples[0] if all(t == tuples[0] for t in tuples) else tuples,
            source_c2w=None if poses is None else poses.tolist(),
            files=self.files,
            proxy_step=proxy_step(*size),
            depth=depth,
            source=SourceDocument(
                name=self.source.name,
                start=self.options.start,
                fps=(before.numerator, before.denominator),
                width=info.width,
                height=info.height,
                lens=lens_from,
            ),
            notes=notes,
            request=self._beside(lambda: request_fingerprint(self.source, self.options)),
        )
        write_document(self.folder, document, self.on_progress, self.cancelled)
        for left in (STATE_FILE, _STATE_TEMPORARY):
            (self.folder / left).unlink(missing_ok=True)

    def _beside(self, work: Callable[[], _T]) -> _T:
        """Read or compute what may take long; a cancel does not wait for it."""
        return beside(lambda _: work(), self.cancelled, "import")

    def _stop_if_asked(self) -> None:
        if self.cancelled():
            raise CancelledError(f"Importing {self.source} was stopped: run the same command again to go on.")


def frames_done(folder: Path, pattern: str, count: int) -> int:
    """How many frames are there from the first on without a gap."""
    for frame in range(count):
        path = folder / (pattern % frame)
        if not path.is_file() or path.stat().st_size == 0:
            return frame
    return count


def _part(trajectory: Trajectory, part: slice) -> Trajectory:
    return Trajectory(
        c2w=trajectory.c2w[part],
        intrinsics=trajectory.intrinsics[part],
        source_time=trajectory.source_time[part],
        width=trajectory.width,
        height=trajectory.height,
        fps=trajectory.fps,
    )


def _keep_shots(old: Path, new: Path) -> None:
    """Shots of a scene that is replaced are work: they move over."""
    shots = old / "shots"
    if shots.is_dir() and not (new / "shots").exists():
        with explained(new):
            shutil.move(shots, new / "shots")

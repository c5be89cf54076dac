"""The scene folder: a clip with depth and cameras (DESIGN section 3).

scene.json  color/000000.png …  depth/000000.exr …  occlusion/000000.png …  proxy/000000.exr …
plate/ and background/ (optional)
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Camera, Intrinsics, check_rigid
from ex4d_core.depth.encoding import FAR_FACTOR, SKY_DEPTH, choose_encoding, decode_depth
from ex4d_core.depth.exr import read_exr
from ex4d_core.depth_proxy import proxy_step
from ex4d_core.errors import CameraError, CancelledError, InputError
from ex4d_core.files import explained, partial_folder, require_new
from ex4d_core.images import read_image, to_uint8, write_png
from ex4d_core.progress import Cancelled, OnProgress, never_cancelled, silent
from ex4d_core.scene_format import (
    AUDIO_FILE,
    BACKGROUND_COLOR,
    BACKGROUND_DEPTH,
    OCCLUSION_PATTERN,
    PROXY_PATTERN,
    SCENE_FILE,
    DepthDocument,
    FilePatterns,
    SceneDocument,
    check_frames_exist,
    combine_hashes,
    document_object,
    document_text,
    file_hash,
    hashed_names,
    parse_document,
)
from ex4d_core.stored_depth import write_depth_frame

Units = Literal["metric", "relative"]

_SHORTEST_LENS, _LONGEST_LENS = 1e-3, 1e4
"""Focal lengths in longer sides of the picture: fields of view of 179.9 degrees and of 20 seconds of arc."""


@dataclass(frozen=True, eq=False)
class BackgroundPicture:
    """One layer of the persistent background."""

    color: NDArray[np.uint8]
    """(H, W, 3) uint8 sRGB; black in holes."""
    depth: NDArray[np.float32]
    """(H, W) float32, z-depth, scene units; infinite in holes, where the background was never seen."""
    camera: Camera
    """Who would have seen it so, posed in the scene's world."""
    first: int
    """It stands behind the frames from this one on ..."""
    last: int
    """... up to and with this one."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A clip with depth and source cameras, read from its folder frame by frame."""

    path: Path
    document: SceneDocument
    """`scene.json`, validated."""
    intrinsics_all: NDArray[np.float64]
    """(T, 4) float64: fx, fy, cx, cy of each frame, pixels of width x height."""
    source_c2w: NDArray[np.float64] | None
    """(T, 4, 4) float64 camera-to-world of the source camera, OpenCV axes, scene units; None: it stands still at
    the origin."""

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        verify: bool = False,
        confined: bool = False,
        on_progress: OnProgress = silent,
        cancelled: Cancelled = never_cancelled,
    ) -> Scene:
        """Open a scene folder and validate it.

        The document, the existence of every frame and the values of the cameras are always checked; what the
        frames hold only when they are read, and the files of the background only when it is wanted.

        Args:
            path: the folder.
            verify: also hash every file and compare with `content_hash`.
            confined: refuse a folder with any symbolic link in it, wherever that leads: for scenes that strangers
                sent. Links that lead out of the folder are never followed.
            on_progress: told about each file hashed.
            cancelled: asked before each file hashed.

        Raises:
            InputError: the folder is not a scene, or incomplete, or its names lead out of it, or `verify` finds it
                changed, or `confined` finds a link.
            CancelledError: `cancelled` said so.
        """
        if confined:
            _refuse_links(path)
        scene, raw = _read_document(path)
        document = scene.document
        check_frames_exist(path, document.files.color, document.frames, "colour")
        check_frames_exist(path, document.files.depth, document.frames, "depth")
        files = document.files
        for pattern, what in ((files.occlusion, "occlusion"), (files.plate, "plate"), (files.proxy, "depth proxy")):
            if pattern is not None:
                check_frames_exist(path, pattern, document.frames, what)
        if verify and hash_scene(path, document, raw, on_progress, cancelled) != document.content_hash:
            raise InputError(
                f"The scene {path} is not what was imported, its content hash differs: import the clip again."
            )
        return scene

    @property
    def width(self) -> int:
        """Pixels."""
        return self.document.width

    @property
    def height(self) -> int:
        """Pixels."""
        return self.document.height

    @property
    def frames(self) -> int:
        """Number of frames."""
        return self.document.frames

    @property
    def fps(self) -> Fraction:
        """Frames per second."""
        return Fraction(*self.document.fps)

    @property
    def audio(self) -> Path | None:
        """The footage's sound over the scene's frames, a file; None if it has none."""
        path = self.path / AUDIO_FILE
        return path if path.is_file() else None

    @property
    def background_layers(self) -> int:
        """How many layers the persistent background has; 0 without one."""
        return 0 if self.document.background is None else len(self.document.background.layers)

    @property
    def units(self) -> Units:
        """What one scene unit is: a metre, or nobody knows."""
        return self.document.depth.units

    @property
    def estimator(self) -> str:
        """Name of the depth estimator."""
        return self.document.depth.estimator

    @property
    def warnings(self) -> tuple[str, ...]:
        """What people should know about the depth, the clip and the lens."""
        return (*self.document.depth.warnings, *self.document.notes)

    @property
    def content_hash(self) -> str:
        """SHA-256 over colour, depth and document (see `scene_format`)."""
        return self.document.content_hash

    def color(self, frame: int) -> NDArray[np.uint8]:
        """One frame's colour: (H, W, 3) uint8 sRGB; 16-bit files are rounded to 8 bit.

        Raises:
            InputError: the file is damaged or of another size.
        """
        path = self._file(self.document.files.color, frame)
        image = read_image(path)
        if image.shape != (self.height, self.width, 3):
            raise self._wrong_size(path, image.shape)
        return to_uint8(image)

    def depth(self, frame: int) -> NDArray[np.float32]:
        """One frame's z-depth: (H, W) float32, scene units, finite and > 0.

        Raises:
            InputError: the file is damaged, of another size, or holds depth that is not positive.
        """
        path = self._file(self.document.files.depth, frame)
        facts = self.document.depth
        stored = read_exr(path, facts.channel)
        if stored.shape != (self.height, self.width):
            raise self._wrong_size(path, stored.shape)
        depth = decode_depth(stored, facts.encoding, facts.far)
        bad = ~(np.isfinite(depth) & (depth > 0))
        if bad.any():
            raise InputError(
                f"{path} holds depth that is not a positive number in {bad.mean():.1%} of its pixels: "
                "mend that frame or import the clip again."
            )
        return depth

    def check_background(self) -> None:
        """Require the files of all layers of the background, inside the scene folder.

        Raises:
            InputError: one is missing.
        """
        for pattern, what in ((BACKGROUND_COLOR, "colour"), (BACKGROUND_DEPTH, "depth")):
            if count := self.background_layers:
                check_frames_exist(self.path, pattern, count, f"background's {what}", "layers")

    def background_layer(self, number: int) -> BackgroundPicture:
        """One layer of the persistent background, `number` from 0 to `background_layers` - 1.

        Raises:
            InputError: there is none of that number, or a file is missing, damaged, of another size, or holds depth
                that is not a number.
        """
        if self.document.background is None or not 0 <= number < self.background_layers:
            raise InputError(f"The scene {self.path} has no background layer {number}: import the clip again.")
        self.check_background()
        layer, facts = self.document.background.layers[number], self.document.depth
        path = self.path / (BACKGROUND_COLOR % number)
        color = to_uint8(read_image(path))
        if color.shape != (self.height, self.width, 3):
            raise self._wrong_size(path, color.shape)
        path = self.path / (BACKGROUND_DEPTH % number)
        stored = read_exr(path, facts.channel)
        if stored.shape != (self.height, self.width):
            raise self._wrong_size(path, stored.shape)
        there = stored > 0  # NaN is none
        depth = decode_depth(np.where(there, stored, np.float32(1)), facts.encoding, facts.far)
        bad = ~(np.isfinite(depth) & (depth > 0))
        if bad.any():
            raise InputError(
                f"{path}, background layer {number}, holds depth that is not a positive number in {bad.mean():.1%} of "
                "its pixels: import the clip again, or render without the background."
            )
        fx, fy, cx, cy = layer.intrinsics
        lens = Intrinsics(fx, fy, cx, cy, self.width, self.height)
        return BackgroundPicture(
            color=color,
            depth=np.where(there, depth, np.float32(np.inf)),
            camera=Camera(np.array(layer.c2w, np.float64), lens),
            first=layer.first,
            last=layer.last,
        )

    def intrinsics(self, frame: int) -> Intrinsics:
        """The source camera's lens in one frame."""
        fx, fy, cx, cy = (float(v) for v in self.intrinsics_all[self._checked(frame)])
        return Intrinsics(fx, fy, cx, cy, self.width, self.height)

    def source_camera(self, frame: int) -> Camera:
        """The source camera in one frame; at the origin of the world if no camera solve was given."""
        pose = np.eye(4) if self.source_c2w is None else self.source_c2w[self._checked(frame)]
        return Camera(pose, self.intrinsics(frame))

    def _checked(self, frame: int) -> int:
        if not 0 <= frame < self.frames:
            raise InputError(
                f"The scene {self.path} has no frame {frame}: give 0 to {self.frames - 1}, counting from 0."
            )
        return frame

    def _file(self, pattern: str, frame: int) -> Path:
        return self.path / (pattern % self._checked(frame))

    def _wrong_size(self, path: Path, shape: tuple[int, ...]) -> InputError:
        return InputError(
            f"{path} has {shape[1]}x{shape[0]} pixels, the scene {self.width}x{self.height}: "
            "put the original frame back or import the clip again."
        )


def hash_scene(
    path: Path,
    document: SceneDocument,
    raw: dict[str, object],
    on_progress: OnProgress = silent,
    cancelled: Cancelled = never_cancelled,
) -> str:
    """The content hash of a scene folder as it lies on disk.

    Args:
        path: the folder.
        document: its validated document.
        raw: the JSON object whose canonical form is hashed.
        on_progress: told about each file.
        cancelled: asked before each file.

    Raises:
        InputError: a file cannot be read.
        CancelledError: `cancelled` said so.
    """
    names = list(hashed_names(document))
    hashes: dict[str, str] = {}
    for done, name in enumerate(names):
        if cancelled():
            raise CancelledError("Stopped.")
        try:
            hashes[name] = file_hash(path / name)
        except OSError as error:
            raise InputError(f"Cannot read {path / name} ({error.strerror}): import the clip again.") from error
        on_progress(done + 1, len(names), "hashing")
    return combine_hashes(raw, hashes)


def write_document(
    path: Path,
    document: SceneDocument,
    on_progress: OnProgress = silent,
    cancelled: Cancelled = never_cancelled,
) -> None:
    """Hash a folder whose frames are complete and write its `scene.json`.

    Raises:
        OutputError: the file cannot be written.
        CancelledError: `cancelled` said so.
    """
    raw = document_object(document)
    raw["content_hash"] = hash_scene(path, document, raw, on_progress, cancelled)
    with explained(path / SCENE_FILE):
        (path / SCENE_FILE).write_text(document_text(raw), encoding="utf-8", newline="\n")


def write_scene(
    path: Path,
    color: Iterable[NDArray[np.uint8] | NDArray[np.uint16]],
    depth: NDArray[np.float32],
    *,
    fps: Fraction,
    intrinsics: Intrinsics | list[Intrinsics],
    source_c2w: NDArray[np.float64] | None = None,
    units: Units = "relative",
    estimator: str = "file",
    overwrite: bool = False,
) -> Scene:
    """Make a scene folder from arrays: for scenes made by a program. `ingest.import_scene` streams from disk.

    Args:
        path: the folder to make.
        color: T frames (H, W, 3) uint8 or uint16 sRGB.
        depth: (T, H, W) float32 z-depth, scene units, > 0; infinite is sky.
        fps: frames per second.
        intrinsics: of the source camera at W x H; one for the clip or one per frame.
        source_c2w: (T, 4, 4) float64 camera-to-world, OpenCV axes, scene units; None: it stands at the origin.
        units: what a scene unit is.
        estimator: where the depth came from.
        overwrite: replace an existing folder.

    Raises:
        InputError: `path` exists already, sizes or counts disagree, or depth is not positive.
        OutputError: it cannot be written.
    """
    require_new(path, overwrite)
    if depth.ndim != 3 or not (depth > 0).all():
        raise InputError(f"The depth for {path} must be (T, H, W) and positive everywhere: mend it first.")
    finite = depth[depth < SKY_DEPTH]
    if not finite.size:
        raise InputError(f"The depth for {path} is infinite everywhere: give the nearer surfaces a depth.")
    depth = depth.astype(np.float32, copy=False)
    frames, height, width = depth.shape
    per_frame = intrinsics if isinstance(intrinsics, list) else [intrinsics] * frames
    if len(per_frame) != frames or (source_c2w is not None and len(source_c2w) != frames):
        raise InputError(f"The cameras for {path} are not {frames} like the depth: give one lens and pose per frame.")
    lens = [i.as_tuple() for i in per_frame]
    nearest, farthest = float(finite.min()), float(finite.max())
    document = SceneDocument(
        width=width,
        height=height,
        frames=frames,
        fps=(fps.numerator, fps.denominator),
        intrinsics=lens if isinstance(intrinsics, list) else lens[0],
        source_c2w=None if source_c2w is None else source_c2w.tolist(),
        files=FilePatterns(occlusion=OCCLUSION_PATTERN, proxy=PROXY_PATTERN),
        proxy_step=proxy_step(width, height),
        depth=DepthDocument(
            encoding=choose_encoding(nearest, farthest),
            units=units,
            estimator=estimator,
            far=float(np.float32(FAR_FACTOR * farthest)),
        ),
    )
    with partial_folder(path) as folder:
        clear_folder(folder)  # what a run that died left here may be of other arrays
        make_frame_folders(folder, document.files)
        count = 0
        for count, image in enumerate(color, start=1):
            if image.shape != (height, width, 3) or count > frames:
                raise InputError(f"The colour for {path} is not {frames} frames of {width}x{height} like the depth.")
            write_png(folder / (document.files.color % (count - 1)), image)
            write_depth_frame(folder, document.depth, document.files, count - 1, depth[count - 1], per_frame[count - 1])
        if count != frames:
            raise InputError(f"The colour for {path} has {count} frames, the depth {frames}: give as many of each.")
        write_document(folder, document)
    return Scene.open(path)


def clear_folder(folder: Path) -> None:
    """Remove everything in a folder."""
    with explained(folder):
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def make_frame_folders(folder: Path, files: FilePatterns) -> None:
    """Create the folders of a scene's frames."""
    for pattern in (files.color, files.depth, files.occlusion, files.plate, files.proxy):
        if pattern is not None:
            (folder / Path(pattern).parent).mkdir(parents=True, exist_ok=True)


def _refuse_links(path: Path) -> None:
    """Require plain files and folders all the way down, and at the top.

    Raises:
        InputError: naming a link, or what else is there (pipes, devices).
    """
    if path.is_symlink():
        raise InputError(f"The scene {path} is a link: give the folder itself.")
    for folder, folders, files in os.walk(path, followlinks=False):
        for name in (*folders, *files):
            entry = Path(folder, name)
            if not stat.S_ISREG(mode := entry.lstat().st_mode) and not stat.S_ISDIR(mode):
                raise InputError(f"{entry} is a link or no ordinary file: put the file itself there.")


def _read_document(path: Path) -> tuple[Scene, dict[str, object]]:
    file = path / SCENE_FILE
    try:
        text = file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            f"{path} is not a scene folder, it has no {SCENE_FILE}: make one with `ex4d import`."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read {file} ({error}): import the clip again.") from error
    document, raw = parse_document(text, file)
    lens = document.intrinsics
    per_frame = np.array(lens if isinstance(lens, list) else [lens] * document.frames, np.float64)
    poses = None if document.source_c2w is None else np.array(document.source_c2w, np.float64)
    for name, values in (("intrinsics", per_frame), ("source_c2w", poses)):
        if values is not None and len(values) != document.frames:
            raise InputError(f"{file} has {document.frames} frames but {len(values)} {name}: give one per frame.")
    if not np.isfinite(per_frame).all() or (per_frame[:, :2] <= 0).any():
        raise InputError(f"{file} has intrinsics that are not finite or a focal length that is not positive.")
    if poses is not None:
        try:
            if not np.isfinite(poses).all():
                raise CameraError("a pose is not finite")
            check_rigid(poses, "source camera")
        except CameraError as error:
            raise InputError(f"{file} has unusable source cameras ({error}): import with a good solve.") from error
    _check_background(document, file)
    return Scene(path, document, per_frame, poses), raw


def _check_background(document: SceneDocument, file: Path) -> None:
    """Require layers with usable cameras that stand behind frames that there are.

    Raises:
        InputError: one has not.
    """
    for number, layer in enumerate([] if document.background is None else document.background.layers):
        pose, lens = np.array([layer.c2w], np.float64), np.array(layer.intrinsics, np.float64)
        try:
            if not (np.isfinite(pose).all() and np.isfinite(lens).all() and (lens[:2] > 0).all()):
                raise CameraError("not finite, or a focal length that is not positive")
            if not _possible_lens(lens / max(document.width, document.height)):
                raise CameraError(f"an impossible lens {', '.join(f'{value:g}' for value in layer.intrinsics)}")
            check_rigid(pose, "background layer")
            if not layer.first <= layer.last < document.frames:
                raise CameraError(f"frames {layer.first} to {layer.last} of {document.frames}")
        except CameraError as error:
            raise InputError(f"{file} has an unusable background layer {number} ({error}): import again.") from error


def _possible_lens(lens: NDArray[np.float64]) -> bool:
    """Whether fx, fy, cx, cy in longer sides are of a lens with which numbers stay numbers."""
    return bool((lens[:2] >= _SHORTEST_LENS).all() and (np.abs(lens) <= _LONGEST_LENS).all())

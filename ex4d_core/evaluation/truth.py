"""A rendered ground truth: a clip with true depth, and what other cameras truly saw (docs/depth/evaluation.md).

A folder holds `meta.json` (size, frames, `K`, `key_frames`, `source_c2w`, `disparity_range`), `source.mp4`,
`source_disparity/NNN.png` (16 bit, spread over `disparity_range`), `source_dynamic/NNN.png` (255 where the surface
moves), `target_from_source.npz` and, for each path P of it, `path_P.mp4`, `path_P_disparity/` and `path_P_visible/`
of the key frames; some also `path_P_ever/`, and `burst_P_visible/` of the consecutive frames that `burst_frames` of
`meta.json` names.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics, check_rigid
from ex4d_core.clip import load_clip
from ex4d_core.errors import CameraError, InputError
from ex4d_core.evaluation.truth_format import META_FILE, broken, parse_meta
from ex4d_core.images import read_image

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Truth:
    """One rendered scene, read as it is asked for, all of it at the size of `lens`."""

    folder: Path
    name: str
    """Of the scene."""
    frames: int
    """Of the source clip."""
    lens: Intrinsics
    """Of the source camera and of the target cameras, all frames."""
    source_c2w: NDArray[np.float64]
    """(T, 4, 4) float64, camera-to-world of the source camera, OpenCV axes, metres."""
    paths: tuple[str, ...]
    """Names of the target cameras' paths: 30, 60, zoom_in."""
    key_frames: tuple[int, ...]
    """The frames of which there is the targets' truth."""
    bursts: dict[str, tuple[int, ...]]
    """By path: consecutive frames of which there is true visibility; paths without are not in it."""
    stored: tuple[int, int]
    """Width and height of the pictures on disk, pixels."""
    ranges: dict[str, tuple[float, float]]
    """Disparity, 1/m, that 0 and 65535 stand for: of "source" and of each path."""

    @cached_property
    def colors(self) -> NDArray[np.uint8]:
        """(T, H, W, 3) uint8 sRGB: the source clip."""
        return self._video("source.mp4", self.frames)

    def disparity(self, frame: int) -> Floats:
        """(H, W) float32: 1 / z-depth of a source frame, 1/m."""
        return self._disparity("source_disparity", frame, "source")

    def depth(self, frame: int) -> Floats:
        """(H, W) float32: z-depth of a source frame, m."""
        return np.asarray(1 / self.disparity(frame), np.float32)

    def dynamic(self, frame: int) -> Bools:
        """(H, W) bool: where the surface that a source frame shows moves."""
        return self._mask("source_dynamic", frame)

    @cached_property
    def target_from_source(self) -> dict[str, NDArray[np.float64]]:
        """By path (T, 4, 4) float64: from the source camera of a frame to the target camera of that frame."""
        path = self.folder / "target_from_source.npz"
        try:
            with np.load(path, allow_pickle=False) as data:
                found = {name: data[f"path_{name}"].astype(np.float64) for name in self.paths}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise broken(path, f"it lacks the path {error}" if isinstance(error, KeyError) else str(error)) from error
        if any(poses.shape != (self.frames, 4, 4) for poses in found.values()):
            raise broken(path, f"each path needs {self.frames} poses of 4x4")
        for name, poses in found.items():
            _require_poses(path, poses, f"path {name}")
        return found

    def target_colors(self, path: str) -> NDArray[np.uint8]:
        """(K, H, W, 3) uint8 sRGB: what the target camera truly saw, one for each key frame."""
        return self._video(f"path_{path}.mp4", len(self.key_frames))

    def target_disparity(self, path: str, frame: int) -> Floats:
        """(H, W) float32: 1 / z-depth of the target camera in a key frame, 1/m."""
        return self._disparity(f"path_{path}_disparity", frame, path)

    def target_visible(self, path: str, frame: int) -> Bools:
        """(H, W) bool: which of the target's pixels in a key frame the source camera saw at that time."""
        return self._mask(f"path_{path}_visible", frame)

    def target_ever(self, path: str, frame: int) -> Bools | None:
        """(H, W) bool: `target_visible`, and the resting surfaces that the source saw at any time; None: not known."""
        name = f"path_{path}_ever"
        return self._mask(name, frame) if (self.folder / name).is_dir() else None

    def target_burst(self, path: str, frame: int) -> Bools:
        """(H, W) bool: `target_visible` in a frame of `bursts`."""
        return self._mask(f"burst_{path}_visible", frame)

    def _video(self, name: str, frames: int) -> NDArray[np.uint8]:
        path = self.folder / name
        found = load_clip(path).frames
        if len(found) != frames:
            raise broken(path, f"it has {len(found)} frames, not {frames}")
        self._require_stored(path, found.shape[1:3])
        if found.shape[1:3] != (self.lens.height, self.lens.width):
            size = (self.lens.width, self.lens.height)
            found = np.stack([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in found])
        return np.asarray(found, np.uint8)

    def _disparity(self, folder: str, frame: int, of: str) -> Floats:
        low, high = self.ranges[of]
        stored = self._grey(folder, frame)
        if stored.dtype != np.uint16:
            raise broken(self.folder / folder, "disparity needs PNG files of 16 bits")
        return (low + stored.astype(np.float64) / 65535 * (high - low)).astype(np.float32)

    def _mask(self, folder: str, frame: int) -> Bools:
        return self._grey(folder, frame) > 127

    def _grey(self, folder: str, frame: int) -> NDArray[Any]:
        path = self.folder / folder / f"{frame:03d}.png"
        image = read_image(path)[..., 0]
        self._require_stored(path, image.shape)
        if image.shape == (self.lens.height, self.lens.width):
            return image
        # means of depths, and of yes and no, lie on no surface: the nearest pixel does
        size = (self.lens.width, self.lens.height)
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_NEAREST_EXACT), image.dtype)

    def _require_stored(self, path: Path, shape: tuple[int, ...]) -> None:
        if (size := (shape[1], shape[0])) != self.stored:
            raise broken(path, f"it has {size[0]}x{size[1]} pixels, meta.json says {self.stored[0]}x{self.stored[1]}")


def open_truth(folder: Path, size: tuple[int, int] | None = None) -> Truth:
    """Read what a folder of ground truth says of itself.

    Args:
        folder: see above.
        size: width and height to which everything is brought, pixels; None: as it is stored.

    Raises:
        InputError: it is none, or is damaged.
    """
    path = folder / META_FILE
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"{folder} holds no ground truth: give a folder with a meta.json in it.") from error
    meta = parse_meta(text, path)
    poses = np.array(meta.source_c2w, np.float64)
    _require_poses(path, poses, "source_c2w")
    (fx, _, cx), (_, fy, cy), _ = meta.k
    lens = Intrinsics(fx, fy, cx, cy, meta.width, meta.height)
    return Truth(
        folder=folder,
        name=meta.scene,
        frames=meta.frames,
        lens=lens.resized(*size) if size else lens,
        source_c2w=poses,
        paths=tuple(name for name in meta.disparity_range if name != "source"),
        key_frames=tuple(meta.key_frames),
        bursts={name: tuple(frames) for name, frames in meta.burst_frames.items() if frames},
        stored=(meta.width, meta.height),
        ranges=meta.disparity_range,
    )


def find_truths(places: tuple[Path, ...]) -> list[Path]:
    """The folders of ground truth among `places` and directly in them, in the order given and of their names.

    Raises:
        InputError: a place holds none.
    """
    found: list[Path] = []
    for place in places:
        inside = [place] if (place / "meta.json").is_file() else sorted(p.parent for p in place.glob("*/meta.json"))
        if not inside:
            raise InputError(f"{place} holds no ground truth: give a folder with a meta.json in it, or one of such.")
        found += inside
    return found


def _require_poses(path: Path, poses: NDArray[np.float64], what: str) -> None:
    try:
        if not np.isfinite(poses).all():
            raise CameraError(f"a pose of {what} is not finite")
        check_rigid(poses, what)
    except CameraError as error:
        raise broken(path, str(error).rstrip(".")) from error

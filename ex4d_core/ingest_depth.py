"""The depth of a scene in the making: from an earlier run, from the cache, or from the estimator."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ex4d_core.ahead import beside
from ex4d_core.camera import Intrinsics
from ex4d_core.depth import ColorFrames, DepthEstimator, DepthFrames, DepthRequest, DepthResult
from ex4d_core.depth.encoding import FAR_FACTOR, choose_encoding, decode_depth
from ex4d_core.depth_cache import depth_key, keep_depth, take_depth
from ex4d_core.errors import InputError
from ex4d_core.images import NumberedImages
from ex4d_core.ingest_state import ImportState, frames_done
from ex4d_core.progress import Cancelled, OnProgress, stop_if
from ex4d_core.scene_format import PROXY_PATTERN, DepthDocument, FilePatterns, FoundCameras
from ex4d_core.stored_depth import StoredDepth, read_stored_depth, stored_depth_frame

_T = TypeVar("_T")


@dataclass(frozen=True)
class SceneDepth:
    """Depth that lies in a scene folder, a frame at a time."""

    folder: Path
    files: FilePatterns
    document: DepthDocument

    def __call__(self, frame: int) -> NDArray[np.float32]:
        """(H, W) float32 z-depth, scene units. Raises: InputError if the file is damaged."""
        stored = read_stored_depth(self.folder, self.document, self.files, frame).depth
        return decode_depth(stored.astype(np.float32), self.document.encoding, self.document.far)


@dataclass(frozen=True)
class DepthMaker:
    """Fills depth/, occlusion/ and proxy/ of a scene whose color/ is whole."""

    source: Path
    """The clip, for messages."""
    folder: Path
    files: FilePatterns
    estimator: DepthEstimator
    request: DepthRequest
    sharpen: bool
    """Whether edges are put where the colour has them."""
    state: ImportState
    cache: Path | None
    on_progress: OnProgress
    cancelled: Cancelled

    def make(
        self, lenses: list[Intrinsics], c2w: NDArray[np.float64] | None
    ) -> tuple[DepthDocument, FoundCameras | None]:
        """Make what is missing.

        Args:
            lenses: of the source camera at working size, one a frame.
            c2w: (T, 4, 4) float64 camera-to-world if it was solved.

        Returns:
            How the depth is stored, and what the estimator told of the camera.

        Raises:
            InputError: there is no usable depth.
            OutputError: the folder cannot be written.
            CancelledError: asked to stop.
        """
        document, found = self._depth(lenses, c2w)
        for frame in range(frames_done(self.folder, PROXY_PATTERN, len(lenses)), len(lenses)):
            stop_if(self.cancelled)  # only where the depth came from the cache, which keeps no proxies
            kept = self._beside(partial(read_stored_depth, self.folder, document, self.files, frame))
            kept.write_proxy(self.folder, document, PROXY_PATTERN, frame)
            self.on_progress(frame + 1, len(lenses), "writing depth proxy")
        return document, found

    def _depth(
        self, lenses: list[Intrinsics], c2w: NDArray[np.float64] | None
    ) -> tuple[DepthDocument, FoundCameras | None]:
        if self.cache is None:
            return self._estimated(lenses, c2w)
        count = len(lenses)
        colors = [self.folder / (self.files.color % frame) for frame in range(count)]
        key = self._beside(lambda: depth_key(colors, lenses, c2w, self.estimator, self.request, self.sharpen))
        entry = self.cache / key
        if self.state.get("depth") is None:
            kept = take_depth(entry, self.folder, self.files, count, self.on_progress, self.cancelled)
            if kept is not None:
                self._keep_state(*kept)
                return kept
        document, found = self._estimated(lenses, c2w)
        keep_depth(entry, self.folder, self.files, count, document, found, self.cancelled)
        return document, found

    def _keep_state(self, document: DepthDocument, found: FoundCameras | None) -> None:
        self.state.keep("found_cameras", None if found is None else found.model_dump(mode="json"))
        self.state.keep("depth", document.model_dump(mode="json"))

    def _estimated(
        self, lenses: list[Intrinsics], c2w: NDArray[np.float64] | None
    ) -> tuple[DepthDocument, FoundCameras | None]:
        count = len(lenses)
        done = frames_done(self.folder, self.files.depth, count)
        earlier: dict[str, Any] | None = self.state.get("depth")
        if earlier is not None and done == count:
            cameras = self.state.get("found_cameras")
            found = None if cameras is None else FoundCameras.model_validate(cameras)
            return DepthDocument.model_validate(earlier), found
        colors = NumberedImages(self.folder, self.files.color, count)
        result = self.estimator.estimate(colors, lenses, c2w, self.on_progress, self.cancelled)
        document = self._document(result)
        found = _found_cameras(result)
        if earlier != document.model_dump(mode="json"):
            done = 0
            self._keep_state(document, found)
        self._write(document, result, colors, list(result.intrinsics or lenses), done)
        return document, found

    def _document(self, result: DepthResult) -> DepthDocument:
        if not 0 < result.nearest <= result.farthest < math.inf:
            raise InputError(
                f"The depth estimator {self.estimator.name} found no depth in {self.source}: give --depth."
            )
        return DepthDocument(
            encoding="float-depth" if result.exact else choose_encoding(result.nearest, result.farthest),
            units=result.units,
            estimator=self.estimator.name,
            far=float(np.float32(FAR_FACTOR * result.farthest)),
            conversion=result.conversion | ({"sharpened": True} if self.sharpen else {}),  # type: ignore[arg-type]
            warnings=list(result.warnings),
        )

    def _write(
        self, document: DepthDocument, result: DepthResult, colors: ColorFrames, lenses: list[Intrinsics], done: int
    ) -> None:
        count = len(lenses)
        depths = _sharpened(result.depth, colors, done) if self.sharpen else result.depth.iterate(done)

        def make(frame: int) -> StoredDepth | None:
            depth = next(depths, None)
            if depth is None:
                return None
            if not (depth > 0).all():
                raise InputError(f"The depth of frame {frame} of {self.source} is not positive: give other --depth.")
            return stored_depth_frame(document, depth, lenses[frame])

        for frame in range(done, count):
            stop_if(self.cancelled)
            stored = self._beside(partial(make, frame))
            if stored is None:
                break
            stored.write(self.folder, document, self.files, frame)
            self.on_progress(frame + 1, count, "writing depth")
        written = frames_done(self.folder, self.files.depth, count)
        if written != count:
            raise InputError(f"The depth for {self.source} ended after {written} of {count} frames: export it again.")

    def _beside(self, work: Callable[[], _T]) -> _T:
        """Read or compute what may take long; a cancel does not wait for it."""
        return beside(lambda _: work(), self.cancelled, "import")


def _sharpened(depths: DepthFrames, colors: ColorFrames, start: int) -> Iterator[NDArray[np.float32]]:
    from ex4d_core.depth.sharpen import sharpen

    def sharpened(depth: NDArray[np.float32], color: NDArray[np.uint8]) -> NDArray[np.float32]:
        disparity = sharpen(np.float32(1) / depth, color)  # of sky 0, and its edges count
        with np.errstate(divide="ignore"):
            return np.float32(1) / disparity

    return (sharpened(depth, colors[frame]) for frame, depth in enumerate(depths.iterate(start), start))


def _found_cameras(result: DepthResult) -> FoundCameras | None:
    if result.intrinsics is None and result.source_c2w is None:
        return None
    return FoundCameras(
        intrinsics=None if result.intrinsics is None else [lens.as_tuple() for lens in result.intrinsics],
        source_c2w=None if result.source_c2w is None else result.source_c2w.tolist(),
    )

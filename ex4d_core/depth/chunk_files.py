"""What a model found of the chunks of a clip, on disk, brought into one world per take."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ex4d_core.depth.chunks import (
    IDENTITY,
    Chunk,
    Similarity,
    blend_cameras,
    depth_ratio,
    join,
    ramp,
)
from ex4d_core.depth.frame_store import FrameStore
from ex4d_core.errors import InputError
from ex4d_core.progress import Cancelled, stop_if

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

_HELD = 3
"""Chunks held in memory: as many as may share a frame."""


@dataclass
class ChunkFiles:
    """A folder with an NPZ for each finished chunk: `depth` (N, h, w), `confidence` likewise, `intrinsics` (N, 3, 3)
    in pixels of that size, `extrinsics` (N, 3, 4) world-to-camera, all float32."""

    store: FrameStore
    """Its folder holds them."""
    chunks: tuple[Chunk, ...]
    estimator: str
    """Its name, for messages."""
    _held: OrderedDict[int, dict[str, NDArray[Any]]] = field(default_factory=OrderedDict, init=False)

    def path(self, index: int) -> Path:
        """Where a chunk is kept, or will be."""
        chunk = self.chunks[index]
        return self.store.folder / f"{chunk.start:06d}-{chunk.stop:06d}.npz"

    def missing(self) -> list[int]:
        """Chunks that are not finished."""
        return [index for index in range(len(self.chunks)) if not self.path(index).is_file()]

    def __getitem__(self, index: int, /) -> dict[str, NDArray[Any]]:
        """What was found of a chunk.

        Raises:
            InputError: it is no depth, or the file is damaged.
        """
        if index not in self._held:
            while len(self._held) >= _HELD:
                self._held.popitem(last=False)
            self._held[index] = self._read(index)
        return self._held[index]

    def c2w(self, index: int) -> Doubles:
        """(N, 4, 4) float64 camera-to-world of a chunk, in a world of its own."""
        extrinsics = self[index]["extrinsics"].astype(np.float64)
        rotation = extrinsics[:, :3, :3].transpose(0, 2, 1)
        cameras = np.tile(np.eye(4), (len(extrinsics), 1, 1))
        cameras[:, :3, :3] = rotation
        cameras[:, :3, 3] = -np.einsum("nij,nj->ni", rotation, extrinsics[:, :3, 3])
        return cameras

    def _read(self, index: int) -> dict[str, NDArray[Any]]:
        path, chunk = self.path(index), self.chunks[index]
        try:
            with np.load(path, allow_pickle=False) as file:
                found = {name: np.asarray(file[name]) for name in file.files}
            depth = found["depth"]
        except (OSError, ValueError, KeyError) as error:
            path.unlink(missing_ok=True)
            raise InputError(f"The depth kept in {path} is damaged: run the same command again.") from error
        bad = ~(np.isfinite(depth) & (depth > 0)).all(axis=(1, 2))
        if bad.any() or len(depth) != len(chunk):
            path.unlink(missing_ok=True)
            raise InputError(
                f"{self.estimator} gives numbers that are no depth (NaN, infinite or not positive) for frame "
                f"{chunk.start + int(np.argmax(bad))}: run `ex4d models verify {self.estimator}`, or choose another "
                "estimator with --estimator."
            )
        return found


@dataclass(frozen=True)
class JoinedChunks:
    """The chunks of a clip, those of a take in the world of its first one."""

    files: ChunkFiles
    placements: tuple[Similarity, ...]
    """From the world of each chunk."""

    def __getitem__(self, frame: int, /) -> Floats:
        """(h, w) float32 disparity of a frame; where chunks share it, the later one is faded in.

        Raises:
            IndexError: there is no such frame.
        """
        covering = self._covering(frame)
        if not covering:
            raise IndexError(frame)
        mixed = self._disparity(covering[0], frame)
        for index in covering[1:]:
            weight = np.float32(ramp(self.files.chunks[index].shared)[frame - self.files.chunks[index].start])
            mixed = np.asarray(mixed + weight * (self._disparity(index, frame) - mixed), np.float32)
        return mixed

    def cameras(self) -> Doubles:
        """(T, 4, 4) float64 camera-to-world; the first of each take is the identity."""
        chunks = self.files.chunks
        path = np.tile(np.eye(4), (chunks[-1].stop, 1, 1))
        for index, chunk in enumerate(chunks):
            placed = self.placements[index].cameras(self.files.c2w(index))
            shared = path[chunk.start : chunk.start + chunk.shared]
            placed[: chunk.shared] = blend_cameras(shared, placed[: chunk.shared], ramp(chunk.shared))
            path[chunk.start : chunk.stop] = placed
        begins = [chunk.start for chunk in chunks if not chunk.shared]
        for begin, end in zip(begins, [*begins[1:], len(path)], strict=True):
            path[begin:end] = np.linalg.inv(path[begin]) @ path[begin:end]
            path[begin] = np.eye(4)
        return path

    def focals(self) -> Doubles:
        """(T, 2) float64 focal lengths, as shares of the width and of the height."""
        chunks = self.files.chunks
        found = np.zeros((chunks[-1].stop, 2))
        for index, chunk in enumerate(chunks):
            told = self.files[index]
            height, width = told["depth"].shape[1:]
            lens = told["intrinsics"].astype(np.float64)
            found[chunk.start : chunk.stop] = np.stack([lens[:, 0, 0] / width, lens[:, 1, 1] / height], axis=1)
        return found

    def _covering(self, frame: int) -> list[int]:
        return [index for index, chunk in enumerate(self.files.chunks) if chunk.start <= frame < chunk.stop]

    def _disparity(self, index: int, frame: int) -> Floats:
        depth = self.files[index]["depth"][frame - self.files.chunks[index].start]
        return np.float32(1 / self.placements[index].scale) / depth.astype(np.float32)


def join_chunks(files: ChunkFiles, cancelled: Cancelled) -> JoinedChunks:
    """Bring finished chunks together, each to the one before by the frames that they share.

    Raises:
        InputError: one holds no depth.
        CancelledError: `cancelled` said so.
    """
    placements: list[Similarity] = []
    for index, chunk in enumerate(files.chunks):
        stop_if(cancelled)
        placements.append(placements[-1].after(_step(files, index)) if chunk.shared else IDENTITY)
    return JoinedChunks(files, tuple(placements))


def _step(files: ChunkFiles, index: int) -> Similarity:
    """From the world of a chunk to that of the one before."""
    chunk, before = files.chunks[index], files.chunks[index - 1]
    there, here = slice(chunk.start - before.start, None), slice(0, chunk.shared)
    wanted, given = files[index - 1], files[index]
    scale = depth_ratio(wanted["depth"][there], given["depth"][here], _trust(wanted, given, there, here))
    if "extrinsics" not in given:
        return Similarity(scale, np.eye(3), np.zeros(3))
    return join(files.c2w(index - 1)[there], files.c2w(index)[here], scale)


def _trust(wanted: dict[str, NDArray[Any]], given: dict[str, NDArray[Any]], there: slice, here: slice) -> Floats | None:
    if "confidence" not in given:
        return None
    return np.minimum(wanted["confidence"][there], given["confidence"][here])

"""The estimator `embedded` behind the common protocol: in chunks, so that memory does not grow with the clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.depth import ColorFrames, DepthRequest, DepthResult
from ex4d_core.depth.chunks import Chunk, depth_ratio, plan_chunks, ramp, takes
from ex4d_core.depth.embedded import NOTES, Method, estimate_working_depth
from ex4d_core.depth.enlarged import EnlargedDepth
from ex4d_core.depth.frame_store import FrameStore
from ex4d_core.depth.scaling import Scaling
from ex4d_core.files import atomic_file
from ex4d_core.progress import Cancelled, OnProgress, stop_if

Floats = NDArray[np.float32]

CHUNK, OVERLAP = 96, 12
"""Frames that are worked on at once, some 4 MB each, and those that two chunks share."""
METHOD_FILE = "method.txt"
"""Written last: a chunk that has it is finished."""

WARNING = (
    "Depth comes from the embedded estimator, which needs no weights and is a rough guess: `ex4d depth list` names "
    "better ones, such as depth-anything-v2-small (99 MB), and --depth takes depth from other programs."
)

NOTHING = (
    "The clip shows nothing, each picture is of one colour, and its depth is made up: take other frames with --start "
    "and --frames."
)

_LOOKS, _FLAT = 8, 2
"""Frames looked at to see whether the clip shows anything, and the largest difference of a picture that does not."""


class EmbeddedEstimator:
    """Depth of any clip, from parallax where there is some."""

    name = "embedded"
    revision = 4

    def __init__(self, request: DepthRequest) -> None:
        """`request`: its cuts and its work folder count."""
        self._request = request

    def check(self, frames: int, size: tuple[int, int], on_progress: OnProgress, cancelled: Cancelled) -> None:
        """See `DepthEstimator.check`: any clip will do."""

    def estimate(
        self,
        frames: ColorFrames,
        intrinsics: list[Intrinsics],
        source_c2w: NDArray[np.float64] | None,
        on_progress: OnProgress,
        cancelled: Cancelled,
    ) -> DepthResult:
        """See `DepthEstimator.estimate`.

        Raises:
            OutputError: what is finished cannot be kept.
            CancelledError: `cancelled` said so; finished chunks stay for a rerun.
        """
        total, cuts = len(frames), self._request.cuts
        chunks = plan_chunks(total, cuts, CHUNK, OVERLAP)
        stores: list[FrameStore] = []
        methods: list[Method] = []
        for number, chunk in enumerate(chunks):
            store = FrameStore(self._request.work, f"embedded-{self.revision}-{number:04d}", len(chunk))
            methods.append(_estimated(chunk, store, frames, intrinsics[chunk.start], on_progress, cancelled))
            stores.append(store)
        joined = _Joined(chunks, stores, _scales(chunks, stores, cancelled))
        most = np.finfo(np.float32).max
        depth = EnlargedDepth(joined, [Scaling(1.0, 0.0, 1e-9, float(most))] * total, frames)
        nearest, farthest = depth.range(cancelled)
        kinds = set(methods)
        return DepthResult(
            depth=depth,
            nearest=nearest,
            farthest=farthest,
            units="relative",
            conversion={"kind": "disparity", "method": methods[0] if len(kinds) == 1 else "mixed"},
            warnings=(
                WARNING,
                *([NOTHING] if _shows_nothing(frames) else []),
                *_notes(chunks, methods, len(takes(total, cuts))),
            ),
        )


@dataclass(frozen=True)
class _Part:
    """The frames of a chunk."""

    frames: ColorFrames
    chunk: Chunk

    def __len__(self) -> int:
        return len(self.chunk)

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]:
        return self.frames[self.chunk.start + index]


@dataclass(frozen=True)
class _Joined:
    """Disparity of the clip from that of its chunks, each in a scale of its own."""

    chunks: Sequence[Chunk]
    stores: Sequence[FrameStore]
    scales: Sequence[float]

    def __getitem__(self, index: int, /) -> Floats:
        return _joined(index, self.chunks, self.stores, self.scales)


def _joined(frame: int, chunks: Sequence[Chunk], stores: Sequence[FrameStore], scales: Sequence[float]) -> Floats:
    """(h, w) float32 disparity of a frame by the chunks given, which go over into each other where they share it."""
    value: Floats | None = None
    for chunk, store, scale in zip(chunks, stores, scales, strict=True):
        at = frame - chunk.start
        if not 0 <= at < len(chunk):
            continue
        own = store[at] * np.float32(scale)
        share = ramp(chunk.shared)[at] if at < chunk.shared else 1.0
        value = own if value is None else (value + share * (own - value)).astype(np.float32)
    assert value is not None
    return np.asarray(value, np.float32)


def _scales(chunks: Sequence[Chunk], stores: Sequence[FrameStore], cancelled: Cancelled) -> list[float]:
    """What brings each chunk to the scale of the first of its take."""
    scales: list[float] = []
    for number, (chunk, store) in enumerate(zip(chunks, stores, strict=True)):
        stop_if(cancelled)
        if not chunk.shared:
            scales.append(1.0)
            continue
        shared = np.unique(np.linspace(0, chunk.shared - 1, min(chunk.shared, OVERLAP)).astype(int))
        before = [_joined(chunk.start + int(at), chunks[:number], stores[:number], scales) for at in shared]
        scales.append(depth_ratio(np.stack(before), np.stack([store[int(at)] for at in shared])))
    return scales


def _estimated(
    chunk: Chunk,
    store: FrameStore,
    frames: ColorFrames,
    lens: Intrinsics,
    on_progress: OnProgress,
    cancelled: Cancelled,
) -> Method:
    """Work on a chunk, unless an earlier run has finished it; how it was done."""
    file = store.folder / METHOD_FILE
    if file.is_file() and (kept := file.read_text("utf-8")) in NOTES:
        return kept

    def told(done: int, total: int, stage: str) -> None:
        on_progress(chunk.start + done, len(frames), stage)

    work = estimate_working_depth(_Part(frames, chunk), lens, told, cancelled)
    for number, values in enumerate(work.disparity):
        store.write(number, values)
    with atomic_file(file) as temporary:
        temporary.write_text(work.method, "utf-8")
    return work.method


def _notes(chunks: Sequence[Chunk], methods: Sequence[Method], number_of_takes: int) -> list[str]:
    """How depth was found, and where, if not all in one way."""
    found: list[str] = []
    for method in dict.fromkeys(methods):
        spans = [f"{c.start}-{c.stop - 1}" for c, m in zip(chunks, methods, strict=True) if m == method]
        found.append(NOTES[method] if len(set(methods)) == 1 else f"Frames {', '.join(spans)}: {NOTES[method]}")
    if number_of_takes > 1:
        found.append("Each take of the clip has depth in a scale of its own.")
    return found


def _shows_nothing(frames: ColorFrames) -> bool:
    """Whether a clip is black, or of one colour, throughout."""
    looks = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), _LOOKS)).astype(int))
    return all(np.ptp(frames[int(t)].reshape(-1, 3), axis=0).max() <= _FLAT for t in looks)

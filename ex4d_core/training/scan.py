"""Where the clips of a video begin: its takes in windows of one length, without those that teach nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ex4d_core.clip import iter_frames, probe_clip
from ex4d_core.cuts import SIDE, find_cuts
from ex4d_core.depth.chunks import takes
from ex4d_core.errors import InputError
from ex4d_core.images import Image, to_uint8
from ex4d_core.training.filters import Filters, Watch, fault
from ex4d_core.training.footage import Footage

TOO_SHORT = "It is shorter than a clip."
DAMAGED = "The video is damaged there and cannot be read."
TOO_SMALL = "It has too few pixels: enlarged footage would teach blur."

_ENLARGED = 1.25
"""By how much a video may be enlarged to fill the size of a dataset."""


@dataclass(frozen=True)
class Cut:
    """How videos are cut into clips."""

    size: tuple[int, int]
    """Width and height of clips, pixels."""
    frames: int
    """Of a clip."""
    stride: int
    """Frames from the beginning of one clip to that of the next."""
    fps: Fraction | None
    """Rate to bring videos to; None: their own."""
    filters: Filters


@dataclass(frozen=True)
class Piece:
    """Some frames of a video."""

    first: int
    """Counted at the rate of the clips."""
    frames: int
    fault: str = ""
    """Why they are left out, one sentence; empty: they are a clip."""


def cover(width: int, height: int, size: tuple[int, int]) -> tuple[int, int]:
    """The size (w, h) at which a video just covers another size, before its middle is cut out."""
    scale = max(size[0] / width, size[1] / height)
    return max(size[0], round(width * scale)), max(size[1], round(height * scale))


def middle(frame: NDArray[np.generic], size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of the middle (width, height) of a frame (h, w, ...)."""
    left, top = (frame.shape[1] - size[0]) // 2, (frame.shape[0] - size[1]) // 2
    return slice(top, top + size[1]), slice(left, left + size[0])


def scan(footage: Footage, cut: Cut) -> tuple[tuple[Piece, ...], Fraction]:
    """Look through a video, once, at a small size.

    A video that cannot be decoded to its end is used as far as it can.

    Args:
        footage: the video.
        cut: how it is to be cut.

    Returns:
        Its pieces in order, and the rate at which their frames count.

    Raises:
        InputError: it is no video, or not one frame of it can be read.
    """
    info = probe_clip(footage.path, fps=cut.fps)
    width, height = info.width, info.height
    if cover(width, height, cut.size)[0] > _ENLARGED * width:
        return (Piece(0, info.frames, TOO_SMALL),), info.fps
    if info.frames < cut.frames:
        return (Piece(0, info.frames, TOO_SHORT),), info.fps
    read = _watched(footage, cut, info.frames)
    try:
        cuts = find_cuts(read)
    except InputError:
        if not read.count:
            raise
        read = _watched(footage, cut, read.count)
        cuts = find_cuts(read)
    looks = read.watch.looks()
    pieces: list[Piece] = []
    for start, end in takes(read.count, cuts):
        begins = range(start, end - cut.frames + 1, cut.stride)
        pieces += [Piece(first, cut.frames, fault(looks, first, cut.frames, cut.filters)) for first in begins]
        rest = begins[-1] + cut.frames if begins else start
        if rest < end:
            pieces.append(Piece(rest, end - rest, TOO_SHORT))
    if lost := info.frames - read.count:
        pieces.append(Piece(read.count, lost, DAMAGED))
    return tuple(pieces), info.fps


def _watched(footage: Footage, cut: Cut, frames: int) -> _Watched:
    # that many are there, also of a file that is cut short
    return _Watched(iter_frames(footage.path, frames=frames, max_side=SIDE, fps=cut.fps), frames, cut.size)


class _Watched:
    """Frames for `find_cuts`, which reads each in order, looked at by the way."""

    def __init__(self, frames: Iterator[Image], total: int, size: tuple[int, int]) -> None:
        self.watch = Watch()
        self.count = 0
        """Read so far."""
        self._frames, self._total, self._size = frames, total, size
        self._last = np.zeros((0, 0, 3), np.uint8)

    def __len__(self) -> int:
        return self._total

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]:
        if index == self.count:
            self._last = to_uint8(next(self._frames))
            self.watch.see(self._last[self._cropped()])
            self.count += 1
        assert index == self.count - 1, "frames are read in order"
        return self._last

    def _cropped(self) -> tuple[slice, slice]:
        """What of the frame will be in a clip."""
        height, width = self._last.shape[:2]
        scale = min(width / self._size[0], height / self._size[1])
        return middle(self._last, (max(1, int(self._size[0] * scale)), max(1, int(self._size[1] * scale))))

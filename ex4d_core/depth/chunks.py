"""Long clips in overlapping chunks: which frames belong to each, and how two of them are brought together.

A model that looks at many frames at once gives depth and cameras in a world of its own, of its own scale. Two chunks
that share frames differ by a similarity of space, which the depth and the cameras of those frames tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Chunk:
    """Frames that a model gets at once."""

    start: int
    stop: int
    shared: int
    """How many of its first frames the chunk before has, too; 0: it begins a take."""

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Similarity:
    """Takes a point of one world to another: `scale * rotation @ point + translation`."""

    scale: float
    rotation: Doubles
    """(3, 3) float64."""
    translation: Doubles
    """(3,) float64, in units of the other world."""

    def after(self, first: Similarity) -> Similarity:
        """First `first`, then this."""
        return Similarity(
            self.scale * first.scale,
            self.rotation @ first.rotation,
            self.scale * self.rotation @ first.translation + self.translation,
        )

    def cameras(self, c2w: Doubles) -> Doubles:
        """(N, 4, 4) float64 camera-to-world, in the other world; rotations stay rotations."""
        moved = np.tile(np.eye(4), (len(c2w), 1, 1))
        moved[:, :3, :3] = self.rotation @ c2w[:, :3, :3]
        moved[:, :3, 3] = self.scale * c2w[:, :3, 3] @ self.rotation.T + self.translation
        return moved


IDENTITY = Similarity(1.0, np.eye(3), np.zeros(3))


def takes(count: int, cuts: tuple[int, ...]) -> list[tuple[int, int]]:
    """First frame and end of each take of a clip of `count` frames; `cuts` are frames that begin another one."""
    ends = sorted({0, count, *(cut for cut in cuts if 0 < cut < count)})
    return list(pairwise(ends))


def plan_chunks(count: int, cuts: tuple[int, ...], length: int, overlap: int) -> tuple[Chunk, ...]:
    """Cut a clip into chunks of at most `length` frames; those of one take share `overlap` frames or more.

    Args:
        count: frames of the clip.
        cuts: frames that begin another take; no chunk reaches over one.
        length: frames that the model takes at once.
        overlap: less than `length`.
    """
    chunks: list[Chunk] = []
    for first, end in takes(count, cuts):
        before = first  # end of the chunk before
        for begin in range(first, max(end - overlap, first + 1), length - overlap):
            stop = min(begin + length, end)
            start = max(first, stop - length)  # the last one is of full length, too: more views, better depth
            chunks.append(Chunk(start, stop, before - start if before > first else 0))
            before = stop
    return tuple(chunks)


def depth_ratio(wanted: Floats, given: Floats, trust: Floats | None = None) -> float:
    """The factor that brings one depth of some frames to another: the median over the better half of the pixels.

    Args:
        wanted: (N, h, w) float32 depth, > 0.
        given: (N, h, w) float32 depth, > 0.
        trust: (N, h, w) float32, higher is better; None: all pixels alike.
    """
    ratios = np.log(wanted) - np.log(given)
    if trust is not None:
        ratios = ratios[trust >= np.median(trust)]
    return float(np.exp(np.median(ratios)))


def join(wanted: Doubles, given: Doubles, scale: float) -> Similarity:
    """The similarity of a known scale that brings cameras of some frames to those of the same frames in another world.

    The rotation is the mean of the frames' own in the chordal sense (Hartley et al., "Rotation Averaging", 2013,
    section 5.3), the translation the least-squares one. Unlike a fit to positions alone (Umeyama 1991), both are
    determined where the camera hardly moves.

    Args:
        wanted: (N, 4, 4) float64 camera-to-world.
        given: (N, 4, 4) float64 camera-to-world.
        scale: from `depth_ratio`.
    """
    rotation = nearest_rotation(np.einsum("nij,nkj->ik", wanted[:, :3, :3], given[:, :3, :3]))
    translation = (wanted[:, :3, 3] - scale * given[:, :3, 3] @ rotation.T).mean(axis=0)
    return Similarity(scale, rotation, translation)


def nearest_rotation(matrix: Doubles) -> Doubles:
    """The rotation that is nearest to (3, 3) float64."""
    u, _, vt = np.linalg.svd(matrix)
    return u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt


def blend_cameras(before: Doubles, after: Doubles, weights: Doubles) -> Doubles:
    """Go from one path to another: positions linearly, rotations to the nearest of the linear mixture.

    Args:
        before: (N, 4, 4) float64 camera-to-world.
        after: (N, 4, 4) float64 camera-to-world.
        weights: (N,) float64, 0..1, of `after`.
    """
    mixed = before + weights[:, None, None] * (after - before)
    for camera in mixed:
        camera[:3, :3] = nearest_rotation(camera[:3, :3])
    return mixed


def ramp(count: int) -> Doubles:
    """(count,) float64 weights of the later chunk over the frames that two share: rising, never 0 or 1."""
    return np.arange(1, count + 1) / (count + 1.0)

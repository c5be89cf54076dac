"""Depth estimators: what they promise, and how to find one by name.

`file` reads depth that another program made; `embedded` needs nothing but the clip. An estimator that needs more
(weights, a GPU) lives in a module of its own, imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.errors import InputError
from ex4d_core.progress import Cancelled, OnProgress

DepthKind = Literal["metric", "relative", "disparity"]
Units = Literal["metric", "relative"]

DEPTH_KINDS: tuple[DepthKind, ...] = ("metric", "relative", "disparity")
"""What the numbers of a depth file mean: metres, depth up to scale, or 1/depth up to scale."""


class ColorFrames(Protocol):
    """A clip's frames, (H, W, 3) uint8 sRGB each: an array (T, H, W, 3), or files read one at a time."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]: ...


class DepthFrames(Protocol):
    """Depth of a clip, produced frame by frame, as often as asked."""

    def __len__(self) -> int: ...

    def iterate(self, start: int = 0) -> Iterator[NDArray[np.float32]]:
        """From frame `start` on: (H, W) float32 z-depth, scene units, > 0; infinite is sky."""
        ...


@dataclass(frozen=True)
class DepthResult:
    """What an estimator found."""

    depth: DepthFrames
    nearest: float
    """Smallest depth of the clip, scene units."""
    farthest: float
    """Largest finite depth of the clip, scene units."""
    units: Units
    conversion: dict[str, object] = field(default_factory=dict)
    """What turned the estimator's numbers into depth; for `scene.json`."""
    warnings: tuple[str, ...] = ()
    """What people should know about this depth; one sentence each."""


@dataclass(frozen=True)
class DepthRequest:
    """What an estimator may want to know beyond the frames."""

    path: Path | None = None
    """File or folder of depth, for `file`."""
    kind: DepthKind = "relative"
    """What its numbers mean."""
    value_range: tuple[float, float] | None = None
    """What 0 and the largest integer stand for, in the units of `kind`; for integer images and videos."""
    clip_size: tuple[int, int] | None = None
    """Width and height of the clip as displayed, before it was brought to working size, pixels."""
    clip_start: int = 0
    """First frame taken from the clip."""
    clip_frames: int | None = None
    """Frames of the whole clip, of which the scene may take a part."""


class DepthEstimator(Protocol):
    """Finds the z-depth of every frame of a clip."""

    @property
    def name(self) -> str:
        """The name recorded in `scene.json`."""
        ...

    @property
    def revision(self) -> int:
        """Another number whenever the same clip would get other depth: depth kept of older ones is not used."""
        ...

    def check(self, frames: int, size: tuple[int, int], on_progress: OnProgress, cancelled: Cancelled) -> None:
        """Refuse what can be refused before the clip itself is read.

        Args:
            frames: number of frames that will be taken.
            size: width and height of the working size, pixels.
            on_progress: told about the work done.
            cancelled: asked between units of work.

        Raises:
            Ex4dError: the input cannot be used, or the task was cancelled.
        """
        ...

    def estimate(
        self,
        frames: ColorFrames,
        intrinsics: list[Intrinsics],
        source_c2w: NDArray[np.float64] | None,
        on_progress: OnProgress,
        cancelled: Cancelled,
    ) -> DepthResult:
        """Find the depth of every frame.

        Args:
            frames: T frames (H, W, 3) uint8 sRGB at working size.
            intrinsics: T lenses at that size.
            source_c2w: (T, 4, 4) float64 camera-to-world if the camera was solved, OpenCV axes.
            on_progress: told about the frames done.
            cancelled: asked between frames.

        Raises:
            Ex4dError: the input cannot be used, or the task was cancelled.
        """
        ...


def _file(request: DepthRequest) -> DepthEstimator:
    from ex4d_core.depth.file import FileEstimator

    return FileEstimator(request)


def _embedded(request: DepthRequest) -> DepthEstimator:
    from ex4d_core.depth.builtin import EmbeddedEstimator

    return EmbeddedEstimator()


_FACTORIES: dict[str, tuple[Callable[[DepthRequest], DepthEstimator], str]] = {
    "file": (_file, "depth that another program made, read from EXR, PNG, NPY, NPZ or a grey video"),
    "embedded": (_embedded, "a rough guess from parallax and position in the picture: no weights, no GPU"),
}
"""Name -> factory, and what it is in a line."""


def register_estimator(name: str, factory: Callable[[DepthRequest], DepthEstimator], summary: str = "") -> None:
    """Add an estimator, or replace the one of that name; `summary` is one line for people."""
    _FACTORIES[name] = (factory, summary)


def estimator_names() -> tuple[str, ...]:
    """The names that `make_estimator` knows."""
    return tuple(_FACTORIES)


def estimator_summaries() -> dict[str, str]:
    """What each estimator is, in a line for people."""
    return {name: summary for name, (_, summary) in _FACTORIES.items()}


def make_estimator(name: str, request: DepthRequest | None = None) -> DepthEstimator:
    """The estimator of that name.

    Raises:
        InputError: there is none.
    """
    if name not in _FACTORIES:
        raise InputError(f"There is no depth estimator {name!r}: choose one of {', '.join(_FACTORIES)}.")
    factory, _ = _FACTORIES[name]
    return factory(request or DepthRequest())

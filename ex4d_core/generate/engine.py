"""What an engine gets, what it gives, and how to make one; which there are stands in `ex4d_core.engines`."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ex4d_core.engines import EngineSetup, engine_class, require
from ex4d_core.errors import InputError
from ex4d_core.generate.video_model import OnPreview, no_preview
from ex4d_core.methods import DEFAULT_METHOD
from ex4d_core.progress import Cancelled, OnProgress

if TYPE_CHECKING:
    from ex4d_core.camera import Trajectory
    from ex4d_core.frame import RenderedFrame
    from ex4d_core.scene import Scene


@dataclass(frozen=True, eq=False)
class Shot:
    """The conditioning of one shot, and the footage it comes from where that is known."""

    color: NDArray[np.uint8]
    """(T, h, w, 3) uint8 sRGB; black where the mask is False."""
    mask: NDArray[np.bool_]
    """(T, h, w) bool, True = seen in the source video: at that source time, or as background at another."""
    fps: Fraction
    prompt: str = ""
    seed: int = 0
    quality: str = ""
    """One of the engine's qualities (`EngineFacts.qualities`); empty: its default."""
    keep_source: bool = False
    """Keep seen pixels exactly as they are; only for engines that can be asked to."""
    scene: Scene | None = None
    """The footage with depth; None for conditioning made elsewhere."""
    trajectory: Trajectory | None = None
    """The cameras of the T frames; None for conditioning made elsewhere."""
    method: str = DEFAULT_METHOD
    """Mesh method that the conditioning was rendered with."""
    background: bool = True
    """Whether it was rendered with the persistent background, where the scene has one."""

    def __len__(self) -> int:
        return len(self.color)

    @cached_property
    def depth(self) -> NDArray[np.float32] | None:
        """(T, h, w) float32, z-depth of the mesh in scene units, inf where nothing is; None without a scene."""
        if self.trajectory is None or self.scene is None:
            return None
        depth = np.empty(self.mask.shape, np.float32)
        for index, frame in enumerate(self.render(self.trajectory)):
            depth[index] = frame.depth
        return depth

    def source_frame(self, index: int) -> NDArray[np.uint8] | None:
        """The source frame that sample `index` looks at: (H, W, 3) uint8 sRGB; None without a scene."""
        if self.scene is None or self.trajectory is None:
            return None
        return self.scene.color(self.trajectory.source_frame(index, self.scene.frames))

    def render(self, trajectory: Trajectory) -> Iterator[RenderedFrame]:
        """Render the footage along another path: lead-ins, other times.

        Raises:
            InputError: the conditioning was made elsewhere, so that there is nothing to render.
        """
        from ex4d_core.rendering import render

        if self.scene is None:
            raise InputError("This shot has no scene to render: make it with `ex4d render`.")
        return render(self.scene, trajectory, method=self.method, background=self.background, allow_unseen=True)


@dataclass(frozen=True)
class GeneratedFrame:
    """One finished frame."""

    color: NDArray[np.uint8]
    """(h, w, 3) uint8 sRGB, opaque."""
    recovered: NDArray[np.bool_]
    """(h, w) bool, True where the mask says unseen and the footage shows it nonetheless: at another time, or at
    this one, behind an edge where the mask errs on the safe side."""
    invented: NDArray[np.bool_]
    """(h, w) bool, True where the footage never showed it: made up."""


class Engine(Protocol):
    """Fills what was never seen."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """How the last shot was made, JSON values: steps, sizes, model revisions ...; recorded in shot.json."""
        ...

    def generate(
        self, shot: Shot, on_progress: OnProgress, cancelled: Cancelled, on_preview: OnPreview = no_preview
    ) -> Iterator[GeneratedFrame]:
        """Give the finished frames in order, as many as the shot has.

        Args:
            shot: the conditioning.
            on_progress: told about the work done.
            cancelled: asked often enough for the engine's `cancel_seconds`.
            on_preview: shown the video while it is made, by engines that can.

        Raises:
            Ex4dError: the shot cannot be generated on this machine, or the task was cancelled.
        """
        ...


def make_engine(name: str, setup: EngineSetup | None = None) -> Engine:
    """The engine of that name; it loads its models when it first generates, and keeps them.

    Raises:
        InputError: there is none.
        MissingDependencyError: a package or a model that it needs is not there.
    """
    require(name, setup)
    module, kind, diffusion = engine_class(name)
    found = getattr(importlib.import_module(module), kind)
    if diffusion:
        from ex4d_core.generate.diffusion import DiffusionEngine

        return DiffusionEngine(found, setup or EngineSetup())
    return found(setup or EngineSetup())

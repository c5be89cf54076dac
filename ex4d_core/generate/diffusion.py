"""The engine of every diffusion model: finds the files, plans, loads, generates, and comes down the ladder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from ex4d_core.engines import EngineSetup
from ex4d_core.generate.engine import GeneratedFrame, Shot
from ex4d_core.generate.ladder import Plan
from ex4d_core.generate.profiles import Profile
from ex4d_core.generate.sizes import ComponentSizes
from ex4d_core.generate.video_model import Limits, OnPreview, VideoModel, no_preview
from ex4d_core.model_files import ModelFiles
from ex4d_core.progress import Cancelled, OnProgress


class Loader(Protocol):
    """How one engine's models are read from disk."""

    @property
    def engine(self) -> str:
        """Its name in `ex4d_core.engines`."""
        ...

    @property
    def limits(self) -> Limits: ...

    def sizes(self, files: ModelFiles) -> ComponentSizes:
        """What the files weigh, from their headers (`sizes.sizes_of`); reads no weights."""
        ...

    def load(self, files: ModelFiles, plan: Plan, profile: Profile) -> VideoModel:
        """Read the weights, stack the LoRAs, and then `placement.place` them according to the plan.

        Raises:
            InputError: a file is not what it should be.
            torch.OutOfMemoryError: they do not fit.
        """
        ...


class DiffusionEngine:
    """An `Engine` over a `Loader`; keeps the model between shots."""

    def __init__(self, loader: Loader, setup: EngineSetup) -> None:
        self._loader = loader
        self._setup = setup

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Engine.settings`."""
        raise NotImplementedError

    def generate(
        self, shot: Shot, on_progress: OnProgress, cancelled: Cancelled, on_preview: OnPreview = no_preview
    ) -> Iterator[GeneratedFrame]:
        """See `Engine.generate`."""
        raise NotImplementedError

"""The engine of every diffusion model: finds the files, plans, loads, generates, and comes down the ladder."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ex4d_core.engines import EngineSetup, Needs
from ex4d_core.errors import Ex4dError, MissingDependencyError, SpaceError
from ex4d_core.files import cache_folder, is_no_space
from ex4d_core.generate import around
from ex4d_core.generate.attention import attending, choose
from ex4d_core.generate.engine import GeneratedFrame, Shot
from ex4d_core.generate.estimates import VideoSize
from ex4d_core.generate.ladder import Plan
from ex4d_core.generate.machine import this_machine, with_torch
from ex4d_core.generate.planner import below, candidates, plan, stored_for
from ex4d_core.generate.profiles import Profile, profile
from ex4d_core.generate.revisions import model_files, model_revisions
from ex4d_core.generate.sizes import WAN2_1, ComponentSizes, known_sizes, sizes_of
from ex4d_core.generate.video_model import Limits, OnPreview, Report, VideoModel, Window, no_preview
from ex4d_core.model_files import ModelFiles
from ex4d_core.progress import Cancelled, OnProgress

_log = logging.getLogger(__name__)


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

    def load(self, files: ModelFiles, plan: Plan, profile: Profile, prompt: str = "") -> VideoModel:
        """Read the weights, stack the LoRAs, and then `placement.place` them according to the plan.

        Args:
            files: of the models.
            plan: how they are to be run.
            profile: which LoRAs.
            prompt: that the first video will be made with; encoded before anything else takes the memory.

        Raises:
            InputError: a file is not what it should be.
            torch.OutOfMemoryError: they do not fit.
        """
        ...


class DiffusionEngine:
    """An `Engine` over a `Loader`; keeps the model between shots."""

    def __init__(self, loader: Loader, setup: EngineSetup) -> None:
        """Load nothing yet.

        Args:
            loader: of the models.
            setup: where they are and how to use the machine; what it leaves open is chosen for the first shot.
        """
        self._loader = loader
        self._setup = setup
        self._model: VideoModel | None = None
        self._plan: Plan | None = None
        self._made_for: tuple[ModelFiles, str, float, int] | None = None
        self._settings: dict[str, Any] = {}
        self._rungs: list[str] = []
        """Of each window that is made."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Engine.settings`."""
        return self._settings

    def generate(
        self, shot: Shot, on_progress: OnProgress, cancelled: Cancelled, on_preview: OnPreview = no_preview
    ) -> Iterator[GeneratedFrame]:
        """See `Engine.generate`."""
        name, facts = self._loader.engine, dict[str, Any]()
        chosen = profile(name, shot.quality, self._setup)
        if chosen.note:
            _log.warning("%s", chosen.note)
        files = model_files(name, self._setup)
        self._settings = {"models": model_revisions(name, shot.quality, self._setup), "profile": asdict(chosen)}
        self._rungs = []

        def video(window: Window, report: Report) -> NDArray[np.uint8]:
            return self._video(files, window, report)

        yield from around.generate(shot, self._loader.limits, chosen, video, on_progress, cancelled, on_preview, facts)
        self._settings |= facts

    def _video(self, files: ModelFiles, window: Window, report: Report) -> NDArray[np.uint8]:
        """One window, on a lower rung where memory runs out, which the next windows then stay on."""
        chosen = self._plan_of(files, window)
        while True:
            try:
                with attending(chosen.attention):
                    model = self._loaded(files, chosen, window)
                    frames = model.video(window, report)
            except Exception as error:
                from ex4d_core.generate.memory import is_out_of_memory

                if is_no_space(error):
                    raise SpaceError(
                        f"The disk of {cache_folder()} is full, where {self._loader.engine} keeps what it needs on the "
                        f"rung {chosen.rung}: free some space there, or let EX4D_CACHE_DIR name another folder."
                    ) from error
                if not is_out_of_memory(error):
                    raise
            else:
                self._rungs.append(chosen.rung + " with the VAE in tiles" * chosen.tiled_vae)
                self._settings |= _told(chosen) | {"rungs": list(self._rungs)} | dict(model.settings)
                return frames
            model = None  # the last reference but the engine's own
            chosen = self._lower(chosen, files, window)

    def _plan_of(self, files: ModelFiles, window: Window) -> Plan:
        """The plan that is in use, where it was made for this or for more; else a new one, with all memory free."""
        size, wanted = _size(window), window.profile
        if self._plan is not None and self._made_for is not None:
            *same, tokens = self._made_for
            if same == [files, wanted.cache, wanted.distilled] and size.tokens <= tokens:
                return self._plan
        self._drop()
        machine = with_torch(this_machine())
        found = plan(self._loader.sizes(files), size, machine, self._setup.memory, wanted)
        self._plan = replace(found, attention=choose(self._setup.attention, found.device))
        self._made_for = (files, wanted.cache, wanted.distilled, size.tokens)
        return self._plan

    def _loaded(self, files: ModelFiles, chosen: Plan, window: Window) -> VideoModel:
        if self._model is None:
            self._model = self._loader.load(files, chosen, window.profile, window.prompt)
        return self._model

    def _lower(self, failed: Plan, files: ModelFiles, window: Window) -> Plan:
        """Drop everything and take the next smaller plan.

        Raises:
            Ex4dError: there is none.
        """
        self._drop()
        size = _size(window)
        lower = below(self._loader.sizes(files), size, with_torch(this_machine()), failed, window.profile)
        what = f"{size.width}x{size.height}x{size.frames}"
        if lower is None:
            raise Ex4dError(
                f"The memory ran out while {self._loader.engine} made {what} on the rung {failed.rung}, and no smaller "
                "one is left here: close other programs, or choose a smaller or shorter shot, the engine vace-1.3b or "
                "the engine draft."
            )
        _log.warning(
            "The memory ran out on the rung %s, with %.1f GB expected: trying again on %s%s.",
            failed.rung,
            failed.vram_bytes / 1e9,
            lower.rung,
            ", with the VAE in tiles" if lower.tiled_vae else "",
        )
        self._plan = replace(lower, attention=failed.attention)
        return self._plan

    def _drop(self) -> None:
        """Let go of the model, with hooks, caches and compiled code."""
        if self._model is not None or self._plan is not None:
            from ex4d_core.generate.memory import release

            self._model = None
            release()


def needs(name: str, width: int, height: int, frames: int, setup: EngineSetup, quality: str = "") -> Needs:
    """What a diffusion engine would take on this machine, as it would be run; without torch.

    Args:
        name: of the engine.
        width: of the shot, pixels.
        height: of the shot, pixels.
        frames: of the shot.
        setup: where the models are, and the rung if one is asked for.
        quality: one of the engine's; empty: its default.

    Raises:
        InputError: what is asked for cannot be combined.
    """
    machine, wanted, no_plan = this_machine(), profile(name, quality, setup), ""
    size = VideoSize(*around.model_size(width, height, frames, WAN2_1))
    try:
        sizes = sizes_of(model_files(name, setup))
    except Ex4dError:  # absent or damaged, which others tell about
        sizes = stored_for(known_sizes(name), setup.memory)
    try:
        found = plan(sizes, size, machine, setup.memory, wanted)
    except MissingDependencyError as error:
        no_plan = str(error)
        ways = list(candidates(sizes, size, machine, wanted)) or candidates(sizes, size, machine)
        found = min(ways, key=lambda p: (p.vram_bytes, p.ram_bytes))
    shot = 4 * width * height * frames  # colour and mask
    video = 0 if machine.shared else found.vram_bytes
    return Needs(video, found.ram_bytes + shot, found.disk_bytes, no_plan)


def _size(window: Window) -> VideoSize:
    frames, height, width, _ = window.color.shape
    return VideoSize(width, height, frames)


def _told(chosen: Plan) -> dict[str, Any]:
    """For `Engine.settings`."""
    return {
        "memory": chosen.rung,
        "tiled_vae": chosen.tiled_vae,
        "device": chosen.device,
        "dtype": chosen.dtype,
        "attention": chosen.attention,
        "compiled": chosen.compiled,
    }

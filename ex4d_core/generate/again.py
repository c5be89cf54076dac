"""Making a shot again as its shot.json says it was made."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ex4d_core.engines import EngineSetup, engine_facts, require
from ex4d_core.errors import InputError
from ex4d_core.generate.revisions import model_revisions, require_same
from ex4d_core.shot import SHOT_FILE, library_versions, read_shot

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """What a shot was generated with."""

    source: Path
    """Its shot.json."""
    engine: str
    seed: int
    prompt: str
    quality: str
    keep_source: bool
    setup: EngineSetup
    """What the engine had chosen itself is asked for; where the models lie is not recorded."""
    models: dict[str, str]
    """Their fingerprints, see `revisions`."""
    versions: dict[str, str]
    """Of libraries."""
    rungs: tuple[str, ...] = ()
    """Of the memory ladder, of each window."""

    @property
    def folder(self) -> Path:
        """The shot's."""
        return self.source.parent

    def changed(self, given: dict[str, Any], setup: dict[str, Any]) -> Recipe:
        """The same with some fields, and some of `EngineSetup`, as the user gives them.

        Another engine takes over what any engine knows: the settings and weights of the one before say nothing to it.

        Raises:
            InputError: there is no such engine.
        """
        before = self
        if given.get("engine", self.engine) != self.engine:
            keeps = self.keep_source and engine_facts(given["engine"]).keeps_source
            blank: dict[str, Any] = {"setup": EngineSetup(), "models": {}, "versions": {}, "rungs": ()}
            before = replace(self, quality="", keep_source=keeps, **blank)
        return replace(before, **given, setup=replace(before.setup, **setup))

    def options(self) -> dict[str, Any]:
        """The arguments of `generate_shot`."""
        names = ("engine", "seed", "prompt", "quality", "keep_source", "setup")
        return {name: getattr(self, name) for name in names}

    def check(self) -> None:
        """Refuse other weights; warn of what cannot be had again, with which pixels may differ a little: other
        libraries, and rungs that changed while memory ran out.

        Raises:
            InputError: this machine has other weights.
            MissingDependencyError: this machine cannot run the engine.
        """
        require(self.engine, self.setup, self.quality)
        require_same(self.models, model_revisions(self.engine, self.quality, self.setup), self.source)
        here = library_versions(*engine_facts(self.engine).packages)
        others = [f"{name} {self.versions[name]}" for name in here if self.versions.get(name, here[name]) != here[name]]
        if others:
            _log.warning("%s was made with %s: the result may differ a little.", self.source, ", ".join(others))
        if len(set(self.rungs)) > 1:
            _log.warning(
                "%s was made on the rungs %s, as memory ran out: on %s alone the result may differ a little.",
                self.source,
                ", ".join(dict.fromkeys(self.rungs)),
                self.setup.memory,
            )


def read_recipe(path: Path) -> Recipe:
    """What a shot was generated with.

    Args:
        path: a shot.json, or the folder of a shot.

    Raises:
        InputError: it is none, or was not generated yet.
    """
    folder = path if path.is_dir() else path.parent
    if not path.is_dir() and path.name != SHOT_FILE:
        raise InputError(f"{path} says nothing of how a shot was made: give a {SHOT_FILE}, or the folder of a shot.")
    document = read_shot(folder)
    request, chosen = document.request, document.result.engine
    if request.engine is None:
        raise InputError(f"{folder} is rendered and not generated yet: give a shot that is.")
    setup = EngineSetup(
        memory=str(chosen.get("memory") or request.memory or ""),
        attention=str(chosen.get("attention") or request.attention or ""),
        cache=request.cache or "",
        steps=request.steps or 0,
    )
    return Recipe(
        source=folder / SHOT_FILE,
        engine=request.engine,
        seed=request.seed or 0,
        prompt=request.prompt or "",
        quality=request.quality or "",
        keep_source=bool(request.keep_source),
        setup=setup,
        models=dict(request.models or {}),
        versions=dict(document.result.versions),
        rungs=tuple(str(rung) for rung in rungs) if isinstance(rungs := chosen.get("rungs"), list) else (),
    )

# SPDX-License-Identifier: GPL-3.0-or-later
"""What mends a shot that does not fit the sidecar's machine: a button for each thing that it may lack."""

from dataclasses import dataclass
from typing import Any

import bpy

from .. import sidecar
from ..engine.kinds import gpu_kind
from ..engine.models import absent_models, lacks_packages
from ..translation import translated
from . import settings


@dataclass(frozen=True)
class Remedy:
    """A button."""

    operator: str
    text: str
    """In the language of the interface."""
    icon: str = "NONE"
    values: tuple[tuple[str, str], ...] = ()
    """Properties of the operator."""

    def draw(self, layout: bpy.types.UILayout) -> None:
        """Put it into a panel."""
        button = layout.operator(self.operator, text=self.text, translate=False, icon=self.icon)
        for name, value in self.values:
            setattr(button, name, value)


def of_engine(name: str, quality: str = "") -> list[Remedy]:
    """What an engine lacks: packages come with another kind of engine, only then models can be downloaded. And the
    engines that lack nothing."""
    facts = settings.engine_facts(name)
    of_quality = (facts.get("quality_models") or {}).get(quality) or ()
    needed = {"models": [*(facts.get("models") or ()), *of_quality]}
    if not lacks_packages(facts):
        found = [
            Remedy(
                "ex4d.download_model",
                translated("Download {model}", model=model.title),
                "IMPORT",
                (("model", model.name),),
            )
            for model in absent_models(needed)
            if model.state != "downloading"
        ]
    elif sidecar.connection().is_local:
        found = [Remedy("ex4d.install_engine", translated("Install Engine"), "IMPORT", (("kind", gpu_kind()),))]
    else:
        found = []
    others = [str(one["name"]) for one in settings.engines() if one.get("available", True) and one["name"] != name]
    return found + [_use(other) for other in others]


def _use(engine: str) -> Remedy:
    return Remedy("ex4d.choose_engine", translated("Use {engine}", engine=engine), "CHECKMARK", (("engine", engine),))


def of_shortage(shortage: dict[str, Any], engine: str, quality: str = "") -> list[Remedy]:
    """What helps against a Shortage of docs/api.md, with the engine and the quality that were asked for."""
    choices = {str(choice) for choice in shortage.get("choices") or ()}
    others = [str(one["name"]) for one in settings.engines() if f"the {one['name']} engine" in choices]
    found = [_use(other) for other in others]
    match shortage.get("what"):
        case "engine":
            return of_engine(engine, quality)
        case "disk":
            found.append(Remedy("ex4d.remove_finished_jobs", translated("Remove Finished Jobs"), "TRASH"))
            if sidecar.connection().is_local:
                found.append(Remedy("ex4d.open_data_folder", translated("Open Data Folder"), "FILE_FOLDER"))
        case "vram" | "ram":
            found.append(Remedy("ex4d.unload_models", translated("Unload Models"), "MEMORY"))
    return [*found, Remedy("ex4d.halve_shot", translated("Half Size"), "FULLSCREEN_EXIT")]

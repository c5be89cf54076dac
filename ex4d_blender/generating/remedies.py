# SPDX-License-Identifier: GPL-3.0-or-later
"""What mends a shot that does not fit the sidecar's machine: a button for each thing that it may lack."""

from dataclasses import dataclass
from typing import Any

import bpy

from .. import sidecar
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


def of_engine(name: str) -> list[Remedy]:
    """What an engine lacks: models can be downloaded, packages come with another kind of engine."""
    now, facts = sidecar.connection(), settings.engine_facts(name)
    needed = facts.get("models") or ()
    absent = [
        model
        for model in now.capabilities.get("models") or ()
        if model.get("name") in needed and model.get("state") != "ready"
    ]
    found = [
        Remedy(
            "ex4d.download_model",
            translated("Download {model}", model=model.get("title")),
            "IMPORT",
            (("model", str(model["name"])),),
        )
        for model in absent
    ]
    if facts.get("packages") and len(facts.get("missing") or ()) > len(absent) and now.is_local:
        found.append(Remedy("ex4d.install_engine", translated("Install Engine"), "IMPORT"))
    return found


def of_shortage(shortage: dict[str, Any], engine: str) -> list[Remedy]:
    """What helps against a Shortage of docs/api.md, with the engine that was asked for."""
    choices = {str(choice) for choice in shortage.get("choices") or ()}
    others = [str(one["name"]) for one in settings.engines() if f"the {one['name']} engine" in choices]
    found = [
        Remedy("ex4d.choose_engine", translated("Use {engine}", engine=other), "CHECKMARK", (("engine", other),))
        for other in others
    ]
    match shortage.get("what"):
        case "engine":
            return of_engine(engine) + found
        case "disk":
            found.append(Remedy("ex4d.remove_finished_jobs", translated("Remove Finished Jobs"), "TRASH"))
            if sidecar.connection().is_local:
                found.append(Remedy("ex4d.open_data_folder", translated("Open Data Folder"), "FILE_FOLDER"))
        case "vram" | "ram":
            found.append(Remedy("ex4d.unload_models", translated("Unload Models"), "MEMORY"))
    return [*found, Remedy("ex4d.halve_shot", translated("Half Size"), "FULLSCREEN_EXIT")]

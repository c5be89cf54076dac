# SPDX-License-Identifier: GPL-3.0-or-later
"""*Relink*: footage whose folder went elsewhere is found again, and everything that pointed there with it."""

import contextlib
from pathlib import Path

import bpy
from bpy.props import BoolProperty, StringProperty

from ..errors import SaysErrors, UserError
from ..ownership import require_local
from ..placed import CONTENT, Placed, active
from ..scene_folder import SCENE_FILE, SceneFacts, read_scene
from ..translation import translated
from ..versions.path_options import BLEND_RELATIVE
from . import paths


def missing() -> list[Placed]:
    """Footage of this file whose scene folder is not where it should be."""
    return [placed for placed in paths.everything_placed() if not paths.exists(placed)]


def candidates(folder: Path) -> list[Path]:
    """Scene folders that an artist may mean by a folder: itself, one above a file in it, or those inside it."""
    for tried in (folder, *folder.parents[:2]):
        if (tried / SCENE_FILE).is_file():
            return [tried]
    try:
        return sorted(below for below in folder.iterdir() if (below / SCENE_FILE).is_file())
    except OSError as error:
        raise UserError(
            "{folder} cannot be read ({reason}): choose another folder.", folder=folder, reason=error.strerror
        ) from None


def relink(placed: Placed, folder: Path) -> None:
    """Point footage to a folder.

    Raises:
        UserError: the folder holds no scene, or other footage than the one that stands in Blender, or that is another
            file's.
    """
    facts = read_scene(folder)
    require_local(placed.empty, placed.depth_image)
    standing = placed.shape()
    if standing is not None and standing != (facts.width, facts.height, facts.frames):
        width, height, frames = standing
        raise UserError(
            "{folder} has {scene_frames} frames of {scene_width}x{scene_height}, {empty} has {frames} of "
            "{width}x{height}: choose the folder it was placed from, or use Import Scene for this one.",
            folder=folder.name,
            scene_frames=facts.frames,
            scene_width=facts.width,
            scene_height=facts.height,
            empty=placed.empty.name,
            frames=frames,
            width=width,
            height=height,
        )
    if not placed.is_of(facts):
        raise UserError(
            "{folder} is another import than the one that {empty} was placed from, whose lens and depth stand here: "
            "choose the folder of that one, or use Import Scene for this one.",
            folder=folder.name,
            empty=placed.empty.name,
        )
    paths.repath(placed.folder, folder)


def meant(chosen: Placed | None, folder: Path) -> Placed:
    """The footage that an artist means by a scene folder: the active one, or the missing one that was placed from it.

    Raises:
        UserError: the folder holds no scene, or there is no footage.
    """
    facts = read_scene(folder)
    possible = sorted(filter(None, (chosen, *missing())), key=lambda placed: placed.empty.library is not None)
    if not possible:
        raise UserError("There is no footage in this file to relink: use Import Scene.")
    known = [placed for placed in possible if placed.empty.get(CONTENT) == facts.content_hash]
    return next(iter(known or [placed for placed in possible if placed.is_of(facts)] or possible))


def relink_all(folder: Path) -> list[Placed]:
    """Find all missing footage below one folder: by name, then what was renamed by its content.

    Returns:
        Those found.
    """
    scenes: dict[Path, SceneFacts] = {}
    for candidate in candidates(folder):
        with contextlib.suppress(UserError):  # damaged, and perhaps nobody's
            scenes[candidate] = read_scene(candidate)
    for standing in paths.everything_placed():
        scenes.pop(standing.folder, None)
    found = []
    for is_same in (_is_named, _is_known):
        for placed in missing():
            fitting = (candidate for candidate, facts in scenes.items() if is_same(placed, facts))
            new = next(fitting, None)
            if new is not None:
                relink(placed, new)
                del scenes[new]
                found.append(placed)
    return found


def _is_named(placed: Placed, facts: SceneFacts) -> bool:
    return placed.folder.name == facts.folder.name and placed.is_of(facts)


def _is_known(placed: Placed, facts: SceneFacts) -> bool:
    return placed.empty.get(CONTENT) == facts.content_hash


class Relink(SaysErrors, bpy.types.Operator):
    """Relink."""

    bl_idname = "ex4d.relink"
    bl_label = "Relink"
    bl_description = (
        "Find footage again whose .ex4d folder was moved or renamed: choose the folder, or one that holds all of them"
    )
    bl_options = {"REGISTER", "UNDO"}

    directory: StringProperty(name="Folder", subtype="DIR_PATH", options={"SKIP_SAVE", *BLEND_RELATIVE})
    filter_folder: BoolProperty(default=True, options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for the folder."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def run(self, context: bpy.types.Context) -> None:
        """The active footage to the chosen folder; from a folder of several all that are missing."""
        folder = Path(bpy.path.abspath(self.directory or "//"))
        found, lost = candidates(folder), missing()
        is_exact = found in ([tried] for tried in (folder, *folder.parents[:2]))
        if not found:
            raise UserError(
                "{folder} holds no EX-4D scene: choose a folder that ends in .ex4d, or one that holds them.",
                folder=folder,
            )
        if len(found) == 1 and (is_exact or len(lost) <= 1):
            relink(meant(active(context), found[0]), found[0])
            count = 1
        else:
            count = len(relink_all(folder))
            if not count:
                names = ", ".join(placed.folder.name for placed in lost) or "nothing"
                raise UserError(
                    "{folder} has none of the missing scenes ({names}): choose another folder.",
                    folder=folder,
                    names=names,
                )
        left = len(missing())
        self.report(
            {"WARNING"} if left else {"INFO"},
            translated("{count} found again, {left} still missing", count=count, left=left),
        )


register, unregister = bpy.utils.register_classes_factory((Relink,))

# SPDX-License-Identifier: GPL-3.0-or-later
"""Where files lie, as the .blend says it: `//`-relative where possible, and right after moving, undo and load.

Blender itself keeps the paths of images and clips right over Save As, linking and appending. What it does not know are
our own property on the empties, and that a folder was moved: where one was, the move leaves a small file that says
where it went (`NAME.ex4d.moved`), so that an undo, or another .blend, finds it again.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy
from bpy.app.handlers import persistent

from ..placed import FOLDER, FOOTAGE_ID, ROLE, Placed, absolute
from ..scene_folder import SCENE_FILE

MOVED_SUFFIX = ".moved"
BASE = "ex4d_base"
"""On each datablock, or strip, with a path of ours: the folder of the .blend that its `//` paths are relative to.

An undo brings back some datablocks as they were and leaves others as they are: each has to say it for itself.
"""
_earlier: list[str] = []
"""Folders where the open file was saved since it was opened, the last one first: what an undo may bring back."""


def stored(path: Path, blend: str | None = None) -> str:
    """A path as it is kept in a .blend: relative to it where there is one and both are on one drive.

    Args:
        path: absolute.
        blend: the .blend's path; None is the open file, empty an unsaved one.
    """
    blend = bpy.data.filepath if blend is None else blend
    if not blend:
        return str(path)
    try:
        return bpy.path.relpath(str(path), start=os.path.dirname(blend))
    except ValueError:  # another drive
        return str(path)


def everything_placed() -> Iterator[Placed]:
    """All footage of the file that is its own, whatever the scene; only the empties are looked up."""
    for thing in bpy.data.objects:
        if thing.library is None and thing.get(ROLE) == "empty" and thing.get(FOOTAGE_ID):
            yield Placed(thing[FOOTAGE_ID], thing, None, None)


def exists(placed: Placed) -> bool:
    """Whether its scene folder is where it should be."""
    return (placed.folder / SCENE_FILE).is_file()


def repath(old: Path, new: Path) -> int:
    """Point all that the file has below one folder to another: images, clips, sounds, caches, the empties.

    Returns:
        How many paths changed.
    """
    changed = 0
    for placed in everything_placed():
        if placed.folder == old or _inside(str(placed.folder), old) is not None:
            placed.empty[FOLDER] = stored(new)
    for things in (bpy.data.images, bpy.data.movieclips, bpy.data.sounds, bpy.data.cache_files):
        for thing in things:
            if thing.library is not None or not thing.filepath:
                continue
            below = _inside(bpy.path.abspath(thing.filepath), old)
            if below is not None:
                thing.filepath = stored(new / below)
                changed += 1
    return changed


def _inside(path: str, folder: Path) -> str | None:
    """The rest of a path below a folder; None if it does not lie there."""
    path, start = os.path.normpath(path), os.path.normpath(folder) + os.sep
    return path[len(start) :] if os.path.normcase(path).startswith(os.path.normcase(start)) else None


def moved_to(folder: Path) -> Path | None:
    """Where a folder that is gone was moved to, if it was moved by *Move Beside the File*."""
    for _ in range(16):  # moved again and again; a circle ends, too
        try:
            folder = Path(folder.with_name(folder.name + MOVED_SUFFIX).read_text("utf-8").strip())
        except (OSError, ValueError):
            return None
        if (folder / SCENE_FILE).is_file():
            return folder
    return None


def follow_moves() -> list[Path]:
    """Point footage whose folder was moved to where it is now.

    Returns:
        The folders found again.
    """
    found = []
    for placed in list(everything_placed()):
        old = placed.folder
        new = None if (old / SCENE_FILE).is_file() else moved_to(old)
        if new is not None:
            repath(old, new)
            found.append(new)
    return found


def meant(path: str, base: str | None) -> str:
    """Where a path leads that may be relative to another folder than the open file's; absolute.

    Args:
        path: as it is kept in a .blend.
        base: the folder that its datablock names, if any: one from before the first save names none.
    """
    here = os.path.dirname(bpy.data.filepath)
    tried = [bpy.path.abspath(path, start=each) for each in (base or here, here, *_earlier)]
    return next((each for each in tried if os.path.exists(each)), tried[0])


def put_base(owner: Any, blend: str | None = None) -> None:
    """Say that a datablock's, or a strip's, paths are relative to a .blend: None is the open file."""
    _put(owner, BASE, os.path.dirname(bpy.data.filepath if blend is None else blend))


def follow(owner: Any) -> None:
    """After an undo to before a Save As into another folder: make the paths of a datablock, or a strip, right again.

    Blender itself leaves them relative to the old folder, and the files would be missing.
    """
    base = owner.get(BASE)
    if base == os.path.dirname(bpy.data.filepath):
        return
    for name in ("filepath", "directory"):
        path = getattr(owner, name, "")
        if path.startswith("//"):  # what was appended from another file, Blender has made right
            right = stored(absolute(meant(path, base if base in _earlier else None)))
            setattr(owner, name, right + "/" if name == "directory" else right)
    for name, path in list(owner.items()):
        if name.startswith("ex4d_") and isinstance(path, str) and path.startswith("//"):
            owner[name] = stored(absolute(meant(path, base)))
    put_base(owner)


def _footage_owners() -> Iterator[Any]:
    for placed in everything_placed():
        yield placed.empty
    yield from (image for image in bpy.data.images if image.library is None and image.get(FOOTAGE_ID))


@persistent
def _before_save(filepath: str = "", *_unused: object) -> None:
    before = os.path.dirname(bpy.data.filepath)
    if before and before not in _earlier:
        _earlier.insert(0, before)
    _write_folders(filepath)


@persistent
def _after_save(*_unused: object) -> None:
    _write_folders(bpy.data.filepath)  # after Save Copy the open file is another than the one written


def _write_folders(blend: str) -> None:
    for placed in everything_placed():
        _put(placed.empty, FOLDER, stored(placed.folder, blend))
    for owner in _footage_owners():
        put_base(owner, blend)


def _put(owner: Any, name: str, value: str) -> None:
    if owner.get(name) != value:
        owner[name] = value


@persistent
def _after_load(*_unused: object) -> None:
    _earlier.clear()  # an undo does not lead past this
    for owner in _footage_owners():  # a project may have been moved as a whole: its paths are right here
        put_base(owner)
    follow_moves()


@persistent
def _after_undo(*_unused: object) -> None:
    for owner in _footage_owners():
        follow(owner)
    follow_moves()


def _handlers() -> tuple[tuple[list, object], ...]:
    handlers = bpy.app.handlers
    return (
        (handlers.save_pre, _before_save),
        (handlers.save_post, _after_save),
        (handlers.save_post_fail, _after_save),
        (handlers.load_post, _after_load),
        (handlers.undo_post, _after_undo),
        (handlers.redo_post, _after_undo),
    )


def register() -> None:
    """Called when the extension is enabled."""
    for handlers, function in _handlers():
        handlers.append(function)


def unregister() -> None:
    """Called when the extension is disabled."""
    for handlers, function in _handlers():
        handlers.remove(function)

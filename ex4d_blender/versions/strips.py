# SPDX-License-Identifier: GPL-3.0-or-later
"""Sequencer strips: `sequences` until 4.3, `strips` from 4.4 on, alone from 5.0.

Where a strip lies has two sets of names: `frame_start`, `frame_final_start`, `frame_final_end` up to 5.1, and from 5.2
on `content_start`, `left_handle`, `right_handle`. The handles are what is shown: the first frame, and the one after
the last.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import bpy


def all_strips(scene: bpy.types.Scene) -> list:
    """Every strip of a scene, those in meta strips too; none where the scene has no sequencer."""
    editor = scene.sequence_editor
    if editor is None:
        return []
    return list(editor.strips_all if hasattr(editor, "strips_all") else editor.sequences_all)


def top_strips(scene: bpy.types.Scene) -> Any:
    """The collection of a scene's strips outside of meta strips, to add to and remove from; its sequencer is made."""
    editor = scene.sequence_editor or scene.sequence_editor_create()
    return editor.strips if hasattr(editor, "strips") else editor.sequences


def are_rendered(scene: bpy.types.Scene) -> bool:
    """Whether a render shows a scene's strips and nothing else; what is muted, or only heard, leaves it alone."""
    editor = scene.sequence_editor
    if editor is None or not scene.render.use_sequencer:
        return False
    muted = [channel.mute for channel in editor.channels]
    return any(not (strip.type == "SOUND" or strip.mute or muted[strip.channel]) for strip in top_strips(scene))


def edited_scene(context: bpy.types.Context) -> bpy.types.Scene:
    """The scene that the sequencer edits: from 5.0 on the workspace may name one, else the context's."""
    return getattr(context.workspace, "sequencer_scene", None) or context.scene


def content_start(strip: Any) -> float:
    """The frame of a strip's first picture, shown or not."""
    return float(strip.content_start if _has_handles(strip) else strip.frame_start)


def handles(strip: Any) -> tuple[int, int]:
    """The first frame that is shown, and the one after the last."""
    if _has_handles(strip):
        return int(strip.left_handle), int(strip.right_handle)
    return strip.frame_final_start, strip.frame_final_end


def set_content_start(strip: Any, frame: float) -> None:
    """Move a strip as a whole."""
    setattr(strip, "content_start" if _has_handles(strip) else "frame_start", frame)


def set_handles(strip: Any, left: int, right: int) -> None:
    """Say what is shown; `handles` says how."""
    names = ("left_handle", "right_handle") if _has_handles(strip) else ("frame_final_start", "frame_final_end")
    # Neither may pass the other on the way.
    order = (1, 0) if left >= handles(strip)[1] else (0, 1)
    for index in order:
        setattr(strip, names[index], (left, right)[index])


def is_free(scene: bpy.types.Scene, channel: int, shown: tuple[int, int], but: Any = None) -> bool:
    """Whether nothing outside of meta strips, but for one, is shown on a channel at these frames (last excluded)."""
    for strip in top_strips(scene):
        left, right = handles(strip)
        if strip.channel == channel and strip != but and left < shown[1] and shown[0] < right:
            return False
    return True


@contextmanager
def channels_kept(scene: bpy.types.Scene) -> Iterator[None]:
    """Put every strip outside of meta strips back on its channel in the end.

    A strip that is moved or made longer in steps may lie over another one on the way, and Blender then moves it, and
    the effects on it, to a free channel at once. A strip whose place is taken in the end stays where Blender put it:
    to put one over another on channel 1 hangs Blender (4.5: it looks for a free channel downwards for ever).
    """
    before = {strip.name: strip.channel for strip in top_strips(scene)}
    yield
    for strip in top_strips(scene):
        channel = before.get(strip.name, strip.channel)
        if strip.channel != channel and is_free(scene, channel, handles(strip), but=strip):
            strip.channel = channel


def set_length(strip: Any, names: list[str]) -> None:
    """Give an image strip these files of its directory, one for each frame."""
    while len(strip.elements) > len(names):
        strip.elements.pop(index=-1)
    for element, name in zip(strip.elements, names, strict=False):
        element.filename = name
    for name in names[len(strip.elements) :]:
        strip.elements.append(name)


def _has_handles(strip: Any) -> bool:
    return "left_handle" in strip.bl_rna.properties

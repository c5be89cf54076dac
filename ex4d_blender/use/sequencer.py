# SPDX-License-Identifier: GPL-3.0-or-later
"""*Accept as Strip*: the take in the sequencer, with its handles trimmed and the footage's sound beside it."""

from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ..errors import UserError
from ..project.paths import stored
from ..project.rates import scene_rate
from ..shots import Shot
from ..shots.properties import MAX_FRAME, render_size
from ..takes.folder import TakeFacts
from ..translation import translated
from ..versions import strips
from . import marks

USE = "SEQUENCER"
START, SHOWN = "ex4d_frame_start", "ex4d_shown"
"""On the strip: where its first picture, or sound, and its handles were put; if they are elsewhere, it was the artist
who moved it, or trimmed it."""
AUDIO_FILE = "audio.m4a"
"""In the scene folder: the footage's sound, from clip frame 0 on."""
MAX_CHANNEL = 128


def accept(context: bpy.types.Context, shot: Shot, facts: TakeFacts) -> str:
    """Show the take in a strip of the sequencer's scene, on the first channel that is free; a strip of an earlier take
    shows this one instead.

    Returns:
        One sentence about what could not be done; empty if all was.

    Raises:
        UserError: pictures that are missing, or no free channel.
    """
    facts.require_files()
    scene = strips.edited_scene(context)
    if _pictures(scene, shot.key):
        replace(shot.key, facts)
        return ""
    shown, sound, channel = _place(scene, facts)
    collection = strips.top_strips(scene)
    told = ""
    if sound is not None:
        file, start = sound
        try:
            strip = collection.new_sound(f"{shot.name} Sound", str(file), channel, round(start))
        except RuntimeError:  # the pictures are what was asked for
            told = translated("This Blender cannot read the sound {file}: the strip has none", file=file)
        else:
            strip.sound.filepath = stored(file)
            _put(strip, start, shown)
            strip.channel = channel
            marks.mark(strip, USE, shot.key, facts)
            channel += 1
    strip = collection.new_image(shot.name, str(facts.png(0)), channel, facts.frame_start)
    _fill(strip, scene, facts)
    _put(strip, facts.frame_start, shown)
    strip.channel = channel  # its handles lay over a neighbour for a moment, and Blender made way
    marks.mark(strip, USE, shot.key, facts)
    return told


def check(context: bpy.types.Context, shot: Shot | None, facts: TakeFacts) -> None:
    """Whether `accept` would find room. Raises: UserError."""
    scene = strips.edited_scene(context)
    if shot is None or not _pictures(scene, shot.key):
        _place(scene, facts)


def _place(scene: bpy.types.Scene, facts: TakeFacts) -> tuple[tuple[int, int], tuple[Path, float] | None, int]:
    """Where a new strip goes: the frames that it shows, the sound beside it, the first channel of both."""
    shown, sound = _range(facts), _sound(scene, facts)
    return shown, sound, _free_channel(scene, shown, 1 if sound is None else 2)


def replace(shot: str, facts: TakeFacts) -> int:
    """Let every strip of a shot show another take: where it was moved, what was trimmed and its effects stay.

    Returns:
        How many strips of pictures.
    """
    count = 0
    for scene in bpy.data.scenes:
        own = marks.marked(strips.all_strips(scene), USE, shot) if scene.library is None else []
        if own:
            with strips.channels_kept(scene):
                count += sum(_replaced(strip, scene, facts) for strip in own)
    return count


def _replaced(strip: Any, scene: bpy.types.Scene, facts: TakeFacts) -> bool:
    """Let one strip show another take, or sound with it; whether it is one of pictures."""
    now, handles = strips.content_start(strip), strips.handles(strip)
    moved = now - float(strip.get(START, now))
    if strip.type == "IMAGE":
        start, first, last = float(facts.frame_start), facts.frame_start, facts.last_frame + 1
        _fill(strip, scene, facts)
    else:
        sound = _sound(scene, facts)
        if sound is None:
            strip.mute = True  # it would not run with the pictures
            return False
        start, first, last = sound[1], -MAX_FRAME, MAX_FRAME
    shown = _range(facts)
    trimmed = [
        min(max(handle - moved, first), last) if handle != before + moved else own
        for handle, before, own in zip(handles, strip.get(SHOWN, shown), shown, strict=True)
    ]
    left, right = trimmed if trimmed[0] < trimmed[1] else shown
    _put(strip, start + moved, (round(left + moved), round(right + moved)))
    strip[START], strip[SHOWN] = start, shown
    marks.mark(strip, USE, strip[marks.SHOT], facts)
    return strip.type == "IMAGE"


def _pictures(scene: bpy.types.Scene, shot: str) -> list[Any]:
    return [strip for strip in marks.marked(strips.all_strips(scene), USE, shot) if strip.type == "IMAGE"]


def _range(facts: TakeFacts) -> tuple[int, int]:
    """The frames of the shot itself, the last one excluded: what is shown at first."""
    return facts.frame_start + facts.handles[0], facts.last_frame + 1 - facts.handles[1]


def _fill(strip: Any, scene: bpy.types.Scene, facts: TakeFacts) -> None:
    strip.directory = stored(facts.png(0).parent) + "/"
    strips.set_length(strip, [facts.png(index).name for index in range(facts.frames)])
    render, frame = render_size(scene), facts.frame_size
    # At scale 1 Blender shows a strip's own pixels; with overscan the frame fills the picture, and the rest is beyond.
    size = (render[0], render[1], *frame)
    if strip.get(_FITTED) is None or list(strip[_FITTED]) != list(size):
        scale = min(render[0] / frame[0], render[1] / frame[1])
        strip.transform.scale_x = strip.transform.scale_y = scale
        strip[_FITTED] = size


_FITTED = "ex4d_fitted"
"""On the strip: the sizes of render and frame that its scale was set for; after that it is the artist's."""


def _put(strip: Any, start: float, shown: tuple[int, int]) -> None:
    strips.set_content_start(strip, start)
    strips.set_handles(strip, *shown)
    strip[START], strip[SHOWN] = float(start), shown


def _free_channel(scene: bpy.types.Scene, shown: tuple[int, int], count: int) -> int:
    """The first of `count` neighbouring channels with nothing at these frames. Raises: UserError."""
    for channel in range(1, MAX_CHANNEL + 2 - count):
        if all(strips.is_free(scene, each, shown) for each in range(channel, channel + count)):
            return channel
    raise UserError("The sequencer has no free channel for the take: remove a strip at its frames.")


def _sound(scene: bpy.types.Scene, facts: TakeFacts) -> tuple[Path, float] | None:
    """The footage's sound and the frame where it starts, if the take and the scene run at the footage's speed."""
    placed = next((found for each in bpy.data.scenes if (found := marks.filmed_by(each, facts))), None)
    if placed is None:
        return None
    file, times = placed.folder / AUDIO_FILE, facts.source_time
    if not facts.fps == placed.facts().fps == scene_rate(scene) or not file.is_file():
        return None
    if not np.allclose(times, times[0] + np.arange(len(times)), atol=1e-3):
        return None
    return file, facts.frame_start - float(times[0])

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
from ..shots.properties import render_size
from ..takes.folder import TakeFacts
from ..versions import strips
from . import marks

USE = "SEQUENCER"
START = "ex4d_frame_start"
"""On the strip: where its first picture, or sound, was put; if it is elsewhere, the artist has moved it."""
AUDIO_FILE = "audio.m4a"
"""In the scene folder: the footage's sound, from clip frame 0 on."""
MAX_CHANNEL = 128


def accept(context: bpy.types.Context, shot: Shot, facts: TakeFacts) -> None:
    """Show the take in a strip of the sequencer's scene, on the first channel that is free; a strip of an earlier take
    shows this one instead.

    Raises:
        UserError: pictures that are missing, or no free channel.
    """
    facts.require_files()
    scene = strips.edited_scene(context)
    if _pictures(scene, shot.key):
        replace(shot.key, facts)
        return
    shown = _range(facts)
    sound = _sound(scene, facts)
    collection = strips.top_strips(scene)
    channel = _free_channel(scene, shown, 1 if sound is None else 2)
    if sound is not None:
        file, start = sound
        try:
            strip = collection.new_sound(f"{shot.name} Sound", str(file), channel, round(start))
        except RuntimeError:
            raise UserError("{file} cannot be read: import the clip again.", file=file) from None
        strip.sound.filepath = stored(file)
        _put(strip, start, shown)
        marks.mark(strip, USE, shot.key, facts)
        channel += 1
    strip = collection.new_image(shot.name, str(facts.png(0)), channel, facts.frame_start)
    _fill(strip, scene, facts)
    _put(strip, facts.frame_start, shown)
    marks.mark(strip, USE, shot.key, facts)


def replace(shot: str, facts: TakeFacts) -> int:
    """Let every strip of a shot show another take: where it lies, what is trimmed and its effects stay.

    Returns:
        How many strips of pictures.
    """
    count = 0
    for scene in bpy.data.scenes:
        for strip in marks.marked(strips.all_strips(scene) if scene.library is None else [], USE, shot):
            left, right = strips.handles(strip)
            moved = strips.content_start(strip) - float(strip.get(START, strips.content_start(strip)))
            if strip.type == "IMAGE":
                start, first, last = facts.frame_start, facts.frame_start, facts.last_frame + 1
                _fill(strip, scene, facts)
                count += 1
            else:
                sound = _sound(scene, facts)
                strip.mute = sound is None  # it would not run with the pictures
                if sound is None:
                    continue
                start, first, last = sound[1], left - moved, right - moved
            _put(strip, start + moved, (round(max(left, first + moved)), round(min(right, last + moved))))
            strip[START] = float(start)
            marks.mark(strip, USE, shot, facts)
    return count


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
    strip[START] = float(start)


def _free_channel(scene: bpy.types.Scene, shown: tuple[int, int], count: int) -> int:
    """The first of `count` neighbouring channels with nothing at these frames. Raises: UserError."""
    taken = set()
    for strip in strips.top_strips(scene):
        left, right = strips.handles(strip)
        if left < shown[1] and shown[0] < right:
            taken.add(strip.channel)
    for channel in range(1, MAX_CHANNEL + 2 - count):
        if taken.isdisjoint(range(channel, channel + count)):
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

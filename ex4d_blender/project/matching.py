# SPDX-License-Identifier: GPL-3.0-or-later
"""Footage against scene: where rate, size, range and pixel shape differ, and the three ways to settle it.

Footage is always of square pixels: anamorphic footage is stretched to its displayed size when it is imported, and a
variable frame rate is resampled to the nearest constant one.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import bpy

from ..errors import UserError
from ..mesh import copies
from ..ownership import require_local
from ..placed import SPEED, Placed, all_placed
from ..scene_folder import SceneFacts
from ..translation import translated
from ..versions.strips import all_strips
from . import rates

SCENE_FRAMES = (0, 1_048_574)
"""The first and the last frame that Blender lets a scene's range have."""


@dataclass(frozen=True)
class Row:
    """One line of the comparison; `footage` and `scene` are texts for people."""

    name: str
    footage: str
    scene: str
    same: bool


def footage_size(facts: SceneFacts) -> tuple[int, int]:
    """Width and height of the footage as displayed, pixels: the full size where it is known."""
    return facts.plate_size or (facts.width, facts.height)


def frame_range(placed: Placed, facts: SceneFacts, speed: float = 1.0) -> tuple[int, int]:
    """First and last whole Blender frame during which the clip runs, at `speed` clip frames per Blender frame."""
    first = math.ceil(placed.frame_start)
    return first, max(first, math.floor(placed.frame_start + (facts.frames - 1) / speed))


def within_scene(frames: tuple[int, int]) -> tuple[int, int]:
    """A range as far as a scene can have it; empty, its last frame before its first, where it can have none of it."""
    return max(frames[0], SCENE_FRAMES[0]), min(frames[1], SCENE_FRAMES[1])


def compare(scene: bpy.types.Scene, placed: Placed) -> list[Row]:
    """The comparison of footage and scene. Raises: UserError if the scene folder cannot be read."""
    facts, render = placed.facts(), scene.render
    size, shown = footage_size(facts), (render.resolution_x, render.resolution_y)
    ratio = Fraction(str(render.pixel_aspect_x)) / Fraction(str(render.pixel_aspect_y))
    first, last = frame_range(placed, facts, speed_of(placed))
    return [
        Row("Rate", rates.said(facts.fps), rates.said(rates.scene_rate(scene)), rates.shows(scene, facts.fps)),
        Row("Size", f"{size[0]} x {size[1]}", f"{shown[0]} x {shown[1]}", size == shown),
        Row(
            "Frames",
            f"{first}-{last}",
            f"{scene.frame_start}-{scene.frame_end}",
            within_scene((first, last)) == (scene.frame_start, scene.frame_end),
        ),
        Row("Pixels", "1 : 1", f"{float(ratio):.4g} : 1", ratio == 1),
    ]


def speed_of(placed: Placed) -> float:
    """Clip frames per Blender frame; a value that makes no sense counts as 1."""
    return placed.speed if placed.speed > 0 else 1.0


def match_scene(scene: bpy.types.Scene, placed: Placed) -> str:
    """*Match Scene to Footage*: the scene takes the footage's rate, size, range and square pixels.

    The footage stays at the frame it stands on, also 1001 or 0; the render percentage stays the artist's.

    Returns:
        What of the footage the scene's range leaves out: one sentence, most often empty.

    Raises:
        UserError: the scene folder cannot be read, the footage is another file's and runs at another speed, or none of
            its frames can be in a scene's range.
    """
    facts, render = placed.facts(), scene.render
    wanted = frame_range(placed, facts)
    given = within_scene(wanted)
    if given[0] > given[1]:
        raise UserError(
            "The footage runs from frame {first} to {last}, a Blender scene from {lowest} to {highest} at most: give "
            "the footage another Start Frame.",
            first=wanted[0],
            last=wanted[1],
            lowest=SCENE_FRAMES[0],
            highest=SCENE_FRAMES[1],
        )
    set_speed(placed, 1.0)  # first: it may be refused
    rates.set_scene_rate(scene, facts.fps)
    render.resolution_x, render.resolution_y = footage_size(facts)
    render.pixel_aspect_x = render.pixel_aspect_y = 1.0
    scene.frame_start, scene.frame_end = given
    if given == wanted:
        return ""
    return translated(
        "The footage runs from frame {first} to {last}, the scene from {lowest} to {highest}: Blender has no more",
        first=wanted[0],
        last=wanted[1],
        lowest=given[0],
        highest=given[1],
    )


def keep_scene(placed: Placed) -> None:
    """*Keep Scene*: the scene stays; each of its frames shows one frame of the clip."""
    set_speed(placed, 1.0)


def retime(scene: bpy.types.Scene, placed: Placed) -> None:
    """*Retime to Keep Speed*: the scene stays; the clip runs as fast as it was filmed.

    Raises: UserError if the scene folder cannot be read.
    """
    set_speed(placed, retimed_speed(scene, placed))


def retimed_speed(scene: bpy.types.Scene, placed: Placed) -> float:
    """Clip frames per Blender frame at which the clip runs as filmed. Raises: UserError."""
    return float(placed.facts().fps / rates.scene_rate(scene))


def set_speed(placed: Placed, speed: float) -> None:
    """Write the speed where the drivers of Source Time read it. Raises: UserError if it would not stay there."""
    if placed.empty.get(SPEED) != speed:
        require_local(placed.empty)
        placed.empty[SPEED] = float(speed)
    if copies.is_shared(placed):  # a copy that is to run by itself
        copies.make_own(placed)
    placed.empty.update_tag()  # else drivers that read it turn invalid and stay so


def untouched(scene: bpy.types.Scene) -> bool:
    """Whether nobody has set this scene up yet, so that it may follow the footage without being asked.

    Ask before the footage is placed. A file with a name, with animation, cuts or strips, or with a rate, size or range
    other than Blender's own belongs to somebody who chose them; so does a scene that holds other footage.
    """
    render = scene.render
    return (
        not bpy.data.filepath
        and not bpy.data.actions
        and not scene.timeline_markers
        and not all_strips(scene)
        and (render.fps, render.fps_base) == (24, 1.0)
        and (render.resolution_x, render.resolution_y) == (1920, 1080)
        and (render.pixel_aspect_x, render.pixel_aspect_y) == (1.0, 1.0)
        and (scene.frame_start, scene.frame_end) == (1, 250)
        and not all_placed(scene)
    )


def settle(scene: bpy.types.Scene, placed: Placed, was_untouched: bool) -> str:
    """After placing: an untouched scene matches the footage, any other stays as it is.

    Returns:
        What was done, or what differs and what to choose: one sentence, empty where there is nothing to say.

    Raises:
        UserError: the scene folder cannot be read.
    """
    if was_untouched:
        try:
            return match_scene(scene, placed) or translated("The scene now has the footage's rate, size and range")
        except UserError as error:  # it stands where no scene's range reaches, as was asked for: the scene stays
            return error.said
    differing = [row for row in compare(scene, placed) if not row.same and row.name != "Frames"]
    if not differing:
        return ""
    listed = ", ".join(f"{translated(row.name)} {row.footage} / {row.scene}" for row in differing)
    return translated(
        "Footage and scene differ ({differences}): choose in EX-4D, Footage in the Scene", differences=listed
    )

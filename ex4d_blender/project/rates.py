# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame rates as exact fractions, and Blender's two numbers for them: `fps` (whole) over `fps_base` (32-bit float)."""

from fractions import Fraction

import bpy
import numpy as np

NTSC = 1001
_DENOMINATORS = (1, NTSC, *range(2, 1001))
"""In the order in which they are believed: whole rates, television's, then the odd ones."""


def scene_rate(scene: bpy.types.Scene) -> Fraction:
    """A scene's frame rate: the fraction that its numbers stand for, such as 24000/1001 for 24 over 1.001."""
    fps, base = scene.render.fps, scene.render.fps_base
    for denominator in _DENOMINATORS:
        rate = Fraction(round(fps / base * denominator), denominator)
        if rate > 0 and shows(scene, rate):
            return rate
    return fps / Fraction(str(np.float32(base)))  # the shortest number that is this float: what somebody typed


def shows(scene: bpy.types.Scene, rate: Fraction) -> bool:
    """Whether a scene runs at this rate, as exactly as its float can say it."""
    return np.float32(scene.render.fps_base) == np.float32(scene.render.fps / rate)


def set_scene_rate(scene: bpy.types.Scene, rate: Fraction) -> None:
    """Run a scene at a rate, in numbers that Blender's own list of rates knows: 24 over 1.001, not 24000 over 1001."""
    fps = min(max(round(rate), 1), 32767)
    scene.render.fps, scene.render.fps_base = fps, float(fps / rate)


def said(rate: Fraction) -> str:
    """A rate for people: `24`, `24000/1001 (23.976)`, `25/2 (12.5)`."""
    return str(rate) if rate.denominator == 1 else f"{rate} ({float(rate):.5g})"

# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes that a scene waits for: what was asked for and is not in its shot's list yet.

They stand in the .blend with all that it takes to ask again, so that they survive whatever happens to Blender and to
the sidecar, and go with the undo of Generate. How far each is stands nowhere but in memory and on the sidecar.
"""

import base64
import json
import zlib
from collections.abc import Iterator
from fractions import Fraction

import bpy
import numpy as np
from bpy.props import BoolProperty, CollectionProperty, IntProperty, StringProperty

from ..shots.trajectory import TrajectorySample

_NUMBERS = 16 + 4 + 1
"""Of one frame: camera, lens, source time."""


class EX4D_TakeWish(bpy.types.PropertyGroup):
    """A take that a scene waits for; `name` is its shot's at the time."""

    job: StringProperty(name="Job", description="Its id on the sidecar")
    shot: StringProperty(name="Shot", description="The key of its shot")
    footage: StringProperty(name="Footage", description="The name of the footage's scene folder")
    number: IntProperty(name="Take", description="The number that it gets, if that is still free then", min=1)
    settings: StringProperty(name="Settings", description="What it is generated with, as JSON")
    camera: StringProperty(name="Camera", description="The camera's move as it was sent; empty if unknown")
    was_undone: BoolProperty(
        name="Was Undone", description="It has been in the list: it comes back only when asked for"
    )

    @property
    def take_name(self) -> str:
        """The name that it gets, if its number is still free then."""
        return f"take_{self.number:03d}"


def all_wishes() -> Iterator[tuple[bpy.types.Scene, EX4D_TakeWish]]:
    """What the scenes of this file wait for."""
    for scene in bpy.data.scenes:
        if scene.library is None:
            for wish in scene.ex4d_wished_takes:
                yield scene, wish


def find(job: str) -> tuple[bpy.types.Scene, EX4D_TakeWish] | None:
    """The one of a job, and its scene."""
    return next(((scene, wish) for scene, wish in all_wishes() if wish.job == job), None)


def forget(job: str) -> None:
    """No scene waits for a job any longer."""
    for scene in bpy.data.scenes:
        for number in reversed(range(len(scene.ex4d_wished_takes))):
            if scene.ex4d_wished_takes[number].job == job:
                scene.ex4d_wished_takes.remove(number)


def packed(sample: TrajectorySample) -> str:
    """A camera's move as one short text; exact."""
    numbers = np.concatenate(
        [sample.c2w.reshape(len(sample), 16), sample.intrinsics, sample.source_time[:, None]], axis=1
    )
    head = {
        "size": [sample.width, sample.height],
        "fps": [sample.fps.numerator, sample.fps.denominator],
        "frame_start": sample.frame_start,
        "scene_hash": sample.scene_hash,
        "frames": base64.b64encode(zlib.compress(numbers.astype("<f8").tobytes())).decode(),
    }
    return json.dumps(head)


def unpacked(text: str) -> TrajectorySample:
    """The move that `packed` has made a text of."""
    head = json.loads(text)
    data = zlib.decompress(base64.b64decode(head["frames"]))
    numbers = np.frombuffer(data, "<f8").astype(np.float64).reshape(-1, _NUMBERS)
    return TrajectorySample(
        c2w=numbers[:, :16].reshape(-1, 4, 4),
        intrinsics=numbers[:, 16:20],
        source_time=numbers[:, 20],
        width=head["size"][0],
        height=head["size"][1],
        fps=Fraction(*head["fps"]),
        frame_start=head["frame_start"],
        scene_hash=head["scene_hash"],
    )


def register() -> None:
    """Called when the extension is enabled."""
    bpy.utils.register_class(EX4D_TakeWish)
    bpy.types.Scene.ex4d_wished_takes = CollectionProperty(type=EX4D_TakeWish, options={"HIDDEN"})


def unregister() -> None:
    """What scenes wait for stays in the file."""
    del bpy.types.Scene.ex4d_wished_takes
    bpy.utils.unregister_class(EX4D_TakeWish)

# SPDX-License-Identifier: GPL-3.0-or-later
"""What every operator that places footage does around it: settle it with the scene, and say what is worth saying."""

from pathlib import Path

import bpy

from ..errors import UserError
from ..mesh import placing
from ..placed import Placed
from ..translation import translated
from . import matching, view

FARTHEST_START = 900_000
"""On both sides of frame 0; leaves Blender's last frame, 1048574, out of reach of any clip."""
_NOT_IN_A_MODE = "Footage is placed in Object Mode: leave the mode first."


class InObjectMode:
    """Mixin of operators that change what is selected and active: refused in any other mode."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """The mode is Object Mode."""
        if context.mode == "OBJECT":
            return True
        cls.poll_message_set(translated(_NOT_IN_A_MODE))
        return False


def check(context: bpy.types.Context, frame_start: int | None) -> None:
    """Require that footage can be placed now, and from that frame on. Raises: UserError."""
    if context.mode != "OBJECT":
        raise UserError(_NOT_IN_A_MODE)
    if frame_start is not None and abs(frame_start) > FARTHEST_START:
        raise UserError(
            "The start frame is {frame}: give one from -{farthest} to {farthest}.",
            frame=frame_start,
            farthest=FARTHEST_START,
        )


def arrive(
    operator: bpy.types.Operator, context: bpy.types.Context, folder: Path, frame_start: int | None = None
) -> Placed:
    """Place a scene folder; an untouched scene then matches it, any other stays as it is.

    Args:
        operator: reports what differs.
        context: its scene gets the footage.
        folder: the `.ex4d` folder.
        frame_start: the Blender frame that shows clip frame 0; None for the scene's first frame.

    Raises:
        UserError: see `check` and `placing.place`; nothing was made.
    """
    check(context, frame_start)
    untouched = matching.untouched(context.scene)
    with placing.all_or_nothing():
        placed = placing.place(context, folder, frame_start)
        view.fit_plates(context.scene, placed)
        sentences = matching.settle(context.scene, placed, untouched), view.told(context.scene, placed)
    for sentence in filter(None, sentences):
        operator.report({"INFO"}, sentence)
    return placed

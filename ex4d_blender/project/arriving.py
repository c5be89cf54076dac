# SPDX-License-Identifier: GPL-3.0-or-later
"""What every operator that places footage does around it: settle it with the scene, and say what is worth saying."""

from pathlib import Path

import bpy

from ..mesh import placing
from ..placed import Placed
from . import matching, view


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
        UserError: see `placing.place`.
    """
    untouched = matching.untouched(context.scene)
    placed = placing.place(context, folder, frame_start)
    view.fit_plates(context.scene, placed)
    for sentence in (matching.settle(context.scene, placed, untouched), view.told(context.scene, placed)):
        if sentence:
            operator.report({"INFO"}, sentence)
    return placed

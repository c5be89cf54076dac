# SPDX-License-Identifier: GPL-3.0-or-later
"""Next Worst Frame: goes to the frame of which the footage saw least, then to the next such place."""

from typing import ClassVar

import bpy
import numpy as np

from ..errors import SaysErrors, UserError
from . import record

_APART_SECONDS = 0.5
"""Two places with a worse frame between them, or closer than this, are one."""

_keymaps: list[tuple[bpy.types.KeyMap, bpy.types.KeyMapItem]] = []


def worst_frames(shares: np.ndarray, apart: int) -> list[int]:
    """The frames that are the worst of all within some frames around them, the worst of all first.

    Args:
        shares: (T, 2): frame and unseen share, frames ascending.
        apart: how many frames around.
    """
    frames, values = shares[:, 0], shares[:, 1]
    found = []
    for k in np.flatnonzero(values > 0):
        first, last = max(0, k - apart), k + apart + 1
        # of equals the first one
        if values[k] >= values[first:last].max() and not (values[first:k] == values[k]).any():
            found.append(k)
    found.sort(key=lambda k: (-values[k], k))
    return [round(float(frames[k])) for k in found]


class EX4D_OT_next_worst_frame(SaysErrors, bpy.types.Operator):
    """Jumps; the frame is not a datablock's, so that Blender makes no undo step of it either elsewhere."""

    bl_idname = "ex4d.next_worst_frame"
    bl_label = "Next Worst Frame"
    bl_description = "Go to the frame of which the footage saw the least; again: to the place that comes next"
    bl_options: ClassVar = {"REGISTER"}

    def run(self, context: bpy.types.Context) -> None:
        """Raises: UserError."""
        scene = context.scene
        camera = scene.camera
        shares = record.shares(camera) if camera is not None else np.empty((0, 2))
        if not len(shares):
            raise UserError("The scene's camera has no coverage yet: use Measure Coverage first.")
        rate = scene.render.fps / scene.render.fps_base
        worst = worst_frames(shares, max(round(_APART_SECONDS * rate), 1))
        if not worst:
            self.report({"INFO"}, "The footage saw all of every frame")
            return
        now = scene.frame_current
        # a marker may bind another camera to the frame: the curve's own frames are still what was asked for
        scene.frame_set(worst[(worst.index(now) + 1) % len(worst)] if now in worst else worst[0])


_register_classes, _unregister_classes = bpy.utils.register_classes_factory((EX4D_OT_next_worst_frame,))


def register() -> None:
    """The operator and its shortcut."""
    _register_classes()
    configuration = bpy.context.window_manager.keyconfigs.addon
    if configuration is not None:  # there is none in background mode
        keymap = configuration.keymaps.new(name="Frames", space_type="EMPTY")
        item = keymap.keymap_items.new(EX4D_OT_next_worst_frame.bl_idname, "DOWN_ARROW", "PRESS", ctrl=True, alt=True)
        _keymaps.append((keymap, item))


def unregister() -> None:
    """See `register`."""
    while _keymaps:
        keymap, item = _keymaps.pop()
        keymap.keymap_items.remove(item)
    _unregister_classes()

# SPDX-License-Identifier: GPL-3.0-or-later
"""The cuts of a scene: runs of frames that markers give to one camera."""

from dataclasses import dataclass

import bpy


@dataclass(frozen=True)
class Cut:
    """One run; use it at once, it holds a camera."""

    name: str
    """Of the marker."""
    camera: bpy.types.Object
    first: int
    last: int


def cuts(scene: bpy.types.Scene) -> list[Cut]:
    """All cuts within the scene's frames, in time. Markers that go on with the same camera are no cut."""
    bound = sorted((m for m in scene.timeline_markers if m.camera is not None), key=lambda marker: marker.frame)
    starts = [m for i, m in enumerate(bound) if i == 0 or m.camera != bound[i - 1].camera]
    found = []
    for index, marker in enumerate(starts):
        after = starts[index + 1].frame - 1 if index + 1 < len(starts) else scene.frame_end
        # The first camera is the scene's before its marker too, as Blender has it.
        first = scene.frame_start if index == 0 else max(marker.frame, scene.frame_start)
        last = min(after, scene.frame_end)
        if first <= last:
            found.append(Cut(marker.name, marker.camera, first, last))
    return found


def range_of(scene: bpy.types.Scene, camera: bpy.types.Object) -> tuple[int, int]:
    """The frames of a camera's cut, the current one's if it has several; without one, the scene's."""
    own = [cut for cut in cuts(scene) if cut.camera == camera]
    now = scene.frame_current
    cut = next((cut for cut in own if cut.first <= now <= cut.last), own[0] if own else None)
    return (scene.frame_start, scene.frame_end) if cut is None else (cut.first, cut.last)

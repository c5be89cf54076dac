# SPDX-License-Identifier: GPL-3.0-or-later
"""Sequencer strips: `sequences` until 4.3, `strips` from 4.4 on, alone from 5.0."""

import bpy


def all_strips(scene: bpy.types.Scene) -> list:
    """Every strip of a scene, those in meta strips too; none where the scene has no sequencer."""
    editor = scene.sequence_editor
    if editor is None:
        return []
    return list(editor.strips_all if hasattr(editor, "strips_all") else editor.sequences_all)

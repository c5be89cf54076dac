# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidebar tab: its name, and the order of the panels in it."""

import bpy

CATEGORY = "EX-4D"


class SidebarPanel:
    """Mixin of the panels in the sidebar's tab; their order is `bl_order`."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = CATEGORY


def redraw(context: bpy.types.Context, *space_types: str) -> None:
    """Draw areas of these kinds again in all windows; the 3D viewports by default."""
    for window in context.window_manager.windows:
        for area in window.screen.areas:
            if area.type in (space_types or ("VIEW_3D",)):
                area.tag_redraw()


def register() -> None:
    """Nothing to register; the panels belong to their features."""


def unregister() -> None:
    """See `register`."""

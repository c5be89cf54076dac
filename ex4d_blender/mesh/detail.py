# SPDX-License-Identifier: GPL-3.0-or-later
"""Level of detail of viewports: how far the grid is thinned out so that scrubbing stays fluent."""

VIEWPORT_VERTICES = 500_000
"""The finest level with at most this many vertices is chosen (docs/blender/mesh.md, measured)."""


def automatic_level(width: int, height: int) -> int:
    """Every how many pixels a viewport's mesh has a vertex."""
    level = 1
    while (width // level) * (height // level) > VIEWPORT_VERTICES:
        level += 1
    return level

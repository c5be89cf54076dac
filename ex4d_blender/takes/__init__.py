# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes: what came back for a shot, version by version. What they are used for is in `..use`."""

from . import compare, compare_overlay, keeping, listing, panel, revealing

_PARTS = (listing, keeping, revealing, panel, compare, compare_overlay)


def register() -> None:
    """Register all parts."""
    for part in _PARTS:
        part.register()


def unregister() -> None:
    """Unregister all parts."""
    for part in reversed(_PARTS):
        part.unregister()

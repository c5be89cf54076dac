# SPDX-License-Identifier: GPL-3.0-or-later
"""Look before you generate: what a camera sees of the footage, and what it does not."""

from . import measuring, overlay, panel, preview, stale, strip, viewports, worst

_PARTS = (preview, stale, viewports, overlay, measuring, worst, strip, panel)


def register() -> None:
    """Called when the extension is enabled."""
    for part in _PARTS:
        part.register()


def unregister() -> None:
    """Every viewport is as it was."""
    for part in reversed(_PARTS):
        part.unregister()

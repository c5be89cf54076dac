# SPDX-License-Identifier: GPL-3.0-or-later
"""Generate: the camera goes to the sidecar, and the picture comes back as a take of its shot."""

from . import arriving, keeping, mending, operators, panel, preflight, previews, regenerating, settings, wishes

_PARTS = (settings, wishes, operators, keeping, regenerating, preflight, mending, previews, panel, arriving)


def register() -> None:
    """Called when the extension is enabled."""
    for part in _PARTS:
        part.register()


def unregister() -> None:
    """What scenes wait for stays in the file."""
    for part in reversed(_PARTS):
        part.unregister()

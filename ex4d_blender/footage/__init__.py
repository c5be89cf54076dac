# SPDX-License-Identifier: GPL-3.0-or-later
"""Footage into Blender: Import Footage by the sidecar, and the scene that fills itself when it is done."""

from . import drop, filling, importing, panel, placing, wishes

_PARTS = (wishes, importing, placing, drop, panel, filling)


def register() -> None:
    """Called when the extension is enabled."""
    for part in _PARTS:
        part.register()


def unregister() -> None:
    """What scenes wait for stays in the file."""
    for part in reversed(_PARTS):
        part.unregister()

# SPDX-License-Identifier: GPL-3.0-or-later
"""Installs the engine, the program that the sidecar is, into a folder of its own: by a helper process, never here."""

from ..sidecar import every_tick, no_longer
from . import doing, downloading, operators, panel


def register() -> None:
    """Called when the extension is enabled."""
    operators.register()
    downloading.register()
    panel.register()
    every_tick(doing.step)


def unregister() -> None:
    """What is being installed is cancelled; it can be gone on with."""
    no_longer(doing.step)
    doing.end()
    panel.unregister()
    downloading.unregister()
    operators.unregister()

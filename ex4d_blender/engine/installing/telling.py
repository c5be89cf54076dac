# SPDX-License-Identifier: GPL-3.0-or-later
"""What the helper says to Blender, and whether Blender still wants it."""

import json
import sys
import threading

from .failing import Cancelled

cancelled = threading.Event()


def tell(event: str, **values: object) -> None:
    """One line for Blender: `progress`, `done`, `failed` or `cancelled`, with what belongs to it."""
    sys.stdout.write(json.dumps({"event": event, **values}) + "\n")
    sys.stdout.flush()


def progress(stage: str, fraction: float, size: int = 0) -> None:
    """How far it is.

    Args:
        stage: a key of the extension's table of stages.
        fraction: 0 to 1, of the whole.
        size: bytes on disk so far; 0 where that tells nothing.
    """
    tell("progress", stage=stage, fraction=round(fraction, 4), bytes=size)


def require_wanted() -> None:
    """Raises: Cancelled."""
    if cancelled.is_set():
        raise Cancelled

# SPDX-License-Identifier: GPL-3.0-or-later
"""Sentences of the library, written for its command line, in the words of Blender's interface."""

import re

WORDS = {
    "--fov": "a Field of View",
    "--focal-mm": "a focal length in Millimeters",
    "--sensor-mm": "the Sensor Width",
    "--focal-px": "a focal length in Pixels",
    "--depth": "Depth Files",
    "--depth-kind": "Depth Means",
    "--depth-range": "Depth Range",
    "--max-side": "Working Size",
    "--size": "Working Size",
    "--start": "First Frame",
    "--frames": "Frames",
    "--fps": "Frame Rate",
}
"""Options of `ex4d import`, and what the import dialog calls them."""


def for_artists(text: str) -> str:
    """The text with options of the command line named as in the dialog; unknown ones stay."""
    return re.sub(r"--[a-z]+(?:-[a-z]+)*", lambda option: WORDS.get(option[0], option[0]), text)

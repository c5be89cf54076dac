# SPDX-License-Identifier: GPL-3.0-or-later
"""Sentences of the library and the sidecar, written for the command line, in the words of Blender's interface."""

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
    "--data": "Data Folder in the preferences",
}
"""Options of `ex4d import` and `ex4d serve`, and what the import dialog and the preferences call them."""

_PHRASES = (
    (r"--depth-range LO HI\b", lambda _: "Depth Range"),
    (r"add --size (\d+)x(\d+)", lambda size: f"set Working Size to {max(int(size[1]), int(size[2]))}"),
    (r"make one with `ex4d import`", lambda _: "import the clip again"),
    (r"delete old jobs, then run `ex4d cache prune`", lambda _: "remove old jobs from the list in the Sidecar panel"),
)
"""What reads wrong where only the option is replaced."""
_OPTION = r"(?<![\w/\\.-])--[a-z]+(?:-[a-z]+)*"
"""Not in the midst of a word or path: files are named by those who made them."""


def for_artists(text: str) -> str:
    """The text with options and commands named as in Blender; unknown ones stay."""
    for pattern, words in _PHRASES:
        text = re.sub(pattern, words, text)
    return re.sub(_OPTION, lambda option: WORDS.get(option[0], option[0]), text)

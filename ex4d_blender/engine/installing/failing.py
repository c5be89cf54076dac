# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong, as codes: the extension has a sentence and a remedy for each."""

import re
from collections.abc import Sequence


class Cancelled(Exception):
    """The artist has cancelled it, or Blender has ended."""


class Failed(Exception):
    """Something that the artist can mend.

    Args:
        code: a key of the extension's table of problems.
        values: what stands in its sentence.
    """

    def __init__(self, code: str, **values: str) -> None:
        super().__init__(code)
        self.code, self.values = code, values


_SIGNS = (
    ("hash", r"Hash mismatch for `(?P<name>[^`]+)`"),
    ("hash", r"DO NOT MATCH THE HASHES(?s:.*?)\n\s+(?P<name>[\w.-]+==\S+|[\w.-]+) from"),
    ("hash", r"DO NOT MATCH THE HASHES(?P<name>)"),
    ("disk", r"No space left on device|os error 28\b|os error 112\b|Errno 28\b"),
    ("no-python", r"No interpreter found|No download (?:is )?(?:found|available)"),
    (
        "network",
        r"error sending request|dns error|Failed to fetch: .?https?:|Read timed out|NewConnectionError|ProxyError",
    ),
    ("no-wheel", r"Because (?:only )?(?P<name>[\w.-]+)\S* (?:was not found|has no (?:usable )?wheels|is available)"),
    ("no-wheel", r"Because there is no version of (?P<name>[\w.-]+)"),
    ("no-wheel", r"No matching distribution found for (?P<name>[\w.-]+)"),
    ("network", r"error: Failed to (?:fetch|download)"),
    ("in-use", r"Access is denied|os error (?:5|32)\b|being used by another process"),
    ("files", r"(?P<reason>Permission denied|Read-only file system)"),
)
"""What uv and pip write, in the order of how much it tells."""


def failure(lines: Sequence[str], stage: str) -> Failed:
    """What the output of a program that failed means.

    Args:
        lines: its output.
        stage: what it was about.
    """
    text = "\n".join(lines)
    for code, pattern in _SIGNS:
        if found := re.search(pattern, text):
            values = {name: value for name, value in found.groupdict().items() if value is not None}
            return Failed(code, **values)
    said = [line.strip() for line in lines if line.strip()]
    error = next((line for line in said if line.lower().startswith("error")), said[-1] if said else "")
    return Failed("step", stage=stage, reason=error[:300])

# SPDX-License-Identifier: GPL-3.0-or-later
"""How many frames a shot asks for, how many the engine makes of it, and how many come back."""

from dataclasses import dataclass

from .properties import Shot

LEAD_IN = 8
"""Frames from the filmed view to a first frame elsewhere: the model begins at what was filmed. Cut away later."""


@dataclass(frozen=True)
class FrameCount:
    """Numbers of frames."""

    asked: int
    """In the shot's range."""
    made: int
    """By the engine: lead-in, handles and range, filled up to the 4n+1 that video models make."""
    back: int
    """What the artist gets: exactly range and handles."""
    lead_in: int


def count(shot: Shot) -> FrameCount:
    """A shot's numbers of frames."""
    lead_in = LEAD_IN if shot.starts_elsewhere else 0
    back = len(shot.frames)
    return FrameCount(shot.frame_end - shot.frame_start + 1, model_length(lead_in + back), back, lead_in)


def model_length(frames: int) -> int:
    """The shortest length that a video model makes, 4n+1, and that holds these frames."""
    return -(-(frames - 1) // 4) * 4 + 1

# SPDX-License-Identifier: GPL-3.0-or-later
"""The named moves, in the axes of the source view: x right, y ahead, z up, the eye at the origin, level, looking ahead.

They are the library's (`ex4d_core/presets.py`, which the tests compare them with). Lengths are shares of the distance
of the subject, which stands straight ahead.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import UserError


@dataclass(frozen=True)
class Settings:
    """What a move is made of; a move reads what its `Move.uses` names."""

    angle: float = 0.0
    """Radians around the subject, positive to the right; likewise `rise`, positive up."""
    rise: float = 0.0
    amount: float = 0.0
    """Length of the move as a share of the subject's distance."""
    zoom: float = 1.0
    """Factor on the focal length at the end."""
    easing: str = "LINEAR"


@dataclass(frozen=True)
class Path:
    """A move at N moments."""

    location: np.ndarray
    """(N, 3) float64, shares of the subject's distance; in the orbit's axes where there is one."""
    rotation: np.ndarray
    """(N, 3) float64 XYZ Euler angles, radians; a level camera that looks ahead has (pi/2, 0, 0)."""
    focal: np.ndarray
    """(N,) float64 factor on the focal length."""
    orbit: np.ndarray | None = None
    """(N, 3) float64 XYZ Euler angles of an empty at the subject that carries the camera; None: there is none."""


@dataclass(frozen=True)
class Move:
    """One named move."""

    label: str
    help: str
    uses: dict[str, float]
    """Which settings it reads, and their defaults."""
    path: Callable[[Settings, np.ndarray], Path]
    """From settings and eased progress (N,) 0..1."""
    reference: bool = False
    """Whether it is EX-4D's own, whose subject is just behind what is nearest."""


EASINGS: dict[str, tuple[str, str, Callable[[np.ndarray], np.ndarray]]] = {
    "LINEAR": ("Linear", "At constant speed", lambda u: u),
    "EASE_IN": ("Ease In", "From rest", lambda u: u**2),
    "EASE_OUT": ("Ease Out", "Comes to rest", lambda u: 1 - (1 - u) ** 2),
    "EASE_IN_OUT": ("Ease In and Out", "From rest to rest", lambda u: 3 * u**2 - 2 * u**3),
}
"""Label, description, and eased progress from progress."""

_LEVEL = np.array([math.pi / 2, 0.0, 0.0])


def path(name: str, settings: Settings, progress: np.ndarray) -> Path:
    """A named move at some moments; progress (N,) float64 0..1, before easing. Raises: UserError."""
    return MOVES[name].path(settings, EASINGS[settings.easing][2](progress))


def _gliding(location: np.ndarray, focal: np.ndarray | None = None) -> Path:
    """Looking ahead all the way."""
    return Path(location, np.tile(_LEVEL, (len(location), 1)), np.ones(len(location)) if focal is None else focal)


def _watching(location: np.ndarray) -> Path:
    """Looking at the subject, without roll."""
    x, y, z = (np.array([0.0, 1.0, 0.0]) - location).T
    pan, tilt = np.arctan2(-x, y), np.arctan2(z, np.hypot(x, y))
    return Path(location, _LEVEL + np.stack([tilt, 0 * pan, np.unwrap(pan)], axis=1), np.ones(len(pan)))


def _along(axis: int, length: np.ndarray) -> np.ndarray:
    return length[:, None] * np.eye(3)[axis]


def _turning(settings: Settings, share: np.ndarray) -> Path:
    """On an orbit around the subject: the camera stays where it is, the orbit turns."""
    still = np.ones((len(share), 1))
    orbit = share[:, None] * [-settings.rise, 0.0, settings.angle]
    return Path(still * [0.0, -1.0, 0.0], still * _LEVEL, still[:, 0], orbit)


def _dolly_zoom(settings: Settings, u: np.ndarray) -> Path:
    if settings.amount >= 1:
        raise UserError("A dolly zoom of 1 or more reaches the subject: give an Amount below 1.")
    return _gliding(_along(1, u * settings.amount), 1 - u * settings.amount)


def _spiral(settings: Settings, u: np.ndarray) -> Path:
    reach, angle = settings.amount * u, 2 * math.pi * u
    return _watching(np.stack([reach * np.cos(angle), reach, -reach * np.sin(angle)], axis=1))


def _sideways(degrees: float) -> Callable[[Settings, np.ndarray], Path]:
    def to_the_angle(_settings: Settings, u: np.ndarray) -> Path:
        angle = math.radians(degrees) * u
        ahead = 1 - np.cos(angle)
        return _watching(np.stack([np.sin(angle), ahead, 0.2 * ahead], axis=1))

    return to_the_angle


def _both_sides(_settings: Settings, u: np.ndarray) -> Path:
    angle = 2 * math.pi * u
    return _watching(np.stack([np.sin(angle), 0 * u, 0.2 * (1 - np.cos(angle))], axis=1))


_ORBIT, _ARC, _DEGREE = math.radians(60), math.radians(30), "EX-4D's own move to {} degrees"
MOVES: dict[str, Move] = {
    "SOURCE": Move(
        "Source View", "A camera at the filmed view, for you to animate", {}, lambda s, u: _gliding(_along(0, 0 * u))
    ),
    "ORBIT": Move("Orbit", "Around the subject", {"angle": _ORBIT, "rise": 0.0}, _turning),
    "ARC": Move(
        "Arc",
        "Past the filmed view, from one side to the other",
        {"angle": _ARC, "rise": 0.0},
        lambda s, u: _turning(s, 2 * u - 1),
    ),
    "DOLLY": Move("Dolly", "Straight ahead, or back", {"amount": 0.4}, lambda s, u: _gliding(_along(1, u * s.amount))),
    "TRUCK": Move("Truck", "Sideways", {"amount": 0.4}, lambda s, u: _gliding(_along(0, u * s.amount))),
    "CRANE": Move(
        "Crane", "Up, looking at the subject", {"amount": 0.5}, lambda s, u: _watching(_along(2, u * s.amount))
    ),
    "SPIRAL": Move("Spiral", "A widening circle while moving ahead", {"amount": 0.25}, _spiral),
    "ZOOM": Move("Zoom", "Only the lens", {"zoom": 1.5}, lambda s, u: _gliding(_along(0, 0 * u), s.zoom**u)),
    "DOLLY_ZOOM": Move(
        "Dolly Zoom", "Ahead while the lens widens: the subject keeps its size", {"amount": 0.4}, _dolly_zoom
    ),
    "REF_30": Move("EX-4D 30°", _DEGREE.format(30), {}, _sideways(30), reference=True),
    "REF_60": Move("EX-4D 60°", _DEGREE.format(60), {}, _sideways(60), reference=True),
    "REF_90": Move("EX-4D 90°", _DEGREE.format(90), {}, _sideways(90), reference=True),
    "REF_180": Move("EX-4D 180°", "EX-4D's own move to both sides and back", {}, _both_sides, reference=True),
    "REF_ZOOM_IN": Move(
        "EX-4D Zoom In", "EX-4D's own move ahead", {}, lambda s, u: _gliding(_along(1, 0.45 * u)), reference=True
    ),
    "REF_ZOOM_OUT": Move(
        "EX-4D Zoom Out", "EX-4D's own move back", {}, lambda s, u: _gliding(_along(1, -0.6 * u)), reference=True
    ),
}
"""By identifier, in the menu's order."""

"""What a scene is made of, and how the cameras move in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .geometry import Mesh, ball

Array = NDArray[np.float64]
Rgb = tuple[float, float, float]

FPS = 12
FOCAL = 0.95
"""Focal length as a share of the width: 34 mm on full frame."""
ANGLES = ("30", "60", "90")
"""How far the target cameras go round in the clip, degrees."""


@dataclass(frozen=True)
class Look:
    """A surface's texture, in linear light."""

    kind: Literal["mottled", "brick", "windows", "checker", "stripes", "sky"]
    first: Rgb
    second: Rgb
    size: float = 0.3
    """Of what is repeated, metres."""


@dataclass(frozen=True)
class Part:
    """A thing of one look."""

    look: Look
    build: Callable[[float], Mesh]
    """Its mesh at a time in seconds; the triangles stay the same ones."""
    moves: bool = False
    smooth: bool = False


@dataclass(frozen=True)
class Scene:
    """A scene and its camera."""

    parts: tuple[Part, ...]
    eye: tuple[float, float, float]
    aim: tuple[float, float, float]
    """The base camera looks here, and target cameras go round it."""
    dolly: tuple[float, float, float]
    """How far the moving source camera travels in the clip to its right, down and ahead, metres."""
    side: int = 1
    """Target cameras go to the right (1) or left (-1)."""

    @property
    def radius(self) -> float:
        """From the base camera to what the target cameras go round, metres."""
        return float(np.linalg.norm(np.subtract(self.aim, self.eye)))

    def source(self, share: float, moving: bool) -> Array:
        """(4, 4) camera-to-world at a share (0..1) of the clip: still, or carried by hand."""
        base = look_at(self.eye, self.aim)
        if not moving:
            return base
        sway = np.array([np.sin(7 * share), np.sin(11 * share), np.sin(9 * share)]) * self.radius * 0.006
        travel = np.asarray(self.dolly) * (share * share * (3 - 2 * share)) + sway
        eye = base[:3, 3] + base[:3, :3] @ travel
        # the hand follows the subject, late and shaking a little
        aim = np.asarray(self.aim) + base[:3, :3] @ (travel * 0.35 + sway[[1, 2, 0]])
        return look_at(eye, aim)

    def target(self, share: float, angle: float) -> Array:
        """(4, 4) camera-to-world on the way round, at a share (0..1) of the clip."""
        turn = np.radians(angle) * share * self.side
        base = look_at(self.eye, self.aim)
        back = np.asarray(self.eye) - np.asarray(self.aim)
        c, s = np.cos(turn), np.sin(turn)
        around = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        pose = np.eye(4)
        pose[:3, :3] = around @ base[:3, :3]
        pose[:3, 3] = np.asarray(self.aim) + around @ back
        return pose


def look_at(eye: ArrayLike, aim: ArrayLike) -> Array:
    """(4, 4) camera-to-world, OpenCV axes (x right, y down, z ahead), upright in a world whose z is up."""
    eye, aim = np.asarray(eye, np.float64), np.asarray(aim, np.float64)
    ahead = (aim - eye) / np.linalg.norm(aim - eye)
    right = np.cross(ahead, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(ahead, right), ahead], axis=-1)
    pose[:3, 3] = eye
    return pose


def resting(look: Look, mesh: Mesh, smooth: bool = False) -> Part:
    """A part that stands still."""
    return Part(look, lambda _: mesh, smooth=smooth)


def sky(radius: float) -> Part:
    """What closes the scene far away, with clouds to hold on to."""
    dome = ball((0, 0, 0), radius, 16, 32)
    return resting(Look("sky", (0.75, 0.8, 0.85), (0.22, 0.42, 0.8), radius * 0.25), dome)

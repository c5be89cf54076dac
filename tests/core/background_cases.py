"""A card that passes before a wall, drawn analytically from anywhere: the truth about a background."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ex4d_core.background import make_background
from ex4d_core.camera import Camera, Intrinsics, Trajectory
from ex4d_core.progress import never_cancelled, silent
from ex4d_core.scene import Scene, write_document, write_scene
from ex4d_core.scene_format import BackgroundDocument

HEIGHT, WIDTH = 72, 96
LENS = Intrinsics.from_focal_px(90.0, WIDTH, HEIGHT)
WALL, CARD = 4.0, 2.0
Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


def _paint(x: NDArray[np.float64], y: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """(..., 3) a smooth colourful texture of a plane, 30..225."""
    waves = np.random.default_rng(seed).normal(size=(3, 10, 3))
    total = np.zeros((*x.shape, 3))
    for c in range(3):
        for a, b, phase in waves[c]:
            total[..., c] += np.sin(5 * a * x + 5 * b * y + 6 * phase)
    return 127.5 + 97.5 * np.tanh(total / 4)


@dataclass(frozen=True)
class World:
    """A wall, and before it a card whose middle is at `card[t]`, scene units to the right."""

    card: tuple[float, ...] = tuple(np.linspace(-0.8, 0.8, 16))
    half: float = 0.22
    camera: tuple[float, ...] | None = None
    """How far right the source camera stands; None: it stays at 0."""
    brightness: tuple[float, ...] | None = None
    walls: tuple[int, ...] = (1,) * 16
    """Which wall there is."""

    @property
    def frames(self) -> int:
        return len(self.card)

    @property
    def c2w(self) -> NDArray[np.float64] | None:
        if self.camera is None:
            return None
        poses = np.tile(np.eye(4), (self.frames, 1, 1))
        poses[:, 0, 3] = self.camera
        return poses

    def seen(self, t: int, right: float, card: bool = True) -> tuple[Bytes, Floats, NDArray[np.bool_]]:
        """Colour, z-depth and where the card is, from a camera that stands so far to the right."""
        x = (np.arange(WIDTH) + 0.5 - LENS.cx) / LENS.fx + np.zeros((HEIGHT, 1))
        y = (np.arange(HEIGHT)[:, None] + 0.5 - LENS.cy) / LENS.fy + np.zeros((1, WIDTH))
        on_card = (np.abs(right + CARD * x - self.card[t]) < self.half) & (np.abs(CARD * y) < 0.5) & card
        color = _paint(right + WALL * x, WALL * y, self.walls[t])
        color = np.where(on_card[..., None], _paint(right + CARD * x - self.card[t], CARD * y, 7), color)
        color *= 1.0 if self.brightness is None else self.brightness[t]
        depth = np.where(on_card, CARD, WALL).astype(np.float32)
        return np.clip(np.rint(color), 0, 255).astype(np.uint8), depth, on_card

    def source(self) -> tuple[Bytes, Floats]:
        """(T, H, W, 3) colour and (T, H, W) depth of the footage."""
        at = self.camera or (0.0,) * self.frames
        looks = [self.seen(t, at[t]) for t in range(self.frames)]
        return np.stack([look[0] for look in looks]), np.stack([look[1] for look in looks])

    def scene(self, folder: Path, cuts: tuple[int, ...] = (), moving: str = "") -> Scene:
        """The footage as a scene with its background."""
        scene = self.bare(folder)
        document = self.background(scene, cuts, moving)
        write_document(scene.path, scene.document.model_copy(update={"background": document, "cuts": list(cuts)}))
        return Scene.open(scene.path, verify=True)

    def bare(self, folder: Path) -> Scene:
        """The footage as a scene without background."""
        color, depth = self.source()
        return write_scene(folder / "world.ex4d", color, depth, fps=Fraction(24), intrinsics=LENS, source_c2w=self.c2w)

    def background(self, scene: Scene, cuts: tuple[int, ...] = (), moving: str = "") -> BackgroundDocument:
        color, depth = self.source()
        lenses = [LENS] * self.frames
        return make_background(
            scene.path,
            scene.document.depth,
            color,
            lambda t: depth[t],
            lenses,
            self.c2w,
            cuts,
            moving,
            silent,
            never_cancelled,
        )


def swaying() -> World:
    """A card that never uncovers what is behind its middle."""
    return replace(World(), card=tuple(0.06 * np.sin(np.arange(16))))


def beside(right: float, times: tuple[float, ...]) -> Trajectory:
    """A camera to the right that looks at some moments."""
    pose = np.eye(4)
    pose[0, 3] = right
    count = len(times)
    lens = np.tile(LENS.as_tuple(), (count, 1))
    return Trajectory(np.stack([pose] * count), lens, np.array(times), WIDTH, HEIGHT, Fraction(24))


def posed(right: float) -> Camera:
    """The same camera."""
    return Camera(beside(right, (0.0,)).c2w[0], LENS)

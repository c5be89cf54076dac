"""A small world of textured boards before a camera whose path is known, rendered with numpy in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.evaluation.drift import Depth, Filmed, drift

WIDTH, HEIGHT = 320, 240
LENS = Intrinsics.from_focal_px(300.0, WIDTH, HEIGHT)
TEXELS = 80
"""Of a texture, to a unit of length."""


@dataclass(frozen=True)
class Board:
    """A textured rectangle that may move."""

    middle: tuple[float, float, float]
    across: tuple[float, float, float]
    """Half of its width, as a vector."""
    down: tuple[float, float, float]
    """Half of its height, likewise."""
    seed: int
    speed: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Units a frame."""

    @cached_property
    def texture(self) -> NDArray[np.float32]:
        """(h, w, 3) float32: blurred noise, as many texels as its size asks for."""
        w, h = (max(8, int(2 * TEXELS * np.linalg.norm(side))) for side in (self.across, self.down))
        noise = np.random.default_rng(self.seed).normal(size=(h, w, 3)).astype(np.float32)
        fine, coarse = cv2.GaussianBlur(noise, (0, 0), 1.5), cv2.GaussianBlur(noise, (0, 0), 8.0)
        return 128 + 40 * (fine / fine.std() + coarse / coarse.std())


ROOM = (
    Board((0, 0, 7), (9, 0, 0), (0, 5, 0), 1),  # the wall behind
    Board((0, 1.3, 5), (6, 0, 0), (0, 0, 4), 2),  # the floor
    Board((-1.3, 0.4, 4), (0.5, 0, 0.2), (0, 0.9, 0), 3),
    Board((1.5, 0.6, 3.2), (0.4, 0, -0.3), (0, 0.7, 0), 4),
)
"""Everything in it stands still."""

WALKER = Board((-1.6, 0.1, 2.2), (0.55, 0, 0), (0, 0.95, 0), 5, (0.06, 0.0, 0.0))
"""A large thing that walks through the room, nearer than everything."""


@dataclass(frozen=True)
class World:
    """Boards, filmed."""

    boards: tuple[Board, ...]
    c2w: NDArray[np.float64]
    """(T, 4, 4) float64: the true path."""
    lenses: tuple[Intrinsics, ...]
    noise: float = 0.0
    """Standard deviation of the sensor's noise, grey levels."""

    def __len__(self) -> int:
        return len(self.c2w)

    def __getitem__(self, frame: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8."""
        color = self._render(frame)[0]
        color = color + self.noise * np.random.default_rng(frame).normal(size=color.shape)
        return np.clip(color, 0, 255).astype(np.uint8)

    def depth(self, frame: int) -> NDArray[np.float32]:
        """(H, W) float32 z-depth."""
        return self._render(frame)[1]

    def still(self, frame: int) -> NDArray[np.bool_]:
        """(H, W) bool: what does not move."""
        return self._render(frame)[2]

    @cached_property
    def _kept(self) -> dict[int, tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]]:
        return {}

    def _render(self, frame: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
        if frame not in self._kept:
            self._kept[frame] = self._rendered(frame)
        return self._kept[frame]

    def _rendered(self, frame: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
        lens, pose = self.lenses[frame], self.c2w[frame]
        x, y = np.meshgrid(np.arange(lens.width) + 0.5, np.arange(lens.height) + 0.5)
        local = np.stack([(x - lens.cx) / lens.fx, (y - lens.cy) / lens.fy, np.ones_like(x)], axis=-1)
        ray = local @ pose[:3, :3].T
        color = np.zeros((lens.height, lens.width, 3), np.float32)
        depth = np.full((lens.height, lens.width), np.inf, np.float32)
        still = np.ones((lens.height, lens.width), bool)
        for board in self.boards:
            across, down = np.array(board.across, float), np.array(board.down, float)
            offset = np.array(board.middle) + frame * np.array(board.speed) - pose[:3, 3]
            normal = np.cross(across, down)
            with np.errstate(divide="ignore", invalid="ignore"):
                z = (normal @ offset) / (ray @ normal)
                hit = ray * z[..., None] - offset
                u, v = hit @ across / (across @ across), hit @ down / (down @ down)
                inside = (z > 0.05) & (z < depth) & (np.abs(u) < 1) & (np.abs(v) < 1)
            h, w = board.texture.shape[:2]
            at = [((c + 1) / 2 * (n - 1)).astype(np.float32) for c, n in ((u, w), (v, h))]
            seen = cv2.remap(board.texture, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            color[inside], depth[inside], still[inside] = seen[inside], z[inside], not any(board.speed)
        return color, depth, still

    def drift(self, c2w: NDArray[np.float64], depth: Depth | None = None) -> float:
        """Of the worst frame, see `evaluation.drift`."""
        truth = Filmed(self.lenses, self.c2w, self.depth, lambda frame: ~self.still(frame))
        return max(drift(truth, frame, c2w, depth) for frame in range(1, len(self), 3))


def walk(frames: int, way: tuple[float, float, float], turn_degrees: float = 0.0) -> NDArray[np.float64]:
    """(T, 4, 4) float64: a hand-held path that ends `way` off and turned about the vertical, frame 0 the identity."""
    c2w = np.tile(np.eye(4), (frames, 1, 1))
    for frame, share in enumerate(np.linspace(0, 1, frames)):
        sway = 0.01 * np.array([np.sin(0.5 * frame), np.sin(0.8 * frame), 0.0])
        turn = np.array([0.01 * np.sin(0.4 * frame), np.radians(turn_degrees) * share, 0.008 * np.sin(0.7 * frame)])
        c2w[frame, :3, :3] = cv2.Rodrigues(turn)[0]
        c2w[frame, :3, 3] = share * np.array(way) + sway
    return c2w


def filmed(boards: tuple[Board, ...], c2w: NDArray[np.float64], noise: float = 0.0) -> World:
    """The boards along a path, with one lens."""
    return World(boards, c2w, (LENS,) * len(c2w), noise)

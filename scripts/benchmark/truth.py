"""Writes a scene's ground truth: depth and visibility by rays, colours as Blender rendered them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.clip import write_lossless
from ex4d_core.images import read_image, write_png
from ex4d_core.presets import Move, make_trajectory

from .geometry import Array
from .rays import Solid, View, lens
from .scene import ANGLES, FOCAL, FPS, Scene

SOURCES = ("static", "moving")
PRESETS = ("30", "60", "90", "180")
"""EX-4D's moves that go to the side."""


@dataclass(frozen=True)
class Plan:
    """What is made of a scene."""

    name: str
    scene: Scene
    size: int
    frames: int
    focal: float = FOCAL
    """Focal length as a share of the width."""
    moves: Literal["orbit", "presets"] = "orbit"
    """The target cameras go round the subject, or as EX-4D's own do."""
    way: float = 1.0
    """Share of the way that the target cameras of an orbit go."""
    sources: tuple[str, ...] = SOURCES
    keys: int = 4
    """How many key frames."""
    burst: int = 5
    """How many consecutive frames have masks, for flicker; 0: none have."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Names of the target cameras' paths."""
        return ANGLES if self.moves == "orbit" else PRESETS

    @property
    def key_frames(self) -> list[int]:
        """The frames of which there is the targets' truth: evenly, the last among them."""
        return sorted({round((self.frames - 1) * share) for share in np.linspace(0, 1, self.keys + 1)} - {0})

    @property
    def burst_frames(self) -> list[int]:
        """Consecutive frames, about two thirds into the clip."""
        count = min(self.burst, self.frames)
        first = min(round(0.67 * (self.frames - 1)) - count // 2, self.frames - count)
        return list(range(max(first, 0), max(first, 0) + count))

    def share(self, frame: int) -> float:
        """How much of the clip is over, 0..1."""
        return frame / max(self.frames - 1, 1)

    def source(self, frame: int, source: str) -> Array:
        """(4, 4) camera-to-world of a source camera."""
        return self.scene.source(self.share(frame), source == "moving")

    @cached_property
    def targets(self) -> dict[str, Array]:
        """By path (T, 4, 4): camera-to-world of the target cameras."""
        if self.moves == "orbit":
            shares = [self.way * self.share(frame) for frame in range(self.frames)]
            return {path: np.stack([self.scene.target(s, float(path)) for s in shares]) for path in ANGLES}
        intrinsics = Intrinsics.from_focal_px(self.focal * self.size, self.size, self.size)
        poses = {}
        for path in PRESETS:
            # 180 comes back: it stops a step before, as the source view is no test
            times = np.arange(self.frames + (path == "180"), dtype=np.float64)
            move = make_trajectory(
                Move(path),
                intrinsics,
                times,
                radius=self.scene.radius,
                fps=Fraction(FPS),
                base=self.source(0, "static"),
            )
            poses[path] = move.c2w[: self.frames]
        return poses

    def see(self, solid: Solid, c2w: Array) -> View:
        """What a camera sees."""
        return solid.see(c2w, self.size, self.focal)

    def shows(self, solid: Solid, points: Array, c2w: Array) -> NDArray[np.bool_]:
        """(N,) which of the points (N, 3) a camera sees."""
        return solid.shows(points, c2w, self.size, self.focal)

    def views(self, work: Path) -> list[dict[str, object]]:
        """What Blender renders, in the order of time."""
        views = []
        for frame in range(self.frames):
            shots = {f"{source}_{frame:03d}": self.source(frame, source) for source in self.sources}
            if frame in self.key_frames:
                shots |= {f"path_{path}_{frame:03d}": self.targets[path][frame] for path in self.paths}
            for shot, c2w in shots.items():
                views.append({"file": str(work / f"{shot}.png"), "seconds": frame / FPS, "c2w": c2w.tolist()})
        return views


def write_truth(plan: Plan, work: Path, out: Path) -> None:
    """Write OUT/NAME-static and OUT/NAME-moving from the colours in `work`."""
    seen: dict[tuple[str, int], View] = {}
    solids: dict[int, Solid] = {}
    for frame in range(plan.frames):
        solids[frame] = solid = Solid(plan.scene.parts, frame / FPS)
        for source in plan.sources:
            seen[source, frame] = plan.see(solid, plan.source(frame, source))
        if frame in {*plan.key_frames, *plan.burst_frames}:
            for path in plan.paths:
                seen[path, frame] = plan.see(solid, plan.targets[path][frame])
    for source in plan.sources:
        _write_variant(plan, source, seen, solids, work, out / f"{plan.name}-{source}")


def _write_variant(
    plan: Plan, source: str, seen: dict[tuple[str, int], View], solids: dict[int, Solid], work: Path, folder: Path
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    poses = [plan.source(frame, source) for frame in range(plan.frames)]
    ranges = {"source": _disparities(folder / "source_disparity", {f: seen[source, f] for f in range(plan.frames)})}
    _masks(folder / "source_dynamic", {frame: seen[source, frame].moves for frame in range(plan.frames)})
    _video(folder / "source.mp4", [work / f"{source}_{frame:03d}.png" for frame in range(plan.frames)])
    moves = {}
    for path in plan.paths:
        name = f"path_{path}"
        views = {frame: seen[path, frame] for frame in plan.key_frames}
        ranges[path] = _disparities(folder / f"{name}_disparity", views)
        visible = {
            frame: plan.shows(solids[frame], seen[path, frame].points.reshape(-1, 3), poses[frame])
            for frame in {*plan.key_frames, *plan.burst_frames}
        }
        ever = {frame: visible[frame].copy() for frame in plan.key_frames}
        for other in range(plan.frames):  # what rests may have been seen at another time
            for frame, view in views.items():
                left = np.nonzero(~ever[frame] & ~view.moves.ravel())[0]
                ever[frame][left] = plan.shows(solids[other], view.points.reshape(-1, 3)[left], poses[other])
        _masks(folder / f"{name}_ever", {f: _square(ever[f]) for f in plan.key_frames})
        _masks(folder / f"{name}_visible", {f: _square(visible[f]) for f in plan.key_frames})
        if plan.burst_frames:
            _masks(folder / f"burst_{path}_visible", {f: _square(visible[f]) for f in plan.burst_frames})
        _video(folder / f"{name}.mp4", [work / f"{name}_{frame:03d}.png" for frame in plan.key_frames])
        moves[name] = np.stack([np.linalg.inv(t) @ s for t, s in zip(plan.targets[path], poses, strict=True)])
    np.savez(folder / "target_from_source.npz", **moves)
    meta = {
        "scene": folder.name,
        "width": plan.size,
        "height": plan.size,
        "frames": plan.frames,
        "fps": FPS,
        "K": lens(plan.size, plan.focal).tolist(),
        "radius": plan.scene.radius,
        "key_frames": plan.key_frames,
        "burst_frames": dict.fromkeys(plan.paths, plan.burst_frames) if plan.burst_frames else {},
        "source_c2w": [pose.tolist() for pose in poses],
        "disparity_range": ranges,
    }
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def _square(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    side = math.isqrt(len(mask))
    return mask.reshape(side, side)


def _disparities(folder: Path, views: dict[int, View]) -> tuple[float, float]:
    """16-bit files of 1 / depth; what 0 and 65535 stand for."""
    folder.mkdir(exist_ok=True)
    low = min(float((1 / view.depth).min()) for view in views.values())
    high = max(float((1 / view.depth).max()) for view in views.values())
    for frame, view in views.items():
        write_png(folder / f"{frame:03d}.png", np.rint((1 / view.depth - low) / (high - low) * 65535).astype(np.uint16))
    return low, high


def _masks(folder: Path, masks: dict[int, np.ndarray]) -> None:
    folder.mkdir(exist_ok=True)
    for frame, mask in masks.items():
        write_png(folder / f"{frame:03d}.png", mask)


def _video(path: Path, files: list[Path]) -> None:
    write_lossless(path, (read_image(file).astype(np.uint8) for file in files), FPS)

"""Writes a scene's ground truth: depth and visibility by rays, colours as Blender rendered them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ex4d_core.clip import write_lossless
from ex4d_core.images import read_image, write_png

from .geometry import Array
from .rays import Solid, View, lens
from .scene import ANGLES, FPS, Scene


@dataclass(frozen=True)
class Plan:
    """What is made of a scene."""

    name: str
    scene: Scene
    size: int
    frames: int

    @property
    def key_frames(self) -> list[int]:
        """The frames of which there is the targets' truth: four, evenly, the last among them."""
        return sorted({round((self.frames - 1) * share) for share in (0.25, 0.5, 0.75, 1.0)} - {0})

    def share(self, frame: int) -> float:
        """How much of the clip is over, 0..1."""
        return frame / max(self.frames - 1, 1)

    def source(self, frame: int, moving: bool) -> Array:
        """(4, 4) camera-to-world of a source camera."""
        return self.scene.source(self.share(frame), moving)

    def target(self, frame: int, angle: int) -> Array:
        """(4, 4) camera-to-world of a target camera."""
        return self.scene.target(self.share(frame), angle)

    def views(self, work: Path) -> list[dict[str, object]]:
        """What Blender renders, in the order of time."""
        views = []
        for frame in range(self.frames):
            shots = {f"{source}_{frame:03d}": self.source(frame, source == "moving") for source in ("static", "moving")}
            if frame in self.key_frames:
                shots |= {f"path_{angle}_{frame:03d}": self.target(frame, angle) for angle in ANGLES}
            for shot, c2w in shots.items():
                views.append({"file": str(work / f"{shot}.png"), "seconds": frame / FPS, "c2w": c2w.tolist()})
        return views


def write_truth(plan: Plan, work: Path, out: Path) -> None:
    """Write OUT/NAME-static and OUT/NAME-moving from the colours in `work`."""
    seen: dict[tuple[str, int], View] = {}
    solids: dict[int, Solid] = {}
    for frame in range(plan.frames):
        solids[frame] = solid = Solid(plan.scene.parts, frame / FPS)
        for source in ("static", "moving"):
            seen[source, frame] = solid.see(plan.source(frame, source == "moving"), plan.size)
        if frame in plan.key_frames:
            for angle in ANGLES:
                seen[str(angle), frame] = solid.see(plan.target(frame, angle), plan.size)
    for source in ("static", "moving"):
        _write_variant(plan, source, seen, solids, work, out / f"{plan.name}-{source}")


def _write_variant(
    plan: Plan, source: str, seen: dict[tuple[str, int], View], solids: dict[int, Solid], work: Path, folder: Path
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    poses = [plan.source(frame, source == "moving") for frame in range(plan.frames)]
    ranges = {"source": _disparities(folder / "source_disparity", {f: seen[source, f] for f in range(plan.frames)})}
    _masks(folder / "source_dynamic", {frame: seen[source, frame].moves for frame in range(plan.frames)})
    _video(folder / "source.mp4", [work / f"{source}_{frame:03d}.png" for frame in range(plan.frames)])
    paths = {}
    for angle in ANGLES:
        name = f"path_{angle}"
        views = {frame: seen[str(angle), frame] for frame in plan.key_frames}
        ranges[str(angle)] = _disparities(folder / f"{name}_disparity", views)
        visible = {
            frame: solids[frame].shows(view.points.reshape(-1, 3), poses[frame], plan.size)
            for frame, view in views.items()
        }
        ever = {frame: mask.copy() for frame, mask in visible.items()}
        for other in range(plan.frames):  # what rests may have been seen at another time
            for frame, view in views.items():
                left = np.nonzero(~ever[frame] & ~view.moves.ravel())[0]
                ever[frame][left] = solids[other].shows(view.points.reshape(-1, 3)[left], poses[other], plan.size)
        for kind, masks in (("visible", visible), ("ever", ever)):
            _masks(folder / f"{name}_{kind}", {f: m.reshape(plan.size, plan.size) for f, m in masks.items()})
        _video(folder / f"{name}.mp4", [work / f"{name}_{frame:03d}.png" for frame in plan.key_frames])
        targets = [plan.target(frame, angle) for frame in range(plan.frames)]
        paths[name] = np.stack([np.linalg.inv(t) @ s for t, s in zip(targets, poses, strict=True)])
    np.savez(folder / "target_from_source.npz", **paths)
    meta = {
        "scene": folder.name,
        "width": plan.size,
        "height": plan.size,
        "frames": plan.frames,
        "fps": FPS,
        "K": lens(plan.size).tolist(),
        "radius": plan.scene.radius,
        "key_frames": plan.key_frames,
        "source_c2w": [pose.tolist() for pose in poses],
        "disparity_range": ranges,
    }
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


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

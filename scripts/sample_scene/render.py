"""Rendering the clip: the still courtyard once and well, then only what moves and its shadows."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
from mathutils import Vector

from . import view
from .meshes import Mover

log = logging.getLogger(__name__)

_PLATE = 5
"""Samples of the still plate, as a multiple of a frame's: it is seen all the time, and paid for once."""
_MARGIN = 16
"""Pixels around what moves, for light that it reflects and for antialiasing."""
_CHANGE = (2.5 / 255, 7.0 / 255)
"""Smoothed differences to the still plate between which a pixel goes over to the new render. Below is noise."""


@dataclass(frozen=True)
class Region:
    """A rectangle of pixels, rows from the top; `x1` and `y1` are exclusive."""

    x0: int
    y0: int
    x1: int
    y1: int

    def slices(self) -> tuple[slice, slice]:
        """For indexing (H, W) arrays."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)


def image_size(quality: view.Quality) -> tuple[int, int]:
    """(width, height) rendered."""
    return view.WIDTH * quality.percent // 100, view.HEIGHT * quality.percent // 100


def clip(
    movers: list[Mover], quality: view.Quality, frames: int, work: Path
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Render the clip from the source camera.

    Finished frames in `work` are used again: an interrupted run goes on.

    Args:
        movers: what to pose for each frame.
        quality: samples of a frame (the still plate gets five times as many) and size.
        frames: number of frames.
        work: folder for `0000.png`, `0000.npy` (z-depth), and the plate.

    Yields:
        Picture (H, W, 3) uint8 sRGB and z-depth (H, W) float32, metres, 1e10 for the sky.
    """
    view.settings(quality)
    view.camera()
    work.mkdir(parents=True, exist_ok=True)
    plate, plate_depth = _plate(movers, quality, work)
    for frame in range(frames):
        picture_path, depth_path = work / f"{frame:04d}.png", work / f"{frame:04d}.npy"
        if not depth_path.exists():
            for mover in movers:
                mover.pose(frame / view.FPS)
            picture, depth = _frame(movers, quality, plate, plate_depth, work)
            view.write_png(picture_path, picture)
            np.save(depth_path, depth)  # last: its presence says that the frame is whole
            log.info("frame %d of %d", frame + 1, frames)
        yield np.round(view.read_image(picture_path) * 255).astype(np.uint8), np.load(depth_path)


def _plate(movers: list[Mover], quality: view.Quality, work: Path) -> tuple[np.ndarray, np.ndarray]:
    """The courtyard without what moves: picture and depth."""
    picture, depth = work / "plate.png", work / "plate.exr"
    if not depth.exists():
        _show(movers, False)
        _set_region(None, quality)
        view.render_colour(picture, view.Quality(_PLATE * quality.samples, quality.percent))
        view.render_depth(depth)
        _show(movers, True)
        log.info("still plate")
    return view.read_image(picture), view.read_image(depth)[..., 0]


def _show(movers: list[Mover], shown: bool) -> None:
    for mover in movers:
        for part in mover.parts():
            part.hide_render = not shown


def _frame(
    movers: list[Mover], quality: view.Quality, plate: np.ndarray, plate_depth: np.ndarray, work: Path
) -> tuple[np.ndarray, np.ndarray]:
    picture, depth = plate.copy(), plate_depth.copy()
    for region in _touched(movers, quality):
        log.debug("%s", region)
        _set_region(region, quality)
        view.render_colour(work / "region.png", quality)
        view.render_depth(work / "region.exr")
        here = region.slices()
        new, new_depth = view.read_image(work / "region.png"), view.read_image(work / "region.exr")[..., 0]
        moved = np.abs(new_depth / plate_depth[here] - 1) > 1e-4
        weight = _weight(np.abs(new - plate[here]).max(-1), moved) * _taper(region, image_size(quality))
        picture[here] += weight[..., None] * (new - picture[here])
        depth[here] = np.where(moved, new_depth, depth[here])
    return picture, depth


def _weight(change: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """How far each pixel of a region goes over to its new render, 0..1."""
    low, high = _CHANGE
    shadow = np.clip((_box_blur(change, 3) - low) / (high - low), 0, 1)
    return np.maximum(_box_blur(shadow, 2), np.minimum(1, 25 * _box_blur(moved.astype(np.float32), 2)))


def _taper(region: Region, size: tuple[int, int]) -> np.ndarray:
    """1 inside a region, falling to 0 at its borders (not at the picture's): neighbours blend without a seam."""

    def ramp(start: int, stop: int, end: int) -> np.ndarray:
        places = np.arange(start, stop) + 0.5
        left = places - start if start else np.full(stop - start, np.inf)
        right = stop - places if stop < end else np.full(stop - start, np.inf)
        return np.clip(np.minimum(left, right) / (_MARGIN / 2), 0, 1)

    return ramp(region.y0, region.y1, size[1])[:, None] * ramp(region.x0, region.x1, size[0])[None]


def _box_blur(values: np.ndarray, radius: int) -> np.ndarray:
    """Mean over squares of 2 radius + 1 pixels."""
    padded = np.pad(values, radius, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * radius + 1, 2 * radius + 1))
    return windows.mean((-1, -2))


def _touched(movers: list[Mover], quality: view.Quality) -> list[Region]:
    """The pixels that what moves and its shadows can change."""
    scene = bpy.context.scene
    bpy.context.view_layer.update()
    parts = [part for mover in movers for part in mover.parts()]
    names = {part.name for part in parts}
    beam = Vector(view.SUNBEAM).normalized()
    points: list[Vector] = []
    for part in parts:
        vertices = part.data.vertices
        step = max(1, len(vertices) // 60)
        for vertex in [*vertices][::step]:
            point = part.matrix_world @ vertex.co
            points.append(point)
            if point.y < 15 and (shadow := _shadow(scene, point, beam, names)) is not None:
                points.append(shadow)
    width, height = image_size(quality)
    focal = view.FOCAL_PX * width / view.WIDTH
    world = np.array([p[:] for p in points if p.y > 0.1])
    x = width / 2 + focal * world[:, 0] / world[:, 1]
    y = height / 2 - focal * (world[:, 2] - view.EYE_HEIGHT) / world[:, 1]
    cells = sorted(set(zip((x // _MARGIN).astype(int).tolist(), (y // _MARGIN).astype(int).tolist(), strict=True)))
    return [r for part in _cover(cells) if (r := _rectangle(part, width, height))]


def _cover(cells: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Split squares (column, row) by straight cuts wherever two rectangles are cheaper to render than one."""
    best, parts = _cost(cells), None
    for axis in (0, 1):
        for cut in sorted({cell[axis] for cell in cells})[1:]:
            halves = [c for c in cells if c[axis] < cut], [c for c in cells if c[axis] >= cut]
            if (cost := _cost(halves[0]) + _cost(halves[1])) < best:
                best, parts = cost, halves
    return [cells] if parts is None else [*_cover(parts[0]), *_cover(parts[1])]


def _cost(cells: list[tuple[int, int]]) -> int:
    """Of rendering the rectangle around some squares and a margin of one: its squares and a fixed charge."""
    columns, rows = [i for i, _ in cells], [j for _, j in cells]
    return (max(columns) - min(columns) + 3) * (max(rows) - min(rows) + 3) + 20


def _rectangle(cells: list[tuple[int, int]], width: int, height: int) -> Region | None:
    """The pixels of some squares and a margin of one; None where they are out of the picture."""
    columns, rows = [i for i, _ in cells], [j for _, j in cells]
    x0, x1 = (min(max(v * _MARGIN, 0), width) for v in (min(columns) - 1, max(columns) + 2))
    y0, y1 = (min(max(v * _MARGIN, 0), height) for v in (min(rows) - 1, max(rows) + 2))
    return Region(x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def _shadow(scene: bpy.types.Scene, point: Vector, beam: Vector, movers: set[str]) -> Vector | None:
    """Where the sunbeam through a point ends on something that stands still."""
    graph = bpy.context.evaluated_depsgraph_get()
    for _ in range(20):
        hit, place, _, _, thing, _ = scene.ray_cast(graph, point, beam)
        if not hit:
            return None
        if thing.name not in movers:
            return place
        point = place + 1e-4 * beam
    return None


def _set_region(region: Region | None, quality: view.Quality) -> None:
    """Render only these pixels and write only them; None for the whole picture."""
    render = bpy.context.scene.render
    render.use_border = render.use_crop_to_border = region is not None
    if region:
        width, height = image_size(quality)
        # Blender cuts fractions of pixels off; a quarter keeps rounding from taking a whole one.
        render.border_min_x, render.border_max_x = (region.x0 + 0.25) / width, (region.x1 + 0.25) / width
        render.border_min_y = (height - region.y1 + 0.25) / height
        render.border_max_y = (height - region.y0 + 0.25) / height

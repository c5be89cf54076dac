"""Everything that grows: canopies of leaf cards, potted plants, cypresses, flowers."""

from __future__ import annotations

import math

import bpy
import numpy as np

from . import materials as mat
from .meshes import Point, blob, cards, joint, lathe, lumpy, tube

# A pointed leaf one metre long along +y, folded along its midrib and drooping at the tip.
LEAF = np.array(
    [
        (0.0, 0.0, 0.0),
        (0.0, 0.35, 0.05),
        (0.0, 0.72, 0.03),
        (0.0, 1.0, -0.08),
        (-0.22, 0.3, 0.13),
        (-0.2, 0.66, 0.1),
        (0.22, 0.3, 0.13),
        (0.2, 0.66, 0.1),
    ]
)
LEAF_FACES = [(0, 1, 4), (4, 1, 2, 5), (5, 2, 3), (0, 6, 1), (6, 7, 2, 1), (7, 3, 2)]


def frames(y: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Rotations (K, 3, 3) whose second column is `y` and whose third is as near `up` as can be."""
    y = y / np.linalg.norm(y, axis=1, keepdims=True)
    x = np.cross(y, up)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return np.stack([x, y, np.cross(x, y)], -1)


def placements(rotation: np.ndarray, size: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Transforms (K, 4, 4) that scale by `size` (K,), turn, then move."""
    placed = np.tile(np.eye(4), (len(position), 1, 1))
    placed[:, :3, :3] = rotation * size[:, None, None]
    placed[:, :3, 3] = position
    return placed


def canopy(
    name: str,
    size: Point,
    leaf: bpy.types.Material,
    core: bpy.types.Material,
    rng: np.random.Generator,
    *,
    count: int,
    leaf_size: float,
    at: Point,
    parent: bpy.types.Object | None = None,
    lumps: float = 0.25,
) -> bpy.types.Object:
    """A lumpy ellipsoid thatched with leaves; its core hides what is behind, so depth stays whole."""
    thing = blob(name, size, core, at=at, parent=parent)
    lumpy(thing, lumps, 2.2 / max(size), float(rng.uniform(0, 50)))
    base = np.array([v.co[:] for v in thing.data.vertices])
    index = rng.choice(len(base), count, p=_even(base))
    outwards = base[index] / np.array(size) ** 2
    outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
    drift = rng.normal(size=(count, 3)) + np.array([0, 0, -0.7])
    along = drift - (drift * outwards).sum(1, keepdims=True) * outwards
    along = along / np.linalg.norm(along, axis=1, keepdims=True) + 0.55 * outwards
    sizes = leaf_size * rng.uniform(0.7, 1.25, count)
    position = base[index] * rng.uniform(0.93, 1.02, (count, 1)) + rng.normal(scale=leaf_size / 4, size=(count, 3))
    # New growth at the top is lighter.
    tints = np.clip(rng.normal(0.45, 0.2, count) + 0.25 * outwards[:, 2], 0, 1)
    cards(
        f"{name} leaves",
        LEAF,
        LEAF_FACES,
        placements(frames(along, outwards), sizes, position),
        tints,
        leaf,
        parent=thing,
    )
    return thing


def _even(points: np.ndarray) -> np.ndarray:
    """Weights that undo the crowding of a sphere's grid at its poles."""
    ring = np.hypot(points[:, 0], points[:, 1])
    return (ring + 1e-3 * ring.max()) / (ring + 1e-3 * ring.max()).sum()


def pot(
    name: str, radius: float, height: float, material: bpy.types.Material, at: Point, soil: bpy.types.Material
) -> bpy.types.Object:
    """A rimmed flower pot with soil, standing at `at`."""
    r, h = radius, height
    profile = [(0, 0), (0.62 * r, 0), (0.68 * r, 0.02), (0.92 * r, 0.8 * h), (1.04 * r, 0.81 * h)]
    profile += [(1.08 * r, 0.98 * h), (1.04 * r, h), (0.94 * r, h), (0.9 * r, 0.9 * h)]
    thing = lathe(name, profile, material, at=at)
    lathe(f"{name} soil", [(0.91 * r, 0.0), (0.5 * r, 0.02), (0, 0.03)], soil, at=(0, 0, 0.9 * h), parent=thing)
    return thing


def fountain_of_leaves(
    name: str,
    leaf: bpy.types.Material,
    rng: np.random.Generator,
    *,
    at: Point,
    count: int,
    length: float,
    width: float,
    upright: float,
    parent: bpy.types.Object | None = None,
) -> bpy.types.Object:
    """A rosette of long arching leaves, each a ribbon of its own curve."""
    root = joint(name, at, parent)
    rows = 9
    t = np.linspace(0, 1, rows)
    profile = width * np.sin(np.pi * np.clip(t * 0.94 + 0.06, 0, 1)) ** 0.8
    for k in range(count):
        azimuth = 2 * math.pi * (k * 0.381966) + rng.uniform(-0.25, 0.25)
        reach = length * rng.uniform(0.75, 1.1)
        rise = upright * rng.uniform(0.75, 1.1) * (1.15 - 0.55 * k / count)
        out = reach * (0.25 * t + 0.6 * t**2) * (0.55 + 0.45 * k / count)
        up = rise * (1.6 * t - 0.95 * t**2.2)
        middle = np.stack([out, np.zeros(rows), up], 1)
        fold = np.stack([np.zeros(rows), profile, 0.35 * profile], 1)
        points = np.concatenate([middle, middle + fold, middle + fold * [1, -1, 1]])
        c, s = math.cos(azimuth), math.sin(azimuth)
        points = points @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
        faces = [(i, i + 1, rows + i + 1, rows + i) for i in range(rows - 1)]
        faces += [(i + 1, i, 2 * rows + i, 2 * rows + i + 1) for i in range(rows - 1)]
        cards(f"{name} {k}", points, faces, np.eye(4)[None], rng.uniform(0, 1, 1), leaf, parent=root)
    return root


def cypress(
    name: str, height: float, radius: float, leaf: bpy.types.Material, rng: np.random.Generator, at: Point
) -> None:
    """A slender column of dark green."""
    t = np.linspace(0, 1, 30)
    r = radius * np.sin(np.pi * np.clip(t, 0, 1) ** 0.7) ** 0.75 * (1 - 0.45 * t)
    thing = lathe(name, list(zip(r, 0.15 + t * height, strict=True)), leaf, at=at, sides=36)
    for vertex in thing.data.vertices:
        vertex.co.xy *= 1 + 0.14 * math.sin(9 * vertex.co.z + 5 * math.atan2(vertex.co.y, vertex.co.x))
    count = 900
    z = rng.uniform(0.02, 0.97, count)
    angle = rng.uniform(0, 2 * np.pi, count)
    ring = np.interp(z, t, r)
    position = np.stack([ring * np.cos(angle), ring * np.sin(angle), 0.15 + z * height], 1)
    outwards = np.stack([np.cos(angle), np.sin(angle), np.full(count, 0.3)], 1)
    along = np.stack([0.45 * np.cos(angle), 0.45 * np.sin(angle), np.ones(count)], 1)
    sizes = rng.uniform(0.16, 0.3, count)
    placed = placements(frames(along, outwards), sizes, position)
    tint = np.clip(rng.normal(0.4, 0.2, count), 0, 1)
    cards(f"{name} leaves", LEAF, LEAF_FACES, placed, tint, leaf, parent=thing)


def flowers(
    name: str,
    petal: bpy.types.Material,
    stalk: bpy.types.Material,
    leaf: bpy.types.Material,
    rng: np.random.Generator,
    *,
    at: Point,
    spread: tuple[float, float],
    height: float,
    count: int,
    head: float = 0.045,
    parent: bpy.types.Object | None = None,
) -> None:
    """A box or bed of round flower heads over a cushion of leaves."""
    root = joint(name, at, parent)
    x, y = spread
    canopy(
        f"{name} green",
        (2 * x, 2 * y, height),
        leaf,
        stalk,
        rng,
        count=int(260 * max(x, 0.15) / 0.3),
        leaf_size=0.09,
        at=(0, 0, 0.15 * height),
        parent=root,
        lumps=0.1,
    )
    for k in range(count):
        u, v = rng.uniform(-0.85, 0.85), rng.uniform(-0.9, 0.9)
        z = height * (0.15 + 0.5 * math.sqrt(max(0.0, 1 - u * u * 0.7 - v * v * 0.6))) + rng.uniform(0, 0.05)
        bloom = blob(f"{name} bloom {k}", (2 * head, 2 * head, 1.5 * head), petal, segments=16, parent=root)
        bloom.location = (u * x, v * y, z + head / 2)
        bloom.rotation_euler = (rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5), 0)


def sunflower(
    name: str,
    petal: bpy.types.Material,
    heart: bpy.types.Material,
    green: bpy.types.Material,
    leaf: bpy.types.Material,
    *,
    at: Point,
    height: float,
    turn: float,
    size: float = 0.13,
) -> None:
    """One big flower facing the camera, turned `turn` degrees about z."""
    root = joint(name, at, turn=(0, 0, turn))
    tube(f"{name} stalk", [(0, 0, 0), (0.02, 0.02, 0.5 * height), (0, 0, height)], 0.014, green, parent=root)
    face = joint(f"{name} face", (0, -0.02, height), root, turn=(72, 0, 0))
    blob(f"{name} heart", (0.95 * size, 0.95 * size, 0.4 * size), heart, segments=24, parent=face)
    ring = 18
    angle = 2 * np.pi * np.arange(2 * ring) / ring
    along = np.stack([np.cos(angle), np.sin(angle), np.where(np.arange(2 * ring) < ring, 0.05, 0.35)], 1)
    up = np.tile([0.0, 0.0, 1.0], (2 * ring, 1))
    placed = placements(frames(along, up), np.full(2 * ring, 0.85 * size), along * 0.38 * size)
    tint = np.linspace(0, 1, 2 * ring)
    cards(f"{name} petals", LEAF * [1.1, 1, 1], LEAF_FACES, placed, tint, petal, parent=face)
    angle = np.array([0.3, 2.6, 4.4])
    along = np.stack([np.cos(angle), np.sin(angle), np.full(3, 0.3)], 1)
    placed = placements(
        frames(along, up[:3]), np.full(3, 0.24), np.array([[0, 0, 0.35], [0, 0, 0.5], [0, 0, 0.6]]) * height
    )
    cards(f"{name} foliage", LEAF, LEAF_FACES, placed, np.array([0.3, 0.6, 0.5]), leaf, parent=root)


def greens() -> dict[str, bpy.types.Material]:
    """The shades of green and of blossom that the scene uses."""
    return {
        "citrus": mat.leaves("citrus leaves", "2f5a23", "4f8530", "8fb548"),
        "broad": mat.leaves("broad leaves", "1f5a3a", "2f7d48", "6aa84f", roughness=0.3),
        "dark": mat.leaves("cypress leaves", "1c3d22", "2c5230", "4c7342", roughness=0.7),
        "bush": mat.leaves("bush leaves", "3b6b2c", "5f8f3a", "a3bd57"),
        "pink": mat.leaves("bougainvillea", "b3246e", "d93a8c", "f07ab0", roughness=0.6),
        "petal": mat.leaves("sunflower petals", "f0a010", "f8bc22", "ffd84a", roughness=0.6),
        "core": mat.painted("shade inside", "2a4a20", 0.9),
    }

"""Turning arrays of points into Blender objects; every solid of the scene comes from here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import bpy
import numpy as np
from mathutils import Matrix, Vector, noise

Point = tuple[float, float, float]
Faces = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Mover:
    """Something that moves during the clip."""

    root: bpy.types.Object
    """It and all that hangs on it."""
    pose: Callable[[float], None]
    """Places it for a time in seconds."""

    def parts(self) -> list[bpy.types.Object]:
        """Its mesh objects."""
        return [thing for thing in self.root.children_recursive if thing.type == "MESH"]


def mesh_object(
    name: str,
    vertices: Sequence[Point] | np.ndarray,
    faces: Faces | np.ndarray,
    material: bpy.types.Material,
    *,
    at: Point = (0, 0, 0),
    turn: Point = (0, 0, 0),
    parent: bpy.types.Object | None = None,
    smooth: bool = True,
    bevel: float = 0.0,
) -> bpy.types.Object:
    """Link a new mesh object.

    Args:
        name: object name.
        vertices: (N, 3) positions, metres, object space.
        faces: vertex indices of each polygon, counter-clockwise seen from outside.
        material: its one material.
        at: location in the parent's space, metres.
        turn: XYZ Euler angles, degrees.
        parent: object to hang it on.
        smooth: shade faces smoothly (edges sharper than 40 degrees stay sharp).
        bevel: width of rounded edges, metres; 0 for none.
    """
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata([tuple(map(float, v)) for v in vertices], [], [tuple(map(int, f)) for f in faces])
    mesh.materials.append(material)
    if smooth:
        mesh.shade_smooth()
        mesh.set_sharp_from_angle(angle=math.radians(40))
    thing = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(thing)
    thing.location = at
    thing.rotation_euler = [math.radians(a) for a in turn]
    thing.parent = parent
    if bevel:
        rounding = thing.modifiers.new("bevel", "BEVEL")
        rounding.width, rounding.segments, rounding.limit_method = bevel, 2, "ANGLE"
    return thing


def joint(name: str, at: Point, parent: bpy.types.Object | None = None, turn: Point = (0, 0, 0)) -> bpy.types.Object:
    """An empty that other objects hang on."""
    thing = bpy.data.objects.new(name, None)
    bpy.context.scene.collection.objects.link(thing)
    thing.location = at
    thing.rotation_euler = [math.radians(a) for a in turn]
    thing.parent = parent
    return thing


def box(name: str, size: Point, material: bpy.types.Material, *, bevel: float = 0.01, **place) -> bpy.types.Object:
    """A box of the given size around its location."""
    x, y, z = (s / 2 for s in size)
    vertices = [(i * x, j * y, k * z) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return mesh_object(name, vertices, faces, material, smooth=False, bevel=bevel, **place)


def lathe(
    name: str,
    profile: Sequence[tuple[float, float]],
    material: bpy.types.Material,
    *,
    sides: int = 40,
    **place,
) -> bpy.types.Object:
    """A solid of revolution about z.

    Args:
        name: object name.
        profile: (radius, z) from bottom to top, metres; radius 0 closes an end.
        material: its material.
        sides: number of segments around.
        place: as for `mesh_object`.
    """
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    vertices = [(r * c, r * s, z) for r, z in profile for c, s in zip(np.cos(angle), np.sin(angle), strict=True)]
    faces = [
        (k * sides + i, k * sides + (i + 1) % sides, (k + 1) * sides + (i + 1) % sides, (k + 1) * sides + i)
        for k in range(len(profile) - 1)
        for i in range(sides)
    ]
    return mesh_object(name, vertices, faces, material, **place)


def blob(
    name: str,
    size: Point,
    material: bpy.types.Material,
    *,
    square: float = 1.0,
    segments: int = 40,
    **place,
) -> bpy.types.Object:
    """A superellipsoid: `square` 1 is an ellipsoid, towards 0 a box with round edges.

    Args:
        name: object name.
        size: full extents, metres.
        material: its material.
        square: exponent of both directions.
        segments: segments around; half as many from pole to pole.
        place: as for `mesh_object`.
    """

    def power(value: np.ndarray) -> np.ndarray:
        return np.sign(value) * np.abs(value) ** square

    rows = segments // 2
    v = np.linspace(-np.pi / 2, np.pi / 2, rows + 1)[:, None]
    u = np.linspace(-np.pi, np.pi, segments, endpoint=False)[None]
    x = power(np.cos(v)) * power(np.cos(u))
    y = power(np.cos(v)) * power(np.sin(u))
    z = np.broadcast_to(power(np.sin(v)), x.shape)
    vertices = np.stack([x, y, z], -1).reshape(-1, 3) * np.array(size) / 2
    faces = [
        (
            k * segments + i,
            k * segments + (i + 1) % segments,
            (k + 1) * segments + (i + 1) % segments,
            (k + 1) * segments + i,
        )
        for k in range(rows)
        for i in range(segments)
    ]
    return mesh_object(name, vertices, faces, material, **place)


def tube(
    name: str,
    points: Sequence[Point],
    radius: float | Sequence[float],
    material: bpy.types.Material,
    *,
    sides: int = 12,
    **place,
) -> bpy.types.Object:
    """A round tube along a polyline, with closed ends; `radius` is one or one per point, metres."""
    path = [Vector(p) for p in points]
    radii = [radius] * len(path) if isinstance(radius, float | int) else list(radius)
    vertices: list[Vector] = []
    side = Vector((0, 0, 1))
    for i, p in enumerate(path):
        along = (path[min(i + 1, len(path) - 1)] - path[max(i - 1, 0)]).normalized()
        if i == 0:
            side = along.orthogonal().normalized()
        side = (side - along * side.dot(along)).normalized()
        for k in range(sides):
            spin = Matrix.Rotation(2 * math.pi * k / sides, 3, along)
            vertices.append(p + spin @ side * radii[i])
    faces: list[Sequence[int]] = [
        (k * sides + i, k * sides + (i + 1) % sides, (k + 1) * sides + (i + 1) % sides, (k + 1) * sides + i)
        for k in range(len(path) - 1)
        for i in range(sides)
    ]
    faces += [tuple(range(sides))[::-1], tuple(range((len(path) - 1) * sides, len(path) * sides))]
    return mesh_object(name, [tuple(v) for v in vertices], faces, material, **place)


def prism(
    name: str,
    outline: Sequence[tuple[float, float]],
    thickness: float,
    material: bpy.types.Material,
    **place,
) -> bpy.types.Object:
    """An upright slab: `outline` (x, z) counter-clockwise seen from the camera, extruded along +y."""
    n = len(outline)
    vertices = [(x, 0.0, z) for x, z in outline] + [(x, thickness, z) for x, z in outline]
    faces: list[Sequence[int]] = [tuple(range(n)), tuple(range(2 * n - 1, n - 1, -1))]
    faces += [(i, i + n, (i + 1) % n + n, (i + 1) % n) for i in range(n)]
    return mesh_object(name, vertices, faces, material, smooth=False, **place)


def arch(width: float, spring: float, steps: int = 20, *, centre: float = 0.0) -> list[tuple[float, float]]:
    """The (x, z) points of a round arch from its right foot over the top to its left foot."""
    half = width / 2
    top = [(centre + half * math.cos(a), spring + half * math.sin(a)) for a in np.linspace(0, math.pi, steps + 1)]
    return [(centre + half, 0.0), *top, (centre - half, 0.0)]


def lumpy(thing: bpy.types.Object, amount: float, scale: float, seed: float) -> None:
    """Push a mesh's vertices in and out along their direction from the object's origin."""
    for vertex in thing.data.vertices:
        lump = noise.noise(vertex.co * scale + Vector((seed, 0, 0)))
        vertex.co *= 1 + amount * lump


def cards(
    name: str,
    shape: np.ndarray,
    faces: Faces,
    placements: np.ndarray,
    tints: np.ndarray,
    material: bpy.types.Material,
    **place,
) -> bpy.types.Object:
    """Many copies of one small shape in one mesh, each with a `tint` for its material.

    Args:
        name: object name.
        shape: (N, 3) points of one card.
        faces: its polygons.
        placements: (K, 4, 4) transforms.
        tints: (K,) values 0..1.
        material: reads the point attribute `tint`.
        place: as for `mesh_object`.
    """
    homogeneous = np.concatenate([shape, np.ones((len(shape), 1))], 1)
    vertices = np.einsum("kij,nj->kni", placements, homogeneous)[..., :3].reshape(-1, 3)
    every = [[i + k * len(shape) for i in face] for k in range(len(placements)) for face in faces]
    thing = mesh_object(name, vertices, every, material, **place)
    attribute = thing.data.attributes.new("tint", "FLOAT", "POINT")
    attribute.data.foreach_set("value", np.repeat(tints, len(shape)).astype(np.float32))
    return thing

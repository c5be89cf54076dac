"""The place: paving, two house walls, a garden wall with an arch, hills and sky-high things behind."""

from __future__ import annotations

import math

import bpy
import numpy as np
from mathutils import Vector, noise

from . import materials as mat
from .meshes import Mover, arch, blob, box, joint, lathe, mesh_object, prism, tube

BACK = 7.6
"""y of the facade and the garden wall, metres."""
LEFT = -1.9
"""x of the left wing's wall, metres."""
CORNER = 1.25
"""x of the facade's right end, metres."""


def build(rng: np.random.Generator) -> None:
    """Everything that stands still and does not grow."""
    _ground()
    _facade()
    _left_wing()
    _plates()
    _garden_wall()
    _hills()


def _rectangle(name: str, x: tuple[float, float], y: tuple[float, float], z: float, material) -> None:
    corners = [(x[0], y[0], z), (x[1], y[0], z), (x[1], y[1], z), (x[0], y[1], z)]
    mesh_object(name, corners, [(0, 1, 2, 3)], material, smooth=False)


def _ground() -> None:
    _rectangle("paving", (-8, 9), (-6, BACK + 0.3), 0.0, mat.paving())
    _rectangle("meadow", (-90, 90), (BACK + 0.3, 90), -0.02, mat.distant("meadow", "8a9a4a", "8a9a4a", 0, 1))
    _rectangle("path", (1.9, 3.2), (BACK + 0.25, 30), -0.01, mat.painted("gravel", "d6bd94", 0.9, wear=0.1))


def _facade() -> None:
    wall = mat.plaster("ochre plaster", "efcf95", "dba866")
    stone = mat.painted("trim stone", "e6d8c0", 0.8)
    door = arch(1.0, 1.5, centre=-1.05)[::-1]
    outline = [(LEFT - 0.4, 0.0), *door, (CORNER, 0.0), (CORNER, 4.4), (LEFT - 0.4, 4.4)]
    prism("facade", outline, 0.3, wall, at=(0, BACK, 0))
    _door(stone)
    for name, x, z in (("window left", -1.05, 2.9), ("window right", 0.35, 2.9)):
        window(name, stone, width=0.62, height=0.85, at=(x, BACK, z))
    window("shop window", stone, width=0.95, height=0.8, shutters=False, at=(0.35, BACK, 1.45))
    for row in range(11):
        long = row % 2 == 0
        size = (0.34 if long else 0.22, 0.34, 0.37)
        box(f"quoin {row}", size, stone, bevel=0.015, at=(CORNER - size[0] / 2 + 0.03, BACK + 0.13, 0.19 + 0.395 * row))
    box("plinth", (1.75, 0.08, 0.3), stone, at=(0.36, BACK - 0.02, 0.15))
    box("plinth left", (0.35, 0.08, 0.3), stone, at=(-1.75, BACK - 0.02, 0.15))
    box("ledge", (CORNER - LEFT, 0.12, 0.1), stone, at=((CORNER + LEFT) / 2, BACK - 0.02, 2.2))


def _door(stone: bpy.types.Material) -> None:
    planks = mat.wood("door planks", "4d7a70", "2f5650", along="z", roughness=0.5)
    iron = mat.metal("iron", "3c3a38", 0.45)
    outer = arch(1.24, 1.5, centre=-1.05)
    inner = arch(1.0, 1.5, centre=-1.05)
    prism("door frame", [*outer, *inner[::-1]][::-1], 0.12, stone, at=(0, BACK - 0.05, 0), bevel=0.01)
    for k in range(5):
        x = -1.45 + 0.2 * k
        top = 1.5 + math.sqrt(max(0.0, 0.25 - (x + 1.05) ** 2))
        box(f"plank {k}", (0.19, 0.05, top + 0.06), planks, bevel=0.012, at=(x, BACK + 0.2, (top + 0.06) / 2))
    box("door back", (1.2, 0.02, 2.1), planks, at=(-1.05, BACK + 0.24, 1.05))  # no light between the planks
    for z in (0.45, 1.45):
        box(f"hinge {z}", (0.85, 0.02, 0.06), iron, at=(-1.1, BACK + 0.17, z))
    lathe(
        "knob", [(0, 0), (0.035, 0.01), (0.035, 0.04), (0, 0.06)], iron, at=(-0.72, BACK + 0.16, 1.0), turn=(90, 0, 0)
    )
    box("step", (1.35, 0.45, 0.12), stone, bevel=0.02, at=(-1.05, BACK - 0.2, 0.06))


def window(
    name: str,
    stone: bpy.types.Material,
    *,
    width: float,
    height: float,
    at: tuple[float, float, float],
    turn: float = 0.0,
    shutters: bool = True,
) -> bpy.types.Object:
    """A framed window proud of the wall, centred at `at`, facing -y before `turn` (degrees about z)."""
    root = joint(name, at, turn=(0, 0, turn))
    box(f"{name} pane", (width, 0.03, height), _once(mat.glass, "pane", "27363d"), at=(0, -0.01, 0), parent=root)
    bar = _once(mat.painted, "window bars", "f3ead8", 0.5)
    for dx in (-width / 2, 0, width / 2):
        box(f"{name} post", (0.045, 0.07, height + 0.04), bar, at=(dx, -0.03, 0), parent=root)
    for dz in (-height / 2, 0.12 * height, height / 2):
        box(f"{name} rail", (width + 0.04, 0.06, 0.045), bar, at=(0, -0.03, dz), parent=root)
    box(f"{name} sill", (width + 0.25, 0.2, 0.07), stone, at=(0, -0.06, -height / 2 - 0.06), parent=root)
    box(f"{name} lintel", (width + 0.2, 0.12, 0.12), stone, at=(0, -0.03, height / 2 + 0.09), parent=root)
    if shutters:
        paint = _once(mat.painted, "shutters", "5d8f96", 0.5)
        for side in (-1, 1):
            leaf = joint(f"{name} shutter", (side * (width / 2 + 0.03), -0.06, 0), root, turn=(0, 0, side * 14))
            centre = side * width / 4
            box(f"{name} board", (width / 2, 0.03, height), paint, at=(centre, 0, 0), parent=leaf)
            for k in range(7):
                z = (k - 3) * height / 8
                slat = box(f"{name} slat", (width / 2 - 0.08, 0.03, 0.06), paint, at=(centre, -0.02, z), parent=leaf)
                slat.rotation_euler.x = 0.5
    return root


def _once(make, name: str, *args) -> bpy.types.Material:
    """The material of this name, made on first use."""
    return bpy.data.materials.get(name) or make(name, *args)


def _left_wing() -> None:
    wall = mat.plaster("rose plaster", "e0a184", "c67f63")
    stone = bpy.data.materials["trim stone"]
    box("left wing", (0.4, 10.0, 4.4), wall, bevel=0, at=(LEFT - 0.2, BACK - 5.0, 2.2))
    window("wing window", stone, width=0.75, height=0.95, at=(LEFT, 5.75, 1.75), turn=90)
    iron = bpy.data.materials["iron"]
    lamp = mat.glowing("lamp glass", "ffd9a0", 1.5)
    arm = joint("lantern", (LEFT, 6.65, 2.35), turn=(0, 0, 0))
    tube("bracket", [(0, 0, 0.1), (0.2, 0, 0.16), (0.32, 0, 0.1), (0.32, 0, 0.03)], 0.016, iron, parent=arm)
    shade = [(0.0, 0.0), (0.13, -0.06), (0.13, -0.08), (0.09, -0.08)]
    lathe("lantern hood", shade[::-1], iron, sides=6, at=(0.32, 0, 0.05), parent=arm)
    lathe(
        "lantern light",
        [(0, -0.3), (0.06, -0.3), (0.1, -0.06), (0, -0.06)],
        lamp,
        sides=6,
        at=(0.32, 0, 0.05),
        parent=arm,
    )


def _plates() -> None:
    """Painted plates on the wing's wall, between the window and the camera."""
    for k, (y, z, r, rim, heart) in enumerate(
        (
            (4.45, 1.72, 0.17, "3d7ea6", "f4ecd8"),
            (4.12, 1.42, 0.13, "f0b93a", "f4ecd8"),
            (4.5, 1.28, 0.12, "f4ecd8", "d9503f"),
        )
    ):
        at, turn = (LEFT, y, z), (0, 90, 0)
        glaze = mat.painted(f"plate {k}", rim, 0.2, coat=0.8)
        lathe(
            f"plate {k}",
            [(0.6 * r, 0.0), (r, 0.035), (r, 0.045), (0.62 * r, 0.014), (0, 0.014)],
            glaze,
            at=at,
            turn=turn,
        )
        lathe(
            f"plate heart {k}",
            [(0.5 * r, 0.016), (0, 0.02)],
            mat.painted(f"plate heart {k}", heart, 0.25),
            at=at,
            turn=turn,
        )


def _garden_wall() -> None:
    wall = mat.plaster("cream plaster", "f2e2c0", "d9bd90")
    stone = bpy.data.materials["trim stone"]
    tiles = mat.clay("roof tiles", "cf7648", "a0502f")
    gate = 2.6
    gap = arch(1.0, 1.25, centre=gate)[::-1]
    crest = [(gate + 0.95, 1.75), (gate + 0.85, 2.05), (gate + 0.5, 2.25), (gate, 2.32)]
    crest += [(2 * gate - x, z) for x, z in crest[-2::-1]]
    outline = [(CORNER, 0.0), *gap, (9.0, 0.0), (9.0, 1.75), *crest, (CORNER, 1.75)]
    prism("garden wall", outline, 0.3, wall, at=(0, BACK, 0))
    ring = [*arch(1.22, 1.25, centre=gate), *gap][::-1]
    prism("gate frame", ring, 0.4, stone, at=(0, BACK - 0.05, 0), bevel=0.01)
    for side, start, stop in (("left", CORNER + 0.1, gate - 0.95), ("right", gate + 1.0, 8.8)):
        for k in range(int((stop - start) / 0.19)):
            x = start + 0.1 + 0.19 * k
            tube(
                f"tile {side} {k}", [(x, BACK - 0.1, 1.74), (x, BACK + 0.15, 1.84), (x, BACK + 0.4, 1.74)], 0.088, tiles
            )


def _hills() -> None:
    """Three ridges, each bluer and higher than the one before it."""
    layers = (
        ("near hill", 20.0, 2.2, 2.0, "6f8a3c", "7d9a48", 3.0),
        ("far hill", 36.0, 6.0, 3.6, "7fa07a", "8bac92", 8.0),
        ("mountain", 56.0, 9.5, 6.5, "8fb0b8", "a3bfcb", 21.0),
    )
    for name, y, base, swing, low, high, seed in layers:
        material = mat.distant(f"{name} haze", low, high, 0, base + swing)
        across = np.linspace(-1.6 * y, 1.6 * y, 160)
        crest = [base + swing * noise.fractal(Vector((x / y * 2.2, seed, 0)), 1.0, 2.0, 4) for x in across]
        vertices = [(x, y, -0.5) for x in across] + [(x, y + 3, z) for x, z in zip(across, crest, strict=True)]
        n = len(across)
        mesh_object(name, vertices, [(i, i + 1, n + i + 1, n + i) for i in range(n - 1)], material)
    house = mat.painted("far house", "f0e2c8", 0.9)
    roof = mat.painted("far roof", "c46a45", 0.9)
    for k, (x, y, z, s) in enumerate(((11.2, 19.6, 2.6, 1.0), (12.5, 19.7, 2.4, 0.8), (6.6, 34.0, 5.5, 1.5))):
        box(f"house {k}", (1.5 * s, 1.2 * s, 1.3 * s), house, at=(x, y, z))
        cone = [(1.15 * s, 0), (0, 0.7 * s)]
        lathe(f"roof {k}", cone, roof, sides=4, at=(x, y, z + 0.64 * s), turn=(0, 0, 45))


def balloon() -> Mover:
    """A hot-air balloon that rises far off over the hills."""
    root = joint("balloon", (8.5, 30.0, 8.7))
    cloth = mat.striped("balloon cloth", "e4573d", "f8ead0", 0.45)
    t = np.linspace(0, 1, 24)
    radius = 1.75 * np.sin(np.pi * (0.08 + 0.92 * t)) ** 0.62 * (0.55 + 0.5 * t)
    lathe("envelope", [*zip(radius, -2.0 + 3.8 * t, strict=True)], cloth, parent=root)
    blob("basket", (0.55, 0.55, 0.45), mat.painted("wicker", "9b6b3f", 0.8), square=0.4, at=(0, 0, -2.7), parent=root)

    def pose(seconds: float) -> None:
        root.location = (8.5 + 0.25 * seconds, 30.0, 8.7 + 0.45 * seconds)

    return Mover(root, pose)

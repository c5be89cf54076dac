"""What people left in the courtyard: pots, fruit, an awning, bunting, a pinwheel, a bench."""

from __future__ import annotations

import math

import bpy
import numpy as np

from . import materials as mat
from . import plants
from .courtyard import BACK, CORNER, LEFT
from .meshes import Mover, Point, blob, box, joint, mesh_object, tube


def build(rng: np.random.Generator) -> Mover:
    """All props and plants; returns the one that moves, the pinwheel."""
    green = plants.greens()
    soil = mat.painted("soil", "4a3526", 0.95, wear=0.15)
    terracotta = mat.clay("terracotta")
    timber = mat.wood("timber", "b98453", "7d5230")
    _foreground_plant(green, soil, rng)
    _orange_tree(green, soil, terracotta, rng)
    _stand(timber, rng)
    _bench(timber)
    _along_the_walls(green, soil, terracotta, rng)
    _beyond_the_wall(green, rng)
    _bunting()
    return _flower_crate(green, timber, rng)


def _foreground_plant(green: dict, soil: bpy.types.Material, rng: np.random.Generator) -> None:
    glaze = mat.painted("blue glaze", "2f6f9f", 0.2, wear=0.12, coat=1.0)
    at = (-1.0, 2.45, 0)
    plants.pot("blue pot", 0.22, 0.35, glaze, at, soil)
    plants.fountain_of_leaves(
        "rubber plant", green["broad"], rng, at=(*at[:2], 0.31), count=22, length=0.52, width=0.072, upright=0.52
    )


def _orange_tree(green: dict, soil: bpy.types.Material, clay: bpy.types.Material, rng: np.random.Generator) -> None:
    x, y = 3.7, 6.4
    plants.pot("tree pot", 0.36, 0.5, clay, (x, y, 0), soil)
    bark = mat.wood("bark", "8a6a4c", "5b432f", along="z", roughness=0.9)
    tube(
        "trunk",
        [(x, y, 0.4), (x + 0.04, y, 0.9), (x - 0.02, y, 1.5), (x + 0.03, y, 1.9)],
        [0.07, 0.055, 0.05, 0.04],
        bark,
    )
    fruit = mat.painted("oranges", "f08a1c", 0.45, wear=0.05)
    lumps = (
        ((1.15, 1.1, 0.9), (0, 0, 2.15)),
        ((0.8, 0.8, 0.7), (-0.42, -0.1, 1.9)),
        ((0.75, 0.75, 0.65), (0.4, -0.2, 1.85)),
    )
    for k, (size, shift) in enumerate(lumps):
        at = (x + shift[0], y + shift[1], shift[2])
        crown = plants.canopy(f"crown {k}", size, green["citrus"], green["core"], rng, count=420, leaf_size=0.17, at=at)
        for n in range(7):
            vertex = crown.data.vertices[int(rng.integers(len(crown.data.vertices)))].co
            blob(f"orange {k} {n}", (0.1, 0.1, 0.1), fruit, segments=20, at=tuple(vertex * 1.04), parent=crown)


def _stand(timber: bpy.types.Material, rng: np.random.Generator) -> None:
    """A fruit stand under a striped awning against the facade."""
    cloth = mat.striped("awning", "d9503f", "fbf0dc", 0.14)
    x0, x1 = -0.42, 1.12
    n = 23
    across = np.linspace(x0, x1, n)
    rows = [(BACK - 0.02, 2.16), (BACK - 0.5, 2.03), (BACK - 0.95, 1.84), (BACK - 0.97, 1.83)]
    vertices = [(x, y, z) for y, z in rows for x in across]
    # The valance hangs in scallops.
    vertices += [(x, BACK - 0.975, 1.66 - 0.035 * abs(math.sin(math.pi * (x - x0) / 0.14))) for x in across]
    faces = [(k * n + i + 1, k * n + i, (k + 1) * n + i, (k + 1) * n + i + 1) for k in range(4) for i in range(n - 1)]
    thing = mesh_object("awning", vertices, faces, cloth)
    thing.modifiers.new("thickness", "SOLIDIFY").thickness = 0.012
    for x in (x0 + 0.03, x1 - 0.03):
        tube(f"rod {x}", [(x, BACK, 1.6), (x, BACK - 0.93, 1.83)], 0.012, bpy.data.materials["iron"])
    for k, (y, z) in enumerate(((BACK - 0.25, 0.72), (BACK - 0.62, 0.5))):
        box(f"shelf {k}", (1.4, 0.4, 0.04), timber, at=(0.36, y, z))
        for x in (-0.28, 1.0):
            box(f"leg {k} {x}", (0.06, 0.06, z), timber, at=(x, y, z / 2))
        for c in range(3):
            _crate(
                f"crate {k}{c}",
                timber,
                (-0.1 + 0.46 * c, y, z + 0.02),
                8 * (c - 1),
                ("f08a1c", "f3cf3a", "c8352c", "8db33c", "f08a1c", "7a3b6e")[3 * k + c],
                rng,
            )


def _crate(
    name: str, timber: bpy.types.Material, at: Point, tilt: float, colour: str, rng: np.random.Generator
) -> None:
    root = joint(name, at, turn=(0, 0, tilt / 3))
    for z in (0.04, 0.12):
        for y in (-0.17, 0.17):
            box(f"{name} long", (0.4, 0.015, 0.06), timber, at=(0, y, z), parent=root)
        for x in (-0.2, 0.2):
            box(f"{name} short", (0.015, 0.34, 0.06), timber, at=(x, 0, z), parent=root)
    skin = mat.painted(f"fruit {colour}", colour, 0.4, wear=0.06)
    for k in range(20):
        x, y = -0.15 + 0.075 * (k % 5), -0.12 + 0.08 * (k // 5)
        lift = 0.12 + 0.05 * math.cos(4 * x) * math.cos(4 * y) + rng.uniform(-0.01, 0.012)
        blob(f"{name} fruit {k}", (0.095, 0.095, 0.09), skin, segments=16, at=(x, y, lift), parent=root)


def _bench(timber: bpy.types.Material) -> None:
    """Along the left wall, where the orbit looks."""
    for k in range(3):
        box(f"seat {k}", (0.11, 1.3, 0.04), timber, at=(LEFT + 0.2 + 0.13 * k, 5.35, 0.44))
    for k in range(2):
        box(f"back {k}", (0.03, 1.3, 0.1), timber, at=(LEFT + 0.1, 5.35, 0.66 + 0.15 * k))
    for y in (4.85, 5.85):
        for x in (LEFT + 0.18, LEFT + 0.46):
            box(f"bench leg {x} {y}", (0.06, 0.06, 0.44), timber, at=(x, y, 0.22))
        box(f"bench post {y}", (0.05, 0.06, 0.5), timber, at=(LEFT + 0.12, y, 0.65))
    cushion = mat.striped("cushion", "e9c46a", "f6efe0", 0.05)
    blob("cushion", (0.4, 0.14, 0.38), cushion, square=0.55, at=(LEFT + 0.26, 5.6, 0.63), turn=(12, 0, 78))


def _along_the_walls(green: dict, soil: bpy.types.Material, clay: bpy.types.Material, rng: np.random.Generator) -> None:
    petals = {c: mat.painted(f"petals {c}", c, 0.6, wear=0.05) for c in ("d8344f", "f2f0e6", "f49ac1")}
    timber = bpy.data.materials["timber"]
    for x, colour in ((-1.05, "d8344f"), (0.35, "f49ac1")):
        box(f"window box {x}", (0.75, 0.2, 0.16), clay, bevel=0.02, at=(x, BACK - 0.16, 2.42))
        plants.flowers(
            f"geraniums {x}",
            petals[colour],
            green["core"],
            green["bush"],
            rng,
            at=(x, BACK - 0.16, 2.5),
            spread=(0.36, 0.12),
            height=0.24,
            count=16,
        )
    box("wing box", (0.2, 0.85, 0.16), timber, bevel=0.02, at=(LEFT + 0.18, 5.75, 1.2))
    plants.flowers(
        "wing flowers",
        petals["f2f0e6"],
        green["core"],
        green["bush"],
        rng,
        at=(LEFT + 0.18, 5.75, 1.28),
        spread=(0.13, 0.42),
        height=0.26,
        count=18,
    )
    for name, x, y, r, h, crown in (
        ("box left", -1.62, 7.2, 0.2, 0.36, 0.5),
        ("box right", -0.34, 7.2, 0.17, 0.3, 0.42),
    ):
        plants.pot(name, r, h, clay, (x, y, 0), soil)
        plants.canopy(
            f"{name} ball",
            (crown,) * 3,
            green["bush"],
            green["core"],
            rng,
            count=420,
            leaf_size=0.075,
            at=(x, y, h + crown * 0.42),
            lumps=0.06,
        )
    plants.pot(
        "tall pot", 0.2, 0.5, mat.painted("green glaze", "4f8a6b", 0.2, wear=0.12, coat=1.0), (1.42, 7.0, 0), soil
    )
    plants.fountain_of_leaves(
        "aloe", green["broad"], rng, at=(1.42, 7.0, 0.46), count=16, length=0.4, width=0.045, upright=0.5
    )
    for k, (x, z, size) in enumerate(
        ((1.45, 2.05, 0.75), (1.15, 2.5, 0.6), (1.75, 1.75, 0.55), (1.05, 2.95, 0.5), (1.3, 3.4, 0.42))
    ):
        plants.canopy(
            f"bougainvillea {k}",
            (size, 0.42, 0.85 * size),
            green["pink"],
            green["core"],
            rng,
            count=300,
            leaf_size=0.1,
            at=(x, BACK - 0.06, z),
            lumps=0.3,
        )
    for k, (x, z, size) in enumerate(((1.6, 2.3, 0.5), (1.2, 2.75, 0.35), (1.95, 1.85, 0.4))):
        plants.canopy(
            f"bougainvillea green {k}",
            (size, 0.44, 0.7 * size),
            green["citrus"],
            green["core"],
            rng,
            count=160,
            leaf_size=0.12,
            at=(x, BACK - 0.05, z),
            lumps=0.3,
        )


def _beyond_the_wall(green: dict, rng: np.random.Generator) -> None:
    for k, (x, y, height) in enumerate(((3.75, 9.6, 4.3), (4.6, 10.8, 5.2), (5.4, 9.2, 3.4), (2.0, 14.5, 4.6))):
        plants.cypress(f"cypress {k}", height, 0.14 * height, green["dark"], rng, (x, y, 0))
    for k in range(16):
        x, y = rng.uniform(-2, 16), rng.uniform(12, 18)
        if abs(x - y * 0.37) > 0.9:  # keep the view through the gate open
            size = rng.uniform(0.8, 1.6)
            plants.canopy(
                f"bush {k}",
                (size, size, 0.75 * size),
                green["bush"],
                green["core"],
                rng,
                count=150,
                leaf_size=0.3,
                at=(x, y, 0.3 * size),
            )


def _flower_crate(green: dict, timber: bpy.types.Material, rng: np.random.Generator) -> Mover:
    """Right foreground: a planted crate with sunflowers and a pinwheel that the wind turns."""
    x, y = 1.5, 3.35
    root = joint("flower crate", (x, y, 0), turn=(0, 0, -12))
    for k in range(3):
        z = 0.075 + 0.125 * k
        for side in (-1, 1):
            box(f"board {k} {side}", (0.66, 0.03, 0.11), timber, bevel=0.008, at=(0, side * 0.2, z), parent=root)
            box(f"end {k} {side}", (0.03, 0.4, 0.11), timber, bevel=0.008, at=(side * 0.32, 0, z), parent=root)
    pink = mat.painted("petals pink", "ef6f8f", 0.6)
    plants.flowers(
        "crate flowers",
        pink,
        green["core"],
        green["bush"],
        rng,
        at=(0, 0, 0.36),
        spread=(0.3, 0.18),
        height=0.24,
        count=18,
        head=0.04,
        parent=root,
    )
    heart = mat.painted("sunflower heart", "5a3518", 0.9, wear=0.2)
    stem = mat.painted("stems", "5d8a35", 0.7)
    for k, (dx, dy, height, turn) in enumerate(((0.2, 0.06, 0.62, 14), (0.02, 0.12, 0.82, -8))):
        plants.sunflower(
            f"sunflower {k}",
            green["petal"],
            heart,
            stem,
            green["bush"],
            at=(x + dx, y + dy, 0.32),
            height=height,
            turn=turn,
        )
    return _pinwheel((x - 0.23, y - 0.08, 0.34))


def _pinwheel(at: Point) -> Mover:
    stick = joint("pinwheel", at, turn=(0, 4, -6))
    tube("pinwheel stick", [(0, 0, 0), (0, 0, 0.62)], 0.011, mat.painted("white paint", "f4efe4", 0.5), parent=stick)
    hub = joint("pinwheel hub", (0, -0.035, 0.6), stick)
    for k, colour in enumerate(("e4573d", "f4c542", "3f9fa8", "f2f0e6")):
        blade = mat.painted(f"blade {colour}", colour, 0.4, wear=0.02)
        curl = [(0, 0, 0), (0.0, 0.0, 0.17), (0.085, -0.02, 0.15), (0.10, -0.045, 0.10), (0.04, -0.04, 0.03)]
        thing = mesh_object(
            f"blade {k}", curl, [(0, 1, 2), (0, 2, 3), (0, 3, 4)], blade, parent=hub, turn=(0, 90 * k, 0)
        )
        thing.modifiers.new("thickness", "SOLIDIFY").thickness = 0.004
    blob("pinwheel pin", (0.035, 0.03, 0.035), bpy.data.materials["white paint"], at=(0, -0.045, 0), parent=hub)

    def pose(seconds: float) -> None:
        hub.rotation_euler.y = 2 * math.pi * (0.55 * seconds + 0.03 * math.sin(4 * seconds))

    return Mover(hub, pose)


def _bunting() -> None:
    """Two strings of flags across the yard."""
    rope = mat.painted("rope", "e8dcc4", 0.9)
    cloth = [mat.painted(f"flag {c}", c, 0.85, wear=0.03) for c in ("e4573d", "f4c542", "3f9fa8", "f7efe0", "ef8f6f")]
    lines = (((LEFT, 4.7, 2.55), (3.5, 6.3, 2.7), 0.42, 16), ((LEFT, 6.5, 3.05), (CORNER, BACK - 0.02, 3.35), 0.3, 9))
    for line, (start, stop, sag, count) in enumerate(lines):
        a, b = np.array(start), np.array(stop)

        def along(t: float, a=a, b=b, sag=sag) -> tuple[float, ...]:
            return tuple(a + (b - a) * t - np.array([0, 0, 4 * sag * t * (1 - t)]))

        tube(f"rope {line}", [along(t) for t in np.linspace(0, 1, 30)], 0.011, rope, sides=8)
        heading = math.degrees(math.atan2(b[1] - a[1], b[0] - a[0]))
        for k in range(count):
            shape = [(-0.1, 0, 0), (0.1, 0, 0), (0.045, 0.006, -0.13), (0.0, 0.008, -0.26), (-0.045, 0.006, -0.13)]
            sway = 7 + 9 * math.sin(0.7 * k + 2 * line)
            flag = mesh_object(
                f"flag {line} {k}",
                shape,
                [(0, 4, 3, 2, 1)],
                cloth[(k + line) % len(cloth)],
                at=along((k + 0.5) / count),
                turn=(sway, 0, heading),
                smooth=False,
            )
            flag.modifiers.new("thickness", "SOLIDIFY").thickness = 0.006

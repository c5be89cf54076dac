"""The subject: a robot that carries a flower across the yard, waving, with a chick hopping behind it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import bpy
import numpy as np

from . import materials as mat
from .meshes import Mover, blob, box, cards, joint, lathe, mesh_object, tube
from .plants import LEAF, LEAF_FACES, frames, placements

START, STOP = (-0.6, 3.66), (0.4, 3.16)
"""Where the walk begins and ends, (x, y) metres."""
SCALE = 0.83
"""The robot is modelled 1.4 m tall and used smaller; lengths below are before scaling."""
HEADING = math.degrees(math.atan2(STOP[0] - START[0], START[1] - STOP[1]))
"""Turn about z that makes -y face along the walk, degrees."""
SECONDS = 2.0
"""Duration of the walk, 48 frame intervals at 24 per second."""
STRIDE = 0.52
"""Way covered by a left and a right step, metres."""
STANCE = 0.6
"""Share of a stride that a foot stays on the ground."""
THIGH = SHIN = 0.19
"""Lengths between the joints of a leg, metres."""
HIP, ANKLE = 0.455, 0.105
"""Heights of the joints above the ground when standing, metres."""


@dataclass(frozen=True)
class Leg:
    """The joints of one leg, from the hip down."""

    hip: bpy.types.Object
    knee: bpy.types.Object
    ankle: bpy.types.Object
    phase: float


@dataclass(frozen=True)
class Paint:
    """The robot's materials."""

    body: bpy.types.Material
    belly: bpy.types.Material
    accent: bpy.types.Material
    joint: bpy.types.Material
    glass: bpy.types.Material
    light: bpy.types.Material


def build() -> Mover:
    """Model the robot."""
    paint = Paint(
        body=mat.painted("enamel", "2fa39b", 0.3, wear=0.05, coat=0.8),
        belly=mat.painted("cream enamel", "f6ead0", 0.35, coat=0.6),
        accent=mat.painted("orange enamel", "f07f2e", 0.35, coat=0.6),
        joint=mat.metal("joints", "8d9094", 0.35),
        glass=mat.glass("visor"),
        light=mat.glowing("eyes", "fff0c0", 6.0),
    )
    root = joint("robot", (*START, 0), turn=(0, 0, HEADING))
    root.scale = (SCALE,) * 3
    torso = joint("torso", (0, 0, HIP), root)
    _torso(torso, paint)
    head, antenna = _head(torso, paint)
    wave = _arm("waving arm", torso, paint, side=1)
    carry = _arm("carrying arm", torso, paint, side=-1)
    _flower_pot(carry[2])
    legs = [_leg("left leg", root, paint, 0.095, 0.0), _leg("right leg", root, paint, -0.095, 0.5)]
    scarf = _scarf(torso)

    def pose(seconds: float) -> None:
        share = seconds / SECONDS
        x, y = (a + (b - a) * share for a, b in zip(START, STOP, strict=True))
        root.location = (x, y, 0)
        cycle = share * math.dist(START, STOP) / (STRIDE * SCALE) + 0.1
        beat = 2 * math.pi * cycle
        bob = 0.014 * math.cos(2 * beat) - 0.012
        torso.location.z = HIP + bob
        torso.rotation_euler = (0.05 + 0.02 * math.cos(2 * beat), 0.06 * math.sin(beat), 0.1 * math.sin(beat))
        head.rotation_euler = (
            -0.04 + 0.03 * math.cos(2 * beat + 0.6),
            -0.08 * math.sin(beat),
            -0.42 - 0.1 * math.sin(beat),
        )
        antenna.rotation_euler = (0.16 * math.cos(2 * beat + 1.1), 0.1 * math.sin(beat - 0.6), 0)
        # The far arm is up, its forearm waving; the near one holds its pot out and steady.
        wave[0].rotation_euler = (-2.3, 0.45 + 0.06 * math.sin(beat), 0)
        wave[1].rotation_euler = (-0.2, 0.1 + 0.45 * math.sin(2 * math.pi * 1.5 * seconds), 0)
        carry[0].rotation_euler = (-0.75 + 0.04 * math.cos(2 * beat), -0.3, 0)
        carry[1].rotation_euler = (-0.85, 0, 0.1)
        carry[2].rotation_euler = (1.6 - 0.05 - 0.06 * math.cos(2 * beat), 0.3, 0)
        scarf.rotation_euler = (
            -0.5 + 0.16 * math.sin(2 * beat + 0.4),
            0.1 * math.sin(beat),
            0.25 * math.sin(beat + 0.9),
        )
        for leg in legs:
            _step(leg, cycle + leg.phase, bob)

    return Mover(root, pose)


def _torso(torso: bpy.types.Object, paint: Paint) -> None:
    blob("body", (0.5, 0.42, 0.52), paint.body, square=0.72, segments=56, at=(0, 0, 0.24), parent=torso)
    blob("belly", (0.33, 0.16, 0.3), paint.belly, square=0.6, segments=48, at=(0, -0.155, 0.22), parent=torso)
    for k, colour in enumerate(("e4573d", "f4c542", "7fc8a9")):
        button = mat.glowing(f"button {k}", colour, 0.6)
        blob(
            f"button {k}", (0.045, 0.03, 0.045), button, segments=20, at=(-0.08 + 0.08 * k, -0.232, 0.28), parent=torso
        )
    box("grille", (0.16, 0.02, 0.012), paint.joint, bevel=0.004, at=(0, -0.232, 0.2), parent=torso)
    box("grille 2", (0.16, 0.02, 0.012), paint.joint, bevel=0.004, at=(0, -0.23, 0.165), parent=torso)
    lathe("hips", [(0, -0.09), (0.15, -0.07), (0.2, 0.0), (0.2, 0.06)], paint.joint, parent=torso)
    lathe("neck", [(0.1, 0.46), (0.075, 0.5), (0.075, 0.56)], paint.joint, parent=torso)
    # A clockwork key in the back: the orbit and a 180-degree move see it.
    lathe(
        "key shaft",
        [(0.018, 0), (0.018, 0.14), (0, 0.14)],
        paint.joint,
        at=(0, 0.2, 0.27),
        turn=(-90, 0, 0),
        parent=torso,
    )
    for side in (-1, 1):
        lathe(
            "key ring",
            [(0.03, -0.014), (0.062, -0.014), (0.062, 0.014), (0.03, 0.014), (0.03, -0.014)],
            paint.accent,
            at=(0, 0.355, 0.27 + side * 0.052),
            turn=(0, 90, 0),
            parent=torso,
        )


def _head(torso: bpy.types.Object, paint: Paint) -> tuple[bpy.types.Object, bpy.types.Object]:
    head = joint("head", (0, 0, 0.54), torso)
    blob("skull", (0.46, 0.38, 0.36), paint.body, square=0.5, segments=56, at=(0, 0, 0.18), parent=head)
    blob("visor", (0.36, 0.12, 0.25), paint.glass, square=0.5, segments=48, at=(0, -0.155, 0.175), parent=head)
    for side in (-1, 1):
        blob("eye", (0.062, 0.03, 0.085), paint.light, segments=28, at=(side * 0.078, -0.208, 0.19), parent=head)
        blob("ear", (0.07, 0.16, 0.16), paint.accent, square=0.7, at=(side * 0.235, 0, 0.18), parent=head)
    smile = [(0.052 * math.cos(a), -0.218, 0.128 - 0.03 * math.sin(a)) for a in np.linspace(0.15, math.pi - 0.15, 9)]
    tube("smile", smile, 0.0085, paint.light, sides=8, parent=head)
    antenna = joint("antenna", (0, 0.02, 0.35), head)
    tube("antenna rod", [(0, 0, 0), (0, 0.01, 0.13)], 0.012, paint.joint, parent=antenna)
    blob("antenna ball", (0.075, 0.075, 0.075), paint.accent, segments=28, at=(0, 0.01, 0.15), parent=antenna)
    return head, antenna


def _arm(name: str, torso: bpy.types.Object, paint: Paint, side: int) -> tuple[bpy.types.Object, ...]:
    """Joints of shoulder, elbow and wrist; the arm hangs along -z when its joints are at zero."""
    shoulder = joint(name, (side * 0.255, 0, 0.36), torso)
    blob(f"{name} shoulder", (0.15, 0.15, 0.15), paint.accent, segments=28, parent=shoulder)
    tube(f"{name} upper", [(0, 0, 0), (0, 0, -0.18)], 0.042, paint.joint, parent=shoulder)
    elbow = joint(f"{name} elbow", (0, 0, -0.19), shoulder)
    blob(f"{name} elbow ball", (0.1, 0.1, 0.1), paint.joint, segments=24, parent=elbow)
    lathe(
        f"{name} forearm", [(0, -0.2), (0.075, -0.195), (0.085, -0.15), (0.06, -0.02), (0, 0)], paint.body, parent=elbow
    )
    wrist = joint(f"{name} wrist", (0, 0, -0.2), elbow)
    blob(f"{name} hand", (0.12, 0.1, 0.13), paint.accent, square=0.8, segments=28, at=(0, 0, -0.05), parent=wrist)
    blob(
        f"{name} thumb",
        (0.045, 0.05, 0.09),
        paint.accent,
        segments=20,
        at=(-side * 0.06, -0.02, -0.035),
        turn=(0, -side * 35, 0),
        parent=wrist,
    )
    return shoulder, elbow, wrist


def _leg(name: str, root: bpy.types.Object, paint: Paint, x: float, phase: float) -> Leg:
    hip = joint(name, (x, 0, HIP), root)
    tube(f"{name} thigh", [(0, 0, 0), (0, 0, -THIGH)], 0.048, paint.joint, parent=hip)
    knee = joint(f"{name} knee", (0, 0, -THIGH), hip)
    blob(f"{name} knee ball", (0.115, 0.115, 0.115), paint.accent, segments=24, parent=knee)
    lathe(f"{name} shin", [(0.055, -SHIN), (0.078, -SHIN + 0.01), (0.062, -0.03), (0, 0)], paint.body, parent=knee)
    ankle = joint(f"{name} ankle", (0, 0, -SHIN), knee)
    blob(f"{name} boot", (0.15, 0.25, 0.13), paint.accent, square=0.65, at=(0, -0.04, -0.035), parent=ankle)
    blob(f"{name} sole", (0.16, 0.265, 0.04), paint.belly, square=0.6, at=(0, -0.04, -0.085), parent=ankle)
    return Leg(hip, knee, ankle, phase)


def _step(leg: Leg, cycle: float, bob: float) -> None:
    """Two-link inverse kinematics: a foot on the ground stays where it is while the body passes over it."""
    u = cycle % 1.0
    reach = STRIDE * STANCE / 2
    if u < STANCE:
        forward, lift, pitch = reach - STRIDE * u, 0.0, 0.0
    else:
        s = (u - STANCE) / (1 - STANCE)
        forward = -reach + 2 * reach * s * s * (3 - 2 * s)
        lift, pitch = 0.085 * math.sin(math.pi * s), 0.45 * math.sin(2 * math.pi * s)
    leg.hip.location.z = HIP + bob
    down = HIP + bob - ANKLE - lift
    distance = min(math.hypot(forward, down), 0.999 * (THIGH + SHIN))
    bend = math.acos(distance / (2 * THIGH))
    thigh = math.atan2(forward, down) + bend
    shin = math.atan2(forward, down) - bend
    # Forward is -y, so an angle forward is a negative turn about x.
    leg.hip.rotation_euler.x = -thigh
    leg.knee.rotation_euler.x = thigh - shin
    leg.ankle.rotation_euler.x = shin + pitch


def _flower_pot(wrist: bpy.types.Object) -> None:
    holder = joint("held pot", (0, -0.03, -0.13), wrist)
    clay = bpy.data.materials["terracotta"]
    lathe(
        "small pot",
        [(0, -0.04), (0.06, -0.04), (0.085, 0.08), (0.1, 0.08), (0.1, 0.11), (0.08, 0.11), (0, 0.1)],
        clay,
        parent=holder,
    )
    stem = bpy.data.materials["stems"]
    tube("tulip stem", [(0, 0, 0.08), (0.01, 0, 0.2), (0, 0, 0.3)], 0.013, stem, parent=holder)
    petal = mat.painted("tulip", "e8415a", 0.5, coat=0.3)
    bloom = [(0, 0.27), (0.05, 0.29), (0.066, 0.33), (0.06, 0.37), (0.045, 0.4), (0.03, 0.385), (0, 0.35)]
    lathe("tulip bloom", bloom, petal, sides=24, parent=holder)
    angle = np.array([0.4, 2.4, 4.5])
    along = np.stack([0.5 * np.cos(angle), 0.5 * np.sin(angle), np.ones(3)], 1)
    up = np.stack([np.cos(angle), np.sin(angle), np.zeros(3)], 1)
    placed = placements(frames(along, up), np.full(3, 0.2), np.tile([0.0, 0.0, 0.09], (3, 1)))
    cards(
        "tulip leaves",
        LEAF,
        LEAF_FACES,
        placed,
        np.array([0.3, 0.6, 0.8]),
        bpy.data.materials["broad leaves"],
        parent=holder,
    )


def _scarf(torso: bpy.types.Object) -> bpy.types.Object:
    wool = mat.striped("scarf wool", "f4c542", "e8813a", 0.045)
    ring = [
        (0.135 * math.cos(a), 0.125 * math.sin(a), 0.5 + 0.012 * math.sin(3 * a))
        for a in np.linspace(0, 2 * math.pi, 33)
    ]
    tube("scarf", ring, 0.045, wool, parent=torso)
    tail = joint("scarf tail", (0.06, 0.14, 0.5), torso)
    rows = np.linspace(0, 1, 9)
    strip = [(side * 0.055, 0.05 * math.sin(3 * t), -0.34 * t) for t in rows for side in (-1, 1)]
    thing = mesh_object("tail", strip, [(2 * k, 2 * k + 1, 2 * k + 3, 2 * k + 2) for k in range(8)], wool, parent=tail)
    thing.modifiers.new("thickness", "SOLIDIFY").thickness = 0.025
    return tail


def chick() -> Mover:
    """A chick that hops after the robot."""
    root = joint("chick", (0, 0, 0))
    down = mat.painted("chick down", "f8cf3f", 0.9, wear=0.03)
    beak = mat.painted("beak", "ef7a25", 0.5)
    black = mat.glass("chick eye")
    blob("chick body", (0.23, 0.25, 0.21), down, at=(0, 0, 0.14), parent=root)
    blob("chick head", (0.165, 0.165, 0.16), down, at=(0, -0.075, 0.275), parent=root)
    lathe("chick beak", [(0.026, 0), (0, 0.055)], beak, sides=16, at=(0, -0.15, 0.27), turn=(90, 0, 0), parent=root)
    for side in (-1, 1):
        blob("chick eye", (0.024, 0.024, 0.028), black, segments=16, at=(side * 0.05, -0.138, 0.3), parent=root)
        blob("chick wing", (0.05, 0.15, 0.11), down, at=(side * 0.11, 0.02, 0.15), turn=(25, side * 12, 0), parent=root)
        blob("chick foot", (0.05, 0.085, 0.025), beak, segments=16, at=(side * 0.045, -0.03, 0.013), parent=root)

    def pose(seconds: float) -> None:
        share = seconds / SECONDS
        direction = (math.sin(math.radians(HEADING)), -math.cos(math.radians(HEADING)))
        hops = 5 * share + 0.15
        # Ground is covered in the air only: landing, it waits.
        air = min(1.0, (hops % 1.0) / 0.75)
        way = math.dist(START, STOP) * (math.floor(hops) + air) / 5 - 0.7
        root.location = (
            START[0] + way * direction[0],
            START[1] + way * direction[1] + 0.05,
            0.13 * math.sin(math.pi * air),
        )
        squash = 1 + 0.12 * math.sin(math.pi * air) - 0.1 * (air >= 1.0)
        root.scale = (0.88 * (2 - squash), 0.88 * (2 - squash), 0.88 * squash)
        root.rotation_euler = (0.2 * math.cos(math.pi * air), 0, math.radians(HEADING - 10))

    return Mover(root, pose)

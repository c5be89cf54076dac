"""A person with loose hair walks across a square and waves."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from .geometry import Mesh, ball, box, limb, line, merged, rotation, sheet, strands, tube
from .scene import Look, Part, Scene, resting, sky

SKIN = Look("mottled", (0.5, 0.3, 0.2), (0.42, 0.24, 0.16), 0.06)


def scene() -> Scene:
    """See above."""
    square = sheet((-18, -6, 0), (36, 0, 0), (0, 34, 0), (18, 17))
    walls = merged([
        sheet((-8, 8.5, 0), (16, 0, 0), (0, 0, 3.6)),
        sheet((-8, -6, 0), (0, 14.5, 0), (0, 0, 3.6)),
        sheet((8, -6, 0), (0, 14.5, 0), (0, 0, 3.6)),
    ])  # fmt: skip
    posters = [box((x, 8.45, 1.7), (1.3, 0.05, 1.6)) for x in (-3.6, -0.4, 2.9)]
    posters += [box((-7.95, y, 1.7), (0.05, 1.2, 1.7)) for y in (1.5, 4.5)]
    columns = [line((x, 7.2, 0), (x, 7.2, 3.6), 0.18, 16) for x in (-5.2, -2.1, 1.4, 4.6)]
    columns += [line((-5.5, 3, 0), (-5.5, 3, 3.6), 0.18, 16)]
    bench = [box((-1.6, 6, z), (2.0, d, 0.06)) for z, d in ((0.46, 0.45),)]
    bench += [box((-1.6, 6.2, z), (2.0, 0.04, 0.1)) for z in (0.65, 0.83)]
    bench += [box((-1.6 + dx, 6 + dy, 0.22), (0.06, 0.06, 0.44)) for dx in (-0.9, 0.9) for dy in (-0.18, 0.18)]
    pots = [ball((x, y, 0.3), (0.3, 0.3, 0.35)) for x, y in ((2.4, 5.3), (-3.0, 4.0))]
    walks: dict[str, tuple[Look, bool]] = {
        "skin": (SKIN, True),
        "shirt": (Look("stripes", (0.5, 0.06, 0.07), (0.6, 0.55, 0.5), 0.07), True),
        "trousers": (Look("mottled", (0.05, 0.08, 0.2), (0.09, 0.12, 0.27), 0.08), True),
        "shoes": (Look("mottled", (0.08, 0.05, 0.03), (0.04, 0.03, 0.02), 0.04), True),
        "hair": (Look("mottled", (0.16, 0.075, 0.03), (0.06, 0.03, 0.015), 0.05), False),
    }
    return Scene(
        parts=(
            sky(60),
            resting(Look("checker", (0.4, 0.37, 0.32), (0.22, 0.2, 0.18), 0.5), square),
            resting(Look("brick", (0.5, 0.43, 0.32), (0.42, 0.34, 0.25), 0.5), walls),
            resting(Look("checker", (0.1, 0.3, 0.4), (0.7, 0.6, 0.2), 0.22), merged(posters)),
            resting(Look("mottled", (0.6, 0.58, 0.52), (0.42, 0.4, 0.36), 0.25), merged(columns), smooth=True),
            resting(Look("stripes", (0.3, 0.17, 0.08), (0.2, 0.1, 0.05), 0.06), merged(bench)),
            resting(Look("mottled", (0.45, 0.2, 0.1), (0.3, 0.12, 0.06), 0.12), merged([*pots, _stalks()])),
            *(Part(look, _walker(name), True, smooth) for name, (look, smooth) in walks.items()),
        ),
        eye=(0, 0, 1.5),
        aim=(0.1, 3.9, 1.1),
        dolly=(-0.8, -0.05, 0.5),
    )


def _stalks() -> Mesh:
    draw = np.random.default_rng(2)
    stalks = []
    for x, y in ((2.4, 5.3), (-3.0, 4.0)):
        for _ in range(16):
            lean, height = draw.normal(0, 0.28, 2), draw.uniform(0.5, 1.0)
            s = np.linspace(0, 1, 5)[:, None]
            tip = np.array([lean[0], lean[1], height])
            path = np.array([x, y, 0.55]) + tip * s * np.array([1, 1, 1.25]) - np.array([0, 0, 0.25]) * s * s
            stalks.append(tube(path, np.linspace(0.016, 0.004, 5), 4))
    return merged(stalks)


def _walker(name: str) -> Callable[[float], Mesh]:
    """The part of the person at a time, walking from left to right."""

    def build(seconds: float) -> Mesh:
        place = np.array([-1.15 + 0.55 * seconds, 3.75, 0])
        return figure(seconds)[name].turned(68).moved(place)

    return build


@lru_cache(maxsize=4)
def figure(seconds: float, paces: float = 0.85) -> dict[str, Mesh]:
    """A person of 1.72 m at the origin who looks and walks along -y, by what it is made of.

    Args:
        seconds: since it set out.
        paces: double steps a second.
    """
    phase = 2 * np.pi * paces * seconds
    bob = 0.02 * np.cos(2 * phase)
    hip = np.array([0, 0, 0.92 + bob])
    chest, neck = hip + (0, -0.02, 0.42), hip + (0, -0.02, 0.53)
    head = neck + (0, -0.02, 0.16)
    skin, trousers, shoes = [], [], []
    for side in (-1, 1):
        swing = 24 * np.sin(phase + (np.pi if side > 0 else 0))
        bent = 12 + 22 * max(0.0, float(np.cos(phase + (np.pi if side > 0 else 0))))
        top = hip + (0.1 * side, 0, -0.02)
        knee = top + rotation(-swing, "x") @ (0, 0, -0.43)
        ankle = knee + rotation(-swing + bent, "x") @ (0, 0, -0.4)
        trousers += [limb(top, knee, 0.095, 0.065), limb(knee, ankle, 0.065, 0.045)]
        shoes.append(limb(ankle + (0, 0.03, -0.03), ankle + (0, -0.14, -0.045), 0.05, 0.04))
    shirt = [
        tube(
            np.stack([hip + (0, 0, -0.06), hip + (0, 0, 0.08), hip + (0, 0, 0.22), chest, neck + (0, 0, -0.03)]),
            [0.165, 0.155, 0.165, 0.185, 0.07],
            16,
            0.62,
        )
    ]
    for side in (-1, 1):
        shoulder = chest + (0.19 * side, 0, 0.05)
        if side > 0:  # waves
            elbow = shoulder + rotation(10 * np.sin(1.5 * seconds), "y") @ (0.2, -0.1, 0.1)
            hand = elbow + rotation(32 * np.sin(5 * seconds), "y") @ (0.06, -0.06, 0.24)
        else:
            swing = 26 * np.sin(phase)
            elbow = shoulder + rotation(-swing, "x") @ (-0.05, 0, -0.28)
            hand = elbow + rotation(-swing - 22, "x") @ (0, 0, -0.25)
        shirt.append(limb(shoulder, elbow, 0.06, 0.045))
        skin += [limb(elbow, hand, 0.042, 0.03), ball(hand + (hand - elbow) * 0.25, (0.045, 0.03, 0.06))]
        spread = (hand - elbow) / np.linalg.norm(hand - elbow)
        skin += [line(hand, hand + spread * 0.17 + (dx, 0, 0), 0.009, 5) for dx in (-0.05, -0.02, 0.015, 0.05)]
    skin += [limb(neck - (0, 0, 0.05), head, 0.05, 0.05), ball(head + (0, 0, 0.03), (0.078, 0.098, 0.12))]
    skin.append(ball(head + (0, -0.105, 0.0), (0.016, 0.022, 0.03)))
    return {
        "skin": merged(skin),
        "shirt": merged(shirt),
        "trousers": merged(trousers),
        "shoes": merged(shoes),
        "hair": _hair(head + (0, 0.005, 0.03), seconds),
    }


def _hair(center: np.ndarray, seconds: float) -> Mesh:
    """A cap, and loose strands that fall from it and sway."""
    draw = np.random.default_rng(9)
    count = 260
    scalp = center + (0, 0.018, 0.022)
    cap = ball(scalp, (0.088, 0.1, 0.115))
    around, up = draw.uniform(-0.02 * np.pi, 0.93 * np.pi, count) + 0.045 * np.pi, draw.uniform(0.05, 0.85, count)
    out = np.stack([np.cos(around), np.sin(around), 0 * around], axis=-1)  # all round but for the face
    root = (
        scalp + out * (0.088, 0.1, 0) * np.sqrt(1 - up * up)[:, None] + np.stack([0 * up, 0 * up, 0.115 * up], axis=-1)
    )
    length, loose = draw.uniform(0.2, 0.42, (count, 1, 1)), draw.uniform(0.01, 0.09, (count, 1, 1))
    late = draw.uniform(0, 3, (count, 1))
    sway = np.stack([np.sin(4.5 * seconds + late), 0.6 * np.sin(5.3 * seconds + late), 0 * late], axis=-1)
    s = np.linspace(0, 1, 6)[:, None]
    path = root[:, None] + out[:, None] * loose * np.sqrt(s) - (0, 0, 1) * length * s
    path = path + (sway * 0.05 + (0, 0.06, 0)) * s * s
    return merged([cap, strands(path, np.linspace(0.005, 0.003, 6))])

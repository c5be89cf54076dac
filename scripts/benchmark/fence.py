"""Thin things: a railing with wire mesh, cables, a bicycle whose wheel turns, a bare tree, a swinging lamp."""

from __future__ import annotations

import numpy as np

from .geometry import Mesh, box, line, merged, sheet, tube
from .scene import Look, Part, Scene, resting, sky

WHEEL = 0.35


def scene() -> Scene:
    """See above."""
    yard = sheet((-18, -6, 0), (36, 0, 0), (0, 34, 0), (18, 17))
    walls = merged([
        sheet((-9, 9.5, 0), (18, 0, 0), (0, 0, 4.2)),
        sheet((-9, -6, 0), (0, 15.5, 0), (0, 0, 4.2)),
        sheet((9, -6, 0), (0, 15.5, 0), (0, 0, 3.2)),
    ])  # fmt: skip
    shed = merged([box((-5.2, 7.2, 1.2), (2.6, 2.2, 2.4)), box((4.8, 8.0, 0.5), (1.6, 1.0, 1.0))])
    return Scene(
        parts=(
            sky(60),
            resting(Look("brick", (0.33, 0.3, 0.27), (0.2, 0.19, 0.18), 0.4), yard),
            resting(Look("brick", (0.45, 0.17, 0.1), (0.3, 0.12, 0.08), 0.34), walls),
            resting(Look("stripes", (0.28, 0.34, 0.3), (0.16, 0.2, 0.18), 0.16), shed),
            resting(Look("mottled", (0.1, 0.16, 0.1), (0.05, 0.08, 0.05), 0.2), _railing()),
            resting(Look("mottled", (0.5, 0.5, 0.48), (0.3, 0.3, 0.3), 0.1), _wire_mesh()),
            resting(Look("mottled", (0.16, 0.1, 0.06), (0.07, 0.05, 0.03), 0.08), _bare_tree(), smooth=True),
            resting(Look("mottled", (0.1, 0.1, 0.1), (0.05, 0.05, 0.05), 0.3), _cables()),
            resting(Look("mottled", (0.02, 0.08, 0.3), (0.02, 0.05, 0.18), 0.05), _bicycle(), smooth=True),
            Part(Look("mottled", (0.35, 0.35, 0.36), (0.06, 0.06, 0.06), 0.05), _turning_wheel, moves=True),
            Part(Look("stripes", (0.7, 0.45, 0.05), (0.5, 0.1, 0.05), 0.08), _lamp, moves=True),
        ),
        eye=(0, 0, 1.5),
        aim=(0.1, 4.4, 1.15),
        dolly=(0.7, 0.05, 0.5),
    )


def _railing() -> Mesh:
    bars = [line((x, 5, 0.12), (x, 5, 1.25), 0.011, 4) for x in np.arange(-2.6, 2.61, 0.13)]
    posts = [box((x, 5, 0.7), (0.07, 0.07, 1.4)) for x in np.arange(-2.6, 2.61, 1.3)]
    rails = [box((0, 5, z), (5.2, 0.03, 0.05)) for z in (0.14, 1.22)]
    return merged(bars + posts + rails)


def _wire_mesh() -> Mesh:
    wires = []
    for x in np.arange(-2.6, 1.9, 0.16):
        wires += [line((x, 5, 1.25), (x + 0.75, 5, 2.0), 0.006, 4), line((x + 0.75, 5, 1.25), (x, 5, 2.0), 0.006, 4)]
    return merged([*wires, line((-2.6, 5, 2.0), (2.6, 5, 2.0), 0.012)])


def _cables() -> Mesh:
    posts = [line((-3.4, 6.2, 0), (-3.4, 6.2, 3.6), 0.05, 8), line((3.2, 3.4, 0), (3.2, 3.4, 3.4), 0.045, 8)]
    cables = []
    for lift in (0.0, 0.25):
        s = np.linspace(0, 1, 24)[:, None]
        path = np.array([-3.4, 6.2, 3.55 - lift]) * (1 - s) + np.array([3.2, 3.4, 3.35 - lift]) * s
        path[:, 2:] -= 2.2 * s * (1 - s)
        cables.append(tube(path, 0.012, 4))
    return merged(posts + cables)


def _bare_tree() -> Mesh:
    draw = np.random.default_rng(5)
    branches: list[Mesh] = []

    def grow(start: np.ndarray, heading: np.ndarray, length: float, radius: float, depth: int) -> None:
        s = np.linspace(0, 1, 5)[:, None]
        bend = draw.normal(0, 0.12, 3) * length
        path = start + heading * length * s + bend * s * s
        branches.append(tube(path, np.linspace(radius, radius * 0.6, 5), 5))
        if depth == 0:
            return
        for _ in range(3):
            turn = heading + draw.normal(0, 0.55, 3)
            turn[2] = abs(turn[2])
            grow(path[-1], turn / np.linalg.norm(turn), length * 0.68, radius * 0.55, depth - 1)

    grow(np.array([2.3, 6.6, 0.0]), np.array([0.0, 0, 1]), 1.3, 0.09, 4)
    return merged(branches)


def _wheel(turn: float) -> Mesh:
    """In the plane of x and z about the origin."""
    ring = np.linspace(0, 2 * np.pi, 33)
    rim = tube(np.stack([WHEEL * np.cos(ring), 0 * ring, WHEEL * np.sin(ring)], axis=-1), 0.018, 5)
    spokes = []
    for number, angle in enumerate(np.linspace(0, 2 * np.pi, 18, endpoint=False)):
        hub = np.array([0.03 * np.cos(angle + 0.5), 0.025 * (-1) ** number, 0.03 * np.sin(angle + 0.5)])
        spokes.append(line(hub, (WHEEL * np.cos(angle), 0, WHEEL * np.sin(angle)), 0.0045, 4))
    plate = box((0.2, 0, 0.1), (0.1, 0.03, 0.07))  # a reflector, so that the turn is seen
    return merged([rim, *spokes, plate, line((0, -0.06, 0), (0, 0.06, 0), 0.03, 8)]).turned(turn, "y")


def _turning_wheel(seconds: float) -> Mesh:
    return _wheel(80 * seconds).turned(12).moved((-0.95, 3.3, WHEEL + 0.12))


def _bicycle() -> Mesh:
    """Its hind wheel's hub at the origin until it is placed; the hind wheel is not in it."""
    hub, pedals, head, saddle = (0, 0, 0), (0.45, 0, -0.05), (0.95, 0, 0.48), (0.3, 0, 0.52)
    front = (1.05, 0, 0)
    pipes = [(hub, pedals), (hub, saddle), (pedals, saddle), (pedals, head), (saddle, head), (head, front)]
    frame = [line(a, b, 0.016, 6) for a, b in pipes]
    frame.append(line(saddle, (0.27, 0, 0.64), 0.014))
    frame.append(box((0.25, 0, 0.66), (0.24, 0.11, 0.05)))
    frame.append(line(head, (0.92, 0, 0.66), 0.014))
    frame.append(tube([(0.85, -0.28, 0.68), (0.95, -0.15, 0.67), (0.95, 0.15, 0.67), (0.85, 0.28, 0.68)], 0.013))
    frame.append(line((0, 0.08, 0), (-0.05, 0.3, -0.47), 0.014))  # it stands on two legs
    frame.append(line((0, -0.08, 0), (-0.05, -0.3, -0.47), 0.014))
    return merged([*frame, _wheel(20).moved(front)]).turned(12).moved((-0.95, 3.3, WHEEL + 0.12))


def _lamp(seconds: float) -> Mesh:
    swing = 24 * np.sin(2 * seconds)
    hung = (0.75, 4.2, 2.6)
    lamp = merged([line((0.75, 4.2, 2.6), (0.75, 4.2, 1.95), 0.006, 4), box((0.75, 4.2, 1.85), (0.2, 0.2, 0.22))])
    return lamp.turned(float(swing), "y", hung)

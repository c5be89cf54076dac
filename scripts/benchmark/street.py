"""A deep street between houses: parked cars, a car that passes, someone who crosses."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from .geometry import Mesh, ball, box, line, merged, sheet, tube
from .person import SKIN, figure
from .scene import Look, Part, Scene, resting, sky

FRONTS = (
    ((0.5, 0.4, 0.3), (0.05, 0.07, 0.1)),
    ((0.42, 0.2, 0.14), (0.08, 0.09, 0.1)),
    ((0.55, 0.53, 0.46), (0.06, 0.06, 0.08)),
    ((0.3, 0.36, 0.38), (0.1, 0.1, 0.09)),
)


def scene() -> Scene:
    """See above."""
    road = sheet((-4, -10, 0), (8, 0, 0), (0, 130, 0), (8, 130))
    marks = merged([box((0, y, 0.006), (0.14, 1.6, 0.012)) for y in np.arange(-6, 110, 4.0)])
    pavement = merged([box((side * 6.2, 50, 0.07), (4.4, 120, 0.14)) for side in (-1, 1)])
    return Scene(
        parts=(
            sky(220),
            resting(Look("mottled", (0.09, 0.09, 0.095), (0.15, 0.15, 0.15), 0.35), road),
            resting(Look("mottled", (0.65, 0.65, 0.6), (0.5, 0.5, 0.46), 0.3), marks),
            resting(Look("brick", (0.3, 0.29, 0.27), (0.23, 0.22, 0.2), 0.6), pavement),
            *_houses(),
            resting(Look("mottled", (0.12, 0.13, 0.13), (0.07, 0.07, 0.07), 0.2), _lamps()),
            resting(Look("mottled", (0.08, 0.18, 0.05), (0.14, 0.24, 0.06), 0.35), _trees()),
            *_car(Look("mottled", (0.05, 0.09, 0.25), (0.03, 0.06, 0.2), 0.5), lambda _: (-3.0, 8.5), False),
            *_car(Look("mottled", (0.35, 0.36, 0.36), (0.28, 0.28, 0.28), 0.5), lambda _: (3.0, 17.0), False),
            *_car(Look("mottled", (0.1, 0.2, 0.1), (0.07, 0.15, 0.07), 0.5), lambda _: (-3.0, 24.0), False),
            *_car(Look("mottled", (0.55, 0.05, 0.03), (0.42, 0.03, 0.03), 0.4), lambda s: (1.35, 27 - 5.2 * s), True),
            *_passer(),
        ),
        eye=(-0.4, 0, 1.6),
        aim=(-0.4, 5.6, 1.35),
        dolly=(0.5, 0.0, 1.3),
    )


def _houses() -> list[Part]:
    draw = np.random.default_rng(21)
    parts: list[list[Mesh]] = [[] for _ in FRONTS]
    trims = []
    for side in (-1, 1):
        y, number = -10.0, int(side > 0)
        while y < 110:
            wide, high, back = draw.uniform(6, 10), draw.uniform(6, 12), draw.uniform(0, 1.0)
            x = side * (8.4 + back + 3)
            parts[number % len(FRONTS)].append(box((x, y + wide / 2, high / 2), (6, wide, high)))
            trims.append(box((x, y + wide / 2, high + 0.15), (6.5, wide + 0.1, 0.3)))
            trims.append(box((side * (8.3 + back), y + wide / 2, 1.1), (0.3, 1.1, 2.2)))
            y, number = y + wide, number + 1
    trims.append(box((0, 112, 5), (30, 2, 10)))
    looks = [Look("windows", wall, pane, 1.5) for wall, pane in FRONTS]
    walls = [resting(look, merged(meshes)) for look, meshes in zip(looks, parts, strict=True)]
    return [*walls, resting(Look("stripes", (0.36, 0.3, 0.24), (0.25, 0.2, 0.16), 0.25), merged(trims))]


def _lamps() -> Mesh:
    lamps = []
    for number, y in enumerate(np.arange(4.0, 100, 9.0)):
        x = 4.5 * (-1 if number % 2 == 0 else 1)
        lamps.append(line((x, y, 0.1), (x, y, 4.4), 0.06, 8))
        lamps.append(tube([(x, y, 4.4), (x * 0.93, y, 4.7), (x * 0.8, y, 4.75)], 0.035, 6))
        lamps.append(box((x * 0.77, y, 4.7), (0.5, 0.2, 0.1)))
    s = np.linspace(0, 1, 20)[:, None]
    for y in (7.0, 20.0, 33.0):  # cables across
        path = np.array([-8.4, y, 5.6]) * (1 - s) + np.array([8.4, y, 5.6]) * s
        path[:, 2:] -= 2.0 * s * (1 - s)
        lamps.append(tube(path, 0.015, 4))
    return merged(lamps)


def _trees() -> Mesh:
    draw = np.random.default_rng(3)
    trees = []
    for x, y in ((5.6, 12.0), (-5.6, 15.0), (5.6, 30.0), (-5.6, 38.0)):
        trees.append(line((x, y, 0.1), (x, y, 2.4), 0.09, 8))
        for _ in range(26):
            trees.append(ball(np.array([x, y, 3.1]) + draw.normal(size=3) * (0.55, 0.55, 0.5), 0.32, 5, 8))
    return merged(trees)


def _car(paint: Look, where: Callable[[float], tuple[float, float]], moves: bool) -> list[Part]:
    """A car along y, its middle at `where(seconds)` (x, y)."""
    low = [
        (-2.1, 0.35, 0.55),
        (-2.0, 0.3, 0.82),
        (-0.9, 0.28, 0.92),
        (1.1, 0.28, 0.92),
        (2.0, 0.3, 0.85),
        (2.1, 0.35, 0.6),
    ]
    body = _loft([(y, 0.85, bottom, top) for y, bottom, top in low])
    cabin = _loft(
        [(-1.0, 0.78, 0.88, 0.92), (-0.45, 0.7, 0.88, 1.42), (0.75, 0.7, 0.88, 1.44), (1.55, 0.76, 0.88, 0.92)]
    )
    wheels = [line((side * 0.74, y, 0.32), (side * 0.9, y, 0.32), 0.32, 16) for side in (-1, 1) for y in (-1.3, 1.3)]
    trim = [box((side * 0.55, -2.12, 0.65), (0.3, 0.05, 0.13)) for side in (-1, 1)]
    trim += [box((side * 0.95, -0.6, 0.98), (0.16, 0.1, 0.1)) for side in (-1, 1)]
    looks = (
        (paint, body),
        (Look("mottled", (0.06, 0.08, 0.1), (0.12, 0.14, 0.16), 0.5), cabin),
        (Look("mottled", (0.03, 0.03, 0.03), (0.3, 0.3, 0.3), 0.25), merged(wheels)),
        (Look("mottled", (0.7, 0.68, 0.55), (0.5, 0.5, 0.45), 0.1), merged(trim)),
    )

    def placed(mesh: Mesh) -> Callable[[float], Mesh]:
        return lambda seconds: mesh.moved((*where(seconds), 0))

    return [Part(look, placed(mesh), moves) for look, mesh in looks]


def _loft(sections: list[tuple[float, float, float, float]]) -> Mesh:
    """A hull through sections (y, half width, bottom, top)."""
    pieces = []
    for (y0, w0, b0, t0), (y1, w1, b1, t1) in pairwise(sections):
        near = [(-w0, y0, b0), (w0, y0, b0), (w0 * 0.92, y0, t0), (-w0 * 0.92, y0, t0)]
        far = [(-w1, y1, b1), (w1, y1, b1), (w1 * 0.92, y1, t1), (-w1 * 0.92, y1, t1)]
        for a, b in ((0, 1), (1, 2), (2, 3), (3, 0)):
            pieces.append(_quad(near[a], near[b], far[b], far[a]))
    for y, w, bottom, top in (sections[0], sections[-1]):
        pieces.append(_quad((-w, y, bottom), (w, y, bottom), (w * 0.92, y, top), (-w * 0.92, y, top)))
    return merged(pieces)


def _quad(*corners: tuple[float, float, float]) -> Mesh:
    vertices = np.array(corners, np.float64)
    spread = vertices.max(axis=0) - vertices.min(axis=0)
    axes = np.sort(np.argsort(spread)[1:])
    return Mesh(vertices, np.array([[0, 1, 2], [0, 2, 3]], np.int32), vertices[:, axes])


def _passer() -> list[Part]:
    looks = {
        "skin": SKIN,
        "shirt": Look("stripes", (0.06, 0.2, 0.25), (0.1, 0.3, 0.36), 0.09),
        "trousers": Look("mottled", (0.16, 0.14, 0.12), (0.1, 0.09, 0.08), 0.08),
        "shoes": Look("mottled", (0.4, 0.4, 0.4), (0.3, 0.3, 0.3), 0.04),
        "hair": Look("mottled", (0.05, 0.04, 0.03), (0.02, 0.02, 0.02), 0.05),
    }

    def placed(name: str) -> Callable[[float], Mesh]:
        return lambda seconds: figure(seconds, 0.7)[name].turned(-82).moved((1.3 - 0.9 * seconds, 5.3, 0))

    return [Part(look, placed(name), True, name != "hair") for name, look in looks.items()]

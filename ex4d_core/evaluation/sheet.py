"""A picture sheet of the frames whose masks are most wrong: truth, render, and where the mask errs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.evaluation.geometry import JudgedFrame
from ex4d_core.files import explained
from ex4d_core.images import write_png

Frame = NDArray[np.uint8]

ROWS = 4
"""Frames on a sheet, of each method."""
MISSED = (255, 130, 0)
"""sRGB in the last column: seen in truth, but not called seen."""
INVENTED = (225, 0, 255)
"""sRGB in the last column: called seen, but not seen in truth."""

_CELL = 448
_GAP = 6
_LABEL = 22
_GROUND, _INK = 24, (225, 225, 225)
_SEEN, _UNSEEN = 0.55, 0.2
"""How bright the truth is under the errors, where it is seen and where not."""


class WorstFrames:
    """Keeps the frames with the largest error of each method, of a path with a depth at most one."""

    def __init__(self, rows: int = ROWS) -> None:
        self._rows = rows
        self._worst: dict[str, dict[tuple[object, ...], JudgedFrame]] = {}

    def add(self, judged: JudgedFrame) -> None:
        """Keep it if it is among them."""
        worst = self._worst.setdefault(judged.way.method, {})
        key = (judged.scene, judged.path, judged.depth, judged.way.background)
        known = worst.get(key)
        if known is None or known.error < judged.error:
            worst[key] = judged
        if len(worst) > self._rows:
            del worst[min(worst, key=lambda other: worst[other].error)]

    @property
    def frames(self) -> list[JudgedFrame]:
        """Method by method, the worst first."""
        return [
            judged for worst in self._worst.values() for judged in sorted(worst.values(), key=lambda one: -one.error)
        ]

    def write(self, path: Path) -> None:
        """Write the sheet as PNG; at least one frame was added.

        Raises:
            OutputError: it cannot be written.
        """
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_png(path, make_sheet(self.frames))


def make_sheet(frames: Sequence[JudgedFrame]) -> Frame:
    """A row for each frame: truth, render, errors of the mask.

    Returns:
        (H, W, 3) uint8 sRGB.
    """
    rows = [_row(judged) for judged in frames]
    head = np.full((2 * _LABEL, rows[0].shape[1], 3), _GROUND, np.uint8)
    for column, words in enumerate(("truth", "render, black where never seen", "errors of the mask")):
        _write(head, words, column * (_CELL + _GAP), _INK)
    left = 2 * (_CELL + _GAP)
    for number, (words, color) in enumerate((("missed", MISSED), ("invented", INVENTED))):
        _write(head, words, left + 110 * number, color, line=2)
    return np.vstack([head, *rows])


def error_picture(judged: JudgedFrame) -> Frame:
    """(H, W, 3) uint8 sRGB: the truth in dim grey, errors in colour over it."""
    grey = cv2.cvtColor(judged.color, cv2.COLOR_RGB2GRAY)
    dim = (grey * np.where(judged.right, _SEEN, _UNSEEN)).astype(np.uint8)
    picture = np.repeat(dim[..., None], 3, axis=2)
    picture[judged.right & ~judged.picture.mask] = MISSED
    picture[~judged.right & judged.picture.mask] = INVENTED
    return picture


def _row(judged: JudgedFrame) -> Frame:
    height, width = judged.right.shape
    cell = max(round(_CELL * height / width), 1)
    row = np.full((_LABEL + cell + _GAP, 3 * _CELL + 2 * _GAP, 3), _GROUND, np.uint8)
    missed = float((judged.right & ~judged.picture.mask).mean())
    invented = float((~judged.right & judged.picture.mask).mean())
    background = ", background" if judged.way.background else ""
    words = (
        f"{judged.scene} {judged.path}, frame {judged.frame}, {judged.way.method}{background}, {judged.depth} depth: "
        f"{100 * missed:.1f} % missed, {100 * invented:.1f} % invented"
    )
    _write(row, words, 0, _INK)
    scaling = cv2.INTER_AREA if width > _CELL else cv2.INTER_NEAREST
    for column, picture in enumerate((judged.color, judged.picture.color, error_picture(judged))):
        left = column * (_CELL + _GAP)
        row[_LABEL : _LABEL + cell, left : left + _CELL] = cv2.resize(picture, (_CELL, cell), interpolation=scaling)
    return row


def _write(onto: Frame, words: str, x: int, color: tuple[int, int, int], line: int = 1) -> None:
    cv2.putText(onto, words, (x + 4, line * _LABEL - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.45, color, 1, cv2.LINE_AA)

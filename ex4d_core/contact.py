"""A contact sheet: what went in and what came out, at a few times, in one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]

COLUMNS = 5
_CELL_WIDTH = 320
_GAP = 4
_LABEL = 22


def pick_times(frames: int, columns: int = COLUMNS) -> list[int]:
    """Evenly spread frame numbers, first and last included; every frame where there are few."""
    return sorted({round(t) for t in np.linspace(0, frames - 1, min(columns, frames))})


def contact_sheet(rows: Mapping[str, Sequence[Frame]], times: Sequence[int]) -> Frame:
    """Lay pictures out in labelled rows, one column a time.

    Args:
        rows: label -> pictures, each (H, W, 3) uint8 sRGB, one for each of `times`.
        times: frame numbers, printed over the columns.

    Returns:
        (H', W', 3) uint8 sRGB.
    """
    import cv2

    first = next(iter(rows.values()))[0]
    cell_height = max(round(_CELL_WIDTH * first.shape[0] / first.shape[1]), 1)
    height = _LABEL + len(rows) * (cell_height + _LABEL)
    width = len(times) * (_CELL_WIDTH + _GAP) - _GAP
    sheet = np.full((height, width, 3), 24, np.uint8)

    def write(text: str, x: int, y: int) -> None:
        cv2.putText(sheet, text, (x + 4, y - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (220, 220, 220), 1, cv2.LINE_AA)

    for column, time in enumerate(times):
        write(f"frame {time}", column * (_CELL_WIDTH + _GAP), _LABEL)
    for row, (label, pictures) in enumerate(rows.items()):
        top = 2 * _LABEL + row * (cell_height + _LABEL)
        for column, picture in enumerate(pictures):
            left = column * (_CELL_WIDTH + _GAP)
            small = cv2.resize(picture, (_CELL_WIDTH, cell_height), interpolation=cv2.INTER_AREA)
            sheet[top : top + cell_height, left : left + _CELL_WIDTH] = small
        write(label, 0, top)
    return sheet

"""What a dataset holds, to look at: a strip for each clip, and all strips on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.images import quiet_opencv, to_uint8
from ex4d_core.training.material import Material

MOST = 400
"""Clips on a sheet; of more, so many from all over the dataset: larger pictures few programs open."""

_WIDTH = 128
_LABEL = 16
_GAP = 4
_GROUND = 24
_HOLE = np.array([200, 60, 160], np.float32)
"""Colour of what is masked, laid over what is there."""


def strip(material: Material, name: str) -> NDArray[np.uint8]:
    """First, middle and last frame, then the middle frame and the last of each variant, holes tinted.

    Returns:
        (h, w, 3) uint8 sRGB.
    """
    times = (0, len(material.frames) // 2, len(material.frames) - 1)
    cells = [_small(material.frames[t]) for t in times]
    for mask in material.masks:
        cells += [_small(_tinted(material.frames[t], mask[t])) for t in times[1:]]
    height, width = cells[0].shape[0], len(cells) * (_WIDTH + _GAP) - _GAP
    picture = np.full((_LABEL + height, width, 3), _GROUND, np.uint8)
    for number, cell in enumerate(cells):
        picture[_LABEL:, number * (_WIDTH + _GAP) :][:, :_WIDTH] = cell
    holes = ", ".join(f"{v.kind} {v.weather} {v.holes:.0%}" for v in material.variants)
    cv2.putText(picture, f"{name}: {holes}", (2, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (220,) * 3, 1, cv2.LINE_AA)
    return picture


def sheet(strips: Sequence[Path]) -> NDArray[np.uint8]:
    """Strips below each other, in as many columns as make the sheet about square: (H, W, 3) uint8 sRGB.

    Args:
        strips: files of `strip`, at least one; of more than `MOST` some. One that cannot be read is left out.
    """
    chosen = [strips[i] for i in np.unique(np.linspace(0, len(strips) - 1, min(MOST, len(strips))).astype(int))]
    with quiet_opencv():
        read = [_read(file) for file in chosen]
    pictures = [picture for picture in read if picture is not None]
    height, width = (max((p.shape[axis] for p in pictures), default=1) + _GAP for axis in (0, 1))
    columns = max(1, round((len(pictures) * height / width) ** 0.5))
    rows = -(-len(pictures) // columns)
    whole = np.full((max(1, rows) * height, columns * width, 3), _GROUND, np.uint8)
    for number, picture in enumerate(pictures):
        column, row = divmod(number, rows)
        whole[row * height :, column * width :][: picture.shape[0], : picture.shape[1]] = picture
    return whole


def encoded(picture: NDArray[np.uint8]) -> bytes:
    """A strip as JPEG."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert done, "OpenCV encodes any picture of 8 bits"
    return data.tobytes()


def _read(file: Path) -> NDArray[np.uint8] | None:
    if not file.is_file() or not file.stat().st_size:
        return None
    bgr = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    return None if bgr is None else to_uint8(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))


def _tinted(frame: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    hole = 0.25 * frame + 0.75 * _HOLE
    return np.where(mask[..., None], frame, hole.astype(np.uint8))


def _small(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height = max(1, round(_WIDTH * frame.shape[0] / frame.shape[1]))
    return np.asarray(cv2.resize(frame, (_WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8)

"""OpenEXR images of depth: one channel written (see `ex4d_core.exr_out`), the right one of many read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ex4d_core import exr_out
from ex4d_core.errors import InputError

_MAGIC = b"\x76\x2f\x31\x01"

# In order of preference, compared in lower case with the last part of a dotted channel name. `Y` beside one of the
# others is a picture or a mask; `V` is how Blender names the one channel of a value pass.
_DEPTH_NAMES = ("z", "depth", "disparity", "disp", "y", "v")


def write_exr(path: Path, values: NDArray[np.float16] | NDArray[np.float32], channel: str = "Y") -> None:
    """Write a one-channel image.

    Args:
        path: the file; its folder exists.
        values: (H, W) float16 or float32.
        channel: the channel's name.

    Raises:
        OutputError: the file cannot be written.
    """
    exr_out.write_exr(path, {channel: values})


def read_exr(path: Path, channel: str | None = None) -> NDArray[np.float32]:
    """Read one channel of an image, over its display window.

    Args:
        path: the file: scan lines or tiles, one part or many, any compression.
        channel: the channel's name; None looks for the one that holds depth: the only channel, or one named Z,
            depth, disparity, Y or V (the last part of a dotted name), or R where red, green and blue are the same.

    Returns:
        (H, W) float32. Pixels of the display window outside the data window are NaN.

    Raises:
        InputError: the file is missing or damaged, or has no such channel.
    """
    import OpenEXR  # a quarter of the start-up time of the command line: only where it is needed

    try:
        with path.open("rb") as file:
            if file.read(4) != _MAGIC:
                raise InputError(f"{path} is not an OpenEXR image: export it again.")
    except OSError as error:
        raise InputError(f"Cannot read {path} ({error.strerror}): check the name and its permissions.") from error
    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            parts: list[Any] = [file.parts[index] for index in range(len(file.parts))]
            header, pixels = _choose(path, parts, channel)
            return _over_display_window(header, pixels)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged or cut short: export it again.") from error


def _choose(path: Path, parts: list[Any], name: str | None) -> tuple[dict[str, Any], NDArray[Any]]:
    """The header and pixels of the wanted channel."""
    found = [(part.header, key, channel.pixels) for part in parts for key, channel in part.channels.items()]
    if not found:
        raise InputError(f"{path} has no readable channels: it is damaged or cut short; export it again.")
    if name is not None:
        for header, key, pixels in found:
            if key == name:
                return header, pixels
        raise InputError(f"{path} has no channel {name!r}, only {_names(found)}: export it with that channel.")
    if len(found) == 1:
        return found[0][0], found[0][2]
    for wanted in _DEPTH_NAMES:
        for header, key, pixels in found:
            if key.rpartition(".")[2].lower() == wanted or wanted in key.lower().split("."):
                return header, pixels
    by_name = {key.rpartition(".")[2].upper(): (header, pixels) for header, key, pixels in found}
    if {"R", "G", "B"} <= by_name.keys():
        header, red = by_name["R"]
        if all(np.array_equal(red, by_name[key][1], equal_nan=True) for key in "GB"):
            return header, red
    raise InputError(
        f"{path} has no channel that looks like depth, only {_names(found)}: name the depth channel Z or Y."
    )


def _names(found: list[tuple[dict[str, Any], str, NDArray[Any]]]) -> str:
    return ", ".join(key for _, key, _ in found)


def _over_display_window(header: dict[str, Any], pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Crop or pad the data window to the display window, as every viewer does."""
    values = pixels.astype(np.float32)
    (left, top), (right, bottom) = (np.asarray(corner, int) for corner in header["displayWindow"])
    (x, y), _ = (np.asarray(corner, int) for corner in header["dataWindow"])
    width, height = int(right - left + 1), int(bottom - top + 1)
    if (x, y) == (left, top) and values.shape == (height, width):
        return values
    result = np.full((height, width), np.nan, np.float32)
    x0, y0 = max(x, left), max(y, top)
    x1, y1 = min(x + values.shape[1], left + width), min(y + values.shape[0], top + height)
    if x1 > x0 and y1 > y0:
        result[y0 - top : y1 - top, x0 - left : x1 - left] = values[y0 - y : y1 - y, x0 - x : x1 - x]
    return result

"""OpenEXR images of depth: one channel written (see `ex4d_core.exr_out`), the right one of many read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ex4d_core import exr_out
from ex4d_core.depth.exr_channels import depth_candidates, is_mist, named
from ex4d_core.errors import InputError
from ex4d_core.exr_whole import is_cut_short

_MAGIC = b"\x76\x2f\x31\x01"


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
        channel: the channel's name; None: the one that `find_depth_channel` finds.

    Returns:
        (H, W) float32. Pixels of the display window outside the data window are NaN.

    Raises:
        InputError: the file is missing or damaged, or has no such channel.
    """
    found = _channels(path)
    return _over_display_window(*found[channel if channel in found else _choose(path, found, channel)])


def read_channels(path: Path) -> dict[str, NDArray[Any]]:
    """All channels of an image by their full names, as they are stored: (H, W) half, float or unsigned integers.

    Raises:
        InputError: as `read_exr`.
    """
    return {name: pixels for name, (_, pixels) in _channels(path).items()}


@dataclass(frozen=True)
class FoundChannel:
    """The channel of an image that holds depth."""

    name: str
    by_nuke: bool
    """Whether Nuke wrote the image, whose own depth is 1/z."""


def find_depth_channel(path: Path, wanted: str | None = None) -> FoundChannel:
    """Find the channel that holds depth: the only one, or the one called so (see `exr_channels`), or a grey R.

    Args:
        path: see `read_exr`.
        wanted: the name, or its last words, if the user gave one.

    Raises:
        InputError: as `read_exr`; several may hold depth, or none.
    """
    found = _channels(path)
    name = _choose(path, found, wanted)
    return FoundChannel(name, any(str(key).startswith("nuke/") for key in found[name][0]))


def _channels(path: Path) -> dict[str, tuple[dict[str, Any], NDArray[Any]]]:
    """Header of its part, and pixels, of every channel by its full name."""
    import OpenEXR  # a quarter of the start-up time of the command line: only where it is needed

    try:
        with path.open("rb") as file:
            if file.read(4) != _MAGIC:
                raise InputError(f"{path} is not an OpenEXR image: export it again.")
    except OSError as error:
        raise InputError(f"Cannot read {path} ({error.strerror}): check the name and its permissions.") from error
    if is_cut_short(path):
        raise InputError(f"{path} is damaged or cut short: export it again.")
    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            parts: list[Any] = [file.parts[index] for index in range(len(file.parts))]
            found = {
                _full_name(part.header.get("name"), key, len(parts)): (dict(part.header), channel.pixels)
                for part in parts
                for key, channel in part.channels.items()
            }
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged or cut short: export it again.") from error
    if not found:
        raise InputError(f"{path} has no readable channels: it is damaged or cut short; export it again.")
    return found


def _full_name(part: str | None, channel: str, parts: int) -> str:
    """Of many parts, each has its channels' layer as its name, and may leave it away in theirs."""
    return channel if parts == 1 or not part or channel.startswith(part + ".") else f"{part}.{channel}"


def _choose(path: Path, found: dict[str, tuple[dict[str, Any], NDArray[Any]]], wanted: str | None) -> str:
    names = list(found)
    if wanted is not None:
        ends = [name for name in names if name == wanted or name.endswith("." + wanted)]
        if any(is_mist(name) for name in ends):
            raise _mist(path)
        if len(ends) == 1 or wanted in ends:
            return wanted if wanted in ends else ends[0]
        raise InputError(f"{path} has no channel {wanted!r}, only {named(names)}: name one with --depth-channel.")
    candidates = depth_candidates(names)
    if candidates and all(_same(found[candidates[0]][1], found[other][1]) for other in candidates[1:]):
        return candidates[0]
    if candidates:
        raise InputError(
            f"{path} has several channels that look like depth ({named(candidates)}): name one with --depth-channel."
        )
    grey = [name for name in names if name.rpartition(".")[2].upper() in ("R", "G", "B")]
    if len(grey) == 3 and all(_same(found[grey[0]][1], found[other][1]) for other in grey[1:]):
        return grey[0]
    if any(is_mist(name) for name in names):
        raise _mist(path)
    raise InputError(
        f"{path} has no channel that looks like depth, only {named(names)}: name the one that does with "
        "--depth-channel, or call it Z."
    )


def _mist(path: Path) -> InputError:
    return InputError(
        f"{path} has mist, which is fog from 0 to 1 and no depth: render Blender's Z pass (View Layer, Passes, "
        "Data, Z)."
    )


def _same(first: NDArray[Any], second: NDArray[Any]) -> bool:
    return np.array_equal(first, second, equal_nan=True)


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

"""One-channel OpenEXR images of depth.

Reading goes through the OpenEXR library, which knows every variant of the format. Writing does not: the library
buffers the end of a file and does not notice when a full disk refuses it, so that a small image is silently
empty. The layout written here is the plainest one of the format (https://openexr.com/en/latest/OpenEXRFileLayout.html):
one part, scan lines, one channel, ZIP compression of sixteen lines at a time.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ex4d_core.errors import InputError
from ex4d_core.files import explained

_MAGIC = b"\x76\x2f\x31\x01"
_LINES_PER_CHUNK = 16
_ZIP = 3
_PIXEL_TYPES = {np.dtype(np.float16): 1, np.dtype(np.float32): 2}

# In order of preference, compared in lower case with the last part of a dotted channel name. `V` is how Blender
# names the one channel of a value pass; `X` and `R` stand for a depth written as vector or grey colour.
_DEPTH_NAMES = ("y", "z", "depth", "disparity", "disp", "v")


def write_exr(path: Path, values: NDArray[np.float16] | NDArray[np.float32], channel: str = "Y") -> None:
    """Write a one-channel image.

    Args:
        path: the file; its folder exists.
        values: (H, W) float16 or float32.
        channel: the channel's name.

    Raises:
        OutputError: the file cannot be written.
    """
    with explained(path):
        path.write_bytes(_encode(values, channel))


def read_exr(path: Path, channel: str | None = None) -> NDArray[np.float32]:
    """Read one channel of an image, over its display window.

    Args:
        path: the file: scan lines or tiles, one part or many, any compression.
        channel: the channel's name; None looks for the one that holds depth: the only channel, or one named Y, Z,
            depth, disparity or V (the last part of a dotted name), or R where red, green and blue are the same.

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


def _encode(values: NDArray[np.float16] | NDArray[np.float32], channel: str) -> bytes:
    """The bytes of a one-channel scan-line file."""
    height, width = values.shape
    pixel_type = _PIXEL_TYPES[values.dtype]
    little_endian = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    channels = channel.encode() + b"\0" + struct.pack("<iB3xii", pixel_type, 0, 1, 1) + b"\0"
    header = b"".join(
        [
            _MAGIC,
            struct.pack("<i", 2),  # format version 2, no flags: single part, scan lines
            _attribute("channels", "chlist", channels),
            _attribute("compression", "compression", bytes([_ZIP])),
            _attribute("dataWindow", "box2i", window),
            _attribute("displayWindow", "box2i", window),
            _attribute("lineOrder", "lineOrder", b"\0"),  # from the top
            _attribute("pixelAspectRatio", "float", struct.pack("<f", 1.0)),
            _attribute("screenWindowCenter", "v2f", struct.pack("<2f", 0.0, 0.0)),
            _attribute("screenWindowWidth", "float", struct.pack("<f", 1.0)),
            b"\0",
        ]
    )
    tops = range(0, height, _LINES_PER_CHUNK)
    packed = [_compress(little_endian[top : top + _LINES_PER_CHUNK].tobytes()) for top in tops]
    chunks = [struct.pack("<2i", top, len(data)) + data for top, data in zip(tops, packed, strict=True)]
    offset = len(header) + 8 * len(chunks)
    offsets: list[int] = []
    for chunk in chunks:
        offsets.append(offset)
        offset += len(chunk)
    return b"".join([header, struct.pack(f"<{len(offsets)}Q", *offsets), *chunks])


def _attribute(name: str, kind: str, value: bytes) -> bytes:
    return name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(value)) + value


def _compress(raw: bytes) -> bytes:
    """The format's ZIP: low bytes before high bytes, differences of neighbours, zlib; raw where that is no gain."""
    data = np.frombuffer(raw, np.uint8)
    halves = np.concatenate([data[0::2], data[1::2]])
    halves[1:] = halves[1:] - halves[:-1] + np.uint8(128)  # modulo 256; the right side is evaluated first
    packed = zlib.compress(halves.tobytes(), 4)
    return packed if len(packed) < len(raw) else raw

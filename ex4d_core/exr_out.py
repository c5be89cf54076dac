"""Writing OpenEXR images.

Not through the OpenEXR library: it buffers the end of a file and does not notice when a full disk refuses it, so that
a small image is silently empty. The layout written here is the plainest one of the format
(https://openexr.com/en/latest/OpenEXRFileLayout.html): one part, scan lines, ZIP compression of sixteen lines at a
time. The same pixels make the same bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ex4d_core.files import explained

Channel = NDArray[np.float16] | NDArray[np.float32]

REC709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
"""Chromaticities (x, y) of red, green, blue and white of Rec. 709 and sRGB."""

_MAGIC = b"\x76\x2f\x31\x01"
_LINES_PER_CHUNK = 16
_ZIP = 3
_PIXEL_TYPES = {np.dtype(np.float16): 1, np.dtype(np.float32): 2}
LONGEST_NAME = 31
"""Longer names need a flag that old readers refuse."""


def write_exr(path: Path, channels: Mapping[str, Channel], primaries: tuple[float, ...] | None = None) -> None:
    """Write an image.

    Args:
        path: the file; its folder exists.
        channels: name -> (H, W) float16 or float32, all of one size; a layer's channels are called `layer.name`.
        primaries: x and y of red, green, blue and white, where there is colour.

    Raises:
        OutputError: the file cannot be written.
    """
    with explained(path):
        path.write_bytes(encode_exr(channels, primaries))


def encode_exr(channels: Mapping[str, Channel], primaries: tuple[float, ...] | None = None) -> bytes:
    """The bytes of an image; see `write_exr`."""
    names = sorted(channels)  # the format's order, in the list and in each line
    (height, width) = shape = channels[names[0]].shape
    if any(channels[name].shape != shape or not 0 < len(name) <= LONGEST_NAME for name in names):
        raise ValueError(f"channels of one size with short names make an image, not {names}")
    described = [name.encode() + b"\0" + struct.pack("<iB3xii", _kind(channels[name]), 0, 1, 1) for name in names]
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    header = b"".join(
        [
            _MAGIC,
            struct.pack("<i", 2),  # format version 2, no flags: single part, scan lines
            _attribute("channels", "chlist", b"".join(described) + b"\0"),
            _attribute("chromaticities", "chromaticities", struct.pack("<8f", *primaries)) if primaries else b"",
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
    lines = np.concatenate([_bytes_of(channels[name]) for name in names], axis=1)  # [height, bytes of a line]
    tops = range(0, height, _LINES_PER_CHUNK)
    packed = [_compress(lines[top : top + _LINES_PER_CHUNK].tobytes()) for top in tops]
    chunks = [struct.pack("<2i", top, len(data)) + data for top, data in zip(tops, packed, strict=True)]
    offset = len(header) + 8 * len(chunks)
    offsets: list[int] = []
    for chunk in chunks:
        offsets.append(offset)
        offset += len(chunk)
    return b"".join([header, struct.pack(f"<{len(offsets)}Q", *offsets), *chunks])


def _kind(channel: Channel) -> int:
    return _PIXEL_TYPES[channel.dtype]


def _bytes_of(channel: Channel) -> NDArray[np.uint8]:
    """(H, bytes of a line) uint8, little-endian."""
    plain = np.ascontiguousarray(channel, channel.dtype.newbyteorder("<"))
    return plain.view(np.uint8).reshape(len(plain), -1)


def _attribute(name: str, kind: str, value: bytes) -> bytes:
    return name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(value)) + value


def _compress(raw: bytes) -> bytes:
    """The format's ZIP: low bytes before high bytes, differences of neighbours, zlib; raw where that is no gain."""
    data = np.frombuffer(raw, np.uint8)
    halves = np.concatenate([data[0::2], data[1::2]])
    halves[1:] = halves[1:] - halves[:-1] + np.uint8(128)  # modulo 256; the right side is evaluated first
    packed = zlib.compress(halves.tobytes(), 4)
    return packed if len(packed) < len(raw) else raw

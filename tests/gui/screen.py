"""Pictures of the screen that a Blender window is shown on (see `scripts/blender_window.py`)."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np


def screen() -> np.ndarray:
    """(H, W, 3) uint8 sRGB: the whole screen as it is now, from Xvfb's framebuffer (XWD file format, X11/XWDFile.h)."""
    data = Path(os.environ["EX4D_SCREEN"]).read_bytes()
    header = struct.unpack(">25I", data[:100])
    header_size, width, height, bytes_per_line, colors = header[0], header[4], header[5], header[12], header[19]
    pixels = np.frombuffer(data, np.uint8, bytes_per_line * height, header_size + 12 * colors)
    bgrx = pixels.reshape(height, bytes_per_line)[:, : 4 * width].reshape(height, width, 4)
    return np.ascontiguousarray(bgrx[..., 2::-1])


def save_screen(path: Path, part: tuple[int, int, int, int] | None = None) -> np.ndarray:
    """Write the screen as a PNG file, and return it.

    Args:
        path: the file.
        part: left, bottom, width and height in pixels from the lower left corner, as Blender's areas have them; None
            is the whole screen.
    """
    picture = screen()
    if part is not None:
        left, bottom, width, height = part
        top = picture.shape[0] - bottom - height
        picture = picture[top : top + height, left : left + width]
    height, width = picture.shape[:2]
    rows = np.concatenate([np.zeros((height, 1), np.uint8), picture.reshape(height, -1)], axis=1)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows.tobytes(), 3)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return picture

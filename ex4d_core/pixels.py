"""From decoded video frames to upright sRGB arrays: matrix, range, depth, alpha, size, orientation."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from numpy.typing import NDArray

from ex4d_core.images import Image, over_black, resize

# Luma weights (Kr, Kb) by AVColorSpace number: ITU-R BT.709, FCC, BT.601 (twice), SMPTE 240M, BT.2020 (twice).
_LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
_BT709, _BT601 = 1, 5
# swscale's own numbers for the same matrices.
_SWSCALE_MATRIX = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
# swscale's defaults are fast, not right: without these, saturated colours are off by up to 3 of 255.
_EXACT = Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND | Interpolation.BITEXACT


def bit_depth(frame: VideoFrame) -> int:
    """Bits of the deepest colour channel."""
    return max((c.bits for c in frame.format.components if not c.is_alpha), default=8)


def has_alpha(frame: VideoFrame) -> bool:
    """Whether the pixel format stores transparency."""
    return any(c.is_alpha for c in frame.format.components)


def matrix_of(frame: VideoFrame) -> int:
    """The YUV matrix as an AVColorSpace number.

    Untagged video follows the convention of players: high definition (wider than 1279 or higher than 576) is
    BT.709, anything smaller BT.601, which is also what most encoders write when nobody tells them.
    """
    if int(frame.colorspace) in _LUMA_WEIGHTS:
        return int(frame.colorspace)
    return _BT709 if frame.width >= 1280 or frame.height > 576 else _BT601


def is_full_range(frame: VideoFrame) -> bool:
    """Whether black and white are 0 and the maximum; untagged YUV is limited, untagged grey full."""
    tagged = int(frame.color_range)
    if tagged in (ColorRange.MPEG, ColorRange.JPEG):
        return tagged == ColorRange.JPEG
    return frame.format.name.startswith(("yuvj", "gray"))


class FrameConverter:
    """Turns the frames of one video into arrays of one size; keeps swscale's tables between frames."""

    def __init__(self, size: tuple[int, int], matrix: tuple[int, int, int, int], deep: bool) -> None:
        """Set what every frame becomes.

        Args:
            size: (w, h) of the result, upright.
            matrix: (a, b, c, d) of the display matrix: +-1 and 0.
            deep: True for uint16 results, False for uint8.
        """
        self._matrix = matrix
        self._deep = deep
        self._stored_size = size if matrix[0] else (size[1], size[0])
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> Image:
        """Convert one frame to (h, w, 3) sRGB, uint8 or uint16."""
        stored = self._convert(frame)
        if (stored.shape[1], stored.shape[0]) != self._stored_size:
            stored = resize(stored, self._stored_size)
        return np.ascontiguousarray(turn_upright(stored, self._matrix))

    def _convert(self, frame: VideoFrame) -> NDArray[Any]:
        """To RGB in the stored orientation, already at its size if swscale could shrink on the way."""
        alpha = has_alpha(frame)
        if frame.format.name.startswith("gray") and not alpha:
            return self._convert_grey(frame)
        is_yuv = not frame.format.is_rgb and not frame.format.has_palette and len(frame.format.components) >= 3
        if self._deep:
            if is_yuv and not frame.format.name.startswith("xyz"):
                return self._convert_deep_yuv(frame, alpha)
            pixels = self._reformat(frame, "rgba64le" if alpha else "rgb48le")
        else:
            pixels = self._reformat(frame, "rgba" if alpha or frame.format.has_palette else "rgb24")
        if pixels.shape[2] == 4:
            return over_black(pixels[..., :3], pixels[..., 3:])
        return pixels

    def _convert_grey(self, frame: VideoFrame) -> NDArray[Any]:
        name = "gray16le" if self._deep else "gray"
        # swscale takes grey for full range whatever the tag says, so the range is applied here.
        stored = self._reformat(frame, name, src_full=True)
        if not is_full_range(frame):
            bits = 16 if self._deep else 8
            black, span, full = 16 << (bits - 8), 219 << (bits - 8), (1 << bits) - 1
            stored = np.clip(np.rint((stored.astype(np.float32) - black) * (full / span)), 0, full).astype(stored.dtype)
        return np.repeat(stored[:, :, None], 3, axis=2)

    def _convert_deep_yuv(self, frame: VideoFrame, alpha: bool) -> NDArray[Any]:
        """10 to 16 bits: swscale's own path to RGB loses white by a whole 8-bit level, so only chroma
        upsampling and shrinking are left to it and the matrix is applied here in float32."""
        # Told that the range is limited on both sides, swscale widens n bits to 16 by a plain shift.
        yuv = self._reformat(frame, "yuva444p16le" if alpha else "yuv444p16le", src_full=False)
        full_scale = ((1 << bit_depth(frame)) - 1) << (16 - bit_depth(frame))
        rgb = cv2.transform(
            yuv[..., :3].astype(np.float32), rgb_from_yuv16(matrix_of(frame), is_full_range(frame), full_scale)
        )
        pixels = np.clip(np.rint(rgb), 0, 65535).astype(np.uint16)
        return over_black(pixels, yuv[..., 3:]) if alpha else pixels

    def _reformat(self, frame: VideoFrame, name: str, src_full: bool | None = None) -> NDArray[Any]:
        full = is_full_range(frame) if src_full is None else src_full
        width, height = self._stored_size
        # An area average on the way costs a ninth of converting 4K first and shrinking then.
        shrink = width <= frame.width and height <= frame.height and (width, height) != (frame.width, frame.height)
        size = (width, height) if shrink else (frame.width, frame.height)
        method = Interpolation.AREA if shrink else Interpolation.BICUBIC
        matrix = _SWSCALE_MATRIX[matrix_of(frame)]
        to_yuv = name.startswith("yuv")
        converted = self._reformatter.reformat(
            frame,
            width=size[0],
            height=size[1],
            format=name,
            src_colorspace=matrix,
            dst_colorspace=matrix,
            src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
            dst_color_range=ColorRange.MPEG if to_yuv and not full else ColorRange.JPEG,
            interpolation=method | _EXACT,
        )
        return converted.to_ndarray()


def rgb_from_yuv16(matrix: int, full_range: bool, full_scale: int) -> NDArray[np.float32]:
    """The affine map from 16-bit Y, Cb, Cr to 16-bit R, G, B (ITU-R BT.709 section 3, BT.2100 table 9).

    Args:
        matrix: AVColorSpace number.
        full_range: whether white is `full_scale` (else 235/256 of 65536).
        full_scale: the largest value of the source, as stored in 16 bits.

    Returns:
        (3, 4) float32: RGB (0..65535) = M[:, :3] @ YCbCr + M[:, 3].
    """
    kr, kb = _LUMA_WEIGHTS[matrix]
    kg = 1 - kr - kb
    # Rows: R, G, B; columns: Y, Cb, Cr, each with a span of 1.
    from_unit = np.array(
        [
            [1, 0, 2 * (1 - kr)],
            [1, -2 * kb * (1 - kb) / kg, -2 * kr * (1 - kr) / kg],
            [1, 2 * (1 - kb), 0],
        ]
    )
    black = 0 if full_range else 16 << 8
    spans = (full_scale, full_scale, full_scale) if full_range else (219 << 8, 224 << 8, 224 << 8)
    linear = from_unit * (65535 / np.array(spans))
    offset = -linear @ np.array([black, 1 << 15, 1 << 15])
    return np.concatenate([linear, offset[:, None]], axis=1).astype(np.float32)


def orientation(frame: VideoFrame) -> tuple[int, int, int, int]:
    """The turn and mirror that a phone recorded, (a, b, c, d) of the display matrix, each -1, 0 or 1.

    A stored pixel (p, q) is shown at x = a p + c q, y = b p + d q (ISO/IEC 14496-12, 8.3.2), up to a shift.
    Turns by other angles than quarters count as none.
    """
    side_data = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return (1, 0, 0, 1)
    values = np.frombuffer(bytes(side_data), np.int32)
    a, b, c, d = (round(int(values[i]) / 65536) for i in (0, 1, 3, 4))
    upright = abs(a) == abs(d) == 1 and b == c == 0
    turned = abs(b) == abs(c) == 1 and a == d == 0
    return (a, b, c, d) if upright or turned else (1, 0, 0, 1)


def turn_upright(stored: NDArray[Any], matrix: tuple[int, int, int, int]) -> NDArray[Any]:
    """Apply a display matrix of quarter turns and mirrors to (H, W, 3); a view, not a copy."""
    a, b, c, d = matrix
    if a == 0:
        stored = stored.transpose(1, 0, 2)
    mirrored_x, mirrored_y = (a or c) < 0, (d or b) < 0
    return stored[:: -1 if mirrored_y else 1, :: -1 if mirrored_x else 1]

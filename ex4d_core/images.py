"""Image files: PNG, JPEG, TIFF, WebP, BMP through OpenCV, colour EXR through OpenEXR.

Pixels come out as sRGB `(H, W, 3)`, `uint8` for files of 8 bits a channel, `uint16` for deeper ones. Alpha is
composited over black, which is what a player shows and what a premultiplied EXR already holds. Grey becomes
three equal channels. Float files (EXR, float TIFF) are taken for linear Rec. 709 light and encoded to sRGB;
light above 1 is clipped.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.errors import InputError
from ex4d_core.exr_whole import is_cut_short
from ex4d_core.files import explained

Image = NDArray[np.uint8] | NDArray[np.uint16]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".exr", ".webp", ".bmp"})

# Measured on 512x512 video frames: level 1 with run lengths takes 17 ms and 354 KB where OpenCV's default
# takes 25 ms and 395 KB, level 2 and up are slower and within 3 % of the size.
_PNG_OPTIONS = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)


def read_image(path: Path) -> Image:
    """Read an image file as RGB, upright (the EXIF orientation of a photo is applied).

    Args:
        path: a file with one of `IMAGE_SUFFIXES`; the name may hold any character.

    Returns:
        (H, W, 3) sRGB, uint8 or, for files deeper than 8 bits, uint16 (0..65535).

    Raises:
        InputError: the file is missing, not readable, empty, damaged or no image.
    """
    data = _read_bytes(path)
    if path.suffix.lower() == ".exr":
        return _read_exr(path)
    with quiet_opencv():
        try:
            decoded = _decode(data, jpeg=path.suffix.lower() in (".jpg", ".jpeg"))
        except cv2.error as error:
            raise _damaged(path) from error
    if decoded is None:
        raise _damaged(path)
    return _to_rgb(path, decoded)


def pixel_aspect(path: Path) -> Fraction:
    """Width of a pixel over its height: what an EXR header says, 1 for every other format."""
    if path.suffix.lower() != ".exr":
        return Fraction(1)
    header, _ = _open_exr(path)
    aspect = Fraction(float(header.get("pixelAspectRatio", 1.0))).limit_denominator(1000)
    return aspect if aspect > 0 else Fraction(1)


def write_png(path: Path, image: NDArray[Any]) -> None:
    """Write an 8- or 16-bit PNG, fast rather than small.

    Args:
        path: the file to write; the name may hold any character.
        image: (H, W) grey or (H, W, 3) RGB, uint8, uint16 or bool (written as 0 and 255).

    Raises:
        OutputError: the file cannot be written.
        TypeError: another dtype or shape.
    """
    encoded = encode_png(image)
    with explained(path):
        path.write_bytes(encoded)


def encode_png(image: NDArray[Any]) -> bytes:
    """The bytes of a PNG; see `write_png`."""
    if image.dtype == np.bool_:
        image = image.astype(np.uint8) * np.uint8(255)
    if image.dtype.name not in ("uint8", "uint16") or image.ndim < 2 or image.shape[2:] not in ((), (3,)):
        raise TypeError(f"a PNG takes (H, W) or (H, W, 3) of 8 or 16 bits, not {image.shape} {image.dtype}")
    bgr = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(".png", bgr, _PNG_OPTIONS)
    if not done:
        raise TypeError(f"OpenCV cannot encode an image of {image.shape} as PNG")
    return encoded.tobytes()


def to_uint8(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Round a uint16 image (0..65535) to uint8 (0..255); uint8 passes unchanged."""
    if image.dtype == np.uint8:
        return image
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def to_uint16(image: NDArray[Any]) -> NDArray[np.uint16]:
    """Spread a uint8 image (0..255) to uint16 (0..65535); uint16 passes unchanged."""
    if image.dtype == np.uint16:
        return image
    return image.astype(np.uint16) * np.uint16(257)


def resize(image: Image, size: tuple[int, int]) -> Image:
    """Resample an image: area average along an axis that shrinks, cubic along one that grows.

    Args:
        image: (H, W, 3) uint8 or uint16.
        size: (w, h) pixels of the result; pixel (0, 0) keeps its outer corner.

    Returns:
        (h, w, 3) of the same dtype.
    """
    (width, height), (old_height, old_width) = size, image.shape[:2]
    # OpenCV's INTER_AREA is an area average only if both axes shrink: take the shrinking ones first.
    smaller = (min(width, old_width), min(height, old_height))
    if smaller != (old_width, old_height):
        image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    if smaller != size:
        image = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)  # type: ignore[assignment]
    return image


def srgb_from_linear(linear: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Encode linear light with the sRGB curve (IEC 61966-2-1).

    Args:
        linear: any shape, float32, 1 = white; clipped to 0..1, NaN counts as 0.

    Returns:
        the same shape, uint16, 0..65535.
    """
    light = np.clip(np.nan_to_num(linear, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0)
    encoded = np.where(light <= 0.0031308, light * 12.92, 1.055 * np.power(light, 1 / 2.4) - 0.055)
    return np.rint(encoded * 65535).astype(np.uint16)


def _read_bytes(path: Path) -> NDArray[np.uint8]:
    """The file's content, read by Python so that any name works on any system."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"There is no image {path}: check the name.") from error
    except OSError as error:
        raise InputError(f"Cannot read {path} ({error.strerror}): check the name and its permissions.") from error
    if not data:
        raise InputError(f"The image {path} is empty (0 bytes): copy or export it again.")
    return np.frombuffer(data, np.uint8)


def _decode(data: NDArray[np.uint8], jpeg: bool) -> NDArray[Any] | None:
    # Only IMREAD_COLOR turns a photo upright by its EXIF tag, only IMREAD_UNCHANGED keeps alpha and depth;
    # a JPEG has neither alpha nor depth.
    return cv2.imdecode(data, cv2.IMREAD_COLOR if jpeg else cv2.IMREAD_UNCHANGED)


def _to_rgb(path: Path, decoded: NDArray[Any]) -> Image:
    """Any array that OpenCV decodes, (H, W[, 1..4]) BGR(A) -> (H, W, 3) sRGB uint8 or uint16."""
    if decoded.shape[2:] == (3,) and decoded.dtype.name in ("uint8", "uint16"):
        return cast("Image", cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))  # a fifteenth of the time of the general way
    pixels = decoded if decoded.ndim == 3 else decoded[:, :, None]
    alpha = pixels[:, :, -1:] if pixels.shape[2] in (2, 4) else None
    colour = pixels[:, :, : 1 if pixels.shape[2] < 3 else 3]
    rgb = np.ascontiguousarray(np.broadcast_to(colour[:, :, ::-1], (*colour.shape[:2], 3)))
    if alpha is not None:
        rgb = over_black(rgb, alpha)
    if rgb.dtype.kind == "f":
        return srgb_from_linear(rgb.astype(np.float32))
    if rgb.dtype.name not in ("uint8", "uint16"):
        raise InputError(f"The image {path} has {rgb.dtype} pixels: convert it to 8- or 16-bit integers or to EXR.")
    return rgb


def over_black(rgb: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """Composite straight (not premultiplied) colour over black.

    Args:
        rgb: (H, W, 3) uint8, uint16 or float.
        alpha: (H, W, 1) of the same dtype; full scale (1 for float) = opaque.

    Returns:
        (H, W, 3) of the same dtype, rounded.
    """
    if rgb.dtype.kind == "f":
        return rgb * alpha
    full = np.uint64(np.iinfo(rgb.dtype).max)
    return ((rgb.astype(np.uint64) * alpha + full // 2) // full).astype(rgb.dtype)


def _open_exr(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Header of the first part and its channels by name."""
    import OpenEXR  # loads slowly, and most clips need none

    if is_cut_short(path):
        raise _damaged(path)
    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            channels = {name: channel.pixels for name, channel in file.channels().items()}
            return dict(file.header()), channels  # closing the file empties its own header
    except (RuntimeError, ValueError, TypeError, OSError) as error:
        raise _damaged(path) from error


def _read_exr(path: Path) -> NDArray[np.uint16]:
    """Colour of an EXR (plain `R G B`, grey `Y`, or the first layer with R, G, B), as sRGB."""
    header, channels = _open_exr(path)
    # Plain R, G, B have the empty prefix and so come first.
    layers = sorted(name[:-1] for name in channels if name.endswith("R"))
    layer = next((prefix for prefix in layers if {prefix + "G", prefix + "B"} <= channels.keys()), None)
    if layer is not None:
        names = [layer + c for c in "RGB"]
    elif "Y" in channels:
        names = ["Y"] * 3
    else:
        raise InputError(f"{path} holds no colour (its channels are {', '.join(sorted(channels))}): export R, G and B.")
    planes = [channels[name].astype(np.float32) for name in names]
    if len({plane.shape for plane in planes}) > 1:
        raise InputError(f"{path} stores its colour channels at different sizes: export plain R, G and B.")
    return srgb_from_linear(_in_display_window(np.stack(planes, axis=-1), header))


def _in_display_window(linear: NDArray[np.float32], header: dict[str, Any]) -> NDArray[np.float32]:
    """Place the data window in the display window: overscan is cut, what is missing is black."""
    data_min = np.asarray(header["dataWindow"][0])
    show_min, show_max = (np.asarray(corner) for corner in header["displayWindow"])
    width, height = (int(n) for n in show_max - show_min + 1)
    left, top = (int(n) for n in data_min - show_min)
    rows, columns = linear.shape[:2]
    if (left, top, columns, rows) == (0, 0, width, height):
        return linear
    shown = np.zeros((height, width, 3), np.float32)
    y0, y1, x0, x1 = max(top, 0), min(top + rows, height), max(left, 0), min(left + columns, width)
    if y0 < y1 and x0 < x1:
        shown[y0:y1, x0:x1] = linear[y0 - top : y1 - top, x0 - left : x1 - left]
    return shown


def _damaged(path: Path) -> InputError:
    return InputError(f"{path} is damaged or no image that can be read: open it in a viewer and export it again.")


@contextmanager
def quiet_opencv() -> Generator[None]:
    """Keep OpenCV's own log lines away from the terminal: our sentence says what is wrong."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(0)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


@dataclass(frozen=True)
class NumberedImages:
    """Image files numbered from 0, read one at a time: (H, W, 3) uint8 sRGB."""

    folder: Path
    pattern: str
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]:
        if not 0 <= index < self.count:
            raise IndexError(index)
        return to_uint8(read_image(self.folder / (self.pattern % index)))

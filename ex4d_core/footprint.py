"""How much disk results take, told before they are made.

Rates are bytes for each pixel of a frame, a fifth to two thirds over what was measured on the bundled sample (rendered,
832x480), its embedded depth, and the flower clip (camera footage, 512x512): their noise, not their size, is what
varies. Pure noise, which does not compress, takes more.
"""

from __future__ import annotations

_COLOR = 1.75
"""8-bit PNG: sample 1.45, flower 0.82."""
_COLOR_DEEP = 5.0
"""16-bit PNG of footage deeper than 8 bits: the sample with the noise of a 10-bit camera 3.9."""
_DEPTH = 1.0
"""Half-float EXR: sample 0.28 (true depth) and 0.46 (embedded), flower 0.85."""
_OCCLUSION = 0.15
"""Sample 0.09, flower 0.10."""
_LOSSLESS_COLOR = 2.0
"""color.mp4, method `quads`: sample 1.48 from 25 degrees, 1.64 where almost nothing is unseen, flower 0.91 and 0.94."""
_LOSSLESS_MASK = 0.45
"""mask.mp4: sample 0.19, flower 0.27; `dwmesh`, whose edges are rougher, 0.26 and 0.29."""
_PASSES = {"depth": _DEPTH, "risk": 0.9, "risk-exr": 2.2}
"""Sample 0.29, 0.32 and 1.0, embedded 0.36, 0.45 and 1.4, flower 0.67, 0.54 and 1.6; nothing where nothing moves."""
_EXR = 7.5
"""exr/: sample 5.1 (true depth) and 5.4 (embedded), flower 6.2."""
_VIEWING = 0.15
"""output.mp4: sample 0.06, flower 0.03."""

_FILE = 4096
"""Rounding up to whole blocks, and headers."""
_FRAME = 8192
"""What grows with the frames besides pictures: cameras and records in JSON, and sound (ALAC at 24 frames a second
5 KB)."""
_DOCUMENTS = 65536


def scene_bytes(
    width: int, height: int, frames: int, plate_size: tuple[int, int] | None = None, *, bit_depth: int = 8
) -> int:
    """Bytes on disk of a scene folder (DESIGN section 3).

    Args:
        width: working size, pixels.
        height: see `width`.
        frames: of the scene.
        plate_size: width and height of the plate, pixels; None: none is kept.
        bit_depth: of the footage, as in `ClipInfo`.
    """
    color = _COLOR if bit_depth <= 8 else _COLOR_DEEP
    plate = 0 if plate_size is None else plate_size[0] * plate_size[1]
    pictures = width * height * (color + _DEPTH + _OCCLUSION) + plate * color
    return _DOCUMENTS + frames * round(pictures + 4 * _FILE + _FRAME)


def estimating_bytes(width: int, height: int, frames: int) -> int:
    """Bytes on disk that an estimator takes while it works: two float32 maps of each frame, see `FrameStore`.

    Args:
        width: working size, pixels; models see no more.
        height: see `width`.
        frames: of the scene.
    """
    return 2 * 4 * width * height * frames


def render_bytes(width: int, height: int, frames: int, passes: tuple[str, ...] = ()) -> int:
    """Bytes on disk of a rendered shot folder, before anything is generated in it.

    Args:
        width: of the shot, pixels.
        height: see `width`.
        frames: of the shot.
        passes: of `rendering.PASSES`.
    """
    rate = _LOSSLESS_COLOR + _LOSSLESS_MASK + sum(_PASSES[name] for name in passes)
    return _DOCUMENTS + frames * round(width * height * rate + len(passes) * _FILE + _FRAME)


def generate_bytes(width: int, height: int, frames: int, *, exr: bool = False) -> int:
    """Bytes on disk that generating adds to a shot folder: output/ and output.mp4.

    Args:
        width: of the shot, pixels.
        height: see `width`.
        frames: of the shot.
        exr: see `exr_bytes`, which is added.
    """
    output = _DOCUMENTS + frames * round(width * height * (_COLOR + _VIEWING) + _FILE + _FRAME)
    return output + exr_bytes(width, height, frames) if exr else output


def scratch_bytes(width: int, height: int, frames: int) -> int:
    """Bytes on disk that generating takes while it lasts: colour and mask as they are (see `generate.opening`).

    Args:
        width: of the shot, pixels.
        height: see `width`.
        frames: of the shot.
    """
    return 4 * width * height * frames


def exr_bytes(width: int, height: int, frames: int) -> int:
    """Bytes on disk of exr/ in a shot folder.

    Args:
        width: of the shot, pixels.
        height: see `width`.
        frames: of the shot.
    """
    return frames * round(width * height * _EXR + _FILE)

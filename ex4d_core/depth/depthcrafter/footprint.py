"""How much video memory a clip needs at least, told before it is begun.

Counted by `scripts/bench_depthcrafter.py`: the bytes of all tensors that live at once while the real models run, in
float16. What a card's libraries take besides is not in it, so what is refused here would fail for certain.
"""

from __future__ import annotations

from ex4d_core.depth.depthcrafter.conversion import working_size
from ex4d_core.depth.depthcrafter.denoising import DECODED
from ex4d_core.depth.depthcrafter.windows import WINDOW

_UNET, _VAE = 3_050_000_000, 196_000_000
"""Of the weights."""
_PIECE = 640_000_000
"""Of what the UNet works on at once, see `thrift`."""
_UNET_PIXEL, _VAE_PIXEL = 96, 1530
"""For each pixel of each frame of a window, and of each frame decoded at once."""
_STEP = 64


def needed_bytes(size: tuple[int, int], frames: int) -> int:
    """Video memory for a clip.

    Args:
        size: width and height that the model works at, pixels.
        frames: of the clip.
    """
    pixels = size[0] * size[1]
    denoising = _UNET + _PIECE + _UNET_PIXEL * pixels * min(frames, WINDOW)
    return max(denoising, _VAE + _VAE_PIXEL * pixels * min(frames, DECODED))


def largest_side(size: tuple[int, int], frames: int, free: int) -> int | None:
    """The longer side, pixels, at which a clip of these proportions fits into `free` bytes; None: at none.

    Args:
        size: width and height of the clip, pixels.
        frames: of the clip.
        free: bytes of video memory.
    """
    longer = max(size)
    for side in range(longer // _STEP * _STEP, 0, -_STEP):
        smaller = working_size(round(size[0] * side / longer), round(size[1] * side / longer))
        if needed_bytes(smaller, frames) <= free:
            return side
    return None

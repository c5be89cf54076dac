"""What Wan-VACE is shown: a control video, what of it to make anew, and a picture to go by, as 96 latent channels.

The opposite of our own conventions, and a mistake raises nothing but spoils the video: holes are mid-grey, not black,
and in the mask 1 (255) means "generate", not "seen". The arithmetic is that of the reference
(github.com/ali-vilab/VACE, vace/models/wan/wan_vace.py) but for one thing: it takes the mask of a latent frame from
one of the video's frames, the nearest after resampling 4n+1 frames to n+1, which for the first third of a video
belongs to the next latent frame. Here a latent frame is generated where any of its own frames has a hole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ex4d_core.errors import InputError
from ex4d_core.generate.latents import FRAMES_PER_LATENT, PIXELS_PER_LATENT

MULTIPLE = 16
"""Width and height in pixels: 8 of the VAE, times 2 of the transformer's patches."""


@dataclass(frozen=True, eq=False)
class VaceInputs:
    """A window in VACE's conventions, all of one size."""

    video: Tensor
    """(1, 3, T, h, w) float32, -1..1; 0, which is grey 127.5, where there is something to generate."""
    generate: Tensor
    """(1, 1, T, h, w) float32: 1 = generate, 0 = keep; the same in the frames of a latent frame."""
    reference: Tensor | None
    """(1, 3, 1, h, w) float32, -1..1."""

    @property
    def reference_frames(self) -> int:
        """Latent frames at the beginning that are the reference's, not the video's."""
        return 0 if self.reference is None else 1


def vace_inputs(
    color: NDArray[np.uint8], mask: NDArray[np.bool_], reference: NDArray[np.uint8] | None = None
) -> VaceInputs:
    """Turn a window into VACE's conventions.

    Args:
        color: (T, h, w, 3) uint8 sRGB; T = 4n+1, h and w multiples of 16. What it holds in holes does not matter.
        mask: (T, h, w) bool, True = seen.
        reference: (H, W, 3) uint8 sRGB of any size: fitted into h x w, white beside it, as the reference does.

    Raises:
        InputError: the mask is not of the video's size and length, or the model cannot take that size or length.
    """
    _check(color, mask)
    holes = joined_holes(mask)
    grey = _signed(color)  # (T, h, w, 3)
    grey[holes] = 0
    height, width = mask.shape[1:]
    return VaceInputs(
        video=torch.from_numpy(grey).permute(3, 0, 1, 2).contiguous()[None],
        generate=torch.from_numpy(holes.astype(np.float32))[None, None],
        reference=None if reference is None else _fitted(reference, height, width),
    )


def joined_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Holes, joined over the frames that share a latent frame: 0; 1 to 4; 5 to 8; ...

    What is kept of a latent frame is kept of all its frames, so that a hole in one of them is a hole in all.

    Args:
        mask: (T, h, w) bool, True = seen; T = 4n+1.

    Returns:
        (T, h, w) bool, True = to be generated.
    """
    holes = ~mask
    groups = holes[1:].reshape(-1, FRAMES_PER_LATENT, *mask.shape[1:]).any(axis=1)  # (n, h, w)
    return np.concatenate([holes[:1], np.repeat(groups, FRAMES_PER_LATENT, axis=0)])


def control_latents(inputs: VaceInputs, encode: Callable[[Tensor], Tensor]) -> Tensor:
    """The 96 channels of VACE's second branch: what is kept, what is generated, and where.

    Args:
        inputs: the window.
        encode: the VAE: (1, 3, T, h, w) in -1..1 -> (1, 16, 1 + (T-1)/4, h/8, w/8), the posterior's mean, normalised.

    Returns:
        (1, 96, R + 1 + (T-1)/4, h/8, w/8) as `encode` gives them: 16 channels of the video where it is kept, 16
        where it is generated, 64 of the mask. R is `reference_frames`; these come first.
    """
    kept = encode(inputs.video * (1 - inputs.generate))
    generated = encode(inputs.video * inputs.generate)
    where = mask_channels(inputs.generate).to(kept)
    channels = torch.cat([kept, generated, where], dim=1)
    if inputs.reference is None:
        return channels
    picture = encode(inputs.reference)
    nothing = picture.new_zeros(1, channels.shape[1] - picture.shape[1], *picture.shape[2:])
    return torch.cat([torch.cat([picture, nothing], dim=1), channels], dim=2)


def mask_channels(generate: Tensor) -> Tensor:
    """The mask at latent size without loss: the 8x8 pixels of a latent pixel become 64 channels, row by row.

    Args:
        generate: (1, 1, T, h, w), the same in the frames of a latent frame.

    Returns:
        (1, 64, 1 + (T-1)/4, h/8, w/8).
    """
    frames = torch.cat(
        [generate[0, 0, :1], generate[0, 0, 1::FRAMES_PER_LATENT]]
    )  # (n+1, h, w), one for each latent frame
    blocks = frames.unflatten(2, (-1, PIXELS_PER_LATENT)).unflatten(1, (-1, PIXELS_PER_LATENT))  # (n+1, h/8, 8, w/8, 8)
    return blocks.permute(2, 4, 0, 1, 3).flatten(0, 1)[None]


def _check(color: NDArray[np.uint8], mask: NDArray[np.bool_]) -> None:
    if color.shape != (*mask.shape, 3):
        raise InputError(
            f"VACE was given a video of {_size(color.shape[:3])} and a mask of {_size(mask.shape)}: "
            "make them of one size and length."
        )
    frames, height, width = mask.shape
    if frames % FRAMES_PER_LATENT != 1:
        fewer = frames // FRAMES_PER_LATENT * FRAMES_PER_LATENT + 1
        raise InputError(f"VACE cannot make {frames} frames: give it 4n+1, such as {fewer}.")
    if height % MULTIPLE or width % MULTIPLE:
        raise InputError(f"VACE cannot make {width}x{height}: make both multiples of {MULTIPLE}.")


def _size(shape: tuple[int, ...]) -> str:
    frames, height, width = shape
    return f"{frames} frames of {width}x{height}"


def _signed(color: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 0..255 as float32 -1..1, with no second copy of what may be 400 MB."""
    signed = color.astype(np.float32)
    signed /= 127.5
    signed -= 1
    return signed


def _fitted(picture: NDArray[np.uint8], height: int, width: int) -> Tensor:
    """A picture made as large as fits, in the middle of a white one: (1, 3, 1, height, width) float32, -1..1."""
    pixels = torch.from_numpy(_signed(picture)).permute(2, 0, 1)[None]  # (1, 3, H, W)
    scale = min(height / pixels.shape[2], width / pixels.shape[3])
    inner = max(1, round(pixels.shape[2] * scale)), max(1, round(pixels.shape[3] * scale))
    # Antialiased, which the reference is not: footage is often several times larger than the window.
    resized = functional.interpolate(pixels, size=inner, mode="bilinear", align_corners=False, antialias=True)
    canvas = pixels.new_ones(1, 3, 1, height, width)
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    canvas[:, :, 0, top : top + inner[0], left : left + inner[1]] = resized
    return canvas

"""From a shot's size to one that a model can do, and back, without squashing.

A shot larger than the model's budget is made smaller, by the same factor in both directions; a smaller one keeps its
size, for nothing is gained by enlarging it. What is missing to multiples of 16 is padded with the outermost pixels on
the right and below, and cut away from the result: cropping instead would leave pixels of the shot without a picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.generate.video_model import Limits

_T = TypeVar("_T", np.uint8, np.bool_)

_WHOLLY_SEEN = 0.999
"""A pixel made of several counts as seen if this share of it is: all but the rounding of the mean."""


@dataclass(frozen=True)
class Fit:
    """How the frames of a shot lie in those of a model."""

    shot: tuple[int, int]
    """Width and height of the shot, pixels."""
    content: tuple[int, int]
    """Of the shot in the model's frame, from the upper left corner; the rest is padding."""
    model: tuple[int, int]
    """Of the model's frame, multiples of `Limits.multiple`."""

    @property
    def scaled(self) -> bool:
        """Whether the shot is made smaller for the model."""
        return self.shot != self.content

    def shrink(self, color: NDArray[np.uint8], mask: NDArray[np.bool_]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """A frame as the model gets it.

        A pixel is seen only if all that it is made of was: a mean with the black of what is unseen would be a dark
        rim that the model takes for footage.

        Args:
            color: (h, w, 3) uint8, of the shot.
            mask: (h, w) bool.

        Returns:
            (h', w', 3) uint8, black where not seen, and (h', w') bool.
        """
        if self.scaled:
            color = resized(color, self.content)
            seen = cv2.resize(mask.astype(np.float32), self.content, interpolation=cv2.INTER_AREA)
            mask = seen >= _WHOLLY_SEEN
        return self._padded(np.where(mask[..., None], color, np.uint8(0))), self._padded(mask)

    def picture(self, color: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A whole picture of any size in the model's frame: (h, w, 3) -> (h', w', 3) uint8, its middle if need be."""
        (height, width), (wide, high) = color.shape[:2], self.content
        scale = max(wide / width, high / height)
        size = (max(wide, round(width * scale)), max(high, round(height * scale)))
        color = resized(color, size)
        left, top = (size[0] - wide) // 2, (size[1] - high) // 2
        return self._padded(color[top : top + high, left : left + wide])

    def enlarge(self, color: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A frame of the model at the shot's size: (h', w', 3) -> (h, w, 3) uint8."""
        return resized(self.cropped(color), self.shot)

    def cropped(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Frames of the model without padding: (..., h', w', 3) uint8; also smaller ones, such as previews."""
        high, wide = frames.shape[-3:-1]
        rows = max(1, round(high * self.content[1] / self.model[1]))
        columns = max(1, round(wide * self.content[0] / self.model[0]))
        return frames[..., :rows, :columns, :]

    def _padded(self, frame: NDArray[_T]) -> NDArray[_T]:
        below, right = self.model[1] - self.content[1], self.model[0] - self.content[0]
        return np.pad(frame, ((0, below), (0, right), *((0, 0),) * (frame.ndim - 2)), mode="edge")


def fit(width: int, height: int, limits: Limits) -> Fit:
    """The size at which a model makes a shot: the largest content within its budget, then the least padding.

    Args:
        width: of the shot, pixels.
        height: of the shot, pixels.
        limits: of the model.
    """
    step = limits.multiple
    best: tuple[float, int, tuple[int, int]] | None = None
    for high in range(step, _up(height, step) + 1, step):
        wide = min(limits.pixels // high // step * step, _up(width, step))
        if wide < step:
            break
        scale = min(wide / width, high / height, 1.0)
        # Of the width that the budget allows, no more than the content takes.
        wide = min(wide, _up(max(1, round(width * scale)), step))
        found = (-scale, wide * high, (wide, high))
        if best is None or found < best:
            best = found
    assert best is not None, "the budget holds at least one block"
    scale, model = -best[0], best[2]
    content = (width, height) if scale == 1.0 else (_scaled(width, scale), _scaled(height, scale))
    return Fit((width, height), content, model)


def resized(color: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(h, w, 3) uint8 at another width and height: means when it gets smaller, Lanczos when it gets larger."""
    height, width = color.shape[:2]
    if (width, height) == size:
        return color
    smaller = size[0] * size[1] < width * height
    return cv2.resize(color, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LANCZOS4).astype(np.uint8)


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


def _scaled(value: int, scale: float) -> int:
    return max(1, round(value * scale))

"""Frames handed to a model in another Python, as PNG files that go when it has looked at them."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from ex4d_core.depth import ColorFrames
from ex4d_core.images import write_png
from ex4d_core.progress import Cancelled, stop_if


@contextmanager
def frame_files(frames: ColorFrames, wanted: Iterable[int], folder: Path, cancelled: Cancelled) -> Generator[list[str]]:
    """Write frames as files into a folder that is gone afterwards.

    Args:
        frames: (H, W, 3) uint8 each.
        wanted: their numbers, in any order, as often as they are needed: each is written once.
        folder: is made, and removed with all that it holds.
        cancelled: asked for each.

    Yields:
        A path for each of `wanted`.

    Raises:
        OutputError: they cannot be written.
        CancelledError: `cancelled` said so.
    """
    numbers = list(wanted)
    try:
        for number in sorted(set(numbers)):
            stop_if(cancelled)
            folder.mkdir(parents=True, exist_ok=True)
            write_png(folder / f"{number:06d}.png", frames[number])
        yield [str(folder / f"{number:06d}.png") for number in numbers]
    finally:
        shutil.rmtree(folder, ignore_errors=True)

"""Encoding a lossless video in a thread of its own, fed frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from queue import Queue
from threading import Thread
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

# Frames that may wait for the encoder: bounds the memory when it is slower than the renderer.
_WAITING = 3


class VideoFeed:
    """Turns `clip.write_lossless`, which pulls frames, into something that frames are put into.

    Several videos can so be written side by side. Leaving the block waits for the encoder; leaving it with an
    error stops the encoder and leaves the file unfinished, to be thrown away with its folder.
    """

    def __init__(self, path: Path, fps: Fraction) -> None:
        """Start encoding.

        Args:
            path: the video file.
            fps: frames per second.
        """
        self._queue: Queue[NDArray[Any] | None] = Queue(_WAITING)
        self._error: BaseException | None = None
        self._aborted = False
        self._ended = False
        self._thread = Thread(target=self._encode, args=(path, fps), name=f"encode {path.name}", daemon=True)

    def put(self, frame: NDArray[Any]) -> None:
        """Hand over a frame: (h, w, 3) uint8 RGB or (h, w) bool; it must not change afterwards.

        Raises:
            OutputError: the video cannot be written; so does leaving the block.
        """
        if self._error is not None:
            raise self._error
        self._queue.put(frame)

    def __enter__(self) -> VideoFeed:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._aborted = kind is not None
        self._queue.put(None)
        self._thread.join()
        if self._error is not None and kind is None:
            raise self._error

    def _encode(self, path: Path, fps: Fraction) -> None:
        from ex4d_core.clip import write_lossless  # loads FFmpeg: only where a video is made

        frames = self._pull()
        try:
            write_lossless(path, frames, fps)
        except BaseException as error:  # handed to the thread that puts
            self._error = error
        # Somebody may wait for a place in the queue: go on taking until the end mark.
        while not self._ended:
            self._ended = self._queue.get() is None

    def _pull(self) -> Iterator[NDArray[Any]]:
        while (frame := self._queue.get()) is not None:
            if self._aborted:
                raise _Aborted
            yield frame
        self._ended = True
        if self._aborted:
            raise _Aborted


class _Aborted(Exception):
    """The frames will not come."""

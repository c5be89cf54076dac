"""Cuts in a clip: the frames at which another take begins.

PySceneDetect says where the picture changes more than it does around; whether what follows shows something else is
then looked at: after a fast pan the picture before can still be found in it, after a flash or a black frame it comes
back. Dissolves and fades have no frame at which they happen, and are not found.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain, repeat

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d_core.depth import ColorFrames
from ex4d_core.progress import Cancelled, OnProgress, never_cancelled, silent, stop_if

Bytes = NDArray[np.uint8]

SIDE = 256
"""Pixels of the longer side at which frames are compared."""

WINDOW = 2
"""Frames before and after a change that it is compared with."""

LEAST_CHANGE = 8.0
"""Mean change of hue, saturation and brightness, 0..255, below which there is no cut; half of the library's default,
so that cuts between dark takes count."""

FLASH = 4
"""Frames that a flash, a black frame or a passing hand may last."""

SAME = 0.6
"""Correlation of two pictures, moved onto each other, above which they show the same."""

LEAST_PICTURE = 2.0
"""Standard deviation of brightness, 0..255, below which a frame shows nothing."""


def find_cuts(
    frames: ColorFrames, on_progress: OnProgress = silent, cancelled: Cancelled = never_cancelled
) -> tuple[int, ...]:
    """Find where a clip cuts to another take.

    Args:
        frames: T frames (H, W, 3) uint8 sRGB; each is read once, in order.
        on_progress: told about each frame.
        cancelled: asked before each frame.

    Returns:
        The first frame of every take but the first, ascending.

    Raises:
        CancelledError: `cancelled` said so.
    """
    changes: list[int] = []
    cuts: list[int] = []
    kept: OrderedDict[int, Bytes] = OrderedDict()
    for t, picture, changed in _watched(frames, on_progress, cancelled):
        kept[t] = picture
        if len(kept) > WINDOW + 2 * FLASH + 3:
            kept.popitem(last=False)
        changes += changed
        while changes and (t >= changes[0] + FLASH or t == len(frames) - 1):
            change = changes.pop(0)
            after = [kept[i] for i in range(change, min(change + FLASH, len(frames) - 1) + 1)]
            before = [kept[i] for i in range(max(change - FLASH - 1, 0), change) if i in kept]
            if not _goes_on(before, after):
                cuts.append(change)
    return tuple(cuts)


def _watched(
    frames: ColorFrames, on_progress: OnProgress, cancelled: Cancelled
) -> Iterator[tuple[int, Bytes, list[int]]]:
    """Every frame in grey, and the frames at which the library by then has seen a change."""
    from scenedetect.common import FrameTimecode
    from scenedetect.detectors import AdaptiveDetector

    detector = AdaptiveDetector(min_scene_len=0, window_width=WINDOW, min_content_val=LEAST_CHANGE)
    total = len(frames)
    picture = np.zeros((1, 1, 3), np.uint8)
    # the first and the last frame are shown a few times more, or changes beside them would have no surroundings
    for count, t in enumerate(chain(repeat(0, WINDOW), range(total), repeat(total - 1, WINDOW))):
        stop_if(cancelled)
        if WINDOW <= count < WINDOW + total or count == 0:
            picture = _reduced(frames[t])
        found = detector.process_frame(FrameTimecode(count, fps=Fraction(25)), np.ascontiguousarray(picture[..., ::-1]))
        changes = [code.frame_num - WINDOW for code in found]
        if count >= WINDOW:
            yield (
                t,
                np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8),
                [c for c in changes if 0 < c < total],
            )
            on_progress(t + 1, total, "looking for cuts")


def _goes_on(before: list[Bytes], after: list[Bytes]) -> bool:
    """Whether a take goes on over a change: what was seen just before it is seen again, or was seen earlier."""
    if _same(before[-1], after[0]):
        return True
    # a flash begins here: the picture of before comes back; or one ends here: the picture after was there before it
    return any(_same(before[-1], later) for later in after[1:]) or any(
        _same(earlier, after[0]) for earlier in before[:-1]
    )


def _same(a: Bytes, b: Bytes) -> bool:
    """Whether two pictures (h, w) uint8 show the same, by correlation after moving the one onto the other."""
    if min(float(a.std()), float(b.std())) < LEAST_PICTURE:
        return False
    (x, y), _ = cv2.phaseCorrelate(a.astype(np.float32), b.astype(np.float32), _window(a.shape))
    return max(_overlap(a, b, 0, 0), _overlap(a, b, round(x), round(y))) > SAME


def _window(shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.asarray(cv2.createHanningWindow((shape[1], shape[0]), cv2.CV_32F), np.float32)


def _overlap(a: Bytes, b: Bytes, x: int, y: int) -> float:
    """Correlation of what both show when `a` is moved by (x, y) pixels; 0 if that is less than a third of them."""
    height, width = a.shape
    if (width - abs(x)) * (height - abs(y)) < height * width / 3:
        return 0.0
    first = a[max(0, -y) : height - max(0, y), max(0, -x) : width - max(0, x)].astype(np.float32)
    second = b[max(0, y) : height - max(0, -y), max(0, x) : width - max(0, -x)].astype(np.float32)
    first, second = (cv2.GaussianBlur(part, (0, 0), 2.0) for part in (first, second))
    first, second = (part - part.mean() for part in (first, second))
    return float((first * second).mean() / (first.std() * second.std() + 1e-6))


def _reduced(frame: Bytes) -> Bytes:
    frame = np.ascontiguousarray(frame)
    scale = min(1.0, SIDE / max(frame.shape[:2]))
    size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)

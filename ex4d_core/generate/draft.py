"""The draft engine: no weights, no GPU, seconds; for previs and for machines without anything better.

For each unseen pixel, in this order: the far side of an object that may stand there, what other times of the clip
show there, and else a calm continuation of the background (see `layers` and `fill`). Seen pixels stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import cv2
import numpy as np

from ex4d_core.ahead import beside, in_order
from ex4d_core.background.showing import Backdrop
from ex4d_core.engines import EngineSetup, draft_workers
from ex4d_core.generate.engine import GeneratedFrame, Shot
from ex4d_core.generate.fill import blur_rows, elevation_prior, fill
from ex4d_core.generate.layers import Layer, SourceFrame, before, far_side, open_view, other_times
from ex4d_core.generate.video_model import OnPreview, no_preview
from ex4d_core.progress import Cancelled, OnProgress, stop_if

_OTHER_TIMES = 6
"""How many other moments of the clip are looked at, evenly spread."""
_TOO_CLOSE = 2
"""Frames nearer than this show the same as now."""
_THICKNESSES = (3.5, 6.0)
"""How steeply objects are believed to thicken behind their silhouette (see `layers.far_side`), beside not at all.
Nobody knows: the mean of the beliefs is nearer to the truth than each, and steadier."""
_PAIR_ROW_BLUR = 0.08
"""Standard deviation of the smoothing of row means where there is no scene, as a share of the height."""
# Softness of what was not seen, as shares of the width.
_BLUR_RECOVERED, _BLUR_INVENTED = 0.0014, 0.004


class DraftEngine:
    """Fills from the footage itself; what it invents is smooth."""

    def __init__(self, _setup: EngineSetup | None = None) -> None:
        self.settings: dict[str, str] = {}

    def generate(
        self, shot: Shot, on_progress: OnProgress, cancelled: Cancelled, _on_preview: OnPreview = no_preview
    ) -> Iterator[GeneratedFrame]:
        """See `Engine.generate`. Works for conditioning made elsewhere too, without depth and other times."""
        finish = _from_pair(shot) if shot.scene is None or shot.trajectory is None else _from_footage(shot, cancelled)
        with closing(in_order(finish, len(shot), draft_workers(), cancelled, "draft")) as frames:
            for index, frame in enumerate(frames):
                yield frame
                on_progress(index + 1, len(shot), "filling")


def _spread(frames: int, count: int) -> list[int]:
    """Up to `count` frame numbers, evenly spread, first and last included."""
    return sorted({round(t) for t in np.linspace(0, frames - 1, min(count, frames))})


def _from_pair(shot: Shot) -> Callable[[int, Cancelled], GeneratedFrame]:
    """Colour and mask alone: the prior is the mean colour of each row over the whole clip."""
    seen = shot.mask.sum(axis=(0, 2), dtype=np.float64)
    total = shot.color.sum(axis=(0, 2), dtype=np.float64)
    # Rows by themselves would show as stripes, and rows hardly seen as the colour of the one object in them.
    blur = _PAIR_ROW_BLUR * len(seen)
    seen, total = blur_rows(seen[:, None], blur)[:, 0], blur_rows(total, blur)
    if not seen.any():
        rows = np.full((len(seen), 3), 127.0)
    else:
        known = np.flatnonzero(seen)
        every = np.arange(len(seen))
        rows = np.stack([np.interp(every, known, total[known, c] / seen[known]) for c in range(3)], axis=1)
    prior = np.broadcast_to(rows[:, None].astype(np.float32), shot.color.shape[1:])

    def finish(index: int, _unwanted: Cancelled) -> GeneratedFrame:
        mask = shot.mask[index]
        return GeneratedFrame(fill(shot.color[index], mask, None, prior), np.zeros_like(mask), ~mask)

    return finish


def _from_footage(shot: Shot, cancelled: Cancelled) -> Callable[[int, Cancelled], GeneratedFrame]:
    scene, trajectory = shot.scene, shot.trajectory
    assert scene is not None
    assert trajectory is not None
    times = _spread(scene.frames, _OTHER_TIMES)
    backdrop = Backdrop.of(scene, shot.method, shot.background)
    loaded = in_order(lambda i, _: SourceFrame.load(scene, times[i]), len(times), draft_workers(), cancelled, "load")
    anchors = dict(zip(times, loaded, strict=True))
    seen = [(f.color, f.depth, f.camera) for f in anchors.values()]
    prior = beside(lambda unwanted: elevation_prior(seen, unwanted), cancelled, "prior")

    def finish(index: int, unwanted: Cancelled) -> GeneratedFrame:
        camera = trajectory.camera(index)
        t = trajectory.source_frame(index, scene.frames)
        now = anchors.get(t) or SourceFrame.load(scene, t)
        others = [frame for a, frame in anchors.items() if abs(a - t) >= _TOO_CLOSE]
        mask = shot.mask[index]
        present = open_view(now, camera)
        depth = present.depth
        if backdrop is not None:
            depth = np.where(present.there, depth, backdrop.depth(t, camera))
        picture = Layer(shot.color[index], np.where(mask, depth, np.float32(np.inf)))
        known = mask | present.there
        picture = picture.overlaid(present, known & ~mask)
        elsewhere = other_times(now, others, camera, ~known, unwanted)
        picture, known = picture.overlaid(elsewhere, elsewhere.there), known | elsewhere.there
        stop_if(unwanted)
        thin = fill(picture.color, known, picture.depth, prior.image(camera))
        recovered, believed = known & ~mask, [thin.astype(np.float32)]
        for steepness in _THICKNESSES:
            stop_if(unwanted)
            solid = far_side(now, camera, steepness)
            stands = ~mask & before(solid, picture.depth)
            believed.append(np.where(stands[..., None], solid.color, believed[0]))
            recovered &= ~stands
        stop_if(unwanted)
        invented = ~mask & ~recovered
        color = np.mean(believed, axis=0)
        for where, blur in ((recovered, _BLUR_RECOVERED), (invented, _BLUR_INVENTED)):
            soft = cv2.GaussianBlur(color, (0, 0), blur * mask.shape[1])
            color = np.where(where[..., None], soft, color)
        return GeneratedFrame(np.rint(color).astype(np.uint8), recovered, invented)

    return finish

"""Depth files, read as an import reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ingest_cases import FRAMES, HEIGHT, WIDTH

from ex4d_core.camera import Intrinsics
from ex4d_core.depth import DepthKind, DepthRequest, DepthResult
from ex4d_core.depth.registry import make_estimator
from ex4d_core.distortion import Distortion
from ex4d_core.progress import never_cancelled, silent


def estimate(
    path: Path,
    kind: DepthKind = "metric",
    value_range: tuple[float, float] | None = None,
    *,
    frames: int = FRAMES,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    start: int = 0,
    whole: int | None = None,
    clip_size: tuple[int, int] | None = None,
    channel: str | None = None,
    distortion: Distortion | None = None,
) -> DepthResult:
    request = DepthRequest(path, kind, value_range, clip_size, start, whole, channel=channel, distortion=distortion)
    colors = np.zeros((frames, size[1], size[0], 3), np.uint8)
    lens = [Intrinsics.unknown_lens(*size)] * frames
    return make_estimator("file", request).estimate(colors, lens, None, silent, never_cancelled)

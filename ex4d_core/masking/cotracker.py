"""Points followed by CoTracker3 (Karaev et al. 2024), from a checkout and weights of the user's.

Its code and weights are CC-BY-NC, not for commercial use; whether that reaches what is trained with its masks is a
question to its owners. It runs as a subprocess of this Python (`depth.worker`, `depth/runners/run_cotracker.py`).
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ex4d_core import depth
from ex4d_core.depth.worker import Worker, WorkerError
from ex4d_core.errors import InputError
from ex4d_core.files import explained
from ex4d_core.masking.tracking import Tracks
from ex4d_core.progress import Cancelled, never_cancelled, stop_if

RUNNER = Path(depth.__file__).parent / "runners" / "run_cotracker.py"
SOURCE = "https://github.com/facebookresearch/co-tracker"
WEIGHTS = "scaled_offline.pth"
"""What the weights were released as."""

_CODE = "cotracker/predictor.py"


@dataclass(frozen=True)
class CoTracker3:
    """Finds points again after they were hidden, which Lucas-Kanade does not; non-commercial.

    Where it looks, frames are 512x384. The network is loaded once in each process, at the first clip.
    """

    checkout: Path
    """A clone of `SOURCE`."""
    weights: Path
    """`WEIGHTS`, of the offline model."""

    name = "cotracker3"

    def __post_init__(self) -> None:
        if not (self.checkout / _CODE).is_file():
            raise InputError(f"{self.checkout} has no {_CODE}: name a clone of {SOURCE}.")
        if not self.weights.is_file():
            raise InputError(f"There is no file {self.weights}: name {WEIGHTS}, which the README of {SOURCE} links to.")

    def track(
        self, frames: NDArray[np.uint8], points: NDArray[np.float32], start: int, cancelled: Cancelled = never_cancelled
    ) -> Tracks:
        """See `PointTracker.track`.

        Raises:
            WorkerError: the model failed; the log that is named says why.
            OutputError: there is no room for the frames.
        """
        stop_if(cancelled)
        with tempfile.TemporaryDirectory(prefix="ex4d-") as folder:
            clip, out = Path(folder) / "frames.npy", Path(folder) / "tracks.npz"
            with explained(clip):
                np.save(clip, frames)
            request = {"frames": str(clip), "points": (points - 0.5).tolist(), "start": start, "out": str(out)}
            try:
                _worker(self.checkout.absolute(), self.weights.absolute()).ask(request, cancelled)
            except BaseException:
                _end_workers()  # it is gone, or at something that nobody wants
                raise
            with np.load(out, allow_pickle=False) as found:
                at, seen = np.asarray(found["at"], np.float32), np.asarray(found["seen"], np.bool_)
        if not np.isfinite(at).all():
            raise WorkerError(f"{self.name} gives numbers that are no places: check {self.weights}.")
        return Tracks(at + np.float32(0.5), seen)


_running: list[Worker] = []


@cache
def _worker(checkout: Path, weights: Path) -> Worker:
    """The one of this process."""
    worker = Worker(CoTracker3.name, Path(sys.executable), RUNNER, [checkout, weights])
    _running.append(worker)
    return worker


def _end_workers() -> None:
    _worker.cache_clear()
    while _running:
        _running.pop().close()

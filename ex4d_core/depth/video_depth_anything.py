"""The estimator `video-depth-anything-small` (Chen et al. 2025), from a checkout and a checkpoint of the user's.

It has no package, and asks for old ones; its own code runs as a subprocess (`worker`,
`runners/run_video_depth_anything.py`), the joining of its windows is ours (`keyframe_windows`).
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.depth import ColorFrames, DepthRequest, DepthResult
from ex4d_core.depth.chunks import takes
from ex4d_core.depth.enlarged import EnlargedDepth
from ex4d_core.depth.frame_files import frame_files
from ex4d_core.depth.frame_store import FrameStore
from ex4d_core.depth.keyframe_windows import STEP, JoinedWindows, join_windows, window_count, window_frames
from ex4d_core.depth.model_environment import has_environment, require_python
from ex4d_core.depth.scaling import Scaling, relative_scaling
from ex4d_core.depth.worker import Worker
from ex4d_core.errors import InputError, MissingDependencyError
from ex4d_core.progress import Cancelled, OnProgress

Floats = NDArray[np.float32]

RUNNER = Path(__file__).parent / "runners" / "run_video_depth_anything.py"
INPUT_SIZE = 518
"""Pixels of the shorter side that the network sees: the official default."""
CHECKPOINT = "checkpoints/video_depth_anything_vits.pth"

_CODE = "video_depth_anything/video_depth.py"
_SOURCE = "https://github.com/DepthAnything/Video-Depth-Anything"
_PACKAGES = ("torch", "torchvision", "cv2", "einops", "easydict", "tqdm")
"""What its inference imports; xformers it does without."""
_ENVIRONMENT = "depth-anything-3"
"""An environment of ours that has them, too."""


class VideoDepthAnythingEstimator:
    """Disparity of a whole take up to one scale and shift; 28 million weights."""

    name = "video-depth-anything-small"
    revision = 1

    def __init__(self, request: DepthRequest) -> None:
        """`request`: where the checkout is, what was cut, where to keep what is finished."""
        self._request = request

    def check(self, frames: int, size: tuple[int, int], on_progress: OnProgress, cancelled: Cancelled) -> None:
        """See `DepthEstimator.check`."""
        find_python(self._checkout())

    def estimate(
        self,
        frames: ColorFrames,
        intrinsics: list[Intrinsics],
        source_c2w: NDArray[np.float64] | None,
        on_progress: OnProgress,
        cancelled: Cancelled,
    ) -> DepthResult:
        """See `DepthEstimator.estimate`."""
        count = len(frames)
        store = FrameStore(self._request.work, f"{self.name}-{self.revision}", count)
        spans = takes(count, self._request.cuts)
        self._look(frames, spans, store.folder, on_progress, cancelled)
        size = (intrinsics[0].width, intrinsics[0].height)
        joined = [
            join_windows(end - start, partial(self._read, store.folder, start), size, cancelled) for start, end in spans
        ]
        scalings: list[Scaling] = []
        for take, (start, end) in zip(joined, spans, strict=True):
            scalings += [relative_scaling(take, range(end - start))] * (end - start)
        depth = EnlargedDepth(_Takes(store, spans, joined), scalings, frames)
        nearest, farthest = depth.range(cancelled)
        return DepthResult(
            depth=depth,
            nearest=nearest,
            farthest=farthest,
            units="relative",
            conversion={
                "kind": "disparity",
                "depth": "1 / (scale * disparity + shift)",
                "takes": [
                    {"first": start, "scale": scalings[start].scale, "shift": scalings[start].shift}
                    for start, _ in spans
                ],
            },
        )

    def _checkout(self) -> Path:
        """The user's folder, with the code and the weights.

        Raises:
            MissingDependencyError: none was named.
            InputError: a file is not there.
        """
        folder = self._request.model_dir
        if folder is None:
            raise MissingDependencyError(
                f"{self.name} has no package and is not downloaded here: clone {_SOURCE}, put its small checkpoint "
                f"(116 MB) where its README says ({CHECKPOINT}), and name the folder with --depth-model-dir."
            )
        for file in (_CODE, CHECKPOINT):
            if not (folder / file).is_file():
                raise InputError(
                    f"{folder} has no {file}: name a clone of {_SOURCE} with {CHECKPOINT} in it, as its README says."
                )
        return folder.absolute()

    def _look(
        self,
        frames: ColorFrames,
        spans: list[tuple[int, int]],
        folder: Path,
        on_progress: OnProgress,
        cancelled: Cancelled,
    ) -> None:
        """Let the network look at every window that it has not seen."""
        windows = [(start, end, window) for start, end in spans for window in range(window_count(end - start))]
        missing = [one for one in windows if not _window_file(folder, one[0], one[2]).is_file()]
        if not missing:
            return
        checkout = self._checkout()
        done = len(frames) - sum(_new_frames(*one) for one in missing)
        on_progress(done, len(frames), "loading depth model")
        arguments = [checkout, checkout / CHECKPOINT, str(INPUT_SIZE)]
        with Worker(self.name, find_python(checkout), RUNNER, arguments) as worker:
            worker.ask({"frames": []}, cancelled)
            for start, end, window in missing:
                wanted = [start + frame for frame in window_frames(window, end - start)]
                with frame_files(frames, wanted, folder / "frames", cancelled) as paths:
                    out = _window_file(folder, start, window).absolute()
                    worker.ask({"frames": paths, "out": str(out)}, cancelled)
                done += _new_frames(start, end, window)
                on_progress(done, len(frames), "estimating depth")

    def _read(self, folder: Path, start: int, window: int) -> Floats:
        path = _window_file(folder, start, window)
        try:
            with np.load(path, allow_pickle=False) as file:
                disparity = np.asarray(file["disparity"], np.float32)
        except (OSError, ValueError, KeyError) as error:
            path.unlink(missing_ok=True)
            raise InputError(f"The depth kept in {path} is damaged: run the same command again.") from error
        if not np.isfinite(disparity).all():
            path.unlink()
            raise InputError(
                f"{self.name} gives numbers that are no depth (NaN or infinite) after frame {start + window * STEP}: "
                "check the checkpoint, or choose another estimator with --estimator."
            )
        return disparity


@dataclass(frozen=True)
class _Takes:
    """Disparity of the clip's frames, from those of its takes."""

    store: FrameStore
    """Held, for it may be a temporary folder."""
    spans: list[tuple[int, int]]
    joined: list[JoinedWindows]

    def __getitem__(self, frame: int, /) -> Floats:
        for (start, end), joined in zip(self.spans, self.joined, strict=True):
            if start <= frame < end:
                return joined[frame - start]
        raise IndexError(frame)


def find_python(checkout: Path) -> Path:
    """An interpreter with what the official code imports: the checkout's own, ours, or that of Depth Anything 3.

    Raises:
        MissingDependencyError: there is none; the sentence says what to run.
    """
    program = "Scripts/python.exe" if sys.platform == "win32" else "bin/python"
    own = [checkout / name / program for name in (".venv", "venv")]
    candidates = [python for python in own if python.is_file()] or [Path(sys.executable)]
    if has_environment(_ENVIRONMENT):
        candidates.append(require_python(_ENVIRONMENT))
    lacking = ""
    for python in candidates:
        lacks = _lacks(python)
        if not lacks:
            return python
        lacking = lacking or f"{python} lacks {', '.join(lacks)}"
    raise MissingDependencyError(
        f"Video Depth Anything finds no Python with what it imports ({lacking}): run `ex4d models download "
        f"{_ENVIRONMENT}`, whose environment has all of it, or install them into {checkout / '.venv'}."
    )


def _lacks(python: Path) -> list[str]:
    """Packages that an interpreter does not have, of those needed."""
    ask = "import sys; from importlib.util import find_spec; print(*[n for n in sys.argv[1:] if find_spec(n) is None])"
    try:
        asked = subprocess.run(
            [str(python), "-I", "-c", ask, *_PACKAGES], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return list(_PACKAGES)
    return asked.stdout.split()


def _window_file(folder: Path, start: int, window: int) -> Path:
    return folder / f"{start:06d}-{window:05d}.npz"


def _new_frames(start: int, end: int, window: int) -> int:
    """How many frames of a take are seen first in a window, roughly: what progress counts."""
    return min(STEP, end - start - window * STEP)

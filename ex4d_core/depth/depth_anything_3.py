"""The estimator `depth-anything-3` (Lin et al. 2025): depth, lens and camera of many frames at once.

Its package pins old and heavy dependencies, so it runs as a subprocess (`worker`, `runners/run_depth_anything_3.py`) in
the environment that `ex4d models download depth-anything-3` makes (`model_environment`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.depth import ColorFrames, DepthRequest, DepthResult
from ex4d_core.depth.chunk_files import ChunkFiles, join_chunks
from ex4d_core.depth.chunks import plan_chunks, takes
from ex4d_core.depth.enlarged import EnlargedDepth
from ex4d_core.depth.frame_files import frame_files
from ex4d_core.depth.frame_store import FrameStore
from ex4d_core.depth.model_environment import require_python
from ex4d_core.depth.scaling import Scaling
from ex4d_core.depth.worker import Worker
from ex4d_core.errors import InputError
from ex4d_core.models import require
from ex4d_core.progress import Cancelled, OnProgress

RUNNER = Path(__file__).parent / "runners" / "run_depth_anything_3.py"
ENVIRONMENT = "depth-anything-3"

CHUNK, OVERLAP = 64, 16
"""Frames that the model sees at once, and those that two chunks share. A shot of 64 frames is one piece."""
RESOLUTION = 504
"""Pixels of the longer side that the model sees: its own default."""

ANY_VIEW = ("da3-small", "da3-base", "da3-large", "da3-giant", "da3nested-giant-large")
"""Checkpoints that tell cameras."""
_COMMERCIAL = ("da3-small", "da3-base", "da3metric-large", "da3mono-large")
"""Those under Apache-2.0; the others are CC BY-NC 4.0."""
_FIELDS_OF_VIEW = (5.0, 150.0)
"""Degrees across the picture; what the model tells beyond is not believed."""
_STEADY_LENS = 0.1
"""A focal length that varies less over a take, as a share of it, is taken for constant."""
_AS_IT_IS = Scaling(1.0, 0.0, 1e-9, 1e9)
"""The model tells depth, not disparity up to a shift."""


class DepthAnything3Estimator:
    """The any-view checkpoints: all frames of a take in one world."""

    name = "depth-anything-3"
    revision = 1

    def __init__(self, request: DepthRequest) -> None:
        """`request`: where the weights are, what was cut, where to keep what is finished."""
        self._request = request

    def check(self, frames: int, size: tuple[int, int], on_progress: OnProgress, cancelled: Cancelled) -> None:
        """See `DepthEstimator.check`."""
        checkpoint(self.name, self._request.model_dir, ANY_VIEW)
        require_python(ENVIRONMENT)

    def estimate(
        self,
        frames: ColorFrames,
        intrinsics: list[Intrinsics],
        source_c2w: NDArray[np.float64] | None,
        on_progress: OnProgress,
        cancelled: Cancelled,
    ) -> DepthResult:
        """See `DepthEstimator.estimate`."""
        folder, model = checkpoint(self.name, self._request.model_dir, ANY_VIEW)
        cuts, count = self._request.cuts, len(frames)
        chunks = plan_chunks(count, cuts, CHUNK, OVERLAP)
        store = FrameStore(self._request.work, f"{self.name}-{self.revision}-{model}", count)
        files = ChunkFiles(store, chunks, self.name)
        _look(files, folder, frames, on_progress, cancelled)
        joined = join_chunks(files, cancelled)
        depth = EnlargedDepth(joined, [_AS_IT_IS] * count, frames)
        nearest, farthest = depth.range(cancelled)
        lens, doubt = _lens(joined.focals(), takes(count, cuts), intrinsics)
        return DepthResult(
            depth=depth,
            nearest=nearest,
            farthest=farthest,
            units="metric" if model.startswith("da3nested") else "relative",
            conversion={"kind": "relative", "model": model, "chunks": len(chunks)},
            warnings=(*licence_warnings(model), *doubt),
            intrinsics=lens,
            source_c2w=joined.cameras(),
        )


def checkpoint(name: str, model_dir: Path | None, wanted: Sequence[str]) -> tuple[Path, str]:
    """The folder of a checkpoint and its name in the package, as its `config.json` tells.

    Args:
        name: of the estimator.
        model_dir: named by the user; None: what was downloaded.
        wanted: names that the estimator can use.

    Raises:
        MissingDependencyError: it was not downloaded; the sentence names the command.
        InputError: the user's folder holds no such checkpoint.
    """
    folder = model_dir or require(name)[0]
    try:
        model = str(json.loads((folder / "config.json").read_text("utf-8"))["model_name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} has no config.json of a Depth Anything 3 checkpoint: give --depth-model-dir a folder with it "
            "and model.safetensors, or none."
        ) from error
    if model not in wanted:
        raise InputError(
            f"{folder} holds the checkpoint {model}, and {name} takes {', '.join(wanted)}: "
            "give another --depth-model-dir."
        )
    if not (folder / "model.safetensors").is_file():
        raise InputError(f"{folder} has no model.safetensors: give --depth-model-dir a folder with one.")
    return folder, model


def start_worker(name: str, folder: Path) -> Worker:
    """A runner for a checkpoint. Raises: MissingDependencyError where there is no environment for it."""
    return Worker(name, require_python(ENVIRONMENT), RUNNER, [folder.absolute(), str(RESOLUTION)])


def licence_warnings(model: str) -> list[str]:
    """What to say of a checkpoint that is not for commercial work."""
    if model in _COMMERCIAL:
        return []
    return [f"The checkpoint {model} is licensed CC BY-NC 4.0: this depth is not for commercial work."]


def _look(files: ChunkFiles, folder: Path, frames: ColorFrames, on_progress: OnProgress, cancelled: Cancelled) -> None:
    """Let the model look at every chunk that it has not seen."""
    missing, count = files.missing(), len(frames)
    if not missing:
        return
    done = count - sum(len(files.chunks[index]) - files.chunks[index].shared for index in missing)
    on_progress(done, count, "loading depth model")
    with start_worker(files.estimator, folder) as worker:
        worker.ask({"frames": []}, cancelled)
        for index in missing:
            chunk = files.chunks[index]
            with frame_files(frames, range(chunk.start, chunk.stop), files.store.folder / "frames", cancelled) as paths:
                worker.ask({"frames": paths, "out": str(files.path(index).absolute())}, cancelled)
            done += len(chunk) - chunk.shared
            on_progress(done, count, "estimating depth")


def _lens(
    focals: NDArray[np.float64], spans: list[tuple[int, int]], assumed: list[Intrinsics]
) -> tuple[tuple[Intrinsics, ...] | None, list[str]]:
    """The lens of each frame at the clip's size: one for a take where it is steady.

    Args:
        focals: (T, 2) float64 shares of the width and the height.
        spans: first frame and end of each take.
        assumed: for the size.
    """
    angles = np.degrees(2 * np.arctan(0.5 / focals))
    low, high = _FIELDS_OF_VIEW
    if not ((angles > low) & (angles < high)).all():
        return None, ["The lens that depth-anything-3 sees is none that there is: give --fov if you know it."]
    found: list[Intrinsics] = []
    doubts: list[str] = []
    for start, end in spans:
        take = focals[start:end]
        middle = np.median(take, axis=0)
        p10, p90 = np.percentile(take[:, 0], (10, 90))
        if p90 - p10 <= _STEADY_LENS * middle[0]:
            take = np.broadcast_to(middle, take.shape)
        else:
            narrow, wide = (math.degrees(2 * math.atan(0.5 / share)) for share in (p90, p10))
            doubts.append(
                f"From frame {start} on the lens that depth-anything-3 sees changes from {wide:.0f} to {narrow:.0f} "
                "degrees, as in a zoom: give --fov if it was none."
            )
        for (across, down), lens in zip(take, assumed[start:end], strict=True):
            width, height = lens.width, lens.height
            found.append(Intrinsics(across * width, down * height, width / 2, height / 2, width, height))
    return tuple(found), doubts

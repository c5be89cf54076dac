"""The embedded estimator in chunks: joined without a step, resumed, and with memory that does not grow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from ex4d_core.camera import Intrinsics
from ex4d_core.depth import DepthRequest, DepthResult, builtin
from ex4d_core.depth.registry import make_estimator
from ex4d_core.errors import CancelledError
from ex4d_core.progress import never_cancelled, silent

LENS = Intrinsics(100, 100, 48, 32, 96, 64)


def clip(frames: int) -> np.ndarray:
    """(T, 64, 96, 3) uint8: a textured wall that slides by."""
    wide = np.random.default_rng(0).uniform(0, 255, (16, 60, 3)).astype(np.float32)
    wall = np.clip(cv2.resize(wide, (240, 64), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)
    return np.stack([wall[:, t : t + 96] for t in range(frames)])


def estimate(frames: np.ndarray, work: Path | None = None, cuts: tuple[int, ...] = ()) -> DepthResult:
    estimator = make_estimator("embedded", DepthRequest(work=work, cuts=cuts))
    return estimator.estimate(frames, [LENS] * len(frames), None, silent, never_cancelled)


def test_chunks_go_over_into_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = clip(14)
    whole = np.stack(list(estimate(frames).depth.iterate()))
    monkeypatch.setattr(builtin, "CHUNK", 6)
    monkeypatch.setattr(builtin, "OVERLAP", 3)
    found = estimate(frames)
    parts = np.stack(list(found.depth.iterate()))
    assert parts.shape == whole.shape == (14, 64, 96)
    scale = np.median(parts / whole, axis=(1, 2))
    assert scale.max() / scale.min() < 1.15, "no chunk has a scale of its own"
    steps = np.abs(np.diff(np.log(parts), axis=0)).mean(axis=(1, 2))
    assert steps.max() < 0.15, "no step where one chunk ends"
    assert parts.min() >= found.nearest * 0.999
    assert parts.max() <= found.farthest * 1.001


def test_a_chunk_in_another_scale_is_brought_to_the_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(builtin, "CHUNK", 6)
    monkeypatch.setattr(builtin, "OVERLAP", 3)
    frames = clip(9)
    before = np.stack(list(estimate(frames, tmp_path).depth.iterate()))
    second = sorted(tmp_path.iterdir())[1]
    for file in second.glob("*.npy"):
        np.save(file, 3 * np.load(file))
    after = np.stack(list(estimate(frames, tmp_path).depth.iterate()))
    np.testing.assert_allclose(after, before, rtol=1e-4)


def test_a_rerun_goes_on_after_the_last_chunk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(builtin, "CHUNK", 6)
    monkeypatch.setattr(builtin, "OVERLAP", 2)
    frames, begun = clip(14), list[int]()
    real = builtin.estimate_working_depth

    def counted(part: builtin._Part, *arguments: object) -> object:
        begun.append(part.chunk.start)
        if len(begun) == 3:
            raise CancelledError("Stopped.")
        return real(part, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(builtin, "estimate_working_depth", counted)
    with pytest.raises(CancelledError):
        estimate(frames, tmp_path)
    resumed = np.stack(list(estimate(frames, tmp_path).depth.iterate()))
    assert begun == [0, 4, 8, 8]
    monkeypatch.setattr(builtin, "estimate_working_depth", real)
    np.testing.assert_array_equal(resumed, np.stack(list(estimate(frames).depth.iterate())))


def test_what_is_said_of_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = clip(12)
    warnings = estimate(frames, cuts=(6,)).warnings
    assert warnings[-1] == "Each take of the clip has depth in a scale of its own."
    chunks = builtin.plan_chunks(12, (6,), 96, 12)
    mixed = builtin._notes(chunks, ["parallax", "heuristic"], 2)
    assert mixed[0].startswith("Frames 0-5: Depth was measured")
    assert mixed[1].startswith("Frames 6-11: The camera shows too little parallax")


def test_a_black_clip_is_said() -> None:
    assert builtin.NOTHING in estimate(np.zeros((4, 64, 96, 3), np.uint8)).warnings
    assert builtin.NOTHING not in estimate(clip(4)).warnings


MEASURE = """
import resource, sys
from test_depth_embedded_chunks import LENS, clip, make_estimator, DepthRequest, silent, never_cancelled
import cv2
class Frames:
    small = clip(100)
    def __len__(self): return int(sys.argv[1])
    def __getitem__(self, t): return cv2.resize(self.small[abs(t % 198 - 99)], (288, 192))
lens = LENS.resized(288, 192)
estimator, lenses = make_estimator("embedded", DepthRequest()), [lens] * len(Frames())
result = estimator.estimate(Frames(), lenses, None, silent, never_cancelled)
for depth in result.depth.iterate(): pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is read from the resource module")
def test_memory_does_not_grow_with_the_clip() -> None:
    """The flow of 96 frames is a quarter of a gigabyte here; three times as many take no more."""
    peaks: list[int] = []
    for frames in (100, 300):
        command = [sys.executable, "-c", MEASURE, str(frames)]
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
    assert peaks[1] < 1.1 * peaks[0], peaks

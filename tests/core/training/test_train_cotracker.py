"""CoTracker3 from a checkout of the user's. Here that is a stand-in of the same interface, whose points drift as its
weights say: what is tested is what we hand over, what we read back, and what we say when it goes wrong."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from ex4d_core import cli
from ex4d_core.depth.worker import WorkerError
from ex4d_core.errors import InputError
from ex4d_core.masking import tracking_masks
from ex4d_core.masking.cotracker import CoTracker3

CODE = """
import torch

class CoTrackerPredictor(torch.nn.Module):
    def __init__(self, checkpoint, offline, window_len, v2=False):
        super().__init__()
        assert checkpoint is None and offline and window_len == 60 and not v2
        self.model = torch.nn.Module()
        self.model.drift = torch.nn.Parameter(torch.zeros(2))

    @torch.no_grad()
    def forward(self, video, queries, backward_tracking):
        assert backward_tracking and video.dtype == queries.dtype == torch.float32
        batch, count, channels, height, width = video.shape
        assert (batch, channels, queries.shape[0], queries.shape[2]) == (1, 3, 1, 3)
        time = torch.arange(count)[None, :, None, None] - queries[:, None, :, :1]
        bright = video.mean(dim=(2, 3, 4)) > 100  # of 255
        return queries[:, None, :, 1:] + time * self.model.drift, bright[:, :, None].repeat(1, 1, queries.shape[1])
"""
DRIFT = (3.0, -1.0)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("co-tracker")
    (folder / "cotracker").mkdir()
    (folder / "cotracker" / "__init__.py").touch()
    (folder / "cotracker" / "predictor.py").write_text(CODE)
    torch.save({"model": {"drift": torch.tensor(DRIFT)}}, folder / "scaled_offline.pth")
    return folder


@pytest.fixture(scope="module")
def tracker(checkout: Path) -> CoTracker3:
    return CoTracker3(checkout, checkout / "scaled_offline.pth")


def test_points_go_over_and_come_back_in_our_pixels(tracker: CoTracker3) -> None:
    frames = np.full((5, 48, 64, 3), 150, np.uint8)
    frames[3] = 20
    points = np.array([[10.5, 20.5], [30.0, 40.25], [0.0, 0.0]], np.float32)
    tracks = pickle.loads(pickle.dumps(tracker)).track(frames, points, 2)
    expected = points + (np.arange(5)[:, None, None] - 2) * np.float32(DRIFT)
    np.testing.assert_allclose(tracks.at, expected, atol=1e-4)
    assert tracks.seen.tolist() == [[t != 3] * 3 for t in range(5)]


def test_patches_stick_to_what_it_finds(tracker: CoTracker3) -> None:
    frames = np.full((5, 48, 64, 3), 150, np.uint8)
    masks = tracking_masks(frames, tracker, seed=2, patches=(1, 1))
    assert 0 < (~masks[2]).mean() < 0.5
    inside = np.s_[12:36, 16:48]
    for t in range(4):
        moved = np.roll(masks[t], (-1, 3), axis=(0, 1))
        assert (moved[inside] == masks[t + 1][inside]).mean() > 0.99


def test_weights_are_read_without_running_what_is_in_them(checkout: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "touched",))

    torch.save({"model": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(WorkerError, match="cotracker3 failed"):
        CoTracker3(checkout, tmp_path / "evil.pth").track(
            np.zeros((2, 16, 16, 3), np.uint8), np.zeros((1, 2), np.float32), 0
        )
    assert not (tmp_path / "touched").exists()


def test_weights_that_do_not_fit_and_numbers_that_are_none_are_told(checkout: Path, tmp_path: Path) -> None:
    for drift, said in ((torch.zeros(3), "cotracker3 failed"), (torch.full((2,), torch.nan), "are no places")):
        torch.save({"drift": drift}, tmp_path / "w.pth")  # as some are: not within "model"
        with pytest.raises(WorkerError, match=said):
            CoTracker3(checkout, tmp_path / "w.pth").track(
                np.zeros((2, 16, 16, 3), np.uint8), np.zeros((1, 2), np.float32), 0
            )


def test_what_is_missing_is_told(checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"has no cotracker/predictor.py: name a clone of https://github.com/facebook"):
        CoTracker3(tmp_path, checkout / "scaled_offline.pth")
    with pytest.raises(InputError, match=r"There is no file .*none.pth"):
        CoTracker3(checkout, checkout / "none.pth")
    for arguments, said in (
        (["--tracker", "cotracker3"], "not for commercial use: clone"),
        (["--tracker-dir", str(checkout)], "add --tracker cotracker3"),
    ):
        with pytest.raises(SystemExit):
            cli.main(["train", "prepare", "sample", "-o", str(tmp_path / "out"), *arguments])
        assert said in capsys.readouterr().err

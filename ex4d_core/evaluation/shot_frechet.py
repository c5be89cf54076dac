"""How far apart two sets of pictures (FID) or of videos (FVD) are, in the features of a network from a local file.

FID is torchmetrics', of torch-fidelity's Inception; FVD is cd-fvd's, of its I3D. Both libraries download weights that
they are not given, and torch-fidelity unpickles what it is: so files are read here, tensors and nothing else, and
handed on.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import warnings
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ex4d_core.errors import InputError
from ex4d_core.evaluation.shot_lpips import read_weights, require_finite

CLIP_FRAMES = 16
"""Consecutive frames of a video that FVD looks at, as its authors do."""
_BATCH = 8
Videos = NDArray[np.uint8]


@dataclass
class Features:
    """What a network made of generated and of true ones: arrays (N, d) float32."""

    made: list[NDArray[np.float32]] = field(default_factory=list[NDArray[np.float32]])
    true: list[NDArray[np.float32]] = field(default_factory=list[NDArray[np.float32]])

    def __len__(self) -> int:
        """The smaller number of samples."""
        return min(sum(map(len, self.made)), sum(map(len, self.true)))


class Inception:
    """FID's network."""

    def __init__(self, file: Path) -> None:
        """Read weights-inception-2015-12-05-*.pth of torch-fidelity.

        Raises:
            InputError: the file is missing, damaged, or another network's.
        """
        from torchmetrics.image.fid import NoTrainInceptionV3

        with _rewritten(file) as clean, _only_that_network(file, "weights-inception-2015-12-05-6726825d.pth"):
            self._net: Any = NoTrainInceptionV3("inception-v3-compat", ["2048"], clean)

    @torch.inference_mode()
    def features(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, H, W, 3) uint8 sRGB -> (N, 2048)."""
        parts = [pictures[n : n + _BATCH] for n in range(0, len(pictures), _BATCH)]
        found = [self._net(torch.from_numpy(np.ascontiguousarray(p)).permute(0, 3, 1, 2)) for p in parts]
        features = torch.cat(found).numpy()
        require_finite(features, "Inception")  # SciPy crashes on them
        return features


class I3d:
    """FVD's network."""

    def __init__(self, file: Path) -> None:
        """Read i3d_pretrained_400.pt.

        Raises:
            InputError: the file is missing, damaged, or another network's.
        """
        from cdfvd.fvd import cdfvd  # pyright: ignore[reportMissingImports] - not where torchvision does not go with torch

        with _rewritten(file) as clean, _only_that_network(file, "i3d_pretrained_400.pt"), _quiet():
            self._judge: Any = cdfvd("i3d", ckpt_path=clean, device="cpu", compute_feats=True)

    def features(self, videos: Sequence[Videos]) -> NDArray[np.float32]:
        """Videos (`CLIP_FRAMES`, H, W, 3) uint8 sRGB -> (N, 400), one at a time."""
        self._judge.empty_fake_stats()
        self._judge.fake_stats.capture_all = True
        for video in videos:
            self._judge.add_fake_stats(video[None])
        features = np.asarray(self._judge.fake_stats.get_all(), np.float32)
        require_finite(features, "I3D")
        return features

    def distance(self, features: Features) -> float:
        """FVD; at least two samples of each."""
        self._judge.empty_fake_stats()
        self._judge.empty_real_stats()
        self._judge.fake_stats.append(np.concatenate(features.made))
        self._judge.real_stats.append(np.concatenate(features.true))
        with _quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # fewer clips than features: SciPy says that the covariance is singular
            return max(float(self._judge.compute_fvd_from_stats()), 0.0)


class _Given(nn.Module):
    """Features that were found before, for torchmetrics."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.num_features = size

    def forward(self, features: Tensor) -> Tensor:
        return features


def fid(features: Features) -> float:
    """Fréchet distance of features (N, d), by torchmetrics; at least two samples of each."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    true, made = (torch.from_numpy(np.concatenate(part)).double() for part in (features.true, features.made))
    judge = FrechetInceptionDistance(feature=_Given(true.shape[1]))
    judge.update(true, real=True)
    judge.update(made, real=False)
    return max(float(judge.compute()), 0.0)  # rounding makes it negative where the two are the same


def clips_of(video: Videos) -> list[Videos]:
    """The parts of `CLIP_FRAMES` frames that a video (T, H, W, 3) has, one after another; a rest is left out."""
    return [video[n : n + CLIP_FRAMES] for n in range(0, len(video) - CLIP_FRAMES + 1, CLIP_FRAMES)]


@contextlib.contextmanager
def _rewritten(file: Path) -> Generator[str]:
    """The name of a copy of a file of weights that holds tensors alone."""
    state = read_weights(file)
    with tempfile.TemporaryDirectory(prefix="ex4d-weights-") as folder:
        clean = Path(folder) / "weights.pt"
        torch.save(state, clean)
        yield str(clean)


@contextlib.contextmanager
def _only_that_network(file: Path, wanted: str) -> Generator[None]:
    """Say so where the tensors do not fit; torch lists hundreds of names."""
    try:
        yield
    except RuntimeError as error:
        raise InputError(f"{file} holds another network's weights: give {wanted}.") from error


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """cd-fvd prints, and stdout is for results."""
    with contextlib.redirect_stdout(sys.stderr):
        yield

"""Previews: the colours of a VAE are found, kept, and shown for two percent of the time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from tiny import models
from torch import Tensor, nn

from ex4d_core.generate import preview
from ex4d_core.generate.preview import SHARE, Previewer, apply_color_map, fit_color_map
from ex4d_core.generate.taew import TinyDecoder
from ex4d_core.generate.video_model import no_preview
from ex4d_core.model_files import ModelFiles

_CPU = torch.device("cpu")


class _LinearVae(nn.Module):
    """A VAE whose latents are its pictures' colours, mixed; three channels more hold what colours do not say."""

    dtype = torch.float32

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)
        self.mix = torch.randn(16, 3, generator=random)
        self.config = SimpleNamespace(latents_mean=list(range(16)), latents_std=[0.5 + 0.1 * i for i in range(16)])

    def encode(self, video: Tensor) -> Any:
        """(1, 3, 4t-3, h, w) -> (1, 16, t, h/8, w/8)."""
        frames = F.avg_pool3d(video[:, :, ::4], (1, 8, 8))
        mixed = torch.einsum("lc,bcthw->blthw", self.mix, frames)
        mixed[:, 13:] += torch.randn(mixed[:, 13:].shape, generator=torch.Generator().manual_seed(1))
        mean = torch.tensor(self.config.latents_mean).view(1, -1, 1, 1, 1)
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=mixed + mean))

    def clear_cache(self) -> None:
        """It has none."""


def _normalised(vae: _LinearVae, video: Tensor) -> Tensor:
    std = torch.tensor(vae.config.latents_std).view(1, -1, 1, 1, 1)
    mean = torch.tensor(vae.config.latents_mean).view(1, -1, 1, 1, 1)
    return (vae.encode(video).latent_dist.mean - mean) / std


def test_colours_are_recovered_where_latents_hold_them() -> None:
    vae = _LinearVae()
    coefficients = fit_color_map(vae, _CPU)
    assert coefficients.shape == (17, 3)
    colors = torch.rand(2, 3, 4, 6, generator=torch.Generator().manual_seed(2))  # (t, 3, h, w)
    frames = colors.repeat_interleave(8, 2).repeat_interleave(8, 3)
    video = torch.cat([frames[:1], frames[1:].expand(4, -1, -1, -1)]).movedim(1, 0)[None]
    found = apply_color_map(coefficients, _normalised(vae, video[:, :, [0, 4, 4, 4, 4]] * 2 - 1))
    assert found.shape == (2, 4, 6, 3)
    assert (found - colors.movedim(1, 3)).abs().max() < 1e-3


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    folder = tmp_path_factory.mktemp("models")
    models.vae(0).save_pretrained(folder / "vae")
    torch.manual_seed(0)
    save_file(TinyDecoder().state_dict(), folder / "taew2_1.safetensors")
    return ModelFiles(folder, folder / "vae", preview_decoder=folder / "taew2_1.safetensors")


class _Spy:
    """Collects previews; time passes when it is told, and while one is made."""

    def __init__(self, cost: float = 0.0) -> None:
        self.shown: list[NDArray[np.uint8]] = []
        self.now, self.cost = 100.0, cost

    def clock(self) -> float:
        """Seconds."""
        return self.now

    def __call__(self, frames: NDArray[np.uint8]) -> None:
        self.shown.append(frames)
        self.now += self.cost


def _latents(frames: int = 3) -> Tensor:
    return torch.randn(1, 16, frames, 4, 6, generator=torch.Generator().manual_seed(3))


def _show(previewer: Previewer, spy: _Spy, steps: int = 1, seconds: float = 1.0) -> float:
    """Denoise so many steps of so many seconds; the share of previews in all of it."""
    began = spy.now
    on_step = previewer.during(spy)
    for index in range(steps):
        spy.now += seconds
        on_step(index, _latents())
    return (spy.now - began - steps * seconds) / (spy.now - began)


def test_a_linear_map_is_fitted_once_for_each_vae(
    files: ModelFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, spy = replace(files, preview_decoder=None), _Spy()
    vae = models.vae(0)
    _show(Previewer(vae, files, "cpu", tmp_path, spy.clock), spy)
    assert spy.shown[0].shape == (3, 4, 6, 3)
    assert spy.shown[0].dtype == np.uint8
    assert spy.shown[0].std() > 5
    expected = apply_color_map(fit_color_map(vae, _CPU), _latents()).clamp(0, 1) * 255
    assert np.abs(spy.shown[0] - expected.numpy()).max() <= 0.51

    nothing: Any = None  # the next run does not touch the VAE
    _show(Previewer(nothing, files, "cpu", tmp_path, spy.clock), spy)
    assert np.array_equal(spy.shown[1], spy.shown[0])

    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:-5])
    _show(Previewer(vae, files, "cpu", tmp_path, spy.clock), spy)
    assert np.array_equal(spy.shown[2], spy.shown[0])

    models.vae(1).save_pretrained(tmp_path / "other")
    with pytest.raises(AttributeError):  # another VAE has another map
        _show(Previewer(nothing, replace(files, vae=tmp_path / "other"), "cpu", tmp_path, spy.clock), spy)


def test_a_map_that_cannot_be_kept_is_shown_all_the_same(
    files: ModelFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files, spy = replace(files, preview_decoder=None), _Spy()
    (tmp_path / "store").write_text("a file, where a folder should be")
    _show(Previewer(models.vae(0), files, "cpu", tmp_path / "store", spy.clock), spy)
    assert len(spy.shown) == 1
    assert "The colours of previews are not kept, and will be fitted again: Cannot write" in caplog.text


def test_the_tiny_decoder_is_used_where_there_is_one(files: ModelFiles, tmp_path: Path) -> None:
    spy, nothing = _Spy(), None
    vae: Any = nothing
    _show(Previewer(vae, files, "cpu", tmp_path, spy.clock), spy)
    assert spy.shown[0].shape == (3, 8, 12, 3)
    assert not list(tmp_path.iterdir())


def test_nothing_is_made_where_nobody_looks(files: ModelFiles, tmp_path: Path) -> None:
    nothing: Any = None
    previewer = Previewer(nothing, replace(files, preview_decoder=None), "cpu", tmp_path)
    previewer.during(no_preview)(0, _latents())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("cost", "shown"), [(0.001, 50), (0.019, 50), (0.05, 20), (0.9, 2), (5.0, 1)])
def test_previews_take_two_percent_of_the_time(cost: float, shown: int, files: ModelFiles, tmp_path: Path) -> None:
    """Of 50 steps of a second each; a costly first one is made up for before the next."""
    spy = _Spy(cost)
    share = _show(Previewer(models.vae(0), replace(files, preview_decoder=None), "cpu", tmp_path, spy.clock), spy, 50)
    assert len(spy.shown) in (shown, shown - 1)
    assert share <= SHARE or shown == 1


def test_what_a_preview_costs_is_known_in_the_next_window(files: ModelFiles, tmp_path: Path) -> None:
    spy = _Spy(cost=5.0)
    previewer = Previewer(models.vae(0), replace(files, preview_decoder=None), "cpu", tmp_path, spy.clock)
    assert _show(previewer, spy, 10) > SHARE
    assert _show(previewer, spy, 10) == 0.0


def test_a_preview_that_does_not_fit_is_left_out(
    files: ModelFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it stop the shot, or send it to a slower rung."""

    def full(*_args: Tensor) -> Tensor:
        tried.append(1)
        raise torch.OutOfMemoryError

    tried, spy = list[int](), _Spy()
    monkeypatch.setattr(preview, "apply_color_map", full)
    _show(Previewer(models.vae(0), replace(files, preview_decoder=None), "cpu", tmp_path, spy.clock), spy, 3)
    assert (len(tried), spy.shown) == (1, [])

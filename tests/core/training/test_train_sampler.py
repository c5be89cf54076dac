"""Which clip is trained on when: every one once an epoch, no two processes the same, and none that is damaged."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from train_cases import dataset

from ex4d_core.errors import InputError
from ex4d_core.training.parallel import World
from ex4d_core.training.pool import open_pool
from ex4d_core.training.sampler import Draw, Reader, draw, noise_of

VARIANTS = (4, 1, 4, 2, 3)


def epochs(count: int, seed: int = 7) -> list[list[Draw]]:
    size = len(VARIANTS)
    return [[draw(VARIANTS, seed, size * epoch + n) for n in range(size)] for epoch in range(count)]


def test_each_clip_comes_once_an_epoch_in_another_order() -> None:
    orders = [tuple(each.clip for each in epoch) for epoch in epochs(30)]
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)
    assert len(set(orders)) > 15
    assert epochs(30) == epochs(30)
    assert epochs(30, seed=8) != epochs(30)


def test_all_variants_come_equally_often() -> None:
    drawn = [each for epoch in epochs(2000) for each in epoch]
    for clip, count in enumerate(VARIANTS):
        found = np.bincount([each.variant for each in drawn if each.clip == clip], minlength=count)
        assert len(found) == count
        np.testing.assert_allclose(found / 2000, 1 / count, atol=0.05)


def test_processes_share_the_samples_of_a_step() -> None:
    step = range(24, 32)
    shares = [World(rank, 4, "cpu").share(step) for rank in range(4)]
    assert sorted(number for share in shares for number in share) == list(step)
    assert {len(share) for share in shares} == {2}
    assert list(World(0, 1, "cpu").share(step)) == list(step)


def test_each_sample_has_noise_of_its_own() -> None:
    first = {(seed, number): torch.randn(4, generator=noise_of(seed, number)) for seed in range(3) for number in (0, 9)}
    assert len({tuple(noise.tolist()) for noise in first.values()}) == 6
    assert torch.equal(torch.randn(4, generator=noise_of(2, 9)), first[2, 9])


def test_held_out_clips_are_never_trained_on(tmp_path: Path) -> None:
    one, two = dataset(tmp_path / "one", clips=3), dataset(tmp_path / "two", clips=4, seed=1)
    pool = open_pool([one, two], 2, seed=5)
    held = {(place.dataset.folder, place.number) for place in pool.held_out}
    kept = {(place.dataset.folder, place.number) for place in pool.training}
    assert (len(held), len(kept), pool.listed) == (2, 5, 7)
    assert not held & kept
    others = (open_pool([one, two], 2, seed) for seed in range(8))
    assert {tuple(place.number for place in pool.held_out) for pool in others} != {tuple(n for _, n in held)}
    with pytest.raises(InputError, match="has 7 clips that can be used, and 7 are to be held out"):
        open_pool([one, two], 7, seed=0)


def test_held_out_clips_may_come_from_elsewhere(tmp_path: Path) -> None:
    one, two = dataset(tmp_path / "one", clips=3), dataset(tmp_path / "two", clips=2, seed=1)
    pool = open_pool([one], 2, seed=5, apart=[two])
    assert [place.dataset.folder for place in pool.training] == [one] * 3
    assert {place.dataset.folder for place in pool.held_out} == {two}
    assert sorted(place.number for place in pool.held_out) == [0, 1]
    with pytest.raises(InputError, match="has 2 clips that can be used, and 3 are to be held out"):
        open_pool([one], 3, seed=5, apart=[two])


def spoilt(folder: Path, clip: int) -> None:
    """Its numbers are none; size and header are as they were."""
    file = folder / f"clips/clip-{clip}.safetensors"
    tensors = load_file(file)
    tensors["latents"][..., 0] = float("nan")
    size = file.stat().st_size
    save_file(tensors, file)
    assert file.stat().st_size == size


def test_damaged_clips_are_skipped_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = dataset(tmp_path / "clips", clips=6)
    spoilt(folder, 3)
    (folder / "clips/clip-5.safetensors").unlink()
    reader = Reader(open_pool([folder], 0, seed=0), seed=0, allowed=0.5)
    assert reader.damaged == ("clip-5: its shard is missing",)
    read = [reader.sample(number) for number in range(10)]  # two epochs of five clips
    assert all(sample.latents.isfinite().all() for sample in read)
    hit = [number for number in range(10) if draw([2] * 5, 0, number).clip == 3]
    assert len(hit) == 2
    again = Reader(open_pool([folder], 0, seed=0), seed=0, allowed=0.5)
    assert all(torch.equal(again.sample(number).latents, read[number].latents) for number in reversed(hit))
    assert again.skipped == reader.skipped >= 2
    assert len(reader.damaged) == 2
    assert "clip-3.safetensors has infinity or no numbers in 'latents'" in reader.damaged[1]
    assert caplog.text.count("Another sample is taken in its stead") == 2  # once by each reader


def test_too_many_damaged_clips_stop_it(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "clips", clips=4)
    (folder / "clips/clip-0.safetensors").unlink()
    spoilt(folder, 2)
    pool = open_pool([folder], 0, seed=0)
    with pytest.raises(InputError, match=r"1 of 4 clips are damaged or missing \(clip-0: .* missing\): mend"):
        Reader(pool, seed=0, allowed=0.1)
    reader = Reader(pool, seed=0, allowed=0.3)
    with pytest.raises(InputError, match=r"2 of 4 clips are damaged or missing \(.*clip-2.*\): mend the dataset"):
        [reader.sample(number) for number in range(3)]


def test_every_clip_damaged_is_an_end_too(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "clips", clips=2)
    spoilt(folder, 0)
    spoilt(folder, 1)
    reader = Reader(open_pool([folder], 0, seed=0), seed=0, allowed=0.9)
    with pytest.raises(InputError, match="2 of 2 clips"):
        reader.sample(0)

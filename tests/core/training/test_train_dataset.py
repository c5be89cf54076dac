"""Opening a dataset: what is damaged is left aside and told, or stops with a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from train_cases import TEXT_TOKENS, dataset

from ex4d_core.errors import InputError
from ex4d_core.training.dataset import open_dataset
from ex4d_core.training.dataset_format import INDEX, shard_of

CLIP = "clip-2"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return dataset(tmp_path / "data", clips=4)


def test_a_whole_dataset(folder: Path) -> None:
    opened = open_dataset(folder)
    assert (len(opened), opened.skipped) == (4, ())
    sample = opened.sample(1, 1)
    assert sample.latents.shape == sample.color.shape == sample.mask.shape == (1, 16, 2, 8, 8)
    assert sample.image.shape == (1, 20, 2, 8, 8)
    assert sample.text.shape[:2] == (1, 512)
    assert not sample.text[:, TEXT_TOKENS:].any()
    assert sample.text[:, :TEXT_TOKENS].all()
    stored = load_file(shard_of(folder, "clip-1"))
    assert torch.equal(sample.color[0], stored["color.1"].float())
    assert torch.equal(sample.mask[0], stored["mask.1"].float())
    assert all(tensor.dtype == torch.float32 for tensor in vars(sample).values())


def cut_short(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:-100])


def padded_with_nothing(shard: Path) -> None:
    """As long as it should be, and no header that can be read."""
    shard.write_bytes(bytes(shard.stat().st_size))


def without_mask(shard: Path) -> None:
    tensors = load_file(shard)
    tensors["something"] = tensors.pop("mask.1")
    rewritten(shard, tensors)


def of_another_size(shard: Path) -> None:
    """As many numbers, in another shape."""
    tensors = load_file(shard)
    tensors["color.0"] = tensors["color.0"].reshape(16, 2, 4, 16)
    rewritten(shard, tensors)


def of_another_type(shard: Path) -> None:
    tensors = load_file(shard)
    tensors["latents"] = tensors["latents"].view(torch.bfloat16)
    rewritten(shard, tensors)


def rewritten(shard: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Its length told anew in the index, so that it is the header that tells."""
    save_file(tensors, shard)
    index = shard.parent.parent / INDEX
    document = json.loads(index.read_text())
    next(clip for clip in document["clips"] if clip["name"] == CLIP)["bytes"] = shard.stat().st_size
    index.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (Path.unlink, "its shard is missing"),
        (cut_short, "bytes instead of"),
        (padded_with_nothing, "its shard is damaged"),
        (without_mask, "its shard lacks 'mask.1'"),
        (of_another_size, r"'color.0' is F16 (16, 2, 4, 16) instead of F16 (16, 2, 8, 8)"),
        (of_another_type, r"'latents' is BF16 (16, 2, 8, 8) instead of F16 (16, 2, 8, 8)"),
    ],
)
def test_a_bad_shard_is_left_aside_and_told(folder: Path, damage: Callable[[Path], None], reason: str) -> None:
    damage(shard_of(folder, CLIP))
    opened = open_dataset(folder)
    assert [clip.name for clip in opened.clips] == ["clip-0", "clip-1", "clip-3"]
    assert [skipped.name for skipped in opened.skipped] == [CLIP]
    assert reason in opened.skipped[0].reason
    assert torch.isfinite(opened.sample(2, 0).latents).all()


def test_a_dataset_without_a_whole_clip_is_none(folder: Path) -> None:
    for shard in (folder / "clips").glob("*.safetensors"):
        shard.unlink()
    with pytest.raises(InputError, match="no clip that can be used; clip-0: its shard is missing: run `ex4d train"):
        open_dataset(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_stop(folder: Path, value: float) -> None:
    tensors = load_file(shard_of(folder, CLIP))
    tensors["color.0"][3, 1, 2, 2] = value
    save_file(tensors, shard_of(folder, CLIP))
    opened = open_dataset(folder)
    with pytest.raises(InputError, match=rf"{CLIP}.safetensors has infinity or no numbers in 'color.0'"):
        opened.sample(2, 0)
    opened.sample(2, 1)


def test_a_shard_that_goes_while_it_is_used_stops(folder: Path) -> None:
    opened = open_dataset(folder)
    shard_of(folder, CLIP).unlink()
    with pytest.raises(InputError, match=rf"{CLIP}.safetensors is damaged or missing: run `ex4d train prepare`"):
        opened.sample(2, 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda index: index.pop("width"), r"width: Field required"),
        (lambda index: index.update(width=65), r"width: Input should be a multiple of 16"),
        (lambda index: index.update(schema="ex4d.training/2"), "schema: "),
        (lambda index: index["clips"][0].update(name="../../etc/passwd"), r"clips.0.name: "),
        (lambda index: index["clips"][0].update(variants=[]), r"clips.0.variants: "),
    ],
)
def test_an_index_that_is_none_is_told_with_the_place(
    folder: Path, change: Callable[[dict], object], said: str
) -> None:
    document = json.loads((folder / INDEX).read_text())
    change(document)
    (folder / INDEX).write_text(json.dumps(document))
    with pytest.raises(InputError, match=said):
        open_dataset(folder)


def test_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no dataset.json: make a dataset with `ex4d train prepare`"):
        open_dataset(tmp_path)
    (tmp_path / INDEX).write_text("{")
    with pytest.raises(InputError, match=r"is no index of a dataset"):
        open_dataset(tmp_path)

"""What was trained, exported and loaded by each route: the tiny transformer says the same, bit for bit."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import make_tiny_models
import pytest
import torch
from diffusers import WanImageToVideoPipeline
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from huggingface_hub import ModelCard
from peft import PeftModel
from torch import nn
from train_cases import HIDDEN, dataset, sample
from two_processes import shake

from ex4d_core.cli import main
from ex4d_core.errors import InputError, SpaceError
from ex4d_core.generate.checkpoint import Ex4dCheckpoint, add_lora, check_fits, read_checkpoint
from ex4d_core.generate.geometry_encoder import GeometryEncoder
from ex4d_core.model_files import find_files
from ex4d_core.training.adapter import AdapterShape, new_adapter, trainable, trained
from ex4d_core.training.dataset import open_dataset
from ex4d_core.training.export import Origin, export
from ex4d_core.training.objective import drawn, predict
from ex4d_core.training.state import Told, read_saved, save

SHARED = Path("/work/shared/data/golden_ex4d/ex4d_tiny.ckpt")
GOLDEN = Path(__file__).resolve().parents[2] / "data" / "golden_ex4d" / "ex4d_tiny.ckpt"


def velocity(transformer: WanTransformer3DModel, encoder: nn.Module) -> torch.Tensor:
    given = sample()
    state = drawn(given.latents, 5.0, torch.Generator().manual_seed(3))
    with torch.no_grad():
        geometry = encoder(given.color, given.mask)
        return predict(transformer, geometry, given, state.noisy, state.timestep, torch.float32)


def one(rank: int = 16, alpha: float = 16.0) -> tuple[Ex4dCheckpoint, torch.Tensor]:
    """As if it had been trained, and what it says."""
    shape = AdapterShape(rank, alpha, HIDDEN)
    transformer = make_tiny_models.wan_transformer(0)
    encoder = new_adapter(transformer, shape, 1)
    shake(trainable(transformer, encoder))
    return trained(transformer, encoder, shape), velocity(transformer, encoder)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Origin:
    clips = open_dataset(dataset(tmp_path_factory.mktemp("dataset"), clips=3)).clips
    mine = clips[2].model_copy(update={"licence": "CC BY 4.0", "credit": "A | B\nC", "source": "a/b.mp4"})
    return Origin(120, True, (*clips[:2], mine), (64, 64, 5), {"lr": 3e-5, "batch": 4})


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, origin: Origin) -> tuple[Path, torch.Tensor]:
    checkpoint, said = one()
    folder = tmp_path_factory.mktemp("out") / "mine"
    export(checkpoint, origin, folder)
    return folder, said


def by_checkpoint(folder: Path) -> torch.Tensor:
    transformer, checkpoint = make_tiny_models.wan_transformer(0), read_checkpoint(folder / "ex4d.ckpt")
    add_lora(transformer, checkpoint)
    return velocity(transformer, checkpoint.geometry_encoder())


def by_model(folder: Path) -> torch.Tensor:
    transformer = make_tiny_models.wan_transformer(0)
    transformer.load_lora_adapter(folder, prefix="transformer", use_safetensors=True)
    return velocity(transformer, GeometryEncoder.from_pretrained(folder / "geometry_encoder"))


def by_pipeline(folder: Path) -> torch.Tensor:
    parts = dict.fromkeys(("tokenizer", "text_encoder", "vae", "scheduler", "image_encoder", "image_processor"))
    pipe = WanImageToVideoPipeline(**parts, transformer=make_tiny_models.wan_transformer(0))
    pipe.load_lora_weights(str(folder))
    return velocity(pipe.transformer, GeometryEncoder.from_pretrained(folder / "geometry_encoder"))


def by_peft(folder: Path) -> torch.Tensor:
    model = PeftModel.from_pretrained(make_tiny_models.wan_transformer(0), str(folder))
    return velocity(model.base_model.model, GeometryEncoder.from_pretrained(folder / "geometry_encoder"))


ROUTES = [by_checkpoint, by_model, by_pipeline, by_peft]


@pytest.mark.filterwarnings("ignore:While injecting the PEFT adapters")  # zeros for the image's keys, by diffusers
@pytest.mark.parametrize("route", ROUTES)
def test_each_route_says_the_same(exported: tuple[Path, torch.Tensor], route: type) -> None:
    folder, said = exported
    assert torch.equal(route(folder), said)


def test_other_ranks_and_alphas_are_those_of_the_released_file(tmp_path: Path, origin: Origin) -> None:
    checkpoint, said = one(rank=4, alpha=6.0)
    export(checkpoint, origin, tmp_path / "four")
    found = read_checkpoint(tmp_path / "four" / "ex4d.ckpt")
    assert (found.rank, found.alpha) == (16, 16.0)
    assert not (tmp_path / "four" / "ex4d.json").exists()
    for route in (by_checkpoint, by_model, by_peft):
        assert torch.allclose(route(tmp_path / "four"), said, rtol=0, atol=1e-5), route
    without = make_tiny_models.wan_transformer(0)
    assert not torch.allclose(velocity(without, found.geometry_encoder()), said, rtol=0, atol=1e-2)


def test_names_and_types_are_those_of_the_released_layout(exported: tuple[Path, torch.Tensor]) -> None:
    ours = torch.load(exported[0] / "ex4d.ckpt", weights_only=True)
    theirs = torch.load(GOLDEN, weights_only=True)  # as many blocks, another width
    assert list(ours) == list(theirs)
    assert {t.dtype for t in ours.values()} == {t.dtype for t in theirs.values()}
    assert {n: t.ndim for n, t in ours.items()} == {n: t.ndim for n, t in theirs.items()}
    ranks = {name: t.shape[0] for name, t in theirs.items() if ".lora_A." in name}
    assert ranks == {name: ours[name].shape[0] for name in ranks}


@pytest.mark.skipif(not SHARED.is_file(), reason="the golden set is not on this machine")
def test_the_golden_transformer_takes_one_of_ours(tmp_path: Path, origin: Origin) -> None:
    theirs = torch.load(SHARED, weights_only=True)
    width, feed = (
        theirs["latent_patch_embedding.bias"].shape[0],
        theirs["blocks.0.ffn.0.lora_B.default.weight"].shape[0],
    )
    hidden = theirs["latent_encoder.0.bias"].shape[0]
    transformer = WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=width // 2, in_channels=36, ffn_dim=feed, num_layers=2, text_dim=32
    )
    shape = AdapterShape(16, 16.0, hidden)
    encoder = new_adapter(transformer, shape, 1)
    export(trained(transformer, encoder, shape), origin, tmp_path / "golden")
    ours = torch.load(tmp_path / "golden" / "ex4d.ckpt", weights_only=True)
    assert {name: tensor.shape for name, tensor in ours.items()} == {name: t.shape for name, t in theirs.items()}
    check_fits(read_checkpoint(tmp_path / "golden" / "ex4d.ckpt"), transformer)


def test_generating_finds_it(exported: tuple[Path, torch.Tensor], tiny_ex4d: Path) -> None:
    files = find_files("ex4d", [exported[0], tiny_ex4d])
    assert files.adapter == exported[0] / "ex4d.ckpt"
    assert files.transformer == tiny_ex4d / "transformer"


def test_the_card_tells_where_it_comes_from(exported: tuple[Path, torch.Tensor]) -> None:
    card = ModelCard.load(exported[0] / "README.md")
    assert card.data.base_model == "Wan-AI/Wan2.1-I2V-14B-480P-Diffusers"
    assert card.data.pipeline_tag == "image-to-video"
    for line in (
        "| Steps | 120; moving averages (EMA) of the weights |",
        "| Clips | 3 |",
        "| CC0 | 2 |",
        "| CC BY 4.0 | 1 |",
        "| a/b.mp4 | A \\| B C | CC BY 4.0 | 1 |",
        "| lr | 3e-05 |",
    ):
        assert line in card.text.splitlines()
    config = json.loads((exported[0] / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["r"], config["lora_alpha"], config["peft_type"]) == (16, 16, "LORA")


def test_nothing_of_others_is_replaced(tmp_path: Path, origin: Origin) -> None:
    checkpoint, _ = one()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(InputError, match="is not a trained model's folder"):
        export(checkpoint, origin, tmp_path / "mine", overwrite=True)
    export(checkpoint, origin, tmp_path / "new")
    with pytest.raises(InputError, match="add --overwrite"):
        export(checkpoint, origin, tmp_path / "new")
    export(checkpoint, replace(origin, steps=7), tmp_path / "new", overwrite=True)
    assert "| Steps | 7;" in (tmp_path / "new" / "README.md").read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "new"]


def test_a_full_disk_is_told_before_anything_is_written(
    tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_200_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(SpaceError, match=r"Cannot write .*: it takes 0\.0 GB and 0\.0 GB are free: free some space"):
        export(one()[0], origin, tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory, origin: Origin) -> tuple[Path, Ex4dCheckpoint, Ex4dCheckpoint]:
    """Folder of a training with one checkpoint, its average, what its last step gave."""
    average, _ = one()
    last = replace(average, lora={name: tensor + 1 for name, tensor in average.lora.items()})
    out = tmp_path_factory.mktemp("training")
    config = {
        "ema": 0.9,
        "rank": 16,
        "alpha": 16.0,
        "lr": 1e-3,
        "out": "/home/me/secret",
        "dataset": ["/home/me/clips"],
    }
    told = Told(step=20, config=config, clips=origin.clips, size=(64, 64, 5))
    save(out, told, average, {"lora": dict(last.lora), "geometry": dict(last.geometry)}, keep=3)
    return out, average, last


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("given", ["", "checkpoints/step-0000020"])
def test_the_command_exports_the_average_or_the_last(
    training: tuple[Path, Ex4dCheckpoint, Ex4dCheckpoint], tmp_path: Path, raw: bool, given: str
) -> None:
    out, average, last = training
    command = ["train", "export", str(out / given), "--output", str(tmp_path / "out"), "--quiet", *["--raw"] * raw]
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 0
    found, told = read_checkpoint(tmp_path / "out" / "ex4d.ckpt"), last if raw else average
    assert all(torch.equal(found.lora[name], tensor) for name, tensor in told.lora.items())
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "| lr | 0.001 |" in text
    assert ("the weights of the last step" if raw else "moving averages") in text
    assert "/home/me" not in text  # a card is made to be published


@pytest.mark.parametrize(
    ("given", "out", "told"),
    [
        ("nowhere", "out", "is no whole checkpoint of a training: choose another one"),
        ("", "checkpoints", "which would be replaced: choose another name for the result"),
    ],
)
def test_the_command_refuses_in_one_sentence(
    training: tuple[Path, Ex4dCheckpoint, Ex4dCheckpoint],
    capsys: pytest.CaptureFixture[str],
    given: str,
    out: str,
    told: str,
) -> None:
    folder = training[0]
    with pytest.raises(SystemExit) as ended:
        main(["train", "export", str(folder / given), "-o", str(folder / out)])
    assert ended.value.code == 1
    assert told in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoints"]


def test_what_is_no_number_is_not_exported(tmp_path: Path, origin: Origin) -> None:
    checkpoint, _ = one()
    name = "latent_encoder.2.bias"
    for value in (float("nan"), float("inf")):
        bad = {**checkpoint.geometry, name: torch.full_like(checkpoint.geometry[name], value)}
        with pytest.raises(InputError, match=rf"has in {name} what is no finite number: export an earlier checkpoint"):
            export(replace(checkpoint, geometry=bad), origin, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def _no_lora(state: dict[str, Any]) -> None:
    del state["lora"]


def _a_tensor_less(state: dict[str, Any]) -> None:
    state["geometry"].popitem()


def _another_shape(state: dict[str, Any]) -> None:
    state["lora"][next(iter(state["lora"]))] = torch.zeros(2)


@pytest.mark.parametrize("spoil", [_no_lora, _a_tensor_less, _another_shape])
def test_a_state_that_does_not_go_with_its_adapter(
    tmp_path: Path, origin: Origin, spoil: Callable[[dict[str, Any]], None]
) -> None:
    average, _ = one()
    state: dict[str, Any] = {"lora": dict(average.lora), "geometry": dict(average.geometry)}
    spoil(state)
    told = Told(step=20, config={"rank": 16, "alpha": 16.0}, clips=origin.clips, size=(64, 64, 5))
    saved = read_saved(save(tmp_path, told, average, state, keep=3))
    assert saved.adapter().rank == 16
    with pytest.raises(InputError, match=r"state\.pt has other tensors than ex4d\.ckpt: choose another checkpoint"):
        saved.last()


def test_a_checkpoint_that_does_not_name_its_files(
    training: tuple[Path, Ex4dCheckpoint, Ex4dCheckpoint], tmp_path: Path
) -> None:
    folder = shutil.copytree(training[0] / "checkpoints" / "step-0000020", tmp_path / "step-0000020")
    told = json.loads((folder / "checkpoint.json").read_text(encoding="utf-8"))
    del told["files"]["ex4d.ckpt"]
    (folder / "checkpoint.json").write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(InputError, match=r"does not name ex4d\.ckpt: choose another checkpoint"):
        read_saved(folder)

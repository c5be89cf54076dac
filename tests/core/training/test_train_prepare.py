"""A dataset made of the bundled sample with tiny models: what is in it, and what becomes of it when things go wrong."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from footage_cases import take, video

from ex4d_core import cli
from ex4d_core.clip import load_clip
from ex4d_core.commands.train import train_command
from ex4d_core.errors import InputError, MissingDependencyError, SpaceError
from ex4d_core.generate import ex4d
from ex4d_core.generate.conditioning import videos
from ex4d_core.generate.ex4d import EX4D
from ex4d_core.generate.ladder import Plan
from ex4d_core.generate.latents import encode
from ex4d_core.generate.loading import load_vae
from ex4d_core.generate.profiles import PROFILES
from ex4d_core.generate.video_model import Report, Window
from ex4d_core.images import read_image
from ex4d_core.model_files import find_files
from ex4d_core.training import preparing
from ex4d_core.training.dataset import open_dataset
from ex4d_core.training.dataset_format import INDEX, shard_of
from ex4d_core.training.encoding import DEFAULT_PROMPT, Encoders
from ex4d_core.training.filters import Filters
from ex4d_core.training.footage import Footage, find_footage
from ex4d_core.training.material import Material, Recipe, make_material
from ex4d_core.training.preparing import LOST, TWICE, prepare, shard_bytes
from ex4d_core.training.scan import TOO_SHORT, Cut, Piece

CUT = Cut((64, 64), 5, 20, None, Filters())
RECIPE = Recipe(CUT, variants=2, seed=3, estimator="embedded")
CLIPS = 3
"""Of the sample: frames 0 to 4, 20 to 24, 40 to 44."""
OPTIONS = ["--frames", "5", "--stride", "20", "--size", "64x64", "--variants", "2", "--seed", "3", "--device", "cpu"]


@pytest.fixture(scope="module")
def encoders(tiny_ex4d: Path) -> Encoders:
    return Encoders(tiny_ex4d, "cpu")


@pytest.fixture(scope="module")
def footage() -> list[Footage]:
    return find_footage([Path("sample")])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, footage: list[Footage], encoders: Encoders) -> Path:
    """The sample, prepared in one go in one process; to be read only."""
    folder = tmp_path_factory.mktemp("prepared") / "whole"
    assert prepare(footage, folder, RECIPE, encoders).made == CLIPS
    return folder


@pytest.fixture
def mine(whole: Path, tmp_path: Path) -> Path:
    """A copy, to be changed."""
    return Path(shutil.copytree(whole, tmp_path / "mine"))


@pytest.fixture(scope="module")
def material(footage: list[Footage], tmp_path_factory: pytest.TempPathFactory) -> Material:
    """Of the first clip."""
    return make_material(footage[0], Piece(0, 5), RECIPE, tmp_path_factory.mktemp("work"))


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def test_the_index_says_what_was_made(whole: Path) -> None:
    dataset = open_dataset(whole)
    index = dataset.index
    assert (index.width, index.height, index.frames, index.seed) == (64, 64, 5, 3)
    assert (index.latent_channels, index.image_tokens, index.text_width) == (16, (257, 160), 32)
    assert set(index.models) == {"vae", "image_encoder", "text_encoder"}
    assert [clip.first_frame for clip in dataset.clips] == [0, 20, 40]
    assert not dataset.skipped
    for clip in dataset.clips:
        assert (clip.source, clip.licence, clip.fps) == ("ex4d sample clip.mp4", "CC0-1.0", (24, 1))
        assert clip.prompt == DEFAULT_PROMPT
        assert len({variant.seed for variant in clip.variants}) == 2
        assert all((variant.move is None) == (variant.kind == "tracking") for variant in clip.variants)
        assert clip.bytes == shard_of(whole, clip.name).stat().st_size
    assert [(one.first_frame, one.frames, one.reason) for one in index.left_out] == [(45, 4, TOO_SHORT)]
    assert {"working", ".lock"} & set(contents(whole)) == set()


def test_the_middle_of_the_frames_with_masks_of_its_depth(material: Material, footage: list[Footage]) -> None:
    assert material.frames.shape == (5, 64, 64, 3)
    assert material.masks.shape == (2, 5, 64, 64)
    assert material.masks[:, 0].all()
    assert all(0 < variant.holes < 1 for variant in material.variants)
    for mask, variant in zip(material.masks, material.variants, strict=True):
        assert variant.holes == pytest.approx(1 - mask.mean())
    clip = load_clip(footage[0].path, frames=5, size=(111, 64)).frames
    np.testing.assert_array_equal(material.frames, clip[:, :, 23:87])


def test_seeds_follow_the_content_and_not_the_place(material: Material, footage: list[Footage], tmp_path: Path) -> None:
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(footage[0].path.read_bytes())
    again = make_material(replace(footage[0], path=copy), Piece(0, 5), RECIPE, tmp_path)
    assert again.variants == material.variants
    np.testing.assert_array_equal(again.masks, material.masks)
    other = make_material(footage[0], Piece(0, 5), replace(RECIPE, seed=4), tmp_path)
    assert not {v.seed for v in other.variants} & {v.seed for v in material.variants}


@pytest.mark.parametrize("variant", [0, 1])
def test_a_sample_is_what_the_generator_itself_would_feed_its_models(
    variant: int, whole: Path, material: Material, tiny_ex4d: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ex4d, "eroded", lambda mask, _seed: mask)  # the masks' rims are weathered already
    fed: dict[str, torch.Tensor] = {}

    def transformer(_module: Any, _args: Any, given: dict[str, Any]) -> None:
        fed.setdefault("image", given["hidden_states"][:, 16:])
        fed.setdefault("tokens", given["encoder_hidden_states_image"])
        fed.setdefault("text", given["encoder_hidden_states"])

    def geometry(_module: Any, given: tuple[torch.Tensor, torch.Tensor]) -> None:
        fed["color"], fed["mask"] = given

    plan = Plan("resident", "cpu", "float32", tiled_vae=False, vram_bytes=0, ram_bytes=0)
    profile = replace(PROFILES["ex4d"]["final"], steps=1)
    model = EX4D.load(find_files("ex4d", [tiny_ex4d]), plan, profile)
    encoder = model._parts.geometry_encoder
    assert encoder is not None
    model._parts.transformer.register_forward_pre_hook(transformer, with_kwargs=True)
    encoder.register_forward_pre_hook(geometry)
    mask = material.masks[variant]
    model.video(Window(material.frames * mask[..., None], mask, "", 0, profile), Report())

    sample = open_dataset(whole).sample(0, variant)
    for name in ("image", "color", "mask"):
        assert torch.equal(getattr(sample, name), fed[name].half().float()), name
    for name in ("tokens", "text"):
        assert torch.equal(getattr(sample, name), fed[name].bfloat16().float()), name
    seen = np.ones(mask.shape, np.bool_)
    target = encode(load_vae(tiny_ex4d / "vae"), videos(material.frames, seen).color)
    assert torch.equal(sample.latents, target.half().float())


def test_killed_and_run_again_is_as_if_nothing_had_happened(whole: Path, tiny_ex4d: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["train", "prepare", "sample", "-o", str(out), "--model-dir", str(tiny_ex4d), "--workers", "0"]
    command = [sys.executable, "-m", "ex4d_core.cli", *arguments, *OPTIONS]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        until = time.monotonic() + 120
        while not list(out.glob("clips/*.json")):
            assert run.poll() is None, "it ended before its first clip"
            assert time.monotonic() < until
            time.sleep(0.005)
        run.send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
    done = len(list(out.glob("clips/*.json")))
    assert 1 <= done < CLIPS
    assert not (out / INDEX).exists()
    (out / "clips" / ".sample.1.partial.safetensors").write_bytes(b"half a shard")
    result = CliRunner().invoke(train_command, [*arguments[1:], *OPTIONS, "--json"], catch_exceptions=False)
    told = json.loads(result.stdout)
    assert (told["clips"], told["made"], told["variants"]) == (CLIPS, CLIPS - done, 2 * CLIPS)
    assert told["left_out"] == {TOO_SHORT: 1}
    assert contents(out) == contents(whole)


def test_processes_beside_this_one_make_the_same(
    whole: Path, footage: list[Footage], encoders: Encoders, tmp_path: Path
) -> None:
    prepare(footage, tmp_path / "out", RECIPE, encoders, workers=2)
    assert contents(tmp_path / "out") == contents(whole)


def test_damaged_shards_are_made_again_and_nothing_else_is(
    mine: Path, whole: Path, footage: list[Footage], encoders: Encoders
) -> None:
    first, second, third = (clip.name for clip in open_dataset(mine).clips)
    data = bytearray(shard_of(mine, first).read_bytes())
    data[-5] ^= 1  # one bit of one number: the header is whole, the size right
    shard_of(mine, first).write_bytes(data)
    shard_of(mine, second).unlink()
    before = shard_of(mine, third).stat().st_mtime_ns
    assert prepare(footage, mine, RECIPE, encoders).made == 2
    assert shard_of(mine, third).stat().st_mtime_ns == before
    assert contents(mine) == contents(whole)
    (mine / "clips" / f"{third}.json").write_text("{")
    assert prepare(footage, mine, RECIPE, encoders).made == 1
    assert contents(mine) == contents(whole)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (replace(RECIPE, seed=4), r"seed: 3, now 4"),
        (replace(RECIPE, cut=replace(CUT, size=(64, 80))), r"size: 64 64, now 64 80"),
        (replace(RECIPE, variants=1), r"variants: 2, now 1"),
    ],
)
def test_other_settings_are_refused(
    recipe: Recipe, said: str, mine: Path, whole: Path, footage: list[Footage], encoders: Encoders
) -> None:
    with pytest.raises(InputError, match=said + ".*--overwrite"):
        prepare(footage, mine, recipe, encoders)
    assert contents(mine) == contents(whole)


def test_other_models_and_other_depth_are_refused(
    mine: Path, footage: list[Footage], encoders: Encoders, tmp_path: Path
) -> None:
    import make_tiny_models

    make_tiny_models.ex4d_diffusers(tmp_path / "other", 1)
    with pytest.raises(InputError, match="other settings \\(vae: "):
        prepare(footage, mine, RECIPE, Encoders(tmp_path / "other", "cpu"))
    with pytest.raises(InputError, match="has other depth"):
        prepare([replace(footage[0], depth=None)], mine, RECIPE, encoders)


def test_overwrite_begins_anew(mine: Path, footage: list[Footage], encoders: Encoders, tmp_path: Path) -> None:
    recipe = replace(RECIPE, cut=replace(CUT, stride=44), variants=1)
    done = prepare(footage, mine, recipe, encoders, overwrite=True)
    assert [(clip.first_frame, len(clip.variants)) for clip in done.index.clips] == [(0, 1), (44, 1)]
    assert len(open_dataset(mine)) == 2
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.txt").write_text("dear")
    with pytest.raises(InputError, match="is not a dataset"):
        prepare(footage, tmp_path / "work", RECIPE, encoders, overwrite=True)
    assert (tmp_path / "work" / "thesis.txt").read_text() == "dear"


def test_what_is_said_of_a_video_is_brought_up_to_date(
    mine: Path, whole: Path, footage: list[Footage], encoders: Encoders
) -> None:
    said = [replace(footage[0], licence="CC-BY-4.0", credit="me", source="mine.mp4")]
    done = prepare(said, mine, RECIPE, encoders)
    assert done.made == 0
    assert {(clip.licence, clip.credit, clip.source) for clip in done.index.clips} == {("CC-BY-4.0", "me", "mine.mp4")}
    assert {one.source for one in done.index.left_out} == {"mine.mp4"}
    shards = {name: data for name, data in contents(whole).items() if name.endswith("safetensors")}
    assert {name: data for name, data in contents(mine).items() if name.endswith("safetensors")} == shards
    done = prepare([replace(footage[0], prompt="a street with cars")], mine, RECIPE, encoders)
    assert done.made == CLIPS
    old, new = (open_dataset(folder).sample(0, 0) for folder in (whole, mine))
    assert not torch.equal(old.text, new.text)
    assert torch.equal(old.color, new.color)


def test_a_dataset_grows_by_other_videos(
    mine: Path, footage: list[Footage], encoders: Encoders, tmp_path: Path
) -> None:
    paths = [video(tmp_path / "more.mp4", take(1, 12)), tmp_path / "twice.mp4", tmp_path / "no.mp4"]
    paths[1].write_bytes(paths[0].read_bytes())
    paths[2].write_text("no video")
    done = prepare(find_footage(paths), mine, RECIPE, encoders)
    assert done.made == 1
    names = [clip.source for clip in open_dataset(mine).clips]
    assert names == [footage[0].source] * CLIPS + ["more.mp4"]
    reasons = {(one.source, one.reason) for one in done.index.left_out}
    assert {("twice.mp4", TWICE), ("more.mp4", TOO_SHORT), (footage[0].source, TOO_SHORT)} < reasons
    assert any(source == "no.mp4" and "no.mp4" in reason for source, reason in reasons)
    shard_of(mine, done.index.clips[0].name).unlink()
    done = prepare(find_footage(paths[:1]), mine, RECIPE, encoders)
    assert done.made == 0
    assert len(done.index.clips) == CLIPS
    assert [(one.first_frame, one.reason) for one in done.index.left_out if one.reason == LOST] == [(0, LOST)]


def test_a_video_that_was_renamed_is_known_again(
    mine: Path, whole: Path, footage: list[Footage], encoders: Encoders, tmp_path: Path
) -> None:
    copy = tmp_path / "renamed.mp4"
    copy.write_bytes(footage[0].path.read_bytes())
    assert prepare([replace(footage[0], path=copy)], mine, RECIPE, encoders).made == 0
    assert contents(mine) == contents(whole)


def test_nothing_usable_is_an_error_that_binds_nobody(encoders: Encoders, tmp_path: Path) -> None:
    short = find_footage([video(tmp_path / "short.mp4", take(1, 8))])
    with pytest.raises(InputError, match=r"No clip could be made \(pieces left out: 1; short.mp4: It is shorter"):
        prepare(short, tmp_path / "out", replace(RECIPE, cut=replace(CUT, frames=9)), encoders)
    assert not (tmp_path / "out").exists()
    assert prepare(short, tmp_path / "out", RECIPE, encoders).made == 1


def test_a_clip_whose_depth_cannot_be_used_is_left_out(
    footage: list[Footage], encoders: Encoders, tmp_path: Path
) -> None:
    np.save(tmp_path / "z.npy", np.ones((12, 72, 128), np.float32))
    np.save(tmp_path / "bad.npy", np.full((12, 72, 128), np.nan, np.float32))
    good, bad = (video(tmp_path / f"{name}.mp4", take(seed, 12)) for seed, name in ((1, "good"), (2, "bad")))
    given = [Footage(good, "good", depth=tmp_path / "z.npy"), Footage(bad, "bad", depth=tmp_path / "bad.npy")]
    done = prepare(given, tmp_path / "out", RECIPE, encoders)
    assert [clip.source for clip in done.index.clips] == ["good"]
    assert [(one.first_frame, one.frames) for one in done.index.left_out if one.source == "bad"] == [(0, 5), (5, 7)]


def test_a_full_disk_is_told_and_what_is_done_stays(
    mine: Path, whole: Path, footage: list[Footage], encoders: Encoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    for clip in open_dataset(mine).clips[1:]:
        shard_of(mine, clip.name).unlink()
    write, written = Path.write_bytes, 0

    def full(path: Path, data: bytes) -> int:
        nonlocal written
        if path.suffix == ".safetensors":
            written += 1
            if written == 2:
                write(path, data[:100])
                raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(SpaceError, match="the disk is full: free some space"):
            prepare(footage, mine, RECIPE, encoders)
    assert not list(mine.rglob("*.partial*"))
    assert prepare(footage, mine, RECIPE, encoders).made == 1
    assert contents(mine) == contents(whole)
    for clip in open_dataset(mine).clips:
        assert abs(shard_bytes(CUT, 2) - clip.bytes) < 10**6
    monkeypatch.setattr(preparing, "shard_bytes", lambda *_: 10**18)
    shard_of(mine, clip.name).unlink()
    with pytest.raises(SpaceError, match="1 clips take about"):
        prepare(footage, mine, RECIPE, encoders)


def test_the_contact_sheet_shows_every_clip(whole: Path, material: Material) -> None:
    sheet = read_image(whole / "contact.png")
    cell = sheet[16:144, :128].astype(np.float32)
    first = material.frames[0].repeat(2, axis=0).repeat(2, axis=1).astype(np.float32)
    assert np.abs(cell - first).mean() < 12  # JPEG, and another way of enlarging
    assert sheet.shape == (CLIPS * (144 + 4), 7 * 132, 3)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """What a call that is refused says."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", "prepare", *map(str, arguments)])
    assert ended.value.code == 1
    return capsys.readouterr().err.strip()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--frames", "48"], "--frames 48 is impossible: give 49"),
        (["--size", "100x64"], "--size 100x64 is not of multiples of 16: give 96x64"),
        (["--estimator", "none"], "no depth estimator 'none'"),
        (["--estimator", "file"], "told by a manifest"),
        (["--min-contrast", "nan"], "--min-contrast and --min-motion are numbers: give 0"),
        (["--fov", "400"], "field of view of 400.0 degrees is impossible"),
        (["--estimator", "depth-pro", "--depth-model-dir", "/nowhere"], "There is no folder /nowhere"),
        (["--device", "warp"], "no device 'warp'"),
        (["--model-dir", "/nowhere"], "There is no /nowhere"),
    ],
)
def test_wrong_options_end_in_a_sentence(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = refused(capsys, "sample", "-o", tmp_path / "out", *arguments)
    assert said in sentence
    assert sentence.startswith("ex4d: ")
    assert "\n" not in sentence
    assert not (tmp_path / "out").exists()


def test_models_and_estimators_that_are_missing(
    footage: list[Footage], encoders: Encoders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "run `ex4d models download" in refused(capsys, "sample", "-o", tmp_path / "out")
    recipe = replace(RECIPE, estimator="depth-anything-v2-small")
    with pytest.raises(MissingDependencyError, match="ex4d models download depth-anything-v2-small"):
        prepare([replace(footage[0], depth=None)], tmp_path / "out", recipe, encoders)


def test_the_transformer_is_not_needed_and_an_unknown_licence_is_told(tiny_ex4d: Path, tmp_path: Path) -> None:
    models = Path(shutil.copytree(tiny_ex4d, tmp_path / "models"))
    shutil.rmtree(models / "transformer")
    (models / "ex4d.ckpt").unlink()
    video(tmp_path / "a.mp4", take(1, 5))
    arguments = ["prepare", str(tmp_path / "a.mp4"), "-o", str(tmp_path / "out"), "--model-dir", str(models)]
    result = CliRunner().invoke(train_command, [*arguments, *OPTIONS, "--workers", "0"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "1 clips (1 new), 2 variants" in result.stdout
    assert "the licence of a.mp4 is unknown" in result.stderr
    assert open_dataset(tmp_path / "out").clips[0].licence == "unknown"


def test_what_a_manifest_lists_and_is_not_there_is_named(tiny_ex4d: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        video(tmp_path / f"good{number}.mp4", take(number, 6))
    (tmp_path / "list.csv").write_text("file,licence\ngood1.mp4,CC0\nabsent.mp4,CC0\ngood2.mp4,CC0\n", encoding="utf-8")
    arguments = ["prepare", "--manifest", str(tmp_path / "list.csv"), "-o", str(tmp_path / "out")]
    arguments += ["--model-dir", str(tiny_ex4d), *OPTIONS, "--workers", "0"]
    result = CliRunner().invoke(train_command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert "2 clips (2 new)" in lines[0]
    assert f"  2 left out of good1.mp4, good2.mp4: {TOO_SHORT}" in lines
    absent = tmp_path / "absent.mp4"
    assert (
        f"  1 left out of absent.mp4: Cannot read {absent} (No such file or directory): check the name" in result.stdout
    )

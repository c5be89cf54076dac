"""Files of an engine found in every layout, by what is in them."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import models
from transformers import AutoTokenizer

from ex4d_core.errors import InputError, MissingDependencyError
from ex4d_core.model_files import ModelFiles, find_encoders, find_files, find_parts
from ex4d_core.model_kinds import candidate
from ex4d_core.model_layouts import tokenizer_within
from ex4d_core.models import CATALOGUE
from ex4d_core.sentence_pieces import write_tokenizer
from ex4d_core.weight_headers import entries

Tiny = Callable[[str], Path]
LORA = "wan2.1_i2v_lora_rank64_lightx2v_4step.safetensors"
DIFFUSERS = {part: part for part in ("transformer", "vae", "image_encoder", "text_encoder", "tokenizer")}
COMFY = {
    "vae": "vae/wan_2.1_vae.safetensors",
    "image_encoder": "clip_vision/clip_vision_h.safetensors",
    "text_encoder": "text_encoders/umt5_xxl_fp16.safetensors",
    "adapter": "ex4d.ckpt",
    "distilled": f"loras/{LORA}",
}
Q8, Q4 = (f"diffusion_models/wan2.1-i2v-14b-480p-{kind}.gguf" for kind in ("Q8_0", "Q4_0"))
FP16 = "diffusion_models/wan2.1_i2v_480p_14B_fp16.safetensors"


def told(files: ModelFiles, folder: Path) -> dict[str, str]:
    """What was found, relative to the folder."""
    found = {part: path for part, path in vars(files).items() if path and path.is_relative_to(folder)}
    return {part: "" if path == folder else path.relative_to(folder).as_posix() for part, path in found.items()}


@pytest.fixture
def mine(tiny_models: Tiny, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a layout, to be changed."""

    def copied(layout: str) -> Path:
        return Path(shutil.copytree(tiny_models(layout), tmp_path / layout))

    return copied


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("ex4d-diffusers", DIFFUSERS | {"adapter": "ex4d.ckpt", "distilled": LORA}),
        (
            "ex4d-original",
            {
                "transformer": "",
                "vae": "Wan2.1_VAE.pth",
                "image_encoder": "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth",
                "text_encoder": "models_t5_umt5-xxl-enc-bf16.pth",
                "tokenizer": "google/umt5-xxl",
                "adapter": "ex4d.ckpt",
                "distilled": LORA,
            },
        ),
        ("ex4d-comfy", COMFY | {"transformer": FP16}),
        ("ex4d-gguf", COMFY | {"transformer": Q8}),
    ],
)
def test_ex4d_in_every_layout(tiny_models: Tiny, layout: str, expected: Mapping[str, str]) -> None:
    folder = tiny_models(layout)
    assert told(find_files("ex4d", [folder]), folder) == expected


def test_the_tokenizer_inside_comfyuis_text_encoder(tiny_models: Tiny, tmp_path: Path) -> None:
    found = find_files("ex4d", [tiny_models("ex4d-comfy")]).tokenizer
    assert found is not None
    assert find_files("ex4d", [tiny_models("ex4d-gguf")]).tokenizer == found  # kept
    theirs, mine = (AutoTokenizer.from_pretrained(p) for p in (tiny_models("ex4d-diffusers") / "tokenizer", found))
    for text in ("A photograph of people, cars and trees.", "  spaces   and émigré ", ""):
        assert mine(text).input_ids == theirs(text).input_ids
        assert mine(text, truncation=True, max_length=3).input_ids == theirs(text).input_ids[:2] + [1] * bool(text)
    file = Path(shutil.copy(tiny_models("ex4d-comfy") / COMFY["text_encoder"], tmp_path / "umt5.safetensors"))
    save_file(load_file(file) | {"spiece_model": torch.ones(9, dtype=torch.uint8)}, file)
    with pytest.raises(InputError, match=r"umt5.safetensors is damaged"):
        tokenizer_within(file)


def test_a_tokenizer_that_cannot_be_kept_is_made_in_each_run(
    tiny_models: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "store").write_text("a file, where a folder should be")
    monkeypatch.setenv("EX4D_CACHE_DIR", str(tmp_path / "store"))
    found = tokenizer_within(tiny_models("ex4d-comfy") / COMFY["text_encoder"])
    assert found is not None
    assert AutoTokenizer.from_pretrained(found)("a street").input_ids
    assert "is not kept, and made again in each run: Cannot write" in caplog.text


@pytest.mark.parametrize(("rule", "bytes_too"), [("nmt_nfkc", True), ("identity", False)])
def test_a_sentencepiece_model_becomes_the_same_tokenizer(tmp_path: Path, rule: str, bytes_too: bool) -> None:
    trainer = pytest.importorskip("sentencepiece", reason="the library that it is compared with")
    model = io.BytesIO()
    trainer.SentencePieceTrainer.train(
        sentence_iterator=iter([models.WORDS, "色调艳丽,过曝,静态"] * 4),
        model_writer=model,
        vocab_size=420 if bytes_too else 160,
        hard_vocab_limit=False,
        byte_fallback=bytes_too,
        normalization_rule_name=rule,
        minloglevel=2,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
    )
    write_tokenizer(model.getvalue(), tmp_path)
    mine, theirs = AutoTokenizer.from_pretrained(tmp_path), trainer.SentencePieceProcessor(model_proto=model.getvalue())
    for text in (
        "a sharp photograph",
        "\uff26\uff55\uff4c\uff4c  \ufb01ne ",
        "色调,过曝",
        "émigré Ω 🙂",
        "",
        " lead",
        "4K,ultra-HD;",
    ):
        assert mine(text).input_ids == [*theirs.encode(text), 1]
    with pytest.raises(ValueError, match="breaks off"):
        write_tokenizer(model.getvalue()[:-3], tmp_path / "broken")


def test_vace_takes_no_parts_of_ex4d(tiny_models: Tiny, tiny_vace: Path) -> None:
    found = find_files("vace-1.3b", [tiny_vace, tiny_models("ex4d-diffusers")])
    assert (found.adapter, found.image_encoder, found.distilled) == (None, None, None)
    assert found.transformer == tiny_vace / "transformer"


def test_the_pair_of_wan_2_2(tiny_models: Tiny, tmp_path: Path) -> None:
    folder = tiny_models("vace-fun-a14b")
    found = find_files("vace-14b", [folder])
    assert (found.transformer, found.second_transformer) == (folder / "transformer", folder / "transformer_2")
    # under the names that Wan's own folders and ComfyUI's files have
    for names in (
        ("high_noise_model/diffusion_pytorch_model", "low_noise_model/diffusion_pytorch_model"),
        ("diffusion_models/wan2.2_vace_high_noise_14B", "diffusion_models/wan2.2_vace_low_noise_14B"),
    ):
        place = tmp_path / names[0].split("/")[0]
        shutil.copytree(folder / "vae", place / "vae")
        for name, source in zip(names, ("transformer", "transformer_2"), strict=True):
            target = place / f"{name}.safetensors"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / source / "diffusion_pytorch_model.safetensors", target)
            if "models" not in name:
                shutil.copy(folder / source / "config.json", target.parent / "config.json")
        found = find_files("vace-14b", [place])
        assert found.second_transformer is not None
        assert "high_noise" in str(found.transformer.relative_to(place))
        assert "low_noise" in str(found.second_transformer.relative_to(place))
    found.transformer.unlink()
    with pytest.raises(InputError, match=r"low_noise.* is one of a pair: put"):
        find_files("vace-14b", [place])


def test_a_rung_takes_its_gguf(tiny_models: Tiny) -> None:
    folder = tiny_models("ex4d-gguf")
    assert find_files("ex4d", [folder], "gguf-q4").transformer == folder / Q4
    assert find_files("ex4d", [folder], "gguf-q8").transformer == folder / Q8
    assert find_files("ex4d", [folder], "block-offload").transformer == folder / Q8  # nothing else is there
    both = [tiny_models("ex4d-comfy"), folder]
    assert find_files("ex4d", both).transformer == both[0] / FP16
    assert find_files("ex4d", both, "gguf-q8").transformer == folder / Q8
    with pytest.raises(MissingDependencyError, match=r"The rung gguf-q4 needs .* 4 bits.*: run .*-q4` \(11.3 GB\)"):
        find_files("ex4d", both[:1], "gguf-q4")
    with pytest.raises(MissingDependencyError, match=r"The rung gguf-q8 needs .* 8 bits.*: give one with --model-dir"):
        find_files("vace-14b", [tiny_models("vace-14b")], "gguf-q8")


def test_a_single_file_with_the_rest_of_its_comfyui(mine: Callable[[str], Path], tmp_path: Path) -> None:
    folder = mine("ex4d-gguf")
    assert told(find_files("ex4d", [folder / Q4]), folder) == COMFY | {"transformer": Q4}
    (tmp_path / "ComfyUI").mkdir()
    root = folder.rename(tmp_path / "ComfyUI" / "models").parent
    assert told(find_files("ex4d", [root]), root / "models") == COMFY | {"transformer": Q8}


def test_a_single_file_with_the_rest_of_the_catalogue(
    tiny_models: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The hub's cache as `ex4d models download` leaves it, the transformer from elsewhere."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    base, lora = (in_the_cache(tmp_path / "hub", name) for name in ("wan2.1-i2v-14b-480p", "ex4d-lora"))
    shutil.copytree(tiny_models("ex4d-diffusers"), base, dirs_exist_ok=True)
    (base / "image_processor").mkdir()
    (base / "image_processor" / "preprocessor_config.json").write_text("{}")
    (base / LORA).unlink()
    (base / "ex4d.ckpt").rename(lora / "ex4d.ckpt")
    alone = Path(shutil.copy(tiny_models("ex4d-gguf") / Q8, tmp_path / "mine.gguf"))
    found = find_files("ex4d", [alone])
    assert (found.transformer, found.adapter) == (alone, lora / "ex4d.ckpt")
    assert {part: getattr(found, part) for part in DIFFUSERS if part != "transformer"} == {
        part: base / part for part in DIFFUSERS if part != "transformer"
    }
    assert find_files("ex4d", [base]).transformer == base / "transformer"


def in_the_cache(cache: Path, name: str) -> Path:
    """The empty snapshot of a model of the catalogue."""
    model = next(model for model in CATALOGUE if model.name == name)
    repository, revision = cache / f"models--{model.hub_id.replace('/', '--')}", model.revision or "0" * 40
    (repository / "snapshots" / revision).mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    return repository / "snapshots" / revision


def test_the_480p_model_and_the_most_precise_file(mine: Callable[[str], Path]) -> None:
    folder = mine("ex4d-comfy")
    place = folder / "diffusion_models"
    shutil.copy(folder / FP16, place / "wan2.1_i2v_720p_14B_fp16.safetensors")
    save_file({n: t.float() for n, t in load_file(folder / FP16).items()}, place / "my_480p_precise.safetensors")
    save_file({"unrelated": load_file(folder / FP16)["head.modulation"]}, place / "sd15.safetensors")
    assert find_files("ex4d", [folder]).transformer.name == "my_480p_precise.safetensors"
    shutil.copy(place / "my_480p_precise.safetensors", place / "other_480p.safetensors")
    with pytest.raises(InputError, match=r"my_480p_precise.safetensors, other_480p.safetensors: give a path to --"):
        find_files("ex4d", [folder])
    assert find_files("ex4d", [place / "other_480p.safetensors"]).transformer.name == "other_480p.safetensors"


def test_two_vace_in_one_folder(tiny_models: Tiny, mine: Callable[[str], Path]) -> None:
    folder = mine("vace-1.3b")
    (folder / "diffusion_models").mkdir()
    big = folder / "diffusion_models" / "wan2.1_vace_14B.safetensors"
    shards = sorted((tiny_models("vace-14b") / "transformer").glob("*.safetensors"))
    save_file({name: tensor for shard in shards for name, tensor in load_file(shard).items()}, big)
    assert find_files("vace-1.3b", [folder]).transformer == folder / "transformer"
    assert find_files("vace-14b", [folder]).transformer == big


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ("diffusion_models", r"no transformer for ex4d in .*: put it there, or run `.*-transformer` \(65.6 GB\)"),
        ("vae", r"no VAE for ex4d in .* run `ex4d models download wan2.1-i2v-14b-480p` \(24.5 GB\)"),
        ("clip_vision", r"no image encoder \(CLIP\) for ex4d in "),
        ("ex4d.ckpt", r"no checkpoint ex4d.ckpt for ex4d in .* ex4d-lora --accept` \(400.0 MB|0.4 GB\)"),
    ],
)
def test_what_is_missing_is_named_with_the_command(mine: Callable[[str], Path], part: str, says: str) -> None:
    folder = mine("ex4d-comfy")
    shutil.rmtree(folder / part) if (folder / part).is_dir() else (folder / part).unlink()
    with pytest.raises(MissingDependencyError, match=says):
        find_files("ex4d", [folder])


def test_nothing_at_all() -> None:
    with pytest.raises(MissingDependencyError, match=r"run `ex4d models download .*GB"):
        find_files("ex4d", [])
    with pytest.raises(InputError, match=r"There is no .*nowhere: give"):
        find_files("ex4d", [Path("nowhere")])
    with pytest.raises(InputError, match=r"There is no xxx.*: give"):
        find_files("ex4d", [Path("x" * 300)])


def test_who_needs_less_is_content_with_less(mine: Callable[[str], Path]) -> None:
    folder = mine("ex4d-comfy")
    for name in ("ex4d.ckpt", "vae/wan_2.1_vae.safetensors"):
        (folder / name).unlink()
    found = find_parts("ex4d", [folder], ["image_encoder"])
    assert found["transformer"] == folder / FP16
    assert found["image_encoder"] == folder / "clip_vision/clip_vision_h.safetensors"
    assert "vae" not in found
    with pytest.raises(MissingDependencyError, match="There is no VAE for ex4d"):
        find_parts("ex4d", [folder], ["vae"])


@pytest.mark.parametrize("layout", ["ex4d-diffusers", "ex4d-original", "ex4d-comfy"])
def test_encoders_are_found_where_there_is_no_transformer(mine: Callable[[str], Path], layout: str) -> None:
    folder = mine(layout)
    files = find_files("ex4d", [folder])
    if files.transformer == folder:
        for shard in folder.glob("diffusion_pytorch_model*"):
            shard.unlink()
    elif files.transformer.is_dir():
        shutil.rmtree(files.transformer)
    else:
        files.transformer.unlink()
    found = find_encoders([folder])
    assert {part: path for part, path in vars(files).items() if part in vars(found)} == vars(found)
    with pytest.raises(MissingDependencyError, match="There is no transformer for ex4d"):
        find_files("ex4d", [folder])


def test_optional_parts_may_be_absent(mine: Callable[[str], Path]) -> None:
    folder = mine("ex4d-comfy")
    for part in ("text_encoders", "loras"):
        shutil.rmtree(folder / part)
    found = find_files("ex4d", [folder])
    assert (found.text_encoder, found.tokenizer, found.distilled) == (None, None, None)


def test_the_wrong_image_encoder_is_left_alone(mine: Callable[[str], Path]) -> None:
    folder = mine("ex4d-comfy")
    clip = folder / COMFY["image_encoder"]
    other = {name: tensor[..., :80].contiguous() for name, tensor in load_file(clip).items()}
    save_file({name: tensor.float() for name, tensor in other.items()}, clip.with_name("another.safetensors"))
    assert find_files("ex4d", [folder]).image_encoder == clip


@pytest.mark.parametrize(("file", "layout"), [(FP16, "ex4d-comfy"), (Q8, "ex4d-gguf")])
@pytest.mark.parametrize("left", [0, 5, 900, -1000])
def test_a_damaged_file_is_named(mine: Callable[[str], Path], file: str, layout: str, left: int) -> None:
    folder = mine(layout)
    content = (folder / file).read_bytes()
    for other in (folder / "diffusion_models").iterdir():
        other.unlink()
    (folder / file).write_bytes(content[:left])
    with pytest.raises(InputError, match=rf"{Path(file).name} is damaged .*: download it again"):
        find_files("ex4d", [folder])


TENSOR = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    "header",
    [
        "[]",
        "null",
        "[" * 100_000,
        '{"a": 5}',
        *(json.dumps({"a": TENSOR | {"shape": shape}}) for shape in (["a"], "abc", [[1]], [-1], [True], None)),
        *(json.dumps({"a": TENSOR | {"data_offsets": ends}}) for ends in ([0], [4, 0], [-4, 0], ["0", "4"], 4)),
        json.dumps({"a": TENSOR | {"dtype": 5}}),
    ],
)
def test_a_header_of_anything_else_is_damage(tmp_path: Path, header: str) -> None:
    (file := tmp_path / "wan.safetensors").write_bytes(struct.pack("<Q", len(header)) + header.encode() + bytes(4))
    with pytest.raises(InputError, match=r"wan.safetensors is damaged .*: download it again"):
        entries(file)


@pytest.mark.parametrize("names", [("decoder.conv1.weight", "conv2.weight"), ("x.class_embedding",)])
def test_a_tensor_without_axes_is_of_no_part(tmp_path: Path, names: tuple[str, ...]) -> None:
    save_file({name: torch.tensor(1.0) for name in names}, tmp_path / "a.safetensors")
    assert candidate(tmp_path / "a.safetensors") is None


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "[" * 100_000,
        *(json.dumps({"weight_map": names}) for names in (5, [], None, {})),
        *(
            json.dumps({"weight_map": {"a": name}})
            for name in (5, None, [], "", "..", "../x", "/etc/passwd", "a/b", "a\\b", "C:b", "a\0", "\ud800", "x" * 300)
        ),
    ],
)
def test_an_index_names_files_beside_it_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / "diffusion_pytorch_model.safetensors.index.json").write_text(content)
    with pytest.raises(InputError, match=r"index.json is damaged .*: download it again"):
        entries(tmp_path)


def test_a_file_that_cannot_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Cannot read .*gone.safetensors \(No such file or directory\): check"):
        entries(tmp_path / "gone.safetensors")


def test_damage_elsewhere_is_told(mine: Callable[[str], Path], caplog: pytest.LogCaptureFixture) -> None:
    folder = mine("ex4d-gguf")
    os.truncate(folder / Q8, 1000)
    assert find_files("ex4d", [folder]).transformer == folder / Q4
    find_files("ex4d", [folder])
    assert caplog.text.count("Q8_0.gguf is damaged") == 1, "though files are looked for several times in a run"


def test_an_index_stands_for_its_folder(tiny_models: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    folder = tiny_models("ex4d-original")
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    assert find_files("ex4d", [index]) == find_files("ex4d", [folder])
    assert not caplog.text


@pytest.mark.parametrize(
    ("layout", "first", "second", "called"),
    [
        ("ex4d-diffusers", "ex4d.ckpt", "EX4D_old.ckpt", "checkpoint ex4d.ckpt"),
        ("ex4d-original", "Wan2.1_VAE.pth", "my_wan_vae.pth", "VAE"),
        ("ex4d-comfy", COMFY["vae"], "vae/z_vae.safetensors", "VAE"),
        ("ex4d-comfy", COMFY["image_encoder"], "clip_vision/z.safetensors", r"image encoder \(CLIP\)"),
        ("ex4d-comfy", COMFY["text_encoder"], "text_encoders/z.safetensors", "text encoder"),
    ],
)
def test_the_released_name_goes_before_copies_and_two_copies_are_refused(
    mine: Callable[[str], Path], layout: str, first: str, second: str, called: str
) -> None:
    folder = mine(layout)
    before = find_files("ex4d", [folder])
    copy = Path(shutil.copy(folder / first, folder / second))
    assert find_files("ex4d", [folder]) == before
    (folder / first).rename(copy.with_name(f"zz_{copy.name}"))
    with pytest.raises(InputError, match=rf"has more than one {called} that fits, {copy.name}, zz_{copy.name}: give"):
        find_files("ex4d", [folder])


def test_two_distilled_loras_are_refused_where_one_is_needed(
    mine: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = mine("ex4d-comfy")
    (folder / "loras" / LORA).rename(folder / "loras" / "lightx2v_rank32.safetensors")
    shutil.copy(folder / "loras" / "lightx2v_rank32.safetensors", folder / "loras" / "lightx2v_rank64.safetensors")
    assert find_files("ex4d", [folder]).distilled is None
    assert "more than one step-distilled LoRA that fits, lightx2v_rank32.safetensors, lightx2v_rank64" in caplog.text
    alone = folder / "loras" / "lightx2v_rank32.safetensors"
    assert find_files("ex4d", [alone]).distilled == alone


@pytest.mark.parametrize("name", ["Wan2.2_VAE.pth", "wan22_vae.pth", "wan2_2_vae_fp32.pth"])
def test_the_vae_of_wan_2_2_is_another(mine: Callable[[str], Path], name: str) -> None:
    folder = mine("ex4d-original")
    (folder / "Wan2.1_VAE.pth").rename(folder / name)
    with pytest.raises(MissingDependencyError, match="There is no VAE for ex4d"):
        find_files("ex4d", [folder])


def test_a_missing_shard_is_named(mine: Callable[[str], Path]) -> None:
    folder = mine("ex4d-original")
    (folder / "diffusion_pytorch_model-00002-of-00003.safetensors").unlink()
    with pytest.raises(InputError, match=r"lacks diffusion_pytorch_model-00002-of-00003.safetensors: download"):
        find_files("ex4d", [folder])


@pytest.mark.skipif(sys.platform == "win32", reason="NTFS would give the file its 33 GB")
def test_the_real_model_is_known_by_its_header(tmp_path: Path) -> None:
    """A file of the released dimensions with nothing in it: 14B parameters as fp16 take no room on disk."""
    file = tmp_path / "wan2.1_i2v_480p_14B_fp16.safetensors"
    sparse_transformer(file)
    found = candidate(file)
    assert found is not None
    assert (found.part, found.model, found.dim, found.image_dim, found.bits) == ("transformer", "i2v", 5120, 1280, 16)
    tensors = entries(file).values()
    assert (len(tensors), round(sum(entry.count for entry in tensors) / 1e9, 3)) == (1303, 16.395)


def sparse_transformer(file: Path) -> None:
    """The 1303 tensors of Wan2.1-I2V-14B in float16, zeros that the file system does not store."""
    from accelerate import init_empty_weights
    from diffusers import WanTransformer3DModel

    with init_empty_weights():
        model = WanTransformer3DModel(in_channels=36, image_dim=1280, added_kv_proj_dim=5120)
    header, end = {}, 0
    for name, tensor in models.original_transformer_names(model.state_dict()).items():
        header[name] = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": [end, end + 2 * tensor.numel()]}
        end += 2 * tensor.numel()
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(file, 8 + len(text) + end)

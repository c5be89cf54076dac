"""Prompts are encoded as the reference does, once, and then come from a small store."""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import shutil
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny import models
from transformers import AutoTokenizer, UMT5EncoderModel

from ex4d_core.errors import InputError, MissingDependencyError
from ex4d_core.files import cache_folder
from ex4d_core.generate import prompts
from ex4d_core.generate.prompts import DEFAULTS, TOKENS, Prompts, clean
from ex4d_core.model_files import ModelFiles

_TEXT = "a sharp photograph of a street"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    """Text encoder and tokenizer of the real classes; the other models are not read here."""
    folder = tmp_path_factory.mktemp("models")
    models.text_encoder(0).save_pretrained(folder / "text_encoder")
    models.tokenizer().save_pretrained(folder / "tokenizer")
    return ModelFiles(folder, folder, text_encoder=folder / "text_encoder", tokenizer=folder / "tokenizer")


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[Any]]:
    """The text encoders that were loaded, one reference for each time."""
    references: list[weakref.ref[Any]] = []
    load = prompts.load_text_encoder

    def counted(files: ModelFiles, dtype: torch.dtype) -> Any:
        encoder = load(files, dtype)
        references.append(weakref.ref(encoder))
        return encoder

    monkeypatch.setattr(prompts, "load_text_encoder", counted)
    return references


def test_the_default_prompts_are_the_references() -> None:
    """Hashes of the strings in generate.py of EX-4D and in shared_config.py of Wan2.1 (commits in `prompts`)."""

    def short(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    assert short(DEFAULTS["ex4d"].prompt) == "258557eb00967f2b"
    assert short(DEFAULTS["ex4d"].negative) == "e488b06083693241"
    for engine in ("vace-1.3b", "vace-14b"):
        assert short(DEFAULTS[engine].negative) == "ce96e0324e4b54ce"
        assert DEFAULTS[engine].prompt


def test_the_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EX4D_CACHE_DIR", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.delenv("EX4D_CACHE_DIR")
    assert cache_folder().is_absolute()
    assert "ex4d" in cache_folder().parts


@pytest.mark.parametrize(
    ("given", "cleaned"),
    # What whitespace_clean(basic_clean(text)) of the reference gives with ftfy 6.3.1.
    [
        ("  two\n words\t\u3000here ", "two words here"),
        ("Tom &amp;amp; Jerry &lt;3 &#39;x&#39;", "Tom & Jerry <3 'x'"),
        ("\u201cquoted\u201d \u2018so\u2019 \u02bcn\u02bc", "\"quoted\" 'so' 'n'"),
        ("\uff21\uff22\uff0c\uff11 \ufb01lm", "AB,1 film"),
        ("cafe\u0301 a\x07b\ufeffc", "caf\u00e9 abc"),
        ("", ""),
    ],
)
def test_text_is_cleaned_as_in_the_reference(given: str, cleaned: str) -> None:
    assert clean(given) == cleaned
    assert clean(cleaned) == cleaned


def test_bytes_that_are_no_text_are_refused(files: ModelFiles, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^The prompt 'a\\udcff' holds bytes that are no text: type it again"):
        Prompts(files, tmp_path, "cpu").prepare(["a\udcff"])


def test_embeddings_are_the_encoders_padded_with_zeros(files: ModelFiles, tmp_path: Path) -> None:
    """Against the reference's way: padded to 512 before the encoder, masked there, cut, padded with zeros."""
    tokenizer: Any = AutoTokenizer.from_pretrained(files.tokenizer)
    encoder = UMT5EncoderModel.from_pretrained(files.text_encoder, dtype=torch.bfloat16).eval()
    padded = tokenizer(_TEXT, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt")
    with torch.no_grad():
        hidden = encoder(padded.input_ids, padded.attention_mask).last_hidden_state[0]
    count = int(padded.attention_mask.sum())

    found = Prompts(files, tmp_path, "cpu").embeddings(f"  {_TEXT}\n")

    assert found.shape == (1, TOKENS, 32)
    assert found.dtype == torch.bfloat16
    assert 4 < count < 64
    assert (found[0, :count].float() - hidden[:count].float()).abs().max() < 0.03 * hidden.float().abs().max()
    assert not found[0, count:].any()


def test_a_prompt_longer_than_the_model_takes_is_cut(files: ModelFiles, tmp_path: Path) -> None:
    found = Prompts(files, tmp_path, "cpu").embeddings("z" * 2000)
    assert found.shape == (1, TOKENS, 32)
    assert found[0, -1].any()


def test_the_text_encoder_is_loaded_once_and_freed(
    files: ModelFiles, tmp_path: Path, loaded: list[weakref.ref[Any]]
) -> None:
    first = Prompts(files, tmp_path, "cpu")
    positive, negative = first.embeddings(_TEXT), first.embeddings(DEFAULTS["ex4d"].negative)
    assert len(loaded) == 1, "the default prompts are encoded with the first one"
    gc.collect()
    assert loaded[0]() is None

    second = Prompts(files, tmp_path, "cpu")  # as the next run makes it
    assert torch.equal(second.embeddings(_TEXT), positive)
    assert torch.equal(second.embeddings(DEFAULTS["ex4d"].negative), negative)
    for engine in DEFAULTS.values():
        second.prepare([engine.prompt, engine.negative])
    assert len(loaded) == 1

    second.embeddings("another one")
    assert len(loaded) == 2


def test_what_is_stored_is_small(files: ModelFiles, tmp_path: Path) -> None:
    Prompts(files, tmp_path / "new" / "folder", "cpu").embeddings(_TEXT)
    stored = [load_file(path)["embedding"] for path in (tmp_path / "new" / "folder").iterdir()]
    assert len(stored) == 1 + 3, "the prompt, and the default ones"
    assert all(tokens.dtype == torch.bfloat16 and len(tokens) < TOKENS for tokens in stored)


def test_a_stored_prompt_needs_no_text_encoder(
    files: ModelFiles, tmp_path: Path, loaded: list[weakref.ref[Any]]
) -> None:
    known = Prompts(files, tmp_path, "cpu").embeddings(_TEXT)
    without = Prompts(replace(files, text_encoder=None, tokenizer=None), tmp_path, "cpu")
    assert without.revision == ""
    assert torch.equal(without.embeddings(_TEXT), known)
    without.embeddings(DEFAULTS["vace-14b"].negative)
    assert len(loaded) == 1
    with pytest.raises(MissingDependencyError, match=r"'a new one' is new, .*: run `.* wan2.1-i2v-14b-480p` \(24.5 GB"):
        without.embeddings("a new one")
    with pytest.raises(MissingDependencyError, match=r": run `.* wan2.1-vace-14b` \(75.1 GB"):
        Prompts(replace(files, text_encoder=None), tmp_path, "cpu", "vace-14b").prepare(["a new one"])


def test_another_text_encoder_encodes_anew(files: ModelFiles, tmp_path: Path, loaded: list[weakref.ref[Any]]) -> None:
    models.text_encoder(1).save_pretrained(tmp_path / "text_encoder")
    other = Prompts(replace(files, text_encoder=tmp_path / "text_encoder"), tmp_path / "store", "cpu")
    same = Prompts(files, tmp_path / "store", "cpu")
    assert other.revision != same.revision
    assert not torch.equal(other.embeddings(_TEXT), same.embeddings(_TEXT))
    assert len(loaded) == 2


def test_a_store_that_cannot_be_written_costs_no_more_than_time(
    files: ModelFiles, tmp_path: Path, loaded: list[weakref.ref[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "store").write_text("a file, where a folder should be")
    known = Prompts(files, tmp_path / "kept", "cpu").embeddings(_TEXT)
    made = Prompts(files, tmp_path / "store" / "prompts", "cpu")
    with caplog.at_level(logging.WARNING):
        assert torch.equal(made.embeddings(_TEXT), known)
    assert f"The prompt {_TEXT!r} is not kept, and the next run encodes it again: Cannot write" in caplog.text
    assert torch.equal(made.embeddings(_TEXT), known)
    assert len(loaded) == 2


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("damage", [b"", b'{"model": {"ty', b"\xff\xfe\x00", b"null", b'["a"]'])
def test_a_damaged_tokenizer_is_named(files: ModelFiles, tmp_path: Path, name: str, damage: bytes) -> None:
    assert files.tokenizer is not None
    folder = Path(shutil.copytree(files.tokenizer, tmp_path / "tokenizer"))
    (folder / name).write_bytes(damage)
    with pytest.raises(InputError, match=rf"tokenizer/{name} is damaged or .*: download it again"):
        Prompts(replace(files, tokenizer=folder), tmp_path / "store", "cpu").prepare([_TEXT])


def test_a_tokenizer_of_no_known_kind_is_named(files: ModelFiles, tmp_path: Path) -> None:
    assert files.tokenizer is not None
    folder = Path(shutil.copytree(files.tokenizer, tmp_path / "tokenizer"))
    told = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    for model in ({"type": "Unknown"}, {}, None):
        (folder / "tokenizer.json").write_text(json.dumps(told | {"model": model}), encoding="utf-8")
        with pytest.raises(InputError, match=r"tokenizer\.json is damaged or .*: download it again"):
            Prompts(replace(files, tokenizer=folder), tmp_path / "store", "cpu").prepare([_TEXT])


def test_an_encoder_that_gives_no_numbers_is_told_and_nothing_stored(files: ModelFiles, tmp_path: Path) -> None:
    broken = models.text_encoder(0)
    broken.encoder.final_layer_norm.weight.data[3] = torch.nan
    broken.save_pretrained(tmp_path / "text_encoder")
    with pytest.raises(InputError, match=r"^The text encoder gave infinity or .*: run"):
        Prompts(replace(files, text_encoder=tmp_path / "text_encoder"), tmp_path / "store", "cpu").prepare([_TEXT])
    assert not (tmp_path / "store").exists()


def test_damaged_files_are_made_again(files: ModelFiles, tmp_path: Path, loaded: list[weakref.ref[Any]]) -> None:
    made, defaults = Prompts(files, tmp_path, "cpu"), DEFAULTS["ex4d"]
    texts = [_TEXT, defaults.prompt, defaults.negative, DEFAULTS["vace-14b"].negative]
    known = [made.embeddings(text) for text in texts]
    paths = [p for tokens in known for p in tmp_path.iterdir() if _same(load_file(p)["embedding"], tokens)]
    whole = [path.read_bytes() for path in paths]
    assert len(set(paths)) == 4
    paths[0].write_bytes(whole[0][:-10])
    paths[1].write_bytes(whole[1][:-10] + bytes([whole[1][-10] ^ 1]) + whole[1][-9:])
    paths[2].write_bytes(b"")
    paths[3].write_bytes(whole[0])  # that of another prompt
    assert all(torch.equal(made.embeddings(text), tokens) for text, tokens in zip(texts, known, strict=True))
    assert len(loaded) == 2
    assert all(_same(load_file(path)["embedding"], tokens) for path, tokens in zip(paths, known, strict=True))


def _same(stored: torch.Tensor, embeddings: torch.Tensor) -> bool:
    return torch.equal(stored, embeddings[0, : int(embeddings[0].any(dim=1).sum())])

"""What `ex4d models download` leaves on disk is what the engines find: tiny models, from a hub of our own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import fake_hub
import pytest
from fake_hub import Hub
from huggingface_hub import constants

from ex4d_core.errors import MissingDependencyError
from ex4d_core.model_download import download
from ex4d_core.model_files import find_files
from ex4d_core.models import known_model, needed, require


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub without models."""
    monkeypatch.setenv("EX4D_MODELS", str(tmp_path / "weights"))
    monkeypatch.setenv("EX4D_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with fake_hub.serving() as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.address)
        template = served.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield served


def contents(folder: Path) -> dict[str, bytes]:
    """A folder as a repository of the hub."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_ex4d_from_three_repositories(hub: Hub, tiny_models: Callable[[str], Path], tiny_ex4d: Path) -> None:
    wan = {path: data for path, data in contents(tiny_ex4d).items() if "/" in path or path == "model_index.json"}
    gguf = next(tiny_models("ex4d-gguf").rglob("*Q8_0.gguf"))
    base, _, lora = needed("ex4d")
    q8 = known_model("wan2.1-i2v-14b-480p-q8")
    hub.repositories = {
        base.hub_id: wan,
        q8.hub_id: {gguf.name: gguf.read_bytes()},
        lora.hub_id: {"ex4d.ckpt": (tiny_ex4d / "ex4d.ckpt").read_bytes()},
    }
    with pytest.raises(MissingDependencyError, match="`ex4d models download ex4d --accept` \\(90.5 GB\\)"):
        require("ex4d")
    for model in (base, q8, lora):
        download(model)
    assert not any("transformer/diffusion_pytorch_model" in path for path in hub.paths())
    small = find_files("ex4d", require("ex4d"))
    assert small.transformer.name == gguf.name
    for model in needed("ex4d"):
        download(model)  # one of them is there; nothing is asked for
    download(known_model("wan2.1-i2v-14b-480p-transformer"))
    full = find_files("ex4d", require("ex4d"), "resident")
    assert full.transformer.parts[-1] == "transformer"
    assert full.transformer.parent == full.vae.parent
    assert full.adapter is not None
    assert full.adapter.read_bytes() == (tiny_ex4d / "ex4d.ckpt").read_bytes()
    for part in (full.image_encoder, full.text_encoder, full.tokenizer):
        assert part is not None
        assert part.exists()
    assert find_files("ex4d", require("ex4d"), "gguf-q8").transformer == small.transformer


def test_vace_from_one(hub: Hub, tiny_vace: Path) -> None:
    (vace,) = needed("vace-1.3b")
    hub.repositories = {vace.hub_id: contents(tiny_vace)}
    folder = download(vace)
    assert contents(folder) == contents(tiny_vace)
    files = find_files("vace-1.3b", require("vace-1.3b"))
    assert files.transformer.parent == files.vae.parent == folder

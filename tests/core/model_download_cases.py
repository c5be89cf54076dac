"""A hub with two models, for the tests of downloads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fake_hub
import pytest
from fake_hub import Hub, content
from huggingface_hub import constants

from ex4d_core import model_fetch
from ex4d_core.models import known_model

VACE, LORA, PREVIEW = (known_model(name) for name in ("wan2.1-vace-1.3b", "ex4d-lora", "taew2.1"))
INDEX = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}).encode()
FILES = {
    "README.md": b"not ours",
    "model_index.json": b"{}",
    "scheduler/scheduler_config.json": b'{"shift": 3}',
    "text_encoder/config.json": b"{ }",
    "text_encoder/model.safetensors.index.json": INDEX,
    "text_encoder/model-1.safetensors": content(300_000, 1),
    "text_encoder/model-2.safetensors": content(200_000, 2),
    "tokenizer/spiece.model": content(5000, 3),
    "transformer/diffusion_pytorch_model.safetensors": content(2_500_000, 4),
    "vae/diffusion_pytorch_model.safetensors": content(100_000, 5),
}
OURS = sorted(set(FILES) - {"README.md"})


@contextmanager
def serving_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with two models, a cache and a state folder of the test's own."""
    for name in ("HF_HOME", "HF_TOKEN", "HF_HUB_OFFLINE", "EX4D_MODELS", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("EX4D_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr(model_fetch, "_PATIENCE", 0.01)
    with fake_hub.serving() as served:
        served.repositories = {VACE.hub_id: dict(FILES), LORA.hub_id: {"ex4d.ckpt": content(50_000, 6)}}
        # huggingface_hub reads HF_ENDPOINT once, when it is imported; the command below is run with it.
        monkeypatch.setattr(constants, "ENDPOINT", served.address)
        template = served.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield served


def run(hub: Hub, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """`ex4d models` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "ex4d_core.cli", "models", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_ENDPOINT": hub.address, **environment},
    )

"""Tiny models of `scripts/make_tiny_models.py`, made once in a run; read them only, copy to change them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that wait spin: beside other work all takes 20 times as long


@pytest.fixture(scope="session", autouse=True)
def nothing_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whoever runs the tests may have models; here there are those that a test makes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_CACHE", str(tmp_path_factory.mktemp("hub")))
        patch.setenv("EX4D_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        patch.setenv("EX4D_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("EX4D_MODELS", raising=False)
        yield


@pytest.fixture(scope="session")
def tiny_ex4d(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """EX-4D in diffusers' layout, float32."""
    import make_tiny_models

    folder = tmp_path_factory.mktemp("tiny") / "ex4d-diffusers"
    make_tiny_models.ex4d_diffusers(folder, 0)
    return folder

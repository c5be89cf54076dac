"""Folders of tiny models, made once in a run when first asked for; read them only, copy to change them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that wait spin: beside other work all takes 20 times as long


@pytest.fixture(scope="session", autouse=True)
def no_sidecar_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whoever runs the tests may have models in a folder of the sidecar's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EX4D_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Name of a layout of `scripts/make_tiny_models.py` -> folder with it."""
    root = tmp_path_factory.mktemp("tiny")

    def folder(layout: str) -> Path:
        if not (root / layout).exists():
            import make_tiny_models

            make_tiny_models.LAYOUTS[layout](root / layout, 0)
        return root / layout

    return folder


@pytest.fixture(scope="session")
def tiny_ex4d(tiny_models: Callable[[str], Path]) -> Path:
    """EX-4D in diffusers' layout, float32."""
    return tiny_models("ex4d-diffusers")

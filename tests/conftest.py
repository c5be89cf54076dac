"""Fixtures shared by all tests."""

import faulthandler
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parent.parent

# Blender's Python and the library's are two environments: scripts/test.py runs pytest once in each.
collect_ignore = ["core", "server"] if importlib.util.find_spec("bpy") else ["blender"]


_SECONDS_TO_END = 120


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """A process that does not end after its last test fails, and shows where: pytest-timeout watches tests alone."""
    faulthandler.dump_traceback_later(_SECONDS_TO_END, exit=True, file=sys.__stderr__)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of data that lies beside the checkout on development machines; skips where it is absent."""
    folder = Path(os.environ.get("EX4D_SHARED", _ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"no measurement data at {folder}: set EX4D_SHARED to its parent")
    return folder.parent


@pytest.fixture(scope="session", autouse=True)
def own_cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What ex4d keeps between runs of the tests is theirs, and gone with them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EX4D_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        # nor does a model that somebody has downloaded change what is the default here
        patch.setenv("HF_HUB_CACHE", str(tmp_path_factory.mktemp("hub")))
        patch.delenv("EX4D_MODELS", raising=False)
        yield

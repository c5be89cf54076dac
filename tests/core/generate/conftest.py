"""More tiny models, which only generators read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_vace(tiny_models: Callable[[str], Path]) -> Path:
    """VACE 1.3B in diffusers' layout, float32."""
    return tiny_models("vace-1.3b")

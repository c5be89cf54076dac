"""How a job asks its engine to be run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ex4d_core.engines import EngineSetup

SETUP_FIELDS = ("model_dir", "memory", "attention", "cache", "steps")
"""Of a job that generates."""


def setup_of(fields: Mapping[str, Any]) -> EngineSetup:
    """The setup in a job's request, as it is stored.

    Args:
        fields: with `SETUP_FIELDS`; `model_dir` is None or {"path": folder}.
    """
    folder = fields["model_dir"]
    others = {name: fields[name] for name in SETUP_FIELDS[1:]}
    return EngineSetup(model_dir=None if folder is None else Path(folder["path"]), **others)

"""Generators: what fills the pixels that were never seen.

One module per engine behind one `Protocol`; engines are imported when they are asked for.
"""

from ex4d_core.generate.engine import (
    Engine,
    EngineFacts,
    GeneratedFrame,
    Needs,
    Shot,
    engine_facts,
    engine_names,
    engine_needs,
    make_engine,
    missing,
)
from ex4d_core.generate.folder import OnFrame, generate_pair, generate_shot

__all__ = [
    "Engine",
    "EngineFacts",
    "GeneratedFrame",
    "Needs",
    "OnFrame",
    "Shot",
    "engine_facts",
    "engine_names",
    "engine_needs",
    "generate_pair",
    "generate_shot",
    "make_engine",
    "missing",
]

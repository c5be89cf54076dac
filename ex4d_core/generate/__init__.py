"""Generators: what fills the pixels that were never seen.

One module per engine behind one `Protocol`; engines are imported when they are asked for.
"""

from ex4d_core.generate.engine import Engine, GeneratedFrame, Shot, engine_names, make_engine
from ex4d_core.generate.folder import OnFrame, generate_pair, generate_shot

__all__ = [
    "Engine",
    "GeneratedFrame",
    "OnFrame",
    "Shot",
    "engine_names",
    "generate_pair",
    "generate_shot",
    "make_engine",
]

"""Generators: what fills the pixels that were never seen.

One module per engine behind one `Protocol`; engines are imported when they are asked for. Which there are and what
each needs stands in `ex4d_core.engines`.
"""

from ex4d_core.engines import engine_names
from ex4d_core.generate.engine import Engine, GeneratedFrame, Shot, make_engine
from ex4d_core.generate.folder import OnFrame, add_exr, generate_pair, generate_shot

__all__ = [
    "Engine",
    "GeneratedFrame",
    "OnFrame",
    "Shot",
    "add_exr",
    "engine_names",
    "generate_pair",
    "generate_shot",
    "make_engine",
]

"""EX-4D: see one video from another camera.

The names below are the public API (docs/python.md). They are loaded on first use, so that importing the package
costs nothing.
"""

import importlib

__version__ = "0.1.0"

# name -> module that defines it
_EXPORTS = {
    "Ex4dError": "errors",
    "Intrinsics": "camera",
    "Move": "presets",
    "Scene": "scene",
    "Trajectory": "camera",
    "build_mesh": "mesh",
    "export_mesh": "mesh_export",
    "generate_shot": "generate",
    "import_scene": "ingest",
    "load_clip": "clip",
    "load_trajectory": "camera",
    "preset": "presets",
    "rasterize": "raster",
    "render": "rendering",
    "render_shot": "rendering",
    "reshoot": "reshooting",
    "save_trajectory": "camera",
}

__all__ = ["__version__", *_EXPORTS]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name in _EXPORTS:
        return getattr(importlib.import_module(f"ex4d_core.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module 'ex4d_core' has no attribute {name!r}")

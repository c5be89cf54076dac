"""EX-4D: see one video from another camera.

Names are loaded on first use, so that importing the package costs nothing.
"""

import importlib

__version__ = "0.1.0"

# name -> module that defines it
_EXPORTS = {
    "Camera": "camera",
    "Intrinsics": "camera",
    "Trajectory": "camera",
    "load_trajectory": "camera",
    "save_trajectory": "camera",
    "preset": "presets",
    "Ex4dError": "errors",
}

__all__ = ["__version__", *_EXPORTS]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name in _EXPORTS:
        return getattr(importlib.import_module(f"ex4d_core.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module 'ex4d_core' has no attribute {name!r}")

"""Depth Anything 3 on the frames of one chunk at a time; run by `depth.depth_anything_3` in a Python of its own.

Run as `python -I run_depth_anything_3.py MODEL_FOLDER RESOLUTION`.
"""
# pyright: basic

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from serving import Request, serve, write_arrays

_UNUSED = {
    # The package imports every exporter, and with them moviepy 1, pycolmap, plyfile, trimesh, e3nn and gsplat.
    "depth_anything_3.utils.export": "export",
    # evo, which is needed only where poses are given.
    "depth_anything_3.utils.pose_align": "align_poses_umeyama",
}


class Runner:
    """The model, loaded at the first request, so that an error of loading is a reply, too."""

    def __init__(self, folder: str, resolution: int) -> None:
        self._folder, self._resolution = folder, resolution
        self._model: Any = None

    def answer(self, request: Request) -> dict[str, Any]:
        """Write depth (N, h, w), confidence (N, h, w), intrinsics (N, 3, 3) at that size and world-to-camera
        extrinsics (N, 3, 4), OpenCV axes, all float32; the last three only of models that tell them.

        Args:
            request: `frames`, files of images; `out`, the NPZ to write. Without frames: only load the model.
        """
        if self._model is None:
            self._model = _load(self._folder)
        reply = {"model": self._model.model_name, "device": str(self._model.device)}
        if not request["frames"]:
            return reply
        found = self._model.inference(request["frames"], process_res=self._resolution)
        named = {
            "confidence": found.conf,
            "intrinsics": found.intrinsics,
            "extrinsics": found.extrinsics,
        }
        told = {name: values for name, values in named.items() if values is not None}
        write_arrays(request["out"], depth=found.depth, **told)
        return reply


def _load(folder: str) -> Any:
    for name, function in _UNUSED.items():
        module = types.ModuleType(name)
        setattr(module, function, None)
        sys.modules[name] = module
    import torch
    from depth_anything_3.api import DepthAnything3  # type: ignore[import-not-found]

    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    # the hub's own loader: safetensors only, and shared weights where the file leaves them out
    model = DepthAnything3.from_pretrained(folder, local_files_only=True).to(device).eval()
    model.device = torch.device(device)
    return model


if __name__ == "__main__":
    serve(Runner(sys.argv[1], int(sys.argv[2])).answer)

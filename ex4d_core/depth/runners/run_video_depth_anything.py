"""Video Depth Anything on one window of frames at a time; run by `depth.video_depth_anything`.

Run as `python -I run_video_depth_anything.py CHECKOUT CHECKPOINT INPUT_SIZE`: the official code is the user's own.
"""
# pyright: basic

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from serving import Request, serve, write_arrays

_SMALL = {"encoder": "vits", "features": 64, "out_channels": [48, 96, 192, 384]}
_WIDEST = 1.78
"""Beyond 16:9 the input gets smaller, as in the official code, for the sake of memory."""


class Runner:
    """The model, loaded at the first request, so that an error of loading is a reply, too."""

    def __init__(self, checkout: str, checkpoint: str, input_size: int) -> None:
        self._checkout, self._checkpoint, self._input_size = checkout, checkpoint, input_size
        self._model: Any = None

    def answer(self, request: Request) -> dict[str, Any]:
        """Write disparity (N, h, w) float32 >= 0 at the network's size, up to scale and shift.

        Args:
            request: `frames`, files of the images of a window; `out`, the NPZ to write. Without frames: only load.
        """
        import torch

        if self._model is None:
            self._model, self._device = _load(self._checkout, self._checkpoint)
        if request["frames"]:
            window = self._window(request["frames"])
            # as the official code: half precision on a GPU, which other devices only emulate
            with torch.inference_mode(), torch.autocast(self._device, enabled=self._device == "cuda"):
                disparity = self._model(window.to(self._device))[0]  # [N, h, w]
            write_arrays(request["out"], disparity=disparity.float().cpu().numpy())
        return {"device": self._device}

    def _window(self, paths: list[str]) -> Any:
        """(1, N, 3, h, w) float32, prepared by the official transforms."""
        import cv2
        import numpy as np
        import torch
        from video_depth_anything.util.transform import NormalizeImage, PrepareForNet, Resize  # type: ignore[import]

        prepared: dict[str, Any] = {}
        for path in paths:
            if path in prepared:
                continue
            read = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)  # imread cannot open every name
            assert read is not None, path
            image = cv2.cvtColor(read, cv2.COLOR_BGR2RGB)
            side = _side(self._input_size, image.shape[0], image.shape[1])
            sample = {"image": image.astype(np.float32) / 255.0}
            for transform in (
                Resize(
                    width=side,
                    height=side,
                    resize_target=False,
                    keep_aspect_ratio=True,
                    ensure_multiple_of=14,
                    resize_method="lower_bound",
                    image_interpolation_method=cv2.INTER_CUBIC,
                ),
                NormalizeImage(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
                PrepareForNet(),
            ):
                sample = transform(sample)
            prepared[path] = torch.from_numpy(sample["image"])
        return torch.stack([prepared[path] for path in paths])[None]


def _side(wanted: int, height: int, width: int) -> int:
    ratio = max(height, width) / min(height, width)
    return wanted if ratio <= _WIDEST else round(int(wanted * 1.777 / ratio) / 14) * 14


def _load(checkout: str, checkpoint: str) -> tuple[Any, str]:
    sys.path.insert(0, checkout)
    import torch
    from video_depth_anything.video_depth import VideoDepthAnything  # type: ignore[import]

    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    model = VideoDepthAnything(**_SMALL)
    model.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True), strict=True)
    return model.to(device).eval(), device


if __name__ == "__main__":
    serve(Runner(sys.argv[1], sys.argv[2], int(sys.argv[3])).answer)

"""The estimator `depth-anything-v2-small`: Depth Anything V2 (Yang et al. 2024) by transformers, frame by frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import DepthAnythingForDepthEstimation

from ex4d_core.depth.hub_network import load_network, normalised, read_preprocessing, weights_folder
from ex4d_core.depth.per_frame import Network, PerFrameEstimator, Prediction


class DepthAnythingV2Estimator(PerFrameEstimator):
    """Disparity up to scale and shift; about 25 million weights."""

    name = "depth-anything-v2-small"
    revision = 1
    units = "relative"

    def folder(self) -> Path:
        """See `PerFrameEstimator.folder`."""
        return weights_folder(self.name, self._request.model_dir)

    def load(self) -> Network:
        """See `PerFrameEstimator.load`."""
        folder = self.folder()
        settings = read_preprocessing(folder, self.name)
        model = load_network(DepthAnythingForDepthEstimation, folder, self.name)

        def look(frame: NDArray[np.uint8]) -> Prediction:
            with torch.inference_mode():
                pixels = normalised(shrunk(frame, settings), settings).to(model.device)
                disparity = model(pixel_values=pixels).predicted_depth[0]  # [h, w]
            return Prediction(disparity.float().cpu().numpy())

        return look


def shrunk(frame: NDArray[np.uint8], settings: dict[str, Any]) -> NDArray[np.uint8]:
    """A frame at the size that the network takes: as DPT's image processor without torchvision makes it.

    Args:
        frame: (H, W, 3) uint8 sRGB.
        settings: of `read_preprocessing`.

    Returns:
        (h, w, 3) uint8: one side the network's own, the other in proportion, both multiples of its patches.
    """
    height, width = frame.shape[:2]
    across, down = settings["size"][0] / width, settings["size"][1] / height
    if settings["keep_aspect_ratio"]:
        across = down = min(down, across, key=lambda scale: abs(1 - scale))
    multiple = settings["ensure_multiple_of"]
    size = [
        max(multiple, round(side * scale / multiple) * multiple) for side, scale in ((width, across), (height, down))
    ]
    return np.asarray(Image.fromarray(frame).resize((size[0], size[1]), Image.Resampling(settings["resample"])))

"""The estimator `depth-pro`: Apple's Depth Pro (Bochkovskii et al. 2024) by transformers, frame by frame."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DepthProForDepthEstimation

from ex4d_core.depth.hub_network import load_network, normalised, read_preprocessing, weights_folder
from ex4d_core.depth.per_frame import Network, PerFrameEstimator, Prediction

_DOUBTFUL = 0.1
"""Focal lengths of the frames that differ by more than this share are said to differ."""


class DepthProEstimator(PerFrameEstimator):
    """Metric depth and the lens; about 950 million weights."""

    name = "depth-pro"
    revision = 1
    units = "metric"

    def folder(self) -> Path:
        """See `PerFrameEstimator.folder`."""
        return weights_folder(self.name, self._request.model_dir)

    def load(self) -> Network:
        """See `PerFrameEstimator.load`."""
        folder = self.folder()
        settings = read_preprocessing(folder, self.name)
        model = load_network(DepthProForDepthEstimation, folder, self.name)
        width, height = settings["size"]

        def look(frame: NDArray[np.uint8]) -> Prediction:
            with torch.inference_mode():
                pixels = normalised(frame, settings).to(model.device)
                squeezed = torch.nn.functional.interpolate(pixels, (height, width), mode="bilinear")  # [1, 3, h, w]
                output = model(pixel_values=squeezed)
                at_clip_size = torch.nn.functional.interpolate(
                    output.predicted_depth[:, None], frame.shape[:2], mode="bilinear"
                )  # [1, 1, H, W]
            degrees = math.nan if output.field_of_view is None else float(output.field_of_view[0])
            return Prediction(at_clip_size[0, 0].float().cpu().numpy(), focal_share(degrees))

        return look

    def warnings(self, focals: NDArray[np.float64]) -> list[str]:
        """See `PerFrameEstimator.warnings`."""
        if self._request.lens_known:
            return []
        known = focals[np.isfinite(focals)]
        if not known.size:
            return [
                f"The weights of {self.name} tell no lens: its depth is metric only if the lens of the clip is right."
            ]
        low, middle, high = np.percentile(known, (10, 50, 90))
        if high - low <= _DOUBTFUL * middle:
            return []
        narrow, wide = (math.degrees(2 * math.atan(0.5 / share)) for share in (high, low))
        return [
            f"The lens that {self.name} sees differs from frame to frame, {narrow:.0f} to {wide:.0f} degrees: the "
            "median is used, give --fov if you know it."
        ]


def focal_share(degrees: float) -> float:
    """Focal length as a share of the image's width, of a horizontal field of view; NaN for one that no lens has."""
    return 0.5 / math.tan(math.radians(degrees) / 2) if 0 < degrees < 180 else math.nan

"""CoTracker3 on one clip and a set of points at a time; run by `masking.cotracker`.

Run as `python -I run_cotracker.py CHECKOUT WEIGHTS`: the official code is the user's own.
"""
# pyright: basic

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from serving import Request, serve, write_arrays

_WINDOW = 60
"""Frames that the released offline weights were trained at."""


class Runner:
    """The model, loaded at the first request, so that an error of loading is a reply, too."""

    def __init__(self, checkout: str, weights: str) -> None:
        self._checkout, self._weights = checkout, weights
        self._model: Any = None

    def answer(self, request: Request) -> dict[str, Any]:
        """Follow points through the whole clip, both ways.

        Args:
            request: `frames`, an NPY of (T, H, W, 3) uint8; `points`, [x, y] each, pixel centres at whole numbers;
                `start`, the frame that they are of; `out`, the NPZ to write: at (T, N, 2) float32, seen (T, N) bool.
        """
        import numpy as np
        import torch

        if self._model is None:
            self._model, self._device = _load(self._checkout, self._weights)
        frames = torch.from_numpy(np.load(request["frames"], allow_pickle=False)).to(self._device)
        queries = torch.tensor([[request["start"], x, y] for x, y in request["points"]], dtype=torch.float32)
        tracks, seen = self._model(
            frames.permute(0, 3, 1, 2)[None].float(),  # [1, T, 3, H, W]
            queries=queries[None].to(self._device),  # [1, N, 3]
            backward_tracking=True,
        )
        write_arrays(request["out"], at=tracks[0].float().cpu().numpy(), seen=seen[0].bool().cpu().numpy())
        return {"device": self._device}


def _load(checkout: str, weights: str) -> tuple[Any, str]:
    sys.path.insert(0, checkout)
    import torch
    from cotracker.predictor import CoTrackerPredictor  # type: ignore[import]

    device = "cuda" if torch.cuda.is_available() else "cpu"
    predictor = CoTrackerPredictor(checkpoint=None, offline=True, window_len=_WINDOW)
    # not by its own loader, which runs whatever code a file holds on older torch
    state = torch.load(weights, map_location="cpu", weights_only=True)
    predictor.model.load_state_dict(state.get("model", state), strict=True)
    return predictor.to(device).eval(), device


if __name__ == "__main__":
    serve(Runner(sys.argv[1], sys.argv[2]).answer)

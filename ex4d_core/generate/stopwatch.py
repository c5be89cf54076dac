"""Where the time of a video goes."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch


class Stopwatch:
    """Seconds of each stage of one video, work of the GPU included."""

    def __init__(self, device: str) -> None:
        """Start at nothing.

        Args:
            device: of torch; at the ends of a stage its queue is waited for.
        """
        self._device = torch.device(device)
        self._seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        """Add the time inside the block to that of a stage."""
        self._wait()
        begin = time.perf_counter()
        try:
            yield
        finally:
            self._wait()
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - begin

    def settings(self, vae: tuple[str, ...]) -> dict[str, Any]:
        """For `VideoModel.settings`: `seconds` of each stage, and `vae_share` of their sum.

        Args:
            vae: the stages that are the VAE's.
        """
        whole = sum(self._seconds.values())
        share = sum(self._seconds.get(name, 0.0) for name in vae) / whole if whole else 0.0
        return {"seconds": {k: round(v, 3) for k, v in self._seconds.items()}, "vae_share": round(share, 4)}

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        elif self._device.type == "mps":
            torch.mps.synchronize()

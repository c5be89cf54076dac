"""How far a job is: the progress of its stages, weighted, and the time that remains."""

from __future__ import annotations

import time
from collections.abc import Sequence

_WEIGHTS = {"scene": 2.0, "render": 1.5, "generate": 9.0, "exr": 1.7, "models": 1.0}
"""Shares of the time, as measured with the bundled clip and the draft engine."""

_IMPORT_STEPS = {
    "checking depth": (0.0, 0.1),
    "reading": (0.1, 0.2),
    "keeping the plate": (0.2, 0.3),
    "writing depth": (0.8, 0.95),
    "hashing": (0.95, 1.0),
}
_ESTIMATING = (0.3, 0.8)


class JobProgress:
    """Turns the core's progress into a fraction of a whole job that never goes back."""

    def __init__(self, stages: Sequence[str]) -> None:
        """Begin.

        Args:
            stages: the names of the job's stages, in order.
        """
        self.fraction = 0.0
        self._stages = list(stages)
        self._total = sum(_WEIGHTS[s] for s in stages)
        self._before = 0.0
        self._estimating: list[str] = []
        self._started = self._started_at = 0.0
        self.restart_clock()

    def restart_clock(self) -> None:
        """Count the time that remains from here on: what came from disk took none."""
        self._started, self._started_at = time.monotonic(), self.fraction

    def update(self, stage: str, done: int, total: int, step: str) -> float:
        """Take in progress of a stage.

        Args:
            stage: name of the job's stage.
            done: units done of the step.
            total: units of the step.
            step: what the core calls what it is doing.

        Returns:
            The fraction of the job, 0..1.
        """
        share = done / total if total else 0.0
        if stage == "scene":
            share = self._within_import(step, share)
        return self._advance(self._before + _WEIGHTS[stage] * share)

    def finish(self, stage: str) -> float:
        """A stage is finished; the fraction of the job."""
        self._before += _WEIGHTS[stage]
        return self._advance(self._before)

    def eta_seconds(self) -> float | None:
        """The time that remains; None while nobody knows."""
        gained = self.fraction - self._started_at
        if gained < 0.02:
            return None
        return round((time.monotonic() - self._started) * (1 - self.fraction) / gained, 1)

    def _advance(self, weight: float) -> float:
        self.fraction = max(self.fraction, min(weight / self._total, 1.0))
        return round(self.fraction, 4)

    def _within_import(self, step: str, share: float) -> float:
        if step in _IMPORT_STEPS:
            low, high = _IMPORT_STEPS[step]
            return low + (high - low) * share
        if step not in self._estimating:
            self._estimating.append(step)
        # Nobody knows how many steps an estimator has: each fills half of what is left.
        low, high = _ESTIMATING
        left = 0.5 ** (len(self._estimating) - 1)
        return low + (high - low) * (1 - left + left / 2 * share)

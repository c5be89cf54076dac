"""Runs jobs of kind `models`: in a thread beside the devices, for a download of hours must not hold up a shot."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import RowMapping

from ex4d_core.models import known_model, state
from ex4d_core.progress import OnProgress
from ex4d_server.cache import Cache
from ex4d_server.joblog import JobLog
from ex4d_server.progress import JobProgress
from ex4d_server.runner import PROGRESS_SECONDS, Runner, RunnerSettings
from ex4d_server.store import Store
from ex4d_server.uploads import Uploads

STAGE = "models"
"""The one stage of such a job."""


class DownloadRunner(Runner):
    """Claims downloads, one after another; it needs no worker, for nothing in it crashes or takes memory."""

    downloads = True

    def __init__(self, store: Store, cache: Cache, uploads: Uploads) -> None:
        super().__init__(RunnerSettings(device=STAGE), store, cache, uploads)

    def _ready_worker(self) -> bool:
        return True

    def _with_retries(self, row: RowMapping, log: JobLog) -> tuple[None, list[dict[str, Any]]]:
        """Download; what broke off before, at the end of the sidecar say, goes on."""
        from ex4d_core.model_download import download

        began = time.monotonic()
        model = known_model(row["request"]["model"])
        was_there = state(model) == "ready"
        folder = download(model, on_progress=self._reporter(row["id"]), cancelled=self._cancelled.is_set)
        log.write(f"{model.name} is in {folder}")
        return None, [{"name": STAGE, "cached": was_there, "seconds": round(time.monotonic() - began, 3)}]

    def _reporter(self, job: str) -> OnProgress:
        progress, last = JobProgress([STAGE]), 0.0

        def on_progress(done: int, total: int, stage: str) -> None:
            nonlocal last
            fraction = progress.update(STAGE, done, total, stage)
            if not last:
                progress.restart_clock()  # what an earlier attempt brought took none
            if done < total and time.monotonic() - last < PROGRESS_SECONDS:
                return
            last = time.monotonic()
            text = f"{stage}: {done} of {total}"
            eta = progress.eta_seconds()
            self._store.change(job, "progress", stage=STAGE, fraction=fraction, eta_s=eta, message=text)

        return on_progress

"""The parts of one running sidecar, put together."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from ex4d_server.announcer import Announcer
from ex4d_server.cache import Cache
from ex4d_server.documents import Health
from ex4d_server.downloads import DownloadRunner
from ex4d_server.folders import DataFolder
from ex4d_server.runner import Runner, RunnerSettings
from ex4d_server.store import Store
from ex4d_server.uploads import Uploads

_log = logging.getLogger(__name__)

_STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Settings:
    """How a sidecar runs."""

    data: Path
    token: str = field(repr=False)
    host: str = "127.0.0.1"
    cache_bytes: int = 50 * 10**9
    """Finished stages beyond this are evicted, oldest first."""
    upload_bytes: int = 100 * 10**9
    """Largest upload."""
    heartbeat_seconds: float = 30.0
    """How long a worker may be silent."""
    unload_after_seconds: float = 600.0
    """How long models stay loaded without a job."""


class Sidecar:
    """Store, cache and runners of one data folder."""

    def __init__(self, settings: Settings) -> None:
        """Open the data folder; nothing runs yet.

        Raises:
            OutputError: the folder cannot be written, or its store is damaged.
        """
        self.settings = settings
        self.folder = DataFolder(settings.data)
        self.folder.claim()
        self.folder.make()
        self.store = Store(self.folder.database)
        self.cache = Cache(self.folder, self.store, settings.cache_bytes)
        self.uploads = Uploads(self.cache, settings.upload_bytes)
        self.announcer = Announcer()
        self.store.on_event = self.announcer.announce
        self.runners: list[Runner] = []
        """One for each device."""
        self.downloads = DownloadRunner(self.store, self.cache, self.uploads)
        self.asked_to_stop = threading.Event()
        """Somebody wants the whole server to end."""
        self.last_request = time.monotonic()
        self.left = 0
        """Unfinished jobs at the end."""

    def start(self) -> None:
        """Take up what an earlier run left, and begin to work."""
        self.cache.sweep()
        for job in self.store.requeue_interrupted("the sidecar ended in the middle of this job; it goes on"):
            _log.info("job %s goes on", job)
        for device, environment in _devices():
            settings = RunnerSettings(
                device=device,
                environment=environment,
                heartbeat_seconds=self.settings.heartbeat_seconds,
                unload_after_seconds=self.settings.unload_after_seconds,
            )
            runner = Runner(settings, self.store, self.cache, self.uploads)
            self.runners.append(runner)
        for runner in self._all_runners:
            runner.start()

    def stop(self) -> None:
        """End the workers; what runs goes back into the queue."""
        self.announcer.close()
        for runner in self._all_runners:
            runner.stop()
        for runner in self._all_runners:
            runner.join(_STOP_SECONDS)
        self.left = len(self.store.list_jobs(("queued", "running")))
        self.store.close()

    def wake(self) -> None:
        """There is work."""
        for runner in self._all_runners:
            runner.wake()

    def cancel(self, job: str) -> None:
        """Stop a job wherever it runs."""
        for runner in self._all_runners:
            runner.cancel(job)

    def delete_job(self, job: str) -> bool:
        """Forget a job and what only it had on disk; False if it runs."""
        keys = self.store.delete_job(job)
        if keys is None:
            return False
        shutil.rmtree(self.folder.job(job), ignore_errors=True)
        self.cache.forget(keys)
        return True

    def unload(self) -> None:
        """Give back the memory of loaded models."""
        for runner in self.runners:
            runner.unload()

    def note_request(self) -> None:
        """Somebody who may asked for something."""
        self.last_request = time.monotonic()

    @property
    def _all_runners(self) -> list[Runner]:
        return [*self.runners, self.downloads]

    @property
    def idle(self) -> bool:
        """Whether nothing runs or waits."""
        return not self.store.list_jobs(("queued", "running"), limit=1)

    def health(self) -> Health:
        """Whether it can work."""
        from ex4d_server import API_VERSION, __version__

        states = {runner.state for runner in self.runners}
        status, detail = "ready", "Ready."
        if not states or "starting" in states:
            status, detail = "starting", "The worker is starting."
        elif states == {"failed"}:
            status, detail = "failed", self.runners[0].trouble
        elif "busy" in states:
            status, detail = "busy", "A job is running."
        return Health.model_validate({"status": status, "detail": detail, "version": __version__, "api": API_VERSION})


def _devices() -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    """Each GPU, or the CPU where there is none; with the variables that make a worker see it alone."""
    from ex4d_core.devices import gpus
    from ex4d_core.errors import Ex4dError

    try:
        found = gpus()
    except Ex4dError as error:
        _log.warning("%s", error)
        found = ()
    if not found:
        return [("cpu", ())]
    return [(f"gpu {gpu.index}: {gpu.name}", (("CUDA_VISIBLE_DEVICES", gpu.uuid),)) for gpu in found]

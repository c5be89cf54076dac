"""Runs jobs, one after another, on one device: claims a job, has a worker do its stages, records what came out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from sqlalchemy import RowMapping
from sqlalchemy.exc import OperationalError

from ex4d_core.errors import CancelledError, Ex4dError
from ex4d_server.cache import Cache
from ex4d_server.folders import Kind
from ex4d_server.joblog import JobLog
from ex4d_server.problems import Problem, problem_of
from ex4d_server.progress import JobProgress
from ex4d_server.stages import JobRun
from ex4d_server.store import Store
from ex4d_server.uploads import Uploads
from ex4d_server.worker_process import WorkerDied, WorkerProcess

_log = logging.getLogger(__name__)

_TRIES = 3
"""How often a job is begun again by itself after its worker died."""
PROGRESS_SECONDS = 0.25
"""At least so much time lies between two events of progress."""
_FAILED_AFTER = 3
"""So many workers that die at their start make the device a failed one; it is tried again all the same."""
_PAUSES = (0.5, 1.0, 2.0, 5.0, 15.0, 60.0)
"""Seconds between attempts to start a worker that dies at its start."""


@dataclass(frozen=True)
class RunnerSettings:
    """How a device is used."""

    device: str = "cpu"
    environment: tuple[tuple[str, str], ...] = ()
    """Variables of the worker, as for choosing a GPU."""
    heartbeat_seconds: float = 30.0
    """How long a worker may be silent before it counts as hung."""
    unload_after_seconds: float = 600.0
    """How long models stay loaded without a job."""


class Runner(threading.Thread):
    """The thread of one device."""

    downloads = False
    """Whether it claims downloads of models, or else all other jobs."""

    def __init__(self, settings: RunnerSettings, store: Store, cache: Cache, uploads: Uploads) -> None:
        super().__init__(name=f"runner {settings.device}", daemon=True)
        self.settings = settings
        self.state: Literal["starting", "idle", "busy", "failed"] = "starting"
        self.trouble = ""
        """Why the worker does not start."""
        self._store, self._cache, self._uploads = store, cache, uploads
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._unload = threading.Event()
        self._worker: WorkerProcess | None = None
        self._job_log: JobLog | None = None
        self._cancelled = threading.Event()
        self._running: str | None = None
        self._idle_since = time.monotonic()
        self._failures = 0
        """How often in a row a worker ended before it had imported everything."""

    def wake(self) -> None:
        """There is a new job."""
        self._wake.set()

    def cancel(self, job: str) -> None:
        """Stop a job if it is the one that runs here."""
        if self._running == job:
            self._cancelled.set()

    def unload(self) -> None:
        """Give back the memory of loaded models: now, or when the job that runs is finished."""
        self._unload.set()
        self._wake.set()

    def stop(self) -> None:
        """Stop working, and leave the job that runs in the queue."""
        self._stopping.set()
        self._cancelled.set()
        self._wake.set()

    def run(self) -> None:
        """Work until stopped."""
        try:
            while not self._stopping.is_set():
                if not self._ready_worker():
                    continue
                job = self._claim()
                if job is None:
                    self.state = "idle"
                    self._wake.wait(1.0)
                    self._wake.clear()
                    self._unload_if_due()
                    continue
                self.state = "busy"
                self._run_job(job)
                self._idle_since = time.monotonic()
        except Exception as error:
            _log.exception("the runner of %s ended", self.settings.device)
            self.state, self.trouble = "failed", f"The sidecar met an error of its own ({error!r}): start it again."
        finally:
            if self._worker is not None:
                self._worker.end()

    def _ready_worker(self) -> bool:
        """Have a worker that listens; False where one is not wanted any more before there is one."""
        while not self._given_up():
            worker = self._worker
            if worker is None:
                worker = self._worker = self._new_worker()
            if worker is not None and worker.alive:
                if worker.warm:
                    self._failures, self.trouble = 0, ""
                if self._failures < _FAILED_AFTER:
                    return True
                self._stopping.wait(0.1)  # after so many failures it is believed once it is warm
            elif worker is not None:
                worker.end()
                self._worker = None
                if not worker.warm and not worker.killed_because:
                    self._start_failed(worker.obituary)
        return False

    def _new_worker(self) -> WorkerProcess | None:
        """Start a worker and wait until it listens; None after a failure and a pause."""
        worker = None
        if self.state == "idle":
            self.state = "starting"
        try:
            worker = WorkerProcess(dict(self.settings.environment), self._on_log, self.settings.heartbeat_seconds)
            worker.wait_ready(self._given_up)
            return worker
        except (WorkerDied, OSError) as error:
            if worker is not None:
                worker.end()
            self._start_failed(str(error))
            return None

    def _start_failed(self, why: str) -> None:
        if self._given_up():
            return
        self._failures += 1
        self.trouble = f"The worker {why}: look at the sidecar's log; it is tried again by itself."
        _log.error("%s", self.trouble)
        if self._failures >= _FAILED_AFTER:
            self.state = "failed"
            if self._running is not None:
                self._store.change(self._running, "log", message=self.trouble)
        (self._cancelled if self._running else self._stopping).wait(_PAUSES[min(self._failures, len(_PAUSES)) - 1])

    def _given_up(self) -> bool:
        """Whether a worker that is not there yet is no longer needed."""
        return self._stopping.is_set() or (self._running is not None and self._cancelled.is_set())

    def _claim(self) -> RowMapping | None:
        self._cancelled.clear()
        if self._stopping.is_set():
            return None
        try:
            return self._store.claim(downloads=self.downloads)
        except OperationalError as error:
            _log.error("cannot start a job: %s", error)
            return None

    def _run_job(self, row: RowMapping) -> None:
        job: str = row["id"]
        self._running = job
        log = self._job_log = JobLog(self._cache.folder.job(job))
        log.write(f"attempt {row['attempt']}: {row['kind']} on {self.settings.device}")
        _log.info("job %s: %s, attempt %d, on %s", job, row["kind"], row["attempt"], self.settings.device)
        changes: dict[str, Any]
        try:
            if (self._store.job(job) or {}).get("cancel"):  # asked for before anybody knew that it runs here
                self._cancelled.set()
            result, stages = self._with_retries(row, log)
            changes = {"state": "succeeded", "result": result, "stages": stages, "fraction": 1.0, "message": "finished"}
        except CancelledError:
            stopped = self._stopping.is_set() and not (self._store.job(job) or {}).get("cancel")
            state = "queued" if stopped else "cancelled"
            changes = {"state": state, "message": "waiting for the sidecar to start again" if stopped else "cancelled"}
        except (Ex4dError, WorkerDied) as error:
            problem = _problem(error)
            changes = {"state": "failed", "message": problem.detail, "problem": problem.model_dump()}
        except OperationalError as error:
            problem = Problem(
                title="No space",
                status=507,
                code="no-space",
                remedy="free some space, then retry",
                detail=f"The job store cannot be written ({error.orig}): free some space, then retry.",
            )
            changes = {"state": "failed", "message": problem.detail, "problem": problem.model_dump()}
        except Exception as error:
            _log.exception("job %s", job)
            log.write(f"{type(error).__name__}: {error}")
            problem = problem_of(error)
            changes = {"state": "failed", "message": problem.detail, "problem": problem.model_dump()}
        log.write(f"{changes['state']}: {changes['message']}")
        _log.info("job %s: %s, %s", job, changes["state"], changes["message"])
        self._record(job, {**changes, "eta_s": None})
        self._running = self._job_log = None
        log.close()
        self._tidy()

    def _record(self, job: str, changes: dict[str, Any]) -> None:
        """Write the end of a job, also onto a full disk."""
        while True:
            try:
                self._store.change(job, "state", **changes)
                return
            except OperationalError as error:
                _log.error("cannot record the end of job %s: %s", job, error)
                if not self._cache.folder.drop_ballast() and self._stopping.wait(1.0):
                    return  # the next start puts it back in the queue

    def _tidy(self) -> None:
        try:
            self._cache.folder.fill_ballast()
            self._cache.evict()
        except (OSError, OperationalError) as error:
            _log.warning("tidying up: %s", error)

    def _with_retries(self, row: RowMapping, log: JobLog) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
        """Do a job: its result, if it has one, and its stages."""
        for remaining in reversed(range(_TRIES)):
            ask, on_stage = partial(self._ask, row["id"]), self._stage_reporter(row["id"])
            run = JobRun(row, self._cache, self._uploads, ask, on_stage)
            try:
                return run.run(), run.stages
            except WorkerDied as error:
                log.write(f"the worker {error}")
                _log.warning("job %s: the worker %s", row["id"], error)
                again = remaining > 0 and self._ready_worker()
                if self._cancelled.is_set():
                    raise CancelledError("Stopped.") from error
                if not again:
                    raise
                self.state = "busy"
                message = f"the worker {error}; going on with a new one"
                self._store.change(row["id"], "log", message=message)
        raise AssertionError("the last try returns or raises")

    def _stage_reporter(self, job: str) -> Callable[[Kind, list[dict[str, Any]], float, str], None]:
        def on_stage(stage: Kind, stages: list[dict[str, Any]], fraction: float, message: str) -> None:
            if self._job_log is not None:
                self._job_log.write(f"{message}, {stages[-1]['seconds']:.2f} s")
            self._store.change(
                job, "progress", stage=stage, stages=stages, fraction=fraction, eta_s=None, message=message
            )

        return on_stage

    def _unload_if_due(self) -> None:
        worker = self._worker
        if worker is None:
            return
        idle = time.monotonic() - self._idle_since
        if self._unload.is_set() or (worker.loaded and idle > self.settings.unload_after_seconds):
            self._unload.clear()
            self._worker = None
            worker.end()  # nothing frees a GPU's memory as surely as the end of the process

    def _on_log(self, line: str) -> None:
        log = self._job_log
        if log is not None:
            log.write(line)
        else:
            _log.info("worker: %s", line)

    def _ask(
        self,
        job: str,
        operation: str,
        arguments: dict[str, Any],
        stage: Kind,
        grace_seconds: float,
        progress: JobProgress,
    ) -> dict[str, Any]:
        """Let the worker perform an operation for a job, and tell of its progress."""
        worker = self._worker
        if worker is None:
            raise WorkerDied("was gone")
        last_time, last_step, preview = 0.0, "", 0

        def on_message(message: dict[str, Any]) -> None:
            nonlocal last_time, last_step, preview
            if "progress" in message:
                done, total, step = message["progress"]
                fraction = progress.update(stage, done, total, step)
                if step == last_step and time.monotonic() - last_time < PROGRESS_SECONDS:
                    return
                last_time, last_step = time.monotonic(), step
                text = f"{step}: {done} of {total}"
                eta = progress.eta_seconds()
                self._store.change(job, "progress", stage=stage, fraction=fraction, eta_s=eta, message=text)
            elif "preview" in message:
                preview += 1
                self._store.change(job, "preview", preview=preview)
            elif "log" in message and self._job_log is not None:
                self._store.change(job, "log", message=message["log"])

        return worker.call(operation, arguments, on_message, self._cancelled.is_set, grace_seconds)


def _problem(error: Ex4dError | WorkerDied) -> Problem:
    if isinstance(error, Ex4dError):
        return problem_of(error)
    remedy = "retry; if it happens again, choose a smaller size and look at the job's log"
    return Problem(
        type="urn:ex4d:problem:worker-died",
        title="The worker died",
        status=500,
        code="worker-died",
        remedy=remedy,
        detail=f"The worker {error}, {_TRIES} times in a row: {remedy}.",
    )

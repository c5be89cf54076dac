"""The worker process: runs one operation at a time, told by lines of JSON on stdin, telling on stdout.

In:   {"op": name, "n": number, "args": {...}}   {"cancel": number}   end of file: the server is gone
Out:  {"ready": pid}  {"alive": true, "loaded": [engines], "warm": everything is imported}
      {"n": number, "progress": [done, total, stage]}  {"n": number, "preview": true}  {"n": number, "log": text}
      {"n": number, "done": {...}}  {"n": number, "failed": {code, message}}

A process of its own, so that a segmentation fault or a full memory ends a job and not the server.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import threading
import time
import traceback
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from ex4d_core.errors import Ex4dError, SpaceError
from ex4d_core.files import is_no_space
from ex4d_core.memory import keep_memory
from ex4d_server.operations import Context, perform

if TYPE_CHECKING:
    from ex4d_core.engines import EngineSetup
    from ex4d_core.generate import Engine

HEARTBEAT_SECONDS = 1.0
_PROGRESS_SECONDS = 0.05
SERVER_GONE = 3
"""Exit code when the server has ended."""


class Worker:
    """The loop of a worker process."""

    def __init__(self) -> None:
        # Results go to the real stdout; whatever a library prints goes to the log.
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
        os.dup2(2, 1)
        self._writing = threading.Lock()
        self._asked: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._cancelled: set[int] = set()
        self._engines: dict[tuple[str, EngineSetup], Engine] = {}
        self._warm = False
        self._number = 0

    def run(self) -> None:
        """Work until the server is gone."""
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
        logging.getLogger().addHandler(_ToServer(self))
        threading.Thread(target=self._listen, daemon=True, name="listen").start()
        threading.Thread(target=self._beat, daemon=True, name="heartbeat").start()
        self.tell(ready=os.getpid())
        _preload()
        self._warm = True
        self._say_alive()
        while True:
            asked = self._asked.get()
            self._number = asked["n"]
            self._perform(asked)
            self._number = 0

    def tell(self, **message: Any) -> None:
        """Send a message to the server."""
        text = json.dumps(message, ensure_ascii=True)
        with self._writing:
            self._out.write(text + "\n")

    def log(self, text: str) -> None:
        """Tell the artist something about the operation that runs."""
        if self._number:
            self.tell(n=self._number, log=text)

    def _listen(self) -> None:
        for line in sys.stdin.buffer:
            message = json.loads(line)
            if "cancel" in message:
                self._cancelled.add(message["cancel"])
            else:
                self._asked.put(message)
        os._exit(SERVER_GONE)  # what is half-made stays for the next server to go on with

    def _beat(self) -> None:
        while True:
            self._say_alive()
            time.sleep(HEARTBEAT_SECONDS)

    def _say_alive(self) -> None:
        self.tell(alive=True, loaded=sorted({name for name, _ in self._engines}), warm=self._warm)

    def _engine(self, name: str, setup: EngineSetup) -> Engine:
        """An engine that stays; but of those with models only one, for two do not fit."""
        from ex4d_core.engines import engine_facts
        from ex4d_core.generate import make_engine

        if (name, setup) not in self._engines:
            if engine_facts(name).reads_setup:
                self._engines = {key: e for key, e in self._engines.items() if not engine_facts(key[0]).reads_setup}
                if "torch" in sys.modules:  # else there was none
                    from ex4d_core.generate.memory import release

                    release()
            self._engines[name, setup] = make_engine(name, setup)
        return self._engines[name, setup]

    def _perform(self, asked: dict[str, Any]) -> None:
        number: int = asked["n"]
        last_time, last_stage = 0.0, ""

        def on_progress(done: int, total: int, stage: str) -> None:
            nonlocal last_time, last_stage
            time_now = time.monotonic()
            if stage != last_stage or done >= total or time_now - last_time > _PROGRESS_SECONDS:
                last_time, last_stage = time_now, stage
                self.tell(n=number, progress=[done, total, stage])

        context = Context(
            on_progress=on_progress,
            cancelled=lambda: number in self._cancelled,
            on_preview=lambda: self.tell(n=number, preview=True),
            engine=self._engine,
        )
        try:
            result = perform(asked["op"], asked["args"], context)
        except Ex4dError as error:
            self.tell(n=number, failed={"code": error.code, "message": str(error)})
        except Exception as error:
            traceback.print_exc()
            if _is_out_of_memory(error):
                self.tell(n=number, failed={"code": "out-of-memory", "message": _OUT_OF_MEMORY})
                return
            if is_no_space(error):
                self.tell(n=number, failed={"code": SpaceError.code, "message": _NO_SPACE})
                return
            sentence = (
                f"The worker met an error of its own ({type(error).__name__}: {error}): send its log to the makers."
            )
            self.tell(n=number, failed={"code": "defect", "message": sentence})
        else:
            self.tell(n=number, done=result)


_NO_MEMORY = ("outofmemory", "out of memory", "insufficient memory", "cannot allocate", "can't start new thread")
_OUT_OF_MEMORY = "This machine ran out of memory: choose a smaller size or fewer frames, or close other programs."
_NO_SPACE = "A disk of this machine is full: free some space, where the data folder is and EX4D_CACHE_DIR, then retry."


def _is_out_of_memory(error: Exception) -> bool:
    """Whether that is what an error of any library means; most have their own way to say it."""
    said = f"{type(error).__name__}: {error}".lower()
    return isinstance(error, MemoryError) or any(words in said for words in _NO_MEMORY)


class _ToServer(logging.Handler):
    """Warnings of the core are for the artist."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(logging.WARNING)
        self._worker = worker

    def emit(self, record: logging.LogRecord) -> None:
        self._worker.log(record.getMessage())


def _preload() -> None:
    """Import what jobs need while nobody waits for it."""
    for module in ("ex4d_core.ingest", "ex4d_core.rendering", "ex4d_core.generate"):
        importlib.import_module(module)


def main() -> None:
    """Run a worker; ends at once where it cannot, for the thread that reads stdin would hold the interpreter up."""
    keep_memory()
    try:
        Worker().run()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    main()

"""Models in a Python of their own: answers, errors in one sentence, a cancel within a second, nothing left running."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from ex4d_core.depth import runners
from ex4d_core.depth.worker import Worker, WorkerError, log_file
from ex4d_core.errors import CancelledError
from ex4d_core.progress import never_cancelled

RUNNERS = Path(runners.__file__).parent

RUNNER = """
import os, sys, time
sys.path.insert(0, {folder!r})
from serving import serve, write_arrays
import numpy as np

def answer(request):
    print("a model prints", request)
    if request["do"] == "write":
        write_arrays(request["out"], pid=np.array(os.getpid()))
    elif request["do"] == "sleep":
        os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", "import time; time.sleep(60)"])
        time.sleep(60)
    elif request["do"] == "nap":
        time.sleep(60)
    elif request["do"] == "die":
        os.kill(os.getpid(), 9)
    elif request["do"] == "memory":
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
    elif request["do"] == "import":
        import no_such_package
    elif request["do"] == "fail":
        raise ValueError("size mismatch for head.weight\\nand much more")
    return {{"pid": os.getpid(), "isolated": sys.flags.isolated}}

serve(answer)
"""


@pytest.fixture
def runner(tmp_path: Path) -> Path:
    script = tmp_path / "runner.py"
    script.write_text(RUNNER.format(folder=str(RUNNERS)))
    return script


def started(runner: Path) -> Worker:
    return Worker("test-model", Path(sys.executable), runner, [])


def test_it_answers_more_than_once_and_keeps_what_is_printed(runner: Path, tmp_path: Path) -> None:
    with started(runner) as worker:
        first = worker.ask({"do": "nothing"}, never_cancelled)
        out = tmp_path / "found.npz"
        second = worker.ask({"do": "write", "out": str(out)}, never_cancelled)
    assert first["pid"] == second["pid"] == int(np.load(out)["pid"]) != os.getpid()
    assert first["isolated"] == 1
    assert list(tmp_path.glob("*.npz")) == [out]
    assert "a model prints {'do': 'write'" in log_file("test-model").read_text("utf-8")
    assert not psutil.pid_exists(first["pid"])


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("memory", r"test-model needs more memory than is free \(log: .*test-model.log\): close other programs"),
        ("import", r"lacks a package \(No module named 'no_such_package'\): see .*test-model.log"),
        ("fail", r"failed \(size mismatch for head.weight\): the whole story is in .*test-model.log\.$"),
        ("die", r"stopped without an answer \(exit status -9, mostly for want of memory\): read .*test-model.log\.$"),
    ],
)
def test_an_error_is_a_sentence_that_names_the_log(runner: Path, what: str, sentence: str) -> None:
    with started(runner) as worker, pytest.raises(WorkerError, match=sentence):
        worker.ask({"do": what}, never_cancelled)
    log = log_file("test-model").read_text("utf-8")
    assert ("Traceback" in log and "and much more" in log) == (what == "fail")


def test_after_an_error_it_answers_again(runner: Path) -> None:
    with started(runner) as worker:
        with pytest.raises(WorkerError):
            worker.ask({"do": "fail"}, never_cancelled)
        assert worker.ask({"do": "nothing"}, never_cancelled)["pid"]


def test_a_cancel_ends_it_and_its_children_within_a_second(runner: Path) -> None:
    with started(runner) as worker:
        process = psutil.Process(worker.ask({"do": "nothing"}, never_cancelled)["pid"])
        family: list[psutil.Process] = []
        asked: list[float] = []

        def cancelled() -> bool:
            family.extend(process.children() if not family else [])
            if family:
                asked.append(time.monotonic())
            return bool(family)

        with pytest.raises(CancelledError):
            worker.ask({"do": "sleep"}, cancelled)
        assert not running(process)
        wait_for(lambda: not running(family[0]))  # whoever adopts it lets it go
        assert time.monotonic() - asked[0] < 1


def test_it_ends_when_nobody_asks_any_more(runner: Path) -> None:
    """As after a crash of the program that started it, in the middle of a long answer."""
    code = f"""
import os, time
from pathlib import Path
from ex4d_core.depth.worker import Worker
worker = Worker("test-orphan", Path({sys.executable!r}), Path({str(runner)!r}), [])
print(worker.ask({{"do": "nothing"}}, lambda: False)["pid"], flush=True)
worker._process.send('{{"do": "nap"}}')
time.sleep(0.3)
os._exit(1)
"""
    asker = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert asker.returncode == 1, asker.stderr
    wait_for(lambda: not psutil.pid_exists(int(asker.stdout)) or not running(psutil.Process(int(asker.stdout))))


def test_a_python_that_is_gone_is_said(runner: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match=r"no_python cannot be started \(No such file or directory\): install it"):
        Worker("test-model", tmp_path / "no_python", runner, [])


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def running(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

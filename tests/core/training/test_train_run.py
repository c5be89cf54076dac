"""`ex4d train run`: steps, checkpoints, log and validation; killed, interrupted and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import make_tiny_models
import pytest
import torch
from train_cases import HIDDEN, dataset

from ex4d_core.cli import main
from ex4d_core.training.config import read_config
from ex4d_core.training.state import newest
from ex4d_core.training.trainer import Outcome, Step, train

STEPS = 16
Configured = Callable[..., Path]


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dataset(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What training needs and no more: a transformer."""
    folder = tmp_path_factory.mktemp("base")
    make_tiny_models.wan_transformer(0).save_pretrained(folder / "transformer")
    return folder


@pytest.fixture
def configured(tmp_path: Path, clips: Path, base: Path) -> Configured:
    """Settings -> a file of them."""

    def write(out: str, **settings: Any) -> Path:
        told: dict[str, Any] = {"dataset": str(clips), "model_dir": str(base), "out": out, "steps": STEPS, "batch": 2}
        told |= {"lr": 1e-2, "warmup": 3, "rank": 4, "hidden": HIDDEN, "ema": 0.9, "validation_clips": 1}
        told |= {"checkpoint_every": 4, "validate_every": 8, "validation_steps": 2} | settings
        file = tmp_path / f"{out}.toml"
        file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in told.items()), encoding="utf-8")
        return file

    return write


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["train", "run", *arguments])
    return int(ended.value.code or 0)


def logged(out: Path) -> dict[int, dict[str, float]]:
    """Step -> what is the same in each run of it."""
    found: dict[int, dict[str, float]] = {}
    for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines():
        values = json.loads(line)
        values.pop("train/seconds", None)
        found.setdefault(values.pop("step"), {}).update(values)
    return found


def same(one: Any, other: Any) -> bool:
    """Bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other) and one.dtype == other.dtype
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    return one == other


def end_state(out: Path) -> dict[str, Any]:
    saved = newest(out)
    assert saved is not None
    assert saved.told.step == STEPS
    return saved.state()


def run(file: Path) -> tuple[Outcome, list[Step]]:
    steps: list[Step] = []
    return train(read_config(file), steps.append), steps


def killed(file: Path, out: Path, after: int) -> None:
    """Begin the real command, and kill it when it has logged so many steps."""
    call = [sys.executable, "-m", "ex4d_core.cli", "train", "run", str(file)]
    process = subprocess.Popen(call, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    end, log = time.monotonic() + 120, out / "log.jsonl"
    while process.poll() is None and time.monotonic() < end:
        if log.is_file() and len(log.read_text(encoding="utf-8").splitlines()) >= after:
            process.kill()
        time.sleep(0.005)
    assert process.wait() == -signal.SIGKILL


def test_killed_and_resumed_is_as_never_stopped(
    configured: Configured, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, broken = configured("whole", schedule="cosine"), configured("broken", schedule="cosine")
    assert command(str(whole), "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["steps"] == STEPS
    assert result["validation_loss"] > 0

    killed(broken, tmp_path / "broken", after=6)
    before = newest(tmp_path / "broken")
    assert before is not None
    assert 4 <= before.told.step < STEPS
    assert command(str(broken), "--quiet") == 0

    assert logged(tmp_path / "whole").keys() == set(range(1, STEPS + 1))
    assert logged(tmp_path / "broken") == logged(tmp_path / "whole")
    ours, theirs = end_state(tmp_path / "broken"), end_state(tmp_path / "whole")
    assert theirs.keys() == {"lora", "geometry", "average", "optimizer", "schedule", "sampler", "random"}
    for name in theirs:
        assert same(ours[name], theirs[name]), name
    rates = [values["train/learning_rate"] for values in logged(tmp_path / "whole").values()]
    assert rates[0] < rates[3] == max(rates) > rates[-1]

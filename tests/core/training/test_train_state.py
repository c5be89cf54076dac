"""Checkpoints of a training: whole or not there, the newest whole one found, a full disk, and the average."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import make_tiny_models
import numpy as np
import pytest
import torch
from diffusers.training_utils import EMAModel
from torch import nn
from train_cases import SHAPE

from ex4d_core.errors import InputError, OutputError, SpaceError
from ex4d_core.generate.checkpoint import Ex4dCheckpoint
from ex4d_core.training.adapter import new_adapter, trained
from ex4d_core.training.ema import averaged
from ex4d_core.training.log import TrainingLog
from ex4d_core.training.random_state import random_state, set_random_state
from ex4d_core.training.state import Told, newest, read_saved, save


@pytest.fixture(scope="module")
def adapter() -> Ex4dCheckpoint:
    transformer = make_tiny_models.wan_transformer(0)
    return trained(transformer, new_adapter(transformer, SHAPE, 1), SHAPE)


def written(out: Path, adapter: Ex4dCheckpoint, step: int, keep: int = 3, **state: Any) -> Path:
    told = Told(step=step, config={"seed": 1}, clips=(), size=(64, 64, 5))
    return save(out, told, adapter, {"number": step, "tensor": torch.full((300, 300), float(step)), **state}, keep)


def names(out: Path) -> list[str]:
    return sorted(each.name for each in (out / "checkpoints").iterdir())


def test_what_is_saved_comes_back(tmp_path: Path, adapter: Ex4dCheckpoint) -> None:
    assert newest(tmp_path) is None
    folder = written(tmp_path, adapter, 2, nest={"a": [torch.arange(3), (1, "b", None)]})
    saved = newest(tmp_path)
    assert saved is not None
    assert saved.folder == folder
    assert (saved.told.step, saved.told.config) == (2, {"seed": 1})
    state = saved.state()
    assert state["nest"]["a"][1] == (1, "b", None)
    assert torch.equal(state["tensor"], torch.full((300, 300), 2.0))
    back = saved.adapter()
    assert (back.rank, back.alpha) == (adapter.rank, adapter.alpha)
    assert all(torch.equal(back.lora[name], tensor) for name, tensor in adapter.lora.items())


def test_the_last_ones_are_kept(tmp_path: Path, adapter: Ex4dCheckpoint) -> None:
    for step in (2, 4, 10_000_000, 20_000_000):
        written(tmp_path, adapter, step, keep=2)
    assert names(tmp_path) == ["step-10000000", "step-20000000"]


@pytest.mark.parametrize("file", ["ex4d.ckpt", "state.pt", "ex4d.json", "checkpoint.json"])
@pytest.mark.parametrize("how", ["cut", "changed", "gone"])
def test_a_damaged_one_gives_way_to_the_one_before(
    tmp_path: Path, adapter: Ex4dCheckpoint, caplog: pytest.LogCaptureFixture, file: str, how: str
) -> None:
    first, second = written(tmp_path, adapter, 2), written(tmp_path, adapter, 4)
    damaged = second / file
    content = damaged.read_bytes()
    if how == "gone":
        damaged.unlink()
    else:
        damaged.write_bytes(content[: len(content) // 2] if how == "cut" else b"x" + content[1:])
    saved = newest(tmp_path)
    assert saved is not None
    assert saved.folder == first
    assert str(second) in caplog.text
    written(tmp_path, adapter, 3, keep=1)  # gone on from the first one
    assert names(tmp_path) == ["step-0000003"]


def test_none_whole_is_told_and_not_begun_anew(tmp_path: Path, adapter: Ex4dCheckpoint) -> None:
    (written(tmp_path, adapter, 2) / "state.pt").unlink()
    with pytest.raises(InputError, match="No checkpoint in .* is whole: remove them"):
        newest(tmp_path)
    with pytest.raises(InputError, match="is no whole checkpoint of a training"):
        read_saved(tmp_path)


class FullDisk:
    """Raises what the system does, in the place of a call, while it is on."""

    def __init__(self, patch: pytest.MonkeyPatch, module: Any, name: str, number: int = errno.ENOSPC) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise OSError(number, os.strerror(number))

        patch.setattr(module, name, fail)


@pytest.mark.parametrize(("module", "name"), [(torch, "save"), (os, "replace")])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, adapter: Ex4dCheckpoint, module: Any, name: str) -> None:
    first = written(tmp_path, adapter, 2, keep=1)
    with pytest.MonkeyPatch.context() as patch:
        FullDisk(patch, module, name)
        with pytest.raises(SpaceError, match=r"Cannot write .*step-0000004: the disk is full: free some space"):
            written(tmp_path, adapter, 4, keep=1)
    assert names(tmp_path) == [first.name]
    saved = newest(tmp_path)
    assert saved is not None
    assert saved.told.step == 2
    with pytest.MonkeyPatch.context() as patch:
        FullDisk(patch, module, name, errno.EROFS)
        with pytest.raises(OutputError, match="that disk is read-only"):
            written(tmp_path, adapter, 4, keep=1)
    written(tmp_path, adapter, 4, keep=1)
    assert names(tmp_path) == ["step-0000004"]


def test_what_a_crash_left_is_no_checkpoint(tmp_path: Path, adapter: Ex4dCheckpoint) -> None:
    first = written(tmp_path, adapter, 2)
    first.rename(first.with_name("step-0000009.partial"))
    assert newest(tmp_path) is None
    written(tmp_path, adapter, 4)
    assert names(tmp_path) == ["step-0000004"]


def test_nothing_in_a_state_is_executed(tmp_path: Path, adapter: Ex4dCheckpoint) -> None:
    written(tmp_path, adapter, 2, odd=Path("x"))  # an object, not a number
    saved = newest(tmp_path)
    assert saved is not None
    with pytest.raises(InputError, match="state.pt cannot be read"):
        saved.state()


def test_random_numbers_go_on_where_they_were(tmp_path: Path, adapter: Ex4dCheckpoint) -> None:
    import random

    def numbers() -> list[float]:
        legacy = np.random.randn()  # noqa: NPY002
        return [torch.rand(1).item(), legacy, random.random(), random.gauss()]

    numbers()
    written(tmp_path, adapter, 2, random=random_state())
    expected = numbers()
    numbers()
    saved = newest(tmp_path)
    assert saved is not None
    set_random_state(saved.state()["random"])
    assert numbers() == expected


def test_the_average_follows_its_formula() -> None:
    """a <- d a + (1 - d) w, where d is at most (1 + n) / (10 + n) after n steps."""
    weight, values = nn.Parameter(torch.zeros(3)), torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    ema, expected = EMAModel([weight], decay=0.7), torch.zeros(3)
    for step, value in enumerate(values):
        with torch.no_grad():
            weight.copy_(value)
        ema.step([weight])
        decay = min(0.7, (1 + step) / (10 + step)) if step else 0.0
        expected = decay * expected + (1 - decay) * value
    with averaged(ema, [weight]):
        torch.testing.assert_close(weight.detach(), expected)
    assert torch.equal(weight, values[-1])
    with pytest.raises(KeyError), averaged(ema, [weight]):
        raise KeyError
    assert torch.equal(weight, values[-1])
    with averaged(None, [weight]):
        assert torch.equal(weight, values[-1])


def test_what_torch_says_in_its_stead_is_a_sentence(
    tmp_path: Path, adapter: Ex4dCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, adapter, 2)

    def full(_state: Any, place: Path) -> None:
        assert place.name == "state.pt"
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 574976 vs 574896")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(SpaceError, match="step-0000004: the disk is full"):
        written(tmp_path, adapter, 4)
    assert names(tmp_path) == ["step-0000002"]


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_thread_of_tensorboard_prints_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.summary.writer.record_writer import RecordWriter

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def logged() -> None:
        for step in range(1, 100):
            log.add(step, {"train/loss": 1.0})

    hook, log = threading.excepthook, TrainingLog(tmp_path, 0)
    with monkeypatch.context() as patch:
        patch.setattr(RecordWriter, "write", full)
        with pytest.raises(SpaceError, match="the disk is full"):
            logged()
    with pytest.raises(SpaceError, match="the disk is full"):
        log.close()
    assert threading.excepthook is hook
    assert "Traceback" not in capsys.readouterr().err


def test_a_log_with_damaged_lines_goes_on(tmp_path: Path) -> None:
    lines = [b'{"step": 1, "train/loss": 2.0}', b"\xff\xfe\x00", b'{"step": Infinity}', b'{"step": 2, "tr']
    (tmp_path / "log.jsonl").write_bytes(b"\n".join(lines))
    log = TrainingLog(tmp_path, 2)
    assert log.has(1, "train/loss")
    log.add(2, {"train/loss": 1.0})
    log.close()
    text = (tmp_path / "log.jsonl").read_text(encoding="utf-8")
    assert text == '{"step": 1, "train/loss": 2.0}\n{"step": 2, "train/loss": 1.0}\n'

"""`ex4d train run`: steps, checkpoints, log and validation; killed, interrupted and gone on with."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import make_tiny_models
import numpy as np
import pytest
import torch
import torch.utils.checkpoint
from filelock import FileLock
from safetensors.torch import load_file, save_file
from train_cases import HIDDEN, dataset, sample

from ex4d_core.cli import main
from ex4d_core.errors import BusyError, InputError
from ex4d_core.generate.checkpoint import add_lora, read_checkpoint
from ex4d_core.generate.sinusoid import exact_sinusoid
from ex4d_core.training.config import TrainConfig, read_config
from ex4d_core.training.model import TrainingModel, build
from ex4d_core.training.objective import drawn, loss, predict
from ex4d_core.training.parallel import World
from ex4d_core.training.sampler import noise_of
from ex4d_core.training.state import newest
from ex4d_core.training.trainer import Outcome, Step, train
from ex4d_core.training.validation import Validation

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


def test_ctrl_c_writes_a_checkpoint(configured: Configured, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first signal in the middle of a training, the real one, in this process."""
    file, out = configured("stopped", steps=200, checkpoint_every=100, validate_every=100), tmp_path / "stopped"
    interrupted = False

    def interrupt(frame: Any, event: str, _argument: Any) -> None:
        nonlocal interrupted
        if not interrupted and event == "call" and frame.f_code.co_name == "_step" and (out / "log.jsonl").is_file():
            interrupted = len(logged(out)) >= 2
            if interrupted:
                os.kill(os.getpid(), signal.SIGINT)

    sys.setprofile(interrupt)
    try:
        assert command(str(file)) == 130
    finally:
        sys.setprofile(None)
    assert "Interrupted after step 3 of 200: run the same command again to go on." in capsys.readouterr().err
    saved = newest(out)
    assert saved is not None
    assert saved.told.step == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    file.write_text(file.read_text(encoding="utf-8").replace("steps = 200\n", "steps = 4\n"), encoding="utf-8")
    outcome, steps = run(file)
    assert [step.number for step in steps] == [4]
    assert outcome.steps == 4


def test_a_training_that_is_done_is_done(configured: Configured) -> None:
    file = configured("done", steps=2)
    first, _ = run(file)
    again, steps = run(file)
    assert steps == []
    assert again.checkpoint == first.checkpoint


def test_the_checkpoint_is_what_was_trained(configured: Configured, tmp_path: Path, base: Path) -> None:
    """Its ex4d.ckpt in the base model speaks as the averaged model did when its loss on held-out clips was taken."""
    spoken: list[torch.Tensor] = []
    given, state = sample(), drawn(sample().latents, 5.0, torch.Generator().manual_seed(0))

    def listen(validation: Any, *_: Any) -> float:
        model: TrainingModel = validation._model
        with torch.no_grad():
            spoken.append(model.velocity(given, state))
        return 0.0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Validation, "run", listen)
        outcome, _ = run(configured("exported", steps=6, alpha=2.0))
    checkpoint = read_checkpoint(outcome.checkpoint / "ex4d.ckpt")
    assert (checkpoint.rank, checkpoint.alpha) == (4, 2.0)
    transformer = make_tiny_models.wan_transformer(0)
    before = predict(transformer, None, given, state.noisy, state.timestep, torch.float32)
    add_lora(transformer, checkpoint)
    exact_sinusoid(transformer)
    geometry = checkpoint.geometry_encoder()(given.color, given.mask)
    after = predict(transformer, geometry, given, state.noisy, state.timestep, torch.float32)
    assert torch.equal(after, spoken[-1])
    assert (after - before).abs().max() > 0.001


def test_going_on_from_a_file(configured: Configured, tmp_path: Path) -> None:
    first, steps = run(configured("first", steps=8, ema=0.0))
    start = str(first.checkpoint / "ex4d.ckpt")
    model = build(read_config(configured("second", start_from=start)), World(0, 1, "cpu"))
    learnt = read_checkpoint(first.checkpoint / "ex4d.ckpt")
    assert all(torch.equal(model.checkpoint().lora[name], tensor) for name, tensor in learnt.lora.items())
    _, further = run(configured("second", steps=1, start_from=start))
    assert further[0].loss < steps[0].loss


def test_it_learns_and_the_log_tells(configured: Configured, tmp_path: Path) -> None:
    outcome, steps = run(configured("learns", steps=40, batch=1, ema=0.0, warmup=5, validate_every=20))
    assert sum(step.loss for step in steps[-10:]) < 0.93 * sum(step.loss for step in steps[:10])
    log = logged(tmp_path / "learns")
    assert [log[step.number]["train/loss"] for step in steps] == [step.loss for step in steps]
    assert [number for number, values in log.items() if "validation/loss" in values] == [20, 40]
    assert log[40]["validation/loss"] == outcome.validation


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"batch": 1}, "was trained with batch = 2, and the configuration says 1: set it back"),
        ({"rank": 8}, "was trained with rank = 4, and the configuration says 8"),
        ({"resume": False}, "has checkpoints of an earlier training: choose another `out`, or set resume to true"),
        ({"eight_bit": True}, "was trained with eight_bit = False"),
    ],
)
def test_another_training_is_not_gone_on_with(configured: Configured, change: dict[str, Any], says: str) -> None:
    run(configured("mine", steps=1))
    with pytest.raises(InputError, match=says):
        run(configured("mine", steps=2, **change))


def test_the_rate_may_change_when_it_goes_on(configured: Configured) -> None:
    run(configured("mine", steps=4, warmup=0))
    _, steps = run(configured("mine", steps=6, warmup=0, lr=0.005))
    assert [(step.number, step.rate) for step in steps] == [(5, 0.005), (6, 0.005)]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"dataset": "nowhere"}, "has no dataset.json: make a dataset"),
        ({"model_dir": "nowhere"}, "There is no .*nowhere: give a folder"),
        ({"start_from": "nowhere.ckpt"}, "nowhere.ckpt"),
        ({"alpha": 10_000.0}, "The configuration scales a LoRA of rank 4 by an alpha of 10000"),
        ({"validation_clips": 6}, "has 6 clips that can be used, and 6 are to be held out"),
        ({"eight_bit": True}, "needs bitsandbytes, which is not installed: run `pip install bitsandbytes`"),
    ],
)
def test_what_cannot_be_trained_is_told_before(
    configured: Configured, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], says: str
) -> None:
    if "eight_bit" in change and importlib.util.find_spec("bitsandbytes"):
        pytest.skip("bitsandbytes is there")
    assert command(str(configured("bad", **change))) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert re.search(says, told)
    assert told.startswith("ex4d: ")
    assert not (tmp_path / "bad/checkpoints").exists()


def test_a_dataset_of_other_models_is_refused(configured: Configured, tmp_path: Path) -> None:
    folder = dataset(tmp_path / "other", clips=2)
    index = folder / "dataset.json"
    index.write_text(index.read_text(encoding="utf-8").replace('"models": {}', '"models": {"vae": "1"}'), "utf-8")
    with pytest.raises(InputError, match="were made with different models"):
        run(configured("mixed", dataset=[str(folder), str(dataset(tmp_path / "third", clips=2))]))


def test_two_trainings_do_not_share_a_folder(configured: Configured, tmp_path: Path) -> None:
    file = configured("shared", steps=2)
    with FileLock(tmp_path / "shared/.lock"), pytest.raises(BusyError, match="Another training writes to"):
        run(file)
    run(file)
    assert not (tmp_path / "shared/.lock").exists()


def spoilt_base(base: Path, folder: Path) -> Path:
    """A base model of which nothing comes but what is no number."""
    shutil.copytree(base, folder)
    (file,) = folder.rglob("*.safetensors")
    tensors = load_file(file)
    tensors["proj_out.bias"][:] = float("nan")
    save_file(tensors, file, {"format": "pt"})
    return folder


def test_what_is_no_number_stops_it(configured: Configured, tmp_path: Path, base: Path) -> None:
    bad = str(spoilt_base(base, tmp_path / "bad-base"))
    with pytest.raises(InputError, match="loss of step 1 .* there is no checkpoint yet: set lr to less"):
        run(configured("new", model_dir=bad))
    run(configured("old", steps=4))
    with pytest.raises(InputError, match=r"loss of step 5 .*step-0000004 is kept: set lr to less"):
        run(configured("old", model_dir=bad))
    saved = newest(tmp_path / "old")
    assert saved is not None
    assert all(tensor.isfinite().all() for tensor in saved.state()["lora"].values())


def test_a_full_disk_loses_no_checkpoint(
    configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = configured("full", steps=8), tmp_path / "full"
    replace = os.replace

    def full(source: Any, target: Any) -> None:
        if "step-0000008" in str(target):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    assert command(str(file)) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"step-0000008: the disk is full: free some space, then run the same command again\.$", told)
    assert [each.name for each in (out / "checkpoints").iterdir()] == ["step-0000004"]
    monkeypatch.undo()
    _, steps = run(file)
    assert [step.number for step in steps] == [5, 6, 7, 8]
    assert logged(out).keys() == set(range(1, 9))


def test_a_validation_that_cannot_be_written_loses_no_step(
    configured: Configured, tmp_path: Path, tiny_ex4d: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a full disk: the checkpoint of that step stands, and going on makes up for the validation."""
    out = tmp_path / "blocked"
    file = configured("blocked", steps=3, validate_every=2, checkpoint_every=2, model_dir=str(tiny_ex4d))
    out.mkdir()
    (out / "validation").write_text("in the way")
    assert command(str(file)) == 1
    assert "validation" in capsys.readouterr().err.splitlines()[-1]
    assert "validation/loss" not in logged(out)[2]
    (out / "validation").unlink()
    _, steps = run(file)
    assert [step.number for step in steps] == [3]
    assert sorted(each.name for each in (out / "validation").iterdir()) == ["step-0000002", "step-0000003"]
    assert "validation/loss" in logged(out)[2]
    assert "validation/loss" in logged(out)[3]
    lines = (out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    run(file)
    assert (out / "log.jsonl").read_text(encoding="utf-8").splitlines() == lines  # nor is it made up for twice


def test_no_memory_is_told_in_one_sentence(configured: Configured, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(TrainingModel, "velocity", full)
    with pytest.raises(InputError, match="There is not enough memory to train like this: see with `ex4d train plan`"):
        run(configured("large", steps=1))


def gradients(config: TrainConfig, numbers: list[int]) -> list[torch.Tensor]:
    """Of the mean loss of some samples, one after the other, from a model that has learnt a little."""
    model = build(config, World(0, 1, "cpu"))
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters:
            parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.05)
    for number in numbers:
        given = sample(number)
        state = drawn(given.latents, 5.0, noise_of(0, number))
        (loss(model.velocity(given, state), state.target) / len(numbers)).backward()
    return [parameter.grad for parameter in model.parameters if parameter.grad is not None]


def test_gradients_are_the_same_with_and_without_checkpointing(configured: Configured) -> None:
    on, off = (read_config(configured("any", gradient_checkpointing=each)) for each in (True, False))
    calls: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        real = torch.utils.checkpoint.checkpoint
        patch.setattr(torch.utils.checkpoint, "checkpoint", lambda *a, **k: (calls.append(1), real(*a, **k))[1])
        kept = gradients(off, [0])
        assert not calls
        again = gradients(on, [0])
        assert len(calls) == make_tiny_models.LAYERS
    assert len(again) == len(kept) == 2 * 10 * make_tiny_models.LAYERS + 8
    assert all(torch.equal(*pair) for pair in zip(again, kept, strict=True))


def test_accumulated_gradients_are_the_mean(configured: Configured) -> None:
    config = read_config(configured("any"))
    one, two, both = (gradients(config, numbers) for numbers in ([0], [1], [0, 1]))
    for first, second, mean in zip(one, two, both, strict=True):
        torch.testing.assert_close(mean, (first + second) / 2, rtol=1e-4, atol=1e-7)


def test_the_frozen_part_is_in_bfloat16_and_the_trained_in_float32(configured: Configured, tmp_path: Path) -> None:
    file = configured("half", steps=2, dtype="bfloat16")
    model = build(read_config(file), World(0, 1, "cpu"))
    assert {parameter.dtype for parameter in model.parameters} == {torch.float32}
    linear = model.transformer.blocks[0].attn1.to_q
    assert linear.base_layer.weight.dtype == torch.bfloat16
    assert model.velocity(sample(), drawn(sample().latents, 5.0, noise_of(0, 0))).dtype == torch.bfloat16
    outcome, _ = run(file)
    assert {tensor.dtype for tensor in read_checkpoint(outcome.checkpoint / "ex4d.ckpt").lora.values()} == {
        torch.float32
    }


def test_validation_makes_videos(configured: Configured, tmp_path: Path, tiny_ex4d: Path) -> None:
    run(configured("seen", steps=2, validate_every=1, validation_clips=2, model_dir=str(tiny_ex4d)))
    folder = tmp_path / "seen/validation"
    assert sorted(each.name for each in folder.iterdir()) == ["step-0000001", "step-0000002"]
    made = sorted(each.name for each in (folder / "step-0000002").iterdir())
    assert len(made) == 4
    sheet = cv2.imread(str(folder / "step-0000002" / made[1]))
    assert sheet is not None
    assert sheet.shape[1] > 5 * 300
    with av.open(str(folder / "step-0000002" / made[0])) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert np.stack(frames).shape == (5, 64, 3 * 64, 3)
    thirds = np.split(np.stack(frames).astype(float), 3, axis=2)
    assert all(third.std() > 5 for third in thirds)
    assert abs(thirds[0] - thirds[2]).mean() > 5


def test_tensorboard_has_what_the_log_has(configured: Configured, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "board"
    run(configured("board", steps=4))
    run(configured("board", steps=6))
    board = EventAccumulator(str(out / "tensorboard"))
    board.Reload()
    told = {event.step: event.value for event in board.Scalars("train/loss")}
    assert told == pytest.approx({step: values["train/loss"] for step, values in logged(out).items()})


def test_one_of_many_processes_on_cpus_computes_in_float32_too(configured: Configured) -> None:
    assert build(read_config(configured("any")), World(1, 2, "cpu:0")).dtype == torch.float32


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True])
def test_two_processes_train_as_one(configured: Configured, tmp_path: Path, sharded: bool) -> None:
    run(configured("one", steps=4))
    two = configured("two", steps=4, sharded=sharded)
    call = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "ex4d_core.cli"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([*call, "train", "run", str(two), "--json"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"steps": 4') == 1  # one of them speaks
    for step, values in logged(tmp_path / "one").items():
        assert logged(tmp_path / "two")[step] == pytest.approx(values, rel=1e-4)
    ours, theirs = (newest(tmp_path / name) for name in ("one", "two"))
    assert ours is not None
    assert theirs is not None
    for name, tensor in ours.adapter().lora.items():
        torch.testing.assert_close(theirs.adapter().lora[name], tensor, rtol=0.02, atol=2e-4)

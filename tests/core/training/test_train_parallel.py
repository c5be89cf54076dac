"""Two real processes (torchrun, gloo): the gradients, steps and files of one; the sharded way as well."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from train_cases import HIDDEN, dataset
from two_processes import DTYPES, STEPS

from ex4d_core.errors import InputError
from ex4d_core.generate.checkpoint import read_checkpoint
from ex4d_core.training.config import read_config
from ex4d_core.training.parallel import World, agreed, average, mean, part, whole
from ex4d_core.training.state import newest
from ex4d_core.training.trainer import train

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
ROUNDING = 1e-6
"""Greatest difference that is let pass, as a share of the greatest number of a tensor: sums of two in another order."""


def environment() -> dict[str, str]:
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "server", ROOT / "scripts", HERE)))
    return os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], dict[str, Any]]:
    """(way, dtype) -> what `two_processes` wrote down."""
    folder = tmp_path_factory.mktemp("two")
    script = [*TORCHRUN, str(HERE / "two_processes.py"), str(folder)]
    run = subprocess.run(script, capture_output=True, text=True, env=environment(), timeout=300)
    assert run.returncode == 0, run.stderr
    return lambda way, dtype: torch.load(folder / f"{way}-{dtype}.pt") | {"file": folder / f"{way}-{dtype}.ckpt"}


def near(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool((one - other).abs().max() <= ROUNDING * other.abs().max())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("way", ["plain", "sharded"])
def test_two_processes_are_one_that_accumulates(
    numbers: Callable[[str, str], dict[str, Any]], way: str, dtype: str
) -> None:
    alone, together = numbers("alone", dtype), numbers(way, dtype)
    assert len(alone["losses"]) == STEPS
    assert together["losses"] == pytest.approx(alone["losses"], rel=ROUNDING)
    assert together["norms"] == pytest.approx(alone["norms"], rel=ROUNDING)
    for ours, theirs in zip(together["gradients"], alone["gradients"], strict=True):
        assert len(theirs) == 2 * 2 * 10 + 8
        assert all(gradient.abs().max() > 0 for gradient in theirs)
        assert all(near(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("way", ["plain", "sharded", "resumed"])
def test_what_was_trained_is_written_whole(numbers: Callable[[str, str], dict[str, Any]], way: str, dtype: str) -> None:
    alone, together = numbers("alone", dtype), numbers(way, dtype)
    ours, theirs = read_checkpoint(together["file"]), read_checkpoint(alone["file"])
    assert set(ours.lora) == set(theirs.lora)
    for name, tensor in (*theirs.lora.items(), *theirs.geometry.items()):
        other = ours.lora[name] if name in ours.lora else ours.geometry[name]
        assert near(other, tensor)
    for place, entries in alone["moments"].items():
        assert entries.keys() == together["moments"][place].keys()
        assert all(near(together["moments"][place][name], value) for name, value in entries.items())


def test_one_process_is_left_alone() -> None:
    world = World(0, 1, "cpu")
    parameter = torch.nn.Parameter(torch.ones(3))
    average([parameter], world)
    assert parameter.grad is None
    assert mean(0.1, world) == 0.1
    assert world.leads
    assert list(world.share([1, 2, 3])) == [1, 2, 3]
    assert torch.equal(part(torch.ones(3, dtype=torch.float64), parameter), parameter)
    copy = whole({"a": [parameter, 3]})
    parameter.data += 1
    assert torch.equal(copy["a"][0], torch.ones(3))
    assert copy["a"][1] == 3
    with pytest.raises(InputError, match=r"^Wrong\.$"), agreed(world):
        raise InputError("Wrong.")


def test_samples_are_taken_once() -> None:
    shares = [World(rank, 3, "cpu").share(range(7)) for rank in range(3)]
    assert sorted(n for share in shares for n in share) == list(range(7))
    assert [World(rank, 3, "cpu").leads for rank in range(3)] == [True, False, False]


@pytest.fixture
def configured(tmp_path: Path, tiny_ex4d: Path) -> Callable[..., Path]:
    """Settings -> a file of them."""
    clips = dataset(tmp_path / "clips", clips=4)

    def write(out: str, **settings: Any) -> Path:
        told: dict[str, Any] = {"dataset": str(clips), "model_dir": str(tiny_ex4d / "transformer"), "out": out}
        told |= {"batch": 2, "lr": 1e-2, "warmup": 1, "rank": 4, "hidden": HIDDEN, "ema": 0.9, "validation_clips": 1}
        told |= {"checkpoint_every": 2, "validate_every": 2, "validation_steps": 1, "steps": 2} | settings
        file = tmp_path / f"{out}.toml"
        file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in told.items()), encoding="utf-8")
        return file

    return write


def in_two(file: Path) -> subprocess.CompletedProcess[str]:
    call = [*TORCHRUN, "-m", "ex4d_core.cli", "train", "run", str(file), "--json"]
    return subprocess.run(call, capture_output=True, text=True, env=environment(), timeout=300)


def test_the_command_goes_on_in_two_processes_with_what_one_began_and_back(
    configured: Callable[..., Path], tmp_path: Path
) -> None:
    train(read_config(configured("alone", steps=5)), lambda _: None)
    train(read_config(configured("turns", steps=1)), lambda _: None)
    # between its two steps the average is validated, and must leave no trace
    result = in_two(configured("turns", steps=3, sharded=True))
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("{") == 1  # one of them speaks
    train(read_config(configured("turns", steps=5)), lambda _: None)
    alone, turns = (newest(tmp_path / out) for out in ("alone", "turns"))
    assert alone is not None
    assert turns is not None
    assert alone.told.step == turns.told.step == 5
    ours, theirs = turns.state(), alone.state()
    for name in ("lora", "geometry"):
        assert all(near(ours[name][key], value) for key, value in theirs[name].items())
    assert all(map(near, ours["average"]["shadow_params"], theirs["average"]["shadow_params"]))
    assert numbers_of(tmp_path / "turns") == pytest.approx(numbers_of(tmp_path / "alone"), rel=1e-5)


def numbers_of(out: Path) -> list[float]:
    """The losses that the log tells of the steps, in order."""
    lines = (json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines())
    found = [line["train/loss"] for line in lines if "train/loss" in line]
    assert len(found) == 5
    return found


@pytest.mark.slow
def test_what_one_process_would_refuse_is_said_once(configured: Callable[..., Path], tmp_path: Path) -> None:
    result = in_two(configured("odd", batch=3))
    assert result.returncode == 1
    assert [json.loads(line)["error"]["message"] for line in result.stdout.splitlines()] == [
        "3 samples a step cannot be shared by 2 processes: set batch to a multiple."
    ]
    assert not (tmp_path / "odd" / "checkpoints").exists()


_ONE_FAILS = """
from ex4d_core.errors import InputError
from ex4d_core.training.config import read_config
from ex4d_core.training.parallel import agreed, joined
with joined("cpu") as world:
    for fail in ((), (0, 1), (1,)):
        try:
            with agreed(world):
                if world.rank in fail:
                    raise InputError(f"Rank {world.rank} has no dataset: make one.")
        except InputError as error:
            print(error, flush=True)
        except SystemExit as left:
            assert left.code == InputError.exit_code
            if fail != (0, 1):
                raise
"""


def test_where_one_fails_all_end_with_its_sentence(tmp_path: Path) -> None:
    script = tmp_path / "one_fails.py"
    script.write_text(_ONE_FAILS, encoding="utf-8")
    run = subprocess.run([*TORCHRUN, str(script)], capture_output=True, text=True, env=environment(), timeout=120)
    assert run.returncode == 1
    assert run.stdout == "Rank 0 has no dataset: make one.\nRank 1 has no dataset: make one.\n"
    assert 'one_fails.py", line' not in run.stderr  # no traceback of ours

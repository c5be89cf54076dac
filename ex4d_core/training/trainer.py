"""The training: from a configuration to checkpoints, in one process or many, stopped and gone on with at any step."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist
from accelerate.utils.random import set_seed
from diffusers.training_utils import EMAModel
from filelock import FileLock, Timeout
from torch import nn

from ex4d_core.errors import BusyError, CancelledError, InputError
from ex4d_core.files import explained
from ex4d_core.generate.checkpoint import Ex4dCheckpoint
from ex4d_core.generate.estimates import VideoSize
from ex4d_core.generate.memory import is_out_of_memory
from ex4d_core.progress import Cancelled, never_cancelled
from ex4d_core.training.config import TrainConfig
from ex4d_core.training.ema import averaged
from ex4d_core.training.log import TrainingLog
from ex4d_core.training.model import build, default_device, require_memory
from ex4d_core.training.objective import drawn, loss
from ex4d_core.training.optimizer import adamw, load_schedule, rate_schedule
from ex4d_core.training.parallel import World, agreed, average, joined, load_optimizer, mean, part, whole
from ex4d_core.training.pool import Pool, open_pool, require_fitting
from ex4d_core.training.random_state import random_state, set_random_state
from ex4d_core.training.sampler import Reader, noise_of
from ex4d_core.training.state import Saved, Told, checkpoint_folder, newest, save
from ex4d_core.training.validation import LOSS as VALIDATION_LOSS
from ex4d_core.training.validation import Validation

_FIXED = ("seed", "batch", "rank", "alpha", "hidden", "targets", "eight_bit", "shift")
"""Settings that a training keeps: with others it would not go on, but be another one."""


@dataclass(frozen=True)
class Step:
    """What became of a step."""

    number: int
    """How many are done, this one included."""
    steps: int
    """Of the training."""
    loss: float
    """Mean over its samples."""
    rate: float
    """Learning rate."""
    norm: float
    """Length of the gradient, before it was cut."""
    seconds: float
    """That it took."""


OnStep = Callable[[Step], None]


@dataclass(frozen=True)
class Outcome:
    """What a training has led to."""

    steps: int
    checkpoint: Path
    loss: float | None
    """Of the last step; None: there was nothing left to do."""
    validation: float | None
    """Loss on the held-out clips, where there are some and it was measured."""
    damaged: tuple[str, ...]
    """A line on each clip that could not be used."""
    skipped: int
    """Samples that another one was taken for."""


def train(config: TrainConfig, on_step: OnStep, stop: Cancelled = never_cancelled) -> Outcome:
    """Train, or go on where an earlier run was stopped.

    Args:
        config: of the training.
        on_step: told about each step, in the process that leads.
        stop: asked after each step; then a checkpoint is written.

    Raises:
        InputError: dataset, base model, checkpoint or configuration cannot be used, the loss is no number, or there is
            not enough memory.
        CancelledError: `stop` said so.
        OutputError: a checkpoint cannot be written; those before it stay.
        BusyError: another training writes there.
    """
    with joined(default_device()) as world, _alone(config.out, world), _enough_memory():
        with agreed(world):
            training = _Training(config, world)
        try:
            return training.run(on_step, stop)
        finally:
            training.close()


class _Training:
    """All that lives from the first step to the last."""

    def __init__(self, config: TrainConfig, world: World) -> None:
        if config.batch % world.size:
            raise InputError(
                f"{config.batch} samples a step cannot be shared by {world.size} processes: set batch to a multiple."
            )
        if config.start_from is not None and not config.start_from.is_file():
            raise InputError(f"There is no file {config.start_from} to start from: check `start_from`.")
        self.config, self.world, self.done = config, world, 0
        set_seed(config.seed)
        pool = open_pool(config.dataset, config.validation_clips, config.seed, config.validation_dataset)
        saved = _resumed(config)
        self.reader = Reader(pool, config.seed, config.max_damaged)
        indices = [place.dataset.index for place in (*pool.training, *pool.held_out)]
        require_memory(config, (VideoSize(each.width, each.height, each.frames) for each in indices), world)
        self.model = build(config, world)
        require_fitting(pool, self.model.transformer)
        parameters = self.model.parameters
        self.optimizer = adamw(config, parameters)
        self.schedule = rate_schedule(config, self.optimizer)
        self.ema = EMAModel(parameters, decay=config.ema) if config.ema else None
        self.told = _told(config, pool)
        self.newest: Path | None = None
        self.validation = Validation(config, pool, self.model, world)
        if saved is not None:
            self._load(saved)
        self.log = TrainingLog(config.out, self.done) if world.leads else None

    def run(self, on_step: OnStep, stop: Cancelled) -> Outcome:
        """See `train`."""
        config, world, error = self.config, self.world, None
        validated = None if self._validated_before() else self._validate()
        while self.done < config.steps:
            begin = time.monotonic()
            error, norm = self._step()
            rate = float(self.schedule.get_last_lr()[0])
            self.schedule.step()
            self.done += 1
            values = {"train/loss": error, "train/learning_rate": rate, "train/gradient_norm": norm}
            step = Step(self.done, config.steps, error, rate, norm, time.monotonic() - begin)
            with agreed(world):
                if self.log is not None:
                    self.log.add(self.done, values | {"train/seconds": step.seconds})
                    on_step(step)
            is_last, stopped = self.done == config.steps, mean(float(stop()), world) > 0
            if self.done % config.checkpoint_every == 0 or is_last or stopped:
                self._save()
            if not stopped:  # after the checkpoint: a full disk costs the pictures alone
                validated = self._validate()
            if stopped and not is_last:
                raise CancelledError(
                    f"Interrupted after step {self.done} of {config.steps}: run the same command again to go on."
                )
        assert self.newest is not None
        return Outcome(self.done, self.newest, error, validated, self.reader.damaged, self.reader.skipped)

    def close(self) -> None:
        """Finish the log."""
        if self.log is not None:
            self.log.close()

    def _step(self) -> tuple[float, float]:
        """One step of the optimizer: its loss, and the length of its gradient."""
        config, world, model = self.config, self.world, self.model
        first = self.done * config.batch
        numbers = world.share(range(first, first + config.batch))
        with agreed(world):
            samples = [self.reader.sample(number) for number in numbers]
        total = 0.0
        for number, sample in zip(numbers, samples, strict=True):
            sample = model.on_device(sample)
            noising = drawn(sample.latents, config.shift, noise_of(config.seed, number))
            error = loss(model.velocity(sample, noising), noising.target) / len(numbers)
            error.backward()
            total += error.item()
        average(model.parameters, world)
        norm = float(whole(nn.utils.clip_grad_norm_(model.parameters, config.max_grad_norm)))
        total = mean(total, world)
        with agreed(world):
            self._require_finite(total, norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema is not None:
            self.ema.step(model.parameters)
        return total, norm

    def _validate(self) -> float | None:
        """The mean loss on the held-out clips, if it is time for it."""
        if self.done == 0 or (self.done % self.config.validate_every and self.done < self.config.steps):
            return None
        with averaged(self.ema, self.model.parameters):
            return self.validation.run(self.done, self.log)

    def _validated_before(self) -> bool:
        """Whether the run that wrote the checkpoint got to the validation that follows it."""
        found = self.log is not None and self.log.has(self.done, VALIDATION_LOSS)
        return mean(float(found), self.world) > 0

    def _require_finite(self, error: float, norm: float) -> None:
        """Stop before what is no number gets into the weights.

        Raises:
            InputError: the loss or its gradient is none.
        """
        if math.isfinite(error) and math.isfinite(norm):
            return
        kept = f"{self.newest} is kept" if self.newest else "there is no checkpoint yet"
        raise InputError(
            f"The loss of step {self.done + 1} or its gradient is no number, so the training stops, and {kept}: set lr"
            " to less, or look for damaged weights with `ex4d models verify`, then run the same command again."
        )

    def _save(self) -> None:
        """Write a checkpoint; all processes take part."""
        model, state = self.model, random_state()
        states: list[Any] = [state]
        if self.world.size > 1:
            states = [None] * self.world.size
            dist.all_gather_object(states, state)
        last = model.checkpoint()
        adapter = last
        if self.ema is not None:
            with averaged(self.ema, model.parameters):
                adapter = model.checkpoint()
        state = {
            "lora": dict(last.lora),
            "geometry": dict(last.geometry),
            "average": None if self.ema is None else whole(self.ema.state_dict()),
            "optimizer": whole(self.optimizer.state_dict()),
            "schedule": self.schedule.state_dict(),
            "sampler": {"seed": self.config.seed, "position": self.done * self.config.batch},
            "random": states,
        }
        with agreed(self.world):
            if self.world.leads:
                told = self.told.model_copy(update={"step": self.done})
                save(self.config.out, told, adapter, state, self.config.keep_checkpoints)
        self.newest = checkpoint_folder(self.config.out, self.done)

    def _load(self, saved: Saved) -> None:
        """Go on from a checkpoint."""
        state, model, config = saved.state(), self.model, self.config
        model.load(Ex4dCheckpoint(state["lora"], state["geometry"], config.rank, config.alpha))
        load_optimizer(self.optimizer, state["optimizer"])
        load_schedule(self.schedule, self.optimizer, state["schedule"], config)
        if self.ema is not None and state["average"] is not None:
            average = state["average"]
            shadows = zip(average["shadow_params"], model.parameters, strict=True)
            self.ema.load_state_dict(average | {"shadow_params": [part(value, like) for value, like in shadows]})
        self.done, self.newest = saved.told.step, saved.folder
        mine = state["random"][self.world.rank] if self.world.rank < len(state["random"]) else state["random"][0]
        set_random_state(mine)


@contextmanager
def _alone(out: Path, world: World) -> Generator[None]:
    """Keep another training from writing to the same folder.

    Raises:
        BusyError: one does.
    """
    lock = FileLock(out / ".lock", timeout=0)
    with agreed(world):
        if world.leads:
            with explained(out):
                out.mkdir(parents=True, exist_ok=True)
                try:
                    lock.acquire()
                except Timeout as error:
                    raise BusyError(
                        f"Another training writes to {out}: wait for it, or choose another `out`."
                    ) from error
    try:
        yield
    finally:
        if lock.is_locked:
            lock.release()
            Path(lock.lock_file).unlink(missing_ok=True)
            with suppress(OSError):  # it holds something: it stays
                out.rmdir()


@contextmanager
def _enough_memory() -> Generator[None]:
    """Tell in one sentence where memory runs out.

    Raises:
        InputError: it does.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(
            "There is not enough memory to train like this: see with `ex4d train plan` what fits, turn"
            " gradient_checkpointing on, or prepare clips of a smaller size or fewer frames."
        ) from error


def _resumed(config: TrainConfig) -> Saved | None:
    """The checkpoint to go on from.

    Raises:
        InputError: there is one that is not to be gone on from, or was trained with other settings.
    """
    saved = newest(config.out)
    if saved is None:
        return None
    if not config.resume:
        raise InputError(
            f"{config.out} has checkpoints of an earlier training: choose another `out`, or set resume to true."
        )
    ours = config.model_dump(mode="json")
    if other := [name for name in _FIXED if saved.told.config.get(name) != ours[name]]:
        name = other[0]
        raise InputError(
            f"{saved.folder} was trained with {name} = {saved.told.config.get(name)}, and the configuration says"
            f" {ours[name]}: set it back, or choose another `out`."
        )
    return saved


def _told(config: TrainConfig, pool: Pool) -> Told:
    indices = [place.dataset.index for place in pool.training]
    size = Counter((index.width, index.height, index.frames) for index in indices).most_common(1)[0][0]
    clips = tuple(place.clip for place in pool.training)
    return Told(step=0, config=config.model_dump(mode="json"), clips=clips, size=size)

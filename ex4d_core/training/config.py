"""What a training is told: a TOML file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict, ValidationError

from ex4d_core.errors import InputError
from ex4d_core.training.memory_plan import Base

Target = Literal[
    "attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0",
    "attn2.to_q", "attn2.to_k", "attn2.to_v", "attn2.to_out.0",
    "ffn.net.0.proj", "ffn.net.2",
]  # fmt: skip
TARGETS: tuple[Target, ...] = get_args(Target)
"""The linear layers of a block that the released LoRA is on: both attentions and the feed-forward network."""


def _named(value: Any) -> Any:
    if not isinstance(value, str | Path) or not str(value).strip() or "\0" in str(value):
        raise ValueError("no name of a file or folder")
    return value


def _listed(value: Any) -> Any:
    listed = [value] if isinstance(value, str | Path) else value
    if not isinstance(listed, list | tuple):
        raise ValueError("neither a text nor a list of texts")
    return listed


def _filled(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if not value:
        raise ValueError("an empty list")
    return value


def _distinct(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if twice := [each for number, each in enumerate(value) if each in value[:number]]:
        raise ValueError(f"{twice[0]} is named twice")
    return value


_Lax = Strict(False)  # a path is a text in TOML, and a tuple a list
Named = Annotated[Path, _Lax, BeforeValidator(_named)]
"""A path."""
Paths = Annotated[tuple[Named, ...], _Lax, BeforeValidator(_listed)]
"""One path, or several."""
Targets = Annotated[
    tuple[Target, ...], _Lax, BeforeValidator(_listed), AfterValidator(_filled), AfterValidator(_distinct)
]
"""Layers, each once."""


class TrainConfig(BaseModel):
    """A training; `read_config` reads it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    dataset: Annotated[Paths, AfterValidator(_filled)]
    """Folders that `ex4d train prepare` made."""
    out: Named
    """Folder for checkpoints, log and validation."""
    model_dir: Paths = ()
    """Where the base model lies; empty: as `ex4d models` has it."""
    start_from: Named | None = None
    """An ex4d.ckpt to go on from, ours or the released one; none: LoRA and encoder begin as nothing."""
    resume: bool = True
    """Go on from the newest checkpoint in `out`, where there is one."""
    seed: int = Field(default=0, ge=0, lt=2**63)

    steps: int = Field(default=2000, ge=1)
    batch: int = Field(default=4, ge=1)
    """Samples of a step, of all GPUs together; each takes its share of them one after the other and adds them up."""
    lr: float = Field(default=3e-5, gt=0, le=1)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Of the learning rate, after the warm-up."""
    warmup: int = Field(default=100, ge=0)
    """Steps over which the learning rate grows to `lr`."""
    weight_decay: float = Field(default=0.01, ge=0, lt=1)
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Longer gradients are cut to this length."""
    eight_bit: bool = False
    """AdamW with moments of 8 bits, by bitsandbytes."""
    ema: float = Field(default=0.999, ge=0, lt=1)
    """Weight of the past in the moving average of what is trained, which is what is exported; 0: no average."""
    shift: float = Field(default=5.0, ge=1, le=100)
    """Of the noise levels, see `objective.shifted`."""

    rank: int = Field(default=16, ge=1, le=1024)
    alpha: float = Field(default=16.0, gt=0)
    hidden: int = Field(default=1024, ge=1, le=16384)
    targets: Targets = TARGETS
    """See `adapter.AdapterShape`."""

    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """Of the frozen model and what it computes in; auto: bfloat16 on a GPU, float32 on a CPU."""
    base: Base = "whole"
    """How the frozen weights are kept, see `memory_plan.SUMMARIES`; whole: in `dtype`."""
    gradient_checkpointing: bool = True
    """Compute each block again on the way back rather than keep what it computed: far less memory, a third slower."""
    sharded: bool = False
    """Spread every tensor over the GPUs, for models that do not fit into one."""

    checkpoint_every: int = Field(default=200, ge=1)
    keep_checkpoints: int = Field(default=3, ge=1)
    max_damaged: float = Field(default=0.1, ge=0, le=1)
    """Share of the clips that may be damaged before the training stops."""

    validation_clips: int = Field(default=1, ge=0)
    """How many are held out of the dataset; they are drawn by the seed."""
    validation_dataset: Paths = ()
    """Folders to draw them from in its stead."""
    validate_every: int = Field(default=200, ge=1)
    validation_steps: int = Field(default=10, ge=1)
    """Denoising steps of a validation render."""


def read_config(path: Path) -> TrainConfig:
    """Read a training's configuration; relative paths in it begin at its folder.

    Raises:
        InputError: it cannot be read, or something in it is unknown, missing or out of bounds.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"There is no {path}: give a TOML file as docs/training.md shows one.") from error
    except OSError as error:
        raise InputError(f"Cannot read {path} ({error.strerror}): check the name and its permissions.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text: give a TOML file as docs/training.md shows one.") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is no TOML ({error}): mend that line.") from error
    try:
        config = TrainConfig.model_validate(document)
    except ValidationError as error:
        raise InputError(_sentence(path, error)) from error
    folder = path.resolve().parent
    config = config.model_copy(
        update={
            "dataset": tuple(folder / each for each in config.dataset),
            "validation_dataset": tuple(folder / each for each in config.validation_dataset),
            "model_dir": tuple(folder / each for each in config.model_dir),
            "out": folder / config.out,
            "start_from": None if config.start_from is None else folder / config.start_from,
        }
    )
    _check_folders(path, config)
    return config


def _check_folders(path: Path, config: TrainConfig) -> None:
    """Refuse folders that would get in each other's way.

    Raises:
        InputError: `out` is a dataset or the folder of the file, or a dataset is named twice.
    """
    datasets = [each.resolve() for each in (*config.dataset, *config.validation_dataset)]
    if twice := [each for number, each in enumerate(datasets) if each in datasets[:number]]:
        raise InputError(f"{path} names the dataset {twice[0]} twice: leave one out.")
    out = config.out.resolve()
    if out in datasets or out == path.resolve().parent:
        raise InputError(f"{path} sets out to a folder that holds other things, {out}: name one for this training.")


def _sentence(path: Path, error: ValidationError) -> str:
    """All that is wrong, unknown keys first."""
    faults = error.errors()
    unknown = [str(fault["loc"][-1]) for fault in faults if fault["type"] == "extra_forbidden"]
    if unknown:
        names, known = ", ".join(unknown), ", ".join(TrainConfig.model_fields)
        return f"{path} has what is no setting, {names}: take it out, or choose from {known}."
    if missing := [str(fault["loc"][0]) for fault in faults if fault["type"] == "missing"]:
        return f"{path} lacks {' and '.join(missing)}: add it, as docs/training.md shows."
    first = faults[0]
    reason = first["msg"].lower().removeprefix("value error, ")
    return f"{path} sets {first['loc'][0]} to {first['input']!r:.200} ({reason}): mend it."

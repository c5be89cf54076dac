"""The log of a training: a line of JSON a step, and the same for TensorBoard."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ex4d_core.files import atomic_file, explained

LINES = "log.jsonl"
BOARD = "tensorboard"
_LOG = logging.getLogger(__name__)


class TrainingLog:
    """OUT/log.jsonl and OUT/tensorboard."""

    def __init__(self, out: Path, step: int) -> None:
        """Begin, or go on; what an interrupted run has logged of steps that are done again goes.

        Args:
            out: folder of the training.
            step: how many steps were done.

        Raises:
            OutputError: it cannot be written.
        """
        self._file = out / LINES
        with explained(self._file):
            if self._file.is_file():
                lines = self._lines()
                with atomic_file(self._file) as temporary:
                    kept = [line for line in lines if _step(line) <= step]
                    temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        self._board = _board(out / BOARD, step)
        self._hook = threading.excepthook
        threading.excepthook = self._told

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Log numbers of a step.

        Args:
            step: how many are done, this one included.
            values: names as TensorBoard groups them: train/loss, validation/loss ...

        Raises:
            OutputError: the disk is full.
        """
        with explained(self._file):
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")
            if self._board is not None:
                for name, value in values.items():
                    self._board.add_scalar(name, value, step)
                self._board.flush()

    def has(self, step: int, name: str) -> bool:
        """Whether a number of a step is logged.

        Raises:
            OutputError: the log cannot be read.
        """
        with explained(self._file):
            lines = self._lines() if self._file.is_file() else []
        return any(name in json.loads(line) for line in lines if _step(line) == step)

    def _lines(self) -> list[str]:
        """What a crash has made of a line is none, whatever bytes are in it."""
        return self._file.read_text(encoding="utf-8", errors="replace").splitlines()

    def picture(self, step: int, name: str, picture: NDArray[np.uint8]) -> None:
        """Show a picture, (H, W, 3) uint8 sRGB, in TensorBoard."""
        if self._board is not None:
            with explained(self._file):
                self._board.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        """No more."""
        try:
            if self._board is not None:
                with explained(self._file):
                    self._board.close()
        finally:
            threading.excepthook = self._hook

    def _told(self, what: threading.ExceptHookArgs) -> None:
        """Print no traceback of TensorBoard's thread: what it meets, a full disk, is raised again by the next call."""
        if not type(what.thread).__module__.startswith("tensorboard."):
            self._hook(what)


def _board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        _LOG.warning("TensorBoard is not installed, so the log is %s alone: run `pip install tensorboard`.", LINES)
        return None
    with explained(folder):
        return SummaryWriter(str(folder), purge_step=step + 1)


def _step(line: str) -> float:
    """Of a line; one that a crash has cut counts as none."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, LookupError, TypeError, OverflowError):
        return float("inf")

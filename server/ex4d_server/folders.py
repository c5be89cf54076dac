"""Where the sidecar keeps what: the data folder, and the state folder with the addresses of running sidecars."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from ex4d_core.errors import InputError
from ex4d_core.files import explained

Kind = Literal["depth", "scene", "render", "generate", "exr", "upload"]
KINDS: tuple[Kind, ...] = ("depth", "scene", "render", "generate", "exr", "upload")
_SUFFIX = {"scene": ".ex4d"}
_MARK = "ex4d-data.txt"
_MARK_TEXT = """This folder belongs to EX-4D's sidecar (`ex4d serve`), which makes and removes what lies in it.
Keep no files of your own here. `ex4d cache prune` makes room.
"""
_BALLAST = 4 * 2**20
_NOTHING = 2**20


def default_data() -> Path:
    """The data folder where none is given."""
    return platformdirs.user_data_path("ex4d", appauthor=False) / "sidecar"


def state_folder() -> Path:
    """Where running sidecars leave their addresses; `client.discover` finds it without this package."""
    given = os.environ.get("EX4D_STATE_DIR")
    return Path(given) if given else platformdirs.user_state_path("ex4d", appauthor=False)


@dataclass(frozen=True)
class DataFolder:
    """The layout of one data folder; everything that the sidecar writes lies in it.

    ex4d-data.txt  lock  ex4d.sqlite3  ballast  jobs/ID/{log.txt,preview.jpg}  logs/  uploads/ID.part
    cache/{depth,scene,render,generate,exr,upload}/KEY
    """

    root: Path

    @property
    def database(self) -> Path:
        """The job store."""
        return self.root / "ex4d.sqlite3"

    @property
    def logs(self) -> Path:
        """Logs of the server and its workers."""
        return self.root / "logs"

    def cache(self, kind: Kind) -> Path:
        """The folder of one kind of finished stages."""
        return self.root / "cache" / kind

    def entry(self, kind: Kind, key: str) -> Path:
        """One finished stage."""
        return self.cache(kind) / (key + _SUFFIX.get(kind, ""))

    def entries(self, kind: Kind) -> Iterator[tuple[str, Path]]:
        """Key and path of what lies on disk, finished stages and half-made ones (`.partial`) alike."""
        suffix = _SUFFIX.get(kind, "")
        for path in sorted(self.cache(kind).iterdir()):
            yield path.name.split(".", 1)[0] if suffix else path.name.removesuffix(".partial"), path

    def job(self, job: str) -> Path:
        """What belongs to a job besides its results: log and preview."""
        return self.root / "jobs" / job

    def upload(self, name: str) -> Path:
        """An upload that is not complete."""
        return self.root / "uploads" / f"{name}.part"

    def claim(self) -> None:
        """Make the folder a data folder, readable by the owner alone; what lies in one is ours to remove.

        Raises:
            InputError: it holds other things.
            OutputError: it cannot be written.
        """
        mark = self.root / _MARK
        with explained(self.root):
            if self.root.is_dir() and not mark.is_file() and any(self.root.iterdir()):
                raise InputError(
                    f"{self.root} holds other files, and the sidecar wants a folder of its own: give --data a new name."
                )
            self.root.mkdir(parents=True, exist_ok=True)
            os.chmod(self.root, 0o700)
            if not mark.is_file():
                mark.write_text(_MARK_TEXT, encoding="utf-8", newline="\n")

    def make(self) -> None:
        """Create the folders of a claimed data folder.

        Raises:
            OutputError: they cannot be written.
        """
        with explained(self.root):
            for folder in (self.logs, self.root / "jobs", self.root / "uploads", *map(self.cache, KINDS)):
                folder.mkdir(parents=True, exist_ok=True)
            self.fill_ballast()
            if self.is_full:  # the job store can then be opened all the same
                self.drop_ballast()

    def fill_ballast(self) -> None:
        """Keep some space back, so that a full disk can still be written down as the reason of a failure."""
        ballast = self.root / "ballast"
        if ballast.exists() and ballast.stat().st_size == _BALLAST:
            return
        if shutil.disk_usage(self.root).free > 4 * _BALLAST:
            ballast.write_bytes(bytes(_BALLAST))

    @property
    def is_full(self) -> bool:
        """Whether the disk has no room for even a few lines."""
        return shutil.disk_usage(self.root).free < _NOTHING

    def drop_ballast(self) -> bool:
        """Give that space to the job store; whether there was any."""
        ballast = self.root / "ballast"
        there = ballast.exists()
        ballast.unlink(missing_ok=True)
        return there

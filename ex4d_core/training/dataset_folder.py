"""A dataset that grows: what of it is done, and kept; see `dataset_format`."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from ex4d_core.errors import BusyError, InputError
from ex4d_core.files import atomic_file, explained
from ex4d_core.training.dataset_format import CLIPS, CONTACT, INDEX, Clip, shard_of
from ex4d_core.training.scan import Piece

SETTINGS = "prepare.json"
VIDEOS = "videos"
WORK = "working"
"""What is needed while clips are made."""
LOCK = ".lock"
_OURS = (CLIPS, VIDEOS, WORK, INDEX, CONTACT, SETTINGS)
"""All that a dataset is; the settings last, for they tell that it is one."""


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Settings(_Document):
    """All that decides what becomes of a video; one dataset has one of these."""

    size: tuple[int, int]
    frames: int
    stride: int
    fps: tuple[int, int] | None
    min_brightness: float
    min_contrast: float
    min_motion: float
    variants: int
    seed: int
    estimator: str
    sharpen_edges: bool
    tracker: str
    models: dict[str, str]
    """Fingerprints; see `Encoders.revisions`."""


class Scanned(_Document):
    """A video that was looked through."""

    name: str
    """Its clips begin with it; kept when the video is renamed."""
    source: str
    sha256: str
    depth_sha256: str
    """Empty: its depth is estimated."""
    fps: tuple[int, int]
    pieces: tuple[Piece, ...]


def short(digest: str) -> str:
    """What names hold of a SHA-256."""
    return digest[:8]


_D = TypeVar("_D", bound=BaseModel)


@dataclass(frozen=True)
class DatasetFolder:
    """One that this process may write into."""

    path: Path
    settings: Settings
    """That its clips are made with; models also those that are not at hand now."""

    @property
    def work(self) -> Path:
        """For what is needed meanwhile."""
        return self.path / WORK

    def strip_of(self, name: str) -> Path:
        """Where a clip's pictures lie."""
        return self.path / CLIPS / f"{name}.jpg"

    def names(self) -> list[str]:
        """Of all clips that were ever done."""
        return sorted(file.stem for file in (self.path / CLIPS).glob("[!.]*.json"))

    def entry(self, name: str) -> Clip | None:
        """What is known about a clip; None: it is not done."""
        return _read(self._entry_of(name), Clip)

    def whole(self, name: str) -> Clip | None:
        """As `entry`, of a clip whose shard is what was written."""
        clip = self.entry(name)
        if clip is None or clip.name != name:
            return None
        try:
            with shard_of(self.path, name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return None
        return clip if found == clip.sha256 else None

    def keep(self, clip: Clip) -> None:
        """Write what is known about a clip whose shard is written."""
        _write(self._entry_of(clip.name), clip)

    def begin(self, name: str, strip: bytes) -> None:
        """Write a clip's pictures; until `keep`, it is not done.

        Raises:
            OutputError: they cannot be written.
        """
        with explained(self._entry_of(name)):
            self._entry_of(name).unlink(missing_ok=True)
        with atomic_file(self.strip_of(name)) as temporary:
            temporary.write_bytes(strip)

    def scanned(self, digest: str) -> Scanned | None:
        """What is known about a video, by its SHA-256."""
        return next((video for video in self.videos(f"*-{short(digest)}") if video.sha256 == digest), None)

    def keep_scanned(self, video: Scanned) -> None:
        """Write what is known about a video."""
        _write(self.path / VIDEOS / f"{video.name}.json", video)

    def videos(self, pattern: str = "[!.]*") -> list[Scanned]:
        """All that were ever looked through, of names of a pattern."""
        files = sorted((self.path / VIDEOS).glob(f"{pattern}.json"))
        return [video for file in files if (video := _read(file, Scanned)) is not None]

    def _entry_of(self, name: str) -> Path:
        return self.path / CLIPS / f"{name}.json"


@contextmanager
def dataset_folder(path: Path, settings: Settings, overwrite: bool = False) -> Generator[DatasetFolder]:
    """A dataset to go on with, or to begin.

    Args:
        path: the folder.
        settings: that clips are made with; as long as there are none, other ones are as good.
        overwrite: remove what is there and begin anew.

    Raises:
        InputError: the folder is something else, or was made with other settings.
        BusyError: another process is writing it.
        OutputError: it cannot be written.
    """
    kept = _read(path / SETTINGS, Settings)
    is_new = not os.path.lexists(path)
    with explained(path):
        if path.exists() and not _is_ours(path):
            raise InputError(f"{path} exists and is not a dataset of `ex4d train prepare`: choose another name.")
        path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / LOCK, timeout=0)
    try:
        with explained(path):
            lock.acquire()
    except Timeout as error:
        raise BusyError(f"Another ex4d is writing {path}: wait for it, or choose another name.") from error
    try:
        if overwrite or not _has_clips(path):
            _clear(path)
        elif kept is None:
            raise InputError(f"{path / SETTINGS} is damaged: add --overwrite to make the dataset anew.")
        else:
            _require_same(path, kept, settings)
            settings = settings.model_copy(update={"models": kept.models | settings.models})
        _write(path / SETTINGS, settings)
        with explained(path):
            _clean(path)
            (path / WORK).mkdir()
        yield DatasetFolder(path, settings)
    finally:
        shutil.rmtree(path / WORK, ignore_errors=True)
        if not _has_clips(path):  # the next run would begin anew
            _clear(path)
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)
        if is_new:
            with suppress(OSError):  # it holds something: it stays
                path.rmdir()


def _has_clips(path: Path) -> bool:
    return any((path / CLIPS).glob("[!.]*.json"))


def _is_ours(path: Path) -> bool:
    """Whether it is a dataset, or an empty folder."""
    return path.is_dir() and ((path / SETTINGS).is_file() or {entry.name for entry in path.iterdir()} <= {LOCK})


def _clear(path: Path) -> None:
    with explained(path):
        for name in _OURS:
            entry = path / name
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)


def _clean(path: Path) -> None:
    """Remove what a run that was killed was at."""
    shutil.rmtree(path / WORK, ignore_errors=True)
    for leftover in (*path.glob(".*.partial.*"), *path.glob("*/.*.partial.*")):  # as `atomic_file` calls them
        leftover.unlink()


def _require_same(path: Path, kept: Settings, settings: Settings) -> None:
    """Refuse other settings; models that only one of the two knows are no others.

    Raises:
        InputError: names the first that differs.
    """
    pairs = [(name, value, getattr(settings, name)) for name, value in kept if name != "models"]
    pairs += [(name, old, settings.models.get(name, old)) for name, old in kept.models.items()]
    for name, old, new in pairs:
        if old != new:
            raise InputError(
                f"{path} was made with other settings ({name.replace('_', ' ')}: {_plain(old)}, now {_plain(new)}): "
                "give the same, choose another name, or add --overwrite to make it anew."
            )


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return "its own" if value is None else str(value)


def _read(file: Path, kind: type[_D]) -> _D | None:
    """A document; None if there is none, or a damaged one, which is made again."""
    try:
        return kind.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None


def _write(file: Path, document: BaseModel) -> None:
    with atomic_file(file) as temporary:
        temporary.write_text(document.model_dump_json(by_alias=True, indent=1), encoding="utf-8")

"""Where downloaded weights lie: the hub's cache folders, and what we recorded about each download.

No huggingface_hub here: its layout is CACHE/models--OWNER--NAME/snapshots/COMMIT/FILE, each a link to blobs/HASH.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ex4d_core.files import atomic_file, explained

MODELS_VARIABLE = "EX4D_MODELS"
"""Environment variable: the folder for weights, in the layout of the hub's cache."""


@dataclass(frozen=True)
class FileFacts:
    """A file of a model, as the hub named it."""

    bytes: int
    sha256: str = ""
    """Of large files (LFS); empty where the hub names the git hash."""
    git_sha1: str = ""
    """Of small files: SHA-1 over the header `blob SIZE\\0` and the content."""

    @property
    def blob(self) -> str:
        """Its name in the cache's `blobs/`."""
        return self.sha256 or self.git_sha1


@dataclass(frozen=True)
class Record:
    """What we know of one download: the revision that is kept to from then on, its files, and where they went."""

    revision: str
    """Commit hash."""
    folder: str
    """The cache that holds it."""
    files: dict[str, FileFacts] = field(default_factory=dict[str, FileFacts])


def hub_cache() -> Path:
    """The cache that huggingface_hub uses, by the same variables."""
    home = os.environ.get("HF_HOME") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache"), "huggingface"
    )
    given = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    return Path(os.path.expandvars(os.path.expanduser(given)))


def places(name: str, folder: Path | None = None) -> list[Path]:
    """Caches to look for a model in, the first being where a download goes.

    Args:
        name: of the model.
        folder: chosen by the user: then only there.
    """
    if folder is not None:
        return [folder]
    record, given = read_record(name), os.environ.get(MODELS_VARIABLE)
    chosen = [Path(given)] if given else []
    before = [Path(record.folder)] if record is not None else []
    return list(dict.fromkeys([*chosen, *before, hub_cache()]))


def repository(cache: Path, hub_id: str) -> Path:
    """The folder of a hub repository in a cache."""
    return cache / f"models--{hub_id.replace('/', '--')}"


def snapshot(cache: Path, hub_id: str, revision: str) -> Path | None:
    """The folder with the files of a revision.

    Args:
        cache: the hub's, or one like it.
        hub_id: owner/name.
        revision: commit hash; empty: what the cache calls main, for downloads that others made.
    """
    folder = repository(cache, hub_id)
    if not revision:
        try:
            revision = (folder / "refs" / "main").read_text("utf-8").strip()
        except OSError:
            return None
    found = folder / "snapshots" / revision
    return found if os.path.isdir(found) else None  # false for impossible names, too


def state_folder() -> Path:
    """Where records of downloads are kept, beside what the sidecar keeps there."""
    import platformdirs

    given = os.environ.get("EX4D_STATE_DIR")
    return (Path(given) if given else platformdirs.user_state_path("ex4d", appauthor=False)) / "models"


def read_record(name: str) -> Record | None:
    """What was recorded about the download of a model; None without one, or where it cannot be read."""
    try:
        document: dict[str, Any] = json.loads(_record_file(name).read_text("utf-8"))
        files = {path: FileFacts(**facts) for path, facts in document["files"].items()}
        return Record(str(document["revision"]), str(document["folder"]), files)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_record(name: str, record: Record) -> None:
    """Record a download.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_file(_record_file(name)) as partial:
        partial.write_text(json.dumps(asdict(record), indent=1) + "\n", "utf-8")


def forget_record(name: str) -> None:
    """Know nothing of a download any more."""
    _record_file(name).unlink(missing_ok=True)


def download_lock(name: str) -> FileLock:
    """Held by the process that downloads or removes a model.

    Raises:
        OutputError: it cannot be kept in the state folder.
    """
    folder = state_folder()
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{name}.lock")


def is_downloading(name: str) -> bool:
    """Whether some process downloads a model at this moment."""
    if not os.path.exists(state_folder() / f"{name}.lock"):
        return False
    try:
        with download_lock(name).acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # a folder that is not ours to write: whoever wrote the lock is not to be waited for
        return False


def _record_file(name: str) -> Path:
    return state_folder() / f"{name}.json"

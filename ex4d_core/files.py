"""Writing that never leaves half a result under its final name."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ex4d_core.errors import BusyError, CancelledError, Ex4dError, InputError, OutputError, SpaceError

_NO_SPACE = ("no space left on device", "quota exceeded", "not enough space on the disk")


def cache_folder() -> Path:
    """Where things are kept that can be made again, and are small; `EX4D_CACHE_DIR` names another place."""
    import platformdirs

    given = os.environ.get("EX4D_CACHE_DIR")
    return Path(given) if given else platformdirs.user_cache_path("ex4d", appauthor=False)


def explain_os_error(error: OSError, path: Path) -> OutputError:
    """One sentence for an operating system error met while writing `path`."""
    reasons = {
        errno.ENOSPC: "the disk is full: free some space, then run the same command again",
        errno.EDQUOT: "your disk quota is used up: free some space, then run the same command again",
        errno.EACCES: "you may not write there: choose another folder or change its permissions",
        errno.EPERM: "you may not write there: choose another folder or change its permissions",
        errno.EROFS: "that disk is read-only: choose another folder",
        errno.ENOENT: "its parent folder does not exist: create it first",
        errno.EEXIST: "a part of its path is a file, not a folder: choose another name",
        errno.ENOTDIR: "a part of its path is a file, not a folder: choose another name",
        errno.ENAMETOOLONG: "its name is too long for this disk: choose a shorter one",
    }
    kind = SpaceError if error.errno in (errno.ENOSPC, errno.EDQUOT) else OutputError
    return kind(f"Cannot write {path}: {reasons.get(error.errno or 0, error.strerror or str(error))}.")


def is_no_space(error: BaseException) -> bool:
    """Whether an error says that a disk or a quota is full; libraries have their own classes for it."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(words in str(error).lower() for words in _NO_SPACE)


@contextmanager
def explained(path: Path) -> Generator[None]:
    """Turn operating system errors inside the block into an `OutputError` about `path`."""
    try:
        yield
    except OSError as error:
        raise explain_os_error(error, path) from error
    except Ex4dError:
        raise
    except Exception as error:
        if not is_no_space(error):
            raise
        raise explain_os_error(OSError(errno.ENOSPC, str(error)), path) from error


@contextmanager
def atomic_file(path: Path) -> Generator[Path]:
    """Give a temporary name beside `path`; on success rename it to `path`, on any failure remove it.

    Parent folders are created. The temporary name keeps the suffix, because encoders choose by it.

    Raises:
        OutputError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def partial_folder(final: Path) -> Generator[Path]:
    """Grow a folder under `NAME.partial` and rename it to `final` when whole (DESIGN section 3).

    What is there before stays whole until then: it is renamed to `NAME.partial.replaced`, and removed when the new one
    is in its place. A link to a folder stays a link.

    Bad input (any `Ex4dError` but a failure to write or a cancel) removes the partial folder; Ctrl-C, a
    cancel, a full disk or a crash leaves it for the rerun to go on. The block finds what an earlier run left
    in the folder it is given, and decides what of it can be used.

    Raises:
        BusyError: another process is growing it.
        OutputError: it cannot be written.
    """
    with explained(final):
        place = Path(os.path.realpath(final))
        partial = place.with_name(f"{place.name}.partial")
        replaced = place.with_name(f"{partial.name}.replaced")
        lock = FileLock(place.with_name(f"{partial.name}.lock"), timeout=0)
        parent_is_ours = not place.parent.exists()
        partial.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout as error:
            raise BusyError(f"Another ex4d is writing {final}: wait for it, or choose another name.") from error
    try:
        with explained(final):
            if replaced.exists() and not place.exists():  # an earlier run was killed between the two
                os.replace(replaced, place)
            yield partial
            shutil.rmtree(replaced, ignore_errors=True)
            if place.is_dir():
                os.replace(place, replaced)
            os.replace(partial, place)
            shutil.rmtree(replaced, ignore_errors=True)
    except (OutputError, CancelledError):
        raise
    except Ex4dError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)
        if parent_is_ours:
            with suppress(OSError):  # it holds something: it stays
                place.parent.rmdir()


def require_space(path: Path, needed: int) -> None:
    """Refuse to begin what the disk has no room for: torch and safetensors do not say that it is full in the middle.

    Args:
        path: what is to be written.
        needed: bytes.

    Raises:
        SpaceError: fewer are free.
    """
    with explained(path):
        free = shutil.disk_usage(next(place for place in path.resolve().parents if place.is_dir())).free
    if free < needed:
        raise SpaceError(
            f"Cannot write {path}: it takes {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free: free some space,"
            " then run the same command again."
        )


def require_new(path: Path, overwrite: bool) -> None:
    """Refuse to replace an existing result unless asked to.

    Raises:
        InputError: `path` exists and `overwrite` is False.
    """
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already: choose another name, or add --overwrite to replace it.")


def require_replaceable(folder: Path, overwrite: bool, mark: str, kind: str) -> None:
    """Refuse to replace a folder unless asked to, and anything but one of ours even then.

    Args:
        folder: what is to be written; an empty folder is as good as none.
        overwrite: the user asked to replace it.
        mark: a file that only a folder of this kind has.
        kind: what to call it.

    Raises:
        InputError: it exists, and is not empty, and may not be replaced.
    """
    with explained(folder):
        is_free = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if is_free:
        return
    if not (folder / mark).is_file():
        raise InputError(f"{folder} exists and is not a {kind} folder: choose another name.")
    require_new(folder, overwrite)


def require_outside(source: Path, folder: Path) -> None:
    """Refuse to replace a folder by something made from what lies in it.

    Raises:
        InputError: `source` is `folder` or lies in it.
    """
    if source.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{source} lies in {folder}, which would be replaced: choose another name for the result.")

"""The videos that a dataset is made of, and what is known about each: licence, credit, caption, depth."""

from __future__ import annotations

import csv
import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

from ex4d_core.camera import FIELDS_OF_VIEW
from ex4d_core.depth import DEPTH_KINDS, DepthKind
from ex4d_core.errors import InputError
from ex4d_core.images import IMAGE_SUFFIXES
from ex4d_core.import_request import input_files
from ex4d_core.sequence import is_pattern

UNKNOWN = "unknown"
"""The licence of a video of which nobody told any."""
SAMPLE = "sample"
"""What stands for the bundled clip, as for `ex4d import`."""
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".mts", ".m2ts", ".mxf", ".wmv", ".ogv"}
)
"""What counts as a video in a folder; one that is named may be called anything."""

_COLUMNS = ("file", "licence", "credit", "source", "prompt", "depth", "depth_kind", "depth_range", "fov")
_Column = Literal["file", "licence", "credit", "source", "prompt", "depth", "depth_kind", "depth_range", "fov"]


@dataclass(frozen=True)
class Footage:
    """A video, an image sequence, and what is known about it."""

    path: Path
    """As `clip.probe_clip` takes it."""
    source: str
    """What the dataset calls it."""
    licence: str = UNKNOWN
    credit: str = ""
    prompt: str = ""
    """What is to be seen; empty: nobody told."""
    depth: Path | None = None
    """Its depth, file or folder; None: to be estimated."""
    depth_kind: DepthKind = "relative"
    """What the numbers of `depth` mean."""
    depth_range: tuple[float, float] | None = None
    """What 0 and the largest integer of `depth` stand for."""
    fov_degrees: float | None = None
    """Horizontal field of view; None: unknown."""
    focal_px: float | None = None
    """Focal length, pixels of the video; instead of `fov_degrees`."""

    def digest(self) -> str:
        """SHA-256 of all its files, hexadecimal.

        Raises:
            InputError: one cannot be read.
        """
        return _hash_of(self.path)

    def depth_digest(self) -> str:
        """SHA-256 of its depth and what its numbers mean; empty without."""
        if self.depth is None:
            return ""
        meaning = f"{_hash_of(self.depth)} {self.depth_kind} {self.depth_range}"
        return hashlib.sha256(meaning.encode()).hexdigest()


@dataclass(frozen=True)
class Told:
    """What a user says of all videos of which no manifest says anything else."""

    licence: str = ""
    credit: str = ""
    prompt: str = ""
    fov_degrees: float | None = None


def find_footage(given: Sequence[Path], manifest: Path | None = None, told: Told | None = None) -> list[Footage]:
    """The videos that a user means, in order, each once.

    A caption beside a video, NAME.txt, is its prompt.

    Args:
        given: videos, folders of videos (whatever depth they lie at), folders of numbered images, patterns of such,
            or `sample`. Empty: those of the manifest.
        manifest: a CSV file, see `read_manifest`.
        told: of those of which nothing else is known.

    Raises:
        InputError: one is not there, a folder holds none, or the manifest cannot be used.
    """
    told = told or Told()
    rows = {} if manifest is None else {_place(row.path): row for row in read_manifest(manifest)}
    if not given and manifest is None:
        raise InputError("No video is given: name videos or folders, or a --manifest that lists them.")
    paths = [path for one in given for path in _videos(one)] if given else [row.path for row in rows.values()]
    found: dict[Path, Footage] = {}
    for path in paths:
        key = _place(path)
        one = rows.get(key) or (_sample() if _is_sample(path) else Footage(path, path.name))
        found.setdefault(key, _completed(one, told))
    return list(found.values())


def read_manifest(path: Path) -> list[Footage]:
    """Read a table of videos: CSV with a line of column names, of which only `file` is needed.

    file: the video, from the table's own folder; licence, credit, prompt; source: what the dataset calls it; depth: its
    depth, with depth_kind and depth_range (two numbers) as in `ex4d import`; fov: horizontal field of view, degrees.

    Raises:
        InputError: it cannot be read, or a line cannot be used.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True, restkey="")
            columns = list(reader.fieldnames or ())
            if unknown := sorted(set(columns) - set(_COLUMNS)):
                raise InputError(
                    f"{path} has a column {unknown[0]!r}: name columns {', '.join(_COLUMNS)}, with commas between them."
                )
            if twice := [name for number, name in enumerate(columns) if name in columns[:number]]:
                raise InputError(f"{path} has two columns {twice[0]!r}: leave one out.")
            if "file" not in columns:
                raise InputError(f"{path} has no column 'file': begin it with a line of column names.")
            rows = [(reader.line_num, row) for row in reader]
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no table in UTF-8 with commas ({error}): export it as CSV.") from error
    except OSError as error:
        raise InputError(f"Cannot read {path} ({error.strerror}): check the name and its permissions.") from error
    if not rows:
        raise InputError(f"{path} lists no video: add a line for each.")
    found: dict[Path, tuple[int, Footage]] = {}
    for line, row in rows:
        if "" in row:
            raise InputError(
                f"{path}, line {line}, has more cells than there are columns: put text that has commas in quotes."
            )
        one = _row(path, line, {cast(_Column, name): (text or "").strip() for name, text in row.items()})
        before, _ = found.setdefault(_place(one.path), (line, one))
        if before != line:
            raise InputError(f"{path} lists {one.path.name} in line {before} and in line {line}: leave one out.")
    return [one for _, one in found.values()]


def _place(path: Path) -> Path:
    """Where a file lies, whatever it is called by.

    Raises:
        InputError: no file can have such a name, or nobody may look.
    """
    try:
        place = path.resolve()
        place.exists()  # tells of a name that is too long
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"Cannot read {str(path)!r} ({reason}): check the name and its permissions.") from error
    return place


def _row(manifest: Path, line: int, row: dict[_Column, str]) -> Footage:
    where = f"{manifest}, line {line},"
    if not row["file"]:
        raise InputError(f"{where} names no file: fill in the column 'file'.")
    kind = row.get("depth_kind") or "relative"
    if kind not in DEPTH_KINDS:
        raise InputError(f"{where} has the depth_kind {kind!r}: choose one of {', '.join(DEPTH_KINDS)}.")
    range_ = _numbers(row.get("depth_range", ""), 2, f"{where} has the depth_range")
    fov = _numbers(row.get("fov", ""), 1, f"{where} has the fov")
    least, most = FIELDS_OF_VIEW
    if fov is not None and not least <= fov[0] <= most:
        raise InputError(f"{where} has the fov {fov[0]:g}: give {least:g} to {most:g} degrees.")
    if lacks := [name for name in ("depth_kind", "depth_range") if row.get(name) and not row.get("depth")]:
        raise InputError(f"{where} has a {lacks[0]} and no depth: fill in the column 'depth', or leave it out.")
    video = manifest.parent / row["file"]
    depth = manifest.parent / row["depth"] if row.get("depth") else None
    for place in (video, *([depth] if depth else [])):
        _place(place)
    return Footage(
        path=video,
        source=row.get("source") or video.name,
        licence=row.get("licence") or UNKNOWN,
        credit=row.get("credit", ""),
        prompt=row.get("prompt", ""),
        depth=depth,
        depth_kind=kind,
        depth_range=None if range_ is None else (range_[0], range_[1]),
        fov_degrees=None if fov is None else fov[0],
    )


def _numbers(text: str, count: int, what: str) -> list[float] | None:
    if not text:
        return None
    try:
        numbers = [float(word) for word in text.split()]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise InputError(f"{what} {text!r}: write {'a number' if count == 1 else f'{count} numbers, with a space'}.")
    return numbers


def _completed(one: Footage, told: Told) -> Footage:
    known_lens = one.fov_degrees is not None or one.focal_px is not None
    return replace(
        one,
        licence=told.licence or UNKNOWN if one.licence == UNKNOWN else one.licence,
        credit=one.credit or told.credit,
        prompt=one.prompt or _caption(one.path) or told.prompt,
        fov_degrees=one.fov_degrees if known_lens else told.fov_degrees,
    )


def _caption(video: Path) -> str:
    """What NAME.txt beside a video says; empty if there is none."""
    file = video.with_suffix(".txt")
    if is_pattern(video) or not file.is_file():
        return ""
    try:
        return " ".join(file.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The caption {file} cannot be read: save it as UTF-8, or take it away.") from error


def _videos(given: Path) -> Iterator[Path]:
    """The videos that one argument means.

    Raises:
        InputError: there is none.
    """
    if _is_sample(given):
        from ex4d_core import sample

        yield sample.clip_path()
    elif not (place := _place(given)).is_dir() and (is_pattern(given) or place.is_file()):
        yield given
    elif not place.exists():
        raise InputError(f"There is no file or folder {given}: check the name.")
    else:
        yield from _in_folder(given)


def _in_folder(folder: Path) -> list[Path]:
    """The videos of a folder and of what lies in it; else the folder itself, if it holds images."""
    try:
        files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))
    except OSError as error:
        raise InputError(f"Cannot read the folder {folder} ({error.strerror}): change its permissions.") from error
    videos = [file for file in files if file.suffix.lower() in VIDEO_SUFFIXES]
    if videos:
        return videos
    if any(file.parent == folder and file.suffix.lower() in IMAGE_SUFFIXES for file in files):
        return [folder]
    raise InputError(f"The folder {folder} holds no video and no images: give another one.")


def _is_sample(path: Path) -> bool:
    if str(path) == SAMPLE and not path.exists():
        return True
    from ex4d_core import sample

    return path == sample.clip_path()


def _sample() -> Footage:
    from ex4d_core import sample

    known = sample.facts()
    return Footage(
        path=sample.clip_path(),
        source=f"ex4d sample {known.clip}",
        licence="CC0-1.0",
        credit="EX-4D for Blender",
        depth=sample.depth_path(),
        depth_kind=known.depth_kind,
        depth_range=known.depth_range,
        focal_px=known.focal_px,
    )


def slug(name: str) -> str:
    """A name in small letters, digits and hyphens, at most 60, for files."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60].strip("-")
    return plain or "clip"


def _hash_of(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        files = input_files(path)
        for file in files:
            with file.open("rb") as stream:
                own = hashlib.file_digest(stream, "sha256").hexdigest()
            if len(files) == 1:
                return own
            digest.update(f"{file.name} {own}\n".encode())
    except OSError as error:
        raise InputError(f"Cannot read {path} ({error.strerror}): check the name and its permissions.") from error
    return digest.hexdigest()

"""Image sequences: which files of a folder or a pattern make a clip, in which order, and what is missing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ex4d_core.errors import InputError
from ex4d_core.images import IMAGE_SUFFIXES

# The frame number is the last run of digits before the suffix: shot_010_v2.0153.exr is frame 153.
_NUMBERED = re.compile(r"^(?P<head>.*?)(?P<number>\d+)(?P<tail>\D*)$")
_PATTERN = re.compile(r"%0?(?P<digits>\d*)d|(?P<hashes>#+)")


@dataclass(frozen=True)
class Sequence:
    """The files of an image sequence in the order of their numbers."""

    files: tuple[Path, ...]
    """At least one file; consecutive numbers if `first_number` is known."""
    first_number: int | None
    """Number in the first file's name; None where the names carry no numbers."""


def is_pattern(path: Path) -> bool:
    """Whether a name stands for a series of images: it holds `####` or `%04d`, and nothing is called so."""
    named_so = _PATTERN.search(path.name) is not None and path.suffix.lower() in IMAGE_SUFFIXES
    return named_so and not path.exists()


def find_sequence(path: Path) -> Sequence:
    """Find the files of a sequence.

    Args:
        path: a folder that holds one series of images, or a pattern such as `name_####.png` or
            `name_%04d.exr`. Numbers may start anywhere and need no leading zeros. Images without any number
            in their names are taken in natural order.

    Raises:
        InputError: nothing there, no images, several series in one folder, or numbers missing.
    """
    return _from_pattern(path) if is_pattern(path) else _from_folder(path)


def _list(folder: Path) -> list[Path]:
    try:
        return [f for f in folder.iterdir() if not f.name.startswith(".")]
    except FileNotFoundError as error:
        raise InputError(f"There is no folder {folder}: check the name.") from error
    except NotADirectoryError as error:
        raise InputError(f"{folder} is a file, not a folder: check the name.") from error
    except OSError as error:
        raise InputError(f"Cannot read the folder {folder} ({error.strerror}): change its permissions.") from error


def _from_pattern(path: Path) -> Sequence:
    found = list(_PATTERN.finditer(path.name))
    if len(found) > 1:
        raise InputError(f"The pattern {path} has {len(found)} places for a number: use one #### or %04d.")
    match = found[0]
    digits = len(match["hashes"] or "") or int(match["digits"] or 1)
    head, tail = re.escape(path.name[: match.start()]), re.escape(path.name[match.end() :])
    expected = re.compile(f"{head}(\\d{{{digits},}}){tail}$")
    numbered = [(int(m[1]), f) for f in _list(path.parent) if (m := expected.match(f.name))]
    if not numbered:
        raise InputError(f"No file matches {path}: check the folder, the name and the number of digits.")
    return _in_order(path, numbered)


def _from_folder(folder: Path) -> Sequence:
    images = [f for f in _list(folder) if f.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        raise InputError(f"The folder {folder} holds no images: it needs one of {_known_suffixes()}.")
    series: dict[tuple[str, str], list[tuple[int, Path]]] = {}
    for file in images:
        if match := _NUMBERED.match(file.stem):
            key = (match["head"], match["tail"] + file.suffix)
            series.setdefault(key, []).append((int(match["number"]), file))
    if not series:
        return Sequence(tuple(sorted(images, key=_natural_key)), None)
    if len(series) > 1 or len(next(iter(series.values()))) < len(images):
        if all(len(numbered) == 1 for numbered in series.values()):
            # Photos whose names merely hold digits (IMG_1 edited, 2024-05-01 beach): no series, no gaps.
            return Sequence(tuple(sorted(images, key=_natural_key)), None)
        names = sorted(f"{head}####{tail}" for head, tail in series)
        raise InputError(
            f"The folder {folder} holds several series ({', '.join(names[:4])}): "
            f"give one of them, such as {folder / names[0]}."
        )
    return _in_order(folder, next(iter(series.values())))


def _in_order(path: Path, numbered: list[tuple[int, Path]]) -> Sequence:
    """Sort by number; refuse gaps and doubles, because a frame silently missing shifts all that follow."""
    numbered.sort(key=lambda pair: (pair[0], pair[1].name))
    numbers = [number for number, _ in numbered]
    for (number, file), (following, other) in pairwise(numbered):
        if number == following:
            raise InputError(f"{file} and {other.name} are both frame {number}: remove or rename one of them.")
    missing = _ranges(numbers)
    if missing:
        raise InputError(
            f"The sequence {path} has gaps between {numbers[0]} and {numbers[-1]}, missing {missing}: "
            "add the missing frames or renumber the files."
        )
    return Sequence(tuple(file for _, file in numbered), numbers[0])


def _ranges(numbers: list[int]) -> str:
    """The numbers missing from a sorted list, at most five ranges of them: "4, 7-9"."""
    gaps = [(a + 1, b - 1) for a, b in pairwise(numbers) if b > a + 1]
    named = [str(a) if a == b else f"{a}-{b}" for a, b in gaps[:5]]
    more = len(gaps) - len(named)
    return ", ".join(named) + (f" and {more} more places" if more else "")


def _natural_key(file: Path) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", file.name.casefold())
    return [(1, 0, part) if i % 2 == 0 else (0, int(part), "") for i, part in enumerate(parts)]


def _known_suffixes() -> str:
    return ", ".join(sorted(IMAGE_SUFFIXES))

# SPDX-License-Identifier: GPL-3.0-or-later
"""What an artist picked in a file browser, as clips. Knows nothing of Blender."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".exr", ".webp", ".bmp"})
"""Of images that the sidecar reads."""
_NUMBERED = re.compile(r"(?P<head>.*?)(?P<number>\d+)(?P<tail>\D*)", re.DOTALL)
_PLACE = re.compile(r"%0?(\d*)d|(#+)")


@dataclass(frozen=True)
class Source:
    """A clip: a video, a folder or a `name_####.png` of images, or a single image."""

    path: Path
    """Absolute, as the sidecar takes it."""
    is_sequence: bool
    """Whether it consists of images, and so has no frame rate of its own."""

    @property
    def name(self) -> str:
        """For people, and for the folder of the scene."""
        name = self.path.name if self.path.is_dir() else self.path.stem
        return _PLACE.sub("", name).strip(" ._-") or "footage"

    def files(self) -> list[Path]:
        """The files that it consists of, sorted. Raises: UserError if there are none."""
        if self.path.is_file():
            return [self.path]
        if self.path.is_dir():
            found = [file for file in self.path.iterdir() if file.is_file() and not file.name.startswith(".")]
        else:
            found = [file for file in _siblings(self.path) if _matches(self.path.name, file.name)]
        if not found:
            raise UserError(
                "There is nothing at {path}: choose a video, an image or a folder of images.", path=self.path
            )
        return sorted(found)


def find_sources(paths: Sequence[Path], *, as_sequence: bool) -> list[Source]:
    """The clips that these files are.

    Args:
        paths: videos, images, folders of images, or names with `####`; absolute.
        as_sequence: whether an image with a number stands for all images that are numbered like it.

    Raises:
        UserError: one of them does not exist.
    """
    found: dict[Path, Source] = {}
    for path in paths:
        source = _source(path, as_sequence)
        source.files()
        found.setdefault(source.path, source)
    return list(found.values())


def _source(path: Path, as_sequence: bool) -> Source:
    is_image = path.suffix.lower() in IMAGE_SUFFIXES
    if path.is_dir() or not is_image:
        return Source(path, is_sequence=path.is_dir())
    if as_sequence and path.is_file() and (pattern := _pattern(path)):
        return Source(pattern, is_sequence=True)
    return Source(path, is_sequence=True)


def _pattern(path: Path) -> Path | None:
    """The name with `####` for an image that has others numbered like it; None where it stands alone."""
    match = _NUMBERED.fullmatch(path.stem)
    if match is None:
        return None
    like = re.compile(re.escape(match["head"]) + r"(\d+)" + re.escape(match["tail"] + path.suffix))
    numbers = [found[1] for file in _siblings(path) if (found := like.fullmatch(file.name))]
    if len(numbers) < 2:
        return None
    return path.with_name(f"{match['head']}{'#' * min(map(len, numbers))}{match['tail']}{path.suffix}")


def _siblings(path: Path) -> list[Path]:
    try:
        return [file for file in path.parent.iterdir() if file.is_file()]
    except OSError as error:
        raise UserError(
            "The folder {folder} cannot be read ({reason}): choose another.", folder=path.parent, reason=error.strerror
        ) from error


def _matches(pattern: str, name: str) -> bool:
    place = _PLACE.search(pattern)
    if place is None:
        return False
    digits = len(place[2] or "") or int(place[1] or 1)
    head, tail = re.escape(pattern[: place.start()]), re.escape(pattern[place.end() :])
    return re.fullmatch(f"{head}\\d{{{digits},}}{tail}", name) is not None

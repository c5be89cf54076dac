"""What workers do for a dataset: look through a video, make a clip's material. No torch: each imports this anew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ex4d_core.errors import CameraError, InputError
from ex4d_core.training.dataset_folder import DatasetFolder, Scanned, short
from ex4d_core.training.footage import Footage, slug
from ex4d_core.training.material import Material, Recipe, make_material
from ex4d_core.training.scan import Cut, Piece, scan


@dataclass(frozen=True)
class Look:
    """A video to be looked through."""

    footage: Footage
    cut: Cut
    folder: DatasetFolder


@dataclass(frozen=True)
class Task:
    """A clip to be made."""

    footage: Footage
    video: Scanned
    piece: Piece
    recipe: Recipe
    work: Path

    @property
    def name(self) -> str:
        """Of the clip."""
        return f"{self.video.name}-{self.piece.first:06d}"


def looked(look: Look) -> Scanned | str:
    """What is known about a video, looked through if it was not before; or why it cannot be used.

    Raises:
        InputError: it was prepared with other depth.
    """
    one = look.footage
    try:
        digest, depth_digest = one.digest(), one.depth_digest()
    except InputError as error:
        return str(error)
    known = look.folder.scanned(digest)
    if known is not None and known.depth_sha256 != depth_digest:
        raise InputError(
            f"{one.path} has other depth than when {look.folder.path} was made from it: give the same, choose another "
            "name, or add --overwrite to make it anew."
        )
    if known is not None:
        return known
    try:
        pieces, fps = scan(one, look.cut)
    except InputError as error:
        return str(error)
    return Scanned(
        name=f"{slug(one.path.stem)}-{short(digest)}",
        source=one.source,
        sha256=digest,
        depth_sha256=depth_digest,
        fps=(fps.numerator, fps.denominator),
        pieces=pieces,
    )


def made(task: Task) -> Material | str:
    """A clip's material, or why there is none.

    Raises:
        MissingDependencyError: the estimator is not there.
        OutputError: the disk is full.
    """
    try:
        return make_material(task.footage, task.piece, task.recipe, task.work)
    except (InputError, CameraError) as error:
        return str(error)

"""From videos to a dataset: looked through, cut, given depth and masks, encoded, a clip at a time."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ex4d_core.depth.registry import missing, sharpens
from ex4d_core.errors import InputError, MissingDependencyError, SpaceError
from ex4d_core.files import atomic_file, explained
from ex4d_core.images import encode_png
from ex4d_core.models import gigabytes
from ex4d_core.progress import OnProgress, silent
from ex4d_core.training.contact import encoded, sheet, strip
from ex4d_core.training.dataset import write_index, write_shard
from ex4d_core.training.dataset_folder import DatasetFolder, Scanned, Settings, dataset_folder
from ex4d_core.training.dataset_format import CONTACT, Clip, Index, LeftOut, shard_of
from ex4d_core.training.encoding import DEFAULT_PROMPT, Encoders
from ex4d_core.training.footage import Footage
from ex4d_core.training.material import Material, Recipe
from ex4d_core.training.scan import Cut, Piece
from ex4d_core.training.tasks import Look, Task, looked, made
from ex4d_core.training.workers import in_processes
from ex4d_core.weight_headers import entries

TWICE = "The same video was given under another name."
LOST = "Its shard is damaged, and its video was not given to make it again."


@dataclass(frozen=True)
class Prepared:
    """What came of it."""

    index: Index
    made: int
    """Clips that this call made; the others were there."""


def prepare(
    footage: Sequence[Footage],
    out: Path,
    recipe: Recipe,
    encoders: Encoders,
    *,
    workers: int = 0,
    overwrite: bool = False,
    on_progress: OnProgress = silent,
) -> Prepared:
    """Make a dataset, or go on with one: clips that are there, of the same videos and recipe, are kept.

    Clips of videos that are not given this time stay, too, so that a dataset can grow.

    Args:
        footage: the videos.
        out: the dataset's folder.
        recipe: how clips are made.
        encoders: of the engine.
        workers: processes that decode, find depth and draw masks; 0: all in this one.
        overwrite: begin anew.
        on_progress: told about each video and each clip.

    Raises:
        InputError: no video gives a clip, or the dataset was made in another way.
        MissingDependencyError: the estimator is not there, or a prompt is new and there is no text encoder.
        OutputError: it cannot be written; what is done stays for a rerun.
        Ex4dError: the memory ran out.
    """
    if any(one.depth is None for one in footage) and (lacks := missing(recipe.estimator, recipe.model_dir)):
        raise MissingDependencyError(lacks[0])
    with dataset_folder(out, _settings(recipe, encoders), overwrite) as folder:
        scans, left_out = _scans(footage, folder, recipe.cut, workers, on_progress)
        tasks = [
            Task(one, video, piece, recipe, folder.work)
            for one, video in scans
            for piece in video.pieces
            if not piece.fault
        ]
        encoders.prepare([_prompt(task) for task in tasks])
        done = _done(tasks, folder, on_progress)
        todo = [task for task in tasks if task.name not in done]
        _require_space(out, recipe, len(todo))
        with closing(in_processes(made, todo, workers)) as results:
            for number, (task, result) in enumerate(zip(todo, results, strict=True)):
                if isinstance(result, str):
                    left_out.append(_left_out(task.footage.source, task.piece, result))
                else:
                    done[task.name] = _kept(folder, task, result, encoders)
                on_progress(number + 1, len(todo), "making clips")
        index = _index(folder, recipe, done, {video.sha256: one.source for one, video in scans}, left_out)
        with atomic_file(out / CONTACT) as temporary:
            temporary.write_bytes(encode_png(sheet([folder.strip_of(clip.name) for clip in index.clips])))
        write_index(out, index)
    return Prepared(index, sum(task.name in done for task in todo))


def _settings(recipe: Recipe, encoders: Encoders) -> Settings:
    cut = recipe.cut
    return Settings(
        size=cut.size,
        frames=cut.frames,
        stride=cut.stride,
        fps=None if cut.fps is None else (cut.fps.numerator, cut.fps.denominator),
        min_brightness=cut.filters.brightness,
        min_contrast=cut.filters.contrast,
        min_motion=cut.filters.motion,
        variants=recipe.variants,
        seed=recipe.seed,
        estimator=recipe.estimator,
        sharpen_edges=sharpens(recipe.estimator, recipe.sharpen),
        tracker=recipe.tracker.name,
        models=encoders.revisions,
    )


def _scans(
    footage: Sequence[Footage], folder: DatasetFolder, cut: Cut, workers: int, on_progress: OnProgress
) -> tuple[list[tuple[Footage, Scanned]], list[LeftOut]]:
    """The videos that can be cut, and those that cannot."""
    found: dict[str, tuple[Footage, Scanned]] = {}
    left_out: list[LeftOut] = []
    with closing(in_processes(looked, [Look(one, cut, folder) for one in footage], workers)) as videos:
        for number, (one, video) in enumerate(zip(footage, videos, strict=True)):
            if isinstance(video, str):
                left_out.append(_left_out(one.source, Piece(0, 0), video))
            elif video.sha256 in found:
                left_out.append(_left_out(one.source, Piece(0, 0), TWICE))
            else:
                if folder.scanned(video.sha256) is None:
                    folder.keep_scanned(video)
                found[video.sha256] = (one, video)
            on_progress(number + 1, len(footage), "looking through videos")
    return list(found.values()), left_out


def _done(tasks: Sequence[Task], folder: DatasetFolder, on_progress: OnProgress) -> dict[str, Clip]:
    """The clips that are there as they would be made; what is only said about a video is brought up to date."""
    found: dict[str, Clip] = {}
    for number, task in enumerate(tasks):
        clip = folder.whole(task.name)
        if clip is not None and clip.prompt == _prompt(task):
            one = task.footage
            said = clip.model_copy(update={"source": one.source, "licence": one.licence, "credit": one.credit})
            if said != clip:
                folder.keep(said)
            found[task.name] = said
        on_progress(number + 1, len(tasks), "checking clips")
    return found


def _prompt(task: Task) -> str:
    """What the model is told of a clip."""
    return task.footage.prompt or DEFAULT_PROMPT


def _kept(folder: DatasetFolder, task: Task, material: Material, encoders: Encoders) -> Clip:
    """Encode a clip and write it."""
    tensors = encoders.tensors(material, _prompt(task))
    folder.begin(task.name, encoded(strip(material, task.name)))
    size, digest = write_shard(folder.path, task.name, tensors)
    clip = Clip(
        name=task.name,
        source=task.footage.source,
        source_sha256=task.video.sha256,
        first_frame=task.piece.first,
        fps=task.video.fps,
        licence=task.footage.licence,
        credit=task.footage.credit,
        prompt=_prompt(task),
        variants=material.variants,
        text_tokens=len(tensors["text"]),
        bytes=size,
        sha256=digest,
    )
    folder.keep(clip)
    return clip


def _index(
    folder: DatasetFolder, recipe: Recipe, done: Mapping[str, Clip], given: Mapping[str, str], left_out: list[LeftOut]
) -> Index:
    """All clips that are whole, and all that was left out.

    Args:
        folder: of the dataset.
        recipe: of its clips.
        done: clips of the videos that are given, by their names.
        given: source of each of these videos, by its SHA-256.
        left_out: of what no video tells by itself.

    Raises:
        InputError: there is no clip.
    """
    clips: list[Clip] = []
    for name in folder.names():
        clip = folder.entry(name)
        if name in done or (clip is not None and clip.source_sha256 in given):
            clips += [done[name]] if name in done else []
        elif (whole := folder.whole(name)) is not None:
            clips.append(whole)
        elif clip is not None:
            left_out.append(_left_out(clip.source, Piece(clip.first_frame, recipe.cut.frames), LOST))
    for video in folder.videos():
        source = given.get(video.sha256, video.source)
        left_out += [_left_out(source, piece, piece.fault) for piece in video.pieces if piece.fault]
    if not clips:
        why = f" {left_out[0].source}: {left_out[0].reason.rstrip('.')}" if left_out else ""
        raise InputError(f"No clip could be made (pieces left out: {len(left_out)};{why}): give other footage.")
    shapes = {name: entry.shape for name, entry in entries(shard_of(folder.path, clips[0].name)).items()}
    return Index(
        width=recipe.cut.size[0],
        height=recipe.cut.size[1],
        frames=recipe.cut.frames,
        latent_channels=shapes["latents"][0],
        image_tokens=(shapes["tokens"][0], shapes["tokens"][1]),
        text_width=shapes["text"][1],
        models=folder.settings.models,
        seed=recipe.seed,
        clips=tuple(clips),
        left_out=tuple(sorted(left_out, key=lambda one: (one.source, one.first_frame))),
    )


def _left_out(source: str, piece: Piece, reason: str) -> LeftOut:
    return LeftOut(source=source, first_frame=piece.first, frames=piece.frames, reason=reason)


def shard_bytes(cut: Cut, variants: int) -> int:
    """About how large a clip's shard will be: latents of 16 channels in 16 bits, and a megabyte of tokens."""
    latent = 2 * 16 * (1 + (cut.frames - 1) // 4) * (cut.size[0] // 8) * (cut.size[1] // 8)
    return latent * (2 + 2 * variants) + latent // 4 + 10**6


def _require_space(out: Path, recipe: Recipe, clips: int) -> None:
    """Refuse what cannot end well.

    Raises:
        SpaceError: the disk has less room than the clips take.
    """
    with explained(out):
        free = shutil.disk_usage(out).free
    needed = clips * shard_bytes(recipe.cut, recipe.variants)
    if needed > free:
        raise SpaceError(
            f"{clips} clips take about {gigabytes(needed)}, and the disk of {out} has {gigabytes(free)} free: free "
            "some space, give fewer --variants, a smaller --size, or fewer videos."
        )

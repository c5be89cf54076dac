"""`ex4d evaluate`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import click

from ex4d_core.commands.console import Console, Size, command
from ex4d_core.commands.evaluate_shot import shot_command, trajectory_command
from ex4d_core.errors import InputError
from ex4d_core.methods import METHODS

_CORRUPTIONS = ("blur", "jitter", "8-bit")
"""Those of `ex4d_core.evaluation.corruption`, for those who only need the names."""
_TRUTHS = click.argument("truths", nargs=-1, required=True, type=click.Path(path_type=Path))
_SIZE = click.option("--size", type=Size(), help="Bring everything to this size first; default: as it is stored.")
_MODEL_DIR = click.option(
    "--depth-model-dir",
    "model_dir",
    type=click.Path(path_type=Path),
    help="A folder with the estimator's weights or checkout.",
)
_SHARPEN = click.option(
    "--sharpen-edges/--keep-edges",
    "sharpen",
    default=None,
    help="Put the edges of estimated depth where the colour has them; default: yes, but not of files and embedded.",
)
_MARKDOWN = click.option("--markdown", is_flag=True, help="Print the tables as Markdown.")


def _distance(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """A number from 0 to infinity."""
    if value is not None and not value >= 0:
        raise click.BadParameter(f"{value} is not a distance: give 0 or more, or inf.", ctx, param)
    return value


@click.group("evaluate")
def evaluate_command() -> None:
    """Measure depth, renders and generated shots against the truth.

    TRUTHS are folders of ground truth, or folders of such (docs/depth/evaluation.md; scripts/make_benchmark.py
    makes some).
    """


@command(
    "depth",
    """
  ex4d evaluate depth BENCHMARK --estimator embedded --estimator plane
  ex4d evaluate depth BENCHMARK/fence-static --depth FOLDER --depth-kind metric
""",
)
@_TRUTHS
@click.option("--estimator", multiple=True, metavar="NAME", help="One of ex4d depth list; may be repeated.")
@click.option("--depth", type=click.Path(path_type=Path), help="File or folder of depth of the clip.")
@click.option(
    "--depth-kind", type=click.Choice(["metric", "relative", "disparity"]), default="relative", show_default=True,
    help="What its numbers mean.",
)  # fmt: skip
@click.option("--depth-range", type=(float, float), help="What 0 and the largest integer of it stand for.")
@_MODEL_DIR
@_SHARPEN
@_SIZE
@click.option("--pictures", type=click.Path(path_type=Path), help="Write comparisons into this folder.")
@_MARKDOWN
def depth_command(
    console: Console,
    truths: tuple[Path, ...],
    estimator: tuple[str, ...],
    depth: Path | None,
    depth_kind: Any,
    depth_range: tuple[float, float] | None,
    model_dir: Path | None,
    sharpen: bool | None,
    size: tuple[int, int] | None,
    pictures: Path | None,
    markdown: bool,
) -> None:
    """Score estimators, or depth from disk, against true depth.

    AbsRel, delta1, boundary F1 and temporal error are of disparity brought onto the true one by one scale and one
    shift for the clip (least squares), within the true range. "per frame": with a scale and shift for each frame;
    "as given": metric depth without any. Temporal error: change of the error at resting points from frame to frame.
    The estimators "plane" and "ramp" are guesses to compare with.
    """
    from ex4d_core.depth.registry import default_estimator
    from ex4d_core.evaluation.depth import DepthScores, evaluate_depth
    from ex4d_core.evaluation.estimates import Asked
    from ex4d_core.evaluation.truth import find_truths, open_truth

    if depth is not None and set(estimator) - {"file"}:
        raise InputError("Depth is given twice: choose one of --depth and --estimator.")
    names = estimator or (("file",) if depth is not None else (default_estimator(),))
    _refuse_unread(names, model_dir)
    asked = [Asked(name, depth, depth_kind, depth_range, model_dir, sharpen) for name in names]
    rows: list[DepthScores] = []
    with console.progress() as on_progress:
        for folder in find_truths(truths):
            truth = open_truth(folder, size)
            rows += [evaluate_depth(truth, one, pictures, on_progress) for one in asked]
    head = ("scene", "estimator", "AbsRel", "per frame", "as given", "delta1", "boundary F1", "temporal", "s")
    cells = [
        [
            row.scene,
            row.estimator,
            *(_share(value, 3) for value in (row.abs_rel, row.abs_rel_frame, row.abs_rel_given)),
            *(_share(value, 3) for value in (row.delta1, row.boundary_f1)),
            _share(row.temporal, 4),
            f"{row.seconds:.0f}",
        ]
        for row in [*rows, *_means(rows, "estimator")]
    ]
    console.result({"depth": [_plain(row) for row in rows]}, _table(head, cells, markdown))


@command(
    "geometry",
    """
  ex4d evaluate geometry BENCHMARK --markdown --sheet worst.png
  ex4d evaluate geometry BENCHMARK --depth embedded --background off --path 60
  ex4d evaluate geometry BENCHMARK --corrupt all --background off --per-scene
""",
)
@_TRUTHS
@click.option("--method", multiple=True, type=click.Choice(METHODS), help="Only this one; may be repeated.")
@click.option("--background", type=click.Choice(["on", "off", "both"]), default="both", show_default=True)
@click.option("--depth", multiple=True, metavar="true|NAME", default=["true"], help="Whose depth; may be repeated.")
@click.option(
    "--corrupt", multiple=True, metavar="NAME|all", type=click.Choice([*_CORRUPTIONS, "all"]),
    help="Also score true depth made worse: blur (2 pixels, over edges), jitter (5 % in scale, frame by frame), 8-bit.",
)  # fmt: skip
@click.option("--path", multiple=True, metavar="P", help="Only this path; may be repeated.")
@click.option("--per-scene", is_flag=True, help="Print a row for each scene: means over its paths.")
@click.option(
    "--reach",
    type=float,
    callback=_distance,
    help="How far bridges of a dwmesh hide what is behind them; inf: all of it.",
)
@click.option("--sheet", type=click.Path(path_type=Path), help="Write the worst frames of each method as PNG.")
@_MODEL_DIR
@_SHARPEN
@_SIZE
@_MARKDOWN
def geometry_command(
    console: Console,
    truths: tuple[Path, ...],
    method: tuple[str, ...],
    background: str,
    depth: tuple[str, ...],
    corrupt: tuple[str, ...],
    path: tuple[str, ...],
    per_scene: bool,
    reach: float | None,
    sheet: Path | None,
    model_dir: Path | None,
    sharpen: bool | None,
    size: tuple[int, int] | None,
    markdown: bool,
) -> None:
    """Score masks and colours rendered from other cameras.

    The clip is imported with its true lens and cameras and with true depth, or an estimator's, aligned to the true
    one by one scale and one shift of disparity. "error" to "IoU" are of the mask, against what the source camera saw
    at that time; with the background, also what rests and it saw at another time, where the truth tells. "flicker":
    share of resting, truly visible points whose mask changes from a frame to the next; "IoU dwmesh": with the mask
    that Blender shows, without background; "ms": CPU time a frame. "removed": share of never-seen pixels that the
    background shows; "regained": of those that were truly seen at another time. Without --method, all of them.
    """
    from ex4d_core.evaluation.estimates import Asked
    from ex4d_core.evaluation.geometry import GeometryScores, evaluate_geometry
    from ex4d_core.evaluation.sheet import WorstFrames
    from ex4d_core.evaluation.takes import GivenDepth
    from ex4d_core.evaluation.truth import find_truths, open_truth
    from ex4d_core.occluder import BRIDGE_REACH

    if "file" in depth:
        raise InputError(
            "Geometry is measured with true depth or an estimator's: give --depth true or a NAME of ex4d depth list; "
            "files of depth are measured by ex4d evaluate depth --depth FOLDER."
        )
    _refuse_unread(depth, model_dir)
    if set(depth) == {"true"} and sharpen is not None:
        given = "--sharpen-edges" if sharpen else "--keep-edges"
        raise InputError(f"True depth is taken as it is: leave out {given}, or name an estimator with --depth NAME.")
    if corrupt and "true" not in depth:
        raise InputError("Only true depth is made worse: leave out --corrupt, or give --depth true.")
    reach = BRIDGE_REACH if reach is None else reach
    kinds = {"on": (True,), "off": (False,), "both": (False, True)}[background]
    given = [GivenDepth(None if n == "true" else Asked(n, model_dir=model_dir, sharp=sharpen)) for n in depth]
    given += [GivenDepth(corruption=name) for name in (_CORRUPTIONS if "all" in corrupt else dict.fromkeys(corrupt))]
    rows: list[GeometryScores] = []
    worst = WorstFrames()
    with console.progress() as on_progress:
        for folder in find_truths(truths):
            truth = open_truth(folder, size)
            if unknown := set(path) - set(truth.paths):
                known = ", ".join(truth.paths)
                raise InputError(f"{folder} has no path {', '.join(sorted(unknown))}: choose from {known}.")
            rows += evaluate_geometry(
                truth, given, method or METHODS, kinds, path or None, reach, worst.add, on_progress
            )
    if sheet is not None:
        worst.write(sheet)
    kind = ("depth", "method", "background")
    head = (
        "scene", "path", "depth", "method", "background",
        "error", "precision", "recall", "F1", "IoU", "PSNR", "PSNR all", "SSIM", "flicker", "IoU dwmesh", "ms",
        "removed", "regained", "PSNR filled",
    )  # fmt: skip
    cells = [
        [
            *(row.scene, row.path, row.depth, row.method, "on" if row.background else "off"),
            *(_share(value, 4) for value in (row.error, row.precision, row.recall, row.f1, row.iou)),
            *(_share(value, 1) for value in (row.psnr_seen, row.psnr_pred)),
            _share(row.ssim_seen, 3),
            _share(row.flicker, 4),
            _share(row.iou_dwmesh, 4),
            _share(row.cpu_ms, 0),
            *(_share(value, 3) for value in (row.removed, row.regained)),
            _share(row.psnr_filled, 1),
        ]
        for row in [*(_means(rows, "scene", *kind) if per_scene else rows), *_means(rows, *kind)]
    ]
    console.result({"geometry": [_plain(row) for row in rows]}, _table(head, cells, markdown))


def _refuse_unread(names: tuple[str, ...], model_dir: Path | None) -> None:
    """Refuse a folder of weights that nothing would read."""
    from ex4d_core.evaluation.estimates import GUESSES

    if model_dir is not None and set(names) <= {"true", "file", "embedded", *GUESSES}:
        raise InputError(
            f"Nothing of {', '.join(names)} loads weights: leave out --depth-model-dir, or name an estimator that does."
        )


def _means(rows: Sequence[Any], *keys: str) -> list[Any]:
    """A row of means for each kind of row; of a kind by scene that has one row only, that one."""
    kinds: dict[tuple[Any, ...], list[Any]] = {}
    for row in rows:
        kinds.setdefault(tuple(getattr(row, key) for key in keys), []).append(row)
    means: list[Any] = []
    for kind, alike in kinds.items():
        if len(alike) < 2:
            means += alike if "scene" in keys else []
            continue
        values: dict[str, Any] = {"scene": "mean", "path": f"{len(alike)} paths"} | dict(zip(keys, kind, strict=True))
        for field in fields(alike[0]):
            known = [v for row in alike if isinstance(v := getattr(row, field.name), float) and not math.isnan(v)]
            values.setdefault(field.name, sum(known) / len(known) if known else math.nan)
        means.append(type(alike[0])(**{field.name: values[field.name] for field in fields(alike[0])}))
    return means


def _plain(row: Any) -> dict[str, Any]:
    """For JSON, which knows no NaN."""
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(row).items()}


def _share(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def _table(head: Sequence[str], rows: list[list[str]], markdown: bool) -> str:
    """Without the columns in which no row has anything."""
    used = [n for n in range(len(head)) if any(row[n] for row in rows)]
    head, rows = [head[n] for n in used], [[row[n] for n in used] for row in rows]
    if markdown:
        lines = [head, ["---"] * len(head), *rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)
    widths = [max(len(line[n]) for line in [head, *rows]) for n in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in [head, *rows]
    )


evaluate_command.add_command(depth_command)
evaluate_command.add_command(geometry_command)
evaluate_command.add_command(shot_command)
evaluate_command.add_command(trajectory_command)

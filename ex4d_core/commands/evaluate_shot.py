"""`ex4d evaluate shot`, and `ex4d evaluate trajectory`, which makes what it compares comparable."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from ex4d_core.commands.console import Console, command
from ex4d_core.errors import InputError, MissingDependencyError

_DASH = "-"
_GIVE = {
    "lpips": "LPIPS is a dash: give --lpips-weights FILE, torchvision's AlexNet (alexnet-owt-7be5be79.pth) or VGG16.",
    "inception": "FID is a dash: give --inception-weights FILE, weights-inception-2015-12-05-6726825d.pth.",
    "i3d": "FVD is a dash: give --i3d-weights FILE, i3d_pretrained_400.pt.",
}
_MODULES = {"lpips": "torchvision", "inception": "torch_fidelity", "i3d": "cdfvd"}
_SHOT_COLUMNS = (
    ("PSNR", "psnr", 2), ("SSIM", "ssim", 4), ("LPIPS", "lpips", 4),
    ("mPSNR", "mpsnr", 2), ("mSSIM", "mssim", 4), ("mLPIPS", "mlpips", 4), ("co-visible", "covisible", 3),
    ("rotation", "rotation", 2), ("position", "position", 4),
    ("flicker", "flicker", 2), ("true flicker", "flicker_true", 2),
)  # fmt: skip
_SET_COLUMNS = (("FID", "fid", 2), ("FVD", "fvd", 2))
_WEIGHTS = click.Path(path_type=Path)


@command(
    "shot",
    """
  ex4d evaluate shot MY_SHOT --truth true_view.mp4
  ex4d evaluate shot TAKE_30 TAKE_60 --truth BENCHMARK/person-static --path 30 --path 60 --markdown
  ex4d evaluate shot output.mp4 --truth FRAMES/ --mask covisible.mp4 --lpips-weights alexnet-owt-7be5be79.pth
""",
)
@click.argument("shots", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--truth", "truths", multiple=True, required=True, type=click.Path(path_type=Path),
    help="The true view: a video, a folder of frames, or a folder of ground truth; one for all, or one for each.",
)  # fmt: skip
@click.option("--path", "paths", multiple=True, metavar="P", help="Of the ground truth; one for all, or one for each.")
@click.option(
    "--mask", "masks", multiple=True, type=click.Path(path_type=Path),
    help="White where the footage shows what the true view shows; default: the ground truth's, or the shot's own.",
)  # fmt: skip
@click.option("--resize", is_flag=True, help="Bring videos to the size of their truth.")
@click.option("--camera/--no-camera", default=True, show_default=True, help="Estimate the camera path of the videos.")
@click.option("--estimator", default="embedded", show_default=True, help="Of depth, for that: see `ex4d depth list`.")
@click.option("--depth-model-dir", "model_dir", type=click.Path(path_type=Path), help="Its weights or checkout.")
@click.option("--lpips-weights", type=_WEIGHTS, metavar="FILE", help="torchvision's AlexNet or VGG16.")
@click.option("--inception-weights", type=_WEIGHTS, metavar="FILE", help="torch-fidelity's Inception, for FID.")
@click.option("--i3d-weights", type=_WEIGHTS, metavar="FILE", help="cd-fvd's I3D, for FVD.")
@click.option("--markdown", is_flag=True, help="Print the tables as Markdown.")
def shot_command(
    console: Console,
    shots: tuple[Path, ...],
    truths: tuple[Path, ...],
    paths: tuple[str, ...],
    masks: tuple[Path, ...],
    resize: bool,
    camera: bool,
    estimator: str,
    model_dir: Path | None,
    lpips_weights: Path | None,
    inception_weights: Path | None,
    i3d_weights: Path | None,
    markdown: bool,
) -> None:
    """Score generated shots against the true views.

    SHOTS are shot folders, folders that `ex4d reshoot` wrote, videos, or folders of frames. PSNR (dB), SSIM, LPIPS:
    means over the frames whose true view is known; with m, of the pixels that the footage shows (co-visible).
    "rotation" (degrees) and "position" (share of the path's length): how far the camera path that is estimated from
    the video is off the wanted one. "flicker": change from frame to frame beyond motion, levels of 255. FID and FVD:
    of the shots of a range together. Weights are read from local files, never downloaded: without them, a dash.
    """
    given = {"lpips": lpips_weights, "inception": inception_weights, "i3d": i3d_weights}
    _require_packages({name for name, file in given.items() if file is not None})
    from ex4d_core.depth.registry import make_estimator
    from ex4d_core.evaluation.shot import CameraCheck, Networks, evaluate_shots
    from ex4d_core.evaluation.shot_inputs import AskedShot
    from ex4d_core.evaluation.shot_ranges import RANGES

    if model_dir is not None and (not camera or estimator == "embedded"):
        raise InputError(
            "Nothing here loads weights of depth: leave out --depth-model-dir, or name an --estimator that does."
        )
    each = len(shots)
    asked = [
        AskedShot(*one)
        for one in zip(
            shots,
            _for_each(truths, each, "--truth"),
            _for_each(paths, each, "--path") if paths else [None] * each,
            _for_each(masks, each, "--mask") if masks else [None] * each,
            strict=True,
        )
    ]
    if camera:
        from ex4d_core.depth import DepthRequest

        make_estimator(estimator, DepthRequest(model_dir=model_dir))  # said now, not after the first shot
    networks = Networks.load(lpips_weights, inception_weights, i3d_weights)
    with console.progress() as on_progress:
        rows, ranges = evaluate_shots(asked, networks, CameraCheck(camera, estimator, model_dir), resize, on_progress)
    for name, file in given.items():
        if file is None:
            console.say(f"note: {_GIVE[name]}")
    for row in rows:
        for why in dict.fromkeys(row.missing.values()):
            console.say(f"note: {row.shot}: {why}.")
    if inception_weights is not None and math.isnan(ranges[-1].fid):
        console.say("note: FID is a dash: give shots with two frames or more.")
    if i3d_weights is not None and math.isnan(ranges[-1].fvd):
        console.say("note: FVD is a dash: give two clips of 16 frames or more, with the true view of each frame.")
    head = ["shot", "truth", "path", "range", "frames", *(title for title, _, _ in _SHOT_COLUMNS)]
    cells = [
        [row.shot, row.truth, row.path or _DASH, row.range or _DASH, str(row.frames), *_numbers(row, _SHOT_COLUMNS)]
        for row in rows
    ]
    columns = (*_SHOT_COLUMNS, *_SET_COLUMNS)
    range_head = ["range", "degrees", "shots", "frames", *(title for title, _, _ in columns)]
    range_cells = [
        [row.range, RANGES.get(row.range) or _DASH, str(row.shots), str(row.frames), *_numbers(row, columns)]
        for row in ranges
    ]
    values = {"shots": [_plain(row) for row in rows], "ranges": [_plain(row) for row in ranges]}
    console.result(values, "\n\n".join((_table(head, cells, markdown), _table(range_head, range_cells, markdown))))


@command(
    "trajectory",
    """
  ex4d evaluate trajectory BENCHMARK/person-static --path 60 --scene person.ex4d -o true_60.json
  ex4d render person.ex4d --trajectory true_60.json -o take_60
""",
)
@click.argument("truth", type=click.Path(path_type=Path))
@click.option("--path", required=True, metavar="P", help="Of the ground truth.")
@click.option("--scene", required=True, type=click.Path(path_type=Path), help="Imported from the truth's source.mp4.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="A .json file.")
@click.option("--overwrite", is_flag=True, help="Replace the file.")
def trajectory_command(console: Console, truth: Path, path: str, scene: Path, output: Path, overwrite: bool) -> None:
    """Write the camera path of a true view, for `ex4d render --trajectory`.

    The path is carried into the scene's world, and to the scale of its depth.
    """
    from ex4d_core.camera import save_trajectory
    from ex4d_core.evaluation.shot_paths import true_trajectory
    from ex4d_core.files import require_new
    from ex4d_core.scene import Scene

    require_new(output, overwrite)
    made = true_trajectory(truth, path, Scene.open(scene))
    save_trajectory(made, output)
    console.result({"trajectory": str(output), "frames": len(made)}, str(output))


def _for_each(given: Sequence[Any], count: int, option: str) -> list[Any]:
    """One for each shot."""
    if len(given) not in (1, count):
        raise InputError(f"There are {count} shots and {len(given)} of {option}: give one, or one for each shot.")
    return list(given) * (count if len(given) == 1 else 1)


def _require_packages(networks: set[str]) -> None:
    """Say which packages lack, before torchmetrics stumbles over them.

    Raises:
        MissingDependencyError: one is not installed, or torchvision is not the one of this torch.
    """
    wanted = [
        "torch",
        "torchmetrics",
        *sorted({"torchvision", *(_MODULES[name] for name in networks)} if networks else []),
    ]
    lacking = [module for module in wanted if find_spec(module) is None]
    if lacking:
        raise MissingDependencyError(
            f"This is measured with {', '.join(lacking)}, which is not installed: "
            "run pip install .[train] in EX-4D's folder."
        )
    for module in ("torchvision", *wanted) if find_spec("torchvision") else wanted:
        try:
            import_module(module)
        except (ImportError, RuntimeError, OSError) as error:
            raise MissingDependencyError(
                f"{module} cannot be used here ({str(error).splitlines()[0]}): install the torchvision that was built "
                "for this torch, for one without CUDA with pip install torchvision==0.28.0 --force-reinstall --no-deps "
                "--index-url https://download.pytorch.org/whl/cpu."
            ) from error


def _numbers(row: Any, columns: Sequence[tuple[str, str, int]]) -> list[str]:
    values = ((getattr(row, name), digits) for _, name, digits in columns)
    return [_DASH if math.isnan(value) else f"{value:.{digits}f}" for value, digits in values]


def _plain(value: Any) -> Any:
    """For JSON, which knows neither NaN (null) nor infinity ("inf")."""
    if isinstance(value, float):
        return None if math.isnan(value) else "inf" if math.isinf(value) else value
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple) else value


def _table(head: Sequence[str], rows: list[list[str]], markdown: bool) -> str:
    if markdown:
        return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rows])
    widths = [max(len(line[n]) for line in [head, *rows]) for n in range(len(head))]
    lines = ("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) for line in [head, *rows])
    return "\n".join(line.rstrip() for line in lines)

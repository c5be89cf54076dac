"""`ex4d train prepare`."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ex4d_core.commands.console import Console, Rate, Size, command
from ex4d_core.errors import InputError

if TYPE_CHECKING:
    from ex4d_core.masking import PointTracker
    from ex4d_core.training.preparing import Prepared

_FOLDER = click.Path(path_type=Path)
_MOST_WORKERS = 4
"""Where nobody says how many: each may hold a depth network."""


@command(
    "prepare",
    """
  ex4d train prepare my_footage/ -o my_dataset --licence "own footage"
  ex4d train prepare a.mp4 b.mov -o my_dataset --frames 17 --size 256x256 --variants 2
  ex4d train prepare --manifest footage.csv -o my_dataset --device cuda --workers 8
  ex4d train prepare sample -o try --model-dir my_models
""",
)
@click.argument("videos", nargs=-1, type=_FOLDER)
@click.option("-o", "--output", required=True, type=_FOLDER, help="The dataset's folder.")
@click.option(
    "--manifest",
    type=_FOLDER,
    help="CSV of videos: file, licence, credit, source, prompt, depth, depth_kind, depth_range, fov.",
)
@click.option("--licence", metavar="TEXT", default="", help="Licence of videos of which the manifest tells none.")
@click.option("--credit", metavar="TEXT", default="", help="Whom to name for them.")
@click.option(
    "--prompt", metavar="TEXT", default="", help="What is to be seen; default NAME.txt beside a video, or the engine's."
)
@click.option("--frames", type=int, default=49, show_default=True, metavar="4N+1", help="Length of a clip.")
@click.option("--stride", type=click.IntRange(1), metavar="N", help="Frames from clip to clip; default no overlap.")
@click.option("--fps", type=Rate(), help="Frame rate to bring videos to; default their own.")
@click.option("--size", type=Size(), default=(512, 512), show_default="512x512", help="Of clips; the middle is taken.")
@click.option("--variants", type=click.IntRange(1, 64), default=4, show_default=True, help="Masks for each clip.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of the masks.")
@click.option(
    "--min-brightness",
    type=click.FloatRange(0, 255),
    default=16.0,
    show_default=True,
    help="Mean grey level that a clip must have; 0: any.",
)
@click.option(
    "--min-contrast",
    type=click.FloatRange(0, 128),
    default=8.0,
    show_default=True,
    help="Standard deviation of grey levels that it must have; 0: any.",
)
@click.option(
    "--min-motion",
    type=click.FloatRange(0, 1),
    default=0.002,
    show_default=True,
    help="Share of its pixels that must change from frame to frame; 0: any.",
)
@click.option("--estimator", metavar="NAME", help="Who finds the depth: see `ex4d depth list`.")
@click.option("--depth-model-dir", type=_FOLDER, metavar="DIR", help="A folder with its weights or checkout.")
@click.option(
    "--sharpen-edges/--keep-edges", "sharpen", default=None, help="Put the depth's edges where the colour has them."
)
@click.option(
    "--tracker",
    type=click.Choice(["lucas-kanade", "cotracker3"]),
    default="lucas-kanade",
    show_default=True,
    help="Who follows the patches of tracking masks; CoTracker3 is NON-COMMERCIAL (CC-BY-NC).",
)
@click.option(
    "--tracker-dir", type=_FOLDER, metavar="CHECKOUT", help="CoTracker's own code: a clone of its repository."
)
@click.option("--tracker-weights", type=_FOLDER, metavar="FILE", help="Its weights: scaled_offline.pth.")
@click.option("--fov", type=float, metavar="DEG", help="Horizontal field of view of videos whose lens nobody tells.")
@click.option("--model-dir", type=_FOLDER, metavar="PATH", help="A folder with the engine's models; see `generate`.")
@click.option("--device", default="", metavar="D", help="Of torch: cuda, cuda:1, cpu; default the best.")
@click.option(
    "--workers",
    type=click.IntRange(0),
    metavar="N",
    help="Processes for all but the encoding; 0: this one.",
)
@click.option("--overwrite", is_flag=True, help="Begin the dataset anew.")
def prepare_command(
    console: Console,
    videos: tuple[Path, ...],
    output: Path,
    manifest: Path | None,
    licence: str,
    credit: str,
    prompt: str,
    frames: int,
    stride: int | None,
    fps: Fraction | None,
    size: tuple[int, int],
    variants: int,
    seed: int,
    min_brightness: float,
    min_contrast: float,
    min_motion: float,
    estimator: str | None,
    depth_model_dir: Path | None,
    sharpen: bool | None,
    tracker: str,
    tracker_dir: Path | None,
    tracker_weights: Path | None,
    fov: float | None,
    model_dir: Path | None,
    device: str,
    workers: int | None,
    overwrite: bool,
) -> None:
    """Make a training dataset of ordinary videos.

    VIDEOS are files, folders of videos, or image sequences; `sample` is the bundled clip. They are cut into clips that
    reach over no cut; what is too dark, flat or frozen is left out. Each clip gets depth, and masks as if it were
    re-shot; all is encoded with the engine's VAE, image encoder and text encoder, whose transformer is not needed. Run
    the same command again to go on after an interruption, and with other videos to add them.
    """
    from ex4d_core.depth.registry import default_estimator, estimator_facts
    from ex4d_core.import_request import ImportOptions
    from ex4d_core.training.filters import Filters
    from ex4d_core.training.footage import Told, find_footage
    from ex4d_core.training.scan import Cut

    _check(frames, size)
    if any(math.isnan(limit) for limit in (min_brightness, min_contrast, min_motion)):
        raise InputError("--min-brightness, --min-contrast and --min-motion are numbers: give 0 to turn one off.")
    cut = Cut(size, frames, stride or frames, fps, Filters(min_brightness, min_contrast, min_motion))
    footage = find_footage(videos, manifest, Told(licence, credit, prompt, fov))
    follows = _tracker(tracker, tracker_dir, tracker_weights)
    name = estimator or default_estimator(depth_model_dir)
    estimator_facts(name)
    if name == "file":
        raise InputError("Depth files are told by a manifest: give a column depth with --manifest, not --estimator.")
    options = ImportOptions(estimator=name, model_dir=depth_model_dir, fov_degrees=fov)
    options.check()
    options.lens(*size)  # an impossible one is told before any work

    from ex4d_core.training.encoding import Encoders  # torch: late, when what is asked for makes sense
    from ex4d_core.training.material import Recipe
    from ex4d_core.training.preparing import prepare

    recipe = Recipe(cut, variants, seed, name, depth_model_dir, sharpen, follows)
    encoders = Encoders(model_dir, device)
    with console.progress() as on_progress:
        done = prepare(
            footage,
            output,
            recipe,
            encoders,
            workers=_workers() if workers is None else workers,
            overwrite=overwrite,
            on_progress=on_progress,
        )
    _tell(console, output, done)


def _check(frames: int, size: tuple[int, int]) -> None:
    if frames < 5 or frames % 4 != 1:
        near = max(5, 4 * round((frames - 1) / 4) + 1)
        raise InputError(f"The VAE takes 4n+1 frames, so --frames {frames} is impossible: give {near}.")
    if any(side % 16 for side in size):
        near = "x".join(str(max(16, round(side / 16) * 16)) for side in size)
        raise InputError(f"--size {size[0]}x{size[1]} is not of multiples of 16: give {near}.")


def _tracker(name: str, checkout: Path | None, weights: Path | None) -> PointTracker:
    from ex4d_core.masking import LucasKanade

    if name == LucasKanade.name:
        if checkout or weights:
            raise InputError("--tracker-dir and --tracker-weights are of CoTracker3: add --tracker cotracker3.")
        return LucasKanade()
    from ex4d_core.masking.cotracker import SOURCE, WEIGHTS, CoTracker3

    if checkout is None or weights is None:
        raise InputError(
            f"CoTracker3 is not part of ex4d and not for commercial use: clone {SOURCE}, download {WEIGHTS} as its "
            "README says, and give --tracker-dir and --tracker-weights."
        )
    return CoTracker3(checkout, weights)


def _workers() -> int:
    """Half of the processors: numba, OpenCV and torch have threads of their own."""
    import os

    return max(1, min(_MOST_WORKERS, (os.cpu_count() or 1) // 2))


def _tell(console: Console, output: Path, done: Prepared) -> None:
    from ex4d_core.models import gigabytes

    index = done.index
    unlicensed = sorted({clip.source for clip in index.clips if clip.licence == "unknown"})
    if unlicensed:
        console.say(f"note: the licence of {_named(unlicensed)} is unknown: tell it with --licence or a manifest.")
    reasons = Counter(one.reason for one in index.left_out)
    sources = {why: sorted({one.source for one in index.left_out if one.reason == why}) for why in reasons}
    variants, size = sum(len(clip.variants) for clip in index.clips), sum(clip.bytes for clip in index.clips)
    values = {
        "dataset": str(output),
        "clips": len(index.clips),
        "made": done.made,
        "variants": variants,
        "left_out": dict(reasons.most_common()),
        "unknown_licence": unlicensed,
        "bytes": size,
    }
    lines = [
        f"{output}: {len(index.clips)} clips ({done.made} new), {variants} variants, {gigabytes(size)}",
        *(f"  {count} left out of {_named(sources[why])}: {why}" for why, count in reasons.most_common()),
    ]
    console.result(values, "\n".join(lines))


def _named(sources: list[str]) -> str:
    """The first of them, and how many there are besides."""
    return ", ".join(sources[:3]) + (f" and {len(sources) - 3} more" if len(sources) > 3 else "")

"""Disk that results take: never less than promised, and not absurdly more."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ex4d_core import sample
from ex4d_core.clip import iter_frames
from ex4d_core.footprint import exr_bytes, generate_bytes, render_bytes, scene_bytes
from ex4d_core.generate import add_exr, generate_shot
from ex4d_core.images import write_png
from ex4d_core.ingest import import_scene
from ex4d_core.presets import Move, preset
from ex4d_core.rendering import PASSES, render_shot

FRAMES = 6


def taken(path: Path) -> int:
    """Bytes in whole blocks, as the disk counts."""
    return sum(-(-f.stat().st_size // 4096) * 4096 for f in path.rglob("*") if f.is_file())


def assert_fits(said: int, real: int) -> None:
    assert real <= said <= 3 * real, f"{said} said, {real} taken"


@pytest.mark.parametrize("clip", ["sample", "sample, embedded depth", "flower"])
def test_what_is_said_is_what_it_takes(clip: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    source, options, radius = sample.clip_path(), dict[str, Any](), None
    if clip == "flower":
        source = request.getfixturevalue("shared") / "data/flower/input.mp4"
    elif clip == "sample":
        options, radius = sample.import_options(), sample.facts().orbit_radius
    scene = import_scene(source, tmp_path / "s.ex4d", frames=FRAMES, plate=clip == "flower", **options)
    size = (scene.width, scene.height)
    plate_size = size if clip == "flower" else None
    assert_fits(scene_bytes(*size, FRAMES, plate_size), taken(scene.path))
    path = preset(scene, Move("orbit", yaw=25), radius=radius)
    for passes in ((), PASSES):
        shot = render_shot(scene, path, tmp_path / f"shot{len(passes)}", passes=passes)
        assert_fits(render_bytes(*size, FRAMES, passes), taken(shot))
    rendered = taken(shot)
    generate_shot(shot, "draft")
    assert_fits(generate_bytes(*size, FRAMES), taken(shot) - rendered)
    assert_fits(exr_bytes(*size, FRAMES), taken(add_exr(shot)))
    assert generate_bytes(*size, FRAMES, exr=True) == generate_bytes(*size, FRAMES) + exr_bytes(*size, FRAMES)


def test_nothing_unseen_takes_no_more_than_said(tmp_path: Path) -> None:
    scene = import_scene(sample.clip_path(), tmp_path / "s.ex4d", frames=3, **sample.import_options())
    still = render_shot(scene, preset(scene, Move("static")), tmp_path / "still")
    assert_fits(render_bytes(scene.width, scene.height, 3), taken(still))
    # The source view itself would be the frames as filmed, whose risk is nothing and takes nothing.
    shot = render_shot(scene, preset(scene, Move("orbit", yaw=2)), tmp_path / "shot", passes=PASSES)
    assert_fits(render_bytes(scene.width, scene.height, 3, PASSES), taken(shot))


def test_deep_footage_takes_more(tmp_path: Path) -> None:
    clip, rng = tmp_path / "clip", np.random.default_rng(0)
    clip.mkdir()
    for t, image in enumerate(iter_frames(sample.clip_path(), frames=2)):
        ten_bit = np.clip(np.rint(image * (1023 / 255) + rng.normal(0, 1.5, image.shape)), 0, 1023)
        write_png(clip / f"{t}.png", np.rint(ten_bit * (65535 / 1023)).astype(np.uint16))
    scene = import_scene(clip, tmp_path / "s.ex4d")
    assert_fits(scene_bytes(scene.width, scene.height, 2, bit_depth=16), taken(scene.path))
    assert scene_bytes(scene.width, scene.height, 2) < taken(scene.path), "it has to be told"

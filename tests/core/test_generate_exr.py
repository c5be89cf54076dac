"""The generated frames as EXR: the picture, the mask and the render's depth come back exactly."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest
from render_cases import FOCAL, HEIGHT, WIDTH, card_scene, sideways

from ex4d_core import engines
from ex4d_core.clip import load_clip
from ex4d_core.depth.exr import read_exr
from ex4d_core.errors import CancelledError, InputError
from ex4d_core.generate import add_exr, generate_shot
from ex4d_core.images import read_image
from ex4d_core.rendering import render, render_shot
from ex4d_core.scene import Scene
from ex4d_core.shot import read_shot

FRAMES = 4


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return card_scene(tmp_path, FRAMES)


@pytest.fixture
def folder(scene: Scene, tmp_path: Path) -> Path:
    # Far enough that the last frame looks past the mesh, which ends at the frame's edge.
    return render_shot(scene, sideways(FRAMES, step=0.4), tmp_path / "shot")


def opened(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with OpenEXR.File(str(path), separate_channels=True) as file:
        return dict(file.header()), {name: channel.pixels for name, channel in file.channels().items()}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def linear(picture: np.ndarray) -> np.ndarray:
    """The sRGB curve, in double precision."""
    x = picture / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def outside(t: int) -> np.ndarray:
    """(h, w) bool: where frame t looks past the wall, which ends with the source's frame."""
    x = (np.arange(WIDTH) + 0.5 - WIDTH / 2) / FOCAL * 4 + 0.4 * t
    return np.broadcast_to(x > WIDTH / 2 / FOCAL * 4, (HEIGHT, WIDTH))


def test_exact_pixels_come_back(scene: Scene, folder: Path) -> None:
    generate_shot(folder, "draft", exr=True)
    assert sorted(p.name for p in (folder / "exr").iterdir()) == [f"{t:06d}.exr" for t in range(FRAMES)]
    seen = load_clip(folder / "mask.mp4").frames[..., 0] > 127
    past = filled = False
    for t, frame in enumerate(render(scene, sideways(FRAMES, step=0.4), allow_unseen=True)):
        header, channels = opened(folder / f"exr/{t:06d}.exr")
        assert set(channels) == {"R", "G", "B", "A", "mask.Y", "depth.Z"}
        assert {name: pixels.dtype.name for name, pixels in channels.items() if pixels.dtype != np.float16} == {
            "depth.Z": "float32"
        }
        picture = read_image(folder / f"output/{t:06d}.png")
        expected = linear(picture)
        colour = np.stack([channels[name] for name in "RGB"], axis=-1)
        np.testing.assert_allclose(colour, expected, rtol=2**-11, atol=2**-25)
        np.testing.assert_array_equal(channels["A"], 1)
        np.testing.assert_array_equal(channels["mask.Y"], seen[t])
        np.testing.assert_array_equal(channels["depth.Z"][seen[t]], frame.depth[seen[t]])
        # What the card hid has the depth of the mesh there: between the card's and the wall's.
        hidden = ~seen[t] & ~outside(t)
        assert hidden.any() or t == 0
        assert ((channels["depth.Z"][hidden] > 1.9) & (channels["depth.Z"][hidden] < 4.1)).all()
        filled |= bool((hidden & np.isinf(frame.depth)).any())
        past |= bool((channels["depth.Z"] == np.float32(1e10)).any())
        np.testing.assert_array_equal(channels["depth.Z"][outside(t)], np.float32(1e10))
        np.testing.assert_allclose(
            header["chromaticities"], (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329), rtol=1e-6
        )
        # Our own readers find their way in it: as footage and as depth.
        assert np.abs(read_image(folder / f"exr/{t:06d}.exr") / 257.0 - picture).max() < 0.5
        np.testing.assert_array_equal(read_exr(folder / f"exr/{t:06d}.exr"), channels["depth.Z"])
    assert past, "the case with no mesh at all is in the test"
    assert filled, "the case that the render's own depth, with its thin occluders, has nothing is too"


def test_the_same_shot_makes_the_same_bytes(folder: Path) -> None:
    generate_shot(folder, "draft", exr=True)
    first = contents(folder / "exr")
    with pytest.raises(InputError, match="exr exists already"):
        add_exr(folder)
    add_exr(folder, overwrite=True)
    assert contents(folder / "exr") == first


def test_exr_is_added_to_what_is_generated_already(folder: Path) -> None:
    generate_shot(folder, "draft")
    assert not (folder / "exr").exists()
    written = (folder / "output/000000.png").stat().st_mtime_ns
    assert generate_shot(folder, "draft", exr=True) == folder / "output.mp4"
    whole = contents(folder / "exr")
    assert len(whole) == FRAMES
    (folder / "exr/000001.exr").unlink()
    (folder / "exr/000002.exr").write_bytes(whole["000002.exr"][:-100])
    generate_shot(folder, "draft", exr=True, seed=1, prompt="a yard")  # which the draft engine does not read
    assert contents(folder / "exr") == whole
    assert (folder / "output/000000.png").stat().st_mtime_ns == written


def test_exr_is_not_added_to_the_picture_of_another_request(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = engines._ENGINES["draft"]
    reading = replace(entry, facts=replace(entry.facts, reads_seed=True, reads_prompt=True))
    monkeypatch.setitem(engines._ENGINES, "draft", reading)
    generate_shot(folder, "draft", seed=5, prompt="a yard")
    for seed, prompt in ((5, ""), (0, "a yard")):
        with pytest.raises(InputError, match=r"output\.mp4 exists already: add --overwrite"):
            generate_shot(folder, "draft", exr=True, seed=seed, prompt=prompt)
    generate_shot(folder, "draft", seed=5, prompt="a yard", exr=True)
    assert len(contents(folder / "exr")) == FRAMES


def test_another_output_takes_the_exr_of_the_old_one_away(folder: Path) -> None:
    generate_shot(folder, "draft", exr=True)
    generate_shot(folder, "draft", overwrite=True)
    assert not (folder / "exr").exists()


def test_cancelled_and_asked_again(folder: Path) -> None:
    told: list[str] = []
    with pytest.raises(CancelledError):
        generate_shot(
            folder,
            "draft",
            exr=True,
            on_progress=lambda done, total, step: told.append(step),
            cancelled=lambda: told.count("writing EXR") >= 2,
        )
    assert not (folder / "exr").exists()
    assert (folder / "output.mp4").is_file()
    (folder / "exr.partial/000099.exr").write_bytes(b"of another time")
    generate_shot(folder, "draft", exr=True)
    assert len(contents(folder / "exr")) == FRAMES
    assert not list(folder.glob("*.partial"))


def test_without_its_scene_there_is_no_depth(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    moved = tmp_path / "elsewhere/deep/shot"
    shutil.copytree(folder, moved)
    generate_shot(moved, "draft", exr=True)
    assert "the EXR files have no depth" in caplog.text
    assert set(opened(moved / "exr/000000.exr")[1]) == {"R", "G", "B", "A", "mask.Y"}


def test_what_is_wrong_is_said(folder: Path) -> None:
    with pytest.raises(InputError, match="generate it first"):
        add_exr(folder)
    generate_shot(folder, "draft")
    (folder / "output/000002.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"000002\.png is empty"):
        add_exr(folder)
    assert not list(folder.glob("exr*"))


def test_what_the_engine_does_not_know_is_refused_before_anything(folder: Path) -> None:
    for asked in ({"quality": "fine"}, {"keep_source": True}):
        with pytest.raises(InputError, match="leave"):
            generate_shot(folder, "draft", **asked)
    assert not (folder / "output").exists()
    generate_shot(folder, "draft")
    request = read_shot(folder).request
    assert (request.quality, request.keep_source) == ("", False)
    assert read_shot(folder).request.size == (WIDTH, 48)

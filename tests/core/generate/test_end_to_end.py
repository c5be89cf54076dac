"""From a clip to the generated shot with tiny models of the real classes: the path that the real models take."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from around_cases import sideways, smooth_scene

from ex4d_core import sample
from ex4d_core.camera import save_trajectory
from ex4d_core.cli import main
from ex4d_core.clip import load_clip, probe_clip
from ex4d_core.engines import EngineSetup
from ex4d_core.errors import CancelledError
from ex4d_core.generate import Engine, generate_shot, make_engine
from ex4d_core.generate.keeping import feather_pixels
from ex4d_core.images import read_image
from ex4d_core.ingest import import_scene
from ex4d_core.presets import Move, preset
from ex4d_core.rendering import render_shot
from ex4d_core.scene import Scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Six frames of the bundled clip, of an odd size."""
    folder = tmp_path_factory.mktemp("clip") / "clip.ex4d"
    return import_scene(sample.clip_path(), folder, size=(61, 35), frames=6, **sample.import_options())


def reshoot(scene: Scene, out: Path, models: Path, *options: object) -> dict[str, Any]:
    path = out.with_suffix(".json")
    save_trajectory(preset(scene, Move("orbit", yaw=25), radius=sample.facts().orbit_radius), path)
    asked = ("reshoot", scene.path, "--trajectory", path, "--model-dir", models, "-o", out, "--steps", 1, *options)
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in asked])
    assert not ended.value.code
    return json.loads((out / "shot" / "shot.json").read_text("utf-8"))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("--quality", "cached", "--cache", "taylorseer", "--memory", "fp8"), "too much in video memory"),
        (("--attention", "sage"), "attention sage is not usable here"),
        ((), "no transformer for ex4d"),
    ],
)
def test_what_cannot_be_generated_is_refused_before_the_render(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: tuple[str, ...], said: str
) -> None:
    models, out = tmp_path / "models", tmp_path / "out"
    models.mkdir()
    options = ("--preset", "static", "--engine", "ex4d", "--model-dir", str(models), "-o", str(out))
    with pytest.raises(SystemExit):
        main(["reshoot", str(scene.path), *options, *asked])
    assert said in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(("engine", "layout"), [("ex4d", "ex4d-gguf"), ("vace-1.3b", "vace-1.3b")])
def test_from_the_clip_to_the_video(scene: Scene, tmp_path: Path, tiny_models: Any, engine: str, layout: str) -> None:
    out = tmp_path / "out"
    document = reshoot(scene, out, tiny_models(layout), "--engine", engine, "--seed", 5)
    info = probe_clip(out / "output.mp4")
    assert (info.frames, info.width, info.height) == (6, 62, 36), "video players want even sides"
    pictures = np.stack([read_image(path) for path in sorted((out / "shot" / "output").iterdir())])
    assert pictures.shape == (6, 35, 61, 3)
    assert pictures.std() > 5, "noise, and neither black nor one grey"
    assert not np.isin(pictures, (0, 255)).mean() > 0.5
    assert document["result"]["engine"]["size"] == [64, 48]
    assert document["result"]["engine"]["frames"] == 9
    assert [frame["invented"] for frame in document["frames"]] == [frame["unseen"] for frame in document["frames"]]
    assert (out / "contact.png").is_file()


def test_a_plate_stays_what_it_is(scene: Scene, tmp_path: Path, tiny_models: Any) -> None:
    """A path that jumps, and a known pixel kept: what an artist looks at first."""
    path = preset(scene, Move("static"), radius=3.0)
    path.c2w[:, 0, 3] += 0.4
    shot = render_shot(scene, path, tmp_path / "shot")
    setup = EngineSetup(model_dir=tiny_models("vace-1.3b"), steps=1)
    shown = list[Any]()
    generate_shot(shot, "vace-1.3b", keep_source=True, setup=setup, on_preview=shown.append)
    assert shown, "pictures while it is made"
    assert all(preview.dtype == np.uint8 and preview.ndim == 4 for preview in shown)
    color, mask = load_clip(shot / "color.mp4").frames, load_clip(shot / "mask.mp4").frames[..., 0] > 127
    feather = feather_pixels(35)
    kernel = np.ones((2 * feather + 1, 2 * feather + 1), np.uint8)
    for t in range(6):
        beyond = cv2.erode(mask[t].astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=1) > 0
        assert beyond.mean() > 0.2
        picture = read_image(shot / "output" / f"{t:06d}.png")
        np.testing.assert_array_equal(picture[beyond], color[t][beyond])
        assert (picture[~mask[t]] != color[t][~mask[t]]).mean() > 0.5
    assert json.loads((shot / "shot.json").read_text("utf-8"))["result"]["engine"]["lead_in"] > 0


@dataclass
class Kept:
    """One engine for several runs, as the sidecar's worker keeps it."""

    engines: list[Engine] = field(default_factory=list[Engine])

    def __call__(self, name: str, setup: EngineSetup) -> Engine:
        if not self.engines:
            self.engines.append(make_engine(name, setup))
        return self.engines[0]


def test_a_run_that_was_stopped_leaves_nothing_in_the_next(tmp_path: Path, tiny_models: Any) -> None:
    """With a cache, which has a memory of its own, stopped in the midst of a step."""
    scene = smooth_scene(tmp_path, 5, 48, 32)
    setup = EngineSetup(model_dir=tiny_models("ex4d-diffusers"), steps=10)
    path = sideways(5, lens=scene.source_camera(0).intrinsics)
    shots = [render_shot(scene, path, tmp_path / f"shot{i}") for i in range(2)]
    kept, told, asked = Kept(), list[str](), 0

    def cancelled() -> bool:
        nonlocal asked
        asked += "denoising" in told
        return asked > 9

    def generate(shot: Path, **options: Any) -> list[bytes]:
        generate_shot(shot, "ex4d", quality="cached", setup=setup, **options)
        return [path.read_bytes() for path in sorted((shot / "output").iterdir())]

    with pytest.raises(CancelledError):
        generate(shots[0], make=kept, on_progress=lambda d, t, s: told.append(s), cancelled=cancelled)
    assert told.count("denoising") < 10
    assert not (shots[0] / "output").exists()
    assert not (shots[0] / "output.mp4").exists()
    assert generate(shots[0], make=kept) == generate(shots[1])

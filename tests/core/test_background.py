"""The persistent background: what is fused, what is left out, and where it shows."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from background_cases import HEIGHT, LENS, WALL, WIDTH, World, beside, posed, swaying

from ex4d_core.background import make_background
from ex4d_core.background.motion import Look, moving_pixels
from ex4d_core.background.showing import Backdrop, SourceFrame, solid_with_holes
from ex4d_core.camera import Camera
from ex4d_core.clip import read_lossless
from ex4d_core.depth.exr import write_exr
from ex4d_core.errors import CancelledError, InputError
from ex4d_core.frame import render_frame, render_solid
from ex4d_core.generate.engine import Shot
from ex4d_core.images import read_image, write_png
from ex4d_core.import_request import ImportOptions, request_fingerprint
from ex4d_core.ingest import find_import, import_scene
from ex4d_core.mesh import build_mesh
from ex4d_core.progress import silent
from ex4d_core.rendering import render, render_shot
from ex4d_core.scene import Scene, write_document
from ex4d_core.shot import read_shot


@pytest.fixture(scope="module")
def passing(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A card passes before a wall; the camera rests."""
    return World().scene(tmp_path_factory.mktemp("passing"))


def test_what_passes_is_not_in_the_background(passing: Scene) -> None:
    assert passing.background_layers == 1
    assert passing.document.background is not None
    assert passing.document.background.note == ""
    layer = passing.background_layer(0)
    wall, _, _ = World().seen(0, 0.0, card=False)
    assert (layer.first, layer.last) == (0, 15)
    there = np.isfinite(layer.depth)
    assert there.mean() > 0.998
    assert np.abs(layer.color.astype(int) - wall)[there].max() <= 2
    np.testing.assert_allclose(layer.depth[there], WALL, rtol=1e-3)
    assert layer.camera.intrinsics == LENS


def test_it_shows_where_the_frame_saw_nothing_and_nowhere_else(passing: Scene) -> None:
    path = beside(0.5, (4.0, 8.0, 11.0))
    without = list(render(passing, path, background=False))
    for t, alone, frame in zip((4, 8, 11), without, render(passing, path, passes=("risk",)), strict=True):
        truth, depth, card = World().seen(t, 0.5)
        shown = frame.seen_elsewhere
        assert shown.mean() > 0.03
        assert not (shown & alone.mask).any()
        np.testing.assert_array_equal(frame.mask, alone.mask | shown)
        np.testing.assert_array_equal(frame.color[alone.mask], alone.color[alone.mask])
        assert np.median(np.abs(frame.color[shown].astype(int) - truth[shown])) <= 3
        np.testing.assert_allclose(frame.depth[shown & ~card], depth[shown & ~card], rtol=0.01)
        # Edges of the card lie within pixels: where the frame sees less than half of one, the wall has it.
        inner = cv2.erode(card.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        assert not (shown & inner).any()
        assert (shown & card).sum() <= 0.05 * shown.sum()
        # all of the wall that the source could ever see is there; the card's thickness hides a little
        inside = np.arange(WIDTH) < WIDTH - 0.5 * LENS.fx / WALL - 1
        assert frame.mask[:, inside].mean() > 0.98
        risk = frame.risk()
        np.testing.assert_array_equal(risk[..., 2] == 255, shown)
        assert not risk[..., 0][shown].any()
        assert frame.resolution is not None
        assert frame.resolution[shown].min() > 0.5


def test_without_it_all_is_as_before(passing: Scene, tmp_path: Path) -> None:
    bare = World().bare(tmp_path)
    path = beside(0.5, (0.0, 7.0))
    for off, before in zip(
        render(passing, path, background=False, passes=("risk",)), render(bare, path, passes=("risk",)), strict=True
    ):
        for name in ("color", "mask", "depth", "source_xy"):
            np.testing.assert_array_equal(getattr(off, name), getattr(before, name))
        np.testing.assert_array_equal(off.risk(), before.risk())
        assert not off.seen_elsewhere.any()


def test_the_source_view_is_the_footage(passing: Scene) -> None:
    colors, _ = World().source()
    for t, frame in enumerate(render(passing, beside(0.0, tuple(range(16))))):
        assert not frame.seen_elsewhere.any()
        np.testing.assert_array_equal(frame.color, colors[t])


def test_a_shot_says_which_share_it_is(passing: Scene, tmp_path: Path) -> None:
    path, shares = beside(0.5, (4.0, 8.0)), {}
    for on in (True, False):
        out = render_shot(passing, path, tmp_path / f"shot{on}", background=on, passes=("risk",))
        shot = read_shot(out)
        assert shot.request.background is on
        shares[on] = shot.frames[1]
        mask = read_lossless(out / "mask.mp4")[1, ..., 0] > 0
        assert 1 - mask.mean() == pytest.approx(shot.frames[1].unseen, abs=1e-5)
        blue = read_image(out / "risk/000001.png")[..., 2] == 255
        assert blue.mean() == pytest.approx(shot.frames[1].seen_at_another_time, abs=1e-5)
        assert mask[blue].all()
    assert shares[False].seen_at_another_time == 0
    assert shares[True].unseen + shares[True].seen_at_another_time == pytest.approx(shares[False].unseen, abs=1e-5)


def test_what_is_never_uncovered_stays_a_hole(tmp_path: Path) -> None:
    world = swaying()
    scene = world.scene(tmp_path)
    layer = scene.background_layer(0)
    always = np.logical_and.reduce([world.seen(t, 0.0)[2] for t in range(world.frames)])
    assert always.mean() > 0.05
    assert np.isinf(layer.depth[always]).mean() > 0.95
    assert not layer.color[np.isinf(layer.depth)].any()
    sometimes = ~np.logical_or.reduce([world.seen(t, 0.0)[2] for t in range(world.frames)])
    assert np.isfinite(layer.depth[sometimes]).mean() > 0.95
    frames = list(render(scene, beside(0.5, (8.0,))))
    truth, _, _ = world.seen(8, 0.5)
    shown = frames[0].seen_elsewhere
    assert np.median(np.abs(frames[0].color[shown].astype(int) - truth[shown])) <= 3


def test_takes_have_layers_of_their_own(tmp_path: Path) -> None:
    world = replace(World(), card=World().card * 2, walls=(1,) * 16 + (2,) * 16)
    scene = world.scene(tmp_path, cuts=(16,))
    layers = [scene.background_layer(n) for n in range(scene.background_layers)]
    assert [(layer.first, layer.last) for layer in layers] == [(0, 15), (16, 31)]
    for layer in layers:
        wall, _, _ = world.seen(layer.first, 0.0, card=False)
        there = np.isfinite(layer.depth)
        assert there.mean() > 0.998
        assert np.abs(layer.color.astype(int) - wall)[there].max() <= 2
    for t, frame in zip((8, 24), render(scene, beside(0.5, (8.0, 24.0))), strict=True):
        truth, _, _ = world.seen(t, 0.5)
        shown = frame.seen_elsewhere
        assert np.median(np.abs(frame.color[shown].astype(int) - truth[shown])) <= 3


def test_a_solved_camera_sees_beyond_the_frame(tmp_path: Path) -> None:
    world = replace(World(), camera=tuple(np.linspace(0, 1.2, 16)))
    scene = world.scene(tmp_path)
    assert 1 <= scene.background_layers <= 4
    (alone,) = render(scene, beside(0.9, (4.0,)), background=False)
    (frame,) = render(scene, beside(0.9, (4.0,)))
    truth, depth, _ = world.seen(4, 0.9)
    shown = frame.seen_elsewhere
    assert frame.unseen < alone.unseen / 3
    assert np.median(np.abs(frame.color[shown].astype(int) - truth[shown])) <= 4
    assert (np.abs(frame.depth[shown] / depth[shown] - 1) < 0.01).mean() > 0.95


def test_it_follows_the_brightness_of_the_frame(tmp_path: Path) -> None:
    light = tuple(0.85 + 0.15 * np.sin(np.arange(16)))
    world = replace(World(), brightness=light)
    scene = world.scene(tmp_path)
    bright, dark = int(np.argmax(light)), int(np.argmin(light))
    for t, frame in zip((bright, dark), render(scene, beside(0.5, (bright, dark))), strict=True):
        truth, _, _ = world.seen(t, 0.5)
        shown = frame.seen_elsewhere
        assert shown.mean() > 0.02
        assert np.median(np.abs(frame.color[shown].astype(int) - truth[shown])) <= 4


def test_without_steadiness_there_is_none_and_a_note(tmp_path: Path) -> None:
    scene = World().scene(tmp_path, moving="The camera moves although it is said to stand still: estimate it.")
    assert scene.background_layers == 0
    assert scene.document.background is not None
    assert scene.document.background.note == (
        "The background layer is off: the camera moves although it is said to stand still: estimate it."
    )
    assert not (scene.path / "background").exists()


def test_depth_that_flickers_makes_no_background(tmp_path: Path) -> None:
    world = World()
    colors, depth = world.source()
    scene = world.bare(tmp_path)
    wrong = np.random.default_rng(0).uniform(0.5, 2.0, world.frames).astype(np.float32)
    document = make_background(
        scene.path, scene.document.depth, colors, lambda t: depth[t] * wrong[t], [LENS] * world.frames, None, (), "",
        silent, lambda: False,
    )  # fmt: skip
    assert document.layers == []
    assert "little of the picture stays where it is" in document.note


def test_where_nothing_moves_there_is_nothing_to_draw(tmp_path: Path) -> None:
    world = replace(World(), card=(0.0,) * 16)
    document = world.background(world.bare(tmp_path))
    assert (document.layers, document.note) == ([], "")
    still = replace(World(), card=(0.0,))
    assert still.background(still.bare(tmp_path / "still")).layers == []


def test_a_frame_sees_through_what_is_gone(passing: Scene) -> None:
    """A layer may not stand where the frame of this time looks past it."""
    colors, depth = World().source()
    backdrop = Backdrop.of(passing, "dwmesh")
    assert backdrop is not None
    camera = posed(0.5)
    mesh = build_mesh(depth[8], LENS)
    alone = render_frame(colors[8], mesh, camera)
    shown = backdrop.behind(alone, SourceFrame(8, colors[8], depth[8], Camera(np.eye(4), LENS)), camera)
    assert shown.seen_elsewhere.any()
    far = np.full_like(depth[8], 3 * WALL)
    through = backdrop.behind(alone, SourceFrame(8, colors[8], far, Camera(np.eye(4), LENS)), camera)
    assert not through.seen_elsewhere.any()


def test_no_face_reaches_over_a_hole() -> None:
    depth = np.full((HEIGHT, WIDTH), 3.0, np.float32)
    depth[20:40, 30:60] = np.inf
    depth[10, 10] = np.inf
    color = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
    frame = render_solid(color, solid_with_holes(depth, LENS, "dwmesh"), Camera(np.eye(4), LENS))
    # a mesh ends at the centres of its pixels: those beside a hole may go
    there = np.isfinite(depth)
    assert not (frame.mask & ~there).any()
    assert frame.mask[cv2.erode(there.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0].all()
    nothing = render_solid(color, solid_with_holes(np.full_like(depth, np.inf), LENS, "dwmesh"), posed(0.1))
    assert not nothing.mask.any()


def test_motion_is_found_and_grain_is_not() -> None:
    world, grain = World(), np.random.default_rng(3)
    looks = []
    for t in (7, 9):
        color, depth, _ = world.seen(t, 0.0)
        noisy = color.astype(np.float32) * (1.1 if t == 9 else 1.0) + grain.normal(0, 4, color.shape)
        looks.append(Look(np.clip(noisy, 0, 255).astype(np.uint8), depth, Camera(np.eye(4), LENS)))
    # without a jump in depth only colour and flow tell
    flat = [replace(look, depth=np.full_like(look.depth, WALL)) for look in looks]
    card = world.seen(7, 0.0)[2]
    for pair in (looks, flat):
        moving, hidden = moving_pixels(*pair)
        assert moving[card].mean() > 0.6
        assert moving[:8].mean() < 0.02
        assert not (hidden & moving).any()


def test_a_cancel_ends_it(tmp_path: Path) -> None:
    world = World()
    scene = world.bare(tmp_path)
    colors, depth = world.source()
    told: list[str] = []
    with pytest.raises(CancelledError):
        make_background(
            scene.path, scene.document.depth, colors, lambda t: depth[t], [LENS] * 16, None, (), "",
            lambda _done, _total, stage: told.append(stage), lambda: "gathering the background" in told,
        )  # fmt: skip
    assert told[-1] == "gathering the background"


def test_its_pictures_do_not_count_for_the_hash_but_must_be_there(passing: Scene, tmp_path: Path) -> None:
    scene = Scene.open(Path(shutil.copytree(passing.path, tmp_path / "copy.ex4d")))
    (scene.path / "background/000000.png").write_bytes((scene.path / "color/000000.png").read_bytes())
    Scene.open(scene.path, verify=True, confined=True)
    with pytest.raises(InputError, match="no background layer 1"):
        scene.background_layer(1)
    (scene.path / "background/000000.exr").unlink()
    without = Scene.open(scene.path)
    for use in (lambda: render(without, beside(0.5, (8.0,))), lambda: without.background_layer(0)):
        with pytest.raises(InputError, match="lacks the background's depth of 1 of 1 layers"):
            use()


def test_without_the_background_its_files_are_not_needed(passing: Scene, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(passing.path, tmp_path / "copy.ex4d", ignore=shutil.ignore_patterns("background")))
    (frame,) = render(Scene.open(folder, verify=True), beside(0.5, (8.0,)), background=False)
    (alone,) = render(passing, beside(0.5, (8.0,)), background=False)
    np.testing.assert_array_equal(frame.color, alone.color)
    with pytest.raises(InputError, match="has no folder background/: import the clip again"):
        render_shot(Scene.open(folder), beside(0.5, (8.0,)), tmp_path / "shot")
    assert not (tmp_path / "shot").exists()


def test_an_import_may_leave_it_out_and_a_render_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clip = tmp_path / "clip"
    clip.mkdir()
    for frame in range(3):
        write_png(clip / f"{frame:03d}.png", np.full((24, 32, 3), 80 * frame, np.uint8))
    stages: set[str] = set()
    scene = import_scene(
        clip,
        tmp_path / "bare.ex4d",
        estimator="embedded",
        background=False,
        on_progress=lambda _, __, stage: stages.add(stage),
    )
    assert stages
    assert not any("background" in stage for stage in stages)
    assert not (scene.path / "background").exists()
    assert any("--background on" in warning for warning in scene.warnings)
    path = beside(0.0, (0.0,)).resized(32, 24)
    list(render(scene, path, background=False, allow_unseen=True))
    assert not caplog.records
    list(render(scene, path, allow_unseen=True))
    assert "import again with --background on" in caplog.text
    shot = render_shot(scene, path, tmp_path / "shot", allow_unseen=True)
    assert any("--background on" in warning for warning in read_shot(shot).result.warnings)
    bare = render_shot(scene, path, tmp_path / "bare", background=False, allow_unseen=True)
    assert not read_shot(bare).result.warnings
    assert find_import(scene.path, clip, ImportOptions(estimator="embedded", background=False)) is not None
    assert find_import(scene.path, clip, ImportOptions(estimator="embedded")) is None


def test_an_import_that_lost_its_background_is_made_again(passing: Scene, tmp_path: Path) -> None:
    folder, options = Path(shutil.copytree(passing.path, tmp_path / "copy.ex4d")), ImportOptions()
    source = tmp_path / "clip"
    shutil.copytree(passing.path / "color", source)
    write_document(folder, passing.document.model_copy(update={"request": request_fingerprint(source, options)}))
    assert find_import(folder, source, options) is not None
    shutil.rmtree(folder / "background")
    assert find_import(folder, source, options) is None


def test_infinite_disparity_names_file_and_layer(passing: Scene, tmp_path: Path) -> None:
    scene = Scene.open(Path(shutil.copytree(passing.path, tmp_path / "copy.ex4d")))
    assert scene.document.depth.encoding == "half-disparity"
    path = scene.path / "background/000000.exr"
    write_exr(path, np.full((HEIGHT, WIDTH), np.inf, np.float16), scene.document.depth.channel)
    with pytest.raises(InputError, match=f"{re.escape(str(path))}, background layer 0, .* in 100.0%"):
        list(render(scene, beside(0.5, (8.0,))))


@pytest.mark.parametrize(
    "change",
    [
        {"last": 16},
        {"first": 9, "last": 8},
        {"c2w": (2 * np.eye(4)).tolist()},
        *(
            {"intrinsics": lens}
            for lens in ([0, 90, 48, 36], [1e-300, 90, 48, 36], [90, 1e300, 48, 36], [90, 90, -1e9, 36])
        ),
    ],
)
def test_impossible_layers_are_refused(passing: Scene, tmp_path: Path, change: dict[str, object]) -> None:
    scene = Scene.open(Path(shutil.copytree(passing.path, tmp_path / "copy.ex4d")))
    raw = json.loads((scene.path / "scene.json").read_text())
    raw["background"]["layers"][0].update(change)
    (scene.path / "scene.json").write_text(json.dumps(raw))
    with pytest.raises(InputError, match="unusable background layer 0"):
        Scene.open(scene.path)


def test_engines_render_with_what_the_shot_had(passing: Scene) -> None:
    path = beside(0.5, (8.0,))
    color, mask = np.zeros((1, HEIGHT, WIDTH, 3), np.uint8), np.ones((1, HEIGHT, WIDTH), np.bool_)
    for on in (True, False):
        shot = Shot(color, mask, path.fps, scene=passing, trajectory=path, background=on)
        (frame,) = shot.render(path)
        assert frame.seen_elsewhere.any() == on
        assert shot.depth is not None
        assert np.isfinite(shot.depth).mean() == pytest.approx(np.isfinite(frame.depth).mean())


def test_a_document_of_before_renders_as_ever(tmp_path: Path) -> None:
    scene = World().bare(tmp_path)
    assert scene.document.background is None
    write_document(scene.path, scene.document)
    (frame,) = render(Scene.open(scene.path), beside(0.5, (8.0,)))
    assert not frame.seen_elsewhere.any()

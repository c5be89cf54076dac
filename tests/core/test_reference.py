"""Method `reference` against a second reading of EX-4D's code, and against its own output of a real clip."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import recon_twin as twin
from numpy.typing import NDArray

from ex4d_core.camera import Camera, Intrinsics, load_trajectory, save_trajectory
from ex4d_core.clip import load_clip, read_lossless
from ex4d_core.errors import InputError
from ex4d_core.frame import render_frame
from ex4d_core.images import write_png
from ex4d_core.ingest import import_scene
from ex4d_core.mesh import build_mesh
from ex4d_core.methods import METHODS
from ex4d_core.presets import Move, make_trajectory, preset
from ex4d_core.rendering import render, render_shot
from ex4d_core.scene import Scene, write_scene

SIZE, FRAMES = 48, 49
LOOKED_AT = (0, 2, 9, 20, 40, 48)
LENS = Intrinsics.from_focal_px(twin.FOCAL, SIZE, SIZE)


def drawn() -> NDArray[np.float32]:
    """(T, H, W) what DepthCrafter might draw, 0 to 1: a ball that moves, a post, a floor, a far wall and sky."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    picture = np.zeros((FRAMES, SIZE, SIZE))
    picture[:] = np.where(y > 15, 0.15 + 0.001 * x, 0.0)
    picture = np.maximum(picture, np.where(y > 30, 0.2 + 0.015 * (y - 30), 0))
    picture[:, 6:44, 38:41] = 0.7
    picture[:, :8, 30:] = 0.5  # flags a corner, on which a cap hangs
    for t, frame in enumerate(picture):
        squared = 1 - ((x - 13 - t / 5) ** 2 + (y - 25) ** 2) / 10**2
        ball = squared > 0
        frame[ball] = (0.85 + 0.15 * np.sqrt(squared[ball])).astype(np.float32)
    picture[0, -1, 3] = 1.1  # the nearest of all is on the border, where the radius does not look
    return ((picture - picture.min()) / (picture.max() - picture.min())).astype(np.float32)


def colors() -> NDArray[np.uint8]:
    """(T, H, W, 3) of a part that depends on x and one on y: on a triangle bilinear and linear are the same then."""
    rng = np.random.default_rng(3)
    across, down = rng.integers(10, 128, (FRAMES, 1, SIZE, 3)), rng.integers(10, 127, (FRAMES, SIZE, 1, 3))
    return (across + down).astype(np.uint8)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """The clip, imported as docs/reference.md says."""
    folder = tmp_path_factory.mktemp("reference")
    (folder / "clip").mkdir()
    for t, frame in enumerate(colors()):
        write_png(folder / f"clip/{t:04d}.png", frame)
    np.savez_compressed(folder / "clip.npz", depth=drawn())
    return import_scene(
        folder / "clip",
        folder / "clip.ex4d",
        depth=folder / "clip.npz",
        depth_kind="depthcrafter",
        focal_px=twin.FOCAL,
        fps=Fraction(30),
    )


def test_depth_of_a_depthcrafter_file_is_the_references(scene: Scene) -> None:
    depth = twin.depth_of(drawn())
    assert depth.max() == 1e4
    assert depth.min() == pytest.approx(10000 / 3900)
    for t in (0, 20, 48):
        np.testing.assert_allclose(scene.depth(t), depth[t], rtol=3e-7)


def test_only_disparity_from_0_to_1_is_taken_for_depthcrafters(tmp_path: Path) -> None:
    write_png(tmp_path / "photo.png", colors()[0])
    np.savez(tmp_path / "d.npz", depth=2 * drawn()[:1])
    with pytest.raises(InputError, match=r"disparity of frame 0 of .*d.npz is over 1 in .* % .*from 0 to 1"):
        import_scene(tmp_path / "photo.png", tmp_path / "s.ex4d", depth=tmp_path / "d.npz", depth_kind="depthcrafter")


@pytest.mark.parametrize("path", ["30", "60", "90", "180"])
def test_the_path_is_the_references(scene: Scene, path: str, tmp_path: Path) -> None:
    expected = twin.saved_poses(path, twin.orbit_radius(twin.depth_of(drawn())))
    save_trajectory(preset(scene, path), tmp_path / "c.npz")
    with np.load(tmp_path / "c.npz") as saved:
        np.testing.assert_allclose(saved["extrinsics"], expected, atol=1e-6)
        np.testing.assert_allclose(saved["intrinsics"], [[500, 0, 24], [0, 500, 24], [0, 0, 1]])


@pytest.mark.parametrize("path", ["30", "180"])
def test_from_a_depthcrafter_file_to_colour_and_mask(scene: Scene, path: str, tmp_path: Path) -> None:
    render_shot(scene, preset(scene, path), tmp_path / "shot", method="reference", background=False)
    color, mask = read_lossless(tmp_path / "shot/color.mp4"), read_lossless(tmp_path / "shot/mask.mp4")[..., 0] > 127
    depth = twin.depth_of(drawn())
    poses, far = twin.saved_poses(path, twin.orbit_radius(depth)), twin.ringed(depth)
    wrong = seen = 0
    for t in LOOKED_AT:
        shown, expected, alpha = twin.render(colors()[t], far[t], poses[t], t, twin.mended)
        wrong += int((mask[t] != expected).sum())
        seen += int(expected.sum())
        both = mask[t] & expected
        inside = both & (alpha > 254.9)
        np.testing.assert_allclose(color[t][inside], shown[inside], atol=1.01)
        assert not color[t][~mask[t]].any()
    assert seen > 4000
    assert wrong <= 3


def test_the_path_begins_with_the_source_frame(scene: Scene) -> None:
    first = next(iter(render(scene, preset(scene, "180"), method="reference", background=False, passes=("risk",))))
    np.testing.assert_array_equal(first.color, colors()[0])
    assert first.mask.all()
    assert not first.risk().any()
    elsewhere = next(iter(render(scene, preset(scene, "arc"), method="reference", background=False)))
    assert elsewhere.mask.mean() < 0.95, "it does not begin at the source camera"


@pytest.mark.parametrize("method", METHODS)
def test_back_at_the_source_only_the_reference_has_dark_lines(scene: Scene, method: str) -> None:
    *_, last = render(scene, preset(scene, "180"), method=method, background=False)
    inside = np.s_[3:-3, 3:-3]
    dark = ~last.mask[inside]
    if method != "reference":
        assert dark.mean() < 0.002
        return
    depth = twin.depth_of(drawn())[48]
    edges = twin.flagged(twin.vertices_of(depth, twin.mended), twin.faces_of(SIZE, SIZE)).reshape(SIZE, SIZE)[inside]
    np.testing.assert_array_equal(dark, edges)
    assert 0.02 < dark.mean() < 0.5


def test_what_is_not_inherited(scene: Scene) -> None:
    """Back at the source camera: half a pixel off, rims that are too dark, and caps before the sky."""
    depth, color = twin.ringed(twin.depth_of(drawn()))[48], colors()[48]
    pose = twin.saved_poses("180", 2.7)[0]
    shown, mask, alpha = twin.render(color, depth, pose, 48, twin.as_released)
    whole, rim = mask & (alpha > 254.9), mask & (alpha < 254.9)
    sky, level, beside = np.ones_like(mask), np.zeros_like(mask), np.zeros(color.shape)
    # A sample at i + 0.5 lies on the diagonal, in the middle between the vertices to the right and below.
    beside[:-1, :-1] = (color[:-1, 1:].astype(float) + color[1:, :-1]) / 2
    right, below = depth[:-1, 1:], depth[1:, :-1]
    sky[:-1, :-1] = (right > twin.RING) | (below > twin.RING)
    level[:-1, :-1] = np.abs(right / below - 1) < 0.02  # elsewhere perspective puts the middle nearer to one of them
    np.testing.assert_allclose(shown[whole & level & ~sky], beside[whole & level & ~sky], atol=1)
    assert (whole & level & ~sky).sum() > 300
    assert np.median(shown[rim & ~sky] / beside[rim & ~sky]) < 0.75
    assert (rim & ~sky).sum() > 50
    assert np.abs(shown - beside)[sky & mask].mean() > 10, "smeared from the corners' colours"
    ours = render_frame(color, build_mesh(scene.depth(48), LENS, "reference"), Camera(np.eye(4), LENS))
    np.testing.assert_array_equal(ours.color[ours.mask], color[ours.mask])


@pytest.fixture
def flower(shared: Path) -> Path:
    """The reference's own example: clip, camera, colour and mask, without its depth."""
    return shared / "data/flower"


def test_the_real_path(flower: Path, tmp_path: Path) -> None:
    with np.load(flower / "camera_180.npz") as saved:
        poses, matrix = saved["extrinsics"], saved["intrinsics"]
    radius = float(np.linalg.norm(poses[12, :3, 3])) / np.sqrt(1 + 0.2**2)  # a quarter around: (1, -0.2, 0) of it
    assert 10000 / 3900 + twin.MARGIN < radius < 3
    np.testing.assert_allclose(twin.saved_poses("180", radius), poses, atol=1e-6)
    np.testing.assert_allclose(matrix, [[500, 0, 256], [0, 500, 256], [0, 0, 1]])
    lens = Intrinsics.from_focal_px(twin.FOCAL, 512, 512)
    ours = make_trajectory(Move("180"), lens, np.arange(49.0), radius=radius, fps=Fraction(30))
    save_trajectory(ours, tmp_path / "c.npz")
    with np.load(tmp_path / "c.npz") as written:
        np.testing.assert_allclose(written["extrinsics"], poses, atol=1e-6)
    np.testing.assert_allclose(
        load_trajectory(flower / "camera_180.npz", 512, 512, Fraction(30)).c2w, ours.c2w, atol=1e-6
    )


def test_the_real_first_frame(flower: Path, tmp_path: Path) -> None:
    """Ours is the source itself; theirs is that, but for what their encoder lost."""
    source = load_clip(flower / "input.mp4", frames=1).frames[0]
    depth = np.where(np.indices((512, 512))[0] > 200, 2.6, 9.0).astype(np.float32)
    lens = Intrinsics.from_focal_px(twin.FOCAL, 512, 512)
    still = write_scene(tmp_path / "s.ex4d", [source], depth[None], fps=Fraction(30), intrinsics=lens)
    path = load_trajectory(flower / "camera_180.npz", 512, 512, Fraction(30))
    first = next(iter(render(still, path, method="reference", background=False)))
    np.testing.assert_array_equal(first.color, source)
    assert first.mask.all()
    theirs = load_clip(flower / "render_180.mp4", frames=1).frames[0]
    assert np.abs(first.color.astype(float) - theirs).mean() < 2
    assert load_clip(flower / "mask_180.mp4", frames=1).frames[0].min() == 255


def test_the_real_last_frame_is_what_the_twin_makes_of_any_depth(flower: Path) -> None:
    """Back at the source: which border is dark, which is half dark, and where the picture lies do not hang on depth."""
    source, shown = (
        load_clip(flower / name, start=48).frames[0].astype(float) for name in ("input.mp4", "render_180.mp4")
    )
    kept = load_clip(flower / "mask_180.mp4", start=48).frames[0][..., 0] > 127
    depth = twin.ringed(np.full((1, 48, 48), 9, np.float32))[0]
    flat = np.full((48, 48, 3), 200, np.uint8)
    image, mask, _ = twin.render(flat, depth, twin.saved_poses("180", 2.74)[0], 48, twin.as_released)
    for row in (0, 1, 2, -3, -2, -1):
        middle = np.s_[8:-8]
        assert mask[row, middle].all() == (kept[row, middle].mean() > 0.8), row
        assert mask[middle, row].all() == (kept[middle, row].mean() > 0.8), row
        if mask[row, middle].all():
            ratio = np.median(shown[row, middle][kept[row, middle]] / source[row, middle][kept[row, middle]].clip(1))
            assert ratio == pytest.approx(image[row, middle].mean() / 200, abs=0.1), row
    dark = ~kept[4:-4, 4:-4]
    assert 0.03 < dark.mean() < 0.04
    # Half a pixel off: of all shifts on a grid of quarters, the picture fits the source best near (0.5, 0.5).
    grey, ours = source.mean(-1), shown.mean(-1)
    whole = cv2.erode(kept.astype(np.uint8), np.ones((9, 9))) > 0
    fits = {
        (dx, dy): np.abs(cv2.warpAffine(grey, np.float64([[1, 0, -dx], [0, 1, -dy]]), (512, 512)) - ours)[whole].mean()
        for dx in (0, 0.25, 0.5, 0.75)
        for dy in (0, 0.25, 0.5, 0.75)
    }
    assert min(fits, key=fits.__getitem__) == (0.5, 0.5)

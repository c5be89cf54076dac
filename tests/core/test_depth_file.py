"""Depth from disk: every container gives the same depth, and what is no depth is refused by name."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pytest
from depth_file_cases import estimate
from ingest_cases import FRAMES, HEIGHT, WIDTH, depth_npy, depths, encode_grey
from numpy.typing import NDArray

from ex4d_core.camera import Intrinsics
from ex4d_core.depth import DepthKind, DepthRequest
from ex4d_core.depth.exr import write_exr
from ex4d_core.depth.registry import make_estimator
from ex4d_core.distortion import Distortion, undistorter
from ex4d_core.errors import CancelledError, InputError
from ex4d_core.progress import never_cancelled, silent

RANGE = (1.0, 9.0)


def read(path: Path, *args: object, **options: object) -> NDArray[np.float32]:
    return np.stack(list(estimate(path, *args, **options).depth.iterate()))  # type: ignore[arg-type]


def _integers(depth: NDArray[np.float32], bits: int) -> NDArray[np.unsignedinteger]:
    share = (depth.astype(np.float64) - RANGE[0]) / (RANGE[1] - RANGE[0])
    return np.rint(share * (2**bits - 1)).astype(np.uint16 if bits > 8 else np.uint8)


def _image_folder(folder: Path, images: NDArray[np.generic], suffix: str = ".png", first: int = 0) -> Path:
    folder.mkdir()
    for number, image in enumerate(images, start=first):
        ok, data = cv2.imencode(suffix, image)
        assert ok
        (folder / f"z_{number:04d}{suffix}").write_bytes(data.tobytes())
    return folder


def _exr_folder(folder: Path, depth: NDArray[np.float32], channel: str = "Y") -> Path:
    folder.mkdir()
    for number, image in enumerate(depth):
        write_exr(folder / f"深さ.{number + 1001}.exr", image, channel)
    return folder


def test_exr_folders_and_arrays_give_the_very_numbers(tmp_path: Path) -> None:
    depth = depths()
    np.save(tmp_path / "b.npy", depth[..., None])
    np.save(tmp_path / "d.npy", depth[:, None].astype(np.float64))
    np.save(tmp_path / "f.npy", np.asfortranarray(depth))
    np.savez(tmp_path / "one.npz", whatever=depth)
    np.savez_compressed(tmp_path / "many.npz", depth=depth, confidence=depth * 0)
    folder = tmp_path / "arrays"
    folder.mkdir()
    for t in range(FRAMES):
        np.save(folder / f"frame{t + 8}.npy", depth[t])  # 8, 9, 10: sorted as numbers, not as text
    sources = [
        _exr_folder(tmp_path / "y", depth),
        _exr_folder(tmp_path / "z", depth, "ViewLayer.Depth.Z"),
        depth_npy(tmp_path),
        *(tmp_path / name for name in ("b.npy", "d.npy", "f.npy", "one.npz", "many.npz")),
        folder,
    ]
    for source in sources:
        np.testing.assert_array_equal(read(source), depth, err_msg=str(source))
        np.testing.assert_array_equal(list(estimate(source).depth.iterate(4)), depth[4:], err_msg=str(source))


def test_a_pattern_and_a_single_image_are_depth(tmp_path: Path) -> None:
    folder = _exr_folder(tmp_path / "z", depths())
    np.testing.assert_array_equal(read(folder / "深さ.####.exr"), depths())
    np.testing.assert_array_equal(read(folder / "深さ.1003.exr", frames=1), depths()[2:3])


def test_sixteen_bit_images_map_their_full_range(tmp_path: Path) -> None:
    source = _image_folder(tmp_path / "z", _integers(depths(), 16), first=7)
    found = estimate(source, "metric", RANGE)
    np.testing.assert_allclose(np.stack(list(found.depth.iterate())), depths(), atol=8 / 65535)
    assert found.conversion == {"kind": "metric", "file": "z", "size": [WIDTH, HEIGHT], "bits": 16, "range": [1, 9]}
    assert found.warnings == ()
    assert found.units == "metric"
    assert (found.nearest, found.farthest) == pytest.approx((2, 8), abs=8 / 65535)


def test_eight_bit_images_work_and_warn(tmp_path: Path) -> None:
    grey = _integers(depths(), 8)
    found = estimate(_image_folder(tmp_path / "z", np.repeat(grey[..., None], 3, -1)), "relative", RANGE)
    np.testing.assert_allclose(np.stack(list(found.depth.iterate())), depths(), atol=8 / 255)
    assert found.units == "relative"
    assert "256 steps" in found.warnings[0]


def test_the_largest_and_smallest_integer_are_the_ends_of_the_range(tmp_path: Path) -> None:
    image = np.array([[0, 65535]] * 2, np.uint16)
    source = _image_folder(tmp_path / "z", image[None])
    depth = read(source, "disparity", (0.5, 0.25), frames=1, size=(2, 2))
    np.testing.assert_allclose(depth[0], [[2, 4]] * 2)


def test_disparity_is_inverted_and_zero_is_sky(tmp_path: Path) -> None:
    disparity = 1 / depths()
    disparity[:, 0] = 0
    depth = read(depth_npy(tmp_path, disparity), "disparity")
    assert np.isposinf(depth[:, 0]).all()
    np.testing.assert_allclose(depth[:, 1:], depths()[:, 1:], rtol=1e-6)


@pytest.mark.parametrize("sky", [np.inf, 1e10, 3e38])
def test_infinite_depth_and_renderers_stand_ins_for_it_are_sky(tmp_path: Path, sky: float) -> None:
    depth = depths()
    depth[:, 0] = sky
    found = estimate(depth_npy(tmp_path, depth))
    assert found.farthest == depths()[:, 1:].max() < 8
    assert np.isposinf(next(found.depth.iterate())[0]).all()


@pytest.mark.parametrize(
    ("codec", "pixel_format", "bits", "color_range", "limited"),
    [
        ("ffv1", "gray16le", 16, None, False),
        ("ffv1", "gray", 8, None, False),
        ("ffv1", "gray12le", 12, None, False),
        ("ffv1", "gray10le", 10, 1, True),
        ("ffv1", "yuv420p", 8, None, True),
        ("ffv1", "yuv420p10le", 10, 2, False),
        ("libx264", "yuv420p", 8, 2, False),
        ("libx264", "yuv420p10le", 10, None, True),
        ("libx264", "gray10le", 10, 2, False),
        ("libx265", "gray12le", 12, 2, False),
    ],
)
def test_videos_give_the_luma_as_stored(
    tmp_path: Path, codec: str, pixel_format: str, bits: int, color_range: int | None, limited: bool
) -> None:
    step = 2 ** (bits - 8)
    low, high = (16 * step, 235 * step) if limited else (0, 2**bits - 1)
    share = (depths().astype(np.float64) - RANGE[0]) / (RANGE[1] - RANGE[0])
    luma = np.rint(low + share * (high - low)).astype(np.uint16 if bits > 8 else np.uint8)
    source = encode_grey(tmp_path / "z.mkv", luma, pixel_format, codec, color_range)
    found = estimate(source, "metric", RANGE)
    np.testing.assert_allclose(np.stack(list(found.depth.iterate())), depths(), atol=0.51 * 8 / (high - low))
    assert found.conversion["bits"] == bits
    assert bool(found.warnings) == (bits == 8)


def test_full_range_luma_that_is_not_tagged_is_refused_rather_than_cut(tmp_path: Path) -> None:
    luma = np.rint((depths() - 1) / 8 * 255).astype(np.uint8)
    luma[3, 0, 0] = 255
    source = encode_grey(tmp_path / "z.mkv", luma, "yuv420p", "ffv1")
    with pytest.raises(InputError, match="not tagged so: export it with -color_range pc"):
        estimate(source, "metric", RANGE)


def test_rgb_videos_must_be_grey(tmp_path: Path) -> None:
    from fractions import Fraction

    from ex4d_core.clip import write_lossless

    grey = np.repeat(_integers(depths(), 8)[..., None], 3, -1)
    write_lossless(tmp_path / "z.mp4", iter(grey), Fraction(24))
    np.testing.assert_allclose(read(tmp_path / "z.mp4", "metric", RANGE), depths(), atol=8 / 255)
    colored = grey.copy()
    colored[..., 2] += 1
    write_lossless(tmp_path / "c.mp4", iter(colored), Fraction(24))
    with pytest.raises(InputError, match="coloured, not grey"):
        estimate(tmp_path / "c.mp4", "metric", RANGE)


def test_depth_of_the_whole_clip_is_trimmed_to_the_part(tmp_path: Path) -> None:
    source = depth_npy(tmp_path)
    np.testing.assert_array_equal(read(source, frames=2, start=3, whole=FRAMES), depths()[3:5])
    np.testing.assert_array_equal(
        read(depth_npy(tmp_path, depths(2), "part.npy"), frames=2, start=3, whole=FRAMES), depths(2)
    )
    with pytest.raises(InputError, match="has 6 frames, but the clip has 49 frames, of which 2 are taken"):
        estimate(source, frames=2, start=3, whole=49)
    with pytest.raises(InputError, match="has 6 frames, but the clip has 7 frames"):
        estimate(source, frames=7)


def test_depth_of_the_clips_size_is_resampled_to_the_working_size(tmp_path: Path) -> None:
    found = read(depth_npy(tmp_path), size=(WIDTH * 2, HEIGHT * 2), clip_size=(WIDTH, HEIGHT))
    assert found.shape == (FRAMES, HEIGHT * 2, WIDTH * 2)
    box = found[0, 2 * (HEIGHT // 3) : 2 * (2 * HEIGHT // 3), 20:40]
    assert (box == 2.0).all()
    assert ((found == 2.0) | (found > 3.9)).all()


def test_depth_of_the_working_size_passes_and_any_other_does_not(tmp_path: Path) -> None:
    working = np.full((1, 36, 64), 3.0, np.float32)
    assert read(depth_npy(tmp_path, working), frames=1, size=(64, 36), clip_size=(1920, 1080)).shape == (1, 36, 64)
    for shape in ((1, 294, 518), (1, 512, 512), (1, 540, 960)):
        other = np.full(shape, 3.0, np.float32)
        size = f"{shape[2]}x{shape[1]}"
        with pytest.raises(InputError, match=f"{size} pixels and the clip 1920x1080.*--size {size}"):
            estimate(depth_npy(tmp_path, other), frames=1, size=(64, 36), clip_size=(1920, 1080))


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("metric", np.nan, r"frame 2 of .*depth\.npy is missing \(NaN\) in 2\.8 %"),
        ("relative", -1.0, r"frame 2 of .*depth\.npy is negative in 2\.8 %"),
        ("metric", 0.0, r"frame 2 of .*depth\.npy is zero in 2\.8 %"),
        ("metric", -np.inf, "is negative"),
        ("disparity", np.nan, r"disparity of frame 2 .*missing \(NaN\)"),
        ("disparity", -0.1, "negative"),
        ("disparity", np.inf, "infinite"),
    ],
)
def test_what_is_no_depth_is_named_with_frame_share_and_remedy(
    tmp_path: Path, kind: DepthKind, value: float, message: str
) -> None:
    depth = depths()
    depth[2, 5] = value
    with pytest.raises(InputError, match=message) as caught:
        estimate(depth_npy(tmp_path, depth), kind)
    assert "fill those" in str(caught.value) or "check --depth-kind" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_depth_of_sky_only_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="infinitely far everywhere"):
        estimate(depth_npy(tmp_path, np.full((1, HEIGHT, WIDTH), np.inf, np.float32)), frames=1)


def test_integers_need_a_range_and_floats_refuse_one(tmp_path: Path) -> None:
    source = _image_folder(tmp_path / "z", _integers(depths(), 16))
    with pytest.raises(InputError, match="16-bit integers: say with --depth-range LO HI"):
        estimate(source)
    with pytest.raises(InputError, match="needs no range"):
        estimate(depth_npy(tmp_path), "metric", RANGE)
    for bad in ((1.0, 1.0), (0.0, np.inf)):
        with pytest.raises(InputError, match="two different finite numbers"):
            estimate(source, "metric", bad)
    with pytest.raises(InputError, match="is zero"):
        estimate(
            _image_folder(tmp_path / "zero", np.zeros((1, 4, 4), np.uint16)), "metric", (0, 5), frames=1, size=(4, 4)
        )


def test_gaps_in_a_folder_are_named(tmp_path: Path) -> None:
    images = _image_folder(tmp_path / "z", _integers(depths(), 16))
    (images / "z_0003.png").unlink()
    with pytest.raises(InputError, match="missing 3"):
        estimate(images, "metric", RANGE)
    arrays = tmp_path / "a"
    arrays.mkdir()
    for t in (0, 1, 3):
        np.save(arrays / f"{t}.npy", depths()[t])
    with pytest.raises(InputError, match=r"jumps from 1\.npy to 3\.npy"):
        estimate(arrays)


def test_frames_of_different_sizes_or_kinds_are_refused(tmp_path: Path) -> None:
    folder = _exr_folder(tmp_path / "z", depths())
    write_exr(folder / "深さ.1004.exr", np.ones((HEIGHT, WIDTH + 1), np.float32), "Y")
    with pytest.raises(InputError, match=r"深さ\.1004\.exr has 65x36 pixels, the frames before it 64x36"):
        estimate(folder)
    mixed = _image_folder(tmp_path / "m", _integers(depths(), 16))
    ok, data = cv2.imencode(".png", _integers(depths(), 8)[0])
    assert ok
    (mixed / "z_0002.png").write_bytes(data.tobytes())
    with pytest.raises(InputError, match=r"z_0002\.png stores its numbers in another way"):
        estimate(mixed, "metric", RANGE)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    trap = np.array([_Trap(tmp_path / "sprung")], dtype=object)
    np.save(tmp_path / "p.npy", trap, allow_pickle=True)
    np.savez(tmp_path / "p.npz", depth=trap)
    for name in ("p.npy", "p.npz"):
        with pytest.raises(InputError, match="Python objects"):
            estimate(tmp_path / name)
    assert not (tmp_path / "sprung").exists()
    np.load(tmp_path / "p.npy", allow_pickle=True)  # the trap does work
    assert (tmp_path / "sprung").exists()


class _Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("cut", [0.3, 0.97])
@pytest.mark.parametrize("name", ["z.npy", "z.npz", "zc.npz", "f.npy", "z.png", "z.exr", "z.mkv"])
def test_files_cut_short_are_refused(tmp_path: Path, name: str, cut: float) -> None:
    noise = np.random.default_rng(0).uniform(1, 9, depths().shape).astype(np.float32)
    np.save(tmp_path / "z.npy", noise)
    np.save(tmp_path / "f.npy", np.asfortranarray(noise))
    np.savez(tmp_path / "z.npz", depth=noise)
    np.savez_compressed(tmp_path / "zc.npz", depth=noise)
    cv2.imwrite(str(tmp_path / "z.png"), _integers(noise, 16)[0])
    write_exr(tmp_path / "z.exr", noise[0])
    encode_grey(tmp_path / "z.mkv", _integers(noise, 16), "gray16le", "ffv1")
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * cut)])
    integers = path.suffix in (".png", ".mkv")
    frames = 1 if path.suffix in (".png", ".exr") else FRAMES
    with pytest.raises(InputError, match=name.replace(".", r"\.")) as caught:
        estimate(path, "metric", RANGE if integers else None, frames=frames)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".png", ".exr", ".mp4", ".mkv", ".txt"])
@pytest.mark.parametrize("content", [b"", b"This is text.\n" * 40, bytes(range(256)) * 8])
def test_rubbish_is_refused_in_one_sentence(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"rubbish{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match="rubbish") as caught:
        estimate(path, "metric", RANGE)
    assert "\n" not in str(caught.value)


def test_nothing_there_and_nothing_in_it_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no depth file or folder"):
        estimate(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        estimate(tmp_path / "empty")
    np.savez(tmp_path / "two.npz", a=depths(), b=depths())
    with pytest.raises(InputError, match="arrays a, b: name the one of depth with --depth-channel"):
        estimate(tmp_path / "two.npz")
    with pytest.raises(InputError, match=r"shape \(6, 36, 64, 3\)"):
        estimate(depth_npy(tmp_path, np.ones((6, 36, 64, 3), np.float32)))
    with pytest.raises(InputError, match="int32 numbers"):
        estimate(depth_npy(tmp_path, depths().astype(np.int32)))
    channels = {"R": depths()[0], "G": depths()[0] + 1, "B": depths()[0]}
    with OpenEXR.File({"type": OpenEXR.scanlineimage}, channels) as file:
        file.write(str(tmp_path / "color.exr"))
    with pytest.raises(InputError, match="only B, G, R"):
        estimate(tmp_path / "color.exr", frames=1)


def test_checking_can_be_stopped(tmp_path: Path) -> None:
    seen: list[int] = []
    estimator = make_estimator("file", DepthRequest(depth_npy(tmp_path)))
    with pytest.raises(CancelledError):
        estimator.check(FRAMES, (WIDTH, HEIGHT), lambda done, total, stage: seen.append(done), lambda: len(seen) >= 2)
    assert seen == [1, 2]


def test_a_file_must_be_given() -> None:
    with pytest.raises(InputError, match="needs a file or folder"):
        make_estimator("file").check(1, (4, 4), silent, never_cancelled)


def test_depthcrafter_and_video_depth_anything_save_disparity(tmp_path: Path) -> None:
    """`np.savez_compressed(..., depth=...)` in 0..1 and `depths=...`, as their run.py and utils do."""
    disparity = 1 / depths()
    span = disparity.max() - disparity.min()
    np.savez_compressed(tmp_path / "dc.npz", depth=((disparity - disparity.min()) / span).astype(np.float32))
    np.savez_compressed(tmp_path / "vda.npz", depths=disparity.astype(np.float32))
    found = read(tmp_path / "dc.npz", "disparity")
    assert np.isposinf(found[disparity == disparity.min()]).all()
    with pytest.raises(InputError, match="is zero.*add --depth-kind disparity if 0 is the farthest, as DepthCrafter"):
        estimate(tmp_path / "dc.npz")
    np.testing.assert_allclose(read(tmp_path / "vda.npz", "disparity"), depths(), rtol=1e-6)
    assert estimate(tmp_path / "vda.npz", "disparity").warnings == ()
    (warning,) = estimate(tmp_path / "vda.npz", "relative").warnings
    assert "may be disparity (1/depth), as under the name 'depths' Video-Depth-Anything" in warning


def test_files_that_say_disparity_are_not_taken_for_depth_without_a_word(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", disparity=depths())
    assert "its array is called 'disparity'" in estimate(tmp_path / "d.npz").warnings[0]
    assert (
        "its channel is called 'disparity'" in estimate(_exr_folder(tmp_path / "e", depths(), "disparity")).warnings[0]
    )
    nuke = tmp_path / "nuke.exr"
    with OpenEXR.File({"type": OpenEXR.scanlineimage, "nuke/version": "15"}, {"depth.Z": depths()[0]}) as file:
        file.write(str(nuke))
    assert "as Nuke wrote it, whose own renderer gives 1/z" in estimate(nuke, frames=1).warnings[0]


def test_a_channel_or_array_can_be_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=depths(), b=depths() + 1)
    found = estimate(tmp_path / "two.npz", channel="b")
    assert found.nearest == 3.0
    assert found.conversion["channel"] == "b"
    with pytest.raises(InputError, match="has no array 'c', only a, b: name one with --depth-channel"):
        estimate(tmp_path / "two.npz", channel="c")
    folder = tmp_path / "exr"
    folder.mkdir()
    for number, image in enumerate(depths()):
        write_exr(folder / f"{number}.exr", image, "odd name")
    assert estimate(folder, channel="odd name").conversion["channel"] == "odd name"
    with pytest.raises(InputError, match="has no channel 'Z', only odd name"):
        estimate(folder, channel="Z")


def test_an_npz_without_arrays_says_so(tmp_path: Path) -> None:
    np.savez(tmp_path / "z.npz")
    for channel in (None, "depth"):
        with pytest.raises(InputError, match=r"z.npz holds no array: save the depth into it with numpy.savez"):
            estimate(tmp_path / "z.npz", channel=channel)


def test_a_flat_card_is_said(tmp_path: Path) -> None:
    flat = depths() * 0 + 3
    (warning,) = estimate(depth_npy(tmp_path, flat)).warnings
    assert "the same everywhere in every frame, so that the picture stands there as a flat card" in warning
    flat[1:] = depths()[1:]
    (warning,) = estimate(depth_npy(tmp_path, flat)).warnings
    assert "in 1 of 6 frames" in warning


def test_depth_of_distorted_footage_is_straightened_with_it(tmp_path: Path) -> None:
    lens = Intrinsics(50.0, 50.0, WIDTH / 2, HEIGHT / 2, WIDTH, HEIGHT)
    distortion = Distortion("opencv", (-0.2, 0.0, 0.0, 0.0), lens)
    found = np.stack(list(estimate(depth_npy(tmp_path), distortion=distortion).depth.iterate()))
    straight = undistorter(distortion, distortion.pinhole())
    np.testing.assert_array_equal(found, np.stack([straight(frame) for frame in depths()]))
    assert set(np.unique(found)) <= set(np.unique(depths()))
    assert (found != depths()).any()

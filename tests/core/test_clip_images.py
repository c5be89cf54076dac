"""Image sequences and stills as clips."""

from __future__ import annotations

from fractions import Fraction

import clip_media as media
import cv2
import numpy as np
import OpenEXR
import pytest

from ex4d_core.clip import iter_frames, load_clip, probe_clip
from ex4d_core.errors import InputError
from ex4d_core.images import srgb_from_linear, write_png


def sequence(folder, numbers, pattern="shot_{:04d}.png"):
    folder.mkdir(exist_ok=True)
    for i, number in enumerate(numbers):
        write_png(folder / pattern.format(number), media.numbered(12)[i])
    return folder


def test_folder_of_numbered_images(tmp_path):
    folder = sequence(tmp_path / "séquence", range(1001, 1006))
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "notes.txt").write_text("x")
    info = probe_clip(folder)
    assert (info.kind, info.frames, info.fps, info.width, info.height) == ("sequence", 5, 24, 64, 48)
    assert info.first_number == 1001
    assert media.indices(iter_frames(folder)) == [0, 1, 2, 3, 4]
    assert media.indices(iter_frames(folder, start=1, frames=3)) == [1, 2, 3]
    assert load_clip(folder, fps=Fraction(30)).fps == 30
    assert len(load_clip(folder, fps=Fraction(30)).frames) == 5


def test_numbers_without_leading_zeros_sort_by_value(tmp_path):
    folder = sequence(tmp_path / "s", range(8, 13), "f{}.png")
    assert media.indices(iter_frames(folder)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("pattern", ["take_####.png", "take_%04d.png", "take_%d.png", "take_#.png"])
def test_patterns_pick_one_series_of_several(tmp_path, pattern):
    folder = sequence(tmp_path / "s", range(7, 10), "take_{:04d}.png")
    sequence(folder, range(3), "mask_{:04d}.png")
    sequence(folder, [], "x")
    write_png(folder / "take_0008_old.png", media.numbered(1)[0])
    info = probe_clip(folder / pattern)
    assert (info.kind, info.frames, info.first_number) == ("sequence", 3, 7)
    assert media.indices(iter_frames(folder / pattern)) == [0, 1, 2]


def test_frame_number_is_the_last_number_of_the_name(tmp_path):
    folder = sequence(tmp_path / "s", range(98, 102), "shot_010_v2.{:04d}.png")
    assert probe_clip(folder).first_number == 98
    assert media.indices(iter_frames(folder)) == [0, 1, 2, 3]


def test_pattern_asks_for_its_number_of_digits(tmp_path):
    folder = sequence(tmp_path / "s", [998, 999], "f{:03d}.png")
    with pytest.raises(InputError, match=r"No file matches .*f####\.png: check .* digits\.$"):
        probe_clip(folder / "f####.png")
    sequence(folder, [998, 999, 1000], "f{:03d}.png")
    assert probe_clip(folder / "f###.png").frames == 3
    with pytest.raises(InputError, match="2 places for a number"):
        probe_clip(folder / "f##_##.png")


def test_gaps_are_named(tmp_path):
    folder = sequence(tmp_path / "s", [1, 2, 4, 5, 9])
    for path in (folder, folder / "shot_####.png"):
        with pytest.raises(InputError, match=r"gaps between 1 and 9, missing 3, 6-8: add .*\.$"):
            probe_clip(path)


def test_many_gaps_are_counted(tmp_path):
    folder = sequence(tmp_path / "s", range(0, 24, 2))
    with pytest.raises(InputError, match="missing 1, 3, 5, 7, 9 and 6 more places"):
        probe_clip(folder)


def test_the_same_number_twice_is_refused(tmp_path):
    folder = sequence(tmp_path / "s", [1, 2], "f{:02d}.png")
    sequence(folder, [2], "f{}.png")
    with pytest.raises(InputError, match=r"both frame 2: remove or rename"):
        probe_clip(folder)


def test_several_series_in_one_folder_are_refused_by_name(tmp_path):
    folder = sequence(tmp_path / "s", [1, 2], "a_{}.png")
    sequence(folder, [1, 2], "b_{}.png")
    with pytest.raises(InputError, match=r"several series \(a_####\.png, b_####\.png\).*a_####\.png"):
        probe_clip(folder)


def test_a_stray_image_beside_a_series_is_refused(tmp_path):
    folder = sequence(tmp_path / "s", [1, 2, 3])
    write_png(folder / "thumbnail.png", media.numbered(1)[0])
    with pytest.raises(InputError, match="several series"):
        probe_clip(folder)
    assert probe_clip(folder / "shot_####.png").frames == 3


@pytest.mark.parametrize("names", [["alpha.png", "Beta.png", "gamma.png"], ["3 cats.png", "20 dogs.png", "a 7 b.png"]])
def test_images_that_are_no_series_go_in_natural_order(tmp_path, names):
    for i, name in enumerate(names):
        write_png(tmp_path / name, media.numbered(3)[i])
    assert media.indices(iter_frames(tmp_path)) == [0, 1, 2]
    assert probe_clip(tmp_path).first_number is None


def test_mixed_sizes_are_named(tmp_path):
    folder = sequence(tmp_path / "s", [1, 2, 3])
    write_png(folder / "shot_0002.png", np.zeros((20, 30, 3), np.uint8))
    frames = iter_frames(folder)
    next(frames)
    with pytest.raises(InputError, match=r"shot_0002\.png is 30x20 while shot_0001\.png is 64x48: bring"):
        next(frames)


def test_damaged_frame_is_named(tmp_path):
    folder = sequence(tmp_path / "s", [1, 2, 3])
    (folder / "shot_0003.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"shot_0003\.png is damaged"):
        load_clip(folder)


def test_linear_exr_sequence_becomes_srgb(tmp_path):
    folder = tmp_path / "linear"
    folder.mkdir()
    light = [0.0, 0.18, 0.5]
    for i, value in enumerate(light):
        plane = np.full((8, 12), value, np.float32)
        OpenEXR.File({}, {"R": plane, "G": plane, "B": plane}).write(str(folder / f"r.{i + 40}.exr"))
    info = probe_clip(folder / "r.##.exr")
    assert (info.bit_depth, info.first_number) == (16, 40)
    deep = [frame[4, 6, 0] for frame in iter_frames(folder)]
    np.testing.assert_array_equal(deep, srgb_from_linear(np.array(light, np.float32)))
    assert load_clip(folder).frames[:, 4, 6, 0].tolist() == [0, 118, 188]


def test_anamorphic_exr_is_stretched(tmp_path):
    plane = np.zeros((8, 12), np.float32)
    plane[:, :6] = 1
    path = tmp_path / "wide.exr"
    OpenEXR.File({"pixelAspectRatio": 2.0}, {"Y": plane}).write(str(path))
    info = probe_clip(path)
    assert (info.width, info.height, info.pixel_aspect) == (24, 8, 2)
    (image,) = iter_frames(path)
    assert image.shape == (8, 24, 3)
    assert (image[:, :10] > 60000).all()
    assert (image[:, 14:] < 5000).all()


def test_sixteen_bit_sequence_stays_deep_and_shrinks(tmp_path):
    folder = tmp_path / "deep"
    folder.mkdir()
    image = np.random.default_rng(0).integers(0, 65536, (16, 24, 3), np.uint16)
    write_png(folder / "0.png", image)
    write_png(folder / "1.png", (image >> 8).astype(np.uint8))  # one file of another depth in between
    first, second = iter_frames(folder, max_side=12)
    assert first.dtype == second.dtype == np.uint16
    expected = image.reshape(8, 2, 12, 2, 3).mean((1, 3))
    assert np.abs(first - expected).max() <= 1
    assert np.abs(second - (image >> 8).reshape(8, 2, 12, 2, 3).mean((1, 3)) * 257).max() <= 1


def test_a_still_is_a_clip_of_one_frame(tmp_path):
    image = media.asymmetric(100, 60)
    path = tmp_path / "foto é 0007.png"
    write_png(path, image)
    write_png(tmp_path / "foto é 0008.png", image)
    info = probe_clip(path)
    assert (info.kind, info.frames, info.fps, info.width, info.height) == ("still", 1, 24, 100, 60)
    np.testing.assert_array_equal(load_clip(path).frames, [image])
    (half,) = iter_frames(path, max_side=50)
    np.testing.assert_array_equal(half, image[::2, ::2])
    with pytest.raises(InputError, match="has 1 frames"):
        load_clip(path, frames=2)


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path):
    image = media.asymmetric()
    write_png(tmp_path / "take#2.png", image)
    write_png(tmp_path / "take7.png", image[::-1])
    assert probe_clip(tmp_path / "take#2.png").kind == "still"
    np.testing.assert_array_equal(load_clip(tmp_path / "take#2.png").frames, [image])


def test_jpeg_sequence(tmp_path):
    for i, frame in enumerate(media.numbered(3)):
        cv2.imwrite(str(tmp_path / f"P{i + 100}.JPG"), frame)
    assert media.indices(iter_frames(tmp_path)) == [0, 1, 2]
    assert probe_clip(tmp_path).first_number == 100

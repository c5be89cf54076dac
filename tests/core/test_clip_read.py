"""Reading videos: colours, orientation, time, sizes; each test makes its own video and knows its pixels."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import clip_media as media
import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame

from ex4d_core import video_in
from ex4d_core.clip import iter_frames, load_clip, probe_clip, working_size
from ex4d_core.errors import CancelledError, InputError


def tag(matrix: str | None, full: bool):
    def setup(stream):
        if matrix is not None:
            stream.codec_context.colorspace = media.AVCOL_SPC[matrix]
            stream.codec_context.color_range = 2 if full else 1

    return setup


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", ["709", "601", "2020"])
@pytest.mark.parametrize(
    ("bits", "pix_fmt"), [(8, "yuv420p"), (8, "yuv444p"), (10, "yuv420p10le"), (12, "yuv444p12le")]
)
def test_tagged_matrix_and_range_give_the_true_colours(tmp_path, bits, pix_fmt, matrix, full):
    planes = media.yuv_planes(media.bars(), matrix, full, bits, 2 if "420" in pix_fmt else 1)
    frame = media.frame_from_planes(planes, 96, 32, pix_fmt)
    frame.colorspace, frame.color_range = media.AVCOL_SPC[matrix], 2 if full else 1
    path = media.write_frames(
        tmp_path / "bars.mkv", [frame], codec="ffv1", pix_fmt=pix_fmt, options={}, setup=tag(matrix, full)
    )
    (image,) = iter_frames(path)
    middles = image[16, media.BAR // 2 :: media.BAR].astype(float)
    if bits == 8:
        assert image.dtype == np.uint8
        assert np.abs(middles - media.BARS).max() <= 1
    else:
        assert image.dtype == np.uint16
        # Half a code value of the source is 0.6 of 257 at limited range; chroma rounding adds as much again.
        assert np.abs(middles / 257 - media.BARS).max() <= (0.6 if bits == 10 else 0.15)


@pytest.mark.parametrize(("width", "matrix"), [(96, "601"), (1296, "709")])
def test_untagged_video_is_601_when_small_and_709_when_hd(tmp_path, width, matrix):
    rgb = np.resize(media.BARS[9:11], (2, 3))
    rgb = np.repeat(np.repeat(rgb[None], 16, 0), width // 2, 1).astype(np.uint8)
    frame = media.frame_from_planes(media.yuv_planes(rgb, matrix, False, 8, 2), width, 16, "yuv420p")
    path = media.write_frames(tmp_path / "untagged.mp4", [frame], codec="libx264", pix_fmt="yuv420p")
    (image,) = iter_frames(path)
    assert np.abs(image[8, [width // 4, 3 * width // 4]].astype(int) - media.BARS[9:11]).max() <= 1


def test_ten_bits_are_kept(tmp_path):
    ramp = np.tile(np.arange(64, 64 + 800, dtype=np.uint16), (16, 1))
    grey = np.full((8, 400), 512, np.uint16)
    frame = media.frame_from_planes([ramp, grey, grey], 800, 16, "yuv420p10le")
    path = media.write_frames(tmp_path / "ramp.mkv", [frame], codec="ffv1", pix_fmt="yuv420p10le", options={})
    (image,) = iter_frames(path)
    assert probe_clip(path).bit_depth == 10
    assert len(np.unique(image[8, :, 1])) == 800
    expected = np.clip((ramp[8].astype(float) - 64) / 876 * 65535, 0, 65535)
    assert np.abs(image[8].astype(float) - expected[:, None]).max() <= 1
    assert load_clip(path).frames.dtype == np.uint8
    assert np.abs(load_clip(path).frames[0, 8, :, 0] - expected / 257).max() <= 0.51


@pytest.mark.parametrize(("pix_fmt", "bits"), [("gray", 8), ("gray10le", 10), ("gray16le", 16)])
def test_grey_becomes_three_equal_channels(tmp_path, pix_fmt, bits):
    top = 2**bits - 1
    ramp = np.tile(np.linspace(0, top, 64).astype(np.uint8 if bits == 8 else np.uint16), (48, 1))
    frame = media.frame_from_planes([ramp], 64, 48, pix_fmt)
    path = media.write_frames(tmp_path / "grey.mkv", [frame], codec="ffv1", pix_fmt=pix_fmt, options={})
    (image,) = iter_frames(path)
    full = 255 if bits == 8 else 65535
    assert image.shape == (48, 64, 3)
    assert np.abs(image.astype(float) - (ramp / top * full)[..., None]).max() <= full / top * 0.51


def test_grey_tagged_as_limited_range_is_stretched(tmp_path):
    levels = np.tile(np.repeat(np.array([16, 126, 235], np.uint8), 16), (32, 1))
    frame = media.frame_from_planes([levels], 48, 32, "gray")
    frame.color_range = 1
    setup = lambda stream: setattr(stream.codec_context, "color_range", 1)  # noqa: E731
    path = media.write_frames(tmp_path / "grey.mkv", [frame], codec="ffv1", pix_fmt="gray", options={}, setup=setup)
    (image,) = iter_frames(path)
    assert image[16, 8::16, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("deep", [False, True])
def test_alpha_is_composited_over_black(tmp_path, deep):
    colour, alpha = np.array([200, 100, 50]), np.array([0, 51, 255])
    rgba = np.zeros((32, 48, 4), np.uint16 if deep else np.uint8)
    scale = 257 if deep else 1
    rgba[..., :3] = colour * scale
    rgba[..., 3] = np.repeat(alpha * scale, 16)
    name = "rgba64le" if deep else "rgba"
    frame = VideoFrame.from_ndarray(rgba, name)
    stored = "rgba64be" if deep else "rgba"
    path = media.write_frames(
        tmp_path / "alpha.mov", [frame.reformat(format=stored)], codec="png", pix_fmt=stored, options={}
    )
    (image,) = iter_frames(path)
    assert probe_clip(path).has_alpha
    expected = colour[None] * alpha[:, None] / 255
    assert np.abs(image[16, 8::16] / scale - expected).max() <= 0.5


# What a player shows for a stored image under each flag, by the words of the flag (degrees are
# counter-clockwise).
ORIENTATIONS = {
    (90, False): lambda a: np.rot90(a, 1),
    (180, False): lambda a: np.rot90(a, 2),
    (270, False): lambda a: np.rot90(a, 3),
    (0, True): lambda a: a[:, ::-1],
    (180, True): lambda a: a[::-1],
}


@pytest.mark.parametrize(("degrees", "mirrored"), ORIENTATIONS)
def test_orientation_flags_are_applied(tmp_path, degrees, mirrored):
    stored = media.asymmetric()

    def setup(stream):
        stream.set_display_rotation(degrees, hflip=mirrored)

    path = media.write_rgb(tmp_path / "turned.mp4", [stored], setup=setup)
    (image,) = iter_frames(path)
    expected = ORIENTATIONS[degrees, mirrored](stored)
    np.testing.assert_array_equal(image, expected)
    info = probe_clip(path)
    assert (info.width, info.height) == expected.shape[1::-1]
    if not mirrored:  # OpenCV applies turns, too: an opinion independent of ours
        capture = cv2.VideoCapture(str(path))
        np.testing.assert_array_equal(cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB), image)


def test_turned_video_is_shrunk_the_right_way_round(tmp_path):
    stored = media.asymmetric(128, 64)
    path = media.write_rgb(tmp_path / "turned.mp4", [stored], setup=lambda stream: stream.set_display_rotation(90))
    (image,) = iter_frames(path, max_side=64)
    assert image.shape == (64, 32, 3)
    np.testing.assert_array_equal(image, np.rot90(stored, 1)[::2, ::2])


@pytest.mark.parametrize(("aspect", "width"), [(Fraction(16, 11), 93), (Fraction(1, 2), 32)])
def test_non_square_pixels_are_made_square_at_full_height(tmp_path, aspect, width):
    stored = media.asymmetric(64, 48)

    def setup(stream):
        stream.codec_context.sample_aspect_ratio = aspect

    path = media.write_rgb(tmp_path / "anamorphic.mp4", [stored], setup=setup)
    info = probe_clip(path)
    assert (info.width, info.height, info.pixel_aspect) == (width, 48, aspect)
    (image,) = iter_frames(path)
    assert image.shape == (48, width, 3)
    corners = image[[4, 4, 44, 44], [4, width - 5, 4, width - 5]]
    assert corners.tolist() == [[250, 10, 10], [10, 250, 10], [10, 10, 250], [40, 40, 40]]
    # The colour edge stays in the middle of the picture.
    assert abs(int(np.argmax(image[4, :, 1] > 130)) - width / 2) <= 1


def test_odd_sizes_lose_nothing(tmp_path):
    rng = np.random.default_rng(1)
    frames = [rng.integers(0, 256, (51, 67, 3), np.uint8) for _ in range(3)]
    path = media.write_rgb(tmp_path / "odd.mp4", frames)
    np.testing.assert_array_equal(load_clip(path).frames, frames)


def test_odd_420_video_is_read_at_its_size(tmp_path):
    frames = [np.full((35, 49, 3), 100 + i, np.uint8) for i in range(3)]
    path = media.write_rgb(tmp_path / "odd.webm", frames, codec="libvpx-vp9", pix_fmt="yuv420p", options={})
    clip = load_clip(path)
    assert clip.frames.shape == (3, 35, 49, 3)
    assert np.abs(clip.frames.astype(int) - np.array(frames)).max() <= 3


@pytest.mark.parametrize(
    ("rate", "suffix"),
    [(Fraction(24000, 1001), ".mp4"), (Fraction(30000, 1001), ".mkv"), (Fraction(25), ".avi"), (Fraction(10), ".mov")],
)
def test_constant_rates_are_exact_in_every_container(tmp_path, rate, suffix):
    codec, pix_fmt = ("ffv1", "bgr0") if suffix in (".mkv", ".avi") else ("libx264rgb", "rgb24")
    options = {} if codec == "ffv1" else None
    path = media.write_rgb(
        tmp_path / f"c{suffix}", media.numbered(12), rate=rate, codec=codec, pix_fmt=pix_fmt, options=options
    )
    info = probe_clip(path)
    assert (info.fps, info.variable_rate, info.frames) == (rate, False, 12)
    assert media.indices(load_clip(path).frames) == list(range(12))


def test_a_declared_rate_decides_between_two_that_rounded_times_allow(tmp_path):
    # In milliseconds, 5 frames of 24 and of 23.976 per second stand at the same times.
    for rate in (Fraction(24), Fraction(24000, 1001)):
        path = media.write_rgb(
            tmp_path / "c.mkv", media.numbered(5), rate=rate, codec="ffv1", pix_fmt="bgr0", options={}
        )
        assert probe_clip(path).fps == rate


def nearest_by_brute_force(times: list[float], duration: float, rate: float) -> list[int]:
    chosen = []
    for k in range(round(duration * rate)):
        away = [abs(t - times[0] - k / rate) for t in times]
        chosen.append(min(range(len(times)), key=lambda i: (round(away[i], 9), i)))
    return chosen


def test_variable_rate_is_resampled_by_time_to_the_nearest_constant_one(tmp_path):
    # A screen recording: frames come when something changes. Mean 25 per second over 11 intervals.
    milliseconds = [0, 20, 100, 120, 140, 240, 260, 300, 340, 400, 420, 440]
    path = media.write_rgb(
        tmp_path / "variable.mkv",
        media.numbered(12),
        pts=milliseconds,
        time_base=Fraction(1, 1000),
        codec="ffv1",
        pix_fmt="bgr0",
        options={},
    )
    info = probe_clip(path)
    assert info.variable_rate
    assert info.fps == 25
    assert any("variable frame rate" in note for note in info.notes)
    shown = media.indices(load_clip(path).frames)
    times = [ms / 1000 for ms in milliseconds]
    assert shown == nearest_by_brute_force(times, info.frames / 25, 25)
    assert abs(info.frames / 25 - 0.46) <= 0.04
    assert len(set(shown)) < 12
    assert any(a == b for a, b in pairwise(shown))


def test_a_camera_that_dropped_frames_keeps_its_nominal_rate(tmp_path):
    kept = [0, 1, 2, 3, 6, 7, 8, 9, 10, 12, 13, 14]
    path = media.write_rgb(tmp_path / "dropped.mp4", media.numbered(12), rate=30, pts=kept)
    info = probe_clip(path)
    assert (info.fps, info.variable_rate, info.frames) == (30, True, 15)
    assert media.indices(load_clip(path).frames) == [0, 1, 2, 3, 3, 4, 4, 5, 6, 7, 8, 8, 9, 10, 11]


@pytest.mark.parametrize(("fps", "expected"), [(12, [0, 2, 4, 6, 8, 10]), (48, [0, 0, 1, 1, 2, 2, 3])])
def test_asking_for_another_rate_resamples_by_time(tmp_path, fps, expected):
    path = media.write_rgb(tmp_path / "c.mp4", media.numbered(12), rate=24)
    shown = media.indices(iter_frames(path, fps=Fraction(fps)))
    assert shown[: len(expected)] == expected
    assert len(shown) == fps // 2


def test_rates_that_people_write_are_the_exact_ones(tmp_path):
    path = media.write_rgb(tmp_path / "c.mp4", media.numbered(12), rate=Fraction(24000, 1001))
    for written in (23.976, 23.98, Fraction(24000, 1001)):
        info = probe_clip(path, fps=written)
        assert (info.fps, info.frames) == (Fraction(24000, 1001), 12)
    assert probe_clip(path, fps=24).fps == 24
    assert probe_clip(path, fps=29.97).fps == Fraction(30000, 1001)
    assert probe_clip(path, fps=7.3).fps == Fraction(73, 10)
    for wrong in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="more than 0"):
            probe_clip(path, fps=wrong)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_start_and_count_address_exact_frames_behind_a_seek(tmp_path, suffix):
    frames = media.numbered(120, 32, 32, step=2)
    options = {"qp": "1", "g": "12", "bf": "3", "x264-params": "b-adapt=0:scenecut=0"}
    path = media.write_rgb(tmp_path / f"long{suffix}", frames, codec="libx264", pix_fmt="yuv420p", options=options)
    whole = load_clip(path).frames
    assert np.abs(whole[:, 16, 16].astype(int) - [f[16, 16] for f in frames]).max() <= 2
    assert len(np.unique(whole[:, 16, 16, 0])) > 100
    for start, count in ((97, 5), (3, 2), (118, 2), (64, 30)):
        got = list(iter_frames(path, start=start, frames=count))
        np.testing.assert_array_equal(got, whole[start : start + count])


def test_a_seek_saves_the_decoding_and_one_that_lands_late_is_mended(tmp_path, monkeypatch, caplog):
    path = media.write_rgb(tmp_path / "long.mp4", media.numbered(120, 32, 32, step=2), options={"qp": "0", "g": "12"})
    caplog.set_level("DEBUG", logger="ex4d_core")
    assert media.indices(iter_frames(path, start=90, frames=2), step=2) == [90, 91]
    assert "seeking landed behind" not in caplog.text

    class Late:
        """A container that seeks too far, as some do for streams with reordered frames."""

        def __init__(self, container):
            self._container = container

        def __getattr__(self, name):
            return getattr(self._container, name)

        def seek(self, offset, **options):
            self._container.seek(offset * 115 // 90, **options)

    honest = video_in.open_video

    @contextmanager
    def open_late(path):
        with honest(path) as (container, stream):
            yield Late(container), stream

    monkeypatch.setattr(video_in, "open_video", open_late)
    assert media.indices(iter_frames(path, start=90, frames=2), step=2) == [90, 91]
    assert "seeking landed behind frame 90" in caplog.text


def test_transport_stream_that_begins_in_the_middle_is_read_from_its_first_key_frame(tmp_path):
    frames = media.numbered(60, 32, 32, step=4)
    whole = media.write_rgb(
        tmp_path / "whole.ts",
        frames,
        codec="libx264",
        pix_fmt="yuv420p",
        options={"crf": "1", "g": "12", "bf": "2", "x264-params": "open-gop=1:b-adapt=0:scenecut=0"},
    )
    data = whole.read_bytes()
    cut = tmp_path / "cut.ts"
    cut.write_bytes(data[len(data) // 188 // 3 * 188 :])
    shown = media.indices(load_clip(cut).frames, step=4)
    assert shown == list(range(shown[0], 60))
    assert 0 < shown[0] < 40


def test_shrinking_averages_over_areas(tmp_path):
    rng = np.random.default_rng(2)
    blocks = rng.integers(0, 256, (24, 32, 1), np.uint8)
    noise = rng.integers(-20, 21, (96, 128, 1))
    image = np.clip(blocks.repeat(4, 0).repeat(4, 1).astype(int) * 0.8 + 25 + noise, 0, 255).astype(np.uint8)
    path = media.write_rgb(tmp_path / "big.mp4", [image.repeat(3, 2)])
    (small,) = iter_frames(path, max_side=32)
    expected = image.reshape(24, 4, 32, 4).mean((1, 3))
    assert small.shape == (24, 32, 3)
    assert np.abs(small[..., 0] - expected).max() <= 1.5


def test_shrinking_moves_nothing_sideways(tmp_path):
    # A smooth ramp has its value at each pixel centre whatever the size.
    at = (np.arange(120) + 0.5) / 120 * 240
    ramp = np.rint(np.broadcast_to(at[None, :, None], (90, 120, 3))).astype(np.uint8)
    path = media.write_rgb(tmp_path / "ramp.mp4", [ramp])
    (small,) = iter_frames(path, size=(50, 40))
    expected = (np.arange(50) + 0.5) / 50 * 240
    assert np.abs(small[20, 2:-2, 0] - expected[2:-2]).max() <= 1.5


def test_working_size():
    info = probe_like(1920, 1080)
    assert working_size(info) == (1920, 1080)
    assert working_size(info, max_side=1024) == (1024, 576)
    assert working_size(info, max_side=4000) == (1920, 1080)
    assert working_size(info, size=(64, 64)) == (64, 64)
    assert working_size(probe_like(3, 4000), max_side=100) == (1, 100)
    for wrong in ({"size": (0, 5)}, {"max_side": 0}, {"size": (5, 5), "max_side": 5}):
        with pytest.raises(InputError):
            working_size(info, **wrong)


def probe_like(width: int, height: int):
    from ex4d_core.clip import ClipInfo

    return ClipInfo(Path("x.mp4"), "video", width, height, 10, Fraction(24))


def test_names_with_any_character_and_long_paths(tmp_path):
    folder = tmp_path / "Ünïcödé 映像" / ("long " * 24) / ("path " * 24)
    folder.mkdir(parents=True)
    for name in ("take:2 ß.mp4", "100% %04d #1.mp4"):
        path = media.write_rgb(folder / name, media.numbered(2)) if ":" not in name else folder / name
        if ":" in name:
            media.write_rgb(folder / "plain.mp4", media.numbered(2)).rename(path)
        assert media.indices(load_clip(path).frames) == [0, 1]


def test_memory_does_not_grow_with_the_file(tmp_path):
    # 60 frames of 1280x720 are 166 MB of pixels; a reader that keeps none of them needs a small part of it.
    ramp = np.tile(np.linspace(0, 255, 1280).astype(np.uint8)[None, :, None], (720, 1, 3))
    path = media.write_rgb(
        tmp_path / "large.mp4",
        (np.roll(ramp, 20 * i, 1) for i in range(60)),
        codec="libx264",
        pix_fmt="yuv420p",
        options={"preset": "ultrafast", "g": "10"},
    )
    script = (
        "import resource, sys, pathlib; from ex4d_core.clip import iter_frames; p = pathlib.Path(sys.argv[1])\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "frames = iter_frames(p, max_side=64); next(frames); [next(frames) for _ in range(9)]; early = peak()\n"
        "rest = sum(1 for _ in frames); print(rest, peak() - early)"
    )
    pytest.importorskip("resource", reason="peak memory is read with the resource module of Unix")
    out = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    rest, growth_kb = map(int, out.stdout.split())
    assert rest == 50
    assert growth_kb < 20_000


def test_loading_reports_progress_and_can_be_stopped(tmp_path):
    path = media.write_rgb(tmp_path / "c.mp4", media.numbered(4))
    seen = []
    load_clip(path, on_progress=lambda done, total, stage: seen.append((done, total, stage)))
    assert seen == [(i, 4, "reading") for i in range(1, 5)]
    with pytest.raises(CancelledError):
        load_clip(path, cancelled=lambda: True)


def test_file_info(tmp_path):
    path = media.write_sound(tmp_path / "s.mp4", 0.5, "aac", video_frames=12)
    info = probe_clip(path)
    assert (info.kind, info.width, info.height, info.frames, info.fps) == ("video", 64, 48, 12, 24)
    assert info.has_audio
    assert info.complete
    assert info.duration == 0.5
    assert not probe_clip(media.write_rgb(tmp_path / "mute.mp4", media.numbered(2))).has_audio


def test_a_changed_file_is_probed_again(tmp_path):
    path = media.write_rgb(tmp_path / "c.mp4", media.numbered(4))
    assert probe_clip(path).frames == 4
    media.write_rgb(path, media.numbered(7))
    assert probe_clip(path).frames == 7


def test_reader_may_write_into_its_frames(tmp_path):
    path = media.write_rgb(tmp_path / "c.mp4", media.numbered(2), rate=24)
    shown = []
    for frame in iter_frames(path, fps=Fraction(48)):
        shown.append(int(frame[0, 0, 0]))
        frame[:] = 0
    assert shown == [5, 5, 13, 13]


def test_hdr_and_interlaced_sources_are_named(tmp_path):
    planes = media.yuv_planes(media.bars(), "2020", False, 10, 2)
    frame = media.frame_from_planes(planes, 96, 32, "yuv420p10le")
    frame.color_trc = 16

    def setup(stream):
        stream.codec_context.color_trc = 16

    path = media.write_frames(
        tmp_path / "hdr.mkv", [frame], codec="ffv1", pix_fmt="yuv420p10le", options={}, setup=setup
    )
    assert any("HDR" in note for note in probe_clip(path).notes)
    path = media.write_rgb(
        tmp_path / "fields.mp4",
        media.numbered(4),
        codec="libx264",
        pix_fmt="yuv420p",
        options={"flags": "+ildct+ilme", "x264-params": "tff=1"},
    )
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    assert any("interlaced" in note for note in probe_clip(path).notes)

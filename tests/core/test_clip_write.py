"""Writing videos: exact pixels back in two independent readers, right colours, sound in step, no half files."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction

import av
import clip_media as media
import cv2
import numpy as np
import pytest

from ex4d_core.clip import load_clip, probe_clip, read_lossless, write_lossless, write_viewing
from ex4d_core.errors import InputError, OutputError


def noise(count, height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)


def read_with_opencv(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (got := capture.read())[0]:
        frames.append(cv2.cvtColor(got[1], cv2.COLOR_BGR2RGB))
    return np.array(frames)


@pytest.mark.parametrize(("height", "width"), [(64, 96), (51, 67), (1, 1), (2, 130)])
@pytest.mark.parametrize("fps", [Fraction(24), Fraction(30000, 1001)])
def test_lossless_gives_the_exact_pixels_back(tmp_path, height, width, fps):
    frames = noise(7, height, width)
    path = tmp_path / "é" / "lossless.mp4"
    write_lossless(path, frames, fps)
    np.testing.assert_array_equal(read_lossless(path), frames)
    np.testing.assert_array_equal(read_with_opencv(path), frames)
    with av.open(str(path)) as container:
        plain = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
        assert container.streams.video[0].average_rate == fps
    np.testing.assert_array_equal(plain, frames)
    assert probe_clip(path).fps == fps


def test_lossless_is_intra_only(tmp_path):
    write_lossless(tmp_path / "l.mp4", noise(7, 32, 32), Fraction(24))
    with av.open(str(tmp_path / "l.mp4")) as container:
        stream = container.streams.video[0]
        packets = [p for p in container.demux(stream) if p.size]
        assert len(packets) == 7
        assert all(p.is_keyframe for p in packets)
        assert [p.pts for p in packets] == [p.dts for p in packets]
        assert stream.codec_context.pix_fmt == "gbrp"


def test_masks_come_back_as_0_and_255(tmp_path):
    masks = np.random.default_rng(0).random((5, 33, 47)) > 0.5
    write_lossless(tmp_path / "m.mp4", iter(masks), Fraction(24))
    expected = np.repeat(masks[..., None] * np.uint8(255), 3, 3)
    np.testing.assert_array_equal(read_lossless(tmp_path / "m.mp4"), expected)
    np.testing.assert_array_equal(read_with_opencv(tmp_path / "m.mp4"), expected)
    grey = np.random.default_rng(1).integers(0, 256, (2, 8, 8), np.uint8)
    write_lossless(tmp_path / "g.mp4", grey, Fraction(24))
    np.testing.assert_array_equal(read_lossless(tmp_path / "g.mp4")[..., 1], grey)


@pytest.mark.parametrize("write", [write_lossless, write_viewing])
def test_same_frames_make_the_same_bytes(tmp_path, write):
    frames = noise(6, 48, 64)
    for name in ("a.mp4", "b.mp4"):
        write(tmp_path / name, frames, Fraction(24))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def smooth_bars(height=48):
    """Bars wide enough that 4:2:0 leaves their middles alone."""
    return np.repeat(np.repeat(media.BARS[None], height, 0), 16, 1).astype(np.uint8)


def test_viewing_video_is_tagged_709_and_coded_so(tmp_path):
    image = smooth_bars()
    path = tmp_path / "v.mp4"
    write_viewing(path, [image] * 4, Fraction(25))
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert context.pix_fmt == "yuv420p"
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
        frame = list(container.decode(video=0))[3]
    middles = (24, slice(8, None, 16))
    planes = [np.frombuffer(p, np.uint8).reshape(p.height, p.line_size)[:, : p.width] for p in frame.planes]
    # The stored numbers, by the formulas of BT.709; x264 at crf 16 may move them a little.
    luma, cb, cr = media.yuv_planes(image, "709", False, 8, 2)
    assert np.abs(planes[0][middles].astype(int) - luma[middles]).max() <= 2
    for stored, true in ((planes[1], cb), (planes[2], cr)):
        assert np.abs(stored[12, 4::8].astype(int) - true[12, 4::8]).max() <= 2
    back = load_clip(path).frames[3]
    assert np.abs(back[middles].astype(int) - media.BARS).max() <= 4


def test_viewing_video_starts_with_its_index(tmp_path):
    write_viewing(tmp_path / "v.mp4", noise(4, 48, 64), Fraction(25))
    data = (tmp_path / "v.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_odd_sizes_are_padded_by_the_edge(tmp_path):
    at = np.linspace(40, 200, 67)
    image = np.rint(np.broadcast_to(at[None, :, None], (51, 67, 3))).astype(np.uint8)
    write_viewing(tmp_path / "v.mp4", [image] * 3, Fraction(25))
    clip = load_clip(tmp_path / "v.mp4")
    assert clip.frames.shape == (3, 52, 68, 3)
    assert np.abs(clip.frames[1, :51, :67].astype(int) - image).max() <= 4
    assert np.abs(clip.frames[1, 51].astype(int) - clip.frames[1, 50]).max() <= 4
    assert np.abs(clip.frames[1, :, 67].astype(int) - 200).max() <= 4


def test_viewing_is_close_to_its_source(tmp_path):
    soft = [cv2.GaussianBlur(f, (0, 0), 3) for f in noise(8, 96, 128)]
    write_viewing(tmp_path / "v.mp4", soft, Fraction(25))
    error = load_clip(tmp_path / "v.mp4").frames.astype(float) - np.array(soft)
    assert 10 * np.log10(255**2 / (error**2).mean()) > 38


def clicks(path):
    """Start times of the clicks in a file's sound, seconds from the first video frame, by decoding it."""
    with av.open(str(path)) as container:
        video_start = next(iter(container.decode(video=0))).time
    samples, times = [], []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            mono = frame.to_ndarray().astype(np.float64)
            mono = mono.reshape(-1) if frame.format.is_packed else mono[0]
            samples.append(mono / (32768 if frame.format.name.startswith("s16") else 1))
            times.append(frame.time + np.arange(len(mono)) / frame.sample_rate - video_start)
    loud = np.abs(np.concatenate(samples)) > 0.25
    at = np.concatenate(times)[loud]
    return at[np.concatenate([[True], np.diff(at) > 0.05])], np.concatenate(times)[-1]


@pytest.mark.parametrize(
    ("suffix", "codec", "copied"),
    [(".mp4", "aac", True), (".mov", "pcm_s16le", False), (".mkv", "flac", False), (".mp4", "alac", True)],
)
@pytest.mark.parametrize("start", [0.0, 0.55])
def test_sound_goes_along_in_step(tmp_path, suffix, codec, copied, start):
    source = media.write_sound(tmp_path / f"source{suffix}", 2, codec, video_frames=48)
    path = tmp_path / "v.mp4"
    write_viewing(path, noise(24, 48, 64), Fraction(24), audio_from=source, audio_start=start)
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.name == (codec if copied else "aac")
        assert abs(float(stream.duration * stream.time_base) - 1) < 0.003
    info = probe_clip(path)
    assert (info.has_audio, info.frames) == (True, 24)
    heard, end = clicks(path)
    expected = np.arange(0, 2, 0.1) - start
    expected = expected[(expected > 0.02) & (expected < 0.98)]
    for click in expected:
        assert np.abs(heard - click).min() < 0.004, (click, heard)
    assert end < 1 + 4096 / 48000 + 0.005  # a decoder gives the last packet whole; ALAC has the longest


def test_sound_of_a_late_start_is_found_by_seeking(tmp_path):
    source = media.write_sound(tmp_path / "source.mp4", 9, "aac", video_frames=216)
    path = tmp_path / "v.mp4"
    write_viewing(path, noise(12, 32, 32), Fraction(24), audio_from=source, audio_start=7.95)
    heard, _ = clicks(path)
    for click in (0.05, 0.15, 0.25, 0.35, 0.45):
        assert np.abs(heard - click).min() < 0.004


def test_sound_that_ends_early_ends_early(tmp_path):
    source = media.write_sound(tmp_path / "source.mov", 0.5, "pcm_s16le", video_frames=48)
    path = tmp_path / "v.mp4"
    write_viewing(path, noise(48, 32, 32), Fraction(24), audio_from=source)
    assert probe_clip(path).frames == 48
    with av.open(str(path)) as container:
        assert abs(float(container.streams.audio[0].duration * container.streams.audio[0].time_base) - 0.5) < 0.03


def test_sources_without_sound(tmp_path):
    silent = media.write_rgb(tmp_path / "silent.mp4", media.numbered(4))
    (tmp_path / "frames").mkdir()
    for source in (silent, tmp_path / "frames", tmp_path / "f_####.png"):
        write_viewing(tmp_path / "v.mp4", noise(4, 32, 32), Fraction(24), audio_from=source)
        assert not probe_clip(tmp_path / "v.mp4").has_audio
    with pytest.raises(InputError, match=r"none\.mp4"):
        write_viewing(tmp_path / "w.mp4", noise(4, 32, 32), Fraction(24), audio_from=tmp_path / "none.mp4")
    (tmp_path / "text.mp4").write_text("no film " * 100)
    with pytest.raises(InputError, match=r"sound of .*text\.mp4"):
        write_viewing(tmp_path / "w.mp4", noise(4, 32, 32), Fraction(24), audio_from=tmp_path / "text.mp4")
    assert not (tmp_path / "w.mp4").exists()


@pytest.mark.parametrize("write", [write_lossless, write_viewing])
def test_an_error_in_the_middle_leaves_nothing(tmp_path, write):
    def failing():
        yield from noise(3, 32, 32)
        raise RuntimeError("the renderer broke")

    with pytest.raises(RuntimeError, match="the renderer broke"):
        write(tmp_path / "v.mp4", failing(), Fraction(24))
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "v.mp4", noise(3, 32, 32), Fraction(24))
    before = (tmp_path / "v.mp4").read_bytes()
    with pytest.raises(RuntimeError):
        write(tmp_path / "v.mp4", failing(), Fraction(24))
    assert (tmp_path / "v.mp4").read_bytes() == before  # the old one stays


def test_wrong_frames_are_refused(tmp_path):
    path = tmp_path / "v.mp4"
    with pytest.raises(OutputError, match=r"no frames to write to .*v\.mp4"):
        write_lossless(path, [], Fraction(24))
    with pytest.raises(ValueError, match="are 32x32"):
        write_lossless(path, [np.zeros((32, 32, 3), np.uint8), np.zeros((32, 30, 3), np.uint8)], Fraction(24))
    with pytest.raises(ValueError, match="float32"):
        write_lossless(path, [np.zeros((32, 32, 3), np.float32)], Fraction(24))
    assert not path.exists()


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="not a folder"):
        write_lossless(tmp_path / "file" / "v.mp4", noise(2, 32, 32), Fraction(24))


FULL_DISK = """
import resource, signal, sys, errno, pathlib
from fractions import Fraction
import numpy as np
from ex4d_core.clip import write_lossless, write_viewing
from ex4d_core.errors import OutputError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing beyond the limit fails like a full disk
path, limit, kind = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
frames = np.random.default_rng(0).integers(0, 256, (30, 96, 96, 3), np.uint8)
try:
    (write_lossless if kind == "lossless" else write_viewing)(path, iter(frames), Fraction(24))
except OutputError as error:
    print("OutputError:", error)
print(sorted(p.name for p in path.parent.iterdir()))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are of Unix")
@pytest.mark.parametrize("kind", ["lossless", "viewing"])
@pytest.mark.parametrize("limit", [100, 40_000])
def test_file_that_may_not_grow(tmp_path, kind, limit):
    """The limit is met by the header, by a frame, or only when the file is closed."""
    path = tmp_path / "v.mp4"
    run = [sys.executable, "-c", FULL_DISK, str(path), str(limit), kind]
    out = subprocess.run(run, capture_output=True, text=True, check=True)
    first, left = out.stdout.splitlines()
    assert first.startswith(f"OutputError: Cannot write {path}")
    assert left == "[]"
    assert out.stderr == ""


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are of Unix")
@pytest.mark.parametrize("short", [1, 200, 2000])
@pytest.mark.parametrize("kind", ["lossless", "viewing"])
def test_disk_that_fills_up_with_the_last_bytes(tmp_path, short, kind):
    """What is written on closing (the index, the shift for streaming) counts, too."""
    path = tmp_path / "v.mp4"
    run = [sys.executable, "-c", FULL_DISK, str(path), "100000000", kind]
    assert "OutputError" not in subprocess.run(run, capture_output=True, text=True, check=True).stdout
    size = path.stat().st_size
    path.unlink()
    run[4] = str(size - short)
    out = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert out.startswith(f"OutputError: Cannot write {path}")
    assert out.endswith("[]\n")


def test_really_full_disk(tmp_path):
    """On a file system of its own, 100 kB large, where this machine lets us mount one."""
    mounted = sys.platform == "linux" and os.geteuid() == 0
    if (
        not mounted
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(tmp_path)], capture_output=True
        ).returncode
    ):
        pytest.skip("mounting needs a superuser on Linux")
    try:
        for write in (write_lossless, write_viewing):
            with pytest.raises(OutputError, match=r"Cannot write .*v\.mp4: the disk is full: free some space"):
                write(tmp_path / "v.mp4", noise(30, 96, 96), Fraction(24))
            assert list(tmp_path.iterdir()) == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)

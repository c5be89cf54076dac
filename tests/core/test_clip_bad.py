"""Clips that cannot be read: one sentence each, that says what, where and what to do."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import av
import clip_media as media
import numpy as np
import pytest

from ex4d_core.clip import iter_frames, load_clip, probe_clip
from ex4d_core.errors import InputError


def sentence(path: Path, *words: str, call=load_clip, **arguments) -> str:
    """The error's text, after checking that it is one sentence about this path with these words in it."""
    with pytest.raises(InputError) as caught:
        call(path, **arguments)
    text = str(caught.value)
    assert path.name in text
    assert text.endswith(".")
    assert "\n" not in text
    assert "Errno" not in text
    for word in words:
        assert word in text, text
    return text


def noise(count: int = 30) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(count)]


def test_missing_path(tmp_path):
    sentence(tmp_path / "none.mp4", "no file", "check the name")
    sentence(tmp_path / "no folder" / "none.mp4", "no file")
    sentence(tmp_path / "none.png", "no file")
    sentence(tmp_path / "none_####.png", "####")


def test_empty_file(tmp_path):
    for name in ("empty.mp4", "empty.png", "empty.exr"):
        (tmp_path / name).touch()
        sentence(tmp_path / name, "empty (0 bytes)", "export it again")


@pytest.mark.parametrize("name", ["text.mp4", "text.mov", "text.mkv", "text.png", "text.jpg", "text.exr", "text.tif"])
@pytest.mark.parametrize("kind", ["text", "bytes"])
def test_text_and_random_bytes_under_a_media_name(tmp_path, name, kind, capfd):
    path = tmp_path / name
    random = np.random.default_rng(4).bytes(30_000)
    path.write_bytes(b"This is a letter, not a film.\n" * 300 if kind == "text" else random)
    sentence(path)
    assert capfd.readouterr() == ("", "")


def test_dangling_link(tmp_path):
    link = tmp_path / "link.mp4"
    link.symlink_to(tmp_path / "gone.mp4")
    sentence(link, "link", "gone.mp4", "does not exist")
    image = tmp_path / "link.png"
    image.symlink_to(tmp_path / "gone.png")
    sentence(image, "link", "gone.png")


def test_link_to_a_video_is_read(tmp_path):
    media.write_rgb(tmp_path / "real.mp4", media.numbered(2))
    (tmp_path / "link.mp4").symlink_to(tmp_path / "real.mp4")
    assert media.indices(load_clip(tmp_path / "link.mp4").frames) == [0, 1]


def test_folder_without_images(tmp_path):
    sentence(tmp_path, "holds no images")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden.png").write_bytes(b"x")
    sentence(tmp_path, "holds no images", ".png")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_what_may_not_be_read(tmp_path):
    path = media.write_rgb(tmp_path / "locked.mp4", media.numbered(2))
    path.chmod(0)
    sentence(path, "permission")
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0)
    sentence(folder, "permission")
    folder.chmod(0o700)


@pytest.mark.parametrize("name", ["clip.mp4", "frames"])
def test_refused_by_the_operating_system(tmp_path, name, monkeypatch):
    """As the test above for the superuser, whom no permission binds: the system's refusal is made up."""
    path = tmp_path / name
    if path.suffix:
        media.write_rgb(path, media.numbered(2))
    else:
        path.mkdir()

    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "iterdir", refuse)
    sentence(path, "Permission denied", "permissions")


def test_not_a_regular_file(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("needs named pipes")
    os.mkfifo(tmp_path / "pipe.mp4")
    sentence(tmp_path / "pipe.mp4", "not a file")


def test_mp4_without_its_index(tmp_path):
    whole = media.write_rgb(tmp_path / "whole.mp4", noise())
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    sentence(cut, "incomplete", "moov", "copy or export it again")


@pytest.mark.parametrize(
    ("suffix", "options"),
    [(".mp4", {"movflags": "+faststart"}), (".mov", {"movflags": "+faststart"}), (".mkv", {}), (".avi", {})],
)
@pytest.mark.parametrize("kept", [0.35, 0.52, 0.8, 0.9])
def test_clip_cut_in_the_middle_says_how_much_is_left_and_gives_that(tmp_path, suffix, options, kept):
    frames = noise()
    codec, pix_fmt = ("libx264rgb", "rgb24") if suffix != ".avi" else ("ffv1", "bgr0")
    encode = {"qp": "0"} if suffix != ".avi" else {}
    whole = media.write_rgb(
        tmp_path / f"whole{suffix}", frames, codec=codec, pix_fmt=pix_fmt, options=encode, container_options=options
    )
    assert probe_clip(whole).complete
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * kept)])
    info = probe_clip(cut)
    assert not info.complete
    assert 30 * kept - 4 <= info.frames <= 30 * kept
    sentence(cut, f"{info.frames} frames can be read", f"--frames {info.frames}")
    sentence(cut, f"--frames {info.frames}", frames=info.frames + 1)
    np.testing.assert_array_equal(load_clip(cut, frames=info.frames).frames, frames[: info.frames])
    rest = info.frames - 3
    sentence(cut, f"--frames {rest}", start=3)
    np.testing.assert_array_equal(load_clip(cut, start=3, frames=rest).frames, frames[3 : info.frames])


def test_mp4_cut_between_two_frames(tmp_path):
    """No packet is torn: only the index tells that more were there. What came early in decoding order to help
    frames that are lost is no readable frame either."""
    frames = noise(10)
    whole = media.write_rgb(
        tmp_path / "whole.mp4",
        frames,
        codec="libx264",
        pix_fmt="yuv420p",
        options={"qp": "1", "bf": "2", "x264-params": "b-adapt=0:scenecut=0:b-pyramid=0"},
        container_options={"movflags": "+faststart"},
    )
    with av.open(str(whole)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    step = packets[0].duration
    assert [p.pts // step for p in packets[:6]] == [0, 3, 1, 2, 6, 4]
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: packets[5].pos])
    info = probe_clip(cut)
    assert (info.complete, info.frames) == (False, 4)
    sentence(cut, "4 frames can be read", "--frames 4")
    np.testing.assert_array_equal(load_clip(cut, frames=4).frames, load_clip(whole, frames=4).frames)


def test_damage_inside_a_frame_is_not_passed_over(tmp_path):
    frames = noise(12)
    path = media.write_rgb(tmp_path / "c.mov", frames, codec="png", options={})
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        positions = [p.pos for p in container.demux(video=0) if p.size]
    middle = (positions[6] + positions[7]) // 2
    start = positions[6] + 20  # the header of the image in frame 6: the decoder must give it up
    data[start:middle] = bytes(middle - start)
    path.write_bytes(data)
    sentence(path, "6 frames can be read", "--frames 6")
    np.testing.assert_array_equal(load_clip(path, frames=6).frames, frames[:6])


def test_sound_without_pictures(tmp_path):
    sentence(media.write_sound(tmp_path / "song.m4a", 0.3, "aac"), "only sound", "video stream")
    sentence(media.write_sound(tmp_path / "song.wav", 0.3, "pcm_s16le"), "only sound")


@pytest.mark.parametrize(("suffix", "words"), [(".mp4", "no pictures"), (".mkv", "not a video"), (".avi", "no frame")])
def test_zero_frames(tmp_path, suffix, words):
    path = tmp_path / f"none{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    sentence(path, words, call=probe_clip)


def test_start_and_count_beyond_the_end(tmp_path):
    path = media.write_rgb(tmp_path / "c.mp4", media.numbered(5))
    sentence(path, "5 frames", "--start 5", start=5)
    sentence(path, "has 3 frames from frame 2", "4 are asked for", "--frames 3", start=2, frames=4)
    for wrong in ({"start": -1}, {"frames": 0}):
        with pytest.raises(InputError, match="start at 0 or later"):
            load_clip(path, **wrong)
    with pytest.raises(InputError, match="more than 0"):
        load_clip(path, fps=0)


def test_arguments_are_checked_at_the_call(tmp_path):
    with pytest.raises(InputError):
        iter_frames(tmp_path / "none.mp4")  # no iteration
    path = media.write_rgb(tmp_path / "c.mp4", media.numbered(5))
    with pytest.raises(InputError):
        iter_frames(path, start=9)


def test_a_file_that_vanishes_is_named(tmp_path):
    path = media.write_rgb(tmp_path / "c.mp4", media.numbered(5))
    frames = iter_frames(path)
    shutil.move(path, tmp_path / "elsewhere.mp4")
    with pytest.raises(InputError, match=r"c\.mp4"):
        next(frames)

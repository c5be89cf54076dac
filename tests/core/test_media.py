"""Clips that are none: playlists and stream descriptions that would make FFmpeg open something else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import clip_media as media
import numpy as np
import pytest

from ex4d_core.audio import write_sound
from ex4d_core.clip import load_clip, probe_clip
from ex4d_core.depth.readers import open_depth
from ex4d_core.errors import InputError
from ex4d_core.media import FORMATS, open_media


class Listener:
    """A TCP port that counts who calls."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.calls = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                caller, _ = self._socket.accept()
            except OSError:  # closed
                return
            self.calls += 1
            caller.close()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


def playlist(kind: str, target: str, port: int) -> str:
    """The text of a file that points to `target`, or has something called at `port`."""
    if kind == "m3u8":
        return f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n"
    if kind == "ffconcat":
        return f"ffconcat version 1.0\nfile '{target}'\n"
    if kind == "sdp":
        return (
            "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
            f"m=video {port} RTP/AVP/TCP 96\na=rtpmap:96 H264/90000\na=setup:active\n"
        )
    assert kind == "mpd"
    return (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT1S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>'
        '<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1">'
        f"<BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>"
    )


@pytest.mark.parametrize("suffix", ["own", "mp4", "mkv"])
@pytest.mark.parametrize("kind", ["m3u8", "ffconcat", "sdp", "mpd"])
def test_what_points_elsewhere_is_refused(tmp_path: Path, listener: Listener, kind: str, suffix: str) -> None:
    secret = media.write_rgb(tmp_path / "secret.mp4", media.numbered(3))
    path = tmp_path / f"clip.{kind if suffix == 'own' else suffix}"
    for target in ("secret.mp4", str(secret), secret.as_uri(), f"http://127.0.0.1:{listener.port}/a.mp4"):
        path.write_text(playlist(kind, target, listener.port))
        for read in (
            probe_clip,
            load_clip,
            open_depth,
            lambda clip: write_sound(tmp_path / "out.m4a", clip, 0.0, 1.0),
        ):
            with pytest.raises(InputError) as caught:
                read(path)
            assert str(path) in str(caught.value)
            assert str(caught.value).endswith(".")
            assert "\n" not in str(caught.value)
    assert listener.calls == 0


@pytest.mark.parametrize("name", ["clip.m3u8", "clip.ffconcat", "clip.mp4"])
def test_they_are_dangerous_indeed(tmp_path: Path, name: str) -> None:
    """The same files, given to FFmpeg as it is, show the other file's pictures."""
    media.write_rgb(tmp_path / "secret.mp4", media.numbered(3))
    path = tmp_path / name
    path.write_text(playlist("m3u8" if name.endswith("m3u8") else "ffconcat", "secret.mp4", 0))
    with av.open(str(path)) as container:
        assert container.streams.video[0].width > 0
    with pytest.raises(InputError, match="only points to other files"):
        open_media(path)


def test_a_name_that_is_a_pattern_does_not_read_its_neighbours(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"a{number:03d}.ppm").write_bytes(b"P6\n4 4\n255\n" + bytes([number]) * 48)
    path = tmp_path / "a%03d.ppm"
    path.write_bytes((tmp_path / "a001.ppm").read_bytes())
    with av.open(str(path)) as container:
        assert container.format.name == "image2", "FFmpeg as it is reads the series"
    with pytest.raises(InputError):
        probe_clip(path)
    np.testing.assert_array_equal(load_clip(tmp_path / "a001.ppm").frames, np.full((1, 4, 4, 3), 1))


def test_protocols_in_names_are_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listener: Listener) -> None:
    media.write_rgb(tmp_path / "secret.mp4", media.numbered(3))
    monkeypatch.chdir(tmp_path)
    for name in ("concat:secret.mp4", "subfile,,start,0,end,0,,:secret.mp4", f"http://127.0.0.1:{listener.port}/a.mp4"):
        with pytest.raises(InputError):
            probe_clip(Path(name))
        with pytest.raises(InputError):
            open_depth(Path(name))
    assert listener.calls == 0


def test_the_list_names_demuxers_that_exist() -> None:
    for name in FORMATS:
        assert av.ContainerFormat(name, "r").is_input
    referring = {"hls", "dash", "concat", "sdp", "rtsp", "rtp", "sap", "imf", "image2", "mlv", "vobsub", "lavfi", "tty"}
    assert not referring & set(FORMATS)

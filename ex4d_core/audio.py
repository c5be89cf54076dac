"""Passing the sound of a source clip along into a video that is being written."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.container.core import Flags
from av.packet import Packet
from numpy.typing import NDArray

from ex4d_core.errors import InputError
from ex4d_core.files import atomic_file
from ex4d_core.media import open_media
from ex4d_core.progress import Cancelled, never_cancelled, stop_if
from ex4d_core.sequence import is_pattern
from ex4d_core.video_in import probe_video, require_file

log = logging.getLogger(__name__)

# What MP4 holds and common players play; anything else (PCM, Opus, FLAC, Vorbis) becomes AAC.
_COPIED_CODECS = frozenset({"aac", "mp3", "ac3", "eac3", "alac"})
_AAC_RATES = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000})
_AAC_LAYOUTS = frozenset({"mono", "stereo", "5.1", "5.1(side)"})
_AAC_BIT_RATE = 192_000


class AudioPassage:
    """The sound of a span of a clip, handed to a container in step with the pictures."""

    def __init__(self, container: InputContainer, stream: AudioStream, origin: Fraction) -> None:
        """Use `open`; `origin` is the time in the file, seconds, that becomes 0."""
        self._input = container
        self._stream = stream
        self._origin = origin
        self._writer: _Copy | _Transcode | None = None

    @classmethod
    def open(cls, path: Path, start: float, stack: ExitStack) -> AudioPassage | None:
        """Open a clip's first audio stream; None where there is none (images, silent video).

        Args:
            path: a video or sound file, or the folder or pattern of an image sequence.
            start: seconds after the first video frame at which the passage begins.
            stack: closes the file at the end.

        Raises:
            InputError: the file is missing or cannot be read.
        """
        if path.is_dir() or is_pattern(path):
            return None
        require_file(path)
        try:
            container = stack.enter_context(open_media(path))
        except (av.error.FFmpegError, ValueError) as error:
            raise InputError(f"The sound of {path} cannot be read: check the file or leave it out.") from error
        if not container.streams.audio:
            return None
        origin = Fraction(start).limit_denominator(1_000_000)
        if container.streams.video:
            timeline = probe_video(path).timeline
            if len(timeline.ticks):
                origin += int(timeline.ticks[0]) * timeline.time_base
        return cls(container, container.streams.audio[0], origin)

    def attach(self, container: OutputContainer) -> None:
        """Add the stream to a container, before anything is written to it."""
        if self._origin > 5:
            container_time = int((self._origin - 1) * av.time_base)
            self._input.seek(container_time, backward=True)
        kind = _Copy if self._stream.codec_context.name in _COPIED_CODECS else _Transcode
        self._writer = kind(self._input, self._stream, self._origin, container)

    def copy_until(self, container: OutputContainer, end: Fraction) -> None:
        """Write all sound that ends by `end`, seconds from the start of the passage."""
        assert self._writer is not None
        self._writer.until(container, end)

    def finish(self, container: OutputContainer, end: Fraction) -> None:
        """Write what is left and cut it off at `end`."""
        assert self._writer is not None
        self._writer.until(container, end)
        self._writer.finish(container, end)


def write_sound(path: Path, source: Path, start: float, seconds: float, cancelled: Cancelled = never_cancelled) -> bool:
    """Keep the sound of a span of a clip as a file of its own (`.m4a`).

    Args:
        path: the file to write.
        source: the clip.
        start: seconds after the first video frame at which the span begins.
        seconds: its length.
        cancelled: asked before each second of it.

    Returns:
        False, and nothing written, where the clip has no sound.

    Raises:
        InputError: the clip cannot be read.
        OutputError: the file cannot be written.
        CancelledError: `cancelled` said so.
    """
    with ExitStack() as stack:
        sound = AudioPassage.open(source, start, stack)
        if sound is None:
            return False
        with atomic_file(path) as temporary:
            container = stack.enter_context(av.open(str(temporary.absolute()), "w", format="mp4"))
            container.flags |= Flags.bitexact.value
            sound.attach(container)
            for second in range(1, int(seconds) + 1):
                stop_if(cancelled)
                sound.copy_until(container, Fraction(second))
            sound.finish(container, Fraction(seconds).limit_denominator(1_000_000))
            container.close()
    return True


def _packets(container: InputContainer, stream: AudioStream) -> Iterator[Packet[AudioStream]]:
    try:
        for packet in container.demux(stream):
            if packet.size and packet.pts is not None and not packet.is_corrupt:
                yield packet
    except av.error.FFmpegError as error:
        log.warning("the sound of %s breaks off: %s", container.name, error.strerror)


class _Copy:
    """Packets as they are. The first may begin before 0: the container's edit list hides that part."""

    def __init__(
        self, container: InputContainer, stream: AudioStream, origin: Fraction, output: OutputContainer
    ) -> None:
        self._output = output.add_stream_from_template(stream)
        self._packets = self._from_start(container, stream, origin)
        self._pending: Packet[AudioStream] | None = next(self._packets, None)

    @staticmethod
    def _from_start(container: InputContainer, stream: AudioStream, origin: Fraction) -> Iterator[Packet[AudioStream]]:
        """Packets from `origin` on, times relative to it; one earlier goes first, which AAC needs to settle."""
        for packet in _packets(container, stream):
            shift = round(origin / packet.time_base)
            packet.pts = (packet.pts or 0) - shift
            packet.dts = packet.pts
            if packet.pts + 2 * (packet.duration or 0) > 0:
                yield packet

    def until(self, container: OutputContainer, end: Fraction) -> None:
        while self._pending is not None and _packet_end(self._pending) <= end:
            self._write(container, self._pending)
            self._pending = next(self._packets, None)

    def finish(self, container: OutputContainer, end: Fraction) -> None:
        packet = self._pending
        if packet is None or (packet.pts or 0) * packet.time_base >= end:
            return
        packet.duration = max(1, round(end / packet.time_base) - (packet.pts or 0))
        self._write(container, packet)

    def _write(self, container: OutputContainer, packet: Packet[AudioStream]) -> None:
        packet.stream = self._output
        container.mux_one(packet)


def _packet_end(packet: Packet[AudioStream]) -> Fraction:
    return ((packet.pts or 0) + (packet.duration or 0)) * packet.time_base


class _Transcode:
    """To AAC, cut to the sample at both ends."""

    def __init__(
        self, container: InputContainer, stream: AudioStream, origin: Fraction, output: OutputContainer
    ) -> None:
        source = stream.codec_context
        self._rate = source.sample_rate if source.sample_rate in _AAC_RATES else 48000
        self._layout = source.layout.name if source.layout.name in _AAC_LAYOUTS else "stereo"
        self._output = output.add_stream("aac", rate=self._rate, layout=self._layout)
        self._output.bit_rate = _AAC_BIT_RATE
        self._blocks = self._decoded(container, stream, origin)
        self._rest: NDArray[np.float32] | None = next(self._blocks, None)
        self._written = 0

    def _decoded(
        self, container: InputContainer, stream: AudioStream, origin: Fraction
    ) -> Iterator[NDArray[np.float32]]:
        """Blocks of (channels, n) float32 samples; sample 0 of the first stands at `origin`."""
        resampler = AudioResampler(format="fltp", layout=self._layout, rate=self._rate)
        skip: int | None = None  # samples still to drop before the passage begins
        for packet in _packets(container, stream):
            for frame in _decode_or_skip(stream, packet):
                for part in resampler.resample(frame):
                    samples = part.to_ndarray().astype(np.float32, copy=False)
                    if skip is None:
                        at = (part.pts or 0) * (part.time_base or Fraction(1, self._rate))
                        skip = round((origin - at) * self._rate)
                        if skip < 0:  # the sound starts after the picture
                            yield np.zeros((samples.shape[0], -skip), np.float32)
                            skip = 0
                    if skip < samples.shape[1]:
                        yield samples[:, skip:]
                    skip = max(0, skip - samples.shape[1])

    def until(self, container: OutputContainer, end: Fraction) -> None:
        wanted = round(end * self._rate)
        while self._rest is not None and self._written < wanted:
            block, self._rest = np.split(self._rest, [wanted - self._written], axis=1)
            if block.shape[1]:
                self._encode(container, block)
            if not self._rest.shape[1]:
                self._rest = next(self._blocks, None)

    def finish(self, container: OutputContainer, end: Fraction) -> None:
        container.mux(self._output.encode(None))

    def _encode(self, container: OutputContainer, samples: NDArray[np.float32]) -> None:
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=self._layout)
        frame.sample_rate = self._rate
        frame.time_base = Fraction(1, self._rate)
        frame.pts = self._written
        self._written += samples.shape[1]
        container.mux(self._output.encode(frame))


def _decode_or_skip(stream: AudioStream, packet: Packet[AudioStream]) -> list[AudioFrame]:
    try:
        return stream.decode(packet)
    except av.error.InvalidDataError as error:
        log.warning("a piece of the sound cannot be decoded: %s", error.strerror)
        return []

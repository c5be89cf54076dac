"""Reading video files through PyAV: what is in them, and their frames by number."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av.error
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from ex4d_core.errors import InputError
from ex4d_core.media import open_media
from ex4d_core.pixels import bit_depth, has_alpha, orientation
from ex4d_core.timeline import Timeline, nearest_constant_rate

log = logging.getLogger(__name__)

# Frames that may lie between a wanted frame and the key frame before it at little cost; nearer targets are
# reached by decoding from the start, which no container gets wrong.
_SEEK_FROM = 64
_PQ, _HLG = 16, 18
_INTERLACED_ORDERS = (2, 3, 4, 5)


@dataclass(frozen=True)
class VideoFacts:
    """What a video file holds, found by reading its packets and decoding one frame."""

    path: Path
    stored_width: int
    """Pixels as coded."""
    stored_height: int
    matrix: tuple[int, int, int, int]
    """Display matrix (a, b, c, d), see `pixels.orientation`."""
    pixel_aspect: Fraction
    """Width of a stored pixel over its height."""
    bit_depth: int
    has_alpha: bool
    has_audio: bool
    timeline: Timeline
    """`ticks` is empty if the file has no timestamps: frames then count as they are decoded."""
    frames: int
    """Frames that can be read."""
    rate: Fraction
    """Nearest constant rate, frames per second."""
    variable_rate: bool
    notes: tuple[str, ...]
    """Sentences a user should see once."""

    @property
    def size(self) -> tuple[int, int]:
        """(w, h) as displayed: square pixels at full vertical resolution, then turned upright."""
        width = max(1, round(self.stored_width * self.pixel_aspect))
        return (width, self.stored_height) if self.matrix[0] else (self.stored_height, width)


def require_file(path: Path) -> None:
    """Check that there is a file with something in it before any decoder sees it.

    Raises:
        InputError: nothing there, a dangling link, a folder, empty, or not readable.
    """
    try:
        if path.is_symlink() and not path.exists():
            raise InputError(f"{path} is a link to {path.readlink()}, which does not exist: mend the link.")
        if not path.exists():
            raise InputError(f"There is no file or folder {path}: check the name.")
        if not path.is_file():
            raise InputError(f"{path} is not a file: give a video, an image or a folder of images.")
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes): copy or export it again.")
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise InputError(f"Cannot read {path} ({error.strerror}): check the name and its permissions.") from error


def probe_video(path: Path) -> VideoFacts:
    """Read all packets (not pixels) of a video and decode its first frame.

    Raises:
        InputError: no file, no video, or not one frame that can be decoded.
    """
    require_file(path)
    stat = path.stat()
    return _probe(path.absolute(), stat.st_size, stat.st_mtime_ns)


def decode_frames(facts: VideoFacts, wanted: Sequence[int] | NDArray[np.int64]) -> Iterator[tuple[int, VideoFrame]]:
    """Decode frames by their number in the file.

    Args:
        facts: from `probe_video`.
        wanted: non-decreasing frame numbers; a number may repeat.

    Yields:
        (position in `wanted`, frame), one for each entry; memory holds only what the decoder keeps.

    Raises:
        InputError: a wanted frame cannot be decoded. Names how many before it can.
    """
    if len(wanted) == 0:
        return
    position = 0
    for number, frame in _numbered_frames(facts, int(wanted[0])):
        while position < len(wanted) and wanted[position] == number:
            yield position, frame
            position += 1
        if position == len(wanted):
            return
        if wanted[position] < number:
            break
    raise InputError(cut_short(facts.path, position))


def cut_short(path: Path, readable: int) -> str:
    """The sentence about a clip of which only the first `readable` frames from the asked start are there."""
    if readable == 0:
        return f"{path} is damaged: no frame can be read from there on, so copy or export it again."
    return (
        f"{path} is cut short or damaged: {readable} frames can be read, so ask for those with "
        f"--frames {readable}, or copy or export it again."
    )


@lru_cache(maxsize=32)
def _probe(path: Path, size: int, changed_ns: int) -> VideoFacts:
    """`probe_video`, remembered as long as the file's size and date stay the same."""
    with open_video(path) as (container, stream):
        declared = [stream.average_rate, stream.guessed_rate]
        timeline = _read_timeline(container, stream)
        has_audio = any(s.type == "audio" for s in container.streams)
    with open_video(path) as (container, stream):
        first = _first_frame(path, container, stream)
        # Matroska and MP4 carry the pixel's shape in the container, others in the codec's header.
        aspect = stream.sample_aspect_ratio or Fraction(1)
        field_order = stream.codec_context.field_order
    frames = len(timeline.ticks) or _count_by_decoding(path)
    rate, variable = (
        nearest_constant_rate(timeline, declared)
        if len(timeline.ticks)
        else (
            next((r for r in declared if r), Fraction(24)),
            False,
        )
    )
    notes: list[str] = []
    if first.color_trc in (_PQ, _HLG):
        notes.append(f"{path.name} is HDR: its colours are taken as stored and look flat; convert it to SDR first.")
    if first.interlaced_frame or field_order in _INTERLACED_ORDERS:
        notes.append(f"{path.name} is interlaced: moving edges show combs; deinterlace it first.")
    if variable:
        notes.append(f"{path.name} has a variable frame rate: resampled to {float(rate):.6g} frames per second.")
    return VideoFacts(
        path=path,
        stored_width=first.width,
        stored_height=first.height,
        matrix=orientation(first),
        pixel_aspect=aspect if aspect > 0 else Fraction(1),
        bit_depth=bit_depth(first),
        has_alpha=has_alpha(first),
        has_audio=has_audio,
        timeline=timeline,
        frames=frames,
        rate=rate,
        variable_rate=variable,
        notes=tuple(notes),
    )


@contextmanager
def open_video(path: Path) -> Generator[tuple[InputContainer, VideoStream]]:
    """Open a file and find its video stream (cover pictures do not count).

    Raises:
        InputError: not a video, or one without pictures.
    """
    try:
        container = open_media(path)
    except (av.error.FFmpegError, ValueError) as error:
        raise InputError(_explain_open(path)) from error
    with container:
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            kind = "only sound" if container.streams.audio else "no pictures"
            raise InputError(f"{path} holds {kind}: give a file with a video stream.")
        stream = streams[0]
        stream.thread_type = "AUTO"
        yield container, stream


def _explain_open(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp":
        return f"{path} is incomplete, its index (moov) is missing: copy or export it again."
    return f"{path} is not a video that can be read: check that it is one and that it was copied whole."


def _read_timeline(container: InputContainer, stream: VideoStream) -> Timeline:
    """Presentation times of all frames that can be shown, from the packets alone."""
    ticks: list[int] = []
    durations: dict[int, int] = {}
    packets, complete, timestamps = 0, True, True
    first_key: int | None = None
    try:
        for packet in container.demux(stream):
            if packet.size == 0:
                continue
            if packet.is_corrupt:
                complete = False
                break
            packets += 1
            if packet.is_discard:
                continue
            if packet.pts is None:
                timestamps = False
                continue
            if first_key is None:
                if not packet.is_keyframe:
                    continue
                first_key = packet.pts
            ticks.append(packet.pts)
            durations[packet.pts] = packet.duration or 0
    except av.error.FFmpegError:
        complete = False
    complete = complete and _reaches_its_end(container, stream, packets, ticks, durations)
    # What precedes the first key frame in time refers to pictures that are not in the file.
    shown = np.unique(np.array([t for t in ticks if t >= (first_key or t)], np.int64))
    time_base = stream.time_base or Fraction(1, 1000)
    if not timestamps or len(shown) < len(ticks) // 2 or not len(shown):
        return Timeline(np.empty(0, np.int64), time_base, 0, complete)
    if not complete:
        shown = _before_first_gap(shown)
    middle = round(float(np.median(np.diff(shown)))) if len(shown) > 1 else 0
    rate = stream.average_rate or Fraction(24)
    last = durations[int(shown[-1])] or middle or round(1 / (rate * time_base))
    return Timeline(shown, time_base, max(1, last), complete)


def _reaches_its_end(
    container: InputContainer, stream: VideoStream, packets: int, ticks: list[int], durations: dict[int, int]
) -> bool:
    """Whether a file holds all that its index or header promises."""
    names = container.format.name.split(",")
    if "mp4" in names:
        return packets >= len(stream.index_entries)
    if not ticks or not stream.time_base:
        return True
    last = max(ticks)
    step = durations[last] or 1
    if "avi" in names and stream.duration:
        return last + step * 1.5 >= (stream.start_time or 0) + stream.duration
    if "matroska" in names and (tag := stream.metadata.get("DURATION")):
        hours, minutes, seconds = tag.split(":")
        promised = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        return float((last + step * 1.5) * stream.time_base) >= promised
    return True


def _before_first_gap(ticks: NDArray[np.int64]) -> NDArray[np.int64]:
    """In a cut file the last packets, in decoding order, may skip frames: keep what is without holes."""
    if len(ticks) < 3:
        return ticks
    intervals = np.diff(ticks)
    tail = max(0, len(intervals) - 32)
    gaps = np.flatnonzero(intervals[tail:] > 1.5 * np.median(intervals))
    return ticks[: tail + gaps[0] + 1] if len(gaps) else ticks


def _first_frame(path: Path, container: InputContainer, stream: VideoStream) -> VideoFrame:
    try:
        for frame in _decoded(container, stream):
            return frame
    except av.error.DecoderNotFoundError as error:
        raise InputError(
            f"{path} is coded in a way that this FFmpeg cannot decode: convert it to H.264 or ProRes."
        ) from error
    raise InputError(f"{path} holds no frame that can be decoded: copy or export it again.")


def _count_by_decoding(path: Path) -> int:
    with open_video(path) as (container, stream):
        return sum(1 for _ in _decoded(container, stream))


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """All frames in the order of presentation, up to where the file is cut.

    A packet that cannot be decoded is passed over: whoever counts frames notices that one is missing.
    """
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.error.FFmpegError):
            break
        if packet.size == 0 or packet.is_corrupt:
            break
        try:
            yield from stream.decode(packet)
        except av.error.InvalidDataError as error:
            log.debug("a packet cannot be decoded: %s", error)
    try:
        yield from stream.decode(None)
    except (av.error.InvalidDataError, av.error.EOFError) as error:
        log.debug("the last packets cannot be decoded: %s", error)


def _numbered_frames(facts: VideoFacts, first: int) -> Iterator[tuple[int, VideoFrame]]:
    """(frame number, frame) from frame `first` or earlier on."""
    ticks = facts.timeline.ticks
    if not len(ticks):
        with open_video(facts.path) as (container, stream):
            yield from enumerate(_decoded(container, stream))
        return
    number_of = {int(t): i for i, t in enumerate(ticks)}
    if first >= _SEEK_FROM:
        with open_video(facts.path) as (container, stream):
            container.seek(int(ticks[first]), stream=stream, backward=True)
            frames = _numbered(_decoded(container, stream), number_of)
            start = next(frames, None)
            if start is not None and start[0] <= first:
                yield start
                yield from frames
                return
        log.debug("%s: seeking landed behind frame %d, decoding from the start", facts.path, first)
    with open_video(facts.path) as (container, stream):
        yield from _numbered(_decoded(container, stream), number_of)


def _numbered(frames: Iterator[VideoFrame], number_of: dict[int, int]) -> Iterator[tuple[int, VideoFrame]]:
    for frame in frames:
        time = frame.pts if frame.pts is not None else frame.dts
        number = number_of.get(time) if time is not None else None
        if number is not None:
            yield number, frame

"""The one door through which FFmpeg opens what users give: the file itself, and nothing that it points to.

Playlists and stream descriptions (HLS, DASH, ffconcat, SDP, RTSP, IMF, numbered patterns, scripts) make FFmpeg open
other files or network addresses, whatever the file is called. Of all its formats only those that carry their own
pictures and sound are let in, and of its protocols only plain files.
"""

from __future__ import annotations

from pathlib import Path

import av
import av.error
from av.container import InputContainer

from ex4d_core.errors import InputError

FORMATS = (
    # containers
    *("3dostr", "apng", "asf", "avi", "bink", "cine", "dv", "flic", "flv", "gif", "gxf", "ivf", "live_flv", "lxf"),
    *("matroska", "mov", "mpeg", "mpegts", "mxf", "nsv", "nut", "obu", "ogg", "r3d", "rm", "smk", "swf", "wtv"),
    # elementary streams
    *("apv", "av1", "cavsvideo", "dirac", "dnxhd", "evc", "h261", "h263", "h264", "hevc", "m4v", "mjpeg"),
    *("mjpeg_2000", "mpegvideo", "vc1", "vvc", "yuv4mpegpipe"),
    # one image
    *("bmp_pipe", "cri_pipe", "dpx_pipe", "exr_pipe", "gif_pipe", "hdr_pipe", "j2k_pipe", "jpeg_pipe", "jpegxl_anim"),
    *("jpegxl_pipe", "pam_pipe", "pgm_pipe", "png_pipe", "ppm_pipe", "psd_pipe", "sgi_pipe", "tiff_pipe", "webp_pipe"),
    # sound
    *("aac", "ac3", "aiff", "amr", "ape", "au", "caf", "dts", "eac3", "flac", "mlp", "mp3", "truehd", "tta", "voc"),
    *("w64", "wav", "wv"),
)
"""FFmpeg's demuxers that read nothing but their file."""

_OPTIONS = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}


def open_media(path: Path) -> InputContainer:
    """Open a video, image or sound file with FFmpeg; the caller closes it.

    Raises:
        InputError: it is of a kind that is not read, such as a playlist.
        FFmpegError, ValueError: it cannot be opened.
    """
    try:
        # An absolute path can't be mistaken for a protocol ("take:2.mp4").
        return av.open(str(path.absolute()), "r", metadata_errors="replace", options=dict(_OPTIONS))
    except av.error.ArgumentError as error:  # how FFmpeg refuses what is not on the list
        raise InputError(
            f"{path} is no kind of video that is read, or only points to other files as playlists do: "
            "give the video file itself."
        ) from error

"""PyAV, which reads and writes videos by FFmpeg.

Every other file takes `av` from here. `import av` before `import cv2` makes `cv2.imshow` hang on
Linux, because both packages bring a display library of their own; in this order both work.
"""

from fractions import Fraction
from pathlib import Path

import cv2  # noqa: F401, isort: skip
import av  # isort: skip

# FFmpeg's readers of a file that opens no other file. All others are refused: text and pictures
# that it would show as a video, and lists and playlists that name further files or addresses.
FILE_FORMATS = (
    "asf,av1,avi,cine,dhav,dv,flv,gif,h264,hevc,ivf,m4v,matroska,mjpeg,mov,mpeg,mpegts,mpegvideo,"
    "mxf,nut,obu,ogg,rm,vc1,vvc,wtv,yuv4mpegpipe"
)


def open_header(path: Path) -> "av.container.InputContainer":
    """Open a file as `open_file` does, for its header alone.

    FFmpeg decodes frames of H.264 as it opens a file, which takes four fifths of the time. Where
    it can, this opens the file without them.

    Raises:
        OSError: The file cannot be read.
        av.FFmpegError: It is of another format.
    """
    try:
        return open_file(path, stream_options=[{"skip_frame": "all"}])
    except ValueError:  # of formats whose streams FFmpeg finds by decoding, as MPEG and FLV
        return open_file(path)


def open_file(
    path: Path, stream_options: list[dict[str, str]] | None = None
) -> "av.container.InputContainer":
    """Open a file by one of the formats that open no other file; nothing else is read.

    Args:
        path: The file.
        stream_options: FFmpeg's options of the first streams.

    Raises:
        OSError: The file cannot be read.
        av.FFmpegError: It is of another format.
    """
    options = {"format_whitelist": FILE_FORMATS, "protocol_whitelist": "file"}
    # Metadata may be in any encoding. FFmpeg takes "a:b.mp4" for an address without "file:".
    return av.open(
        f"file:{path}", options=options, stream_options=stream_options, metadata_errors="ignore"
    )


def time_stamp(item: "av.Packet | av.VideoFrame") -> int | None:
    """Return when a packet or frame is shown or, where it does not say, when it is decoded."""
    return item.dts if item.pts is None else item.pts


def to_seconds(stamp: int, time_base: Fraction) -> float:
    """Return a time stamp in seconds: what `float(stamp * time_base)` is, ten times as fast.

    Args:
        stamp: In units of the time base.
        time_base: Seconds.
    """
    return stamp * time_base.numerator / time_base.denominator

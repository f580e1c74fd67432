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


def open_file(path: Path) -> "av.container.InputContainer":
    """Open a file by one of the formats that open no other file; nothing else is read.

    Raises:
        OSError: The file cannot be read.
        av.FFmpegError: It is of another format.
    """
    options = {"format_whitelist": FILE_FORMATS, "protocol_whitelist": "file"}
    # Metadata may be in any encoding. FFmpeg takes "a:b.mp4" for an address without "file:".
    return av.open(f"file:{path}", options=options, metadata_errors="ignore")


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

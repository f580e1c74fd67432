"""Videos that are read: files, cameras and streams."""

import os
import re
import shlex
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from dataloaders import mp4
from dataloaders.errors import DataError, PassingError
from dataloaders.stderr_log import STDERR_LOG

VIDEO_SUFFIXES = (
    ".3gp .asf .avi .flv .gif .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .vob .webm .wmv"
)
MAX_FPS = 240  # a higher measured rate of a live source means that frames had waited in a buffer
COVER_FPS = 90_000  # that FFmpeg gives to a picture, which has no rate
TIMEOUT = 10_000  # milliseconds of silence after which a stream is given up


def has_video_suffix(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES.split()


def display_name(source: str | Path) -> str:
    """Return an address without user name and password, a path as it is, for messages of one line."""
    name = str(source)
    if not isinstance(source, Path):
        scheme, rest = re.match(r"(?s)(\w{2,}:/+)?(.*)", name).groups("")
        bare = re.sub(r"^[^/?#]*@", "", rest)
        if bare == rest and re.search(
            r":\D[^@]*@|:\d+/[^@]*@[^@]*[/:]", rest
        ):  # the password has a slash
            bare = rest.rpartition("@")[2]
        name = scheme + re.sub(r"(?i)((?:pass\w*|pwd|token)=)[^&#]*", r"\1...", bare)
    return re.sub(r"[\x00-\x1f\x7f]", lambda match: ascii(match[0])[1:-1], name)


def mending_command(source: str | Path, options: str = "-c:v libx264 -pix_fmt yuv420p") -> str:
    """Return the command that makes a video of another that OpenCV can read."""
    name = display_name(source)
    prefix = "file:" if isinstance(source, Path) and ":" in name else ""
    return f"ffmpeg -i {shlex.quote(prefix + name)} {options} OUT.mp4 makes one that it can read"


class VideoReader:
    """Reads the frames of a video once. No other code opens a `cv2.VideoCapture`.
    `source` is the path of a file, or a string: a camera's number or a stream's address. 0 `threads` mean one a core.
    Attributes:
        num_frames, duration: by the header of the file, which may estimate them, in seconds; 0 where it does not say.
        is_file, is_live: whether `source` is a path, and whether frames come as they happen.
        pixel_aspect: width of a pixel divided by its height.
        timestamps, arrivals: when each frame begins, in seconds from the first, and was read, by `time.monotonic`.
    OSError where the source cannot be opened; DataError where OpenCV cannot read the video, or a frame of it, right."""

    def __init__(self, source: Path | str, threads: int = 0):
        self.name, self.is_file = display_name(source), isinstance(source, Path)
        self.track = mp4.read_video_track(source) if self.is_file and source.is_file() else None
        self.source, self.last_message, self.is_whole = source, "", False
        self.timestamps, self.arrivals = array("d"), array("d")
        self.capture = (
            self._open_file(source, threads) if self.is_file else self._open_source(source)
        )
        self.header_fps = self.capture.get(cv2.CAP_PROP_FPS)
        self.has_frame_rate = 0 < self.header_fps < 1000
        self.num_frames = max(0, int(self.capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self.duration = self.num_frames / self.header_fps if self.header_fps > 0 else 0.0
        if (
            self.track and self.track.duration and self.track.duration < self.duration
        ):  # an edit list leaves frames out
            self.num_frames = round(self.header_fps * self.track.duration)
            self.duration = self.track.duration
        self.is_live = not self.is_file and not self.num_frames
        # The images of a camera have no time stamps, and those of motion JPEG streams are made up.
        mjpg = cv2.VideoWriter_fourcc(*"MJPG")
        self.uses_clock = self.is_live and (
            "://" not in source or self.capture.get(cv2.CAP_PROP_FOURCC) == mjpg
        )
        self.is_turned = self.capture.get(cv2.CAP_PROP_ORIENTATION_META) % 180 == 90
        aspect = [self.capture.get(prop) for prop in (cv2.CAP_PROP_SAR_NUM, cv2.CAP_PROP_SAR_DEN)]
        self.pixel_aspect = (
            aspect[self.is_turned] / aspect[not self.is_turned] if min(aspect) > 0 else 1.0
        )

    def _open_file(self, path: Path, threads: int) -> cv2.VideoCapture:
        if not path.is_file():
            raise FileNotFoundError(f"{self.name}: no such file")
        if re.search("[\ud800-\udfff]", str(path.resolve())):
            raise DataError(
                f"{self.name}: the name is not UTF-8, on which OpenCV crashes; rename the file"
            )
        arguments = str(path.resolve()), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, threads]
        with STDERR_LOG:
            capture = cv2.VideoCapture(*arguments)
            if not capture.isOpened():
                raise DataError(f"{self.name}: not a video that OpenCV can read")
            if capture.get(cv2.CAP_PROP_FPS) == COVER_FPS and capture.grab():
                if not capture.grab():
                    command = mending_command(path, "-map 0:V:0 -c copy")
                    raise DataError(
                        f"{self.name}: OpenCV reads its cover picture in place of the video; {command}"
                    )
                capture = cv2.VideoCapture(*arguments)
        return capture

    def _open_source(self, source: str) -> cv2.VideoCapture:
        with STDERR_LOG:
            if "://" in source:
                timeouts = [
                    cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
                    TIMEOUT,
                    cv2.CAP_PROP_READ_TIMEOUT_MSEC,
                    TIMEOUT,
                ]
                capture = cv2.VideoCapture(source, cv2.CAP_FFMPEG, timeouts)
            else:
                capture = cv2.VideoCapture(
                    min(int(source), 2**31 - 1) if source.isdecimal() else source
                )
        if not capture.isOpened():
            raise OSError(f"{self.name}: no such camera, nor a stream that can be opened")
        return capture

    @property
    def fps(self) -> float:
        """Frames a second: as the header has it; measured where it does not say, and for live sources."""
        recent = self.timestamps[-31:]
        if (self.is_live or not self.has_frame_rate) and len(recent) > 1:
            measured = (len(recent) - 1) / (recent[-1] - recent[0])
            if not self.is_live or measured < MAX_FPS:
                return measured
        return self.header_fps if self.has_frame_rate else 25.0

    def count_frames(self) -> None:
        """Correct `num_frames` and `duration`, which headers may estimate, by the packets of a file that `is_whole`."""
        if not self.is_file or (self.track and self.track.duration is None):
            return
        with open(self.source, "rb") as file:
            if file.read(11)[8:] == b"AVI":
                return
        seconds = []
        with STDERR_LOG:
            capture = cv2.VideoCapture(
                str(self.source.resolve()), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1]
            )
            while capture.grab():
                seconds.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
            self.is_whole = not STDERR_LOG.read()
        if self.is_whole and seconds and not self.track:  # an edit list leaves packets out
            self.num_frames = len(seconds)
            self.duration = (max(seconds) - min(seconds)) * len(seconds) / max(1, len(seconds) - 1)

    def seek(self, seconds: float) -> None:
        """Advance a video just opened so that the next frame is the one nearest to `seconds` after the first."""
        if seconds < 0.5 / self.fps or not self.grab():
            return
        target = self.position() + seconds
        if self.track:  # in other files, AVI above all, OpenCV's times can be wrong behind a jump
            self.capture.set(cv2.CAP_PROP_POS_MSEC, 1000 * max(0, target - 2))
            self.grab()
        while self.position() < target - 1.5 / self.fps and self.grab():
            pass

    def position(self) -> float:
        """Return the time stamp of the frame that was grabbed, in seconds."""
        return self.capture.get(cv2.CAP_PROP_POS_MSEC) / 1000

    def grab(self) -> bool:
        """Advance to the next frame; False at the end."""
        with STDERR_LOG:
            if not (is_grabbed := self.capture.grab()):
                self.last_message = STDERR_LOG.read()
        return is_grabbed

    def retrieve(self) -> np.ndarray | None:
        """Return the frame that was grabbed, BGR (H, W, 3), upright; None where it cannot be decoded."""
        with STDERR_LOG:
            is_decoded, frame = self.capture.retrieve()
            message = STDERR_LOG.read()
        if "[swscaler" in message:  # OpenCV then returns a picture that has not been written
            if "interlaced" in message:
                command = mending_command(self.source, "-vf yadif")
                raise DataError(
                    f"{self.name}: interlaced, which OpenCV {cv2.__version__} cannot read; {command}"
                )
            reason = message.partition("] ")[2].partition("\n")[0]
            raise DataError(
                f"{self.name}: OpenCV cannot convert a frame: {reason}; {mending_command(self.source)}"
            )
        if is_decoded and self.track and self.track.is_mirrored:  # OpenCV has turned it only
            frame = cv2.flip(frame, int(self.is_turned))
        return frame if is_decoded else None

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the frames, BGR (H, W, 3), upright, as far as they can be decoded."""
        first, elapsed = (
            None,
            self.timestamps[-1] + time.monotonic() - self.arrivals[-1] if self.timestamps else 0.0,
        )
        while self.grab() and (frame := self.retrieve()) is not None:
            self.arrivals.append(time.monotonic())
            position = self.arrivals[-1] if self.uses_clock else self.position()
            first = position if first is None else first
            seconds = elapsed + position - first
            if self.timestamps and seconds <= self.timestamps[-1]:  # missing or wrong
                seconds = self.timestamps[-1] + 1 / self.fps
            self.timestamps.append(seconds)
            yield frame
        if not self.timestamps:
            raise self.no_frame_error()
        self.capture.release()

    def reopen(self) -> None:
        """Open a stream again; a frame passes meanwhile, without an image. OSError where it cannot be opened."""
        self.capture = self._open_source(self.source)
        self.timestamps.append(self.timestamps[-1] + 1 / self.fps)
        self.arrivals.append(self.arrivals[-1] + 1 / self.fps)

    def no_frame_error(self) -> DataError:
        """Return the error for a video of which no frame can be decoded; it names the codec."""
        codec = (
            int(self.capture.get(cv2.CAP_PROP_FOURCC))
            .to_bytes(4, "little")
            .decode("ascii", "replace")
            .strip("\0 ")
        )
        if "doesn't support" in self.last_message:
            return PassingError(
                f"{self.name}: this OpenCV lacks the codec {codec}; {mending_command(self.source)}"
            )
        return DataError(
            f"{self.name}: no frame can be decoded" + (f", its codec is {codec}" if codec else "")
        )

    def interval(self, start: int, end: int) -> tuple[float, float]:
        """Return when the frames start..end-1 begin and end, in seconds."""
        times = self.timestamps
        return times[start], times[end] if end < len(times) else times[-1] + 1 / self.fps

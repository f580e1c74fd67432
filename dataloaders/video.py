"""What gives frames: video files, streams and cameras, all by one protocol.

Folders of images, in `dataloaders.images`, follow the same protocol.
"""

import errno
import math
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from dataloaders.decoding import (
    COUNTED_FORMATS,
    Decoder,
    ImageConverter,
    Picture,
    deinterlace,
    display_matrix,
    is_turned_sideways,
)
from dataloaders.errors import DataError, FileError, TransientReadError
from dataloaders.ffmpeg import FILE_FORMATS, av, open_file

VIDEO_SUFFIXES = (
    *(".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"),
    *(".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
)
STREAM_FORMATS = f"{FILE_FORMATS},hls,live_flv,mpjpeg,rtp,rtsp,sdp"
STREAM_PROTOCOLS = (
    "crypto,data,http,https,httpproxy,rtmp,rtmps,rtmpt,rtmpts,rtp,rtsp,rtsps,srt,srtp,tcp,tls,udp"
)
STREAM_TIMEOUT = 10.0  # seconds of silence after which a stream is given up
NOT_A_VIDEO = "not a video, or one without a whole header"
# Formats whose header has one duration, that of the longest stream.
WHOLE_DURATION_FORMATS = ("matroska,webm", "flv", "asf")
TIME_TOLERANCE = 0.001  # seconds: times in tables are rounded to milliseconds
SEEK_MARGIN = 2.0  # seconds before the start of a part, from where its first frame is looked for
# By how much a file must be shorter than its header says to be called incomplete: in seconds, or in
# frames where the header counts those of the picture.
MIN_MISSING_SECONDS = 0.5
MIN_MISSING_FRAMES = 2.5
MIN_WHOLE_SHARE = 0.5  # of the frames of a video, below which it is not used


class Frame:
    """One frame of a source.

    Attributes:
        time: When it is shown, in seconds since the first frame of the source.
    """

    __slots__ = ("_make_image", "time")

    def __init__(self, time: float, make_image: Callable[[], np.ndarray]):
        self.time = time
        self._make_image = make_image

    def to_image(self) -> np.ndarray:
        """Return the frame upright, BGR `uint8` (H, W, 3); only now it is converted."""
        return self._make_image()


class FrameSource(Protocol):
    """What gives frames.

    Attributes:
        name: For messages; an address has no password in it.
        fps: Mean frame rate in frames a second; None where it is not known.
        num_frames: Number of frames by the header, perhaps an estimate; None where it has none.
        duration: Seconds from the first frame to the end of the last; None where it is not known.
        pixel_aspect: Width of a pixel divided by its height, upright.
        is_live: Whether frames come as they happen and wait for nobody.
    """

    name: str
    fps: float | None
    num_frames: int | None
    duration: float | None
    pixel_aspect: float
    is_live: bool

    def frames(self, start: float = 0.0, end: float = math.inf) -> Iterator[Frame]:
        """Open the source anew and yield the frames with `start` <= time < `end`, in seconds."""

    def close(self) -> None:
        """Let go of files and devices."""


@dataclass(frozen=True)
class Damage:
    """What of a video could not be decoded."""

    num_lost: int
    num_frames: int  # that there would be in the whole video or part
    first_time: float  # seconds since the first frame, of the first that is lost

    def __str__(self) -> str:
        lost = f"{self.num_lost} of {self.num_frames} frames are damaged or missing"
        return f"{lost}, the first at {self.first_time:.1f} s"


class VideoFile:
    """A video file, see `FrameSource`.

    Interlaced frames are deinterlaced, HDR frames get the colours of an ordinary screen, and frames
    are turned and mirrored as players show them. What cannot be decoded is left out.

    Attributes:
        damage: What could not be decoded in the frames that were read last; None where nothing was
            lost, or nothing has been read.
        has_timestamps: Whether the file has time stamps; otherwise frames are counted by its rate.
    """

    is_live = False

    def __init__(self, path: Path, threads: int = 0):
        """Open a file and decode its first frame.

        Args:
            path: A file.
            threads: Threads that decode one frame together, 0 for one a core.

        Raises:
            FileError: There is no such file.
            TransientReadError: The file cannot be read here and now.
            DataError: It is no video, or no frame of it can be decoded.
        """
        self.path = path
        self.name = display_name(path)
        self.damage: Damage | None = None
        self._threads = threads
        self._is_strict = True
        # The open file, with its pictures from the first on; None while `frames` uses it.
        self._opened: tuple[Decoder, Iterator[Picture]] | None = None
        first = self._open()
        self._first_seconds = first.seconds
        decoder, _ = self._opened
        stream = decoder.stream
        self._stream_index = stream.index
        self._duration = None
        if stream.duration is not None:
            self._duration = float(stream.duration * stream.time_base)
        self.fps = decoder.fps
        self.num_frames = _estimate_num_frames(stream, self.fps)
        self.pixel_aspect = _pixel_aspect(stream, first.frame)
        self.has_timestamps = decoder.has_timestamps

    @property
    def duration(self) -> float | None:
        """Seconds from the first frame to the end of the last; where the header has no duration of
        the picture alone, the file is read once, without decoding."""
        if self._duration is None:
            self._duration = self._measure_duration()
        return self._duration

    def frames(self, start: float = 0.0, end: float = math.inf) -> Iterator[Frame]:
        """Yield the frames with `start` <= time < `end`; sets `damage` when it comes to the end."""
        self.damage = None
        decoder, pictures = self._start_at(start)
        try:
            yield from self._frames(decoder, pictures, start, end)
        finally:
            decoder.container.close()

    def close(self) -> None:
        """Close the file; `frames` that are being read stay open to their end."""
        if self._opened is not None:
            decoder, _ = self._opened
            self._opened = None
            decoder.container.close()

    def _open(self) -> Picture:
        """Open the file and return its first picture."""
        container = _open_container(self.path, self.name)
        stream = container.streams.best("video")
        if stream is None:
            raise DataError(f"{self.name}: there is no video in it")
        if stream.disposition & av.stream.Disposition.attached_pic:
            raise DataError(f"{self.name}: there is no video in it, only a cover picture")
        if stream.codec_context is None:
            raise DataError(f"{self.name}: there is no decoder for its codec")
        codec = stream.codec_context.name
        is_strict = self._is_strict and codec == "mjpeg"
        decoder = Decoder(container, stream, threads=self._threads, is_strict=is_strict)
        pictures = self._read_pictures(decoder)
        first = next(pictures, None)
        if first is not None:
            self._opened = (decoder, chain([first], pictures))
            return first
        container.close()
        if is_strict:  # an encoder whose pictures never follow the standard
            self._is_strict = False
            return self._open()
        raise DataError(f"{self.name}: no frame can be decoded, its codec is {codec}")

    def _take(self) -> tuple[Decoder, Iterator[Picture]]:
        """Return the open file and its pictures from the first on; the caller closes it."""
        if self._opened is None:
            self._open()
        opened = self._opened
        self._opened = None
        return opened

    def _start_at(self, start: float) -> tuple[Decoder, Iterator[Picture]]:
        """Return the file and its pictures from one at or before `start` on."""
        decoder, pictures = self._take()
        if start <= 2 * SEEK_MARGIN or not self.has_timestamps:
            return decoder, pictures
        first_stamp = self._first_seconds
        try:
            decoder.seek(first_stamp + start - SEEK_MARGIN)
            pictures = self._read_pictures(decoder)
            picture = next(pictures, None)
        except (av.FFmpegError, TransientReadError):
            picture = None
        if picture is not None and picture.seconds <= first_stamp + start:
            return decoder, chain([picture], pictures)
        decoder.container.close()
        return self._take()  # as the jump led behind the start

    def _read_pictures(self, decoder: Decoder) -> Iterator[Picture]:
        try:
            yield from decoder.pictures()
        except OSError as error:
            raise TransientReadError(f"{self.name}: {error.strerror or error}") from None

    def _frames(
        self, decoder: Decoder, pictures: Iterator[Picture], start: float, end: float
    ) -> Iterator[Frame]:
        converter = ImageConverter()
        num_read = 0
        is_complete = False
        for picture in deinterlace(pictures):
            seconds = picture.seconds - self._first_seconds
            if seconds >= end - TIME_TOLERANCE:
                is_complete = True
                break
            if seconds >= start - TIME_TOLERANCE:
                num_read += 1
                yield Frame(seconds, lambda frame=picture.frame: converter.convert(frame))
        lost = [max(seconds - self._first_seconds, 0.0) for seconds in decoder.lost]
        lost = [seconds for seconds in lost if start <= seconds < end - TIME_TOLERANCE]
        num_lost = len(lost)
        missing = 0 if is_complete else _count_missing_at_end(decoder, self._first_seconds + end)
        if missing:
            num_lost += missing
            lost.append(decoder.end - self._first_seconds)
        if num_lost:
            self.damage = Damage(num_lost, num_read + num_lost, min(lost))

    def _measure_duration(self) -> float | None:
        begin = math.inf
        end = -math.inf
        with _open_container(self.path, self.name) as container:
            stream = container.streams[self._stream_index]
            try:
                for packet in container.demux(stream):
                    stamp = packet.dts if packet.pts is None else packet.pts
                    if stamp is not None and packet.size:
                        begin = min(begin, stamp)
                        end = max(end, stamp + (packet.duration or 0))
            except (av.FFmpegError, IndexError):
                pass  # as far as it can be read; on IndexError see `Decoder`
            return float((end - begin) * stream.time_base) if end > begin else None


def _count_missing_at_end(decoder: Decoder, end: float) -> int:
    """Return how many frames are missing where a file breaks off before `end`, on its clock."""
    declared_end = _declared_end(decoder)
    if declared_end is None:
        return 0
    missing = min(end, declared_end) - decoder.end
    tolerance = MIN_MISSING_SECONDS
    if decoder.stream.frames:
        tolerance = MIN_MISSING_FRAMES * decoder.interval
    return round(missing / decoder.interval) if missing > tolerance else 0


def _declared_end(decoder: Decoder) -> float | None:
    """Return when a file ends by its header, on its clock; None where that does not say."""
    container = decoder.container
    stream = decoder.stream
    if stream.frames and container.format.name in COUNTED_FORMATS:
        return stream.frames * decoder.interval  # the duration follows the file's size
    if stream.frames and stream.duration:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    if container.duration and container.format.name in WHOLE_DURATION_FORMATS:
        return container.duration / av.time_base  # since 0, whatever the first time stamp is
    return None


def _open_container(path: Path, name: str):
    """Open a file by the formats of `FILE_FORMATS`, none of which leads to another file."""
    try:
        is_file = path.is_file()
    except OSError as error:
        raise TransientReadError(f"{name}: {error.strerror or error}") from None
    if not is_file:
        raise FileError(f"{name}: no such file")
    try:
        return open_file(path)
    except FileNotFoundError:
        raise FileError(f"{name}: no such file") from None
    except OSError as error:
        if error.errno == errno.EIO and _is_readable(path):  # FFmpeg's name for missing data
            raise DataError(f"{name}: {NOT_A_VIDEO}") from None
        raise TransientReadError(f"{name}: {error.strerror or error}") from None
    except av.FFmpegError:
        raise DataError(f"{name}: {NOT_A_VIDEO}") from None


def _is_readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


def _estimate_num_frames(stream, fps: float | None) -> int | None:
    """Return the number of frames by the header, without those that an edit list leaves out."""
    if not stream.frames:
        return None
    if stream.duration is None or fps is None:
        return stream.frames
    return min(stream.frames, max(1, round(float(stream.duration * stream.time_base) * fps)))


def _pixel_aspect(stream, frame) -> float:
    """Return the width of a pixel divided by its height, upright."""
    aspect = float(stream.sample_aspect_ratio or 1) or 1.0
    return 1 / aspect if is_turned_sideways(display_matrix(frame)) else aspect


class Stream:
    """A stream by its address, see `FrameSource`.

    Each call of `frames` connects anew. Where the stream has no times of its own, as motion JPEG
    of cameras, the clock gives them.
    """

    num_frames = None
    is_live = True

    def __init__(self, address: str):
        """Connect to a stream and wait for its first frame.

        Args:
            address: Its address, such as `rtsp://user:password@host/path`.

        Raises:
            FileError: Nothing answers there, or what answers is no video.
        """
        self.address = address
        self.name = display_name(address)
        # The connection, its first picture and those behind it; None while `frames` uses it.
        self._connected: tuple[Decoder, Iterator[Picture]] | None = None
        first = self._connect()
        decoder, _ = self._connected
        self.fps = decoder.fps
        self.pixel_aspect = _pixel_aspect(decoder.stream, first.frame)
        duration = decoder.container.duration
        self.duration = duration / av.time_base if duration else None
        self.is_live = self.duration is None

    def frames(self, start: float = 0.0, end: float = math.inf) -> Iterator[Frame]:
        """Yield the frames from now on; a stream cannot go to another `start`."""
        if self._connected is None:
            self._connect()
        decoder, pictures = self._connected
        self._connected = None
        try:
            yield from self._frames(decoder, pictures, end)
        finally:
            decoder.container.close()

    def close(self) -> None:
        """Disconnect; `frames` that are being read stay connected to their end."""
        if self._connected is not None:
            decoder, _ = self._connected
            self._connected = None
            decoder.container.close()

    def _frames(self, decoder: Decoder, pictures: Iterator[Picture], end: float) -> Iterator[Frame]:
        converter = ImageConverter()
        uses_clock = decoder.stream.codec_context.name == "mjpeg"
        connected_at = time.monotonic()
        first_stamp = None
        previous = -math.inf
        for picture in deinterlace(pictures):
            if first_stamp is None:
                first_stamp = picture.seconds
            since_first = picture.seconds - first_stamp
            seconds = time.monotonic() - connected_at if uses_clock else since_first
            seconds = max(seconds, previous + 1e-6)
            previous = seconds
            if seconds >= end:
                return
            yield Frame(seconds, lambda frame=picture.frame: converter.convert(frame))

    def _connect(self) -> Picture:
        """Connect and return the first picture."""
        options = {
            "format_whitelist": STREAM_FORMATS,
            "protocol_whitelist": STREAM_PROTOCOLS,
            "rtsp_flags": "prefer_tcp",
        }
        timeout = (STREAM_TIMEOUT, STREAM_TIMEOUT)
        try:
            container = av.open(
                self.address, options=options, timeout=timeout, metadata_errors="ignore"
            )
            decoder = Decoder(container, container.streams.video[0])
            pictures = decoder.pictures()
            first = next(pictures)
        except (av.FFmpegError, OSError, ValueError, IndexError, StopIteration) as error:
            reason = getattr(error, "strerror", None) or "no video comes from there"
            raise FileError(f"{self.name}: cannot be opened as a stream: {reason}") from None
        self._connected = (decoder, chain([first], _until_silence(pictures)))
        return first


def _until_silence(pictures: Iterator[Picture]) -> Iterator[Picture]:
    """Yield the pictures until the stream ends, or is silent for too long."""
    try:
        yield from pictures
    except (av.FFmpegError, OSError):
        return


class Camera:
    """A camera by its number or device, see `FrameSource`; the clock gives the times of frames."""

    num_frames = None
    duration = None
    is_live = True
    pixel_aspect = 1.0

    def __init__(self, device: str):
        """Open a camera.

        Args:
            device: Its number, or a path that OpenCV opens as a camera, such as `/dev/video0`.

        Raises:
            FileError: There is no such camera.
        """
        self.name = device
        self._device = min(int(device), 2**31 - 1) if device.isdecimal() else device
        self._open()
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if fps > 0 else None

    def frames(self, start: float = 0.0, end: float = math.inf) -> Iterator[Frame]:
        """Yield the frames from now on."""
        if not self._capture.isOpened():
            self._open()
        opened_at = time.monotonic()
        while True:
            is_read, image = self._capture.read()
            seconds = time.monotonic() - opened_at
            if not is_read or seconds >= end:
                return
            yield Frame(seconds, lambda image=image: image)

    def close(self) -> None:
        """Let go of the camera; `frames` opens it again."""
        self._capture.release()

    def _open(self) -> None:
        self._capture = cv2.VideoCapture(self._device)
        if not self._capture.isOpened():
            raise FileError(f"{self.name}: no such camera")


def open_live_source(name: str) -> "Stream | Camera | VideoFile":
    """Open a stream by its address, or a camera by its number or device; a file is read to its end.

    Raises:
        FileError: There is none.
        DataError: It is a file and no video.
    """
    if "://" in name:
        return Stream(name)
    return VideoFile(Path(name)) if os.path.isfile(name) else Camera(name)


def has_video_suffix(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES


def display_name(source: str | Path) -> str:
    """Return a path as it is, and an address without user, password and tokens, in one line."""
    name = str(source)
    if not isinstance(source, Path):
        name = _hide_secrets(name)
    return re.sub(r"[\x00-\x1f\x7f]", lambda match: ascii(match[0])[1:-1], name)


def _hide_secrets(address: str) -> str:
    """Drop all between the scheme of an address and its last @, and values of secret parameters."""
    address = re.sub(r"(?i)((?:pass\w*|pwd|token|key|secret|auth\w*)=)[^&#]*", r"\1...", address)
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address.rpartition("@")[2]
    return scheme + separator + rest.rpartition("@")[2]

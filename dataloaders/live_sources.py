"""Sources whose frames come as they happen: streams by their address, and cameras."""

import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import cv2

from dataloaders.decoding import Decoder, Picture, deinterlace
from dataloaders.errors import FileError
from dataloaders.ffmpeg import FILE_FORMATS, av
from dataloaders.frame_source import Frame, display_name
from dataloaders.image_converter import ImageConverter
from dataloaders.video import VideoFile

STREAM_FORMATS = f"{FILE_FORMATS},hls,live_flv,mpjpeg,rtp,rtsp,sdp"
STREAM_PROTOCOLS = (
    "crypto,data,http,https,httpproxy,rtmp,rtmps,rtmpt,rtmpts,rtp,rtsp,rtsps,srt,srtp,tcp,tls,udp"
)
STREAM_TIMEOUT = 10.0  # seconds of silence after which a stream is given up


def open_live_source(name: str) -> "Stream | Camera | VideoFile":
    """Open a stream by its address, a camera by its number or device, or a video file by its path.

    Raises:
        FileError: There is none.
        DataError: It is a file and no video.
    """
    if "://" in name:
        return Stream(name)
    is_device = name.isdecimal() or name.startswith("/dev/")
    if is_device and not os.path.isfile(name):
        return Camera(name)
    return VideoFile(Path(name))


class Stream:
    """A stream by its address, see `FrameSource`.

    Each call of `frames` connects anew. Where the stream has no times of its own, as motion JPEG
    of cameras, the clock gives them.
    """

    num_frames = None

    def __init__(self, address: str):
        """Connect to a stream and wait for its first frame.

        Args:
            address: Its address, such as `rtsp://user:password@host/path`.

        Raises:
            FileError: Nothing answers there, or what answers is no video.
        """
        self.address = address
        self.name = display_name(address)
        decoder = self._connect()
        self._connected: Decoder | None = decoder  # None while `frames` uses it
        self.fps = decoder.fps
        self.pixel_aspect = decoder.pixel_aspect
        duration = decoder.container.duration
        self.duration = duration / av.time_base if duration else None
        self.is_live = self.duration is None

    def frames(self, start: float = 0.0, end: float = math.inf) -> Iterator[Frame]:
        """Yield the frames from now on.

        Args:
            start: Not used: a stream cannot go to another time.
            end: Time from which no frame is yielded, in seconds since the first frame.
        """
        decoder = self._connected or self._connect()
        self._connected = None
        try:
            yield from self._frames(decoder, end)
        finally:
            decoder.container.close()

    def close(self) -> None:
        """Disconnect; `frames` that are being read stay connected to their end."""
        if self._connected is not None:
            self._connected.container.close()
            self._connected = None

    def _frames(self, decoder: Decoder, end: float) -> Iterator[Frame]:
        converter = ImageConverter()
        uses_clock = decoder.stream.codec_context.name == "mjpeg"
        connected_at = time.monotonic()
        first_stamp = None
        previous = -math.inf
        for picture in deinterlace(_until_silence(decoder)):
            if first_stamp is None:
                first_stamp = picture.seconds
            seconds = picture.seconds - first_stamp
            if uses_clock:
                seconds = time.monotonic() - connected_at
            seconds = max(seconds, previous + 1e-6)
            previous = seconds
            if seconds >= end:
                return
            yield Frame(seconds, lambda frame=picture.frame: converter.convert(frame))

    def _connect(self) -> Decoder:
        """Connect and decode the first picture."""
        options = {
            "format_whitelist": STREAM_FORMATS,
            "protocol_whitelist": STREAM_PROTOCOLS,
            "rtsp_flags": "prefer_tcp",
        }
        timeout = (STREAM_TIMEOUT, STREAM_TIMEOUT)
        reason = "no video comes from there"
        try:
            container = av.open(
                self.address, options=options, timeout=timeout, metadata_errors="ignore"
            )
            decoder = Decoder(container, container.streams.video[0])
            if decoder.peek() is not None:
                return decoder
        except (av.FFmpegError, OSError, ValueError, IndexError) as error:
            reason = getattr(error, "strerror", None) or reason
        raise FileError(f"{self.name}: cannot be opened as a stream: {reason}")


def _until_silence(decoder: Decoder) -> Iterator[Picture]:
    """Yield the pictures until the stream ends, or is silent for too long."""
    try:
        yield from decoder.pictures()
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
        """Yield the frames from now on.

        Args:
            start: Not used: a camera cannot go to another time.
            end: Time from which no frame is yielded, in seconds from now.
        """
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

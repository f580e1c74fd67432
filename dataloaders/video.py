"""Video files: their frames with times, and what of them is damaged."""

import errno
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dataloaders.decoding import Decoder, deinterlace
from dataloaders.errors import DataError, FileError, TransientReadError
from dataloaders.ffmpeg import av, open_file, time_stamp
from dataloaders.frame_source import Frame, display_name
from dataloaders.image_converter import ImageConverter

VIDEO_SUFFIXES = (
    *(".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"),
    *(".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
)
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


@dataclass(frozen=True)
class Damage:
    """What of a video could not be decoded.

    Attributes:
        num_lost: Number of frames that are lost.
        num_frames: Number of frames that the whole video or part would have.
        first_time: Time of the first frame that is lost, in seconds since that of the first frame.
    """

    num_lost: int
    num_frames: int
    first_time: float

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
        decoder = self._open()
        # The file, open at its first picture; None while `frames` uses it.
        self._opened: Decoder | None = decoder
        self._first_seconds = decoder.peek().seconds
        stream = decoder.stream
        self._duration = None
        if stream.duration is not None:
            self._duration = float(stream.duration * stream.time_base)
        self.fps = decoder.fps
        self.num_frames = _estimate_num_frames(stream.frames, self._duration, self.fps)
        self.pixel_aspect = decoder.pixel_aspect
        self.has_timestamps = decoder.has_timestamps

    @property
    def duration(self) -> float | None:
        """Seconds from the first frame to the end of the last.

        Where the header has no duration of the picture alone, the file is read once, without
        decoding.
        """
        if self._duration is None:
            self._duration = self._measure_duration()
        return self._duration

    def frames(self, start: float = 0.0, end: float = math.inf) -> Iterator[Frame]:
        """Yield the frames of a part; sets `damage` when it comes to the end.

        Args:
            start: Time of the first frame to yield, in seconds.
            end: Time from which no frame is yielded, in seconds.

        Raises:
            TransientReadError: The file cannot be read on.
        """
        self.damage = None
        decoder = self._start_at(start)
        try:
            yield from self._frames(decoder, start, end)
        except OSError as error:
            raise _read_error(self.name, error) from None
        finally:
            decoder.container.close()

    def close(self) -> None:
        """Close the file; `frames` that are being read stay open to their end."""
        if self._opened is not None:
            self._opened.container.close()
            self._opened = None

    def _open(self) -> Decoder:
        """Open the file and decode its first picture."""
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
        try:
            first = decoder.peek()
        except OSError as error:
            raise _read_error(self.name, error) from None
        if first is not None:
            return decoder
        container.close()
        if is_strict:  # an encoder whose pictures never follow the standard
            self._is_strict = False
            return self._open()
        raise DataError(f"{self.name}: no frame can be decoded, its codec is {codec}")

    def _take(self) -> Decoder:
        """Return the file, open at its first picture; the caller closes it."""
        decoder = self._opened or self._open()
        self._opened = None
        return decoder

    def _start_at(self, start: float) -> Decoder:
        """Return the file, open at a picture at or before `start`."""
        decoder = self._take()
        if start <= 2 * SEEK_MARGIN or not self.has_timestamps:
            return decoder
        first_stamp = self._first_seconds
        try:
            decoder.seek(first_stamp + start - SEEK_MARGIN)
            picture = decoder.peek()
        except av.FFmpegError:
            picture = None
        if picture is not None and picture.seconds <= first_stamp + start:
            return decoder
        decoder.container.close()
        return self._take()  # as the jump led behind the start

    def _frames(self, decoder: Decoder, start: float, end: float) -> Iterator[Frame]:
        converter = ImageConverter()
        num_read = 0
        is_complete = False
        for picture in deinterlace(decoder.pictures()):
            seconds = picture.seconds - self._first_seconds
            if seconds >= end - TIME_TOLERANCE:
                is_complete = True
                break
            if seconds >= start - TIME_TOLERANCE:
                num_read += 1
                yield Frame(seconds, lambda frame=picture.frame: converter.convert(frame))
        lost = self._lost_times(decoder, start, end)
        if not is_complete:
            num_missing = _count_missing_at_end(decoder, self._first_seconds + end)
            lost += [decoder.end - self._first_seconds] * num_missing
        if lost:
            self.damage = Damage(len(lost), num_read + len(lost), min(lost))

    def _lost_times(self, decoder: Decoder, start: float, end: float) -> list[float]:
        """Return the times of the frames of a part that could not be decoded."""
        times = []
        for stamp in decoder.lost:
            seconds = max(stamp - self._first_seconds, 0.0)
            if start <= seconds < end - TIME_TOLERANCE:
                times.append(seconds)
        return times

    def _measure_duration(self) -> float | None:
        begin = math.inf
        end = -math.inf
        with _open_container(self.path, self.name) as container:
            stream = container.streams.best("video")
            try:
                for packet in container.demux(stream):
                    stamp = time_stamp(packet)
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
    if stream.frames and decoder.counts_packets:
        return stream.frames * decoder.interval  # the duration follows the file's size
    if stream.frames and stream.duration:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    if container.duration and container.format.name in WHOLE_DURATION_FORMATS:
        return container.duration / av.time_base  # since 0, whatever the first time stamp is
    return None


def _open_container(path: Path, name: str) -> "av.container.InputContainer":
    """Open a file by the formats of `FILE_FORMATS`, none of which leads to another file."""
    try:
        if path.is_file():
            return open_file(path)
    except FileNotFoundError:
        pass  # gone since
    except OSError as error:
        if error.errno == errno.EIO and _is_readable(path):  # FFmpeg's name for missing data
            raise DataError(f"{name}: {NOT_A_VIDEO}") from None
        raise _read_error(name, error) from None
    except av.FFmpegError:
        raise DataError(f"{name}: {NOT_A_VIDEO}") from None
    raise FileError(f"{name}: no such file")


def _read_error(name: str, error: OSError) -> TransientReadError:
    return TransientReadError(f"{name}: {error.strerror or error}")


def _is_readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


def _estimate_num_frames(
    num_declared: int, duration: float | None, fps: float | None
) -> int | None:
    """Return the number of frames by the header, without those that an edit list leaves out."""
    if not num_declared or duration is None or fps is None:
        return num_declared or None
    return min(num_declared, max(1, round(duration * fps)))


def has_video_suffix(name: str) -> bool:
    """Whether a file of such a name is a video."""
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES

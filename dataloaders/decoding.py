"""The packets of an open container -> pictures with their times."""

import errno
import math
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from dataloaders.ffmpeg import av, time_stamp, to_seconds
from dataloaders.image_converter import DisplayMatrix

DEFAULT_FPS = 25.0  # of a video that has neither time stamps nor a rate
# In AVI a packet has a number and no time of its own, so the time at which a picture is shown is
# that of the packet behind which the decoder gives it out.
COUNTED_FORMATS = ("avi",)
# In these each packet gives one picture, and their decoders may leave out pictures without a word.
PICTURE_A_PACKET_CODECS = ("h264", "hevc", "libdav1d", "mpeg2video")
# After a wrong time stamp the right ones may be behind the time that was reached. Then pictures
# follow each other by MIN_STEP, so that no later time is wrong. A larger lag is a new clock.
MIN_STEP = 0.001
MAX_DISORDER = 1.0


class Picture(NamedTuple):
    """A decoded picture and its time.

    Attributes:
        seconds: When it is shown, on the clock of the container.
        frame: The picture.
    """

    seconds: float
    frame: av.VideoFrame


class Decoder:
    """Decodes a video stream of an open container; what cannot be decoded is left out and counted.

    Attributes:
        counts_packets: Whether the container is of `COUNTED_FORMATS`.
        end: When the last packet that was read ends, of any stream, in seconds on that clock.
        has_timestamps: Whether the container has times; otherwise pictures are counted by the rate.
    """

    def __init__(self, container, stream, *, threads: int = 0, is_strict: bool = False):
        """Prepare to decode.

        Args:
            container: An open `av` container.
            stream: Its video stream to decode.
            threads: Threads that share a picture, 0 for one a core. There is no parallel decoding
                of several pictures: it delays live sources and has hung in worker processes.
            is_strict: Whether the decoder reports damage that it could conceal. Most decoders mark
                a concealed picture as corrupt anyhow; that of motion JPEG does not.
        """
        self.container = container
        self.stream = stream
        self.counts_packets = container.format.name in COUNTED_FORMATS
        codec = stream.codec_context
        codec.thread_type = "SLICE"
        codec.thread_count = threads
        if is_strict:
            codec.options = {"err_detect": "explode"}
        self.end = -math.inf
        self.has_timestamps = True
        self._time_base = stream.time_base
        self._time_bases = {}  # of the packets of each stream; PyAV makes a new one at each access
        self._previous: float | None = None  # time of the last picture
        self._last_stamp = -math.inf  # its time stamp, in seconds
        self._lost: list[float] = []
        self._is_at_end = False
        self._awaited: set[int] = set()  # time stamps of packets whose pictures have not come
        self._has_fields = False  # of which each may be a packet of its own
        self._corrupt_stamps: set[int] = set()
        self._pictures = self._decode_all()
        self._next: Picture | None = None  # decoded and not yet yielded

    @property
    def fps(self) -> float | None:
        """Mean frame rate by the container, or by the codec where the container has no times."""
        rates = [self.stream.average_rate, self.stream.guessed_rate]
        if not self.has_timestamps:
            rates.reverse()
        rate = rates[0] or rates[1]
        return float(rate) if rate else None

    @property
    def pixel_aspect(self) -> float:
        """Width of a pixel of the next picture divided by its height, upright."""
        aspect = float(self.stream.sample_aspect_ratio or 1) or 1.0
        return 1 / aspect if DisplayMatrix.of(self.peek().frame).swaps_axes else aspect

    @property
    def lost(self) -> list[float]:
        """The time of each picture that could not be decoded or is corrupt, in seconds.

        They are on the clock of the container, and complete up to the last picture that was
        yielded. Where times are counted, packets that gave no picture are known at the end alone:
        until then the decoder may hold their pictures, whose times differ from those of the
        packets.
        """
        if self._has_fields or (self.counts_packets and not self._is_at_end):
            return self._lost
        codec = self.stream.codec_context.name
        if not self._lost and codec not in PICTURE_A_PACKET_CODECS:
            return []
        return self._lost + [to_seconds(stamp, self._time_base) for stamp in self._awaited]

    @property
    def interval(self) -> float:
        """Seconds from one picture to the next, by the rate."""
        return 1 / (self.fps or DEFAULT_FPS)

    def pictures(self) -> Iterator[Picture]:
        """Yield the pictures from here to the end, in the order and at the times of showing.

        Raises:
            OSError: The container cannot be read on, other than for damage.
        """
        while self.peek() is not None:
            picture = self._next
            self._next = None
            yield picture

    def peek(self) -> Picture | None:
        """Return the picture that `pictures` yields next; None at the end.

        Raises:
            OSError: The container cannot be read on, other than for damage.
        """
        if self._next is None:
            self._next = next(self._pictures, None)
        return self._next

    def seek(self, seconds: float) -> None:
        """Go on with the last key picture before a time on the clock of the container."""
        stamp = int(seconds / self.stream.time_base)
        self.container.seek(stamp, stream=self.stream, backward=True)
        self._previous = None
        self._pictures = self._decode_all()
        self._next = None

    def _decode_all(self) -> Iterator[Picture]:
        for packet in self._packets():
            yield from self._decode(packet)
        yield from self._decode(None)
        self._is_at_end = True

    def _packets(self) -> Iterator["av.Packet"]:
        """Yield the packets of the stream."""
        for packet in self._all_packets():
            stamp = time_stamp(packet)
            if stamp is None and not packet.size:
                continue  # the end of a stream
            index = packet.stream.index
            if index not in self._time_bases:
                self._time_bases[index] = packet.time_base
            time_base = self._time_bases[index]
            if stamp is not None and time_base:
                self.end = max(self.end, to_seconds(stamp + (packet.duration or 0), time_base))
            if index == self.stream.index and packet.size:
                yield packet

    def _all_packets(self) -> Iterator["av.Packet"]:
        """Yield the packets of all streams, as far as the container is whole."""
        try:
            yield from self.container.demux()
        except IndexError:
            return  # PyAV raises it at the end of a whole FLV file whose text stream begins late
        except av.FFmpegError as error:
            # EIO is also FFmpeg's name for data that are missing at the end of a file.
            if isinstance(error, OSError) and error.errno != errno.EIO:
                raise

    def _decode(self, packet) -> Iterator[Picture]:
        """Yield the pictures that the decoder gives out for a packet, or at the end for None."""
        if packet is not None and packet.pts is not None:
            self._await(packet)
        try:
            frames = self.stream.codec_context.decode(packet)
        except av.FFmpegError:
            self._lose(packet)
            return
        for frame in frames:
            self._has_fields = self._has_fields or frame.interlaced_frame
            self._await_no_longer(frame)
            seconds = self._time(frame)
            if frame.is_corrupt or frame.pts in self._corrupt_stamps:
                self._lost.append(seconds)
            else:
                yield Picture(seconds, frame)

    def _await(self, packet) -> None:
        """Note that a picture shall come of a packet, and whether the packet is corrupt."""
        if not packet.is_discard and not self._has_fields:
            self._awaited.add(packet.pts)
        if packet.is_corrupt:
            self._corrupt_stamps.add(packet.pts)

    def _await_no_longer(self, frame) -> None:
        """Note that a picture has come."""
        self._awaited.discard(frame.pts)
        if self._previous is None and frame.pts is not None:
            # What is shown before the first picture depends on what is before it in the file.
            self._awaited = {stamp for stamp in self._awaited if stamp > frame.pts}

    def _lose(self, packet) -> None:
        """Count a packet that cannot be decoded."""
        if packet is None:
            return
        self._awaited.discard(packet.pts)
        self._corrupt_stamps.discard(packet.pts)
        stamp = time_stamp(packet)
        if stamp is not None:
            self._lost.append(to_seconds(stamp, self._time_base))
        elif self._previous is not None:
            self._lost.append(self._previous + self.interval)
        else:
            self._lost.append(-math.inf)

    def _time(self, frame) -> float:
        """Return when a picture is shown; times always increase."""
        stamp = frame.dts if self.counts_packets else frame.pts
        previous = self._previous
        if stamp is None and previous is None:
            self.has_timestamps = self.counts_packets
            seconds = 0.0
        elif stamp is None:
            seconds = previous + self.interval
        else:
            stamp_seconds = to_seconds(stamp, self._time_base)
            seconds = stamp_seconds
            if previous is not None and seconds <= previous:
                seconds = previous + self._step_over(seconds)
            self._last_stamp = stamp_seconds
        self._previous = seconds
        return seconds

    def _step_over(self, stamp: float) -> float:
        """Return the seconds to a picture whose time stamp is not behind the last time."""
        has_recovered = self._last_stamp < stamp and self._previous - stamp < MAX_DISORDER
        return MIN_STEP if has_recovered else self.interval


def deinterlace(pictures: Iterator[Picture]) -> Iterator[Picture]:
    """Yield the pictures, the interlaced ones as whole pictures, as many as there are."""
    deinterlacer = None
    for picture in pictures:
        if deinterlacer is None and not picture.frame.interlaced_frame:
            yield picture
            continue
        if deinterlacer is not None and not deinterlacer.fits(picture.frame):
            yield from deinterlacer.finish()
            deinterlacer = None
        if deinterlacer is None:
            deinterlacer = _Deinterlacer(picture.frame)
        yield from deinterlacer.push(picture)
    if deinterlacer is not None:
        yield from deinterlacer.finish()


class _Deinterlacer:
    """FFmpeg's filter bwdif for pictures that say that they are interlaced; others pass."""

    def __init__(self, frame):
        self._size_and_format = _size_and_format(frame)
        self._times: deque[float] = deque()  # of the pictures that the filter holds
        self._graph = av.filter.Graph()
        source = self._graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000)
        )
        bwdif = self._graph.add("bwdif", "mode=send_frame:deint=interlaced")
        self._graph.link_nodes(source, bwdif, self._graph.add("buffersink")).configure()

    def fits(self, frame) -> bool:
        """Whether the filter takes a frame of this size and format."""
        return _size_and_format(frame) == self._size_and_format

    def push(self, picture: Picture) -> Iterator[Picture]:
        """Hand over a picture and yield those that are done."""
        self._times.append(picture.seconds)
        self._graph.push(picture.frame)
        yield from self._pull()

    def finish(self) -> Iterator[Picture]:
        """Yield the pictures that the filter still holds."""
        self._graph.push(None)
        yield from self._pull()

    def _pull(self) -> Iterator[Picture]:
        while True:
            try:
                frame = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            yield Picture(self._times.popleft(), frame)


def _size_and_format(frame) -> str:
    return f"{frame.width}x{frame.height} {frame.format.name}"

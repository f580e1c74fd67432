"""The sound of a video file -> the sound of another one."""

import contextlib
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from dataloaders.ffmpeg import av, open_file, time_stamp

COPIED_CODECS = ("aac", "mp3", "opus")  # of sound; browsers are silent for AC-3 and ALAC in MP4
MIN_MP3_RATE = 16_000  # MP4 has no MP3 of lower sample rates
AAC_RATE = 48_000  # samples a second, whatever the source has
AAC_LAYOUTS = {1: "mono", 6: "5.1"}  # by the number of channels; all others become stereo
MAX_GAP = 0.03  # seconds of silence in encoded sound that nobody misses


def open_sound(path: Path, output: av.container.OutputContainer) -> "Sound | None":
    """Add the sound of a video file to a video.

    Args:
        path: The file whose sound is read.
        output: The video that the sound is written to.

    Returns:
        The sound; None where the file has none that can be read.
    """
    with contextlib.suppress(av.FFmpegError), contextlib.ExitStack() as stack:
        container = stack.enter_context(open_file(path))
        stream = container.streams.best("audio")
        if stream is None or stream.codec_context is None:
            return None
        start = _read_start_time(path)
        if start is None:
            return None
        if _can_copy(path):
            target = output.add_stream_from_template(stream)
            packets = _copy(stream, start)
        else:
            layout = AAC_LAYOUTS.get(stream.layout.nb_channels, "stereo")
            target = output.add_stream("aac", rate=AAC_RATE, layout=layout)
            packets = _encode(_decode(stream, start), target)
        sound = Sound(container, packets, target)
        stack.pop_all()  # the container stays open
        return sound
    return None


class Sound:
    """The sound of a video file on its way into another one, read as it is needed."""

    def __init__(
        self,
        source: av.container.InputContainer,
        packets: Iterator[av.Packet],
        target: av.AudioStream,
    ):
        """Read the first packet.

        Args:
            source: The file that the sound is read from.
            packets: What is written, with time stamps since the first frame.
            target: The stream that is written.
        """
        self._source = source
        self._packets = packets
        self._target = target
        self._next = self._read_next()

    def write_until(self, end: float) -> None:
        """Write the packets that begin before `end`, in seconds since the first frame."""
        while self._next is not None and self._next.pts * self._next.time_base < end:
            self._next.stream = self._target
            try:
                self._target.container.mux(self._next)
            except OSError:
                raise
            except av.FFmpegError:
                pass  # damaged sound never costs the picture
            self._next = self._read_next()

    def _read_next(self) -> av.Packet | None:
        with contextlib.suppress(av.FFmpegError):  # of sound too damaged for the filter or encoder
            return next(self._packets, None)
        return None

    def close(self) -> None:
        """Close the file that the sound is read from."""
        self._source.close()


def _read_start_time(path: Path) -> float | None:
    """Return the time stamp of the first frame of a video file, in seconds; None without one."""
    with open_file(path) as container:
        stream = container.streams.best("video")
        if stream is None:
            return None
        for packet in _demux(stream):
            with contextlib.suppress(av.FFmpegError):
                for frame in packet.decode():
                    stamp = time_stamp(frame)
                    return None if stamp is None else float(stamp * frame.time_base)
    return None


def _can_copy(path: Path) -> bool:
    """Whether browsers and players play the packets of the sound of a file as they are."""
    with open_file(path) as container:
        stream = container.streams.best("audio")
        codec = stream.codec_context.codec.canonical_name
        if codec not in COPIED_CODECS or not stream.sample_rate:
            return False
        if codec == "mp3" and stream.sample_rate < MIN_MP3_RATE:
            return False
        return _is_whole(stream)


def _is_whole(stream: av.AudioStream) -> bool:
    """Whether all packets of a sound are there and can be decoded.

    Browsers play what follows a gap too early, and stop at a packet that they cannot decode.
    """
    usual_duration = None
    previous_begin = None
    for packet in _demux(stream):
        try:
            packet.decode()
        except av.FFmpegError:
            return False
        if packet.size == 0:  # the end
            return True
        if packet.pts is None or not packet.duration:
            return False
        begin = packet.pts * packet.time_base
        if usual_duration is None:
            usual_duration = packet.duration * packet.time_base
        elif abs(begin - previous_begin - usual_duration) > usual_duration / 2:
            return False
        previous_begin = begin
    return False


def _demux(stream: av.AudioStream | av.VideoStream) -> Iterator[av.Packet]:
    """Yield the packets of a stream, as far as its file is whole, and the empty one at the end."""
    # PyAV raises IndexError at the end of a file in which a stream begins late.
    with contextlib.suppress(av.FFmpegError, IndexError):
        yield from stream.container.demux(stream)


def _copy(stream: av.AudioStream, start: float) -> Iterator[av.Packet]:
    """Yield the packets as they are, with time stamps since `start`."""
    rate = stream.sample_rate
    for packet in _demux(stream):
        if packet.size == 0:  # the end
            return
        begin = float(packet.pts * packet.time_base) - start
        duration = float(packet.duration * packet.time_base)
        # The decoder needs the packet before the first one that is heard.
        if begin + 2 * duration <= 0:
            continue
        packet.time_base = Fraction(1, rate)
        packet.pts = packet.dts = round(begin * rate)
        packet.duration = round(duration * rate)
        yield packet


def _decode(stream: av.AudioStream, start: float) -> Iterator[av.AudioFrame]:
    """Yield the frames that can be decoded, with time stamps since `start`."""
    end = 0.0
    for packet in _demux(stream):
        with contextlib.suppress(av.FFmpegError):
            for frame in packet.decode():
                begin = end if frame.pts is None else frame.time - start
                end = begin + frame.samples / frame.sample_rate
                frame.time_base = Fraction(1, frame.sample_rate)
                frame.pts = round(begin * frame.sample_rate)
                yield frame


def _encode(frames: Iterator[av.AudioFrame], target: av.AudioStream) -> Iterator[av.Packet]:
    for frame in _resample(frames, target):
        yield from target.encode(frame)
    yield from target.encode(None)


def _resample(frames: Iterator[av.AudioFrame], target: av.AudioStream) -> Iterator[av.AudioFrame]:
    """Yield the sound from 0 seconds on without gaps, in the form that the encoder takes."""
    graph = None
    form = None
    end = 0  # of what was yielded, in samples
    for frame in frames:
        gap = frame.time - end / AAC_RATE
        if gap + frame.samples / frame.sample_rate < -MAX_GAP:
            continue  # it is before the picture, or overlaps what was yielded
        previous_form = form
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form != previous_form or gap > MAX_GAP:
            silence = max(0, round(gap * AAC_RATE))
            yield from _make_silence(end, silence, target)
            end += silence
            graph = _make_graph(frame, end, target)
        graph.push(frame)
        for resampled in _pull_all(graph):
            end = resampled.pts + resampled.samples
            yield resampled
    if graph is not None:
        graph.push(None)
        yield from _pull_all(graph)


def _make_silence(begin: int, num_samples: int, target: av.AudioStream) -> Iterator[av.AudioFrame]:
    """Yield silence in short frames, as a damaged time stamp can ask for hours of it."""
    for pts in range(begin, begin + num_samples, AAC_RATE):
        length = min(AAC_RATE, begin + num_samples - pts)
        samples = np.zeros((target.layout.nb_channels, length), np.float32)
        frame = av.AudioFrame.from_ndarray(samples, "fltp", target.layout)
        frame.sample_rate = AAC_RATE
        frame.time_base = Fraction(1, AAC_RATE)
        frame.pts = pts
        yield frame


def _make_graph(frame: av.AudioFrame, begin: int, target: av.AudioStream) -> av.filter.Graph:
    """Make the converter of sound like `frame`, which yields nothing before `begin`."""
    first_pts = math.ceil(begin * frame.sample_rate / AAC_RATE)
    graph = av.filter.Graph()
    source = graph.add_abuffer(
        sample_rate=frame.sample_rate,
        format=frame.format,
        layout=frame.layout,
        time_base=frame.time_base,
    )
    resample = graph.add(  # it also cuts what overlaps
        "aresample", f"{AAC_RATE}:async=1:min_hard_comp={MAX_GAP}:first_pts={first_pts}"
    )
    form = graph.add("aformat", sample_fmts=target.format.name, channel_layouts=target.layout.name)
    graph.link_nodes(source, resample, form, graph.add("abuffersink")).configure()
    return graph


def _pull_all(graph: av.filter.Graph) -> Iterator[av.AudioFrame]:
    """Yield the frames that a filter graph has ready."""
    with contextlib.suppress(BlockingIOError, EOFError):
        while True:
            yield graph.pull()

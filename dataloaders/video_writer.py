"""Videos that are written: H.264 in MP4, with the sound of another file."""

import contextlib
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from dataloaders.errors import FileError
from dataloaders.ffmpeg import av, open_file
from dataloaders.workers import available_cores

PictureType = av.video.frame.PictureType
Colorspace = av.video.reformatter.Colorspace

# The unit of time stamps. A frame of 24, 25, 30, 50, 60 or 1000 frames/s lasts a whole number of
# units, and so does one of 24000/1001, 30000/1001 or 60000/1001 frames/s.
TIME_BASE = Fraction(1, 120_000)
DEFAULT_FPS = 25  # where the rate is unknown
# The files become about as large as common sources are, at a PSNR of 38 dB. "veryfast" needs 1.4
# times the time for the same quality and 10 % smaller files.
ENCODER_OPTIONS = {"preset": "superfast", "crf": "20"}
# From either on, players that ignore colour tags assume BT.709, and BT.601 below.
HD_WIDTH = 1280
HD_HEIGHT = 720
FRAGMENT_SECONDS = 1.0

COPIED_CODECS = ("aac", "mp3", "opus")  # of sound; browsers are silent for AC-3 and ALAC in MP4
MIN_MP3_RATE = 16_000  # MP4 has no MP3 of lower sample rates
AAC_RATE = 48_000  # samples a second, whatever the source has
AAC_LAYOUTS = {1: "mono", 6: "5.1"}  # by the number of channels; all others become stereo
MAX_GAP = 0.03  # seconds of silence in encoded sound that nobody misses


class VideoWriter:
    """Writes images as a video that browsers, phones and players show.

    As a context manager it finishes the file, or leaves it unfinished after an exception.
    """

    def __init__(
        self,
        path: Path,
        *,
        size: tuple[int, int],
        fps: float | None = None,
        sound_from: Path | None = None,
        fragmented: bool = False,
        threads: int | None = None,
    ):
        """Open the file.

        Args:
            path: File to write, MP4 whatever its ending.
            size: Width and height of the images. H.264 stores colours for 2x2 pixels: an odd size
                becomes even by repeating the last column or row.
            fps: Mean frame rate. The last image is shown for 1 / fps seconds.
            sound_from: Video file whose sound is written too, as far as it can be read. The first
                frame of that file is shown at 0 seconds.
            fragmented: Whether the file can be played while it is unfinished, for live sources.
            threads: Threads of the encoder; by default one a core that this process may use.

        Raises:
            FileError: The file cannot be written, or not with images of this size.
        """
        self.path = path
        self.size = (size[0] + size[0] % 2, size[1] + size[1] % 2)
        self.fps = fps or DEFAULT_FPS
        self.fragmented = fragmented
        self._reformatter = av.video.reformatter.VideoReformatter()
        self._last_pts = -1
        self._next_keyframe = 0.0
        self._output = self._video = self._sound = None
        try:
            # FFmpeg leaves a file open whose first bytes it cannot write, so Python tries it first.
            path.write_bytes(bytes(4096))
            self._output = self._open_output()
            self._video = self._add_video(threads or available_cores())
            if sound_from:
                self._sound = _open_sound(sound_from, self._output)
            self._output.start_encoding()
        except OSError as error:
            self.abort()
            raise self._error(error) from error
        except av.FFmpegError as error:
            self.abort()
            raise FileError(
                f"{path}: H.264 cannot encode images of {self.size[0]}x{self.size[1]}"
            ) from error

    def _open_output(self) -> av.container.OutputContainer:
        options = {"movflags": "faststart"}
        if self.fragmented:
            # The file becomes an ordinary one when it is finished.
            options = {"movflags": "hybrid_fragmented+frag_keyframe", "flush_packets": "1"}
        # FFmpeg takes "a:b.mp4" for an address unless "file:" stands before it.
        return av.open(f"file:{self.path}", "w", format="mp4", container_options=options)

    def _add_video(self, threads: int) -> av.VideoStream:
        is_hd = self.size[0] >= HD_WIDTH or self.size[1] >= HD_HEIGHT
        self._matrix = Colorspace.ITU709 if is_hd else Colorspace.ITU601
        options = {
            **ENCODER_OPTIONS,
            "colorspace": "bt709" if is_hd else "smpte170m",
            "color_range": "tv",
            "color_primaries": "bt709",
            "color_trc": "bt709",
        }
        if self.fragmented:
            options["bf"] = "0"  # B-frames need an edit list, which fragments do not have
        stream = self._output.add_stream(
            "libx264",
            rate=Fraction(self.fps).limit_denominator(1001),
            options=options,
            width=self.size[0],
            height=self.size[1],
            pix_fmt="yuv420p",
            time_base=TIME_BASE,
        )
        stream.codec_context.thread_count = threads
        return stream

    def write(self, image: np.ndarray, time: float) -> None:
        """Write an image.

        Args:
            image: uint8 (H, W, 3), BGR; scaled where it does not have the size of the video.
            time: When it is shown, in seconds since the first image; later than the one before.

        Raises:
            FileError: The file cannot be written.
        """
        frame = self._convert(image)
        # Two time stamps of one unit would be refused.
        self._last_pts = max(round(time / TIME_BASE), self._last_pts + 1)
        frame.pts = self._last_pts
        frame.time_base = TIME_BASE
        if self.fragmented and time >= self._next_keyframe:
            frame.pict_type = PictureType.I
            self._next_keyframe = time + FRAGMENT_SECONDS
        try:
            self._output.mux(self._video.encode(frame))
            if self._sound:
                self._sound.write_until(time)
        except OSError as error:
            raise self._error(error) from error

    def _convert(self, image: np.ndarray) -> av.VideoFrame:
        """Convert BGR to the colours and the even size of the video."""
        bottom, right = image.shape[0] % 2, image.shape[1] % 2
        if bottom or right:
            image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        return self._reformatter.reformat(
            av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(image), format="bgr24"),
            *self.size,
            "yuv420p",
            dst_colorspace=self._matrix,
            dst_color_range="MPEG",
            threads=1,
        )

    def close(self) -> None:
        """Finish the file.

        Raises:
            FileError: The file cannot be written completely.
        """
        try:
            self._output.mux(self._video.encode(None))
            if self._sound:
                self._sound.write_until(float(self._last_pts * TIME_BASE) + 1 / self.fps)
            self._output.close()
        except OSError as error:
            raise self._error(error) from error
        finally:
            self.abort()

    def abort(self) -> None:
        """Close the file and leave it unfinished; a closed one stays as it is."""
        if self._sound:
            self._sound.close()
        if self._output:
            with contextlib.suppress(av.FFmpegError):
                self._output.close()
        # The threads of the encoder end when nothing refers to it any more.
        self._output = self._video = self._sound = None

    def _error(self, error: OSError) -> OSError:
        return OSError(f"{self.path}: cannot be written: {error.strerror}")

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, exception_type: type | None, *_) -> None:
        if exception_type is None:
            self.close()
        else:
            self.abort()


def _open_sound(path: Path, output: av.container.OutputContainer) -> "Sound | None":
    """Add the sound of a video file to a video; None where it has none that can be read."""
    with contextlib.suppress(av.FFmpegError), contextlib.ExitStack() as stack:
        container = stack.enter_context(open_file(path))
        stream = container.streams.best("audio")
        start = read_start_time(path)
        if start is None or stream is None or stream.codec_context is None:
            return None
        kind = CopiedSound if can_copy(path) else EncodedSound
        sound = kind(stream, start, output)
        stack.pop_all()  # the container stays open
        return sound
    return None


def read_start_time(path: Path) -> float | None:
    """Return the time stamp of the first frame of a video file, in seconds; None without frames."""
    with open_file(path) as container:
        stream = container.streams.best("video")
        if stream is None:
            return None
        for packet in _demux(stream):
            with contextlib.suppress(av.FFmpegError):
                for frame in packet.decode():
                    return float((frame.dts if frame.pts is None else frame.pts) * frame.time_base)
    return None


def can_copy(path: Path) -> bool:
    """Return whether browsers and players play the packets of the sound of a file as they are."""
    with open_file(path) as container:
        stream = container.streams.best("audio")
        codec = stream.codec_context.codec.canonical_name
        if codec not in COPIED_CODECS or not stream.sample_rate:
            return False
        if codec == "mp3" and stream.sample_rate < MIN_MP3_RATE:
            return False
        return _is_whole(stream)


def _is_whole(stream: av.AudioStream) -> bool:
    """Return whether all packets of a sound are there and can be decoded.

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


class Sound:
    """The sound of a video file on its way into another one, read as it is needed.

    Attributes:
        stream: The sound that is read.
        start: Time stamp of the first frame of that file, in seconds.
        output: The video that the sound is written to.
    """

    def __init__(self, stream: av.AudioStream, start: float, output: av.container.OutputContainer):
        self.stream = stream
        self.start = start
        self.output = output
        self.target = self._add_stream()
        self._packets = self._convert()
        self._next = self._convert_next()

    def _add_stream(self) -> av.AudioStream:
        """Add a stream for this sound to the output."""
        raise NotImplementedError

    def _convert(self) -> Iterator[av.Packet]:
        """Yield packets of the output, with time stamps since the first frame."""
        raise NotImplementedError

    def write_until(self, end: float) -> None:
        """Write the packets that begin before `end`, in seconds since the first frame."""
        while self._next is not None and self._next.pts * self._next.time_base < end:
            self._next.stream = self.target
            try:
                self.output.mux(self._next)
            except OSError:
                raise
            except av.FFmpegError:
                pass  # damaged sound never costs the picture
            self._next = self._convert_next()

    def _convert_next(self) -> av.Packet | None:
        with contextlib.suppress(av.FFmpegError):  # of sound too damaged for the filter or encoder
            return next(self._packets, None)
        return None

    def close(self) -> None:
        self.stream.container.close()


class CopiedSound(Sound):
    """Sound whose packets are written as they are."""

    def _add_stream(self) -> av.AudioStream:
        return self.output.add_stream_from_template(self.stream)

    def _convert(self) -> Iterator[av.Packet]:
        rate = self.stream.sample_rate
        for packet in _demux(self.stream):
            if packet.size == 0:  # the end
                return
            begin = float(packet.pts * packet.time_base) - self.start
            duration = float(packet.duration * packet.time_base)
            # The decoder needs the packet before the first one that is heard.
            if begin + 2 * duration <= 0:
                continue
            packet.time_base = Fraction(1, rate)
            packet.pts = packet.dts = round(begin * rate)
            packet.duration = round(duration * rate)
            yield packet


class EncodedSound(Sound):
    """Sound that is decoded and encoded as AAC."""

    def _add_stream(self) -> av.AudioStream:
        layout = AAC_LAYOUTS.get(self.stream.layout.nb_channels, "stereo")
        return self.output.add_stream("aac", rate=AAC_RATE, layout=layout)

    def _convert(self) -> Iterator[av.Packet]:
        for frame in self._resample():
            yield from self.target.encode(frame)
        yield from self.target.encode(None)

    def _resample(self) -> Iterator[av.AudioFrame]:
        """Yield the sound from 0 seconds on without gaps, in the form that the encoder takes."""
        graph = None
        form = None
        end = 0  # of what was yielded, in samples
        for frame in self._decode():
            gap = frame.time - end / AAC_RATE
            if gap + frame.samples / frame.sample_rate < -MAX_GAP:
                continue  # it is before the picture, or overlaps what was yielded
            previous_form = form
            form = (frame.format.name, frame.layout.name, frame.sample_rate)
            if form != previous_form or gap > MAX_GAP:
                silence = max(0, round(gap * AAC_RATE))
                yield from self._make_silence(end, silence)
                end += silence
                graph = self._make_graph(frame, begin=end)
            graph.push(frame)
            for resampled in _pull_all(graph):
                end = resampled.pts + resampled.samples
                yield resampled
        if graph is not None:
            graph.push(None)
            yield from _pull_all(graph)

    def _make_silence(self, begin: int, num_samples: int) -> Iterator[av.AudioFrame]:
        """Yield silence in short frames, as a damaged time stamp can ask for hours of it."""
        for pts in range(begin, begin + num_samples, AAC_RATE):
            length = min(AAC_RATE, begin + num_samples - pts)
            samples = np.zeros((self.target.layout.nb_channels, length), np.float32)
            frame = av.AudioFrame.from_ndarray(samples, "fltp", self.target.layout)
            frame.sample_rate = AAC_RATE
            frame.time_base = Fraction(1, AAC_RATE)
            frame.pts = pts
            yield frame

    def _decode(self) -> Iterator[av.AudioFrame]:
        """Yield the frames that can be decoded, with time stamps since the first image."""
        end = 0.0
        for packet in _demux(self.stream):
            with contextlib.suppress(av.FFmpegError):
                for frame in packet.decode():
                    begin = end if frame.pts is None else frame.time - self.start
                    end = begin + frame.samples / frame.sample_rate
                    frame.time_base = Fraction(1, frame.sample_rate)
                    frame.pts = round(begin * frame.sample_rate)
                    yield frame

    def _make_graph(self, frame: av.AudioFrame, begin: int) -> av.filter.Graph:
        """Make the converter of sound like `frame`, which yields nothing before `begin`."""
        first_pts = math.ceil(begin * frame.sample_rate / AAC_RATE)
        graph = av.filter.Graph()
        source = graph.add_abuffer(
            sample_rate=frame.sample_rate,
            format=frame.format,
            layout=frame.layout,
            time_base=frame.time_base,
        )
        # It also cuts what overlaps.
        resample = graph.add(
            "aresample",
            f"{AAC_RATE}:async=1:min_hard_comp={MAX_GAP}:first_pts={first_pts}",
        )
        form = graph.add(
            "aformat",
            sample_fmts=self.target.format.name,
            channel_layouts=self.target.layout.name,
        )
        graph.link_nodes(source, resample, form, graph.add("abuffersink")).configure()
        return graph


def _pull_all(graph: av.filter.Graph) -> Iterator[av.AudioFrame]:
    """Yield the frames that a filter graph has ready."""
    with contextlib.suppress(BlockingIOError, EOFError):
        while True:
            yield graph.pull()

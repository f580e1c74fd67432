"""Videos that are written: H.264 in MP4."""

import contextlib
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from dataloaders.errors import FileError
from dataloaders.ffmpeg import av
from dataloaders.sound import open_sound
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
            self._video = self._add_video()
            if sound_from:
                self._sound = open_sound(sound_from, self._output)
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

    def _add_video(self) -> av.VideoStream:
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
        # The other cores compute the network.
        stream.codec_context.thread_count = max(1, available_cores() // 2)
        return stream

    def write(self, image: np.ndarray, time: float) -> None:
        """Write an image.

        Args:
            image: `uint8` (H, W, 3), BGR; scaled where it does not have the size of the video.
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
        bottom = image.shape[0] % 2
        right = image.shape[1] % 2
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

    def _error(self, error: OSError) -> FileError:
        return FileError(f"{self.path}: cannot be written: {error.strerror}")

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, exception_type: type | None, *_) -> None:
        if exception_type is None:
            self.close()
        else:
            self.abort()

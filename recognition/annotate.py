"""Annotated copies of videos."""

import queue
import signal
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np

from dataloaders.errors import FileError
from dataloaders.files import atomic_write
from dataloaders.frame_source import FrameSource
from dataloaders.sampling import ClipConfig
from dataloaders.video_writer import VideoWriter
from engine.text import drawable_names
from recognition.drawing import (
    COLOURS,
    GREY,
    LIGHT_GREY,
    MAX_BARS,
    Bar,
    Timeline,
    draw_heatmap,
    draw_overlay,
    make_panel,
)
from recognition.forking import FORK_GUARD
from recognition.frames import ImageFrame
from recognition.outputs import make_folder
from recognition.results import Labels
from recognition.segments import Segment

MAX_QUEUED_IMAGES = 32  # half a window: what is painted at once waits without stopping the model
MAX_QUEUED_BYTES = 1 << 27


class Painter:
    """Draws the predictions of a video on its frames.

    The frames get square pixels; frames of another size than the first one are scaled to it.
    """

    def __init__(
        self,
        labels: Labels,
        config: ClipConfig,
        *,
        layout: str,
        pixel_aspect: float,
        duration: float | None,
    ):
        """Prepare to paint a video.

        Args:
            labels: The classes, and from which probability on a window has a label.
            config: How its clips were cut, for heat maps.
            layout: "overlay", or "below" for labels and timeline in rows of their own.
            pixel_aspect: Width of a pixel divided by its height.
            duration: Of the video, in seconds, None where it is not known.
        """
        self._names = drawable_names(tuple(labels.classes))
        self._threshold = labels.threshold
        self._config = config
        self._is_below = layout == "below"
        self._pixel_aspect = pixel_aspect
        self._duration = duration
        self._timeline: Timeline | None = None

    def begin(self, segment: Segment) -> None:
        """Draw what all frames of a segment, of which there is one or more, have in common."""
        prediction = segment.prediction
        if self._timeline is None:
            self._measure(segment.frames[0].image)
        bars = self._bars(prediction.probabilities)
        has_heatmap = prediction.heatmap is not None
        self._panel = make_panel(self._height, self._width, bars, has_heatmap)
        self._timeline.add(segment.start, segment.end, bars[0].colour)
        self._prediction = prediction

    def paint(self, frame: ImageFrame) -> np.ndarray:
        """Draw the predictions on a frame of the segment; return BGR `uint8` (H, W, 3)."""
        image = frame.image
        if image.shape[:2] != (self._height, self._width):
            image = cv2.resize(image, (self._width, self._height))
        if self._prediction.heatmap is not None:
            draw_heatmap(image, self._prediction.heatmap_at(frame.time), self._config)
        if self._is_below:
            rows = self._rows_below()
            image = cv2.copyMakeBorder(image, 0, rows, 0, 0, cv2.BORDER_CONSTANT)
        position = self._timeline.position(frame.time)
        draw_overlay(image, self._panel, self._timeline.row, position)
        return image

    def _measure(self, image: np.ndarray) -> None:
        height, width = image.shape[:2]
        self._height = height
        self._width = round(width * self._pixel_aspect)
        self._timeline = Timeline(self._width, self._duration)

    def _rows_below(self) -> int:
        """Return the height of the rows below the picture: the panel and the timeline."""
        rows = len(self._panel)
        return rows + max(2, (self._height + rows) // 59)

    def _bars(self, probabilities: np.ndarray) -> list[Bar]:
        order = np.argsort(-probabilities, kind="stable")[:MAX_BARS]
        if probabilities[order[0]] < self._threshold:
            others = [
                Bar(self._names[label], float(probabilities[label]), LIGHT_GREY)
                for label in order[:-1]
            ]
            return [Bar("none", None, GREY), *others]
        return [
            Bar(self._names[label], float(probabilities[label]), COLOURS[label % len(COLOURS)])
            for label in order
        ]


class BackgroundEncoder:
    """Encodes images in a thread of its own, while the next ones are painted."""

    def __init__(self, writer: VideoWriter, capacity: int):
        """Start the thread.

        Args:
            writer: The open video; leaving the context finishes it, by an exception abandons it.
            capacity: Images that may wait before `put` does.
        """
        self._writer = writer
        self._images: queue.Queue[tuple[np.ndarray, float] | None] = queue.Queue(capacity)
        self._is_abandoned = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._encode, daemon=True)

    def __enter__(self) -> "BackgroundEncoder":
        self._writer.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *error) -> None:
        self._is_abandoned = error[0] is not None
        self._images.put(None)
        self._thread.join()
        if self._error is None or self._is_abandoned:
            self._writer.__exit__(*error)
        else:
            self._writer.__exit__(type(self._error), self._error, None)
            raise self._error

    def put(self, image: np.ndarray, frame_time: float) -> None:
        """Hand over an image.

        Args:
            image: BGR `uint8` (H, W, 3).
            frame_time: When it is shown, in seconds.

        Raises:
            FileError: An earlier image could not be written.
        """
        if self._error is not None:
            raise self._error
        self._images.put((image, frame_time))

    def _encode(self) -> None:
        while (item := self._images.get()) is not None:
            if self._error is not None or self._is_abandoned:
                continue  # so that nobody waits to put one in
            try:
                with FORK_GUARD:
                    self._writer.write(*item)
            except Exception as error:  # raised again where the next image is put in
                self._error = error


class AnnotatedVideoWriter:
    """Writes a video whose frames show the predictions; it is whole, or not there.

    That of a live source can be played up to where the power failed, as `NAME.partial.mp4`.
    """

    def __init__(
        self,
        target: Path,
        source: FrameSource,
        painter: Painter,
        preview: "Preview | None" = None,
    ):
        """Prepare to write.

        Args:
            target: The MP4 file.
            source: Where the frames come from, and the sound.
            painter: Draws on the frames.
            preview: Shows them as well.
        """
        self._target = target
        self._source = source
        self._painter = painter
        self._preview = preview
        self._encoder: BackgroundEncoder | None = None
        self._stack = ExitStack()

    def __enter__(self) -> "AnnotatedVideoWriter":
        make_folder(self._target.parent)
        self._partial = self._stack.enter_context(atomic_write(self._target))
        return self

    def __exit__(self, *error) -> None:
        self._stack.__exit__(*error)

    def write(self, segment: Segment) -> None:
        """Paint the frames of the next segment and hand them to the encoder.

        Raises:
            FileError: The file cannot be written.
        """
        if not segment.frames:
            return
        with FORK_GUARD:
            self._painter.begin(segment)
        for frame in segment.frames:
            with FORK_GUARD:
                image = self._painter.paint(frame)
                if self._encoder is None:
                    self._open(image)
            self._encoder.put(image, frame.time)
            if self._preview is not None:
                self._preview.show(image, frame.time)

    def _open(self, image: np.ndarray) -> None:
        height, width = image.shape[:2]
        writer = VideoWriter(
            self._partial,
            size=(width, height),
            fps=self._source.fps,
            sound_from=getattr(self._source, "path", None),
            fragmented=self._source.is_live,
        )
        capacity = min(MAX_QUEUED_IMAGES, max(2, MAX_QUEUED_BYTES // image.nbytes))
        self._encoder = self._stack.enter_context(BackgroundEncoder(writer, capacity))


class Preview:
    """Shows frames in a window, at the pace of the video; q and Escape act like Ctrl-C."""

    def __init__(self, title: str):
        self._title = title
        self._started_at: float | None = None
        self._is_open = True

    def show(self, image: np.ndarray, frame_time: float) -> None:
        """Show a frame when its time has come.

        Args:
            image: BGR `uint8` (H, W, 3).
            frame_time: In seconds.

        Raises:
            FileError: OpenCV has no windows.
        """
        if not self._is_open:
            return
        try:
            cv2.imshow(self._title, image)
        except cv2.error:
            raise FileError(
                "this OpenCV has no windows to --show videos in; opencv-python does"
            ) from None
        now = time.monotonic()
        if self._started_at is None:
            self._started_at = now - frame_time
        milliseconds = int(1000 * (self._started_at + frame_time - now))
        if cv2.waitKey(max(1, milliseconds)) in (ord("q"), 27):
            self._is_open = False  # one Ctrl-C is enough
            cv2.destroyWindow(self._title)
            signal.raise_signal(signal.SIGINT)

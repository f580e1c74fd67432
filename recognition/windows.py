"""Frames -> the overlapping windows that a video is classified by."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dataloaders.frame_source import Frame
from dataloaders.sampling import TIME_TOLERANCE, ClipConfig, Extent, Spacing
from dataloaders.transforms import make_clip, resize_frame

ASSUMED_FPS = 25  # where the rate is not known, and a single frame cannot tell it


@dataclass(frozen=True)
class Window:
    """A part of a video, and the clip that a model sees of it.

    Attributes:
        start: When the first image of the clip begins, in seconds.
        end: When the last image of the clip ends, in seconds.
        image_times: (T,), when each image of the clip begins, in seconds.
        clip: (T, H, W, 3) `uint8`, RGB.
        run: Number, from 0, of the run of consecutive frames that the window was cut from.
    """

    start: float
    end: float
    image_times: np.ndarray
    clip: np.ndarray
    run: int


@dataclass(frozen=True)
class _Image:
    """A scaled frame; its position in the run is its number, or its time where time decides."""

    position: float
    time: float
    pixels: np.ndarray


class WindowCutter:
    """Cuts overlapping windows from frames that come one by one.

    A window spans what a clip in training spans: `clip_len` frames, every `frame_interval`th by
    number, or those nearest to `frame_rate` moments a second by time stamps. The first window
    begins at the first frame, the next ones half a window later each; a last one ends at the last
    frame. Of a run shorter than a window the images lie closer together, as in training.
    """

    def __init__(
        self,
        config: ClipConfig,
        stride: int | None = None,
        *,
        fps: float | None = None,
        is_even: bool = False,
    ):
        """Prepare to cut windows.

        Args:
            config: How clips are cut.
            stride: Frames from the start of one window to that of the next, or half a window.
            fps: Mean frame rate, None where it is not known.
            is_even: Whether each frame lasts exactly 1 / fps. Then a frame is known to be the
                nearest to a moment as soon as it comes; else the one after it decides.
        """
        self._config = config
        self._stride = stride
        self._fps = fps or ASSUMED_FPS
        self._by_time = config.frame_rate is not None
        self._spacing = _distance(config.spacing(None))
        self._span = (config.clip_len - 1) * self._spacing
        self._lookahead = 0.5 / fps - 2 * TIME_TOLERANCE if self._by_time and is_even else 0
        self.run = 0  # number of the run of consecutive frames at hand
        self._start_run()

    def _start_run(self) -> None:
        self._num_frames = 0
        self._images: deque[_Image] = deque()
        self._starts: deque[float] = deque()  # positions of the windows that are not complete yet
        self._first_time = 0.0
        self._newest_window = -1  # its number in the run
        self._covered_until = -math.inf  # time of the last image of the newest window

    @property
    def frames_per_window(self) -> float:
        """Frames that a window spans, by the mean rate where time decides."""
        return (self._span * self._fps if self._by_time else self._span) + 1

    @property
    def frames_per_stride(self) -> float:
        """Frames from one window to the next, by the mean rate where time decides."""
        if self._stride:
            return self._stride
        stride = self._default_stride(self._spacing)
        return stride * self._fps if self._by_time else stride

    def push(self, frame: Frame) -> list[Window]:
        """Take the next frame, of whose image a copy is kept; return the windows it completes."""
        position = frame.time if self._by_time else self._num_frames
        if self._num_frames == 0:
            self._first_time = frame.time
        self._images.append(_Image(position, frame.time, self._scale(frame.to_image())))
        self._open_window(position)
        self._num_frames += 1
        reached = position + self._lookahead + TIME_TOLERANCE
        windows = []
        while self._starts and self._starts[0] + self._span <= reached:
            windows.append(self._cut(self._starts.popleft(), self._spacing))
        self._forget_before(min([position - self._span, *self._starts]))
        return windows

    def flush(self) -> list[Window]:
        """End a run of consecutive frames, at a gap or at the end; return its last windows."""
        windows = self._last_windows() if self._images else []
        self._start_run()
        self.run += 1
        return windows

    def _last_windows(self) -> list[Window]:
        first = self._images[0]
        last = self._images[-1]
        spacing = self._fitting_spacing()
        span = (self._config.clip_len - 1) * spacing
        starts = list(self._starts)
        if spacing < self._spacing:  # a run shorter than a window, of which no image is forgotten
            starts = self._starts_of_short_run(spacing)
        tolerance = self._frame_duration() / 2 if self._by_time else 0
        complete = [start for start in starts if start + span <= last.position + tolerance]
        windows = [self._cut(start, spacing) for start in complete]
        if self._covered_until < last.time:
            windows.append(self._cut(max(first.position, last.position - span), spacing))
        return windows

    def _scale(self, image: np.ndarray) -> np.ndarray:
        scaled = resize_frame(image, *self._config.stored_size)
        return scaled.copy() if scaled is image else scaled

    def _default_stride(self, spacing: float) -> float:
        stride = self._config.clip_len * spacing / 2
        return stride if self._by_time else max(1, int(stride))

    def _open_window(self, position: float) -> None:
        """Note where a window begins, if one begins at the newest frame or since the one before."""
        stride = self._default_stride(self._spacing)
        if self._stride or not self._by_time:
            if self._num_frames % (self._stride or stride) == 0:
                self._starts.append(position)
            return
        number = math.floor((position - self._first_time + TIME_TOLERANCE) / stride)
        if number > self._newest_window:
            self._starts.append(self._first_time + number * stride)
            self._newest_window = number

    def _starts_of_short_run(self, spacing: float) -> list[float]:
        positions = [image.position for image in self._images]
        if self._stride:
            return positions[:: self._stride]
        stride = self._default_stride(spacing)
        count = math.floor((positions[-1] - positions[0]) / stride) + 1
        return [positions[0] + number * stride for number in range(count)]

    def _forget_before(self, position: float) -> None:
        """Drop the images that no further window takes: all but the last one up to a position."""
        while len(self._images) > 1 and self._images[1].position <= position:
            self._images.popleft()

    def _frame_duration(self) -> float:
        """Return the mean duration of the frames at hand, in seconds."""
        if len(self._images) == 1:
            return 1 / self._fps
        return (self._images[-1].time - self._images[0].time) / (len(self._images) - 1)

    def _fitting_spacing(self) -> float:
        """Return the distance of a clip's images, smaller where the run is short of a window."""
        last_time = self._images[-1].time - self._first_time
        return _distance(self._config.spacing(Extent(self._num_frames, last_time)))

    def _cut(self, start: float, spacing: float) -> Window:
        """Cut the window whose images are nearest to `start`, `start + spacing`, ..."""
        moments = start + spacing * np.arange(self._config.clip_len)
        indices = nearest_frames([image.position for image in self._images], moments)
        images = [self._images[index] for index in indices]
        times = np.array([image.time for image in images])
        clip = make_clip((image.pixels for image in images), self._config)
        self._covered_until = times[-1]
        return Window(times[0], self._end_of(indices[-1]), times, clip, self.run)

    def _end_of(self, index: int) -> float:
        """Return when the frame of an image ends: with the next one, as far as that has come."""
        if index + 1 < len(self._images):
            return self._images[index + 1].time
        return self._images[index].time + self._frame_duration()


def _distance(spacing: Spacing) -> float:
    """Return the distance of a clip's images: a number of frames, or of seconds."""
    return spacing.frames if spacing.seconds is None else spacing.seconds


def nearest_frames(positions: Sequence[float], moments: Sequence[float]) -> np.ndarray:
    """Find the frames that are nearest to some moments; of two as near it is the later one.

    Args:
        positions: Where each frame begins, increasing.
        moments: On the same scale.

    Returns:
        For each moment the index of its frame, `int64`.
    """
    positions = np.asarray(positions, float)
    moments = np.asarray(moments, float)
    after = np.searchsorted(positions, moments).clip(0, len(positions) - 1)
    before = (after - 1).clip(0)
    is_before = moments - positions[before] < positions[after] - moments - TIME_TOLERANCE
    return np.where(is_before, before, after)

"""Live sources: cameras and streams, whose frames come whether or not anybody waits for them."""

import enum
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np

from dataloaders.errors import DataError, UserError
from dataloaders.frame_source import Frame, FrameSource
from engine.errors import Stopped, StopSignal
from recognition.classifier import Prediction

ATTEMPT_PAUSE = 1  # seconds between two attempts to open a source again
OUTAGE_LIMIT = 30  # seconds of attempts, after which the source has ended
RATE_FRAMES = 31  # over which the rate of a source is measured
STOP_INTERVAL = 0.5  # seconds after which a signal is noticed while no frame comes


class Gap(enum.Enum):
    """Why the next frame of a source does not follow the one before."""

    DROPPED = "frames were dropped"
    OUTAGE = "the source was closed"


class End(enum.Enum):
    """Marks the end of a source."""

    END = "no frame comes after it"


@dataclass(frozen=True)
class LiveFrame:
    """A frame, its time on the clock of the whole recording, and when it came."""

    time: float
    arrival: float
    frame: Frame

    def to_image(self) -> np.ndarray:
        """Return the image, BGR `uint8` (H, W, 3)."""
        return self.frame.to_image()


class FrameQueue:
    """The newest frames of a source, put in by one thread and taken out by another.

    A frame that finds the queue full replaces all that wait, so what waits is consecutive.
    """

    def __init__(self, capacity: int):
        self._capacity = capacity
        self._items: deque[LiveFrame | Gap | End] = deque()
        self._changed = threading.Condition()
        self.num_dropped = 0

    def put(self, item: LiveFrame | Gap | End) -> None:
        """Add a frame, or a mark between frames, without waiting."""
        with self._changed:
            if len(self._items) >= self._capacity and isinstance(item, LiveFrame):
                self._drop_all()
            self._items.append(item)
            self._changed.notify()

    def get(self, timeout: float) -> LiveFrame | Gap | End | None:
        """Return the next item, None where none comes within so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._items, timeout)
            return self._items.popleft() if self._items else None

    def _drop_all(self) -> None:
        self.num_dropped += sum(isinstance(item, LiveFrame) for item in self._items)
        gap = Gap.OUTAGE if Gap.OUTAGE in self._items else Gap.DROPPED
        self._items.clear()
        self._items.append(gap)


class LiveReader:
    """Reads a live source in a thread of its own, and opens it again after an outage.

    Attributes:
        latencies: For each window the seconds from its last frame to its prediction.
        end_reason: How the source ended; None where a signal stopped the reading.
    """

    def __init__(
        self,
        source: FrameSource,
        capacity: int,
        *,
        reconnect: int = 0,
        stop: StopSignal | None = None,
        report: Callable[[str], None] | None = None,
    ):
        """Prepare to read.

        Args:
            source: What is read.
            capacity: Frames that may wait until all of them are dropped.
            reconnect: Outages after which the source is opened again.
            stop: Ends the reading by its signal.
            report: Is called with a line for each outage that is over.
        """
        self.source = source
        self._queue = FrameQueue(capacity)
        self._reconnect = reconnect
        self._stop = stop
        self._report = report or (lambda line: None)
        self._is_left = threading.Event()
        self._error: Exception | None = None
        self._newest: LiveFrame | None = None
        self._recent_times: deque[float] = deque(maxlen=RATE_FRAMES)
        self._arrivals: deque[tuple[float, float]] = deque()  # (time, arrival) of recent frames
        self.latencies: list[float] = []
        self._end_reason = "ended"
        self.end_reason: str | None = None

    @property
    def num_dropped(self) -> int:
        """Frames that came faster than they were used."""
        return self._queue.num_dropped

    def __iter__(self) -> Iterator[LiveFrame | Gap]:
        """Yield the frames as they come, and the gaps between them.

        Raises:
            FileError: The source cannot be opened.
            DataError: No frame of it can be decoded.
            Stopped: A signal came before the first frame.
        """
        # A thread that waits for a camera must not keep the process alive.
        threading.Thread(target=self._read, daemon=True).start()
        try:
            yield from self._take()
        finally:
            self._is_left.set()

    def _take(self) -> Iterator[LiveFrame | Gap]:
        has_frames = False
        while not (has_frames and self._is_stopped()):
            item = self._queue.get(STOP_INTERVAL)
            if item is End.END:
                if self._error is not None:
                    raise self._error
                if not has_frames:
                    raise DataError(f"{self.source.name}: no frame came from there")
                self.end_reason = self._end_reason
                return
            if isinstance(item, LiveFrame):
                has_frames = True
                self._arrivals.append((item.time, item.arrival))
            if item is not None:
                yield item
            elif not has_frames and self._is_stopped():
                raise Stopped(self._stop.signum)

    def _is_stopped(self) -> bool:
        return self._stop is not None and bool(self._stop.signum)

    @property
    def fps(self) -> float | None:
        """Frames a second of late, None where there were fewer than two."""
        if len(self._recent_times) < 2:
            return None
        return (len(self._recent_times) - 1) / (self._recent_times[-1] - self._recent_times[0])

    def note_prediction(self, prediction: Prediction) -> None:
        """Measure the latency of a prediction that was just made; they come in order."""
        last = prediction.image_times[-1]
        while len(self._arrivals) > 1 and self._arrivals[0][0] < last:
            self._arrivals.popleft()
        self.latencies.append(time.monotonic() - self._arrivals[0][1])

    def close(self) -> None:
        """Leave the source to the thread, which closes it when the next frame comes."""
        self._is_left.set()

    def _read(self) -> None:
        """Fill the queue until the source ends or the consumer leaves."""
        try:
            self._read_connection(self.source.frames())
            for number in range(1, self._reconnect + 1):
                if self._is_left.is_set():
                    return
                self._queue.put(Gap.OUTAGE)
                frames = self._open_again(number)
                if frames is None:
                    break
                self._read_connection(frames)
        except Exception as error:  # raised again where the frames are used
            self._error = error
        finally:
            self._queue.put(End.END)
            self.source.close()

    def _read_connection(self, frames: Iterator[Frame]) -> None:
        """Put the frames of one connection into the queue; an error is its end."""
        self._recent_times.clear()
        offset = None
        try:
            for frame in frames:
                now = time.monotonic()
                if offset is None:
                    offset = self._elapsed(now) - frame.time
                self._newest = LiveFrame(offset + frame.time, now, frame)
                self._recent_times.append(self._newest.time)
                self._queue.put(self._newest)
                if self._is_left.is_set():
                    return
        except UserError:
            if self._newest is None:
                raise

    def _elapsed(self, now: float) -> float:
        """Return the seconds since the first frame, by the clock since the newest one."""
        if self._newest is None:
            return 0.0
        return self._newest.time + now - self._newest.arrival

    def _open_again(self, number: int) -> Iterator[Frame] | None:
        """Open the source again after an outage; None where that fails for too long."""
        started_at = time.monotonic()
        while time.monotonic() < started_at + OUTAGE_LIMIT and not self._is_left.is_set():
            try:
                frames = self.source.frames()
                first = next(frames)
            except (UserError, StopIteration):
                self._is_left.wait(ATTEMPT_PAUSE)
                continue
            seconds = time.monotonic() - started_at
            self._report(
                f"{self.source.name}: closed, opened again after {seconds:.1f} s"
                f" ({number} of {self._reconnect})"
            )
            return chain([first], frames)
        self._end_reason = f"could not be opened again in {OUTAGE_LIMIT} s, and ended"
        return None

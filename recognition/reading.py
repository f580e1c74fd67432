"""Sources that wait to be read: files and folders of images."""

from collections.abc import Iterator

from dataloaders.video import Frame, FrameSource
from engine.errors import Stopped, StopSignal
from recognition.classifier import Prediction
from recognition.forking import FORK_GUARD


class FileReader:
    """Reads the frames of a source that waits, in the thread that takes them.

    It has what a `LiveReader` has, of which nothing happens to a file.
    """

    num_dropped = 0
    end_reason = None

    def __init__(self, source: FrameSource, stop: StopSignal | None = None):
        self.source = source
        self._stop = stop

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames.

        Raises:
            Stopped: a signal came.
            OSError: the source cannot be opened.
            DataError: no frame can be decoded.
        """
        frames = self.source.frames()
        while True:
            with FORK_GUARD:
                frame = next(frames, None)
            if frame is None:
                return
            yield frame
            if self._stop is not None and self._stop.signum:
                raise Stopped(self._stop.signum)

    @property
    def fps(self) -> float | None:
        """Mean frames a second, None where the source does not say."""
        return self.source.fps

    def latency_of(self, prediction: Prediction) -> None:
        """Return None: no frame waits for the model."""

    def close(self) -> None:
        """Close the source."""
        with FORK_GUARD:
            self.source.close()

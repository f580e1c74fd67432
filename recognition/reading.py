"""Sources are opened, and those that wait are read: files and folders of images."""

from collections.abc import Iterator
from pathlib import Path

from dataloaders.frame_source import Frame, FrameSource
from dataloaders.live_sources import open_live_source
from dataloaders.video import VideoFile
from engine.errors import Stopped, StopSignal
from recognition.classifier import Prediction
from recognition.forking import FORK_GUARD


class FileReader:
    """Reads a source whose frames wait, in the thread that takes them; see `LiveReader`."""

    num_dropped = 0
    latencies = ()
    end_reason = None

    def __init__(self, source: FrameSource, stop: StopSignal | None = None):
        self.source = source
        self._stop = stop

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames.

        Raises:
            Stopped: a signal came.
            FileError: the source cannot be opened.
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

    def note_prediction(self, prediction: Prediction) -> None:
        """Do nothing: what waits has no latency."""

    def close(self) -> None:
        """Close the source."""
        with FORK_GUARD:
            self.source.close()


def open_source(video: str | int | Path | FrameSource) -> FrameSource:
    """Open a file by its path, a stream by its address, a camera by its number.

    Args:
        video: one of these, or a source that is open already, which is returned.
    """
    if not isinstance(video, (str, int, Path)):
        return video
    name = str(video)
    if "://" in name or name.isdecimal():
        return open_live_source(name)
    with FORK_GUARD:
        return VideoFile(Path(name))

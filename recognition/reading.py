"""Sources that wait to be read: files and folders of images."""

from collections.abc import Iterator

from engine.errors import Stopped, StopSignal
from recognition.frames import Frame, FrameSource


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
        for frame in self.source.frames():
            yield frame
            if self._stop is not None and self._stop.signum:
                raise Stopped(self._stop.signum)

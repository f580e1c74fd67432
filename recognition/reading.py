"""Sources: how they are opened, how those that wait are read, and what is said about them."""

from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from dataloaders.errors import DataError
from dataloaders.frame_source import Frame, FrameSource
from dataloaders.live_sources import open_live_source
from dataloaders.video import VideoFile
from engine.errors import Stopped, StopSignal
from recognition.classifier import Prediction
from recognition.forking import FORK_GUARD
from recognition.live import LiveReader


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
            Stopped: A signal came.
            FileError: The source cannot be opened.
            DataError: No frame can be decoded.
        """
        frames = self.source.frames()
        has_frames = False
        while True:
            with FORK_GUARD:
                frame = next(frames, None)
            if frame is None:
                break
            has_frames = True
            yield frame
            if self._stop is not None and self._stop.signum:
                raise Stopped(self._stop.signum)
        if not has_frames:
            raise DataError(f"{self.source.name}: no frame can be decoded")

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
        video: One of these, or a source that is open already, which is returned.
    """
    if not isinstance(video, (str, int, Path)):
        return video
    name = str(video)
    if "://" in name or name.isdecimal():
        return open_live_source(name)
    with FORK_GUARD:
        return VideoFile(Path(name))


def describe_reading(reader: FileReader | LiveReader) -> dict[str, Any]:
    """Return what the JSON says about a source that has been read.

    Args:
        reader: Has read it.

    Returns:
        Of a live source its "latency" and its "dropped" frames; of a damaged one its "damage".
    """
    described = {}
    if reader.source.is_live:
        described["latency"] = {
            "mean": round(fmean(reader.latencies), 3),
            "max": round(max(reader.latencies), 3),
        }
        described["dropped"] = reader.num_dropped
    damage = getattr(reader.source, "damage", None)
    if damage is not None:
        described["damage"] = {
            "lost": damage.num_lost,
            "frames": damage.num_frames,
            "first": round(damage.first_time, 3),
        }
    return described

"""Temporary adapter of today's reader to the protocol of frame sources."""

import math
from collections.abc import Iterator
from pathlib import Path

from dataloaders.video import VideoReader
from recognition.frames import FrameSource, ImageFrame


class ReaderSource:
    def __init__(self, source):
        self.source = source
        self.reader = VideoReader(source)
        self.is_fresh = True
        self.name = self.reader.name
        self.num_frames = self.reader.num_frames or None
        self.duration = self.reader.duration or None
        self.pixel_aspect = self.reader.pixel_aspect
        self.is_live = self.reader.is_live
        self.damage = None

    @property
    def fps(self):
        return self.reader.fps

    def frames(self, start: float = 0.0, end: float = math.inf) -> Iterator[ImageFrame]:
        if not self.is_fresh:
            self.reader = VideoReader(self.source)
        self.is_fresh = False
        for image in self.reader:
            yield ImageFrame(self.reader.timestamps[-1], image)

    def close(self):
        pass


def open_source(video: str | int | Path) -> FrameSource:
    name = str(video)
    is_file = isinstance(video, Path) or "://" not in name and not name.isdecimal()
    return ReaderSource(Path(name) if is_file else name)

"""Which frames of a video make a clip.

A clip is `uint8`, (T, H, W, C), RGB. Training cuts it from JPEG frames on disk, inference from the
video itself. Frame numbers are chosen first, and only those frames are read.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from dataloaders.errors import DataError

if TYPE_CHECKING:
    from dataloaders.frame_source import Frame

FRAME_HEIGHT = 128  # of the frames on disk, in pixels; larger for larger crops
FRAME_WIDTH = 171
CROP_SIZE = 112  # side of the square that the network sees, in pixels
TIME_TOLERANCE = 1e-6  # seconds, below the resolution of time stamps

LIMITS = {
    "clip_len": (2, 4096),
    "frame_interval": (1, 4096),
    "frame_rate": (0.01, 1000),
    "crop_size": (1, 1024),
    "height": (1, 4096),
    "width": (1, 4096),
    "channels": (1, 64),
}


@dataclass(frozen=True)
class ClipConfig:
    """How clips are cut from a video; a checkpoint stores it as a dict.

    Attributes:
        clip_len: Frames in a clip.
        frame_interval: Every Nth frame of the video is kept; None where there is a frame rate.
        frame_rate: So many frames a second are kept; None where there is an interval.
        height: Height to which frames are scaled, in pixels.
        width: Width to which frames are scaled, in pixels.
        crop_size: Side of the square crop, in pixels.
        channels: Values of a pixel.

    Raises:
        DataError: A value is out of range.
    """

    clip_len: int = 16
    frame_interval: int | None = 4
    frame_rate: float | None = None
    height: int = FRAME_HEIGHT
    width: int = FRAME_WIDTH
    crop_size: int = CROP_SIZE
    channels: int = 3

    def __post_init__(self):
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            is_unset = value is None and name in ("frame_interval", "frame_rate")
            if not is_unset and not low <= value <= high:
                raise DataError(f"--{name.replace('_', '-')} {value}: must be {low} to {high}")
        if (self.frame_interval is None) == (self.frame_rate is None):
            raise DataError("--frame-interval or --frame-rate, not both")

    @classmethod
    def from_flags(
        cls,
        crop_size: int = CROP_SIZE,
        clip_len: int | None = None,
        frame_interval: int | None = None,
        frame_rate: float | None = None,
    ) -> "ClipConfig":
        """Scale the frames along with the crop, 128x171 at 112, so that each has the same view.

        Args:
            crop_size: Side of the square crop, in pixels.
            clip_len: Frames in a clip; None for the default.
            frame_interval: Every Nth frame is kept.
            frame_rate: Or so many frames a second; None for both is the default interval.
        """
        if frame_interval is None and frame_rate is None:
            frame_interval = cls.frame_interval
        return cls(
            clip_len=cls.clip_len if clip_len is None else clip_len,
            frame_interval=frame_interval,
            frame_rate=frame_rate,
            height=round(FRAME_HEIGHT * crop_size / CROP_SIZE),
            width=round(FRAME_WIDTH * crop_size / CROP_SIZE),
            crop_size=crop_size,
        )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ClipConfig":
        """Read the values that a checkpoint stores; DataError where no clip can be cut by them."""
        problem = f"no clip can be cut with the settings {values}"
        # Older checkpoints know no rate, and no channels.
        if not {"clip_len", "frame_interval", "height", "width", "crop_size"} <= values.keys():
            raise DataError(problem)
        for field in fields(cls):
            value = values.get(field.name, None if field.name == "frame_rate" else field.default)
            kinds = (int, float) if field.name == "frame_rate" else (int,)
            is_unset = value is None and field.name in ("frame_interval", "frame_rate")
            if type(value) not in kinds and not is_unset:
                raise DataError(problem)
        try:
            config = cls(**values)
        except (TypeError, DataError):
            raise DataError(problem) from None
        if config.crop_size > min(config.height, config.width):
            raise DataError(problem)
        return config

    @property
    def shape(self) -> tuple[int, int, int]:
        """(T, H, W) of a clip."""
        return self.clip_len, self.crop_size, self.crop_size

    @property
    def stored_size(self) -> tuple[int, int]:
        """(height, width) of the frames on disk."""
        return max(FRAME_HEIGHT, self.height), max(FRAME_WIDTH, self.width)

    def sampling(self, source_fps: float = 25, image_prefix: str | None = None) -> str:
        """Return the name of what the frames on disk depend on, such as "16x4_171x128".

        That is clip length x interval and width x height; for folders of images also their rate,
        where clips have a rate, and which of several kinds of images is taken.

        Args:
            source_fps: Frame rate of folders of images.
            image_prefix: What the names of the images begin with; None for any.
        """
        height, width = self.stored_size
        interval = self.frame_interval if self.frame_rate is None else f"{self.frame_rate:g}fps"
        name = f"{self.clip_len}x{interval}_{width}x{height}"
        if self.frame_rate is not None and source_fps != 25:
            name += f"_from{source_fps:g}fps"
        if image_prefix is not None:
            name += "_" + re.sub(r"[^\w.-]", "-", image_prefix)
        return name

    def spacing(self, extent: "Extent | None") -> "Spacing":
        """Return how far apart the frames of a clip are, closer in a short video.

        In a video that a clip does not fit into, the distance is the largest at which it does: by
        an interval of 4, from 61 frames on 4, of 46 to 60 frames 3, of 31 to 45 2, of fewer 1.

        Args:
            extent: How long the video is; None for one that is long enough.
        """
        gaps = self.clip_len - 1
        if self.frame_rate is None:
            frames = self.frame_interval
            if extent is not None and gaps * frames >= extent.num_frames:
                frames = max(1, (extent.num_frames - 1) // gaps)
            return Spacing(frames=frames)
        seconds = 1 / self.frame_rate
        if extent is not None and extent.num_frames > 1:
            interval = extent.mean_interval
            end = extent.last_time + interval / 2 - TIME_TOLERANCE
            if seconds > interval and gaps * seconds >= end:
                seconds = max(interval, extent.last_time / gaps)
        return Spacing(seconds=seconds)


@dataclass(frozen=True)
class Extent:
    """How long a video or a part of it is."""

    num_frames: int
    last_time: float  # of its last frame, in seconds since its first

    @property
    def mean_interval(self) -> float:
        """Mean number of seconds between two frames; 0 where there is one frame."""
        return self.last_time / max(1, self.num_frames - 1)


@dataclass(frozen=True)
class Spacing:
    """How far apart the frames of a clip are; one of the two is None."""

    frames: int | None = None
    seconds: float | None = None


def nearest_in_time(frames: Iterable["Frame"], seconds: float) -> Iterator["Frame"]:
    """Yield the frames that are shown nearest to 0, `seconds`, 2 `seconds`, ... after the first.

    Of two that are as near it is the later one. A frame that is the nearest several times is
    repeated. The last time is within half a frame interval of the last frame.

    Args:
        frames: Frames in the order of their times.
        seconds: Distance of two frames that are yielded.
    """
    first = None
    previous = None
    interval = seconds
    count = 0
    for frame in frames:
        first = frame.time if first is None else first
        while count * seconds <= frame.time - first:
            target = first + count * seconds
            is_previous_nearer = (
                previous is not None
                and target - previous.time < frame.time - target - TIME_TOLERANCE
            )
            yield previous if is_previous_nearer else frame
            count += 1
        if previous is not None:
            interval = frame.time - previous.time
        previous = frame
    if previous is None:
        return
    end = previous.time - first + interval / 2 - TIME_TOLERANCE
    while count * seconds < end:
        yield previous
        count += 1

"""Videos whose frames tell their time."""

import pytest
from videos import (
    encode,
    grey_frame,
    grey_number,
)

from dataloaders.video import VideoFile

# 20 s: 5 frames a second for 10 s, then 25. The number of a frame is 25 times its time, up to 99.
UNEVEN = [0.2 * number for number in range(50)] + [10 + 0.04 * number for number in range(250)]
EVEN = [0.04 * number for number in range(500)]


def open_file(path):
    return VideoFile(path, threads=1)


def shown(video, start=0.0, end=float("inf")):
    """(time, number by its brightness) of each frame."""
    return [(frame.time, grey_number(frame.to_image())) for frame in video.frames(start, end)]


def write_timed(path, times, codec="libx264", **settings):
    """Write a video whose frames tell their time."""
    ticks = [round(1000 * time) for time in times]
    frames = [grey_frame(round(25 * time) % 100) for time in times]
    if ticks == [40 * number for number in range(len(times))]:
        return encode(path, frames, codec, **settings)
    return encode(path, frames, codec, ticks=ticks, **settings)


def assert_timed(frames, expected):
    """Check that frames come at the expected times and are those that belong there."""
    assert [time for time, _ in frames] == pytest.approx(expected, abs=0.0011)
    for time, number in frames:
        assert abs(number - round(25 * time) % 100) < 0.9

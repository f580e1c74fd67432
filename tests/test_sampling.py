import math
from dataclasses import asdict
from itertools import count, takewhile
from types import SimpleNamespace

import numpy as np
import pytest

from dataloaders.errors import DataError
from dataloaders.sampling import ClipConfig, Extent, Spacing, nearest_in_time


def by_number(num_frames, clip_len, step):
    """The frames that are kept where they are counted: each `step`th, closer in a short video."""
    if step > 1 and math.floor((clip_len - 1) * step + 0.5) >= num_frames:
        step = max(1, (num_frames - 1) / (clip_len - 1))
    places = (math.floor(i * step + 0.5) for i in count())
    return list(takewhile(lambda place: place < num_frames, places))


@pytest.mark.parametrize("clip_len", [2, 3, 8, 16, 31, 32])
@pytest.mark.parametrize("interval", [1, 2, 4, 7])
def test_spacing_by_interval_is_a_whole_number_that_fits_a_clip(clip_len, interval):
    config = ClipConfig.from_flags(clip_len=clip_len, frame_interval=interval)
    assert config.spacing(None) == Spacing(frames=interval)
    for num_frames in range(1, 200):
        step = interval
        while step > 1 and (clip_len - 1) * step >= num_frames:
            step -= 1
        assert config.spacing(Extent(num_frames, num_frames / 7)) == Spacing(frames=step)


@pytest.mark.parametrize("clip_len", [2, 3, 16, 32])
@pytest.mark.parametrize("rate", [10, 15, 24, 60])
@pytest.mark.parametrize("fps", [10, 23.976, 25, 30, 60])
def test_frames_by_rate_are_those_that_counting_gives_at_an_even_rate(clip_len, rate, fps):
    config = ClipConfig.from_flags(clip_len=clip_len, frame_rate=rate)
    for num_frames in [*range(2, 50), *range(50, 200, 7)]:
        frames = [
            SimpleNamespace(time=7 + number / fps, number=number) for number in range(num_frames)
        ]
        spacing = config.spacing(Extent(num_frames, (num_frames - 1) / fps))
        kept = [frame.number for frame in nearest_in_time(frames, spacing.seconds)]
        expected = by_number(num_frames, clip_len, fps / rate)
        assert kept == expected
        if num_frames >= clip_len:
            assert len(set(kept)) >= clip_len


def test_the_nearest_frames_in_time_are_found_at_an_uneven_rate():
    rng = np.random.default_rng(0)
    for seconds in (0.01, 0.04, 0.1, 0.5):
        times = np.cumsum(rng.uniform(0.01, 0.2, 60)) + 3
        frames = [SimpleNamespace(time=time) for time in times]
        found = [frame.time for frame in nearest_in_time(frames, seconds)]
        wanted = times[0] + seconds * np.arange(len(found))
        nearest = times[np.abs(times[None] - wanted[:, None]).argmin(1)]
        assert found == pytest.approx(nearest)
        half = (times[-1] - times[-2]) / 2
        assert wanted[-1] < times[-1] + half <= wanted[-1] + seconds


def test_no_frames_and_one_frame():
    assert list(nearest_in_time([], 0.1)) == []
    one = SimpleNamespace(time=5.0)
    assert list(nearest_in_time([one], 0.1)) == [one]
    config = ClipConfig.from_flags(frame_rate=10)
    assert config.spacing(None) == config.spacing(Extent(1, 0.0)) == Spacing(seconds=0.1)


@pytest.mark.parametrize("size", [-1, 0, 1025])
def test_impossible_crops_are_refused(size):
    with pytest.raises(ValueError, match="--crop-size"):
        ClipConfig.from_flags(size)


@pytest.mark.parametrize(
    "change",
    [
        {"clip_len": 10**12},
        {"crop_size": 0},
        {"crop_size": 129},
        {"height": "128"},
        {"width": True},
        {"channels": 0},
        {"channels": 2.0},
        {"clip_len": -4},
        {"frame_rate": 15.0},
        {"frame_interval": None},
        {"frame_interval": None, "frame_rate": 0.0},
    ],
    ids=str,
)
def test_a_config_that_cuts_no_clips_is_refused(change):
    for config in (ClipConfig(), ClipConfig.from_flags(16)):
        assert ClipConfig.from_dict(asdict(config)) == config
    with pytest.raises(DataError, match="no clip can be cut"):
        ClipConfig.from_dict(asdict(ClipConfig()) | change)
    with pytest.raises(DataError, match="no clip can be cut"):
        ClipConfig.from_dict({})


def test_frames_that_are_the_same_have_one_name_and_others_another():
    by_number = ClipConfig()
    assert by_number.sampling() == by_number.sampling(30) == "16x4_171x128"  # no rate matters
    by_time = ClipConfig.from_flags(clip_len=8, frame_rate=12.5)
    assert by_time.sampling() == by_time.sampling(25) == "8x12.5fps_171x128"
    assert by_time.sampling(30) == "8x12.5fps_171x128_from30fps"
    assert by_number.sampling(image_prefix="flow x/") == "16x4_171x128_flow-x-"
    assert ClipConfig.from_flags(56).sampling() == "16x4_171x128"  # scaled down when it is read
    assert ClipConfig.from_flags(224).sampling() == "16x4_342x256"

import math
from dataclasses import asdict
from itertools import count, takewhile
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import is_flipped, numbered_frame, read_number

from dataloaders import sampling, transforms
from dataloaders.errors import DataError
from dataloaders.sampling import ClipConfig, Extent, Spacing, nearest_in_time


@pytest.mark.parametrize("clip_len", [2, 8, 16, 32])
@pytest.mark.parametrize(
    "rate",
    [{"frame_interval": n} for n in (1, 2, 4, 7)] + [{"frame_rate": f} for f in (10, 15, 24, 60)],
)
@pytest.mark.parametrize("fps", [10, 23.976, 25, 29.97, 30, 60])
def test_kept_frames_are_the_nearest_ones_and_short_videos_keep_as_many_as_a_clip_has(
    clip_len, rate, fps
):
    config = ClipConfig.from_flags(clip_len=clip_len, **rate)
    full = fps / config.frame_rate if config.frame_rate else config.frame_interval
    for num_frames in range(1, 200):
        step = config.step(fps, num_frames)
        kept = [
            number
            for i in range(10 * num_frames)
            if (number := sampling.frame_number(i, step)) < num_frames
        ]
        assert all(abs(number - i * step) <= 0.5 for i, number in enumerate(kept))
        assert kept[0] == 0 and num_frames - 1 - kept[-1] < max(1, step)
        if full <= 1:  # frames are held
            assert step == full and set(kept) == set(range(num_frames))
            continue
        assert 1 <= step <= full and len(set(kept)) == len(kept) >= min(clip_len, num_frames)
        if step < full and num_frames > clip_len:  # and the step is the longest that keeps so many
            longer = step + 1 if config.frame_interval else step * (1 + 1 / num_frames)
            assert sampling.frame_number(clip_len - 1, longer) >= num_frames


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


def test_a_clip_of_a_long_video_keeps_every_4th_frame():
    assert ClipConfig().step(fps=25) == 4


@pytest.mark.parametrize("fps", [25, 30, 60])
def test_videos_of_any_rate_give_the_same_clip_of_the_same_motion(fps):
    config = ClipConfig.from_flags(frame_rate=15)
    for seconds in (0.8, 1.2, 4):
        num_frames = round(seconds * fps)
        step = config.step(fps, num_frames)
        times = [sampling.frame_number(i, step) / fps for i in range(config.clip_len)]
        expected = min(1 / 15, (seconds - 1 / fps) / 15)
        assert all(abs(time - i * expected) <= 0.51 / fps + 1e-9 for i, time in enumerate(times))


def test_cut_gives_rgb_in_order_cropped_and_mirrored():
    frames = [transforms.resize_frame(numbered_frame(number)) for number in range(16)]
    clip = transforms.make_clip(frames, ClipConfig())
    assert clip.shape == (16, 112, 112, 3)
    assert clip.dtype == np.uint8
    assert [read_number(frame) for frame in clip] == list(range(16))
    assert not is_flipped(clip[0])
    assert np.array_equal(
        transforms.make_clip(frames, ClipConfig(), flip=True, crop=(8, 29, 112, 112)),
        clip[:, :, ::-1],
    )
    assert np.array_equal(clip[0], frames[0][8:120, 29:141, ::-1])


def test_smaller_crops_show_the_same_view():
    image = (
        np.random.default_rng(0)
        .integers(0, 256, (4, 6, 3), np.uint8)
        .repeat(32, 0)
        .repeat(29, 1)[:, :171]
    )
    large, small = (
        transforms.make_clip([image] * 16, ClipConfig.from_flags(size))[0] for size in (112, 56)
    )
    assert small.shape == (56, 56, 3)
    assert np.abs(transforms.resize_frame(large, 56, 56).astype(int) - small).mean() < 6


@pytest.mark.parametrize("size", [(960, 1280), (1080, 1920), (1920, 1080), (1024, 160), (96, 1368)])
def test_resize_averages_where_it_shrinks(size):
    dots = np.zeros((*size, 3), np.uint8)
    dots[:: max(1, size[0] // 128), :: max(1, size[1] // 171)] = 255
    small = transforms.resize_frame(dots)
    assert small.shape == (128, 171, 3)
    assert small.mean() == pytest.approx(dots.mean(), rel=0.1)
    assert small.std() < 6


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

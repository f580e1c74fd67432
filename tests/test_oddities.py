from dataclasses import replace

import numpy as np
import pytest

from dataloaders.appearance import Appearance
from dataloaders.headers import Header
from dataloaders.oddities import Facts, find_oddities
from dataloaders.records import VideoRecord
from dataloaders.sampling import ClipConfig

USUAL = Appearance(200, 50, 80, None, np.zeros((16, 16), np.float32))


@pytest.fixture
def videos():
    """Ten usual videos of two classes."""
    found = []
    for number in range(10):
        class_name = "Jump" if number % 2 else "Run"
        split = ("train", "train", "val", "val", "test", "test")[number % 6]
        source = f"{class_name}/{number}.avi"
        record = VideoRecord(split, class_name, f"{number}", f"g{number}", source, 20)
        found.append(Facts(record, Header(2.0 + number / 10, 25.0, (320, 240)), USUAL))
    return found


def found_in(videos, config=None):
    """The suspects of each kind, {title: {name: note}}."""
    oddities = find_oddities(videos, config or ClipConfig())
    return {o.title: {suspect.name: suspect.note for suspect in o.suspects} for o in oddities}


def test_nothing_is_odd_about_usual_videos(videos):
    assert found_in(videos) == {}


@pytest.mark.parametrize(
    ("change", "title", "note"),
    [
        ({"brightest": 20}, "Black or blank videos", "black: 98 % of its pixels are at most 20"),
        ({"contrast": 1}, "Black or blank videos", "single colour"),
        ({"motion": 2}, "Motionless videos", "show the same"),
        ({"bars": "left and right"}, "Letterboxed videos", "black bars left and right"),
    ],
)
def test_how_a_video_looks(videos, change, title, note):
    videos[3] = replace(videos[3], appearance=replace(USUAL, **change))
    (suspects,) = found_in(videos).values()
    assert found_in(videos).keys() == {title}
    assert note in suspects["Jump/3.avi"]


def test_a_frame_that_cannot_be_read(videos):
    videos[3] = replace(videos[3], appearance=None)
    assert list(found_in(videos)["Stored frames that cannot be read"]) == ["Jump/3.avi"]


def test_a_video_twenty_times_as_long_as_the_others(videos):
    videos[3] = replace(videos[3], header=Header(50.0, 25.0, (320, 240)))
    # The lengths are 2 to 2.9 s without 2.3, and 50: the median is 2.55.
    note = "50 s, 19.6 times the median of 2.55"
    assert found_in(videos) == {"More than 5 times as long as usual": {"Jump/3.avi": note}}


def test_without_headers_lengths_are_those_of_the_stored_frames(videos):
    videos = [replace(video, header=Header()) for video in videos]
    videos[3] = replace(videos[3], record=videos[3].record._replace(frames=400))
    note = "400 stored frames, 20 times the median of 20"
    assert found_in(videos) == {"More than 5 times as long as usual": {"Jump/3.avi": note}}


def test_a_video_shorter_than_a_clip_and_a_single_frame(videos):
    videos[3] = replace(videos[3], record=videos[3].record._replace(frames=15))
    assert found_in(videos) == {"Shorter than a clip": {"Jump/3.avi": "15 of 16 frames"}}
    assert found_in(videos, ClipConfig(clip_len=8)) == {}
    videos[3] = replace(videos[3], record=videos[3].record._replace(frames=1))
    assert found_in(videos)["Motionless videos"] == {"Jump/3.avi": "a single frame"}


def test_other_rates(videos):
    for number, fps in ((1, 24.9), (2, 30.0), (3, 12.5)):
        videos[number] = replace(videos[number], header=Header(2.0, fps))
    notes = {"Run/2.avi": "30 frames/s; most have 25", "Jump/3.avi": "12.5 frames/s; most have 25"}
    assert found_in(videos) == {"Other frame rates": notes}


def test_a_class_in_one_recording(videos):
    for number in (1, 3, 5, 7, 9):
        record = videos[number].record._replace(group="g1")
        videos[number] = replace(videos[number], record=record)
    assert found_in(videos) == {"Classes in one recording only": {"Jump": "5 of group g1"}}


def test_a_class_that_a_part_lacks(videos):
    for number in (1, 5, 9):
        record = videos[number].record._replace(split="val")
        videos[number] = replace(videos[number], record=record)
    splits = [video.record.split for video in videos if video.record.class_name == "Jump"]
    assert splits == ["val", "val", "val", "train", "val"]
    assert found_in(videos) == {"Classes that are not in every part": {"Jump": "no video in test"}}
    without_test = [video for video in videos if video.record.split != "test"]
    assert found_in(without_test) == {}  # no class has videos in test

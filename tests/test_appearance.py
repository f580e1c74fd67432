import cv2
import numpy as np
import pytest

from dataloaders.appearance import describe, find_upside_down, read_appearance, read_appearances
from dataloaders.records import VideoRecord, frame_name
from dataloaders.thumbnails import make_thumbnail


def noise(seed, shape=(32, 43)):
    """A picture with large light and dark parts."""
    small = np.random.default_rng(seed).integers(40, 220, (4, 5), np.uint8)
    return cv2.resize(small, shape[::-1], interpolation=cv2.INTER_CUBIC)


def test_numbers_by_hand():
    frames = np.zeros((2, 4, 5), np.uint8)
    frames[0] = 10
    frames[1, :, 0] = 60
    look = describe(frames)
    # Of 40 pixels 4 have 60, 20 have 10 and 16 have 0.
    assert look.brightest == 60
    assert look.motion == 50
    assert look.contrast == pytest.approx(np.sqrt(0.2 * 0.8) * 60)
    assert look.picture.shape == (16, 16)
    assert look.picture.mean() == pytest.approx((4 * 35 + 16 * 5) / 20, rel=0.02)


def test_black_flat_and_motionless_videos():
    moving = np.stack([noise(0), noise(1)])
    looks = {
        "black": describe(np.full((4, 32, 43), 16, np.uint8)),
        "flat": describe(np.full((4, 32, 43), 200, np.uint8)),
        "still": describe(np.stack([noise(0)] * 4)),
        "moving": describe(moving),
        "dim": describe(moving // 4),
    }
    found = {}
    for name, look in looks.items():
        found[name] = (look.is_black, look.is_flat, look.is_still)
    assert found == {
        "black": (True, False, False),
        "flat": (False, True, False),
        "still": (False, False, True),
        "moving": (False, False, False),
        "dim": (False, False, False),
    }


def test_a_small_part_that_moves_is_motion():
    frames = np.stack([noise(0)] * 4)
    frames[1, 10, 10] += 5  # by which decoders differ
    assert describe(frames).is_still
    frames[2, 10, 10] += 12
    assert not describe(frames).is_still


@pytest.mark.parametrize(
    ("top", "bottom", "left", "right", "bars"),
    [
        (4, 4, 0, 0, "above and below"),
        (0, 0, 5, 5, "left and right"),
        (3, 0, 0, 0, None),  # a dark ceiling
        (1, 1, 0, 0, None),  # an edge of the picture
        (2, 12, 0, 0, None),
    ],
)
def test_black_bars(top, bottom, left, right, bars):
    frames = np.stack([np.maximum(noise(seed), 40) for seed in range(4)])
    frames[:, :top] = 8
    frames[:, 32 - bottom :] = 8
    frames[:, :, :left] = 8
    frames[:, :, 43 - right :] = 8
    assert describe(frames).bars == bars


def test_a_black_part_of_one_frame_is_no_bar():
    frames = np.stack([noise(0)] * 4)
    frames[0, :5] = 0
    frames[0, -5:] = 0
    assert describe(frames).bars is None


def videos_of(group, pictures):
    records = [VideoRecord("train", "Run", f"{i}", group, f"{i}") for i in range(len(pictures))]
    return records, [describe(np.stack([picture] * 2)) for picture in pictures]


@pytest.mark.parametrize("turn", [lambda p: p[::-1, ::-1], lambda p: p[::-1]])
def test_a_video_that_is_upside_down_among_others_of_its_recording(turn):
    records, looks = videos_of("g1", [noise(0), noise(0), turn(noise(0)), noise(0)])
    assert find_upside_down(records, looks) == [records[2]]


def test_what_is_compared_with_nothing_is_not_upside_down():
    for pictures in ([noise(0), noise(0)[::-1]], [noise(0), noise(1), noise(2)]):
        assert find_upside_down(*videos_of("g1", pictures)) == []
    records, looks = videos_of("g1", [noise(0), noise(0), noise(0)[::-1]])
    apart = [record._replace(group=record.video) for record in records]
    assert find_upside_down(apart, looks) == []
    assert find_upside_down(records, [None, *looks[1:]]) == []


def test_stored_frames_are_read_by_their_numbers(tmp_path):
    for number in range(1, 9):
        picture = np.full((128, 171, 3), 100, np.uint8)
        if number in (2, 4, 6, 8):  # (2 i + 1) / 8 of the way
            picture[:64] = 20 * number
        cv2.imwrite(str(tmp_path / frame_name(number)), picture)
    look = read_appearance(tmp_path, 8)
    assert look.motion == pytest.approx(40, abs=3)
    assert look.brightest == pytest.approx(160, abs=3)
    (tmp_path / frame_name(6)).write_bytes(b"no JPEG")
    damaged, single = read_appearances([tmp_path, tmp_path], [8, 1])
    assert damaged is None
    assert single.motion == 0


def test_a_missing_frame_prints_nothing(tmp_path, capfd):
    assert read_appearance(tmp_path, 3) is None
    assert make_thumbnail(tmp_path / frame_name(1)) is None
    assert capfd.readouterr() == ("", "")

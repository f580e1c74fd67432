"""The frames of a video file come at the right times."""

import errno
import os
import struct
from fractions import Fraction
from pathlib import Path

import pytest
from conftest import edit_mp4, with_matrix
from timed_videos import EVEN, UNEVEN, assert_timed, open_file, shown, write_timed
from videos import (
    B_FRAMES,
    encode,
    grey_frame,
    grey_number,
    overwrite,
    packet_places,
    remux,
)

from dataloaders.decoding import Decoder
from dataloaders.ffmpeg import av

PARTS = [(0, 3), (5, 8), (5.01, 5.5), (9.3, 12.2), (15, 15.5), (18.5, 30), (7, 7.05)]


@pytest.mark.parametrize(
    ("times", "codec", "suffix", "settings"),
    [
        (UNEVEN, "libx264", "mp4", {"options": B_FRAMES}),
        (UNEVEN, "libx264", "mkv", {"options": B_FRAMES}),
        (UNEVEN, "libx264", "ts", {"options": B_FRAMES}),
        (UNEVEN, "libx264", "flv", {}),
        (UNEVEN, "libvpx-vp9", "webm", {"gop_size": 40}),
        (EVEN, "libx264", "mov", {"options": B_FRAMES, "gop_size": 250}),
        (EVEN, "libx264", "avi", {"options": B_FRAMES}),
        (EVEN, "mpeg4", "avi", {}),
        (EVEN, "mpeg4", "avi", {"options": {"bf": "2"}}),
        (EVEN, "mpeg2video", "mpg", {"options": {"bf": "2"}}),
        (EVEN, "mpeg2video", "ts", {"options": {"bf": "2"}, "sound": 21}),
        (EVEN, "wmv2", "wmv", {}),
        (EVEN, "flv", "flv", {}),
    ],
)
def test_frames_of_a_video_and_of_its_parts_come_at_their_times(
    tmp_path, times, codec, suffix, settings
):
    video = open_file(write_timed(tmp_path / f"v.{suffix}", times, codec, **settings))
    assert video.has_timestamps
    assert_timed(shown(video), times)
    assert video.damage is None
    for start, end in PARTS:
        part = [time for time in times if start <= time < end]
        assert_timed(shown(video, start, end), part)
        assert video.damage is None


@pytest.mark.parametrize("shift", [0, 30])
@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "mkv"), ("mpeg4", "avi")])
def test_a_late_part_is_not_decoded_from_the_beginning(tmp_path, monkeypatch, codec, suffix, shift):
    path = write_timed(tmp_path / "v.avi", EVEN, codec, options={"bf": "2"})
    if suffix == "mkv":
        source = write_timed(tmp_path / "v.mp4", EVEN, codec, options=B_FRAMES)
        path = remux(source, tmp_path / "v.mkv", shift=shift)
    video = open_file(path)
    decoded = []
    decode = Decoder._decode
    monkeypatch.setattr(
        Decoder, "_decode", lambda self, packet: decoded.append(packet) or decode(self, packet)
    )
    assert len(list(video.frames(15, 15.48))) == 12
    assert len(decoded) < 100


@pytest.mark.parametrize("late", [1.0, 30.0])
def test_a_jump_that_leads_behind_the_start_does_not_matter(tmp_path, monkeypatch, late):
    video = open_file(write_timed(tmp_path / "v.mp4", UNEVEN))
    seek = Decoder.seek
    monkeypatch.setattr(Decoder, "seek", lambda self, seconds: seek(self, seconds + 2 + late))
    assert_timed(shown(video, 12, 14), [time for time in UNEVEN if 12 <= time < 14])


def test_a_jump_that_fails_does_not_matter(tmp_path, monkeypatch):
    video = open_file(write_timed(tmp_path / "v.mp4", UNEVEN))

    def fail(self, seconds):
        raise av.error.PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Decoder, "seek", fail)
    assert_timed(shown(video, 12, 14), [time for time in UNEVEN if 12 <= time < 14])


@pytest.mark.parametrize("options", [{"preset": "ultrafast"}, B_FRAMES], ids=["P", "B"])
@pytest.mark.parametrize("trimmed", [0.1, 0.5, 1.0, 2.0])
def test_a_file_that_was_trimmed_without_encoding_is_whole(tmp_path, options, trimmed):
    """An edit list hides what is before; a key frame is needed from there."""
    source = encode(tmp_path / "v.mp4", 100, options=options)
    video = open_file(remux(source, tmp_path / "trimmed.mp4", shift=-trimmed))
    frames = shown(video)
    first = round(25 * trimmed)
    assert abs(frames[0][1] - first) < 1.6 and len(frames) == pytest.approx(100 - first, abs=1.5)
    assert frames[0][0] == 0
    for time, number in frames:
        assert abs(time - (number - first) / 25) < 0.07
    assert video.damage is None
    assert video.num_frames == pytest.approx(100 - first, abs=1)
    assert video.duration == pytest.approx(4 - trimmed, abs=0.01)
    assert [round(number) for _, number in shown(video, 0.4, 0.6)] == pytest.approx(
        [first + 10 + number for number in range(5)], abs=1
    )


@pytest.mark.parametrize("options", [{"preset": "ultrafast"}, B_FRAMES], ids=["P", "B"])
def test_a_file_whose_end_an_edit_list_hides_is_whole(tmp_path, options):
    path = encode(tmp_path / "v.mp4", 50, options=options)

    def shorten(kind, box):
        place = {b"tkhd": 20, b"edts": 16}.get(kind)
        if place is None:
            return box
        (duration,) = struct.unpack(">I", box[place : place + 4])
        assert duration == 2000  # milliseconds
        return box[:place] + struct.pack(">I", 1200) + box[place + 4 :]

    path.write_bytes(edit_mp4(path.read_bytes(), shorten))
    video = open_file(path)
    assert [number for _, number in shown(video)] == pytest.approx(range(30), abs=0.9)
    assert video.damage is None
    assert len(shown(video, 1, 3)) == 5 and video.damage is None


def test_an_edit_list_and_one_damaged_packet_count_one_frame(tmp_path):
    source = encode(tmp_path / "v.mp4", 100, "mjpeg", pix_fmt="yuvj420p")
    path = remux(source, tmp_path / "trimmed.mp4", shift=-2.0)
    place, size = packet_places(path)[-10]
    video = open_file(overwrite(path, place + 2, size // 2))
    assert len(shown(video)) == 49
    assert str(video.damage) == "1 of 50 frames are damaged or missing, the first at 1.6 s"


@pytest.mark.parametrize(
    ("suffix", "late"), [("mp4", 3.0), ("mkv", 3.0), ("ts", 7.0), ("mkv", 0.5)]
)
def test_times_count_from_the_first_frame(tmp_path, suffix, late):
    source = encode(tmp_path / "v.mp4", 50, options=B_FRAMES)
    path = remux(source, tmp_path / f"w.{suffix}", shift=late, muxer={"avoid_negative_ts": "0"})
    video = open_file(path)
    frames = shown(video)
    assert [time for time, _ in frames] == pytest.approx([n / 25 for n in range(50)], abs=0.0011)
    assert video.duration == pytest.approx(2, abs=0.05)
    assert video.damage is None


def test_a_video_without_time_stamps_is_counted_by_its_rate(tmp_path):
    for rate in (10, 50):
        video = open_file(encode(tmp_path / f"{rate}.h264", 60, rate=rate, options=B_FRAMES))
        frames = shown(video)
        assert [time for time, _ in frames] == pytest.approx([n / rate for n in range(60)])
        assert [number for _, number in frames] == pytest.approx(range(60), abs=0.6)
        part = shown(video, 20 / rate, 40 / rate)
        assert [number for _, number in part] == pytest.approx(range(20, 40), abs=0.6)
        assert not video.has_timestamps
        assert video.fps == rate and video.num_frames is None and video.duration is None


def test_a_video_without_time_stamps_has_no_jumps(tmp_path):
    video = open_file(encode(tmp_path / "v.h264", [grey_frame(n / 2) for n in range(200)]))
    assert [round(2 * number) for _, number in shown(video, 6, 6.4)] == pytest.approx(
        range(150, 160), abs=1
    )


@pytest.mark.parametrize(("codec", "suffix"), [("ffv1", "mkv"), ("libx264", "mov"), ("flv", "flv")])
def test_the_duration_is_that_of_the_picture_where_sound_is_longer(tmp_path, codec, suffix):
    video = open_file(encode(tmp_path / f"v.{suffix}", 30, codec, sound=3))
    # The last packet of this FLV has no duration.
    assert video.duration == pytest.approx(1.16 if codec == "flv" else 1.2, abs=0.0011)
    assert len(list(video.frames())) == 30 and video.damage is None
    assert len(list(video.frames(0.8, 5))) == 10 and video.damage is None


def test_the_header_tells_rate_length_and_shape(tmp_path):
    video = open_file(encode(tmp_path / "v.mp4", 30, rate=30))
    assert (video.fps, video.num_frames, video.duration) == (30, 30, 1)
    assert (video.pixel_aspect, video.is_live, video.name) == (1, False, str(tmp_path / "v.mp4"))
    fast = open_file(encode(tmp_path / "f.mp4", 100, rate=1000))
    assert fast.fps == pytest.approx(1000, rel=0.01)
    assert list(fast.frames())[-1].time == pytest.approx(0.099)


@pytest.mark.parametrize("aspect", [2, 3 / 4])
@pytest.mark.parametrize(
    "matrix", [(1, 0, 0, 1), (-1, 0, 0, -1), (0, 1, -1, 0), (0, -1, 1, 0), (0, 1, 1, 0)]
)
def test_pixels_that_are_not_square_are_turned_with_the_picture(tmp_path, matrix, aspect):
    tags = {"sample_aspect_ratio": Fraction(aspect)}
    path = encode(tmp_path / "v.mp4", 3, tags=tags)
    path.write_bytes(edit_mp4(path.read_bytes(), with_matrix(*matrix)))
    video = open_file(path)
    is_turned = matrix[0] == 0
    assert video.pixel_aspect == pytest.approx(1 / aspect if is_turned else aspect)
    shape = next(video.frames()).to_image().shape
    assert shape == ((64, 48, 3) if is_turned else (48, 64, 3))


def test_frames_can_be_read_again_and_after_closing(tmp_path):
    video = open_file(encode(tmp_path / "v.mp4", 30))
    video.close()
    frames = video.frames()
    next(frames), next(frames)
    assert len(list(video.frames())) == 30
    video.close()
    assert len(list(video.frames())) == 30
    assert list(video.frames(5)) == []


def test_closing_leaves_those_who_still_read_alone(tmp_path):
    """FFmpeg's memory of a closed file is gone; reading it would end the process."""
    video = open_file(encode(tmp_path / "v.mp4", 30))
    first = video.frames()
    assert grey_number(next(first).to_image()) == pytest.approx(0, abs=0.9)
    second = video.frames(0.4)
    frame = next(second)
    video.close()
    assert [round(25 * frame.time) for frame in first] == list(range(1, 30))
    assert [round(25 * frame.time) for frame in second] == list(range(11, 30))
    assert grey_number(frame.to_image()) == pytest.approx(10, abs=0.9)
    assert video.duration == 1.2


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads /proc")
def test_a_file_is_closed_when_its_frames_end(tmp_path):
    path = encode(tmp_path / "v.mp4", 30, "mjpeg", pix_fmt="yuvj420p")

    def count_open():
        return sum(os.path.realpath(link) == str(path) for link in Path("/proc/self/fd").iterdir())

    video = open_file(path)
    assert count_open() == 1
    list(video.frames())
    assert count_open() == 0
    frames = video.frames(0.5)
    next(frames)
    assert count_open() == 1
    frames.close()
    assert count_open() == 0
    other = open_file(path)
    other.close()
    assert count_open() == 0


def test_a_file_in_which_a_text_stream_begins_late_is_read_to_its_end(tmp_path):
    path = encode(tmp_path / "v.flv", 60, "flv", sound=2)
    text = b"\x02\x00\x0aonTextData\x08\x00\x00\x00\x01\x00\x04text\x02\x00\x02hi\x00\x00\x09"
    tag = b"\x12" + len(text).to_bytes(3, "big") + bytes(7) + text
    path.write_bytes(path.read_bytes() + tag + len(tag).to_bytes(4, "big"))
    assert len(list(open_file(path).frames())) == 60

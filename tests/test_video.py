"""Video files: frames at the right times, what is damaged, what is refused; streams and cameras."""

import errno
import math
import os
import shutil
import struct
import subprocess
import sys
import threading
from fractions import Fraction
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from conftest import ROOT, edit_mp4, with_matrix
from videos import (
    B_FRAMES,
    encode,
    grey_frame,
    grey_number,
    overwrite,
    packet_places,
    remux,
    silence,
)

from dataloaders import live_sources
from dataloaders.decoding import Decoder
from dataloaders.errors import DataError, FileError, TransientReadError
from dataloaders.ffmpeg import av
from dataloaders.frame_source import display_name
from dataloaders.live_sources import Camera, Stream, open_live_source
from dataloaders.video import Damage, VideoFile

# 20 s: 5 frames a second for 10 s, then 25. The number of a frame is 25 times its time, up to 99.
UNEVEN = [0.2 * number for number in range(50)] + [10 + 0.04 * number for number in range(250)]
EVEN = [0.04 * number for number in range(500)]
PARTS = [(0, 3), (5, 8), (5.01, 5.5), (9.3, 12.2), (15, 15.5), (18.5, 30), (7, 7.05)]


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


# Whole files and damaged ones.

WHOLE = [
    ("libx264", "mp4", {}),
    ("libx264", "mp4", {"options": B_FRAMES, "sound": 2}),
    ("libx264", "mp4", {"muxer": {"movflags": "frag_keyframe+empty_moov"}}),
    ("libx264", "mkv", {"options": B_FRAMES, "sound": 0.5}),
    ("libx264", "mxf", {}),
    ("libx265", "mov", {"sound": 1}),
    ("libvpx", "webm", {"sound": 2}),
    ("libvpx-vp9", "ivf", {}),
    ("libsvtav1", "mp4", {}),
    ("libsvtav1", "mkv", {}),
    ("mpeg4", "avi", {"sound": 2}),
    ("msmpeg4", "avi", {}),
    ("mpeg1video", "mpg", {}),
    ("mpeg2video", "vob", {"options": {"bf": "2"}}),
    ("mpeg2video", "ts", {"sound": 2}),
    ("mjpeg", "avi", {"pix_fmt": "yuvj420p"}),
    ("mjpeg", "mov", {"pix_fmt": "yuvj422p"}),
    ("wmv2", "asf", {}),
    ("flv", "flv", {"sound": 2}),
    ("gif", "gif", {"pix_fmt": "rgb8"}),
    ("ffv1", "nut", {}),
    ("rawvideo", "y4m", {"format": "yuv4mpegpipe"}),
    ("prores_ks", "mov", {"pix_fmt": "yuv422p10le"}),
    ("huffyuv", "avi", {"pix_fmt": "yuv422p"}),
    ("rawvideo", "avi", {}),
    ("libx264", "h264", {}),
    ("libx265", "hevc", {}),
]


@pytest.mark.parametrize(("codec", "suffix", "settings"), WHOLE)
def test_whole_files_are_read_and_raise_no_alarm(tmp_path, codec, suffix, settings):
    frames = [grey_frame(number, (64, 64)) for number in range(60)]
    video = open_file(encode(tmp_path / f"v.{suffix}", frames, codec, **settings))
    read = shown(video)
    assert [number for _, number in read] == pytest.approx(range(60), abs=1.2)
    assert [time for time, _ in read] == pytest.approx([n / 25 for n in range(60)], abs=0.0011)
    assert video.damage is None
    assert video.num_frames in (60, None)
    for part in ((0, 1), (0.4, 9), (1, 2)):
        list(video.frames(*part))
        assert video.damage is None


def damage_one(path, number, codec):
    """Destroy the packet of a number so that its decoder notices."""
    place, size = packet_places(path)[number]
    if codec == "h264":  # keep the length of the slice and its header
        return overwrite(path, place + 5, 3, 0xFF)
    return overwrite(path, place + size // 4, size // 2)


@pytest.mark.parametrize(
    ("codec", "suffix", "settings", "lost"),
    [
        ("mpeg4", "avi", {}, 1),
        ("libx264", "mp4", {}, 1),
        ("libx264", "mkv", {}, 1),
        ("mjpeg", "avi", {"pix_fmt": "yuvj420p"}, 1),
        ("mjpeg", "mov", {"pix_fmt": "yuvj420p"}, 1),
        ("mpeg2video", "mpg", {}, 1),
        ("flv", "flv", {}, 1),
        ("prores_ks", "mov", {"pix_fmt": "yuv422p10le"}, 1),
    ],
)
def test_one_damaged_packet_costs_one_frame(tmp_path, codec, suffix, settings, lost):
    """The 31st of 100 frames is destroyed; each 12th is a key frame."""
    path = encode(tmp_path / f"v.{suffix}", 100, codec, **settings)
    if suffix == "mpg":
        damage_packet_of_mpeg(path, 30)
    else:
        damage_one(path, 30, codec.removeprefix("lib").replace("x264", "h264"))
    video = open_file(path)
    frames = shown(video)
    expected = [number for number in range(100) if number != 30]
    assert [time for time, _ in frames] == pytest.approx([n / 25 for n in expected], abs=0.0011)
    intact = [n for n in expected if n < 30 or n >= 36]  # what depends on the lost one may look odd
    seen = dict(zip(expected, [number for _, number in frames], strict=True))
    assert [seen[n] for n in intact] == pytest.approx(intact, abs=0.8)
    assert video.damage == Damage(1, 100, pytest.approx(1.2, abs=0.01))
    assert str(video.damage) == "1 of 100 frames are damaged or missing, the first at 1.2 s"
    # A part names it where it contains it, by the same numbers whether or not it is jumped to.
    list(video.frames(1, 2))
    assert video.damage == Damage(1, 25, pytest.approx(1.2, abs=0.01))
    for start, end in ((2, 3), (0.4, 1.2), (1.24, 2)):
        list(video.frames(start, end))
        assert video.damage is None


def damage_packet_of_mpeg(path, number):
    """Destroy the slices of a picture of an MPEG-2 file, which is cut into packets of its own."""
    data = bytearray(path.read_bytes())
    place = -1
    for _ in range(number + 1):
        place = data.index(b"\0\0\1\0", place + 1)  # the start of a picture
    end = data.index(b"\0\0\1\0", place + 1)
    slices = [
        at for at in range(place, end) if data[at : at + 3] == b"\0\0\1" and 1 <= data[at + 3] < 9
    ]
    for at in slices:
        data[at + 6 : at + 12] = b"\0" * 6
    path.write_bytes(data)


def test_damage_of_a_video_without_time_stamps_has_a_time(tmp_path):
    path = encode(tmp_path / "v.h264", 60, rate=10)
    start = -1
    for _ in range(31):
        start = path.read_bytes().index(b"\0\0\1\x41", start + 1)  # a picture of its own
    overwrite(path, start + 4, 4, 0xFF)
    video = open_file(path)
    frames = shown(video)
    assert len(frames) == 59
    seen = {round(number) for _, number in frames}
    (missing,) = {number for number in range(60) if number not in seen}
    assert video.damage.num_lost == 1
    # The decoder is up to two pictures behind.
    assert video.damage.first_time == pytest.approx(missing / 10, abs=0.21)


def test_a_gap_in_a_transport_stream_is_damage(tmp_path):
    """The demuxer alone knows that a piece of a picture is missing."""
    path = encode(tmp_path / "v.ts", 60, "mpeg2video", gop_size=6)
    data = path.read_bytes()
    packets = [data[place : place + 188] for place in range(0, len(data), 188)]
    starts = [n for n, packet in enumerate(packets) if packet[1] & 0x5F == 0x41]  # of pictures
    gap = starts[30] + 2
    path.write_bytes(b"".join(packets[:gap] + packets[gap + 1 :]))
    video = open_file(path)
    assert len(list(video.frames())) == 60 - video.damage.num_lost
    assert 1 <= video.damage.num_lost <= 2
    assert video.damage.first_time == pytest.approx(1.2, abs=0.05)


def test_a_damaged_part_far_behind_the_start_is_named(tmp_path):
    path = write_timed(tmp_path / "v.avi", EVEN, "mjpeg", pix_fmt="yuvj420p")
    for number in (300, 301, 400):
        damage_one(path, number, "mjpeg")
    video = open_file(path)
    list(video.frames())
    assert video.damage == Damage(3, 500, pytest.approx(12))
    for start, end, damage in (
        (11, 13, Damage(2, 50, pytest.approx(12))),
        (13, 15, None),
        (15.5, 30, Damage(1, 112, pytest.approx(16))),
        (12.04, 12.08, Damage(1, 1, pytest.approx(12.04))),
    ):
        list(video.frames(start, end))
        assert video.damage == damage


@pytest.mark.parametrize(
    ("codec", "suffix", "settings"),
    [
        ("libx264", "mp4", {"muxer": {"movflags": "faststart"}}),
        ("mjpeg", "avi", {"pix_fmt": "yuvj420p"}),
        ("libx264", "mkv", {}),
        ("libvpx", "webm", {}),
        ("libx264", "flv", {}),
        ("mjpeg", "mov", {"muxer": {"movflags": "faststart"}, "pix_fmt": "yuvj420p"}),
    ],
)
def test_a_file_that_breaks_off_tells_how_much_is_missing(tmp_path, codec, suffix, settings):
    times = [0.04 * number for number in range(250)]
    path = write_timed(tmp_path / f"v.{suffix}", times, codec, **settings)
    place, _ = packet_places(path)[150]
    path.write_bytes(path.read_bytes()[:place])
    video = open_file(path)
    frames = shown(video)
    assert 148 <= len(frames) <= 150
    assert_timed(frames, times[: len(frames)])
    assert video.damage.num_lost == pytest.approx(100, abs=2)
    assert video.damage.num_frames == pytest.approx(250, abs=2)
    assert video.damage.first_time == pytest.approx(6, abs=0.09)
    list(video.frames(1, 5))
    assert video.damage is None
    for start, end in ((4.5, 8), (2, 8)):
        list(video.frames(start, end))
        assert video.damage.num_lost == pytest.approx(50, abs=2)
        assert video.damage.num_frames == pytest.approx(25 * (end - start), abs=2)
    list(video.frames(4.5))
    assert video.damage.num_lost == pytest.approx(100, abs=2)


def test_damage_and_what_is_missing_behind_it_are_counted_together(tmp_path):
    source = encode(tmp_path / "v.mov", 50, "mjpeg", pix_fmt="yuvj420p")
    path = remux(source, tmp_path / "w.mov", shift=3, muxer={"movflags": "faststart"})
    place, size = packet_places(path)[10]
    cut, _ = packet_places(path)[40]
    overwrite(path, place + size // 4, size // 2)
    path.write_bytes(path.read_bytes()[:cut])
    video = open_file(path)
    assert len(list(video.frames())) == 39
    assert video.damage == Damage(11, 50, pytest.approx(0.4))


def test_a_short_cut_at_the_end_is_named_where_the_header_counts_the_frames(tmp_path):
    path = encode(tmp_path / "v.avi", 50, "mjpeg", pix_fmt="yuvj420p")
    place, _ = packet_places(path)[45]
    path.write_bytes(path.read_bytes()[: place - 8])
    video = open_file(path)
    assert len(list(video.frames())) == 45
    assert video.damage == Damage(5, 50, pytest.approx(1.8))


@pytest.mark.parametrize(
    ("codec", "suffix", "lost"),
    [("libx264", "mp4", 12), ("libx265", "mp4", 6), ("libsvtav1", "mp4", 1), ("libx264", "ts", 11)],
)
def test_pictures_that_a_decoder_leaves_out_behind_damage_are_counted(
    tmp_path, codec, suffix, lost
):
    """What depends on a lost picture may not come either, until the next key picture."""
    frames = [grey_frame(number, (64, 64)) for number in range(60)]
    path = encode(tmp_path / f"v.{suffix}", frames, codec)
    number = 30 if codec == "libx265" else 24  # a key picture, of which each 12th is one
    place, size = packet_places(path)[number]
    start = {"libx265": 6, "libsvtav1": 0, "libx264": 0}[codec]
    overwrite(
        path, place + (40 if suffix == "ts" else start), 140 if suffix == "ts" else size - start
    )
    video = open_file(path)
    seen = {round(25 * time) for time, _ in shown(video)}
    missing = sorted(set(range(60)) - seen)
    assert 1 <= len(missing) <= lost and abs(missing[0] - number) <= 1
    assert video.damage.num_lost == pytest.approx(len(missing), abs=1)
    first = missing[0] / 25
    assert video.damage.first_time == pytest.approx(first, abs=0.05)
    for start, end in ((0, first - 0.04), (first + 0.5, 9)):
        list(video.frames(start, end))
        assert video.damage is None
    list(video.frames(first - 0.2, first + 0.5))
    assert video.damage.num_lost == pytest.approx(len(missing), abs=1)


OPEN_GROUPS = "open-gop=1:bframes=3:b-adapt=0:keyint=12:min-keyint=12:scenecut=0"


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("mpeg2video", {"bf": "2"}),
        ("libx264", {"preset": "veryfast", "x264-params": f"{OPEN_GROUPS}:threads=1"}),
        (
            "libx265",
            {"preset": "medium", "x265-params": f"{OPEN_GROUPS}:log-level=none:pools=none"},
        ),
    ],
)
def test_a_video_cut_at_an_open_group_of_pictures_is_whole(tmp_path, codec, options):
    """The pictures shown before its first key picture depend on what was cut away."""
    source = encode(tmp_path / "v.mp4", 60, codec, options=options)
    with av.open(str(source)) as file:
        packets = [packet for packet in file.demux(video=0) if packet.size]
    keys = [number for number, packet in enumerate(packets) if packet.is_keyframe]
    path = remux(source, tmp_path / "w.mkv", keep=lambda number: number >= keys[2])
    video = open_file(path)
    frames = shown(video)
    assert len(packet_places(path)) > len(frames)  # some cannot be shown
    assert [number for _, number in frames] == pytest.approx(range(24, 60), abs=0.9)
    assert video.damage is None


def test_what_a_decoder_conceals_is_lost(tmp_path):
    """Motion JPEG shows a picture whatever it lacks, unless it is asked to be strict."""
    path = encode(tmp_path / "v.avi", 20, "mjpeg", pix_fmt="yuvj420p")
    place, size = packet_places(path)[10]
    video = open_file(overwrite(path, place + size - size // 3, size // 3, 0xFF))
    assert len(list(video.frames())) == 19
    assert video.damage == Damage(1, 20, pytest.approx(0.4))


def test_an_encoder_that_never_follows_the_standard_of_jpeg_is_read(tmp_path):
    """Each picture of some cameras ends too early; none of them would be left."""
    path = encode(tmp_path / "v.avi", 20, "mjpeg", pix_fmt="yuvj420p")
    for place, size in packet_places(path):
        overwrite(path, place + size - size // 3, size // 3, 0xFF)
    video = open_file(path)
    assert [number for _, number in shown(video)] == pytest.approx(range(20), abs=0.9)
    assert video.damage is None
    assert len(list(video.frames(0.2, 0.4))) == 5


def test_a_video_that_begins_with_damage_begins_with_its_first_whole_frame(tmp_path):
    path = encode(tmp_path / "v.avi", 20, "mjpeg", pix_fmt="yuvj420p")
    damage_one(path, 0, "mjpeg")
    video = open_file(path)
    frames = shown(video)
    assert [time for time, _ in frames] == pytest.approx([n / 25 for n in range(19)])
    assert [number for _, number in frames] == pytest.approx(range(1, 20), abs=0.6)
    assert video.damage == Damage(1, 20, 0.0)


def test_any_damage_ends_in_frames_or_in_one_line(tmp_path):
    """Random bytes anywhere: no other exception, and times that increase."""
    rng = np.random.default_rng(0)
    kinds = [
        ("libx264", "mp4"),
        ("libx264", "ts"),
        ("mpeg4", "avi"),
        ("libvpx", "webm"),
        ("flv", "flv"),
    ]
    num_read = 0
    for codec, suffix in kinds:
        path = encode(tmp_path / f"v.{suffix}", 12, codec, gop_size=4)
        whole = path.read_bytes()
        for _ in range(40):
            data = bytearray(whole[: rng.integers(len(whole) // 2, len(whole))])
            for place in rng.integers(0, len(data), 8):
                data[place] = rng.integers(256)
            path.write_bytes(data)
            try:
                times = [frame.time for frame in open_file(path).frames()]
            except DataError as error:
                assert str(error).startswith(f"{path}: ")
                continue
            num_read += 1
            assert times[0] == 0 and all(earlier < later for earlier, later in pairwise(times))
    assert num_read > 100


@pytest.mark.parametrize(
    "error", [av.error.EOFError, av.error.PatchWelcomeError, av.error.MemoryError]
)
def test_a_container_that_ffmpeg_gives_up_is_no_traceback(tmp_path, monkeypatch, error):
    path = encode(tmp_path / "v.avi", 3, "mpeg4")

    def fail(*_, **__):
        raise error(1, "reason")

    monkeypatch.setattr(av, "open", fail)
    with pytest.raises(DataError, match="v.avi: not a video"):
        open_file(path)


# What is refused.


def refused(path, match="not a video"):
    with pytest.raises(DataError, match=match) as caught:
        open_file(path)
    assert str(caught.value).startswith(f"{path}: ")
    return caught.value


def write_pdf(path):
    text = b"BT /F1 24 Tf 100 700 Td (Hello) Tj ET"
    path.write_bytes(b"%%PDF-1.4\n1 0 obj<</Length %d>>stream\n%s\nendstream" % (len(text), text))


@pytest.mark.parametrize("suffix", [".txt", ".mp4", ".avi", ".bin", ""])
@pytest.mark.parametrize("kind", ["text", "pdf", "empty", "random", "png", "jpg", "bmp", "srt"])
def test_what_is_no_video_is_refused_whatever_its_name(tmp_path, suffix, kind):
    path = tmp_path / f"notes{suffix}"
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    if kind == "text":
        path.write_text("Buy milk, bread and butter.\n" * 100)
    elif kind == "pdf":
        write_pdf(path)
    elif kind == "empty":
        path.touch()
    elif kind == "random":
        path.write_bytes(np.random.default_rng(1).integers(0, 256, 100_000, np.uint8).tobytes())
    elif kind == "srt":
        path.write_text("1\n00:00:01,000 --> 00:00:02,000\nHello\n\n" * 9)
    else:
        path.write_bytes(cv2.imencode(f".{kind}", image)[1].tobytes())
    refused(path, "not a video|no frame can be decoded|there is no video")


class Handler(BaseHTTPRequestHandler):
    """Serves `pages`, a dict of the server by path: bytes, or a function of the handler."""

    def do_GET(self):
        self.server.asked.append(self.path)
        page = self.server.pages.get(self.path)
        if page is None:
            self.send_error(404)
        elif callable(page):
            page(self)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    """An HTTP server on this machine."""
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    httpd.asked = []
    httpd.pages = {}
    httpd.address = f"http://127.0.0.1:{httpd.server_port}"
    httpd.is_over = threading.Event()
    thread = threading.Thread(target=partial(httpd.serve_forever, 0.02))
    thread.start()
    yield httpd
    httpd.is_over.set()
    httpd.shutdown()
    thread.join()
    httpd.server_close()


LISTS = {
    "concat": "ffconcat version 1.0\nfile {target}\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:2,\n{target}\n#EXT-X-ENDLIST\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"'
    ' mediaPresentationDuration="PT2S"><Period><AdaptationSet mimeType="video/mp2t">'
    '<Representation id="1" bandwidth="9"><BaseURL>{target}</BaseURL></Representation>'
    "</AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "playlist": "[playlist]\nFile1={target}\nNumberOfEntries=1\n",
}


@pytest.mark.parametrize("name", ["v.mp4", "v.m3u8", "v.mpd", "v.sdp", "v.ffconcat"])
@pytest.mark.parametrize("kind", LISTS)
def test_a_list_of_videos_is_refused_and_leads_to_no_other_file(tmp_path, server, kind, name):
    target = encode(tmp_path / "other.ts", 30)
    server.pages["/other.ts"] = target.read_bytes()
    assert len(list(open_file(target).frames())) == 30
    for address in ("other.ts", target, f"file:{target}", f"{server.address}/other.ts"):
        path = tmp_path / name
        path.write_text(LISTS[kind].format(target=address))
        refused(path)
    assert server.asked == []


def test_an_external_reference_of_a_movie_leads_to_no_other_file(tmp_path):
    """The picture of a QuickTime file may lie in another one, which its reference names."""
    target = encode(tmp_path / "other.mov", 30, "mjpeg", pix_fmt="yuvj420p")
    record = bytearray(150)
    record[10:12] = b"\x01v"
    name = str(target).encode()
    record += struct.pack(">HH", 2, len(name)) + name + b"\0" * (len(name) % 2) + b"\xff\xff\0\0"
    entry = struct.pack(">I4sI", len(record) + 12, b"alis", 0) + bytes(record)

    def refer(kind, box):
        return struct.pack(">II", 0, 1) + entry if kind == b"dref" else box

    data = edit_boxes(target.read_bytes(), refer)
    data = data.replace(data[data.index(b"mdat") : data.index(b"moov") - 4], b"mdat")
    data = struct.pack(">I4s", 8, b"free") + data
    path = tmp_path / "v.mov"
    path.write_bytes(data)
    refused(path, "no frame can be decoded|there is no video|not a video")


def edit_boxes(data, edit):
    """Like `edit_mp4`, also in the box that tells where the data are."""

    def inner(kind, box):
        return edit_mp4(box, edit) if kind == b"dinf" else edit(kind, box)

    return edit_mp4(data, inner)


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as file:
        for packet in silence(file, 1):
            file.mux(packet)
    refused(path, "there is no video in it$")


def with_cover(kind, box):
    """An edit of an MP4 file: a cover picture comes before its tracks."""
    if kind != b"mvhd":
        return box
    cover = cv2.imencode(".jpg", np.full((64, 64, 3), 200, np.uint8))[1].tobytes()

    def pack(name, content):
        return struct.pack(">I4s", len(content) + 8, name) + content

    items = pack(b"ilst", pack(b"covr", pack(b"data", struct.pack(">II", 13, 0) + cover)))
    handler = pack(b"hdlr", b"\0" * 8 + b"mdirappl" + b"\0" * 9)
    return box + pack(b"udta", pack(b"meta", b"\0" * 4 + handler + items))


def add_cover(path):
    data = bytearray(edit_mp4(path.read_bytes(), with_cover))
    struct.pack_into(">I", data, data.index(b"mvhd") - 4, 108)  # the cover is a box of its own
    path.write_bytes(data)


def test_a_cover_picture_before_the_video_is_not_taken_for_it(tmp_path):
    path = encode(tmp_path / "v.mp4", 30)
    add_cover(path)
    with av.open(str(path)) as file:
        assert len(file.streams.video) == 2 and file.streams.video[0].frames <= 1
    video = open_file(path)
    assert [number for _, number in shown(video)] == pytest.approx(range(30), abs=0.6)
    assert video.num_frames == 30 and video.damage is None and video.duration == 1.2


def test_a_cover_picture_alone_is_no_video(tmp_path):
    path = encode(tmp_path / "v.mp4", 30)
    add_cover(path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"trak", b"free"))
    refused(path, "only a cover picture$")


def test_a_video_whose_frames_are_all_damaged_names_its_codec(tmp_path):
    path = encode(tmp_path / "v.avi", 3, "mpeg4")
    for place, size in packet_places(path):
        overwrite(path, place, size, 0x55)
    refused(path, "no frame can be decoded, its codec is mpeg4$")


def test_a_codec_without_a_decoder_is_named(tmp_path):
    path = encode(tmp_path / "v.avi", 3, "mpeg4")
    path.write_bytes(path.read_bytes().replace(b"FMP4", b"XYZW").replace(b"mp4v", b"XYZW"))
    refused(path, "there is no decoder for its codec|there is no video in it")


def test_a_part_of_a_whole_avi_file_with_reordered_pictures_has_no_damage(tmp_path):
    """Its packets have no times, and the decoder still holds pictures when the part ends."""
    path = encode(tmp_path / "v.avi", 100, "libx264", options={"bf": "3"}, gop_size=25)
    for start, end in ((0, 1), (1.0, 1.05), (2, 3)):
        file = open_file(path)
        assert len(list(file.frames(start, end))) == math.ceil(round((end - start) * 25, 3))
        assert file.damage is None


def test_a_file_named_as_a_live_source_is_read_to_its_end_and_waits(tmp_path):
    path = encode(tmp_path / "v.avi", 12, "mpeg4")
    source = open_live_source(str(path))
    assert not source.is_live
    assert len(list(source.frames())) == 12


def test_a_file_in_which_a_text_stream_begins_late_is_read_to_its_end(tmp_path):
    path = encode(tmp_path / "v.flv", 60, "flv", sound=2)
    text = b"\x02\x00\x0aonTextData\x08\x00\x00\x00\x01\x00\x04text\x02\x00\x02hi\x00\x00\x09"
    tag = b"\x12" + len(text).to_bytes(3, "big") + bytes(7) + text
    path.write_bytes(path.read_bytes() + tag + len(tag).to_bytes(4, "big"))
    assert len(list(open_file(path).frames())) == 60


def test_a_file_that_is_not_there_is_not_found(tmp_path):
    (tmp_path / "self.mp4").symlink_to("self.mp4")
    (tmp_path / "folder.mp4").mkdir()
    for name in ("none.mp4", "self.mp4", "folder.mp4", "no/such/folder.mp4", "%03d.mp4"):
        with pytest.raises(FileError, match="no such file"):
            open_file(tmp_path / name)


def fail_with(code):
    """A function of a library that raises an error of the system."""

    def fail(name, **_):
        raise OSError(code, os.strerror(code), name)

    return fail


def test_a_file_that_may_not_be_read_is_tried_again(tmp_path, monkeypatch):
    path = encode(tmp_path / "v.avi", 3, "mpeg4")
    monkeypatch.setattr(av, "open", fail_with(errno.EACCES))
    with pytest.raises(TransientReadError, match="v.avi: Permission denied$"):
        open_file(path)


def test_an_input_output_error_is_a_fault_of_the_file_only_if_the_disk_gives_its_bytes(
    tmp_path, monkeypatch
):
    path = encode(tmp_path / "v.avi", 3, "mpeg4")
    monkeypatch.setattr(av, "open", fail_with(errno.EIO))
    with pytest.raises(DataError, match="v.avi: not a video") as error:
        open_file(path)
    assert not isinstance(error.value, TransientReadError)
    monkeypatch.setattr(Path, "read_bytes", fail_with(errno.EIO))
    with pytest.raises(TransientReadError, match="v.avi: Input/output error$"):
        open_file(path)


def test_a_folder_that_cannot_be_searched_is_no_fault_of_the_file(tmp_path, monkeypatch):
    path = encode(tmp_path / "v.avi", 3, "mpeg4")

    def fail(self, **_):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_file", fail)
    with pytest.raises(TransientReadError, match="v.avi: Permission denied$"):
        open_file(path)


def test_a_disk_that_fails_on_the_way_is_no_fault_of_the_file(tmp_path, monkeypatch):
    video = open_file(encode(tmp_path / "v.avi", 30, "mpeg4"))
    packets = Decoder._packets

    def fail(self):
        for number, packet in enumerate(packets(self)):
            if number == 20:
                raise av.error.OSError(errno.EIO, "Input/output error")
            yield packet

    monkeypatch.setattr(Decoder, "_packets", fail)
    with pytest.raises(TransientReadError, match="v.avi: Input/output error$"):
        list(video.frames()), list(video.frames())


@pytest.mark.parametrize(
    "name",
    [
        "a b.avi",
        "300+_Yards!!!_(1)[2].avi",
        "100%d %03d.avi",
        "é.avi",
        "a:b.avi",
        "http:x.avi",
        "concat:a|b.avi",
        "-x.avi",
        'it\'s "n".avi',
        "a\nb.avi",
        os.fsdecode(b"not utf-8 \xff.avi"),
        "~.avi",
    ],
)
def test_a_file_may_have_any_name(tmp_path, monkeypatch, name):
    video = encode(tmp_path / "plain.avi", 3, "mpeg4").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(list(open_file(video.relative_to(tmp_path)).frames())) == 3
    assert len(list(open_file(video).frames())) == 3
    video.write_text("no video")
    with pytest.raises(DataError) as caught:
        open_file(video)
    assert "\n" not in str(caught.value)


def test_texts_of_a_file_need_not_be_utf8(tmp_path):
    path = encode(tmp_path / "v.avi", 3, "mpeg4")
    data = path.read_bytes()
    text = b"ISFT" + struct.pack("<I", 14)
    place = data.index(b"ISFT") + 8
    path.write_bytes(data[:place] + b"\xe9\xff" + data[place + 2 :])
    assert text[:4] in data
    assert len(list(open_file(path).frames())) == 3


# Streams and cameras.


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("rtsp://user:secret@host/live", "rtsp://host/live"),
        ("rtsp://user:se/cr@et@host:554/live", "rtsp://host:554/live"),
        ("rtsp://secret@host", "rtsp://host"),
        ("rtsp://u@d.com:SECRET@host:554/x", "rtsp://host:554/x"),
        ("rtsp://u:SEC@RET@h/x", "rtsp://h/x"),
        ("rtsp://u:SEC?RET@h/x", "rtsp://h/x"),
        ("rtsp://u:SEC#RET@h/x", "rtsp://h/x"),
        ("rtsp://u:SEC://RET@h/x", "rtsp://h/x"),
        ("rtsp://user:1/SECRET@127.0.0.1:1/x", "rtsp://127.0.0.1:1/x"),
        ("http:/u:SECRET@h/x", "h/x"),
        ("user:SECRET@127.0.0.1/x", "127.0.0.1/x"),
        ("http://h/v?user=me&password=SECRET&x=1", "http://h/v?user=me&password=...&x=1"),
        ("http://h/v?PWD=SE@CRET&x=1", "http://h/v?PWD=...&x=1"),
        ("http://u:p@h/v?access_token=SECRET#t", "http://h/v?access_token=...#t"),
        ("http://h/v?api_key=SECRET", "http://h/v?api_key=..."),
        ("rtsp://host:554/live", "rtsp://host:554/live"),
        ("0", "0"),
        (Path("a:b@c.avi"), "a:b@c.avi"),
        (Path("a\nb.avi"), "a\\nb.avi"),
        ("http://h/\x1b[31mred", "http://h/\\x1b[31mred"),
    ],
)
def test_no_address_is_shown_with_its_password(source, name):
    assert display_name(source) == name


def send_motion_jpeg(handler, numbers=range(20)):
    handler.send_response(200)
    handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
    handler.end_headers()
    for number in numbers:
        image = grey_frame(number).reformat(format="bgr24").to_ndarray()
        jpeg = cv2.imencode(".jpg", image)[1].tobytes()
        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
        handler.wfile.write(head.encode() + jpeg + b"\r\n")
        handler.wfile.flush()


def test_motion_jpeg_of_a_camera_has_the_times_of_the_clock(server, monkeypatch):
    clock = iter(np.arange(0, 100, 0.5))
    monkeypatch.setattr(live_sources, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    server.pages["/cam"] = send_motion_jpeg
    stream = Stream(f"{server.address}/cam")
    assert stream.is_live and stream.duration is None and stream.num_frames is None
    frames = list(stream.frames())
    assert [grey_number(frame.to_image()) for frame in frames] == pytest.approx(range(20), abs=1)
    assert [frame.time for frame in frames] == pytest.approx([0.5 * n for n in range(1, 21)])
    assert len(list(stream.frames(end=3.1))) == 6
    assert server.asked == ["/cam", "/cam"]
    stream.close()


def test_a_stream_has_the_times_of_its_own_and_ends_with_it(server, tmp_path):
    data = encode(tmp_path / "v.ts", 50, options=B_FRAMES).read_bytes()
    server.pages["/live.ts"] = data
    stream = Stream(f"{server.address.replace('//', '//user:secret@')}/live.ts")
    assert stream.name == f"{server.address}/live.ts" and stream.fps == 25
    for _ in range(2):
        frames = shown(stream)
        assert [number for _, number in frames] == pytest.approx(range(50), abs=0.6)
        assert [time for time, _ in frames] == pytest.approx([n / 25 for n in range(50)])
    frames = stream.frames()
    next(frames)
    stream.close()
    assert len(list(frames)) == 49


def test_a_file_of_a_server_is_not_live(server, tmp_path):
    path = encode(tmp_path / "v.mp4", 50, muxer={"movflags": "faststart"})
    server.pages["/v.mp4"] = path.read_bytes()
    stream = Stream(f"{server.address}/v.mp4")
    assert not stream.is_live and stream.duration == pytest.approx(2)
    assert len(list(stream.frames())) == 50


def test_a_stream_that_falls_silent_ends_after_the_time_limit(server, tmp_path, monkeypatch):
    frames = [grey_frame(number % 100) for number in range(400)]
    data = encode(tmp_path / "v.ts", frames, "mpeg2video").read_bytes()

    def fall_silent(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(data)
        handler.wfile.flush()
        gave_up.append(not server.is_over.wait(20))

    gave_up = []
    monkeypatch.setattr(live_sources, "STREAM_TIMEOUT", 0.5)
    server.pages["/live.ts"] = fall_silent
    stream = Stream(f"{server.address}/live.ts")
    assert len(list(stream.frames())) > 300
    assert gave_up == []  # the server is still silent


def test_a_stream_that_never_starts_or_is_not_there_is_one_line(server, tmp_path, monkeypatch):
    monkeypatch.setattr(live_sources, "STREAM_TIMEOUT", 0.3)
    server.pages["/silent"] = lambda handler: server.is_over.wait(100)
    server.pages["/text"] = b"Buy milk.\n" * 1000
    server.pages["/notes.txt"] = server.pages["/text"]
    server.pages["/concat"] = LISTS["concat"].format(target="v.ts").encode()
    server.pages["/v.ts"] = encode(tmp_path / "v.ts", 30).read_bytes()
    for path in ("silent", "text", "notes.txt", "none", "concat"):
        with pytest.raises(OSError, match=f"/{path}: cannot be opened as a stream: ") as caught:
            Stream(f"{server.address.replace('//', '//user:secret@')}/{path}")
        assert "secret" not in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(OSError, match="^http://127.0.0.1:1/x: .*refused"):
        Stream("http://127.0.0.1:1/x")


def test_a_stream_makes_us_open_no_file_of_this_machine(server, tmp_path, monkeypatch):
    monkeypatch.setattr(live_sources, "STREAM_TIMEOUT", 2)
    secret = encode(tmp_path / "secret.ts", 30)
    server.pages["/secret.ts"] = secret.read_bytes()
    server.pages["/good.m3u8"] = LISTS["hls"].format(target="secret.ts").encode()
    assert len(list(Stream(f"{server.address}/good.m3u8").frames())) == 30
    for number, target in enumerate(
        (f"file://{secret}", f"file:{secret}", str(secret), f"concat:{secret}", f"subfile:{secret}")
    ):
        server.pages[f"/{number}.m3u8"] = LISTS["hls"].format(target=target).encode()
        with pytest.raises(OSError, match="cannot be opened as a stream"):
            list(Stream(f"{server.address}/{number}.m3u8").frames())
    for address in (f"file://{secret}", f"concat://{secret}", f"pipe://{secret}"):
        with pytest.raises(OSError, match="cannot be opened as a stream"):
            Stream(address)


class Capture:
    """A stand-in for `cv2.VideoCapture`: a camera of three pictures, or none."""

    def __init__(self, device):
        if isinstance(device, int) and device >= 2**31:
            raise OverflowError  # as OpenCV does
        self.device = device
        self.numbers = iter(range(3))

    def isOpened(self):  # noqa: N802  the name is of OpenCV
        return self.device in (0, "/dev/video0")

    def get(self, _):
        return 0.0 if self.device == 0 else 30.0

    def read(self):
        number = next(self.numbers, None)
        if number is None:
            return False, None
        return True, np.full((4, 4, 3), number, np.uint8)

    def release(self):
        self.device = None


def test_a_camera_has_the_times_of_the_clock(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(live_sources, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    camera = open_live_source("0")
    assert isinstance(camera, Camera) and camera.is_live and camera.fps is None
    frames = list(camera.frames())
    assert [frame.time for frame in frames] == [1, 2, 3]
    assert [frame.to_image()[0, 0, 0] for frame in frames] == [0, 1, 2]
    camera.close()
    assert len(list(camera.frames(end=2.5))) == 2
    assert open_live_source("/dev/video0").fps == 30
    for name in ("1", "/dev/video7", "9" * 30):
        with pytest.raises(OSError, match=f"^{name}: no such camera$"):
            open_live_source(name)


def test_an_address_is_a_stream(server):
    server.pages["/cam"] = send_motion_jpeg
    assert isinstance(open_live_source(f"{server.address}/cam"), Stream)


def test_what_is_neither_an_address_nor_a_camera_is_a_file(tmp_path, monkeypatch):
    encode(tmp_path / "0", 3, "mpeg4", format="avi")
    monkeypatch.chdir(tmp_path)
    assert isinstance(open_live_source("0"), VideoFile)
    with pytest.raises(FileError, match="^none.avi: no such file$"):
        open_live_source("none.avi")


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="needs Xvfb, a display without a screen")
def test_windows_of_opencv_open_beside_pyav(tmp_path):
    """With `import av` before `import cv2` the call of `imshow` hangs."""
    read, write = os.pipe()
    display = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "320x240x24"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    try:
        os.close(write)
        with os.fdopen(read) as pipe:
            number = pipe.readline().strip()
        code = (
            "from dataloaders.video import VideoFile; import cv2, numpy\n"
            "cv2.imshow('v', numpy.zeros((64, 64, 3), numpy.uint8)); cv2.waitKey(1); print('shown')"
        )
        environment = os.environ | {"DISPLAY": f":{number}"}
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout == "shown\n", done.stderr
    finally:
        display.kill()
        display.wait()

"""What of a video file is damaged or missing is told, and nothing else."""

import math
from itertools import pairwise

import numpy as np
import pytest
from timed_videos import EVEN, assert_timed, open_file, shown, write_timed
from videos import (
    B_FRAMES,
    encode,
    grey_frame,
    overwrite,
    packet_places,
    remux,
)

from dataloaders.errors import DataError
from dataloaders.ffmpeg import av
from dataloaders.video import Damage

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


def test_a_part_of_a_whole_avi_file_with_reordered_pictures_has_no_damage(tmp_path):
    """Its packets have no times, and the decoder still holds pictures when the part ends."""
    path = encode(tmp_path / "v.avi", 100, "libx264", options={"bf": "3"}, gop_size=25)
    for start, end in ((0, 1), (1.0, 1.05), (2, 3)):
        file = open_file(path)
        assert len(list(file.frames(start, end))) == math.ceil(round((end - start) * 25, 3))
        assert file.damage is None

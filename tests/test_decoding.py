"""Pictures: whole where they were interlaced, in the right colours, upright, at increasing times."""

import errno
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import edit_mp4, numbered_frame, with_matrix
from videos import encode, grey_number

from dataloaders.decoding import Decoder
from dataloaders.ffmpeg import av
from dataloaders.image_converter import ImageConverter
from dataloaders.video import VideoFile

INTERLACED = av.codec.context.Flags.interlaced_dct | av.codec.context.Flags.interlaced_me
FIELD_STEP = 4  # columns by which the edge moves from one field to the next


def images(path):
    return [frame.to_image() for frame in VideoFile(path, threads=1).frames()]


def plain_images(path):
    """The pictures of a file as PyAV decodes and converts them, with nothing done to them."""
    with av.open(str(path)) as file:
        return [frame.reformat(format="bgr24").to_ndarray() for frame in file.decode(video=0)]


def combed_frames(count=20, width=128, height=96):
    """Frames of two fields each, of a vertical edge that moves between the two."""
    frames = []
    for number in range(count):
        luma = np.full((height, width), 40, np.uint8)
        for parity in (0, 1):
            edge = 8 + (2 * number + parity) * FIELD_STEP % (width - 16)
            luma[parity::2, edge:] = 200
        chroma = np.full((height // 2, width), 128, np.uint8)
        frames.append(av.VideoFrame.from_ndarray(np.vstack([luma, chroma]), format="yuv420p"))
    return frames


def comb_share(image):
    """How much a row differs from the next one, relative to the edge that moves between fields."""
    rows = image[8:-8].mean(2)
    return np.abs(np.diff(rows, axis=0)).mean() / (160 * 255 / 219 * FIELD_STEP / rows.shape[1])


@pytest.mark.parametrize(
    ("codec", "suffix", "settings"),
    [
        ("libx264", "mp4", {"options": {"x264-params": "tff=1:threads=1"}}),
        ("libx264", "ts", {"options": {"x264-params": "bff=1:threads=1"}}),
        ("mpeg2video", "mpg", {"tags": {"flags": INTERLACED}}),
        ("mpeg4", "avi", {"tags": {"flags": INTERLACED}}),
        ("prores_ks", "mov", {"tags": {"flags": INTERLACED}, "pix_fmt": "yuv422p10le"}),
    ],
)
def test_interlaced_pictures_are_whole_and_as_many_as_there_are(tmp_path, codec, suffix, settings):
    path = encode(tmp_path / f"v.{suffix}", combed_frames(), codec, **settings)
    assert min(map(comb_share, plain_images(path))) > 0.8  # every second row is another one
    frames = list(VideoFile(path, threads=1).frames())
    assert [frame.time for frame in frames] == pytest.approx([n / 25 for n in range(20)])
    assert max(comb_share(frame.to_image()) for frame in frames) < 0.35
    edges = [np.argmax(frame.to_image()[48].mean(1) > 120) for frame in frames]
    for number, edge in enumerate(edges):
        assert abs(edge - (8 + 2 * number * FIELD_STEP % 112)) <= FIELD_STEP + 2


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "mp4"), ("mpeg2video", "mpg")])
def test_progressive_pictures_stay_as_they_are_decoded(tmp_path, codec, suffix):
    path = encode(tmp_path / f"v.{suffix}", combed_frames(), codec)
    assert np.array_equal(images(path), plain_images(path))


def test_a_video_may_become_interlaced_and_change_its_size_on_the_way(tmp_path):
    interlaced = {"options": {"x264-params": "tff=1:threads=1"}}
    parts = [
        encode(tmp_path / "0.h264", combed_frames(7)),
        encode(tmp_path / "1.h264", combed_frames(7), **interlaced),
        encode(tmp_path / "2.h264", combed_frames(7, 64, 48), **interlaced),
        encode(tmp_path / "3.h264", combed_frames(7)),
    ]
    plain = [plain_images(part) for part in parts]
    joined = tmp_path / "v.h264"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    video = VideoFile(joined, threads=1)
    frames = list(video.frames())
    assert video.damage is None and len(frames) == 28
    times = [frame.time for frame in frames]
    assert times == pytest.approx([number / 25 for number in range(28)])
    shown = [frame.to_image() for frame in frames]
    assert np.array_equal(shown[:7], plain[0]) and np.array_equal(shown[21:], plain[3])
    assert max(map(comb_share, shown[7:14])) < 0.35
    assert {image.shape for image in shown[14:21]} == {(48, 64, 3)}
    assert max(map(comb_share, shown[14:21])) < 0.6  # of fewer rows, the outermost are worse


def test_deinterlacing_keeps_colours_and_orientation(tmp_path):
    tags = {"flags": INTERLACED, "colorspace": 1, "color_range": 2}
    path = encode(tmp_path / "v.mp4", [numbered_frame(7)] * 5, "mpeg4", tags=tags)
    path.write_bytes(edit_mp4(path.read_bytes(), with_matrix(0, 1, -1, 0)))
    with av.open(str(path)) as file:
        decoded = list(file.decode(video=0))
    assert all(frame.interlaced_frame for frame in decoded)
    expected = [ImageConverter().convert(frame) for frame in decoded]
    shown = images(path)
    assert np.abs(np.array(shown, int) - expected).mean() < 1
    assert shown[0].shape == (160, 120, 3)


def test_wrong_time_stamps_do_not_shift_the_times_behind_them(tmp_path):
    """The rate is uneven, 10 and then 50 frames a second, and some stamps come too early."""
    ticks = [100 * number for number in range(10)] + [1000 + 20 * number for number in range(50)]
    path = encode(tmp_path / "v.mkv", 60, "mjpeg", ticks=ticks, pix_fmt="yuvj420p")

    def demux():
        for number, packet in enumerate(file.demux(video=0)):
            if packet.size and number % 10 == 5:
                packet.pts -= 150
            yield packet

    with av.open(str(path)) as file:
        container = SimpleNamespace(format=file.format, demux=demux)
        decoder = Decoder(container, file.streams.video[0], threads=1)
        times = [picture.seconds for picture in decoder.pictures()]
    assert np.all(np.diff(times) > 0)
    right = [number for number in range(60) if number % 10 != 5]
    assert [times[n] for n in right] == pytest.approx([ticks[n] / 1000 for n in right], abs=0.002)


def test_a_container_that_is_damaged_ends_and_a_disk_that_fails_is_an_error(tmp_path):
    path = encode(tmp_path / "v.mp4", 10, "mjpeg", pix_fmt="yuvj420p")
    damage = [
        av.error.PatchWelcomeError(1, "reason"),
        av.error.InvalidDataError(1, "reason"),
        av.error.OSError(errno.EIO, "reason"),  # FFmpeg's name for missing data
    ]
    for error in (*damage, av.error.OSError(errno.ESTALE, "reason")):

        def demux(error=error):
            yield from islice(file.demux(video=0), 6)
            raise error

        with av.open(str(path)) as file:
            container = SimpleNamespace(format=file.format, demux=demux)
            pictures = Decoder(container, file.streams.video[0], threads=1).pictures()
            assert len(list(islice(pictures, 6))) == 6
            if error not in damage:
                with pytest.raises(OSError, match="reason"):
                    next(pictures)
            else:
                assert list(pictures) == []


@pytest.mark.parametrize("is_interlaced", [False, True])
def test_packets_without_a_picture_are_lost_unless_each_may_be_a_field(tmp_path, is_interlaced):
    """In some interlaced files two packets give one picture; here the second ones have none."""
    tags = {"flags": INTERLACED} if is_interlaced else {}
    path = encode(tmp_path / "v.mp4", combed_frames(10), "mpeg2video", tags=tags)

    def demux():
        for packet in file.demux(video=0):
            yield packet
            if packet.size:
                user_data = av.Packet(b"\0\0\1\xb2no picture")
                user_data.pts = packet.pts + 1
                user_data.time_base = packet.time_base
                user_data.stream = packet.stream
                yield user_data

    with av.open(str(path)) as file:
        container = SimpleNamespace(format=file.format, demux=demux)
        decoder = Decoder(container, file.streams.video[0], threads=1)
        assert len(list(decoder.pictures())) == 10
        assert len(decoder.lost) == (0 if is_interlaced else 10)


def test_a_clock_that_starts_again_is_continued(tmp_path):
    part = encode(tmp_path / "part.mpg", 50, "mpeg2video").read_bytes()
    (tmp_path / "v.mpg").write_bytes(part + part)
    frames = list(VideoFile(tmp_path / "v.mpg", threads=1).frames())
    assert [frame.time for frame in frames] == pytest.approx([n / 25 for n in range(100)], abs=0.05)
    numbers = [grey_number(frame.to_image()) for frame in frames]
    assert numbers == pytest.approx([*range(50)] * 2, abs=0.6)

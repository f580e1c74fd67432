"""The sound of a video comes with it, in step and playable in browsers."""

import numpy as np
import pytest
from test_video_writer import read_duration, read_times, write, write_flashes, write_seconds
from videos import encode

from dataloaders.ffmpeg import av


def copy_with_sound(source, target):
    """Write the images of a video at their times, with its sound."""
    with av.open(str(source)) as container:
        frames = list(container.decode(video=0))
    times = [frame.time - frames[0].time for frame in frames]
    images = [frame.to_ndarray(format="bgr24") for frame in frames]
    return write(target, images, times, sound_from=source)


def find_flashes(path):
    with av.open(str(path)) as container:
        frames = [
            (frame.time, frame.to_ndarray()[:48].mean()) for frame in container.decode(video=0)
        ]
    times, lumas = np.array(frames).T
    is_bright = lumas > 100
    return times[is_bright & ~np.roll(is_bright, 1)]


def read_sound(path):
    """The time stamps of the samples of the first channel, and these."""
    times, values = [], []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            assert frame.format.name == "fltp"
            times.append(frame.time + np.arange(frame.samples) / frame.sample_rate)
            values.append(frame.to_ndarray()[0])
    return np.concatenate(times), np.concatenate(values)


def find_beeps(path):
    times, values = read_sound(path)
    loud = times[np.abs(values) > 0.15]
    return loud[np.diff(loud, prepend=-1) > 0.3]


def sound_packets(path):
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def sound_codec(path):
    with av.open(str(path)) as container:
        return container.streams.audio[0].codec_context.codec.canonical_name


@pytest.mark.parametrize(
    "name, codecs, rate, layout, expected",
    [
        ("a.mp4", ("libx264", "aac"), 44_100, "stereo", "aac"),
        ("a.ts", ("mpeg2video", "mp2"), 48_000, "stereo", "aac"),
        ("b.ts", ("libx264", "aac"), 48_000, "mono", "aac"),
        ("a.avi", ("mpeg4", "pcm_u8"), 8_000, "mono", "aac"),
        ("b.avi", ("mpeg4", "libmp3lame"), 48_000, "mono", "mp3"),
        ("b.mkv", ("mpeg4", "libmp3lame"), 12_000, "mono", "aac"),  # MP4 has no such MP3
        ("a.mkv", ("libx264", "ac3"), 48_000, "5.1", "aac"),
        ("a.webm", ("libvpx", "libopus"), 48_000, "mono", "opus"),
        ("a.wmv", ("wmv2", "wmav2"), 44_100, "mono", "aac"),
        ("a.flv", ("flv", "libmp3lame"), 44_100, "mono", "mp3"),
        ("a.mov", ("libx264", "pcm_s24le"), 96_000, "mono", "aac"),
    ],
)
def test_sound_stays_in_step_and_plays_in_browsers(tmp_path, name, codecs, rate, layout, expected):
    source = write_flashes(tmp_path / name, codecs, rate, layout)
    target = copy_with_sound(source, tmp_path / "out.mp4")
    assert sound_codec(target) == expected
    assert find_flashes(target) == pytest.approx([0, 1, 2], abs=0.041)  # AVI repeats a frame
    # Some encoders lose the beginning of the first beep.
    assert find_beeps(target)[1:] == pytest.approx(find_flashes(target)[1:], abs=0.04)
    assert read_sound(target)[0][-1] == pytest.approx(3, abs=0.07)


def test_copied_sound_is_copied_packet_by_packet(tmp_path):
    source = write_flashes(tmp_path / "a.mp4")
    assert sound_packets(copy_with_sound(source, tmp_path / "b.mp4")) == sound_packets(source)


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
@pytest.mark.parametrize("first", [0, 5])
def test_sound_may_begin_before_or_after_the_picture(tmp_path, codec, first):
    early = write_flashes(
        tmp_path / "early.mkv", ("libx264", codec), sound=(-0.5, 2.5), first=1 + first
    )
    late = write_flashes(tmp_path / "late.mkv", ("libx264", codec), sound=(0.5, 3), first=first)
    # A beep is under way when the late sound begins to be missing, and at none of its ends.
    for source, beeps in ((early, [0, 1, 2]), (late, [1, 2])):
        target = copy_with_sound(source, tmp_path / "out.mp4")
        assert find_flashes(target) == pytest.approx([0, 1, 2], abs=0.001)
        assert find_beeps(target) == pytest.approx(beeps, abs=0.04)


def test_sound_may_change_its_rate_and_channels_on_the_way(tmp_path):
    first = write_flashes(tmp_path / "a.ts", ("mpeg2video", "mp2"), 48_000, "stereo")
    second = write_flashes(tmp_path / "b.ts", ("mpeg2video", "mp2"), 32_000, "mono", first=3)
    first.write_bytes(first.read_bytes() + second.read_bytes())
    target = write_seconds(tmp_path / "c.mp4", 6, sound_from=first)
    assert find_beeps(target) == pytest.approx(range(6), abs=0.04)


@pytest.mark.parametrize("codec", ["aac", "ac3"])
def test_what_follows_a_gap_in_the_sound_stays_in_step_in_browsers_too(tmp_path, codec):
    source = write_flashes(tmp_path / "a.mkv", ("libx264", codec), gap=(0.4, 1.6))
    target = copy_with_sound(source, tmp_path / "b.mp4")
    assert find_beeps(target) == pytest.approx([0, 2], abs=0.04)
    # Browsers count samples, so none may be missing.
    times, _ = read_sound(target)
    assert len(times) / 48_000 == pytest.approx(times[-1] - times[0], abs=0.001)


def test_sound_ends_with_the_picture(tmp_path):
    source = write_flashes(tmp_path / "a.mp4", sound=(0, 3), seconds=1)
    target = write_seconds(tmp_path / "b.mp4", 1, sound_from=source)
    assert read_sound(target)[0][-1] == pytest.approx(1, abs=0.022)  # a packet lasts 21 ms
    assert read_duration(target) == pytest.approx(1, abs=0.022)


def test_a_picture_may_outlast_its_sound(tmp_path):
    source = write_flashes(tmp_path / "a.mp4", sound=(0, 1))
    target = copy_with_sound(source, tmp_path / "b.mp4")
    assert read_sound(target)[0][-1] == pytest.approx(1, abs=0.022)
    assert len(read_times(target)) == 75
    assert read_duration(target) == pytest.approx(3, abs=0.001)


def test_sound_and_picture_alternate_in_the_file(tmp_path):
    source = write_flashes(tmp_path / "a.mp4", sound=(0, 15), seconds=15)
    target = write_seconds(tmp_path / "b.mp4", 15, sound_from=source)
    with av.open(str(target)) as container:
        packets = [
            (packet.pos, packet.stream.type, float(packet.dts * packet.time_base))
            for packet in container.demux()
            if packet.size
        ]
    latest = {"audio": 0.0, "video": 0.0}
    for _, kind, seconds in sorted(packets):
        latest[kind] = seconds
        assert abs(latest["audio"] - latest["video"]) < 0.5


def damage(data, kind):
    if kind == "text":
        return b"not a video\n" * 100
    if kind == "cut off":
        return data[: len(data) // 2]
    damaged = bytearray(data)
    middle = len(data) // 2
    damaged[middle : middle + len(data) // 4] = np.random.default_rng(0).bytes(len(data) // 4)
    return bytes(damaged)


@pytest.mark.parametrize("kind", ["text", "cut off", "overwritten"])
@pytest.mark.parametrize(
    "name, codec",
    [("a.ts", "aac"), ("a.mkv", "ac3"), ("a.mkv", "flac"), ("a.avi", "libmp3lame")],
)
def test_damaged_sound_never_costs_the_picture(tmp_path, kind, name, codec):
    source = write_flashes(tmp_path / name, ("mpeg4", codec))
    source.write_bytes(damage(source.read_bytes(), kind))
    target = write_seconds(tmp_path / "b.mp4", 3, sound_from=source)
    assert len(read_times(target)) == 75
    with av.open(str(target)) as container:
        assert len(container.streams.audio) == (kind != "text")
    if kind != "text":
        assert find_beeps(target)[:2] == pytest.approx([0, 1], abs=0.04)


def test_sound_that_cannot_be_decoded_everywhere_becomes_sound_that_can(tmp_path):
    source = write_flashes(tmp_path / "a.mov", ("mpeg4", "aac"))
    source.write_bytes(damage(source.read_bytes(), "overwritten"))
    with pytest.raises(av.FFmpegError):
        read_sound(source)
    target = write_seconds(tmp_path / "b.mp4", 3, sound_from=source)
    assert read_sound(target)[0][-1] == pytest.approx(3, abs=0.022)
    assert find_beeps(target)[0] == pytest.approx(0, abs=0.04)


def test_sound_is_read_to_the_end_where_another_stream_begins_late(tmp_path):
    source = write_flashes(tmp_path / "a.flv", ("flv", "pcm_s16le"), rate=44_100)
    text = b"\x02\x00\x0aonTextData\x08\x00\x00\x00\x01\x00\x04text\x02\x00\x02hi\x00\x00\x09"
    tag = b"\x12" + len(text).to_bytes(3, "big") + bytes(7) + text
    source.write_bytes(source.read_bytes() + tag + len(tag).to_bytes(4, "big"))
    target = write_seconds(tmp_path / "b.mp4", 3, sound_from=source)
    assert find_beeps(target)[1:] == pytest.approx([1, 2], abs=0.04)


@pytest.mark.parametrize(
    "make_source",
    [
        lambda path: write_seconds(path, 1),
        lambda path: path,  # not there
        lambda path: encode(path.with_suffix(".h264"), 5),  # it has no time stamps either
    ],
)
def test_a_file_without_sound_gives_a_video_without(tmp_path, make_source):
    source = make_source(tmp_path / "a.mp4")
    with av.open(str(write_seconds(tmp_path / "b.mp4", 1, sound_from=source))) as container:
        assert [stream.type for stream in container.streams] == ["video"]

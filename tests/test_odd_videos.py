"""Videos as cameras, editors and web sites make them: a frame is right, or the video is refused by name."""

import csv
import json
import struct
from itertools import product
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from conftest import (
    drop_frames,
    edit_mp4,
    make_checkpoint,
    numbered_frame,
    read_number,
    with_edit_list,
    with_matrix,
    write_dataset,
    write_video,
)

import inference
from dataloaders import mp4
from dataloaders.errors import DataError, TransientReadError
from dataloaders.extract import answer_job, extract_frames
from dataloaders.preprocess import preprocess
from dataloaders.video import VideoReader
from engine.checkpoint import save_checkpoint


def interlace(data, first=0):
    """An MPEG-2 file as OpenCV writes it, in which the frames from `first` on say that they are interlaced."""
    data, place, number = bytearray(data), 0, 0
    while (place := data.find(b"\0\0\1\xb5", place) + 4) > 3:
        if data[place] >> 4 == 1:  # extension of the sequence
            data[place + 1] &= ~8  # no longer progressive
        elif data[place] >> 4 == 8:  # of a picture
            if number >= first:
                data[place + 4] &= ~128
            number += 1
    return bytes(data)


def write_interlaced(path, frames=20, first=0):
    path.write_bytes(interlace(write_video(path, frames, fourcc="MPG2").read_bytes(), first))
    return path


@pytest.fixture
def checkpoint(project):
    save_checkpoint(make_checkpoint(), project.folder / "a.pth")
    return project.folder / "a.pth"


@pytest.mark.parametrize("suffix", ["avi", "mpg", "mkv"])
@pytest.mark.parametrize("first", [0, 7])
def test_what_opencv_does_not_convert_is_refused_and_never_taken_for_a_frame(
    tmp_path, capfd, suffix, first
):
    video = write_interlaced(tmp_path / f"a b.{suffix}", first=first)
    numbers = []
    capfd.readouterr()  # what the encoder says
    with pytest.raises(
        DataError, match=f"a b.{suffix}: interlaced, which OpenCV .* cannot read; ffmpeg -i"
    ):
        for frame in VideoReader(video):
            numbers.append(read_number(frame[:, :, ::-1]))
    assert numbers == list(range(first))
    with pytest.raises(DataError, match="interlaced"):
        extract_frames(video, tmp_path / "frames")
    assert capfd.readouterr().err == ""


def test_an_interlaced_video_is_skipped_by_preprocessing_and_refused_by_inference(
    project, checkpoint, tmp_path
):
    root = write_dataset(tmp_path / "videos")
    write_interlaced(root / "Run" / "v_Run_g09_c01.avi")
    project.set_path("own", root)
    project.run("-m", "dataloaders.preprocess", "own")
    with open(project.folder / "data" / "own_frames" / "skipped.csv", newline="") as file:
        (row,) = list(csv.reader(file))[1:]
    assert row[0] == "Run/v_Run_g09_c01.avi" and "interlaced" in row[2] and "-vf yadif" in row[2]
    done = project.run(
        "inference.py", root / "Run" / "v_Run_g09_c01.avi", "--checkpoint", checkpoint, ok=False
    )
    assert done.returncode == 1
    assert (
        "v_Run_g09_c01.avi: interlaced, which OpenCV" in done.stderr
        and len(done.stderr.splitlines()) == 1
    )
    assert [path.name for path in (project.folder / "output").iterdir()] == ["events.csv"]


def test_a_name_with_a_line_break_stays_on_one_line(project, checkpoint):
    for name in ("no\nvideo.avi", "a\nvideo.avi"):
        (project.folder / name).write_bytes(b"nothing")
    write_video(project.folder / "a\nvideo.avi", 20)
    done = project.run(
        "inference.py",
        "no\nvideo.avi",
        "a\nvideo.avi",
        "--no-video",
        "--checkpoint",
        checkpoint,
        ok=False,
    )
    assert done.stderr == "inference.py: no\\nvideo.avi: not a video that OpenCV can read\n"
    assert any(line.startswith("a\\nvideo.avi: ") for line in done.stdout.splitlines())


def test_another_failure_to_convert_is_told_in_the_words_of_ffmpeg(tmp_path, monkeypatch):
    video = VideoReader(write_video(tmp_path / "v.avi", 3))

    class Capture:
        def retrieve(self):
            import os

            os.write(2, b"[swscaler @ 0x1] no such colours\n")
            return True, np.zeros((4, 4, 3), np.uint8)

    video.capture = Capture()
    with pytest.raises(
        DataError,
        match="OpenCV cannot convert a frame: no such colours; ffmpeg .* -pix_fmt yuv420p OUT",
    ):
        video.retrieve()


def test_colours_are_right_where_the_kind_of_pixels_changes(tmp_path):
    frames = [numbered_frame(9 * number) for number in range(12)]
    data = write_video(tmp_path / "v.avi", frames).read_bytes()
    sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422]
    first = cv2.imencode(".jpg", frames[0], sampling)[1].tobytes()
    start = data.index(b"movi") + 4
    size = struct.unpack("<I", data[start + 4 : start + 8])[0]
    after = start + 8 + size + size % 2
    chunk = b"00dc" + struct.pack("<I", len(first)) + first + b"\0" * (len(first) % 2)
    (tmp_path / "v.avi").write_bytes(data[:start] + chunk + data[after : data.rindex(b"idx1")])
    shown = list(VideoReader(tmp_path / "v.avi"))
    assert len(shown) >= 11
    for frame, expected in zip(shown, frames, strict=False):
        assert np.abs(frame.astype(int) - expected).mean() < 6


MATRICES = [(a, 0, 0, d) for a, d in product((1, -1), repeat=2)] + [
    (0, b, c, 0) for b, c in product((1, -1), repeat=2)
]


@pytest.mark.parametrize("of_movie", [False, True])
@pytest.mark.parametrize("matrix", MATRICES)
def test_a_display_matrix_turns_and_mirrors_as_players_do(tmp_path, matrix, of_movie):
    picture = numbered_frame(100)
    picture[:40] = 255
    plain = write_video(tmp_path / "v.mp4", [picture] * 20, fourcc="mp4v")
    stored = next(iter(VideoReader(plain)))
    plain.write_bytes(edit_mp4(plain.read_bytes(), with_matrix(*matrix, of_movie=of_movie)))
    y, x = np.indices(stored.shape[:2])
    a, b, c, d = matrix
    shown_x, shown_y = a * x + c * y, b * x + d * y
    shown_x, shown_y = shown_x - shown_x.min(), shown_y - shown_y.min()
    expected = np.empty((shown_y.max() + 1, shown_x.max() + 1, 3), np.uint8)
    expected[shown_y, shown_x] = stored
    assert np.array_equal(next(iter(VideoReader(plain))), expected)


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


def test_a_cover_picture_is_no_video(tmp_path):
    video = write_video(tmp_path / "v.mp4", 30, fourcc="mp4v")
    plain = video.read_bytes()
    # The cover follows the header of the film in a box of its own: it is taken out of that header again.
    data = edit_mp4(plain, lambda kind, box: with_cover(kind, box))
    place = data.index(b"mvhd") - 4
    struct.pack_into(">I", data := bytearray(data), place, 108)
    video.write_bytes(data)
    with pytest.raises(
        DataError,
        match="cover picture in place of the video; ffmpeg -i .* -map 0:V:0 -c copy OUT.mp4",
    ):
        VideoReader(video)
    video.write_bytes(plain)
    assert len(list(VideoReader(video))) == 30


def annotated_frames(project, name):
    return list(VideoReader(project.folder / "output" / f"{name}_annotated.mp4"))


def strip_is_full(frame):
    return (
        np.ptp(frame[-1].astype(int), axis=1) > 10
    ).mean() > 0.9  # grey where nothing is known yet


@pytest.mark.parametrize("delay", [0, 2000])
def test_a_trimmed_file_is_whole(project, checkpoint, delay):
    video = write_video(project.folder / "v.mp4", 120, fourcc="mp4v")
    video.write_bytes(edit_mp4(video.read_bytes(), with_edit_list(72, 120, delay)))
    reader = VideoReader(video)
    assert (reader.num_frames, reader.duration) == (48, pytest.approx(48 / 25, abs=0.01))
    project.run("inference.py", video, "--checkpoint", checkpoint)
    report = json.loads((project.folder / "output" / "v.json").read_text())
    assert report["frames"] == 48
    assert strip_is_full(annotated_frames(project, "v")[-1])


def lengthen(data, factor):
    """A Matroska file as OpenCV writes it, whose header has a duration so many times as long, as with longer sound."""
    place = data.index(b"\x44\x89\x88") + 3
    duration = struct.unpack(">d", data[place : place + 8])[0]
    return data[:place] + struct.pack(">d", factor * duration) + data[place + 8 :]


@pytest.mark.parametrize(("frames", "factor"), [(30, 1.2), (100, 2.5)])
def test_sound_longer_than_the_picture_is_no_alarm_and_a_file_that_breaks_off_is(
    project, checkpoint, frames, factor
):
    video = write_video(project.folder / "v.mkv", frames)
    whole = lengthen(video.read_bytes(), factor)
    video.write_bytes(whole)
    assert VideoReader(video).num_frames == pytest.approx(factor * frames, abs=2)
    project.run("inference.py", video, "--checkpoint", checkpoint)
    assert json.loads((project.folder / "output" / "v.json").read_text())["frames"] == frames
    assert strip_is_full(annotated_frames(project, "v")[-1])
    video.write_bytes(whole[: len(whole) * 6 // 10])
    failed = project.run("inference.py", video, "--checkpoint", checkpoint, ok=False)
    assert failed.returncode == 1 and "v.mkv: breaks off after " in failed.stderr
    video.write_bytes(lengthen(drop_frames(whole, range(1, 3)), 1))
    project.run("inference.py", video, "--checkpoint", checkpoint)


@pytest.mark.parametrize(
    ("is_file", "is_whole", "message", "expected"),
    [
        (True, False, "", "breaks off after 50 of 100 frames, which are done"),
        (True, True, "", None),
        (False, False, "", None),  # a file from a server, of which only an estimate is known
        (
            False,
            False,
            "Stream ends prematurely",
            "breaks off after 50 of 100 frames, which are done",
        ),
    ],
)
def test_a_short_video_breaks_off_only_where_its_length_is_known_or_ffmpeg_says_so(
    is_file, is_whole, message, expected
):
    kind = {"is_file": is_file, "is_live": False, "is_whole": is_whole, "last_message": message}
    video = SimpleNamespace(
        **kind, num_frames=100, duration=4.0, interval=lambda start, end: (start / 25, end / 25)
    )
    assert inference.find_incompleteness(video, 50, False) == expected


def test_a_closed_pipe_and_a_link_to_itself_are_no_traceback(project, checkpoint):
    for name in "abc":
        write_video(project.folder / "videos" / f"{name}.avi", 20)
    with project.start(
        "inference.py", "videos", "--no-video", "--checkpoint", checkpoint
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
    (project.folder / "self").symlink_to("self")
    for flags in (["videos", "--output", "self"], ["self"]):
        done = project.run("inference.py", *flags, "--checkpoint", checkpoint, ok=False)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


def test_times_are_those_of_the_file_at_any_rate(project, checkpoint):
    video = write_video(
        project.folder / "fast.mp4", [numbered_frame(n % 256) for n in range(300)], 1000, "mp4v"
    )
    project.run("inference.py", video, "--checkpoint", checkpoint)
    report = json.loads((project.folder / "output" / "fast.json").read_text())
    assert report["fps"] == pytest.approx(1000, rel=0.01)
    assert report["windows"][-1]["end"] == pytest.approx(0.3, abs=0.002)


@pytest.mark.parametrize(
    ("matrix", "shape"), [((1, 0, 0, 1), (120, 320)), ((0, 1, -1, 0), (160, 60))]
)
def test_pixels_that_are_not_square_are_annotated_in_the_right_shape(
    project, checkpoint, matrix, shape
):
    def edit(kind, box):
        if kind == b"stsd":
            size = struct.unpack(">I", box[8:12])[0]
            return (
                box[:8]
                + struct.pack(">I", size + 16)
                + box[12:]
                + struct.pack(">I4sII", 16, b"pasp", 2, 1)
            )
        return with_matrix(*matrix)(kind, box)

    video = write_video(project.folder / "wide.mp4", 20, fourcc="mp4v")
    video.write_bytes(edit_mp4(video.read_bytes(), edit))
    project.run("inference.py", video, "--checkpoint", checkpoint)
    assert {frame.shape[:2] for frame in annotated_frames(project, "wide")} == {shape}


def test_a_codec_that_opencv_lacks_is_named_and_not_remembered(tmp_path):
    video = VideoReader(write_video(tmp_path / "v.avi", 3))

    class Capture:
        def get(self, _):
            return int.from_bytes(b"AV01", "little")

    video.capture, video.last_message = (
        Capture(),
        "Your platform doesn't support hardware accelerated AV1 decoding.",
    )
    error = video.no_frame_error()
    assert isinstance(error, TransientReadError)
    assert "v.avi: this OpenCV lacks the codec AV01; ffmpeg -i " in str(
        error
    ) and "-c:v libx264" in str(error)
    video.last_message = "Invalid data"
    assert type(video.no_frame_error()) is DataError
    assert str(video.no_frame_error()).endswith("v.avi: no frame can be decoded, its codec is AV01")


def test_a_passing_fault_is_told_and_tried_again_at_the_next_start(tmp_path, monkeypatch, capsys):
    root = write_dataset(tmp_path / "videos")
    locked, read = root / "Run" / "v_Run_g01_c01.avi", mp4.read_video_track

    def refuse(path):
        if path == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(mp4, "read_video_track", refuse)
    videos = preprocess("own", root, tmp_path / "frames", 1)
    said = capsys.readouterr()
    assert f"skipped: {locked}: Permission denied" in said.err
    assert "1 cannot be read now, the next start tries them again" in said.out
    assert not (tmp_path / "frames" / "skipped.csv").exists()
    assert "Run/v_Run_g01_c01.avi" not in {video.source for video in videos}
    monkeypatch.undo()
    assert answer_job(locked, tmp_path / "one") == {"frames": 20, "repeated": False}
    videos = preprocess("own", root, tmp_path / "frames", 1)
    assert len(videos) == 10 and "tried again" not in capsys.readouterr().out


def test_damaged_headers_of_mp4_files_are_no_error(tmp_path):
    rng, file = np.random.default_rng(0), tmp_path / "v.mp4"
    plain = write_video(file, 5, fourcc="mp4v").read_bytes()
    assert mp4.read_video_track(file) == mp4.Track(False, pytest.approx(0.2))
    for _ in range(1000):
        data = bytearray(plain[: rng.integers(1, len(plain))] if rng.random() < 0.3 else plain)
        for place in rng.integers(plain.rindex(b"moov") - 8, len(plain), 4):
            if place < len(data):
                data[place] = rng.integers(256)
        file.write_bytes(data)
        mp4.read_video_track(file)


def test_a_video_without_a_track_has_no_header_of_mp4(tmp_path):
    for content in (
        b"",
        b"RIFF",
        b"not a video at all",
        b"\0\0\0\1moov\0\0\0\0\0\0\0\0",
        torch.rand(9).numpy().tobytes(),
    ):
        (tmp_path / "v.mp4").write_bytes(content)
        assert mp4.read_video_track(tmp_path / "v.mp4") is None
